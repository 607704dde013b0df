"""A real worker process, from its start to its end; its models are stand-ins."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging.database import backlog, models
from tagging.database.session import Database
from tagging.database.tables import Batch, BatchState
from tagging.domain import Status
from tests.integration.test_ingest_and_tag import deliver, listed, write_folder
from tests.stand_in import Services, make_services, stand_in_card
from tests.unit.test_loads import dead
from worker.loads import deadly

RUNS = """
import os, signal, time
from tagging.settings import Settings
from tests.faults.stand_in_worker import SlowShelf
from worker.logs import configure_logging
from worker.run import run_worker

class Shelf(SlowShelf):
    def __init__(self, loading, seconds):
        super().__init__(0.0)
        self.loading, self.seconds = loading, seconds

    def get(self, model):
        if not self.has(model.id):
            with self.loading(model):
                if model.card.version == "deadly":
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(self.seconds)
        return super().get(model)

configure_logging("console")
run_worker(Settings(), make_shelf=lambda _, loading: Shelf(loading, {seconds}))
"""


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path) -> Iterator[Services]:
    """A data folder with one batch in it."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    shutil.copyfile(sqlite_template, folder / "atelier.db")
    database = Database(f"sqlite:///{folder / 'atelier.db'}")
    services = make_services(database, folder)
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    yield services
    database.close()


@contextmanager
def worker(home: Services, *, loads_s: float = 0.0) -> Iterator[subprocess.Popen[bytes]]:
    environment = {name: v for name, v in os.environ.items() if not name.startswith("ATELIER_")}
    environment |= {
        "ATELIER_HOME": str(home.folder),
        "ATELIER_DECODERS": "1",
        "ATELIER_BEAT_S": "0.5",
        "ATELIER_SWEEP_S": "0.2",
        "ATELIER_STALE_S": "2",
    }
    with (home.folder.parent / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", RUNS.replace("{seconds}", str(loads_s))],
            env=environment,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(condition: Callable[[], bool], home: Services) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    pytest.fail((home.folder.parent / "worker.log").read_text())


def test_a_worker_that_starts_ends_every_pause(home: Services) -> None:
    """Whoever starts one has mended what stood in the way; a stop forgets what workers died of."""
    with home.database.write("test") as session:
        session.execute(
            sa.update(Batch).values(
                last_error="no bundle",
                hindered=7,
                not_before=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=290),
            )
        )
        session.commit()
    with worker(home) as process:
        until(lambda: listed(home)["a"].status is Status.TAGGED, home)
        dead(home.folder / "loading", 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert deadly(home.folder / "loading") == {}


def test_a_stop_that_was_asked_for_blames_no_model(home: Services) -> None:
    """Not even the one that is being loaded."""
    folder = home.folder / "loading"
    with worker(home, loads_s=600) as process:
        until(lambda: any(folder.glob("*.loading")), home)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM
    assert list(folder.iterdir()) == []


def test_a_model_that_kills_whoever_loads_it_is_named_and_stops_nobody_else(
    home: Services,
) -> None:
    other = home.folder.parent / "theirs"
    now = dt.datetime.now(dt.UTC)
    with home.database.write("test") as session:
        card = stand_in_card(version="deadly")
        made = models.register(session, card, home.folder / "deadly", now=now)
        theirs = models.add_retailer(session, "theirs", model_id=made, now=now)
        session.commit()
    theirs_only = dataclasses.replace(home, retailer_id=theirs)
    deliver(theirs_only, write_folder(other, {"x.png": 255, "y.png": 0}))
    for _ in range(2):
        with worker(home) as process:
            assert process.wait(60) == -signal.SIGKILL
    assert deadly(home.folder / "loading") == {"shades:deadly": 2}

    def told() -> list[str]:
        with home.database.read() as session:
            return backlog.last_errors(session)

    with worker(home):  # which is wiser
        until(lambda: listed(home)["a"].status is Status.TAGGED, home)
        until(lambda: bool(told()), home)
    assert told()[0].startswith("shades:deadly is not loaded just now: the last 2 times")
    with home.database.read() as session:
        batch = session.scalars(sa.select(Batch).where(Batch.retailer_id == theirs)).one()
    assert (batch.state, batch.attempts, batch.crashes) == (BatchState.QUEUED, 0, 0)
