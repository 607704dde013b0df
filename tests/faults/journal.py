"""A journal of everything that ever happened to products and batches, written by triggers.

It belongs to the tests: what the code says of itself cannot show that the code is right. A row is
written in the transaction of the change, and goes with it if that is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database.session import Database

_PRODUCT: Final = ("status", "category", "decided_by", "image_set", "tagged_at", "failure_code")
_BATCH: Final = ("state", "lease_token", "attempts", "crashes")
_COLUMNS: Final = (*_PRODUCT, *_BATCH)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One change. `before` is empty for a new row. `transaction` is None on SQLite, where
    transactions follow each other. `reviews`: how many the product had at that moment.
    """

    key: int
    what: str
    ref: int
    transaction: str | None
    reviews: int
    before: dict[str, str | None]
    after: dict[str, str | None]

    def changed(self, *names: str) -> bool:
        return any(self.before.get(name) != self.after.get(name) for name in names)


def install(database: Database) -> None:
    """Begin the journal of a database that has no products yet."""
    pairs = ", ".join(f"old_{name} TEXT, new_{name} TEXT" for name in _COLUMNS)
    key = (
        "INTEGER PRIMARY KEY AUTOINCREMENT"
        if database.is_sqlite
        else "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    )
    statements = [
        f"CREATE TABLE fault_journal (id {key}, what TEXT, ref BIGINT, tx TEXT, "
        f"reviews BIGINT, {pairs})"
    ]
    for table, columns in (("products", _PRODUCT), ("batches", _BATCH)):
        make = _sqlite_triggers if database.is_sqlite else _postgresql_triggers
        statements.extend(make(table, columns))
    with database.write("test") as session:
        for statement in statements:
            session.connection().exec_driver_sql(statement)
        session.commit()


def _insert(table: str, columns: tuple[str, ...], *, old: bool, cast: str) -> str:
    news = [f"new_{name}" for name in columns]
    olds = [f"old_{name}" for name in columns] if old else []
    values = [cast.format(f"NEW.{name}") for name in columns]
    values += [cast.format(f"OLD.{name}") for name in columns] if old else []
    reviews = (
        "(SELECT count(*) FROM reviews WHERE product_id = NEW.id)" if table == "products" else "0"
    )
    transaction = "NULL" if cast == "{}" else "txid_current()::text"
    return (
        f"INSERT INTO fault_journal (what, ref, tx, reviews, {', '.join(news + olds)}) "
        f"VALUES ('{table}', NEW.id, {transaction}, {reviews}, {', '.join(values)});"
    )


def _sqlite_triggers(table: str, columns: tuple[str, ...]) -> Iterator[str]:
    differs = " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in columns)
    yield (
        f"CREATE TRIGGER fault_{table}_insert AFTER INSERT ON {table} BEGIN "
        f"{_insert(table, columns, old=False, cast='{}')} END"
    )
    yield (
        f"CREATE TRIGGER fault_{table}_update AFTER UPDATE ON {table} WHEN {differs} BEGIN "
        f"{_insert(table, columns, old=True, cast='{}')} END"
    )


def _postgresql_triggers(table: str, columns: tuple[str, ...]) -> Iterator[str]:
    differs = " OR ".join(f"OLD.{name} IS DISTINCT FROM NEW.{name}" for name in columns)
    for event, old, when in (("INSERT", False, ""), ("UPDATE", True, f"WHEN ({differs})")):
        name = f"fault_{table}_{event.lower()}"
        body = _insert(table, columns, old=old, cast="{}::text")
        yield (
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$body$ BEGIN {body} RETURN NULL; END $body$"
        )
        yield (
            f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW {when} "
            f"EXECUTE FUNCTION {name}()"
        )


def events(session: Session, after: int = 0) -> Iterator[Event]:
    """In the order in which they were written."""
    rows = session.execute(
        sa.text("SELECT * FROM fault_journal WHERE id > :after ORDER BY id"), {"after": after}
    ).mappings()
    for row in rows:
        columns = _PRODUCT if row["what"] == "products" else _BATCH
        fresh = row[f"old_{columns[0]}"] is None
        yield Event(
            key=row["id"],
            what=row["what"],
            ref=row["ref"],
            transaction=row["tx"],
            reviews=row["reviews"],
            before={} if fresh else {name: row[f"old_{name}"] for name in columns},
            after={name: row[f"new_{name}"] for name in columns},
        )
