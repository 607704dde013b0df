"""What people decide, over real databases: the arrows, what is refused, and what stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging.answers import Answer, Recorded
from tagging.database.tables import AuditVerdict, AutopilotChange, Base, Prediction, Review
from tagging.domain import ReviewReason, Status, Verdict
from tagging.errors import AtelierError, NotFoundError, ReviewError
from tagging.images.decoders import DecodeRequest
from tagging.review import record_review
from tagging.steering import turn
from tests.integration.test_ingest_and_tag import deliver, listed, write_folder
from tests.people import answer, at_once, audit_all, product, say, tagged, weighed
from tests.stand_in import Services, picture


def record(services: Services, given: Answer) -> Recorded:
    return record_review(services.database, given, now=services.clock.now())


@pytest.mark.parametrize(
    ("verdict", "category", "status", "in_force"),
    [
        (Verdict.CONFIRMED, None, Status.REVIEWED, "Light"),
        (Verdict.CORRECTED, "Dark", Status.REVIEWED, "Dark"),
        (Verdict.CORRECTED, "Shades", Status.REVIEWED, "Shades"),
        (Verdict.NOT_A_PRODUCT, None, Status.REVIEWED, None),
        (Verdict.UNSURE, None, Status.NEEDS_REVIEW, None),
    ],
)
def test_a_verdict_on_a_tag_moves_the_product_and_appends_a_row(
    services: Services,
    tmp_path: Path,
    verdict: Verdict,
    category: str | None,
    status: Status,
    in_force: str | None,
) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255})
    done = say(services, "a", verdict, category)
    found = product(services, "a")
    assert (done.status, done.category) == (found.status, found.category) == (status, in_force)
    assert found.decided_by == ("person" if status is Status.REVIEWED else None)
    unsure = verdict is Verdict.UNSURE
    assert found.review_reason is (ReviewReason.REQUESTED if unsure else None)
    with services.database.read() as session:
        (row,) = session.scalars(sa.select(Review))
    assert (row.id, row.reviewer, row.verdict, row.category, row.image_set, row.prediction_id) == (
        done.review_id,
        "Ann",
        verdict,
        in_force,
        found.image_set,
        found.prediction_id,
    )
    assert row.created_at == services.clock.now()


def test_what_waits_is_decided_and_unsure_leaves_it_waiting(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"a.png": 64})
    say(services, "a", Verdict.UNSURE)
    found = product(services, "a")
    assert (found.status, found.review_reason) == (
        Status.NEEDS_REVIEW,
        ReviewReason.LOW_CONFIDENCE,
    )
    say(services, "a", Verdict.CONFIRMED)
    assert listed(services)["a"].status is Status.REVIEWED
    assert listed(services)["a"].category == found.suggestion


def test_what_makes_no_sense_is_refused_with_what_to_do(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255})
    for category, told in ((None, "no category"), ("Shoe", "it has Dark"), ("Light", "confirmed")):
        with pytest.raises(ReviewError, match=told):
            say(services, "a", Verdict.CORRECTED, category)
    with pytest.raises(ReviewError, match="leave it out"):
        say(services, "a", Verdict.CONFIRMED, "Light")
    with pytest.raises(ReviewError, match="who decided"):
        say(services, "a", Verdict.CONFIRMED, reviewer=" ")
    stranger = dataclasses.replace(answer(services, "a", Verdict.CONFIRMED), sku="zz")
    with pytest.raises(NotFoundError, match="products list"):
        record_review(services.database, stranger, now=services.clock.now())
    with services.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Review)) == 0
    assert product(services, "a").status is Status.TAGGED


def test_what_is_in_work_or_failed_is_refused(services: Services, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", {"a.png": 255})
    (folder / "broken.png").write_bytes(picture(0)[:50])
    deliver(services, folder)
    with pytest.raises(ReviewError, match="being classified"):
        say(services, "a", Verdict.NOT_A_PRODUCT)
    services.tag_all()
    with pytest.raises(ReviewError, match="deliver another"):
        say(services, "broken", Verdict.NOT_A_PRODUCT)


def test_who_looked_at_photos_that_are_being_replaced_is_told_so(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"a.png": 60})
    seen = answer(services, "a", Verdict.CONFIRMED)
    deliver(services, write_folder(tmp_path / "new", {"a.png": 62}))
    assert product(services, "a").status is Status.QUEUED
    with pytest.raises(ReviewError, match="the new ones are being classified"):
        record_review(services.database, seen, now=services.clock.now())


def test_a_verdict_on_photos_or_a_prediction_that_are_no_longer_so_is_refused(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255})
    old = answer(services, "a", Verdict.CONFIRMED)
    tagged(services, tmp_path / "in", {"a.png": 250})
    with pytest.raises(ReviewError, match="photos of 'a' changed"):
        record_review(services.database, old, now=services.clock.now())
    fresh = answer(services, "a", Verdict.CONFIRMED)
    stale = dataclasses.replace(fresh, prediction_id=old.prediction_id)
    with pytest.raises(ReviewError, match="classified again"):
        record_review(services.database, stale, now=services.clock.now())
    assert product(services, "a").status is Status.TAGGED
    record_review(services.database, fresh, now=services.clock.now())
    assert product(services, "a").status is Status.REVIEWED


def test_a_decision_stands_and_saying_the_same_again_changes_nothing(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255})
    first = say(services, "a", Verdict.CORRECTED, "Dark")
    again = say(services, "a", Verdict.CORRECTED, "Dark")
    assert (again.review_id, again.repeated, first.repeated) == (first.review_id, True, False)
    for verdict, category, who in (
        (Verdict.CONFIRMED, None, "Ann"),
        (Verdict.CORRECTED, "Middle", "Ann"),
        (Verdict.CORRECTED, "Dark", "Bob"),
    ):
        with pytest.raises(ReviewError, match=r"Ann decided on 'a'.*corrected: Dark"):
            say(services, "a", verdict, category, reviewer=who)
    assert product(services, "a").category == "Dark"


def test_who_is_unsure_twice_has_said_it_once_until_there_is_something_new_to_see(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255})
    first = say(services, "a", Verdict.UNSURE)
    again = say(services, "a", Verdict.UNSURE)
    assert (again.review_id, again.repeated, again.status) == (
        first.review_id,
        True,
        Status.NEEDS_REVIEW,
    )
    other = say(services, "a", Verdict.UNSURE, reviewer="Bob")
    assert not other.repeated
    tagged(services, tmp_path / "in", {"a.png": 64})
    anew = say(services, "a", Verdict.UNSURE, reviewer="Bob")
    assert not anew.repeated
    assert anew.review_id > other.review_id


def test_of_two_verdicts_at_once_one_is_recorded(services: Services, tmp_path: Path) -> None:
    skus = [f"p{i}" for i in range(8)]
    tagged(audit_all(services), tmp_path / "in", {f"{sku}.png": 255 for sku in skus})
    for sku in skus:
        given = [
            dataclasses.replace(answer(services, sku, Verdict.CORRECTED, category), reviewer=who)
            for who, category in (("Ann", "Dark"), ("Bob", "Middle"))
        ]
        outcomes = at_once([partial(record, services, one) for one in given])
        (won,) = [g for g, one in zip(given, outcomes, strict=True) if isinstance(one, Recorded)]
        (lost,) = [one for one in outcomes if isinstance(one, AtelierError)]
        assert won.reviewer in str(lost)
        assert product(services, sku).category == won.category
    assert weighed(services).verdicts == len(skus)


def test_a_machine_write_changes_nothing_that_was_decided_meanwhile(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255})
    say(services, "a", Verdict.CORRECTED, "Middle")
    deliver(services, write_folder(tmp_path / "in", {"a.png": 0}))
    assert product(services, "a").review_reason is ReviewReason.PHOTO_CHANGED

    # A person sees the new photo and decides while a worker has it in hand.
    def decide(_: DecodeRequest) -> None:
        say(services, "a", Verdict.CORRECTED, "Light")

    services.decoders.before = decide
    services.tag_all()
    found = product(services, "a")
    assert (found.status, found.category, found.decided_by) == (Status.REVIEWED, "Light", "person")
    with services.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Prediction)) == 2


def test_what_was_recorded_is_never_changed(services: Services, tmp_path: Path) -> None:
    def rows() -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        with services.database.read() as session:
            for kind in (Review, AuditVerdict, AutopilotChange, Prediction):
                table = Base.metadata.tables[kind.__tablename__]
                key = list(table.primary_key)
                query = sa.select(table).order_by(*key)
                found += [(table.name, *map(str, row)) for row in session.execute(query)]
        return found

    tagged(audit_all(services), tmp_path / "in", {f"p{i}.png": 255 for i in range(6)})
    before = rows()
    acts: list[Callable[[], object]] = [
        lambda: say(services, "p0", Verdict.UNSURE),
        lambda: say(services, "p0", Verdict.CORRECTED, "Dark"),
        lambda: say(services, "p1", Verdict.NOT_A_PRODUCT),
        lambda: turn(services.database, "default", on=True, by="Eve", now=services.clock.now()),
        lambda: tagged(services, tmp_path / "in", {"p0.png": 0, "p2.png": 1}),
        lambda: say(services, "p0", Verdict.CONFIRMED),
    ]
    for act in acts:
        act()
        after = rows()
        assert len(after) > len(before)
        assert {*before} <= {*after}
        before = after
