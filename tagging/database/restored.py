"""What is written into the copy of a database before it is put in place as another installation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database.counts import SQLITE_TRIGGERS
from tagging.database.tables import (
    Batch,
    BatchState,
    Leader,
    LoginLink,
    Model,
    Reservation,
    WebSession,
)


@dataclass(frozen=True, kw_only=True)
class Released:
    """How many leases went back to the queue, and how many sessions and links were dropped."""

    leases: int
    sessions: int
    links: int


def release_all(session: Session) -> Released:
    """End whatever was going on when the copy was made; the processes behind it are elsewhere.

    Leases are given back: no attempt, no crash. No batch is announced, for the broker is another.
    """
    leases = session.execute(
        sa.update(Batch)
        .where(Batch.state == BatchState.LEASED)
        .values(
            state=BatchState.QUEUED,
            lease_token=None,
            lease_alone=False,
            attempts=Batch.attempts - 1,
        )
        .returning(Batch.id)
    ).all()
    session.execute(
        sa.update(Batch).where(Batch.state == BatchState.QUEUED).values(announced_at=None)
    )
    sessions = session.execute(sa.delete(WebSession).returning(WebSession.token_hash)).all()
    links = session.execute(sa.delete(LoginLink).returning(LoginLink.token_hash)).all()
    session.execute(sa.delete(Reservation))
    session.execute(sa.delete(Leader))
    return Released(leases=len(leases), sessions=len(sessions), links=len(links))


def model_rows(session: Session) -> list[tuple[int, str, str, str]]:
    """(id, `name:version`, fingerprint, path) of every model; a handful of rows."""
    rows = session.execute(
        sa.select(Model.id, Model.name, Model.version, Model.fingerprint, Model.path).order_by(
            Model.id
        )
    )
    return [(r.id, f"{r.name}:{r.version}", r.fingerprint, r.path) for r in rows]


def move_model(session: Session, model_id: int, path: Path) -> None:
    """A bundle lies elsewhere now."""
    session.execute(sa.update(Model).where(Model.id == model_id).values(path=str(path)))


def drop_triggers(session: Session) -> list[str]:
    """Names of an SQLite file's triggers but those that Atelier makes; all are gone then.

    Atelier's go, too: whoever changed the file may have given its name to another.
    """
    names = list(
        session.execute(
            sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name")
        ).scalars()
    )
    quote = session.get_bind().dialect.identifier_preparer.quote_identifier
    for name in names:
        session.connection().exec_driver_sql(f"DROP TRIGGER {quote(name)}")
    return [name for name in names if name not in SQLITE_TRIGGERS]


def foreign_schema(session: Session) -> str | None:
    """The first thing in an SQLite file that is none of what Atelier makes there: tables, indexes,
    triggers and one view, written as SQLite writes them. None: there is none.

    To read a further view, a virtual table or a generated column may take all memory. What is what
    is told by its statement, not by the column beside it, which anybody can write.
    """
    found = session.execute(
        sa.text(
            "SELECT type || ' ' || name FROM sqlite_master WHERE NOT ("
            "(type = 'table' AND sql LIKE 'CREATE TABLE %') "
            "OR (type = 'index' AND (sql IS NULL OR sql LIKE 'CREATE INDEX %' "
            "OR sql LIKE 'CREATE UNIQUE INDEX %')) "
            "OR (type = 'trigger' AND sql LIKE 'CREATE TRIGGER %') "
            "OR (type = 'view' AND sql LIKE 'CREATE VIEW tagged_catalog %')) "
            "UNION ALL SELECT 'column ' || m.name || '.' || c.name "
            "FROM sqlite_master AS m JOIN pragma_table_xinfo(m.name) AS c "
            "WHERE m.sql LIKE 'CREATE TABLE %' AND c.hidden <> 0 LIMIT 1"
        )
    ).scalar()
    return None if found is None else str(found)


def quick_check(session: Session) -> str:
    """SQLite's own verdict on its file: `ok`, or the first thing that is wrong."""
    return str(session.execute(sa.text("PRAGMA quick_check(1)")).scalar_one())


def product_count(session: Session) -> int:
    """All products, by the narrowest index."""
    return int(session.execute(sa.text("SELECT count(*) FROM products")).scalar_one())
