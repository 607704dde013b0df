"""What falls silent is taken back; what is forgotten is announced again."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from tagging import filing
from tagging.database import batches, leaders, models
from tagging.database.batches import Lease
from tagging.database.session import Database
from tagging.database.tables import (
    Batch,
    BatchItem,
    BatchState,
    Image,
    Leader,
    Product,
    Retag,
    RetagScope,
    RetagState,
    Upload,
    UploadItem,
    UploadState,
)
from tagging.domain import FailureCode, ItemOutcome, Status
from tagging.ingest import Ingest
from tagging.retag import Asked, Retagging
from tagging.settings import LOOKS
from tagging.sweep import ROLE
from tagging.worker_names import name_here
from tests.integration.test_ingest_and_tag import deliver, listed, write_folder
from tests.stand_in import Services, make_services


def lease(services: Services, batch_id: int, *, alone: bool = False) -> Lease:
    with services.database.write("test") as session:
        held = batches.lease(session, batch_id, token=f"t{batch_id}", worker="w", alone=alone)
        session.commit()
    assert held is not None
    return held


def pass_time(services: Services, seconds: float, *, step: float = 2.0) -> None:
    """Let the sweeper look every `step` seconds for so long."""
    until = services.clock.seconds + seconds
    while services.clock.seconds < until:
        services.clock.seconds += step
        services.sweeper.step()


def batch_of(services: Services, batch_id: int) -> Batch:
    with services.database.read() as session:
        return session.get_one(Batch, batch_id)


def all_batches(services: Services) -> list[Batch]:
    with services.database.read() as session:
        return list(session.scalars(sa.select(Batch).order_by(Batch.id)))


@pytest.fixture
def delivered(services: Services, tmp_path: Path) -> Services:
    """Three products in one batch."""
    deliver(services, write_folder(tmp_path / "in", {f"{i}.png": 255 for i in range(3)}))
    return services


def test_a_silent_lease_is_taken_back_and_announced_again(delivered: Services) -> None:
    (batch_id,) = delivered.bell.messages
    delivered.bell.messages.clear()
    lease(delivered, batch_id)
    pass_time(delivered, 8)
    assert batch_of(delivered, batch_id).state is BatchState.LEASED
    pass_time(delivered, 20)
    assert batch_of(delivered, batch_id).state is BatchState.QUEUED
    assert delivered.bell.messages == [batch_id]
    delivered.tag_all()
    assert {line.status for line in listed(delivered).values()} == {Status.TAGGED}


def test_a_lease_that_beats_is_left_alone(delivered: Services) -> None:
    held = lease(delivered, delivered.bell.messages[0])
    for _ in range(30):
        pass_time(delivered, 4)
        with delivered.database.write("test") as session:
            batches.beat(session, [held])
            session.commit()
    assert batch_of(delivered, held.batch_id).state is BatchState.LEASED


def test_a_database_that_was_away_costs_nobody_a_lease(
    delivered: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> bool:
        raise OperationalError("UPDATE", {}, Exception("away"))

    held = lease(delivered, delivered.bell.messages[0])
    pass_time(delivered, 8)
    with monkeypatch.context() as patch:
        patch.setattr(leaders, "keep_chair", away)
        for _ in range(300):
            delivered.clock.seconds += 2
            with pytest.raises(OperationalError):
                delivered.sweeper.step()
    pass_time(delivered, 8)
    assert batch_of(delivered, held.batch_id).state is BatchState.LEASED


def test_two_crashes_split_a_batch_and_no_product_is_lost(delivered: Services) -> None:
    batch_id = delivered.bell.messages.pop()
    for _ in range(2):
        lease(delivered, batch_id)
        pass_time(delivered, 14)
    whole, *parts = all_batches(delivered)
    assert whole.state is BatchState.SPLIT
    assert [(part.products, part.attempts, part.crashes) for part in parts] == [(1, 0, 0)] * 3
    pass_time(delivered, 20)
    delivered.tag_all()
    assert {line.status for line in listed(delivered).values()} == {Status.TAGGED}


def test_a_product_that_crashes_three_workers_alone_fails_and_its_neighbours_do_not(
    delivered: Services,
) -> None:
    batch_id = delivered.bell.messages.pop()
    for _ in range(2):
        lease(delivered, batch_id)
        pass_time(delivered, 14)
    poison = all_batches(delivered)[1].id
    for _ in range(3):
        lease(delivered, poison, alone=True)
        pass_time(delivered, 50)
    delivered.tag_all()
    statuses = [line.status for line in listed(delivered).values()]
    assert sorted(statuses) == [Status.FAILED, Status.TAGGED, Status.TAGGED]
    (failed,) = [line for line in listed(delivered).values() if line.status is Status.FAILED]
    assert failed.failure_code == FailureCode.WORKER_CRASH
    assert "3 workers" in str(failed.failure_detail)


@pytest.mark.parametrize(("crashes", "pause_s"), [(1, 15), (2, 30)])
def test_what_may_have_ended_a_worker_lets_other_work_go_first(
    services: Services, tmp_path: Path, crashes: int, pause_s: int
) -> None:
    """If something else ends workers, it is not the same product that is in hand each time."""
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    batch_id = services.bell.messages.pop()
    with services.database.write("test") as session:
        # As if it had been hindered before: its pause is not of the kind that others' luck ends.
        session.execute(
            sa.update(Batch).values(crashes=crashes - 1, last_error="no model", hindered=2)
        )
        session.commit()
    lease(services, batch_id, alone=True)
    while batch_of(services, batch_id).state is BatchState.LEASED:
        pass_time(services, 1, step=1.0)
    taken_back = services.clock.seconds
    deliver(services, write_folder(tmp_path / "other", {"b.png": 255}))
    services.bell.messages.append(batch_id)  # the one that its worker never acknowledged
    services.tag_all()
    with services.database.write("test") as session:
        batches.resume(session)
        session.commit()
    assert {sku: line.status for sku, line in listed(services).items()} == {
        "a": Status.QUEUED,
        "b": Status.TAGGED,
    }
    while not services.bell.messages:
        pass_time(services, 1, step=1.0)
    assert services.clock.seconds - taken_back >= pause_s
    services.tag_all()
    assert listed(services)["a"].status is Status.TAGGED
    assert batch_of(services, batch_id).crashes == crashes


def test_a_crash_beside_other_work_does_not_count_against_a_single_product(
    services: Services, tmp_path: Path
) -> None:
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    (batch_id,) = services.bell.messages
    for _ in range(5):
        lease(services, batch_id, alone=False)
        pass_time(services, 14)
    assert batch_of(services, batch_id).crashes == 0
    with services.database.read() as session:
        found = batches.due(session, batch_id, now=services.clock.now())
    assert found is not None
    assert found.alone


def test_of_two_workers_that_saw_it_queued_one_gets_it(delivered: Services) -> None:
    (batch_id,) = delivered.bell.messages
    held = lease(delivered, batch_id)
    with delivered.database.write("test") as session:
        assert (
            batches.lease(
                session,
                batch_id,
                token="second",
                worker="w",
                alone=False,
                model_id=delivered.model_id,
            )
            is None
        )
    assert batch_of(delivered, batch_id).lease_token == held.token


def test_a_photo_that_replaced_what_brought_down_workers_is_not_failed_for_it(
    services: Services, tmp_path: Path
) -> None:
    source = write_folder(tmp_path / "in", {"a.png": 255})
    deliver(services, source)
    (batch_id,) = services.bell.messages
    for number in range(3):
        lease(services, batch_id, alone=True)
        if number == 2:
            deliver(services, write_folder(source, {"a.png": 0}))
        pass_time(services, 14)
    assert batch_of(services, batch_id).state is BatchState.DONE
    assert listed(services)["a"].status is Status.QUEUED
    services.tag_all()
    assert listed(services)["a"].category == "Dark"


def test_every_product_of_a_split_batch_is_in_one_part(services: Services, tmp_path: Path) -> None:
    """Whatever their number is to sixteen."""
    services.ingest = dataclasses.replace(services.ingest, batch_images=40)
    deliver(services, write_folder(tmp_path / "in", {f"{i:02}.png": 255 for i in range(37)}))
    batch_id = services.bell.messages.pop()
    for _ in range(2):
        lease(services, batch_id)
        pass_time(services, 14)
    whole, *parts = all_batches(services)
    assert whole.state is BatchState.SPLIT
    assert [part.products for part in parts] == [3] * 12 + [1]
    with services.database.read() as session:
        carried = session.scalars(
            sa.select(BatchItem.product_id)
            .where(BatchItem.batch_id.in_([part.id for part in parts]))
            .order_by(BatchItem.product_id)
        ).all()
        assert carried == session.scalars(sa.select(Product.id).order_by(Product.id)).all()
    pass_time(services, 20)
    services.tag_all()
    assert {line.status for line in listed(services).values()} == {Status.TAGGED}


def test_giving_back_counts_as_no_attempt(delivered: Services) -> None:
    held = lease(delivered, delivered.bell.messages[0])
    with delivered.database.write("test") as session:
        assert batches.give_back(session, held)
        session.commit()
    batch = batch_of(delivered, held.batch_id)
    assert (batch.state, batch.attempts, batch.crashes) == (BatchState.QUEUED, 0, 0)


def test_a_stale_lease_can_neither_finish_nor_give_back_nor_beat(delivered: Services) -> None:
    held = lease(delivered, delivered.bell.messages[0])
    pass_time(delivered, 14)
    before = batch_of(delivered, held.batch_id).beat
    with delivered.database.write("test") as session:
        assert not batches.finish(session, held, now=delivered.clock.now())
        assert not batches.give_back(session, held)
        batches.beat(session, [held])
        session.commit()
    assert batch_of(delivered, held.batch_id).beat == before


def of_gone() -> str:
    """The name of a worker of this machine that was."""
    done = subprocess.run(
        [sys.executable, "-c", "from tagging.worker_names import name_here; print(name_here())"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def held_by(services: Services, worker: str) -> Batch:
    """Its batch, which this worker holds, after the first look of who sits in the chair."""
    services.sweeper.step()
    held = lease(services, services.bell.messages.pop())
    with services.database.write("test") as session:
        session.execute(sa.update(Batch).values(lease_worker=worker))
        session.commit()
    services.clock.seconds += 0.5
    services.sweeper.step()
    return batch_of(services, held.batch_id)


def test_of_a_worker_that_is_gone_nothing_is_waited_for(delivered: Services) -> None:
    batch = held_by(delivered, of_gone())
    assert (batch.state, batch.crashes) == (BatchState.QUEUED, 1)
    assert delivered.bell.messages == [batch.id]


@pytest.mark.parametrize("worker", ["alive", "elsewhere", "of another boot", "w"])
def test_of_who_may_be_there_silence_alone_tells(delivered: Services, worker: str) -> None:
    host, pid, place = of_gone().split(":")
    boot, namespace = place.split("-")
    name = {
        "alive": name_here(),
        "elsewhere": f"{host}:{pid}:{boot}-{int(namespace) + 1}",
        "of another boot": f"{host}:{pid}:00000000-{namespace}",
    }.get(worker, worker)
    batch = held_by(delivered, name)
    assert batch.state is BatchState.LEASED
    pass_time(delivered, 14)
    assert batch_of(delivered, batch.id).state is BatchState.QUEUED


def test_the_chair_of_who_is_gone_is_taken_at_once(delivered: Services) -> None:
    with delivered.database.write("test") as session:
        session.add(Leader(role=ROLE, holder=f"{of_gone()}:1234abcd", beat=7))
        session.commit()
    delivered.sweeper.step()
    assert delivered.sweeper.in_chair


def test_a_lease_beats_while_another_one_is_written(postgresql_url: str, tmp_path: Path) -> None:
    """Whose row is locked for as long as that takes, which may be longer than others' patience."""
    database = Database(postgresql_url)
    services = make_services(database, tmp_path, batch_images=1)
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255, "b.png": 0}))
    written, other = [lease(services, batch_id) for batch_id in services.bell.messages]
    before = batch_of(services, other.batch_id).beat
    with database.write("test") as writing:
        assert batches.finish(writing, written, now=services.clock.now())
        with database.write("test") as session:
            session.execute(sa.text("SET LOCAL lock_timeout = '1s'"))
            batches.beat(session, [written, other])
            session.commit()
        writing.commit()
    assert batch_of(services, other.batch_id).beat == before + 1
    assert batch_of(services, written.batch_id).state is BatchState.DONE
    database.close()


def test_between_two_waits_for_the_database_the_sweeper_says_that_it_moved_on(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may take long, and none may be taken for a hang together with the next."""
    deliver(services, write_folder(tmp_path / "in", {f"{i}.png": 255 for i in range(9)}))
    services.sweeper.step()
    services.tag_all()
    happened: list[str] = []
    monkeypatch.setattr(
        "tagging.database.session.commitpoint",
        lambda transaction, moment: happened.append(f"{transaction}.{moment}"),
    )
    services.retagging.request(Asked(scope=RetagScope.ALL), None, by="ann")
    happened.clear()
    for _ in range(5):
        services.clock.seconds += 2
        services.sweeper.step(on_progress=lambda: happened.append("moved on"))
    written = [at for at, what in enumerate(happened) if what == "sweep.keep_chair.commit"]
    assert len(written) > 5
    assert "retag.page.committed" in happened
    for at in written[1:]:
        assert happened[at - 1] == happened[at + 2] == "moved on"


def test_a_wiped_broker_is_filled_again_but_never_flooded(
    services: Services, tmp_path: Path
) -> None:
    deliver(services, write_folder(tmp_path / "in", {f"{i}.png": i for i in range(40)}))
    assert len(services.bell.messages) == 10
    services.bell.messages.clear()
    pass_time(services, 120)
    assert sorted(services.bell.messages) == [batch.id for batch in all_batches(services)]
    services.tag_all()
    assert Status.QUEUED not in {line.status for line in listed(services).values()}


def test_filing_that_was_cut_off_is_taken_up(services: Services, tmp_path: Path) -> None:
    summary = deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    with services.database.write("test") as session:
        upload = session.get_one(Upload, summary.upload_id)
        upload.state, upload.filed_at = UploadState.RECEIVED, None
        session.commit()
    pass_time(services, 16)
    with services.database.read() as session:
        assert session.get_one(Upload, summary.upload_id).state is UploadState.FILED
        assert session.scalar(sa.select(sa.func.count()).select_from(Product)) == 1


def test_one_sweeper_at_a_time_and_a_dead_one_is_replaced(delivered: Services) -> None:
    first = delivered.sweeper
    second = dataclasses.replace(first, holder="second")
    first.step()
    second.step()
    assert (first.in_chair, second.in_chair) == (True, False)
    for _ in range(10):
        delivered.clock.seconds += 2
        first.step()
        second.step()
    assert (first.in_chair, second.in_chair) == (True, False)
    for _ in range(7):
        delivered.clock.seconds += 2
        second.step()
    assert second.in_chair
    first.step()
    assert not first.in_chair
    second.leave()
    first.step()
    assert first.in_chair


def test_what_fell_silent_with_the_sweeper_is_taken_back_by_the_next_at_once(
    delivered: Services,
) -> None:
    """Not only once the next one, in its turn, has looked at it for as long."""
    first = delivered.sweeper
    second = dataclasses.replace(first, holder="second")
    (batch_id,) = delivered.bell.messages
    lease(delivered, batch_id)
    for _ in range(2):  # both look, then the first is dead and with it who held the lease
        delivered.clock.seconds += 2
        first.step()
        second.step()
    waited = 0.0
    while batch_of(delivered, batch_id).state is BatchState.LEASED:
        delivered.clock.seconds += 2
        waited += 2
        second.step()
    assert second.in_chair
    assert waited <= second.stale_s + 4


@pytest.mark.parametrize(
    ("lock_s", "late"), [(0, 0), (40, 3)], ids=["free again just now", "waited for"]
)
def test_who_takes_the_chair_behind_a_lock_takes_nobodys_lease(
    delivered: Services, monkeypatch: pytest.MonkeyPatch, lock_s: int, late: int
) -> None:
    """Somebody held SQLite's lock: no beat came through, nor the sweeper's, and who reads waits for
    nobody. The beats come after the chair was taken; where they had given up, not at once.
    """
    first = delivered.sweeper
    second = dataclasses.replace(first, holder="second")
    (batch_id,) = delivered.bell.messages
    held = lease(delivered, batch_id)
    first.step()
    take = leaders.take_chair

    def waits(*arguments: Any, **named: Any) -> bool:
        delivered.clock.seconds += lock_s
        return take(*arguments, **named)

    monkeypatch.setattr("tagging.sweep.leaders.take_chair", waits)
    while not second.in_chair:
        delivered.clock.seconds += 2
        second.step()
    for look in range(10):
        assert batch_of(delivered, batch_id).state is BatchState.LEASED
        if look >= late:
            with delivered.database.write("test") as session:
                batches.beat(session, [held])
                session.commit()
        delivered.clock.seconds += 2
        second.step()
    assert second.in_chair


def test_what_the_last_sweeper_did_not_announce_the_next_one_does_at_once(
    delivered: Services,
) -> None:
    first = delivered.sweeper
    second = dataclasses.replace(first, holder="second")
    (batch_id,) = delivered.bell.messages
    first.step()
    second.step()
    delivered.bell.messages.clear()  # the broker was wiped, and the first is dead
    waited = 0.0
    while not delivered.bell.messages:
        delivered.clock.seconds += 2
        waited += 2
        second.step()
        assert waited <= second.stale_s + 4
    assert second.in_chair
    assert delivered.bell.messages == [batch_id]


def test_a_lease_that_beats_is_left_alone_by_who_takes_the_chair(delivered: Services) -> None:
    first = delivered.sweeper
    second = dataclasses.replace(first, holder="second")
    (batch_id,) = delivered.bell.messages
    held = lease(delivered, batch_id)
    first.step()
    for _ in range(20):
        delivered.clock.seconds += 2
        with delivered.database.write("test") as session:
            batches.beat(session, [held])
            session.commit()
        second.step()
    assert second.in_chair
    assert batch_of(delivered, batch_id).state is BatchState.LEASED


def test_a_clock_that_was_set_back_keeps_no_batch_from_being_announced(
    delivered: Services,
) -> None:
    lost = delivered.bell.messages.copy()
    delivered.bell.messages.clear()
    delivered.clock.jumped_s = -3600.0
    pass_time(delivered, 20)
    assert delivered.bell.messages[: len(lost)] == lost


def test_a_clock_that_was_set_back_keeps_uploads_in_their_order(
    services: Services, tmp_path: Path
) -> None:
    """The older one is cut off before it is filed, and filed before the younger all the same."""
    cut_off = write_folder(tmp_path / "old", {"p.png": 0})
    with services.database.write("test") as session:
        session.add(
            Upload(
                id="old",
                retailer_id=services.retailer_id,
                source="old",
                kind="folder",
                state=UploadState.RECEIVED,
                warnings=[],
                receiver="x",
                created_at=services.clock.now(),
                beat_at=services.clock.now(),
            )
        )
        session.commit()
    with services.store.session() as puts:
        sha256, size = puts.put((cut_off / "p.png").read_bytes(), 10**6)
        puts.flush()
    with services.database.write("test") as session:
        session.add(Image(sha256=sha256, size_bytes=size, created_at=services.clock.now()))
        session.add(
            UploadItem(
                upload_id="old",
                seq=1,
                line=1,
                sku="p",
                images=[sha256],
                attributes={},
                outcome=ItemOutcome.PENDING,
            )
        )
        session.commit()
    services.clock.jumped_s = -3600.0
    deliver(services, write_folder(tmp_path / "young", {"p.png": 255}))
    services.tag_all()
    pass_time(services, 40)  # whatever is left to be filed is
    services.tag_all()
    assert listed(services)["p"].category == "Light"


def slow_by(services: Services, seconds: float) -> Callable[..., bool]:
    """`leaders.keep_chair` of a database that lets it wait for so long."""
    keep = leaders.keep_chair

    def slowly(session: Session, role: str, *, holder: str) -> bool:
        services.clock.seconds += seconds
        return keep(session, role, holder=holder)

    return slowly


def test_a_database_that_kept_the_sweeper_waiting_costs_nobody_a_lease(
    delivered: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who beats may have to wait longer still, and cannot show that they live until then."""
    held = lease(delivered, delivered.bell.messages[0])
    pass_time(delivered, 8)
    monkeypatch.setattr(leaders, "keep_chair", slow_by(delivered, 4.0))
    for _ in range(7):
        delivered.sweeper.step()
    assert batch_of(delivered, held.batch_id).state is BatchState.LEASED
    for _ in range(10):
        with delivered.database.write("test") as session:
            batches.beat(session, [held])
            session.commit()
        for _ in range(7):
            delivered.sweeper.step()
    assert batch_of(delivered, held.batch_id).state is BatchState.LEASED


def test_one_long_wait_costs_nobody_a_lease(
    delivered: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = lease(delivered, delivered.bell.messages[0])
    pass_time(delivered, 6)
    monkeypatch.setattr(leaders, "keep_chair", slow_by(delivered, 600.0))
    delivered.sweeper.step()
    assert batch_of(delivered, held.batch_id).state is BatchState.LEASED


def test_after_a_long_wait_silence_is_given_its_patience_once_more_and_no_longer(
    delivered: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a worker dies that held SQLite's lock: all who live show it as soon as they can."""
    held = lease(delivered, delivered.bell.messages[0])
    pass_time(delivered, 8)
    with monkeypatch.context() as patch:
        patch.setattr(leaders, "keep_chair", slow_by(delivered, 4.0))
        delivered.sweeper.step()
    stale_s = delivered.sweeper.stale_s
    pass_time(delivered, stale_s - 2)
    assert batch_of(delivered, held.batch_id).state is BatchState.LEASED
    pass_time(delivered, 2)
    assert batch_of(delivered, held.batch_id).state is BatchState.QUEUED


@pytest.mark.parametrize("seconds", [4.0, 600.0])
def test_where_every_look_takes_long_what_is_silent_is_taken_back_all_the_same(
    delivered: Services, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    held = lease(delivered, delivered.bell.messages[0])
    pass_time(delivered, 1)
    monkeypatch.setattr(leaders, "keep_chair", slow_by(delivered, seconds))
    for _ in range(LOOKS - 1):
        delivered.sweeper.step()
    assert batch_of(delivered, held.batch_id).state is BatchState.LEASED
    for _ in range(8):
        delivered.sweeper.step()
    assert batch_of(delivered, held.batch_id).state is BatchState.QUEUED


def test_a_retag_that_cannot_be_written_keeps_no_lease_from_being_taken_back(
    delivered: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object, **__: object) -> bool:
        raise OperationalError("UPDATE", {}, Exception("locked"))

    held = lease(delivered, delivered.bell.messages[0])
    monkeypatch.setattr("tagging.retag.Retagging.step", locked)
    for _ in range(8):
        delivered.clock.seconds += 2
        with pytest.raises(OperationalError):
            delivered.sweeper.step()
    assert batch_of(delivered, held.batch_id).state is BatchState.QUEUED


def test_a_long_filing_that_was_cut_off_keeps_nobody_else_waiting(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is filed in slices; what falls silent is taken back in between."""
    deliver(services, write_folder(tmp_path / "first", {"a.png": 0}))
    held = lease(services, services.bell.messages.pop())
    monkeypatch.setattr(filing, "FILE_LINES", 1)
    monkeypatch.setattr(Ingest, "file_upload", lambda *_, **__: None)
    names = {f"{number}.png": number for number in range(12)}
    deliver(services, write_folder(tmp_path / "second", names))
    monkeypatch.undo()
    monkeypatch.setattr(filing, "FILE_LINES", 1)
    pages = 0

    def on_progress() -> None:
        nonlocal pages
        pages += 1
        services.clock.seconds += 1.0

    until = services.clock.seconds + 40
    while services.clock.seconds < until:
        services.clock.seconds += 2
        services.sweeper.step(on_progress)
        if batch_of(services, held.batch_id).state is BatchState.QUEUED:
            break
    assert batch_of(services, held.batch_id).state is BatchState.QUEUED
    assert 0 < len(listed(services)) < 13, "all of it was filed before anything was taken back"
    pass_time(services, 40)
    assert len(listed(services)) == 13


def cut_off(services: Services, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An upload that was received and not filed."""
    with monkeypatch.context() as patch:
        patch.setattr(Ingest, "file_upload", lambda *_, **__: None)
        return deliver(services, write_folder(folder, {f"{folder.name}.png": 255})).upload_id


def test_who_takes_the_chair_takes_up_nobodys_filing_in_the_same_look(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who files may have waited for the same lock, and shows its life just now."""
    first = services.sweeper
    second = dataclasses.replace(first, holder="second")
    upload_id = cut_off(services, tmp_path / "in", monkeypatch)

    def state() -> UploadState:
        with services.database.read() as session:
            return session.get_one(Upload, upload_id).state

    first.step()
    while not second.in_chair:
        services.clock.seconds += 2
        second.step()
    assert state() is UploadState.RECEIVED
    services.clock.seconds += 2
    second.step()
    assert state() is UploadState.FILED


def of_another_retailer(services: Services) -> Services:
    now = services.clock.now()
    with services.database.write("test") as session:
        made = models.add_retailer(session, "other", model_id=services.model_id, now=now)
        session.commit()
    return dataclasses.replace(services, retailer_id=made)


def test_an_upload_that_cannot_be_filed_keeps_nobody_else_waiting(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its retailer's rules were written by a newer version, say."""
    bad = cut_off(services, tmp_path / "bad", monkeypatch)
    other = of_another_retailer(services)
    cut_off(other, tmp_path / "good", monkeypatch)
    services.bell.lose = True
    deliver(other, write_folder(tmp_path / "lost", {"lost.png": 0}))
    services.bell.lose = False
    asked = other.retagging.request(Asked(scope=RetagScope.ALL), ["other"], by="Eve")
    file_upload = Ingest.file_upload
    tries: list[float] = []

    def file(ingest: Ingest, upload_id: str, **options: object) -> None:
        if upload_id == bad:
            tries.append(services.clock.seconds)
            raise ValueError("a rule of another version")
        file_upload(ingest, upload_id, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Ingest, "file_upload", file)
    pass_time(services, 60)
    services.tag_all()
    assert {sku: line.status for sku, line in listed(services).items()} == {
        "good": Status.TAGGED,
        "lost": Status.TAGGED,
    }
    with services.database.read() as session:
        assert session.get_one(Retag, asked[0]).state is RetagState.DONE
    pass_time(services, 1800, step=20)
    assert len(tries) <= 5 + 1800 / 300 + 1, "it is tried ever more rarely"
    monkeypatch.undo()
    pass_time(services, 320, step=20)
    services.tag_all()
    assert listed(services)["bad"].status is Status.TAGGED


def test_a_database_that_is_away_is_no_fault_of_an_upload(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(services, tmp_path / "in", monkeypatch)

    def away(*_: object, **__: object) -> None:
        raise OperationalError("UPDATE", {}, Exception("away"))

    pass_time(services, 8)
    with monkeypatch.context() as patch:
        patch.setattr(Ingest, "file_upload", away)
        with pytest.raises(OperationalError):
            pass_time(services, 20)
    pass_time(services, 4)
    services.tag_all()
    assert listed(services)["in"].status is Status.TAGGED


def test_a_retag_that_cannot_go_on_keeps_no_later_one_waiting(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is, not only what a user can mend."""
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    other = of_another_retailer(services)
    deliver(other, write_folder(tmp_path / "other", {"b.png": 255}))
    services.tag_all()
    scope = Asked(scope=RetagScope.ALL)
    bad, good = services.retagging.request(scope, ["default", "other"], by="Eve")
    advance = Retagging.advance
    tries: list[float] = []

    def go(retagging: Retagging, retag_id: int) -> None:
        if retag_id == bad:
            tries.append(services.clock.seconds)
            raise ValueError("a scope of another version")
        advance(retagging, retag_id)

    monkeypatch.setattr(Retagging, "advance", go)
    pass_time(services, 20)
    with services.database.read() as session:
        assert session.get_one(Retag, good).state is RetagState.DONE
    pass_time(services, 1800, step=20)
    assert len(tries) <= 5 + 1800 / 300 + 1
    monkeypatch.undo()
    pass_time(services, 320, step=20)
    with services.database.read() as session:
        assert session.get_one(Retag, bad).state is RetagState.DONE
