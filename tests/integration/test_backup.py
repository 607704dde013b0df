"""Backups: taken while others write, whole or not at all, and restored only where sound."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import resource
import shutil
import sqlite3
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from tagging import accounts
from tagging.backup import BackupReport, Bundles, back_up
from tagging.catalog.opening import open_delivery
from tagging.database import batches, copying, schema
from tagging.database.copying import copy_database
from tagging.database.counts import SQLITE_TRIGGERS
from tagging.database.session import Database, copy_mark, wal_is_safe
from tagging.domain import Role
from tagging.errors import BackupError
from tagging.images.store import STALE_SECONDS
from tagging.integrity import DeepCheck
from tagging.restore import restore
from tagging.tape import TapeWriter
from tests.stand_in import Services, make_services, picture

NOTHING_SHIPPED = Bundles(shipped={}, folders=())
Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with six products, two of them tagged, four in batches that somebody holds."""
    home = tmp_path_factory.mktemp("original") / "home"
    photos = home.parent / "photos"
    home.mkdir()
    photos.mkdir()
    database = Database(f"sqlite:///{home / 'atelier.db'}")
    schema.upgrade(database)
    found = make_services(database, home, batch_images=2)
    for number in range(6):
        (photos / f"{number}.png").write_bytes(picture(40 * number))
    with open_delivery(photos) as delivery:
        found.ingest.accept_upload(delivery, retailer_id=found.retailer_id)
    found.tagger.tag_batch(found.bell.messages.pop(0))
    for batch_id in found.bell.messages:
        with database.write("test") as session:
            assert batches.lease(session, batch_id, token="t" * 32, worker="gone:1", alone=False)
            session.commit()
    database.close()
    return home


@pytest.fixture(scope="module")
def backup(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it."""
    services = opened(original)
    report = taken(services, tmp_path_factory.mktemp("backup") / "a.backup")
    services.database.close()
    return report.file


@pytest.fixture
def services(original: Path, tmp_path: Path) -> Iterator[Services]:
    """A copy of it, to be worked with."""
    shutil.copytree(original, tmp_path / "home")
    found = opened(tmp_path / "home")
    yield found
    found.database.close()


def opened(home: Path) -> Services:
    return make_services(Database(f"sqlite:///{home / 'atelier.db'}"), home)


def taken(services: Services, target: Path, **options: Any) -> BackupReport:
    return back_up(
        services.database,
        services.store,
        target,
        **{"bundles": NOTHING_SHIPPED, "force": False, "now": services.clock.now(), **options},
    )


def rows(database: Database, table: str) -> list[Any]:
    with database.read() as session:
        return list(session.execute(sa.text(f"SELECT * FROM {table} ORDER BY 1, 2")).all())


def entries_of(backup: Path) -> list[Member]:
    with tarfile.open(backup) as tape:
        return [(one, tape.extractfile(one).read()) for one in tape.getmembers()]  # type: ignore[union-attr]


def write_entries(path: Path, entries: list[Member]) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tape:
        for info, content in entries:
            info.size = len(content)
            tape.addfile(info, io.BytesIO(content))


def left_beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Taking one


def test_a_backup_holds_the_database_and_what_it_names(services: Services, tmp_path: Path) -> None:
    (services.folder / "worker.log").write_text("a log")
    (services.folder / "broker.db").write_bytes(b"a broker")
    services.store.put(b"of no row", max_bytes=100)
    report = taken(services, tmp_path / "a.backup")
    names = [info.name for info, _ in entries_of(report.file)]
    with services.database.read() as session:
        sha256s = list(session.scalars(sa.text("SELECT sha256 FROM images ORDER BY sha256")))
    assert names == [
        "atelier.db",
        *(f"images/{one[:2]}/{one[2:4]}/{one}" for one in sha256s),
        "manifest.json",
    ]
    assert len(sha256s) == report.manifest.images == 6
    assert report.manifest.products == 6
    assert report.manifest.migration == schema.head()
    assert report.bytes == report.file.stat().st_size
    assert report.file.stat().st_mode & 0o777 == 0o600
    assert left_beside(tmp_path) == ["a.backup", "home"]


def test_a_file_that_stands_there_is_replaced_only_by_force(
    services: Services, tmp_path: Path
) -> None:
    target = tmp_path / "a.backup"
    target.write_text("mine")
    with pytest.raises(BackupError, match="there already"):
        taken(services, target)
    assert target.read_text() == "mine"
    taken(services, target, force=True)
    assert entries_of(target)


@pytest.mark.parametrize("target", ["no-such-folder/a", "home"])
def test_a_target_that_can_be_none_is_refused_before_the_work(
    services: Services, tmp_path: Path, target: str
) -> None:
    with pytest.raises(BackupError):
        taken(services, tmp_path / target)


def test_images_that_the_store_lost_or_that_were_altered_are_told(
    services: Services, tmp_path: Path
) -> None:
    with services.database.read() as session:
        lost, altered, shortened = session.scalars(sa.text("SELECT sha256 FROM images LIMIT 3"))
    services.store.path(lost).unlink()
    for sha256, change in ((altered, b"x"), (shortened, b"")):
        path = services.store.path(sha256)
        path.write_bytes(path.read_bytes()[:-1] + change)
    report = taken(services, tmp_path / "a.backup")
    assert report.manifest.missing_images == 3
    assert set(report.missing) == {lost, altered, shortened}
    restored = restore(report.file, tmp_path / "new", bundles=NOTHING_SHIPPED)
    assert restored.manifest.images == 3


def test_a_store_that_is_away_is_no_store_without_images(
    services: Services, tmp_path: Path
) -> None:
    services.store.root.rename(tmp_path / "unmounted")
    with pytest.raises(Exception, match="is away"):
        taken(services, tmp_path / "a.backup")
    assert not (tmp_path / "a.backup").exists()


@pytest.mark.parametrize("steps", [1, 10**6])
def test_a_copy_is_of_one_commit_while_others_write(tmp_path: Path, steps: int) -> None:
    """Two tables that every commit changes alike are alike in every copy."""
    source = tmp_path / "busy.db"
    with closing(sqlite3.connect(source, isolation_level=None)) as setup:
        setup.execute("PRAGMA page_size=512")
        for table in ("a", "b"):
            setup.execute(f"CREATE TABLE {table} (n INTEGER, filler BLOB)")
            setup.execute(
                f"WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 300) "
                f"INSERT INTO {table} SELECT 0, zeroblob(400) FROM r"
            )
    ended = threading.Event()
    commits = [0]

    def write() -> None:
        with closing(sqlite3.connect(source, isolation_level=None, timeout=60)) as connection:
            while not ended.is_set():
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE a SET n = n + 1")
                connection.execute("UPDATE b SET n = n + 1")
                connection.execute("COMMIT")
                commits[0] += 1
                time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            before = commits[0]
            copy_database(source, tmp_path / f"{number}.db", step_pages=steps)
            while commits[0] == before:  # the writer goes on
                time.sleep(0.001)
            with closing(sqlite3.connect(tmp_path / f"{number}.db")) as copied:
                assert copied.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                seen = copied.execute(
                    "SELECT min(n), max(n) FROM (SELECT n FROM a UNION ALL SELECT n FROM b)"
                ).fetchone()
                assert seen[0] == seen[1]
                assert seen[0] >= before
    finally:
        ended.set()
        writer.join()


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_writer_between_all_steps_does_not_keep_the_copy_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: str
) -> None:
    """SQLite begins anew after each of its commits, and so, but with a WAL, writers are kept out
    after the first.
    """
    source = tmp_path / "busy.db"
    with closing(sqlite3.connect(source, isolation_level=None, timeout=0)) as writer:
        writer.execute(f"PRAGMA journal_mode={journal}")
        writer.execute("CREATE TABLE a (n INTEGER, filler BLOB)")
        writer.execute("INSERT INTO a VALUES (0, zeroblob(400000))")
        steps, refused = [0], [0]

        class WithWriter(copying._Watch):
            def __call__(self, *seen: int) -> None:
                steps[0] += 1
                assert steps[0] < 100, "it began anew for ever"
                try:
                    writer.execute("UPDATE a SET n = n + 1")
                except sqlite3.OperationalError:
                    refused[0] += 1
                super().__call__(*seen)

        monkeypatch.setattr(copying, "_Watch", WithWriter)
        copying.copy_database(source, tmp_path / "copy.db", step_pages=5)
        writer.execute("UPDATE a SET n = n + 1")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copied:
        assert copied.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copied.execute("SELECT n FROM a").fetchone() == (2,)
    # One step, one more that began anew, and then all of it: in steps while the writer waits, or
    # in one, of which it hears nothing.
    if journal == "delete":
        assert refused[0] == steps[0] - 2 > 10
    else:
        assert (steps, refused) == ([3], [0])


@pytest.mark.parametrize("ends", [True, False])
def test_a_copy_that_was_overtaken_waits_for_who_is_about_to_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """Whether the database keeps a WAL cannot be asked while somebody commits."""
    source = tmp_path / "busy.db"
    with closing(
        sqlite3.connect(source, isolation_level=None, timeout=0, check_same_thread=False)
    ) as writer:
        writer.execute("CREATE TABLE a (n INTEGER, filler BLOB)")
        writer.execute("INSERT INTO a VALUES (0, zeroblob(400000))")
        committing = threading.Timer(0.3, writer.execute, ["COMMIT"])
        overtaken = [False]

        class Overtaken(copying._Watch):
            def __call__(self, *seen: int) -> None:
                try:
                    if not overtaken[0]:
                        writer.execute("UPDATE a SET n = n + 1")
                    super().__call__(*seen)
                except copying._Overtaken:
                    overtaken[0] = True
                    writer.execute("BEGIN EXCLUSIVE")
                    if ends:
                        committing.start()
                    raise

        monkeypatch.setattr(copying, "_Watch", Overtaken)
        target = tmp_path / "copy.db"
        if not ends:
            with pytest.raises(BackupError, match="was locked for 1 s by another process"):
                copying.copy_database(source, target, step_pages=5, patience_s=1)
            return
        copying.copy_database(source, target, step_pages=5)
        committing.join()
        assert overtaken[0]
    with closing(sqlite3.connect(target)) as copied:
        assert copied.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@dataclasses.dataclass
class SlowCopy:
    """A copy that keeps writers out until it is told to hurry, though not longer than ten seconds.

    It gets on all the while: for one that does not, nobody waits.
    """

    source: Path
    copy: Path
    hurry: threading.Event = dataclasses.field(default_factory=threading.Event)

    @property
    def keeps_out(self) -> bool:
        return copy_mark(self.source).exists()

    def begin(self) -> threading.Thread:
        """Returns once writers are kept out."""
        copying_ = threading.Thread(
            target=copy_database, args=(self.source, self.copy), kwargs={"step_pages": 1}
        )
        copying_.start()
        while not self.keeps_out:
            assert copying_.is_alive()
            time.sleep(0.001)
        return copying_


@pytest.fixture
def slow_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowCopy]:
    """Of a database to which something was written after the first step."""
    slow = SlowCopy(tmp_path / "large.db", tmp_path / "copy.db")
    connected = sqlite3.connect(slow.source, isolation_level=None, check_same_thread=False)
    with closing(connected) as setup:
        setup.execute("CREATE TABLE a (n INTEGER, filler BLOB)")
        setup.execute("INSERT INTO a VALUES (0, zeroblob(400000))")

        class Slow(copying._Watch):
            def __call__(self, *seen: int) -> None:
                if slow.keeps_out:
                    slow.hurry.wait(0.1)
                else:
                    setup.execute("UPDATE a SET n = n + 1")
                super().__call__(*seen)

        monkeypatch.setattr(copying, "_Watch", Slow)
        yield slow


def begin_to_write(database: Database) -> None:
    with database.write("test") as session:
        session.execute(sa.text("SELECT 1"))


@pytest.mark.skipif(wal_is_safe(), reason="with a WAL nobody is kept out")
def test_while_a_backup_keeps_writers_out_who_reads_goes_on_and_they_wait(
    slow_copy: SlowCopy,
) -> None:
    """Far beyond the time for which they wait for anybody else."""
    wait_s = 0.5
    database = Database(f"sqlite:///{slow_copy.source}", wait_s=wait_s)
    copying_ = slow_copy.begin()

    def write() -> None:
        with database.write("test") as session:
            session.execute(sa.text("UPDATE a SET n = 1000"))
            session.commit()

    writer = threading.Thread(target=write)
    writer.start()
    until = time.monotonic() + 3 * wait_s
    while time.monotonic() < until:
        with database.read() as session:
            assert session.scalar(sa.text("SELECT n FROM a")) == 2
        time.sleep(0.01)
    assert writer.is_alive()
    assert slow_copy.keeps_out
    slow_copy.hurry.set()
    for thread in (copying_, writer):
        thread.join()
    with closing(sqlite3.connect(slow_copy.source)) as source:
        assert source.execute("SELECT n FROM a").fetchone() == (1000,)
    with closing(sqlite3.connect(slow_copy.copy)) as copied:
        assert copied.execute("SELECT n FROM a").fetchone() == (2,)
    database.close()


@pytest.mark.skipif(wal_is_safe(), reason="with a WAL nobody is kept out")
@pytest.mark.parametrize("backup_wait_s", [0.0, 0.3])
def test_a_wait_for_a_backup_is_bounded(slow_copy: SlowCopy, backup_wait_s: float) -> None:
    database = Database(f"sqlite:///{slow_copy.source}", wait_s=0.15, backup_wait_s=backup_wait_s)
    copying_ = slow_copy.begin()
    with pytest.raises(OperationalError, match="locked"):
        begin_to_write(database)
    assert slow_copy.keeps_out
    slow_copy.hurry.set()
    copying_.join()
    begin_to_write(database)
    database.close()


def test_a_mark_that_a_killed_backup_left_keeps_nobody_waiting(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}", wait_s=0.02)
    copy_mark(tmp_path / "a.db").touch()
    with database.write("test") as session:
        session.execute(sa.text("CREATE TABLE a (n INTEGER)"))
        session.commit()
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked"):
            begin_to_write(database)
    # The next backup takes it over.
    copy_database(tmp_path / "a.db", tmp_path / "copy.db")
    database.close()


@pytest.mark.parametrize("held", [b"neither empty nor a database" * 1000, b"SQLite format 3\0"])
def test_what_the_target_of_a_copy_held_is_gone(tmp_path: Path, held: bytes) -> None:
    """A copy that was broken off has no journal: nothing of it may be read again."""
    source, target = tmp_path / "source.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(source, isolation_level=None)) as setup:
        setup.execute("CREATE TABLE a (n INTEGER)")
        setup.execute("INSERT INTO a VALUES (7)")
    target.write_bytes(held)
    copy_database(source, target)
    with closing(sqlite3.connect(target)) as copied:
        assert copied.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copied.execute("SELECT n FROM a").fetchone() == (7,)


def test_a_database_that_stays_locked_ends_the_copy(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "locked.db", isolation_level=None)) as holder:
        holder.execute("CREATE TABLE a (n INTEGER)")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BackupError, match="locked"):
            copy_database(tmp_path / "locked.db", tmp_path / "copy.db", patience_s=0.2)


def test_a_full_disk_ends_it_with_what_to_do_and_leaves_nothing(
    services: Services, tmp_path: Path
) -> None:
    """With a bound on the size of files, which the kernel meets as it meets a full disk."""
    whole = taken(services, tmp_path / "whole").bytes
    database_bytes = (services.folder / "atelier.db").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for bound in (100_000, database_bytes + 4096, whole - 600):
        resource.setrlimit(resource.RLIMIT_FSIZE, (bound, before[1]))
        try:
            with pytest.raises(BackupError, match=r"[Mm]ake room"):
                taken(services, tmp_path / "a.backup")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert left_beside(tmp_path) == ["home", "whole"]


def test_a_disk_without_room_for_the_images_is_seen_before_they_are_copied(
    services: Services, tmp_path: Path
) -> None:
    with services.database.write("test") as session:
        session.execute(sa.text("UPDATE images SET size_bytes = 1000000000000000000"))
        session.commit()
    with pytest.raises(BackupError, match="Make room"):
        taken(services, tmp_path / "a.backup")
    assert left_beside(tmp_path) == ["home"]


def test_what_a_killed_backup_left_is_removed_by_a_later_one(
    services: Services, tmp_path: Path
) -> None:
    old, young = tmp_path / ".a.backup.1.partial", tmp_path / ".a.backup.2.partial"
    for folder in (old, young):
        folder.mkdir()
        (folder / "tape").write_bytes(b"half")
    long_ago = time.time() - STALE_SECONDS - 60
    for path in (old / "tape", old):
        os.utime(path, (long_ago, long_ago))
    taken(services, tmp_path / "a.backup")
    assert left_beside(tmp_path) == [young.name, "a.backup", "home"]


# Restoring it


def test_a_restored_installation_is_the_same_and_its_work_is_finished(
    services: Services, tmp_path: Path
) -> None:
    accounts.add(services.database, "ada", Role.ADMIN, None, now=services.clock.now())
    token = accounts.make_link(services.database, "ada", now=services.clock.now())
    accounts.enter_by_link(services.database, token, now=services.clock.now())
    accounts.make_link(services.database, "ada", now=services.clock.now())
    backup = taken(services, tmp_path / "a.backup").file
    report = restore(backup, tmp_path / "new", bundles=NOTHING_SHIPPED)
    assert (report.released.leases, report.released.sessions, report.released.links) == (2, 1, 1)
    assert report.missing_models == ("shades:1",)
    database = Database(f"sqlite:///{tmp_path / 'new' / 'atelier.db'}")
    try:
        for table in ("products", "predictions", "upload_items", "images", "users", "audit_keys"):
            assert rows(database, table) == rows(services.database, table)
        for table in ("web_sessions", "login_links", "leaders", "reservations"):
            assert rows(database, table) == []
        with database.read() as session:
            kept = session.execute(
                sa.text("SELECT state, attempts, crashes, lease_token FROM batches ORDER BY id")
            ).all()
        assert kept == [("done", 1, 0, None), ("queued", 0, 0, None), ("queued", 0, 0, None)]
        other = services_over(database, tmp_path / "new", services)
        # The doorbell there is silent; its sweeper rings for what is queued.
        for _ in range(8):
            other.clock.seconds += 2
            other.sweeper.step()
        other.tag_all()
        with database.read() as session:
            left = session.scalar(sa.text("SELECT count(*) FROM products WHERE status = 'queued'"))
        assert left == 0
        found = DeepCheck(database=database, store=other.store, now=other.clock.now()).run()
        assert [one for one in found if one.count] == []
    finally:
        database.close()


def services_over(database: Database, folder: Path, before: Services) -> Services:
    """Services over a restored database, whose clock goes on."""
    found = make_services(database, folder)
    found.clock.seconds = before.clock.seconds + 60
    return found


def test_a_restored_folder_is_for_its_owner_alone(backup: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        restore(backup, tmp_path / "new", bundles=NOTHING_SHIPPED)
    finally:
        os.umask(before)
    found = {path: path.lstat().st_mode & 0o777 for path in (tmp_path / "new").rglob("*")}
    assert {mode for path, mode in found.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in found.items() if path.is_file()} == {0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_an_older_backup_is_brought_to_this_versions_schema(
    services: Services, tmp_path: Path
) -> None:
    schema.downgrade(services.database, "0009")
    backup = taken(services, tmp_path / "a.backup")
    assert backup.manifest.migration == "0009"
    report = restore(backup.file, tmp_path / "new", bundles=NOTHING_SHIPPED)
    assert (report.manifest.migration, report.migration) == ("0009", schema.head())
    database = Database(f"sqlite:///{tmp_path / 'new' / 'atelier.db'}")
    schema.require_current(database)
    database.close()


def test_models_travel_with_it_and_are_found_at_their_new_place(
    services: Services, tmp_path: Path
) -> None:
    from tagging.database import models
    from tagging.model_card import card_fingerprint, read_bundle
    from worker.bootstrap import DEFAULT_BUNDLE

    card = read_bundle(DEFAULT_BUNDLE)
    own = services.folder / "models" / "mine-1"
    own.mkdir(parents=True)
    for name in (*card.files, "card.json"):
        (own / name).write_bytes((DEFAULT_BUNDLE / name).read_bytes())
    with services.database.write("test") as session:
        models.register(session, card, own, now=services.clock.now())
        session.commit()
    fingerprint = card_fingerprint(card)

    # One that comes with Atelier stays out, and is found where it is on that machine.
    shipped = Bundles(shipped={fingerprint: DEFAULT_BUNDLE}, folders=())
    report = taken(services, tmp_path / "shipped", bundles=shipped)
    assert report.manifest.models == {}
    restore(report.file, tmp_path / "one", bundles=shipped)
    assert model_paths(tmp_path / "one")[1] == str(DEFAULT_BUNDLE)

    report = taken(services, tmp_path / "own")
    assert len(report.manifest.models) == 1
    restore(report.file, tmp_path / "two", bundles=NOTHING_SHIPPED)
    moved = tmp_path / "two" / "models" / f"{card.name}-{card.version}"
    assert model_paths(tmp_path / "two")[1] == str(moved)
    assert card_fingerprint(read_bundle(moved)) == fingerprint

    (own / card.weights).write_bytes(b"altered")
    report = taken(services, tmp_path / "altered")
    assert report.manifest.models == {}
    assert any(card.title in one for one in report.left_out)


def test_a_model_that_is_replaced_meanwhile_is_kept_whole(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tagging.database import models
    from tagging.model_card import card_fingerprint, read_bundle
    from tests.faults.stand_in_worker import write_bundle

    own = write_bundle(tmp_path / "mine", "7")
    other = write_bundle(tmp_path / "other", "8")
    card = read_bundle(own)
    with services.database.write("test") as session:
        models.register(session, card, own, now=services.clock.now())
        session.commit()
    plain, struck = TapeWriter.add, []

    def add(tape: TapeWriter, name: str, *given: Any, **named: Any) -> str | None:
        found = plain(tape, name, *given, **named)
        if name.startswith("models/") and not struck:  # its first file is in the backup
            struck.append(name)
            (own / "card.json").write_bytes((other / "card.json").read_bytes())
            (own / "none").write_bytes(b"cut")
        return found

    monkeypatch.setattr(TapeWriter, "add", add)
    report = taken(services, tmp_path / "a.backup")
    assert len(struck) == 1
    restore(report.file, tmp_path / "new", bundles=NOTHING_SHIPPED)
    kept = read_bundle(tmp_path / "new" / "models" / "shades-7")
    assert card_fingerprint(kept) == card_fingerprint(card)


def model_paths(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "atelier.db")) as connection:
        return [path for (path,) in connection.execute("SELECT path FROM models ORDER BY id")]


@pytest.mark.parametrize("there", ["atelier.db", ".hidden"])
def test_a_folder_that_is_not_empty_is_left_alone(backup: Path, tmp_path: Path, there: str) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / there).write_text("mine")
    with pytest.raises(BackupError, match=f"it has {there}"):
        restore(backup, tmp_path / "new", bundles=NOTHING_SHIPPED)
    assert left_beside(tmp_path / "new") == [there]
    (tmp_path / "new" / there).unlink()
    restore(backup, tmp_path / "new", bundles=NOTHING_SHIPPED)


def without_manifest(entries: list[Member]) -> list[Member]:
    return entries[:-1]


def with_name(name: str, at: int = 1) -> Callable[[list[Member]], list[Member]]:
    """A further file of this name, before the others but the database."""

    def change(entries: list[Member]) -> list[Member]:
        return [*entries[:at], (tarfile.TarInfo(name), b"hostile"), *entries[at:]]

    return change


def with_type(kind: bytes, to: str) -> Callable[[list[Member]], list[Member]]:
    def change(entries: list[Member]) -> list[Member]:
        info = tarfile.TarInfo("images/00/00/" + "0" * 64)
        info.type, info.linkname = kind, to
        return [entries[0], (info, b""), *entries[1:]]

    return change


def with_other_bytes(entries: list[Member]) -> list[Member]:
    info, content = entries[1]
    return [entries[0], (info, content[:-1] + bytes([content[-1] ^ 1])), *entries[2:]]


def in_another_place(entries: list[Member]) -> list[Member]:
    info, content = entries[1]
    info.name = "images/00/00/" + info.name.rpartition("/")[2]
    return [entries[0], (info, content), *entries[2:]]


def with_another_image(entries: list[Member]) -> list[Member]:
    content = b"an image that no row names"
    sha256 = hashlib.sha256(content).hexdigest()
    extra = (tarfile.TarInfo(f"images/{sha256[:2]}/{sha256[2:4]}/{sha256}"), content)
    return manifested([entries[0], extra, *entries[1:]], images=len(entries) - 1)


def without_an_image(entries: list[Member]) -> list[Member]:
    return manifested([entries[0], *entries[2:]], images=len(entries) - 3)


def twice_an_image(entries: list[Member]) -> list[Member]:
    return [*entries[:2], *entries[1:]]


def manifested(entries: list[Member], **changes: Any) -> list[Member]:
    info, content = entries[-1]
    return [*entries[:-1], (info, json.dumps({**json.loads(content), **changes}).encode())]


def with_altered_database(entries: list[Member]) -> list[Member]:
    info, content = entries[0]
    return [(info, content[:-1] + bytes([content[-1] ^ 1])), *entries[1:]]


def with_statements(*statements: str) -> Callable[[list[Member]], list[Member]]:
    """Another database, with a manifest that fits it."""

    def change(entries: list[Member]) -> list[Member]:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.deserialize(entries[0][1])
            for statement in statements:
                connection.execute(statement)
            content = connection.serialize()
        return manifested(
            [(entries[0][0], content), *entries[1:]],
            database_bytes=len(content),
            database_sha256=hashlib.sha256(content).hexdigest(),
        )

    return change


def with_torn_pages(entries: list[Member]) -> list[Member]:
    info, content = entries[0]
    torn = content[: len(content) // 2] + b"\x5a" * 8192 + content[len(content) // 2 + 8192 :]
    return manifested(
        [(info, torn), *entries[1:]], database_sha256=hashlib.sha256(torn).hexdigest()
    )


HOSTILE: dict[str, tuple[Callable[[list[Member]], list[Member]], str]] = {
    "no manifest": (without_manifest, "no manifest"),
    "after the manifest": (lambda e: [*e, e[1]], "no place"),
    "a path that leaves": (with_name("../../outside"), "no place"),
    "an absolute path": (with_name("/tmp/outside"), "no place"),
    "a model's path that leaves": (with_name("models/1/../../../outside"), "no place"),
    "a model's hidden file": (with_name("models/1/.profile"), "no place"),
    "a model of no row's number": (with_name("models/x/card.json"), "no place"),
    "an image's path that leaves": (with_name("images/00/../" + "0" * 64), "no place"),
    "a foreign file": (with_name("worker.log"), "no place"),
    "a second database": (with_name("atelier.db"), "no place"),
    "a long name": (with_name("images/" + "a" * 200), "no plain file"),
    "something before the database": (with_name("manifest.json", at=0), "begins with"),
    "a link": (with_type(tarfile.SYMTYPE, "/etc/passwd"), "no plain file"),
    "a hard link": (with_type(tarfile.LNKTYPE, "atelier.db"), "no plain file"),
    "a folder": (with_type(tarfile.DIRTYPE, ""), "no plain file"),
    "a device": (with_type(tarfile.CHRTYPE, ""), "no plain file"),
    "a pipe": (with_type(tarfile.FIFOTYPE, ""), "no plain file"),
    "a sparse file": (with_type(tarfile.GNUTYPE_SPARSE, ""), "no plain file"),
    "other bytes": (with_other_bytes, "the bytes of image"),
    "an image in another place": (in_another_place, "the bytes of image"),
    "an image that no row names": (with_another_image, "does not name"),
    "an image less": (without_an_image, "are not in it"),
    "an image twice": (twice_an_image, "its manifest says"),
    "an altered database": (with_altered_database, "not what its manifest"),
    "a torn database": (with_torn_pages, "damaged|cannot be"),
    "a newer migration": (
        with_statements("UPDATE alembic_version SET version_num = '9999'"),
        "made by a newer one",
    ),
    "a view without end in the place of a table": (
        with_statements(
            "DROP TABLE alembic_version",
            "CREATE VIEW alembic_version AS WITH RECURSIVE more(version_num) AS "
            "(SELECT 'x' UNION ALL SELECT version_num FROM more) SELECT version_num FROM more",
        ),
        "has a view alembic_version",
    ),
    "a view under the name of ours": (
        with_statements(
            "PRAGMA writable_schema = ON",
            "DELETE FROM sqlite_master WHERE tbl_name = 'alembic_version'",
            "UPDATE sqlite_master SET sql = 'CREATE VIEW alembic_version AS "
            "WITH RECURSIVE more(version_num) AS (SELECT 1 UNION ALL SELECT version_num FROM more) "
            "SELECT version_num FROM more' WHERE name = 'tagged_catalog'",
        ),
        "tagged_catalog",  # newer releases of SQLite refuse it themselves
    ),
    "a column that is computed without end": (
        with_statements(
            "ALTER TABLE images ADD COLUMN more TEXT AS (hex(zeroblob(400000000))) VIRTUAL"
        ),
        "has a column images.more",
    ),
    "a virtual table": (
        with_statements("CREATE VIRTUAL TABLE words USING fts5(word)"),
        "has a table words",
    ),
    "an index of huge values, once batches wait again": (
        with_statements(
            "CREATE INDEX more ON batches "
            "(length(zeroblob(CASE WHEN announced_at IS NULL THEN 70000000 ELSE 1 END)))"
        ),
        "cannot be used: string or blob too big",
    ),
    "no migration": (with_statements("DELETE FROM alembic_version"), "migration none"),
    "a model that is not the one of its row": (
        lambda e: manifested(
            with_name("models/1/card.json")(e),
            models={"1": {"card.json": hashlib.sha256(b"hostile").hexdigest()}},
        ),
        "a model in the backup is damaged",
    ),
    "a manifest of another form": (lambda e: manifested(e, format=2), "cannot be read"),
    "a manifest that is none": (lambda e: [*e[:-1], (e[-1][0], b"{")], "cannot be read"),
    "a huge manifest": (lambda e: [*e[:-1], (e[-1][0], b" " * (2 << 20))], "no place"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_backup_puts_nothing_in_place(backup: Path, tmp_path: Path, case: str) -> None:
    change, said = HOSTILE[case]
    write_entries(tmp_path / "b.backup", change(entries_of(backup)))
    before = left_beside(tmp_path)
    with pytest.raises(BackupError, match=said):
        restore(tmp_path / "b.backup", tmp_path / "new", bundles=NOTHING_SHIPPED)
    assert left_beside(tmp_path) == before


def test_what_is_rewritten_unchanged_is_restored(backup: Path, tmp_path: Path) -> None:
    """So that what refuses the hostile ones is what was changed in them."""
    write_entries(tmp_path / "b.backup", with_statements("SELECT 1")(entries_of(backup)))
    restore(tmp_path / "b.backup", tmp_path / "new", bundles=NOTHING_SHIPPED)


def test_triggers_of_others_are_dropped_and_told(backup: Path, tmp_path: Path) -> None:
    body = "AFTER DELETE ON web_sessions BEGIN DELETE FROM products; END"
    changed = with_statements(
        f"CREATE TRIGGER plain {body}",
        f'CREATE TRIGGER "odd ""%s name" {body}',
        "CREATE TRIGGER leases AFTER UPDATE ON batches BEGIN DELETE FROM products; END",
    )
    write_entries(tmp_path / "b.backup", changed(entries_of(backup)))
    report = restore(tmp_path / "b.backup", tmp_path / "new", bundles=NOTHING_SHIPPED)
    assert report.dropped_triggers == ("leases", 'odd "%s name', "plain")
    with closing(sqlite3.connect(tmp_path / "new" / "atelier.db")) as connection:
        assert connection.execute("SELECT count(*) FROM products").fetchone() == (6,)
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
        left = [name for (name,) in connection.execute(query)]
    assert left == sorted(SQLITE_TRIGGERS)


def test_after_a_restore_products_are_counted_as_before(backup: Path, tmp_path: Path) -> None:
    """Also where somebody gave the name of one of our triggers to another."""
    changed = with_statements(
        "DROP TRIGGER products_moved",
        "CREATE TRIGGER products_moved AFTER UPDATE ON web_sessions BEGIN SELECT 1; END",
        "UPDATE product_counts SET products = products + 7",
    )
    write_entries(tmp_path / "b.backup", changed(entries_of(backup)))
    report = restore(tmp_path / "b.backup", tmp_path / "new", bundles=NOTHING_SHIPPED)
    assert report.dropped_triggers == ()
    counted = "SELECT status, sum(products) FROM product_counts GROUP BY 1 HAVING sum(products)"
    stand = "SELECT status, count(*) FROM products GROUP BY 1"
    with closing(sqlite3.connect(tmp_path / "new" / "atelier.db")) as connection:
        assert set(connection.execute(counted)) == set(connection.execute(stand))
        connection.execute("UPDATE products SET status = 'failed' WHERE id = 1")
        assert set(connection.execute(counted)) == set(connection.execute(stand))


def test_the_triggers_are_those_of_the_migration(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    schema.upgrade(database)
    with database.read() as session:
        query = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        found = {name: " ".join(sql.split()) for name, sql in session.execute(query)}
    database.close()
    assert found == SQLITE_TRIGGERS


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_backup_that_was_cut_off_is_refused(backup: Path, tmp_path: Path, part: float) -> None:
    content = backup.read_bytes()
    (tmp_path / "part").write_bytes(content[: int(len(content) * part)])
    with pytest.raises(BackupError, match=r"ends too early|no backup"):
        restore(tmp_path / "part", tmp_path / "new", bundles=NOTHING_SHIPPED)
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_no_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(picture(3) * 100)
    with pytest.raises(BackupError, match="no backup"):
        restore(tmp_path / "photo.png", tmp_path / "new", bundles=NOTHING_SHIPPED)
    with pytest.raises(BackupError, match="cannot be read"):
        restore(tmp_path / "nothing", tmp_path / "new", bundles=NOTHING_SHIPPED)
