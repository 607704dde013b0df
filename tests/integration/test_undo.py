"""Several answers in one act, and taking them back, over real databases."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging.answers import Answer, Recorded
from tagging.database import models, training
from tagging.database.tables import Product, Review
from tagging.domain import Autopilot, ReviewReason, Status, Verdict
from tagging.errors import AtelierError, NotFoundError, ReviewError
from tagging.review import record_reviews
from tagging.rules import RetailerRules
from tagging.steering import change_rules
from tagging.undo import take_back
from tests.integration.test_ingest_and_tag import deliver, write_folder
from tests.people import (
    SURE,
    answer,
    at_once,
    audit_all,
    product,
    say,
    state,
    tagged,
    undo,
    weighed,
)
from tests.stand_in import Services, stand_in_card

ACT = "5b2f7a0e-0001"
UNDONE = (
    "status",
    "category",
    "decided_by",
    "review_reason",
    "suggestion",
    "confidence",
    "image_set",
    "prediction_id",
    "audit",
    "tagged_at",
)
"""Everything of a product but when it last changed."""


def stands(services: Services, sku: str) -> dict[str, object]:
    found = product(services, sku)
    return {name: getattr(found, name) for name in UNDONE}


def send(
    services: Services, answers: Sequence[Answer], action: str = ACT
) -> list[Recorded | AtelierError]:
    services.clock.seconds += 1
    return record_reviews(services.database, answers, action=action, now=services.clock.now())


def count(services: Services) -> int:
    with services.database.read() as session:
        return session.execute(sa.select(sa.func.count()).select_from(Review)).scalar_one()


def recorded(outcome: Recorded | AtelierError) -> Recorded:
    assert isinstance(outcome, Recorded), outcome
    return outcome


@pytest.mark.parametrize("shade", [255, 64], ids=["a tag", "what waits"])
@pytest.mark.parametrize(
    ("verdict", "category"),
    [
        (Verdict.CONFIRMED, None),
        (Verdict.CORRECTED, "Middle"),
        (Verdict.NOT_A_PRODUCT, None),
        (Verdict.UNSURE, None),
    ],
)
def test_undone_a_product_stands_exactly_as_before(
    services: Services, tmp_path: Path, shade: int, verdict: Verdict, category: str | None
) -> None:
    tagged(services, tmp_path / "in", {"a.png": shade})
    before = stands(services, "a")
    said = say(services, "a", verdict, category)
    (undone,) = undo(services, said.review_id)
    assert stands(services, "a") == before
    assert recorded(undone).status is before["status"]
    with services.database.read() as session:
        row = session.get_one(Review, recorded(undone).review_id)
    assert (row.undoes_id, row.reviewer, row.verdict) == (said.review_id, "Ann", verdict)
    # What was taken back may be said again, by anybody.
    again = say(services, "a", verdict, category, reviewer="Bob")
    assert not again.repeated
    assert again.status is said.status


def test_a_decision_on_a_changed_photo_goes_back_to_the_older_one(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255})
    say(services, "a", Verdict.CORRECTED, "Middle")
    tagged(services, tmp_path / "in", {"a.png": 0})
    before = stands(services, "a")
    assert (before["review_reason"], before["category"]) == (ReviewReason.PHOTO_CHANGED, "Middle")
    said = say(services, "a", Verdict.CORRECTED, "Light")
    undo(services, said.review_id)
    assert stands(services, "a") == before


def test_what_changed_since_cannot_be_undone(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255, "b.png": 255})
    first = say(services, "a", Verdict.UNSURE)
    second = say(services, "a", Verdict.CONFIRMED, reviewer="Bob")
    other = say(services, "b", Verdict.CONFIRMED)
    deliver(services, write_folder(tmp_path / "in", {"b.png": 3}))
    before = stands(services, "a"), stands(services, "b"), count(services)
    refused = undo(services, first.review_id, second.review_id, other.review_id, 999)
    assert [type(one) for one in refused] == [ReviewError, ReviewError, ReviewError, NotFoundError]
    for one, told in zip(refused, ("Bob decided on it since", "ask them", "changed"), strict=False):
        assert told in str(one)
    assert (stands(services, "a"), stands(services, "b"), count(services)) == before
    # One after the other, the newest first, both can be taken back.
    assert recorded(*undo(services, second.review_id, by="Bob")).status is Status.NEEDS_REVIEW
    assert "taken back already" in str(*undo(services, second.review_id, by="Bob"))
    assert recorded(*undo(services, first.review_id)).status is Status.TAGGED


def test_who_may_undo_what_others_said(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255})
    said = say(services, "a", Verdict.CONFIRMED)
    (undone,) = take_back(
        services.database,
        [said.review_id],
        by="Eve",
        action=ACT,
        now=services.clock.now(),
        of_others=True,
    )
    assert recorded(undone).status is Status.TAGGED
    with services.database.read() as session:
        assert session.get_one(Review, recorded(undone).review_id).reviewer == "Eve"


def test_many_in_one_act_and_each_that_cannot_be_recorded_is_told(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {**SURE, "w.png": 64})
    old = answer(services, "d", Verdict.CONFIRMED)
    tagged(services, tmp_path / "in", {"d.png": 250})
    say(services, "c", Verdict.NOT_A_PRODUCT, reviewer="Bob")
    answers = [
        answer(services, "a", Verdict.CONFIRMED),
        old,
        answer(services, "w", Verdict.CORRECTED, "Middle"),
        answer(services, "c", Verdict.CONFIRMED),
        answer(services, "b", Verdict.CORRECTED, "no such"),
        dataclasses.replace(old, sku="zz"),
    ]
    outcomes = send(services, answers)
    assert [isinstance(one, Recorded) for one in outcomes] == [
        True,
        False,
        True,
        False,
        False,
        False,
    ]
    for at, told in (
        (1, "photos of 'd' changed"),
        (3, "Bob decided"),
        (4, "no category"),
        (5, "zz"),
    ):
        assert told in str(outcomes[at])
    assert product(services, "a").status is Status.REVIEWED
    assert product(services, "w").category == "Middle"
    assert product(services, "b").status is Status.TAGGED
    assert count(services) == 3
    # One undo takes back all that the act recorded.
    before = count(services)
    reviews = [one.review_id for one in outcomes if isinstance(one, Recorded)]
    assert all(isinstance(one, Recorded) for one in undo(services, *reviews))
    assert (product(services, "a").status, product(services, "w").status) == (
        Status.TAGGED,
        Status.NEEDS_REVIEW,
    )
    assert count(services) == before + 2


def test_an_act_that_is_sent_again_changes_nothing(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", SURE)
    answers = [answer(services, sku, Verdict.CONFIRMED) for sku in "abcd"]
    first = [recorded(one) for one in send(services, answers)]
    again = [recorded(one) for one in send(services, answers)]
    assert [one.review_id for one in again] == [one.review_id for one in first]
    assert all(one.repeated for one in again)
    assert count(services) == 4
    # Nor does one that arrives once more after it was taken back, nor the undo itself.
    ids = [one.review_id for one in first]
    for _ in range(2):
        done = take_back(
            services.database, ids, by="Ann", action="undo-of-5b2f", now=services.clock.now()
        )
        assert {recorded(one).status for one in done} == {Status.TAGGED}
    late = [recorded(one) for one in send(services, answers)]
    assert {one.status for one in late} == {Status.TAGGED}
    assert count(services) == 8


def test_the_same_act_twice_at_once_is_recorded_once(services: Services, tmp_path: Path) -> None:
    tagged(audit_all(services), tmp_path / "in", {f"p{i}.png": 255 for i in range(12)})
    answers = [answer(services, f"p{i}", Verdict.CONFIRMED) for i in range(12)]
    both = at_once([partial(send, services, order) for order in (answers, answers[::-1])])
    assert all(isinstance(outcomes, list) for outcomes in both)
    assert count(services) == 12
    assert weighed(services).verdicts == 12


def test_acts_on_tags_of_several_models_never_wait_for_each_other(
    services: Services, tmp_path: Path
) -> None:
    audit_all(services)
    tagged(services, tmp_path / "in", {f"p{i}.png": 255 for i in range(6)})
    with services.database.write("test") as session:
        other = models.register(
            session, stand_in_card(version="2"), tmp_path / "other", now=services.clock.now()
        )
        models.put_in_charge(session, services.retailer_id, other, now=services.clock.now())
        session.commit()
    tagged(services, tmp_path / "more", {f"q{i}.png": 255 for i in range(4)})
    tagged(services, tmp_path / "in", {f"p{i}.png": 254 for i in range(3)})
    # By the order of delivery one act meets the newer model first, the other the older one.
    acts = (("p0", "p1", "p2", "p3", "p4"), ("p5", "q0", "q1", "q2", "q3"))
    saying = [
        partial(send, services, [answer(services, sku, Verdict.CONFIRMED) for sku in skus], action)
        for skus, action in zip(acts, ("one-act-0001", "one-act-0002"), strict=True)
    ]
    said = [outcome for outcomes in at_once(saying) for outcome in _list(outcomes)]
    assert [isinstance(one, Recorded) for one in said] == [True] * 10
    ids = [recorded(one).review_id for one in said]
    undone = at_once([partial(undo, services, *ids[:5]), partial(undo, services, *ids[5:])])
    assert all(isinstance(one, Recorded) for outcomes in undone for one in _list(outcomes))
    assert count(services) == 20


def _list(
    found: list[Recorded | AtelierError] | AtelierError,
) -> list[Recorded | AtelierError]:
    assert isinstance(found, list), found
    return found


def test_answers_that_do_not_belong_together_are_refused(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", SURE)
    one, other = (answer(services, sku, Verdict.CONFIRMED) for sku in "ab")
    for answers in ([one, one], [one, dataclasses.replace(other, reviewer="Bob")]):
        with pytest.raises(ReviewError, match="sent together"):
            send(services, answers)
    for action in ("", "short", "a b c d e f g h", "x" * 37):
        with pytest.raises(ReviewError, match="names no act"):
            send(services, [one], action)
    assert send(services, []) == []
    assert count(services) == 0


def test_a_verdict_that_is_taken_back_is_no_evidence(services: Services, tmp_path: Path) -> None:
    tagged(audit_all(services), tmp_path / "in", {f"p{i}.png": 255 for i in range(3)})
    wrong = [say(services, f"p{i}", Verdict.NOT_A_PRODUCT) for i in range(2)]
    assert (weighed(services).errors, state(services)) == (2, Autopilot.OFF)
    undo(services, *(one.review_id for one in wrong))
    assert weighed(services).verdicts == 0
    # Only a person turns it on again.
    assert state(services) is Autopilot.OFF


def test_what_was_taken_back_teaches_nothing(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", {"a.png": 64})
    said = say(services, "a", Verdict.CORRECTED, "Middle")

    def learned() -> list[str]:
        found = training.decided_products(services.database, services.retailer_id)
        return [one.category for one in found]

    assert learned() == ["Middle"]
    undo(services, said.review_id)
    assert learned() == []


def test_a_review_from_before_this_could_be_undone_stays(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255})
    said = say(services, "a", Verdict.CONFIRMED)
    with services.database.write("test") as session:
        session.execute(sa.update(Review).values(before=sa.null()))
        session.commit()
    (refused,) = undo(services, said.review_id)
    assert "does not say what was before" in str(refused)
    with services.database.read() as session:
        assert session.execute(sa.select(Product.status)).scalar_one() is Status.REVIEWED


def test_two_reviews_of_one_product_are_taken_back_in_two_acts(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255, "b.png": 0})
    older = say(services, "a", Verdict.UNSURE)
    newer = say(services, "a", Verdict.CONFIRMED)
    other = say(services, "b", Verdict.CONFIRMED)
    done = undo(services, newer.review_id, older.review_id, newer.review_id, other.review_id)
    assert [isinstance(one, Recorded) for one in done] == [True, False, False, True]
    assert "undo the older one in another" in str(done[1])
    assert product(services, "a").status is Status.NEEDS_REVIEW
    assert recorded(*undo(services, older.review_id)).status is Status.TAGGED


@pytest.mark.parametrize("verdict", [Verdict.CONFIRMED, Verdict.UNSURE])
def test_what_was_classified_anew_meanwhile_is_not_put_back(
    services: Services, tmp_path: Path, verdict: Verdict
) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255})
    said = say(services, "a", verdict)
    for shade in (0, 255):  # Another photo, and the old one again.
        tagged(services, tmp_path / "in", {"a.png": shade})
        change_rules(
            services.database,
            "default",
            RetailerRules(always_review=["Light"]),
            by="Eve",
            now=services.clock.now(),
        )
    before = stands(services, "a")
    assert before["status"] is Status.NEEDS_REVIEW
    (refused,) = undo(services, said.review_id)
    assert "look at it anew" in str(refused)
    assert stands(services, "a") == before


def test_the_name_of_another_act_is_refused(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255})
    said = answer(services, "a", Verdict.CONFIRMED)
    review_id = recorded(*send(services, [said])).review_id
    (others,) = send(services, [dataclasses.replace(said, reviewer="Bob")])
    (undone,) = take_back(
        services.database, [review_id], by="Ann", action=ACT, now=services.clock.now()
    )
    for refused in (others, undone):
        assert "another act of this name" in str(refused)
    assert product(services, "a").status is Status.REVIEWED


def test_only_reviews_of_the_named_retailer_are_there(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255})
    said = say(services, "a", Verdict.CONFIRMED)
    for retailer_id, undone in ((services.retailer_id + 1, False), (services.retailer_id, True)):
        (outcome,) = take_back(
            services.database,
            [said.review_id],
            by="Ann",
            action=ACT,
            now=services.clock.now(),
            retailer_id=retailer_id,
        )
        assert isinstance(outcome, Recorded) is undone
