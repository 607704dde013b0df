"""A product that a person decided on, and whose new photos cannot be classified.

Their category stays in force; that there is no suggestion is told with its reason, and whoever asks
for another try gets it.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging.database import retags, reviews
from tagging.database.tables import Batch, BatchState, Product, RetagScope
from tagging.domain import FailureCode, ReviewReason, Status, Verdict
from tagging.images.decoders import Decoded, DecodeRequest
from tagging.integrity import DeepCheck
from tagging.model_card import InputSpec
from tagging.retag import Asked
from tagging.review_file import write_queue
from tests.integration.test_ingest_and_tag import deliver, listed
from tests.integration.test_retag import ALL, FAILED, MISSING, ask, stored, told, work_off
from tests.integration.test_sweep import lease, pass_time
from tests.people import product, say, tagged, undo
from tests.stand_in import InlineDecoders, Services, picture

BY_NAME = Asked(scope=RetagScope.SKU, skus=("a",))


class Gone(InlineDecoders):
    """The store has lost every picture."""

    def decode(
        self,
        items: Sequence[DecodeRequest],
        spec: InputSpec,  # noqa: ARG002
        on_progress: Callable[[int], None] | None = None,  # noqa: ARG002
    ) -> list[Decoded]:
        return [
            Decoded(sha256=item.sha256, code=FailureCode.MISSING, detail="it is gone")
            for item in items
        ]


def stands(services: Services) -> tuple[Status, ReviewReason | None, str | None, str | None]:
    one = product(services, "a")
    return one.status, one.review_reason, one.category, one.decided_by


DECIDED = (Status.NEEDS_REVIEW, ReviewReason.PHOTO_CHANGED, "Dark", "person")


@pytest.fixture
def changed(services: Services, tmp_path: Path) -> Services:
    """`a` was decided to be Dark; a new photo of it was delivered, and waits in a batch."""
    tagged(services, tmp_path / "in", {"a.png": 255, "b.png": 254})
    say(services, "a", Verdict.CORRECTED, "Dark")
    (tmp_path / "in" / "a.png").write_bytes(picture(128))
    deliver(services, tmp_path / "in")
    return services


@pytest.fixture
def unreadable(changed: Services) -> Services:
    """... and its stored bytes cannot be read."""
    stored(changed, "a").write_bytes(picture(128)[:50])
    changed.tag_all()
    return changed


def mend(services: Services) -> None:
    stored(services, "a").write_bytes(picture(128))


def test_why_there_is_no_suggestion_is_told_and_the_decision_stays(unreadable: Services) -> None:
    found = product(unreadable, "a")
    assert stands(unreadable) == DECIDED
    assert found.failure_code is FailureCode.UNREADABLE
    assert found.failure_detail
    assert (found.suggestion, found.prediction_id) == (None, None)
    assert listed(unreadable)["a"].failure_code == FailureCode.UNREADABLE
    (line,) = reviews.queue(unreadable.database, unreadable.retailer_id, audit=False)
    assert (line.reason, line.failure) == (ReviewReason.PHOTO_CHANGED, FailureCode.UNREADABLE)
    written = io.StringIO()
    write_queue([line], written, unreadable.store.path)
    assert "unreadable" in written.getvalue()
    looked = DeepCheck(
        database=unreadable.database, store=unreadable.store, now=unreadable.clock.now()
    )
    assert [one.damage for one in looked.run() if one.broken] == ["altered_image"]


def test_a_person_may_decide_on_it_and_take_that_back(unreadable: Services) -> None:
    said = say(unreadable, "a", Verdict.CORRECTED, "Middle")
    decided = product(unreadable, "a")
    work_off_all(unreadable)
    assert vars_of(product(unreadable, "a")) == vars_of(decided)
    undo(unreadable, said.review_id)
    assert stands(unreadable) == DECIDED
    assert product(unreadable, "a").failure_code is FailureCode.UNREADABLE


def vars_of(one: Product) -> dict[str, object]:
    return {column.name: getattr(one, column.name) for column in Product.__table__.columns}


def work_off_all(services: Services) -> None:
    for asked in (ALL, MISSING, FAILED, BY_NAME):
        ask(services, asked)
        work_off(services)


@pytest.mark.parametrize("asked", [FAILED, BY_NAME], ids=["failed", "sku"])
def test_who_asks_for_it_has_it_tried_again(unreadable: Services, asked: Asked) -> None:
    made = ask(unreadable, asked)
    unreadable.retagging.step(most_s=1.0)
    # In work: nothing says any more that it failed, nobody queues it twice, the decision stands.
    assert stands(unreadable) == DECIDED
    assert product(unreadable, "a").failure_code is None
    again = ask(unreadable, BY_NAME)
    unreadable.retagging.step(most_s=1.0)
    assert (told(unreadable, again).queued, told(unreadable, again).in_work) == (0, 1)
    mend(unreadable)
    unreadable.tag_all()
    after = product(unreadable, "a")
    assert (after.suggestion, after.failure_code, after.failure_detail) == ("Middle", None, None)
    assert stands(unreadable) == DECIDED
    assert told(unreadable, made).queued == told(unreadable, made).looked_at == 1


def test_what_cannot_be_read_the_second_time_either_is_told_again(unreadable: Services) -> None:
    ask(unreadable, FAILED)
    work_off(unreadable)
    assert product(unreadable, "a").failure_code is FailureCode.UNREADABLE
    assert stands(unreadable) == DECIDED


def test_it_is_at_its_end_for_who_asks_for_everything(unreadable: Services) -> None:
    for asked in (ALL, MISSING, Asked(scope=RetagScope.MODEL, model="shades:1")):
        made = ask(unreadable, asked)
        work_off(unreadable)
        assert (told(unreadable, made).failed, told(unreadable, made).looked_at) == (1, 2)
    assert product(unreadable, "a").failure_code is FailureCode.UNREADABLE


def test_two_requests_that_saw_it_at_once_queue_it_once(unreadable: Services) -> None:
    first, second = ask(unreadable, BY_NAME), ask(unreadable, FAILED)
    with unreadable.database.read() as session:
        seen = session.scalars(sa.select(Product.id).where(Product.sku == "a")).one()
    image_set = product(unreadable, "a").image_set
    unreadable.retagging.advance(first)
    with unreadable.database.write("test") as session:
        assert retags.queue_again(session, {seen: image_set}, now=unreadable.clock.now()) == set()
    unreadable.retagging.advance(second)
    assert (told(unreadable, first).queued, told(unreadable, second).queued) == (1, 0)


def test_lost_bytes_that_are_delivered_again_are_looked_at(
    changed: Services, tmp_path: Path
) -> None:
    whole = changed.tagger
    changed.tagger = dataclasses.replace(whole, decoders=Gone())
    changed.tag_all()
    assert product(changed, "a").failure_code is FailureCode.MISSING
    assert stands(changed) == DECIDED
    changed.tagger = whole
    assert deliver(changed, tmp_path / "in").enqueued == 1
    assert stands(changed) == DECIDED
    assert product(changed, "a").failure_code is None
    assert deliver(changed, tmp_path / "in").enqueued == 0  # it is in a batch already
    changed.tag_all()
    assert product(changed, "a").suggestion == "Middle"
    assert stands(changed) == DECIDED


def test_what_a_person_decided_on_is_not_queued_for_its_lost_bytes(
    changed: Services, tmp_path: Path
) -> None:
    whole = changed.tagger
    changed.tagger = dataclasses.replace(whole, decoders=Gone())
    changed.tag_all()
    changed.tagger = whole
    say(changed, "a", Verdict.CORRECTED, "Light")
    assert deliver(changed, tmp_path / "in").enqueued == 0
    assert product(changed, "a").status is Status.REVIEWED


def test_a_mended_photo_is_looked_at(unreadable: Services, tmp_path: Path) -> None:
    (tmp_path / "in" / "a.png").write_bytes(picture(129))
    assert deliver(unreadable, tmp_path / "in").changed == 1
    assert product(unreadable, "a").failure_code is None
    unreadable.tag_all()
    assert product(unreadable, "a").suggestion == "Middle"
    assert stands(unreadable) == DECIDED


def test_what_brings_workers_down_is_told_and_the_decision_stays(changed: Services) -> None:
    (batch_id,) = changed.bell.messages
    for _ in range(3):
        lease(changed, batch_id, alone=True)
        pass_time(changed, 14)
    assert product(changed, "a").failure_code is FailureCode.WORKER_CRASH
    assert "3 workers" in str(product(changed, "a").failure_detail)
    assert stands(changed) == DECIDED


def test_photos_that_changed_meanwhile_are_not_said_to_have_failed(
    changed: Services, tmp_path: Path
) -> None:
    stored(changed, "a").write_bytes(b"no picture")
    (tmp_path / "in" / "a.png").write_bytes(picture(1))

    def replace(_: DecodeRequest) -> None:
        changed.decoders.before = lambda _: None
        deliver(changed, tmp_path / "in")

    changed.decoders.before = replace
    changed.tagger.tag_batch(changed.bell.messages.pop(0))
    assert product(changed, "a").failure_code is None
    changed.tag_all()
    assert product(changed, "a").suggestion == "Dark"


def test_a_suggestion_that_there_is_stays_without_a_failure(
    changed: Services,
) -> None:
    changed.tag_all()
    before = product(changed, "a")
    assert before.suggestion == "Middle"
    stored(changed, "a").write_bytes(b"no picture any more")
    with changed.database.write("test") as session:
        # As if no answer of the model had been kept, so that the photo is read.
        session.execute(sa.text("DELETE FROM image_predictions"))
        session.commit()
    ask(changed, BY_NAME)
    work_off(changed)
    after = product(changed, "a")
    assert (after.suggestion, after.failure_code) == ("Middle", None)


@pytest.mark.parametrize("queued", [True, False], ids=["in a batch", "by an older Atelier"])
def test_what_was_decided_in_flight_and_taken_back_is_missing(
    changed: Services, queued: bool
) -> None:
    """Neither a suggestion nor a failure was written, for a person had decided by then."""
    decided: list[int] = []

    def decide(_: DecodeRequest) -> None:
        changed.decoders.before = lambda _: None
        decided.append(say(changed, "a", Verdict.CORRECTED, "Light").review_id)

    changed.decoders.before = decide
    changed.tag_all()
    undo(changed, *decided)
    left = product(changed, "a")
    assert (left.status, left.suggestion, left.failure_code) == (Status.NEEDS_REVIEW, None, None)
    if not queued:
        with changed.database.write("test") as session:
            session.execute(sa.update(Batch).values(state=BatchState.DONE))
            session.commit()
    made = ask(changed, MISSING)
    changed.retagging.step(most_s=1.0)
    line = told(changed, made)
    assert (line.in_work, line.queued) == (queued, not queued)
    with changed.database.read() as session:
        waiting = session.scalars(sa.select(Batch.id).where(Batch.state == BatchState.QUEUED)).all()
    for batch_id in waiting:
        changed.tagger.tag_batch(batch_id)
    assert product(changed, "a").suggestion == "Middle"
    assert stands(changed) == DECIDED


def test_a_batch_that_is_in_hand_counts_as_being_done(changed: Services) -> None:
    (batch_id,) = changed.bell.messages
    lease(changed, batch_id)
    made = ask(changed, BY_NAME)
    changed.retagging.step(most_s=1.0)
    assert (told(changed, made).queued, told(changed, made).in_work) == (0, 1)
    with changed.database.read() as session:
        states = session.scalars(sa.select(Batch.state).order_by(Batch.id)).all()
    assert states == [BatchState.DONE, BatchState.LEASED]
