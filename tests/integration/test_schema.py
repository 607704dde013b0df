"""Migrations go up and down with data in them; the tables and the view are what the code needs."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from tagging import accounts, desk
from tagging.database import models, schema, uploads
from tagging.database import rules as versions
from tagging.database.session import Database, wal_is_safe
from tagging.database.tables import Base
from tagging.desk import Wish
from tagging.domain import PRODUCT_FAILURES, FailureCode, Role, Status, Verdict
from tagging.errors import SchemaError
from tagging.rules import RetailerRules
from tests.integration.test_ingest_and_tag import deliver, write_folder
from tests.people import product, say, tagged, undo
from tests.stand_in import Services

ROOT = Path(__file__).parents[2]


def test_the_migrations_make_what_the_tables_say(database: Database) -> None:
    with database.engine.connect() as connection:
        dialect = connection.dialect.name
        options = {
            "compare_type": True,
            "include_object": lambda one, *_: one.info.get("only", dialect) == dialect,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_files_are_named_by_their_revisions(sqlite: Database) -> None:
    """The names tell of every revision and their order, so that no command need read the files."""
    scripts = list(ScriptDirectory(str(ROOT / "migrations")).walk_revisions())
    assert schema.revisions() == [script.revision for script in reversed(scripts)]
    with sqlite.engine.connect() as connection:
        told = MigrationContext.configure(connection).get_current_revision()
    assert schema.current(sqlite) == schema.head() == told


def test_a_database_at_two_migrations_is_refused(sqlite: Database) -> None:
    with sqlite.write("test") as session:
        session.connection().exec_driver_sql("INSERT INTO alembic_version VALUES ('0017')")
        session.commit()
    with pytest.raises(SchemaError, match="several migrations"):
        schema.require_current(sqlite)


def test_down_and_up_again_with_data(services: Services, tmp_path: Path) -> None:
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    services.tag_all()
    database = services.database
    assert schema.current(database) == schema.head()
    schema.downgrade(database, "base")
    assert schema.current(database) is None
    with database.engine.connect() as connection:
        assert set(sa.inspect(connection).get_table_names()) <= {"alembic_version"}
        assert sa.inspect(connection).get_view_names() == []
    with pytest.raises(SchemaError, match="atelier db upgrade"):
        schema.require_current(database)
    schema.upgrade(database)
    schema.require_current(database)


def test_what_a_retailer_asked_survives_the_way_to_rules_and_back(
    services: Services, tmp_path: Path
) -> None:
    """Reviews, undone ones too, reservations, accounts and links stand in the tables meanwhile."""
    database, now = services.database, services.clock.now()
    tagged(services, tmp_path / "in", {"a.png": 255, "p.png": 64})
    undo(services, say(services, "a", Verdict.CONFIRMED).review_id)
    desk.take(database, services.retailer_id, "Ann", Wish(count=1), now=now)
    accounts.add(database, "Ann", Role.REVIEWER, "correct horse battery", now=now)
    accounts.enter_by_password(database, "Ann", "correct horse battery", now=now)
    accounts.make_link(database, "Ann", now=now)
    asked = RetailerRules(target_precision=0.98, accept_parent=True)
    with database.write("test") as session:
        versions.add(session, services.retailer_id, asked, "", by="Eve", now=now)
        models.add_retailer(session, "other", model_id=services.model_id, now=now)
        session.commit()
    schema.downgrade(database, "0003")
    with database.engine.connect() as connection:
        rows = connection.execute(
            sa.text("SELECT name, target_precision, accept_parent FROM retailers ORDER BY name")
        ).all()
    assert [tuple(row) for row in rows] == [("default", 0.98, True), ("other", None, False)]
    schema.downgrade(database, "0002")
    schema.upgrade(database)
    with database.read() as session:
        found = versions.newest(session, services.retailer_id)
        other = versions.newest(session, models.retailer_id(session, "other"))
    assert other is None
    assert found is not None
    assert (found.number, found.rules, found.created_by) == (1, asked, "migration")
    assert found.created_at == now
    # What was said before reviews knew what was before them is still there, and stands.
    assert product(services, "a").status is Status.TAGGED
    assert say(services, "a", Verdict.CONFIRMED).status is Status.REVIEWED


def test_what_waits_already_is_put_in_order_by_how_sure_the_model_was(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255, "p.png": 64, "q.png": 57})
    before = {sku: product(services, sku).top_confidence for sku in "pq"}
    schema.downgrade(services.database, "0011")
    schema.upgrade(services.database)
    assert {sku: product(services, sku).top_confidence for sku in "pq"} == before
    assert before["p"] == product(services, "p").confidence
    assert before["p"] != before["q"]
    # Nobody is asked about it; the next time that it is classified brings it.
    assert product(services, "a").top_confidence is None


def test_lines_refused_before_there_were_codes_keep_their_sentence_and_have_none(
    services: Services, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "in", {"a.png": 255})
    (folder / "notes.doc").touch()
    (folder / "out.png").symlink_to("/etc/passwd")
    old = deliver(services, folder).upload_id
    schema.downgrade(services.database, "0015")
    before = _where_the_ledger_lies(services.database)
    schema.upgrade(services.database)
    # Not written anew: a column more is a matter of the schema alone, however long the ledger is.
    assert _where_the_ledger_lies(services.database) == before
    new = deliver(services, folder).upload_id
    for lines, code in (
        (uploads.rejected_lines, FailureCode.REFUSED_PATH),
        (uploads.skipped_lines, FailureCode.NOT_AN_IMAGE),
    ):
        (one,), (other,) = lines(services.database, old), lines(services.database, new)
        assert (one.code, other.code) == (None, code)
        assert one.error == other.error != ""


def _where_the_ledger_lies(database: Database) -> int:
    """Another number once all of its rows were written to another place."""
    where = (
        "SELECT rootpage FROM sqlite_master WHERE name = 'upload_items'"
        if database.is_sqlite
        else "SELECT pg_relation_filenode('upload_items')"
    )
    with database.engine.connect() as connection:
        return int(connection.execute(sa.text(where)).scalar_one())


def test_a_product_has_no_code_of_a_line(services: Services, tmp_path: Path) -> None:
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    for code in FailureCode:
        refused = pytest.raises(sa.exc.IntegrityError, match="failure_code")
        with (
            contextlib.nullcontext() if code in PRODUCT_FAILURES else refused,
            services.database.write("test") as session,
        ):
            session.execute(sa.text("UPDATE products SET failure_code = :code"), {"code": code})


def test_every_column_and_table_says_what_it_is() -> None:
    for table in Base.metadata.tables.values():
        assert table.comment, table
        assert all(column.comment for column in table.columns), table


def test_comments_reach_postgresql(services: Services) -> None:
    if services.database.is_sqlite:
        return
    with services.database.engine.connect() as connection:
        columns = sa.inspect(connection).get_columns("products")
    assert all(column["comment"] for column in columns)


def readme_queries() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [part.split("```")[0].strip() for part in text.split("```sql\n")[1:]]


def test_the_queries_of_the_readme_run(services: Services, tmp_path: Path) -> None:
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255, "b.png": 64}))
    services.tag_all()
    queries = readme_queries()
    assert len(queries) == 3
    with services.database.read() as session:
        results = [session.execute(sa.text(query)).all() for query in queries]
    assert results[0] == [("Light", 1)]
    assert [row.sku for row in results[1]] == ["b"]
    assert results[2][0].retailer == "default"


def test_the_view_has_the_documented_columns(database: Database) -> None:
    with database.engine.connect() as connection:
        found = [column["name"] for column in sa.inspect(connection).get_columns("tagged_catalog")]
    assert found == [
        "retailer",
        "sku",
        "title",
        "category",
        "parent_category",
        "suggestion",
        "confidence",
        "status",
        "review_reason",
        "model",
        "tagged_at",
    ]


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
    ],
)
def test_wal_is_used_only_where_it_is_safe(version: tuple[int, ...], safe: bool) -> None:
    assert wal_is_safe(version) is safe


def test_a_write_that_is_not_committed_leaves_nothing(services: Services) -> None:
    with services.database.write("test") as session:
        session.execute(sa.text("DELETE FROM autopilots"))
    with services.database.read() as session:
        assert session.execute(sa.text("SELECT count(*) FROM autopilots")).scalar() == 1
