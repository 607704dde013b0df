"""What cannot be done waits, keeps nobody else waiting, and is done as soon as it can be."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from tagging.database import backlog, batches, models
from tagging.database.models import KnownModel
from tagging.database.tables import Batch, BatchState
from tagging.domain import FailureCode, Status
from tagging.errors import BundleError, StoreAwayError
from tagging.images.decoders import Decoded
from tests.integration.test_ingest_and_tag import deliver, listed, write_folder
from tests.integration.test_retag import put_in_charge
from tests.integration.test_sweep import all_batches, batch_of, pass_time
from tests.stand_in import (
    InlineDecoders,
    Services,
    ShadeClassifier,
    ShadeShelf,
    stand_in_card,
)


class Died(BaseException):
    """In place of what ends a process."""


class Broken(ShadeShelf):
    """Models of these keys cannot be loaded; counts the tries."""

    def __init__(self, *broken: int, error: BaseException | None = None) -> None:
        super().__init__()
        self.broken = set(broken)
        self.error = error or BundleError("the bundle of shades:1 is not on this machine")
        self.tries = 0

    def get(self, model: KnownModel) -> ShadeClassifier:
        if model.id in self.broken:
            self.tries += 1
            raise self.error
        return super().get(model)


def with_shelf(services: Services, shelf: ShadeShelf) -> Services:
    tagger = dataclasses.replace(services.tagger, classifiers=shelf)
    return dataclasses.replace(services, shelf=shelf, tagger=tagger)


def another_retailer(services: Services) -> Services:
    """One whose model is another one."""
    now = services.clock.now()
    with services.database.write("test") as session:
        card = stand_in_card(version="2")
        model_id = models.register(session, card, services.folder / "2", now=now)
        retailer_id = models.add_retailer(session, "other", model_id=model_id, now=now)
        session.commit()
    return dataclasses.replace(services, model_id=model_id, retailer_id=retailer_id)


def work(services: Services, seconds: float, *, step: float = 1.0) -> int:
    """A worker and a sweeper for so long; how many messages came in."""
    until, heard = services.clock.seconds + seconds, 0
    while services.clock.seconds < until:
        while services.bell.messages:
            heard += 1
            try:
                services.tagger.tag_batch(services.bell.messages.pop(0))
            except (BundleError, StoreAwayError, RuntimeError):
                continue
        pass_time(services, step, step=step)
    return heard


def hinder_long(services: Services) -> None:
    """All that is queued was tried in vain for long."""
    work(services, 2)
    with services.database.write("test") as session:
        later = services.clock.now() + dt.timedelta(seconds=290)
        session.execute(sa.update(Batch).values(hindered=8, not_before=later))
        session.commit()
    assert batches_told(services)


def batches_told(services: Services) -> list[str]:
    with services.database.read() as session:
        return backlog.last_errors(session)


def many(services: Services, tmp_path: Path, count: int = 20) -> Services:
    """Five batches, by default."""
    deliver(services, write_folder(tmp_path / "in", {f"{n}.png": n for n in range(count)}))
    return services


def test_a_worker_that_dies_while_it_loads_a_model_costs_no_product_anything(
    services: Services, tmp_path: Path
) -> None:
    """And others' work goes on in between."""
    deadly = with_shelf(services, Broken(services.model_id, error=Died()))
    deliver(deadly, write_folder(tmp_path / "in", {"a.png": 255, "b.png": 0}))
    deliver(deadly, write_folder(tmp_path / "single", {"c.png": 255}))
    other = another_retailer(deadly)
    for number in range(5):
        deliver(other, write_folder(tmp_path / f"other{number}", {f"o{number}.png": 255}))
        while deadly.bell.messages:
            try:
                deadly.tagger.tag_batch(deadly.bell.messages.pop(0))
            except Died:
                # The next process has its own gate, clock and shelf.
                deadly = with_shelf(deadly, Broken(services.model_id, error=Died()))
        pass_time(deadly, 60)
        assert listed(deadly)[f"o{number}"].status is Status.TAGGED
    ours = [one for one in all_batches(deadly) if one.retailer_id == services.retailer_id]
    assert [(one.state, one.attempts, one.crashes) for one in ours] == [
        (BatchState.QUEUED, 0, 0)
    ] * 2
    mended = with_shelf(deadly, ShadeShelf())
    work(mended, 30)
    assert {line.status for line in listed(mended).values()} == {Status.TAGGED}


def test_a_model_is_loaded_while_nothing_else_is_in_hand(
    services: Services, tmp_path: Path
) -> None:
    """Whose lease would count a crash."""
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    other = another_retailer(services)
    deliver(other, write_folder(tmp_path / "other", {"b.png": 255}))
    first, second = services.bell.messages
    busy, go_on, loads = threading.Event(), threading.Event(), threading.Event()
    held: list[int] = []

    class Watched(ShadeShelf):
        def get(self, model: KnownModel) -> ShadeClassifier:
            if model.id == other.model_id:
                held.append(len(services.tagger.in_hand.leases()))
                loads.set()
            return super().get(model)

    def wait(_: object) -> None:
        busy.set()
        assert go_on.wait(30)

    services.decoders.before = wait
    tagger = with_shelf(services, Watched()).tagger
    threads = [threading.Thread(target=tagger.tag_batch, args=(one,)) for one in (first, second)]
    threads[0].start()
    assert busy.wait(30)
    threads[1].start()
    assert not loads.wait(0.3)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert held == [0]
    assert {line.status for line in listed(services).values()} == {Status.TAGGED}


def test_a_model_that_was_put_away_meanwhile_is_loaded_alone_again(
    services: Services, tmp_path: Path
) -> None:
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    alone: list[bool] = []

    class Forgetful(ShadeShelf):
        """Says once that it has what it has no more."""

        asked = 0

        def has(self, model_id: int) -> bool:
            self.asked += 1
            return self.asked == 1 or super().has(model_id)

        def get(self, model: KnownModel) -> ShadeClassifier:
            alone.append(services.tagger.in_hand._alone)
            return super().get(model)

    with_shelf(services, Forgetful()).tag_all()
    assert alone == [True]
    assert listed(services)["a"].status is Status.TAGGED


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BundleError("the bundle of shades:1 is gone"), "the bundle of shades:1 is gone"),
        (PermissionError(13, "no"), "shades:1 cannot be loaded: PermissionError: [Errno 13] no"),
    ],
)
def test_what_cannot_be_loaded_is_named_where_people_look(
    services: Services, tmp_path: Path, error: Exception, said: str
) -> None:
    broken = with_shelf(services, Broken(services.model_id, error=error))
    upload = deliver(broken, write_folder(tmp_path / "in", {"a.png": 255})).upload_id
    with pytest.raises(type(error)):
        broken.tag_all()
    with services.database.read() as session:
        assert backlog.last_errors(session, upload) == [said]
    (batch,) = all_batches(services)
    assert (batch.state, batch.attempts, batch.crashes) == (BatchState.QUEUED, 0, 0)


def test_a_pause_doubles_up_to_five_minutes(services: Services, tmp_path: Path) -> None:
    shelf = Broken(services.model_id)
    broken = with_shelf(services, shelf)
    deliver(broken, write_folder(tmp_path / "in", {"a.png": 255}))
    (batch_id,) = broken.bell.messages
    broken.bell.messages.clear()
    for tries, pause_s in enumerate((5, 10, 20, 40, 80, 160, 300, 300), start=1):
        with pytest.raises(BundleError):
            broken.tagger.tag_batch(batch_id)
        broken.clock.seconds += pause_s - 0.1
        assert broken.tagger.tag_batch(batch_id) is None
        assert shelf.tries == tries
        broken.clock.seconds += 0.1


def test_what_fails_at_the_write_waits_too(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try decodes and classifies, and all of it is rolled back."""
    many(services, tmp_path, 4)

    def refuse(*_: object) -> None:
        raise RuntimeError("these rules cannot be read")

    monkeypatch.setattr("tagging.tag.snapshot", refuse)
    work(services, 300, step=5)
    # After 5, 10, 20, 40, 80 and 160 seconds: seven tries at most.
    assert services.decoders.decoded <= 4 * 7
    monkeypatch.undo()
    services.clock.seconds += 160
    work(services, 30, step=5)
    assert {line.status for line in listed(services).values()} == {Status.TAGGED}


def test_a_store_that_was_away_is_waited_for_a_quarter_of_a_minute_at_most(
    services: Services, tmp_path: Path
) -> None:
    def away(_: object) -> None:
        raise StoreAwayError("the image store is away")

    many(services, tmp_path, 4)
    services.decoders.before = away
    work(services, 200, step=5)
    services.decoders.before = lambda _: None
    work(services, 15 + 15)  # until it is due, and until the sweeper rings
    assert {line.status for line in listed(services).values()} == {Status.TAGGED}


def test_what_waits_is_not_announced_and_keeps_nobody_waiting(
    services: Services, tmp_path: Path
) -> None:
    shelf = Broken(services.model_id)
    broken = many(with_shelf(services, shelf), tmp_path)
    heard = work(broken, 300, step=5)
    assert heard == shelf.tries <= 5 * 7
    hinder_long(broken)
    other = another_retailer(broken)
    broken.bell.lose = True
    deliver(other, write_folder(tmp_path / "other", {"x.png": 255}))
    broken.bell.lose = False
    assert work(broken, 20) == 1
    assert listed(broken)["x"].status is Status.TAGGED


def test_another_model_in_charge_ends_the_pause(services: Services, tmp_path: Path) -> None:
    broken = many(with_shelf(services, Broken(services.model_id)), tmp_path)
    hinder_long(broken)
    put_in_charge(broken)
    work(broken, 20)
    assert {line.model for line in listed(broken).values()} == {"shades:2"}


def test_a_worker_that_starts_ends_every_pause(services: Services, tmp_path: Path) -> None:
    shelf = Broken(services.model_id)
    broken = many(with_shelf(services, shelf), tmp_path)
    hinder_long(broken)
    shelf.broken.clear()
    with broken.database.write("test") as session:
        batches.resume(session)
        session.commit()
    assert batches_told(broken) == []
    work(broken, 20)
    assert {line.status for line in listed(broken).values()} == {Status.TAGGED}


def test_the_first_that_can_be_done_ends_the_pause_of_the_others(
    services: Services, tmp_path: Path
) -> None:
    shelf = Broken(services.model_id)
    broken = many(with_shelf(services, shelf), tmp_path)
    hinder_long(broken)
    shelf.broken.clear()
    first = all_batches(broken)[3]
    with broken.database.write("test") as session:
        session.execute(
            sa.update(Batch).where(Batch.id == first.id).values(not_before=broken.clock.now())
        )
        session.commit()
    broken.bell.announce([first.id])
    work(broken, 20)
    assert {line.status for line in listed(broken).values()} == {Status.TAGGED}


def test_a_clock_that_was_set_back_makes_no_pause_longer(
    services: Services, tmp_path: Path
) -> None:
    shelf = Broken(services.model_id)
    broken = many(with_shelf(services, shelf), tmp_path, 4)
    work(broken, 3)
    broken.clock.jumped_s = -3600.0
    shelf.broken.clear()
    work(broken, 20)
    assert {line.status for line in listed(broken).values()} == {Status.TAGGED}


def test_a_batch_that_was_given_back_for_no_fault_of_its_own_waits_for_nothing(
    services: Services, tmp_path: Path
) -> None:
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    (batch_id,) = services.bell.messages
    with services.database.write("test") as session:
        held = batches.lease(session, batch_id, token="t", worker="w", alone=False)
        assert held is not None
        batches.give_back(session, held)
        session.commit()
    assert batch_of(services, batch_id).not_before is None
    services.tag_all()
    assert listed(services)["a"].status is Status.TAGGED


@pytest.mark.parametrize(
    ("module", "step"), [(batches, "due"), (models, "in_charge"), (batches, "lease")]
)
def test_what_hangs_before_there_is_a_lease_is_noticed(
    services: Services,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    step: str,
) -> None:
    """None tells of it yet, while others may go on, or wait for what it has locked."""
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    take_step = getattr(module, step)
    noticed: list[bool] = []

    def hang(*args: object, **options: object) -> object:
        hand = services.tagger.in_hand
        for seconds in (0.0, hand.step_s + 9.9, 0.1):
            services.clock.seconds += seconds
            noticed.append(hand.overdue(10.0))
        monkeypatch.setattr(module, step, take_step)
        return take_step(*args, **options)

    monkeypatch.setattr(module, step, hang)
    services.tag_all()
    assert noticed == [False, False, True]
    assert not services.tagger.in_hand.overdue(0.0)
    assert listed(services)["a"].status is Status.TAGGED


def test_each_wait_before_there_is_a_lease_is_bounded_by_itself(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that are both allowed are no hang: a slow disk ends no worker."""
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    hand = services.tagger.in_hand
    noticed: list[bool] = []

    def slowly(take_step: Callable[..., object]) -> Callable[..., object]:
        def slow(*args: object, **options: object) -> object:
            services.clock.seconds += 0.9 * hand.step_s
            noticed.append(hand.overdue(0.0))
            return take_step(*args, **options)

        return slow

    for module, step in ((batches, "due"), (models, "in_charge"), (batches, "lease")):
        monkeypatch.setattr(module, step, slowly(getattr(module, step)))
    services.tag_all()
    assert noticed == [False, False, False]


def test_a_model_that_made_room_meanwhile_has_the_time_that_loading_takes(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it was there when its batch, which runs alone, began to wait for its turn."""
    hand = services.tagger.in_hand
    noticed: list[bool] = []

    class Slow(ShadeShelf):
        there = True

        def has(self, model_id: int) -> bool:
            return self.there or super().has(model_id)

        def get(self, model: KnownModel) -> ShadeClassifier:
            services.clock.seconds += 5 * hand.step_s
            noticed.append(hand.overdue(0.0))
            return super().get(model)

    shelf = Slow()
    take_room = hand.room

    def wait(*, alone: bool) -> AbstractContextManager[None]:
        shelf.there = False
        return take_room(alone=alone)

    monkeypatch.setattr(hand, "room", wait)
    waiting = with_shelf(services, shelf)
    deliver(waiting, write_folder(tmp_path / "in", {"a.png": 255}))
    with services.database.write("test") as session:
        session.execute(sa.update(Batch).values(attempts=1))
        session.commit()
    waiting.tag_all()
    assert noticed == [False]
    assert listed(services)["a"].status is Status.TAGGED


def test_a_lease_whose_commit_got_no_answer_is_given_back(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is nobody's, else, and counts as a crash of its products once it is taken back."""
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    (batch_id,) = services.bell.messages

    def cut(transaction: str, moment: str) -> None:
        if (transaction, moment) == ("batch.lease", "committed"):
            raise OperationalError("COMMIT", {}, OSError("the connection was reset"))

    with monkeypatch.context() as patch:
        patch.setattr("tagging.database.session.commitpoint", cut)
        with pytest.raises(OperationalError):
            services.tag_all()
    assert batch_of(services, batch_id).state is BatchState.LEASED
    (lost,) = services.tagger.in_hand.abandoned()
    with services.database.write("test") as session:
        assert batches.give_back(session, lost)
        session.commit()
    batch = batch_of(services, batch_id)
    assert (batch.state, batch.attempts, batch.crashes) == (BatchState.QUEUED, 0, 0)


@pytest.mark.parametrize("words", ["/photos/\udcff: gone", "a NUL \0 in it"])
def test_whatever_an_error_says_the_batch_is_given_back(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """A lease that stays, for the error could not be written down, counts as a crash."""
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    (batch_id,) = services.bell.messages

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(words)

    with monkeypatch.context() as patch:
        patch.setattr(ShadeClassifier, "classify", fail)
        with pytest.raises(RuntimeError, match=r"gone|NUL"):
            services.tag_all()
    assert services.tagger.in_hand.abandoned() == []
    batch = batch_of(services, batch_id)
    assert (batch.state, batch.attempts, batch.crashes) == (BatchState.QUEUED, 0, 0)
    assert batch.last_error is not None
    assert ("\\udcff" if "gone" in words else "\\0") in batch.last_error


def test_nor_does_a_lease_stay_where_nothing_can_be_written_down(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason is, the beat gives it back."""
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("first")

    def fail_too(*_: object, **__: object) -> None:
        raise LookupError("second")

    with monkeypatch.context() as patch:
        patch.setattr(ShadeClassifier, "classify", fail)
        patch.setattr(batches, "give_back", fail_too)
        with pytest.raises(LookupError, match="second") as caught:
            services.tag_all()
    assert str(caught.value.__context__) == "first"
    assert len(services.tagger.in_hand.abandoned()) == 1


@pytest.mark.parametrize("away", ["for a moment", "when they were looked for anew", "never"])
def test_what_is_missing_while_the_store_is_away_fails_no_product(
    services: Services, tmp_path: Path, away: str
) -> None:
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255, "b.png": 0}))
    (batch_id,) = services.bell.messages
    shown = tmp_path / "shown"

    class Flapping(InlineDecoders):
        looks = 0

        def decode(self, *arguments: Any, **options: Any) -> list[Decoded]:
            self.looks += 1
            found = super().decode(*arguments, **options)
            if away == "when they were looked for anew" and self.looks == 2:
                services.store.root.rename(shown)
            elif away == "for a moment" and self.looks == 2:
                return found
            return [Decoded(sha256=one.sha256, code=FailureCode.MISSING) for one in found]

    tagger = dataclasses.replace(services.tagger, decoders=Flapping())
    if away == "when they were looked for anew":
        with pytest.raises(StoreAwayError):
            tagger.tag_batch(batch_id)
        assert batch_of(services, batch_id).state is BatchState.QUEUED
        return
    tagger.tag_batch(batch_id)
    statuses = {line.status for line in listed(services).values()}
    assert statuses == {Status.TAGGED if away == "for a moment" else Status.FAILED}
