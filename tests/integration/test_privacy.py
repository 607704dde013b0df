"""Nobody else on the machine reads what Atelier writes, whatever the umask."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from rich.console import Console

from model_training.atomic_files import write_file_atomically
from model_training.datasets.sources import PhotoOptions, find_source
from tagging.database import counts
from tagging.database.session import Database
from tagging.domain import Status
from tagging.model_card import CARD_NAME
from tagging.settings import Settings
from tagging.web.previews import Previews
from tests.stand_in import InlineDecoders, make_services, picture
from worker.bootstrap import DEFAULT_BUNDLE, open_runtime
from worker.doctor import examine
from worker.embedded import EmbeddedWorker

# Kombu's models use a loading strategy that SQLAlchemy 2.1 calls legacy.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def settings_of(home: Path, **more: Path) -> Settings:
    return Settings(home=home, database_url=None, broker_url=None, **{"images_dir": None, **more})


def open_files(folder: Path) -> list[str]:
    """What group or others may touch of a folder and all below it."""
    return [
        str(path.relative_to(folder))
        for path in (folder, *folder.rglob("*"))
        if stat.S_IMODE(path.lstat().st_mode) & 0o077
    ]


def test_all_that_is_written_is_for_its_own_account(tmp_path: Path) -> None:
    home = tmp_path / "home"
    settings = settings_of(home)
    with open_runtime(settings) as runtime:
        runtime.doorbell.announce([1])
        sha256, _ = runtime.store.put(picture(9), max_bytes=10_000)
        Previews(store=runtime.store, decoders=InlineDecoders(), folder=home / "previews").make(
            sha256, "thumb"
        )
        with runtime.database.write("test") as session:
            assert counts.by_status(session)[Status.QUEUED] == 0
            session.connection().exec_driver_sql("CREATE TABLE journalled (n INTEGER)")
            assert open_files(home) == []  # with the journal
            session.commit()
        worker = EmbeddedWorker(settings)
        worker.log_path.unlink(missing_ok=True)
        worker.start()
        worker.stop()
    names = {path.name for path in home.iterdir()}
    assert names >= {"atelier.db", "broker.db", "images", "previews", "worker.log"}
    assert open_files(home) == []


def test_what_models_are_trained_on_is_for_its_own_account(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    for name in ("hats", "shoes"):
        (shop / name).mkdir(parents=True)
        (shop / name / "a.png").write_bytes(picture(len(name)))
    kept = tmp_path / "home" / "datasets"
    options = PhotoOptions(image_size=32, min_per_class=1)
    source = find_source(
        str(shop), data_dir=None, cache_dir=kept, console=Console(quiet=True), options=options
    )
    assert len(source.load().images) == 2
    assert sorted(path.suffix for path in kept.rglob("*") if path.is_file()) == [".json", ".npy"]
    assert open_files(tmp_path / "home") == []


def test_figures_that_are_recorded_leave_a_card_as_private_as_it_was(tmp_path: Path) -> None:
    card = tmp_path / CARD_NAME
    for mode in (0o600, 0o666):
        card.write_bytes(b"{}")
        card.chmod(mode)
        write_file_atomically(card, b"[]")
        assert stat.S_IMODE(card.stat().st_mode) == mode


def test_what_an_older_version_left_open_is_closed_at_the_start_and_told_before(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    with open_runtime(settings_of(home)):
        pass
    home.chmod(0o755)
    (home / "atelier.db").chmod(0o644)
    (told,) = [one for one in examine(settings_of(home)) if one.what == "privacy"]
    assert not told.ok
    assert "atelier.db" in told.found
    assert "chmod" in told.remedy
    assert (home / "atelier.db").stat().st_mode & 0o077  # to look changes nothing
    with open_runtime(settings_of(home)):
        assert open_files(home) == []
    (told,) = [one for one in examine(settings_of(home)) if one.what == "privacy"]
    assert told.ok


def _obey_modes() -> None:
    """Have the program that is started next obey the modes of files, be it root's (prctl(2))."""
    if sys.platform == "linux" and os.geteuid() == 0:
        drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
        for capability in (dac_override, dac_read_search):
            if ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0) != 0:
                raise OSError("the capability cannot be dropped")


@pytest.mark.parametrize("home", ["locked", "locked/home"])
def test_a_data_folder_out_of_reach_is_told(tmp_path: Path, home: str) -> None:
    """To whom it is closed; for `check`, too, which others are sent to."""
    (tmp_path / "locked").mkdir(mode=0)
    said = {}
    for command in ("check", "status"):
        said[command] = subprocess.run(
            [sys.executable, "-m", "worker", command],
            capture_output=True,
            text=True,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("ATELIER_")},
                "ATELIER_HOME": str(tmp_path / home),
            },
            preexec_fn=_obey_modes,
        )
        assert said[command].returncode == 1
        assert "Traceback" not in said[command].stderr
    assert "cannot be used: Permission denied" in " ".join(said["status"].stderr.split())
    (found,) = [line for line in said["check"].stdout.splitlines() if "data folder" in line]
    assert "cannot be written" in found


@pytest.mark.parametrize("version", [0, 6])
def test_whether_decoders_are_kept_from_everything_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr("worker.doctor.confinement.supported", lambda: version)
    (told,) = [one for one in examine(settings_of(tmp_path)) if one.what == "decoders"]
    assert told.ok
    assert ("not kept from files" in told.found) == (version == 0)


def test_a_shared_store_is_as_its_administrator_set_it(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2775)
    os.umask(0o002)
    with open_runtime(settings_of(tmp_path / "home", images_dir=shared)) as runtime:
        sha256, _ = runtime.store.put(picture(9), max_bytes=10_000)
        stored = runtime.store.path(sha256)
    assert stat.S_IMODE(stored.stat().st_mode) == 0o664
    assert stat.S_IMODE(stored.parent.stat().st_mode) == 0o2775
    assert open_files(tmp_path / "home") == []


def test_the_state_of_a_drop_folder_is_private_and_what_leaves_it_is_as_it_came(
    tmp_path: Path,
) -> None:
    with open_runtime(settings_of(tmp_path / "home")) as runtime:
        services = make_services(runtime.database, tmp_path / "home")
        root = tmp_path / "inbox"
        inbox = services.drop_folder(root, settle_s=1.0)
        inbox.prepare()
        (root / "a.png").write_bytes(picture(7))
        (root / "a.png").chmod(0o664)
        for _ in range(2):
            list(inbox.step())
            services.clock.seconds += 2
        inbox.close()
    assert open_files(root / ".atelier") == []
    (taken,) = root.glob("done/*/a.png")
    assert stat.S_IMODE(taken.stat().st_mode) == 0o664


def test_the_bundle_that_comes_with_atelier_is_not_touched(tmp_path: Path) -> None:
    before = stat.S_IMODE(DEFAULT_BUNDLE.stat().st_mode)
    with open_runtime(settings_of(tmp_path / "home")) as runtime:
        runtime.default_model()
    assert stat.S_IMODE(DEFAULT_BUNDLE.stat().st_mode) == before


@pytest.mark.parametrize("which", ["database", "broker"])
def test_a_further_connection_takes_no_lock_away(tmp_path: Path, which: str) -> None:
    """A descriptor that this process closes takes its locks with it, whoever has taken them."""
    settings = settings_of(tmp_path / "home")
    with open_runtime(settings) as runtime:
        runtime.doorbell.announce([1])
        path = settings.home / "atelier.db" if which == "database" else settings.broker_file()
        with closing(sqlite3.connect(path, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            with Database(f"sqlite:///{path}").read() as session:
                session.execute(sa.text("SELECT count(*) FROM sqlite_master"))
            runtime.doorbell.depth()
            code = (
                "import sqlite3, sys\n"
                "connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)\n"
                "connection.execute('BEGIN IMMEDIATE')"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, str(path)],
                capture_output=True,
                text=True,
                check=False,
            )
    assert "database is locked" in done.stderr
