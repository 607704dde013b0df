"""The audit sample and its verdicts, over real databases."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging.database import autopilots, models, reviews
from tagging.database.tables import Product
from tagging.domain import ReviewReason, Status, Verdict
from tagging.steering import turn
from tests.people import SURE, audit_all, product, say, tagged, undo, weighed
from tests.stand_in import Services, stand_in_card


@pytest.fixture
def audited(services: Services) -> Services:
    return audit_all(services)


def awaited(services: Services) -> list[str]:
    """The audit queue's skus; as many as the standing says."""
    lines = reviews.queue(services.database, services.retailer_id, audit=True)
    skus = [line.sku for line in lines]
    with services.database.read() as session:
        (standing,) = autopilots.standings(session)
    assert standing.waiting == len(skus)
    return skus


def test_only_accepted_products_are_audited_by_their_share(
    services: Services, tmp_path: Path
) -> None:
    shades = {f"p{i:03}.png": (255, 64)[i % 4 == 0] for i in range(80)}
    services.tagger = dataclasses.replace(services.tagger, audit_share=0.5)
    tagged(services, tmp_path / "in", shades)
    with services.database.read() as session:
        rows = session.execute(sa.select(Product.status, Product.audit)).all()
    assert {audit for status, audit in rows if status is Status.NEEDS_REVIEW} == {False}
    accepted = [audit for status, audit in rows if status is Status.TAGGED]
    assert len(accepted) == 60
    assert 12 <= sum(accepted) <= 48


def test_the_key_is_made_once_for_each_retailer(services: Services) -> None:
    now = services.clock.now()
    with services.database.write("test") as session:
        other = models.add_retailer(session, "other", model_id=services.model_id, now=now)
        one = autopilots.audit_key(session, services.retailer_id, now=now)
        two = autopilots.audit_key(session, other, now=now)
        session.commit()
    assert (len(one), len(two)) == (32, 32)
    assert one != two
    with services.database.write("test") as session:
        assert autopilots.audit_key(session, services.retailer_id, now=now) == one


def test_an_audited_product_stays_tagged_and_published_whatever_the_audit_finds(
    audited: Services, tmp_path: Path
) -> None:
    def published() -> dict[str, str | None]:
        with audited.database.read() as session:
            rows = session.execute(sa.text("SELECT sku, category FROM tagged_catalog")).all()
            return {row.sku: row.category for row in rows}

    tagged(audited, tmp_path / "in", {"a.png": 255, "b.png": 0, "waits.png": 64})
    found = product(audited, "a")
    assert (found.status, found.audit, found.review_reason) == (Status.TAGGED, True, None)
    assert published() == {"a": "Light", "b": "Dark", "waits": None}
    say(audited, "b", Verdict.CORRECTED, "Light")
    assert published() == {"a": "Light", "b": "Light", "waits": None}
    assert [product(audited, sku).audit for sku in ("a", "b", "waits")] == [True, True, False]


def test_verdicts_on_the_audit_sample_are_evidence_and_others_are_not(
    audited: Services, tmp_path: Path
) -> None:
    tagged(audited, tmp_path / "in", {**SURE, "unsure.png": 64})
    say(audited, "a", Verdict.CONFIRMED)
    say(audited, "b", Verdict.CORRECTED, "Light")
    say(audited, "c", Verdict.NOT_A_PRODUCT)
    say(audited, "unsure", Verdict.CORRECTED, "Light")
    assert (weighed(audited).verdicts, weighed(audited).errors) == (3, 2)
    # A narrower category than the one that was accepted does not make that one wrong.
    with audited.database.write("test") as session:
        session.execute(
            sa.update(Product)
            .where(Product.sku == "d")
            .values(suggestion="Shades", category="Shades")
        )
        session.commit()
    say(audited, "d", Verdict.CORRECTED, "Light")
    assert (weighed(audited).verdicts, weighed(audited).errors) == (4, 2)


def test_who_is_unsure_of_an_audited_tag_withdraws_it_and_proves_nothing(
    audited: Services, tmp_path: Path
) -> None:
    tagged(audited, tmp_path / "in", {"a.png": 255})
    say(audited, "a", Verdict.UNSURE)
    assert product(audited, "a").category is None
    assert weighed(audited).verdicts == 0
    say(audited, "a", Verdict.CORRECTED, "Dark")
    assert (weighed(audited).verdicts, weighed(audited).errors) == (1, 1)


def test_a_verdict_that_was_taken_back_is_no_evidence(audited: Services, tmp_path: Path) -> None:
    tagged(audited, tmp_path / "in", SURE)
    say(audited, "a", Verdict.CONFIRMED)
    wrong = say(audited, "b", Verdict.NOT_A_PRODUCT)
    undo(audited, wrong.review_id)
    assert (weighed(audited).verdicts, weighed(audited).errors) == (1, 0)


def test_a_new_photo_of_an_audited_product_is_no_accepted_tag(
    audited: Services, tmp_path: Path
) -> None:
    tagged(audited, tmp_path / "in", {"a.png": 255})
    say(audited, "a", Verdict.CONFIRMED)
    tagged(audited, tmp_path / "in", {"a.png": 0})
    found = product(audited, "a")
    assert (found.review_reason, found.suggestion) == (ReviewReason.PHOTO_CHANGED, "Dark")
    assert awaited(audited) == []
    say(audited, "a", Verdict.NOT_A_PRODUCT)
    assert (weighed(audited).verdicts, weighed(audited).errors) == (1, 0)


def test_the_audit_queue_has_the_tags_whose_verdict_counts(
    audited: Services, tmp_path: Path
) -> None:
    tagged(audited, tmp_path / "in", {**SURE, "waits.png": 64})
    assert awaited(audited) == ["a", "b", "c", "d"]
    say(audited, "a", Verdict.CONFIRMED)
    say(audited, "b", Verdict.UNSURE)
    assert awaited(audited) == ["b", "c", "d"]
    for on in (False, True):
        audited.clock.seconds += 1
        turn(audited.database, "default", on=on, by="Eve", now=audited.clock.now())
    assert awaited(audited) == []
    tagged(audited, tmp_path / "more", {"e.png": 255})
    assert awaited(audited) == ["e"]
    with audited.database.write("test") as session:
        now = audited.clock.now()
        second = models.register(session, stand_in_card(version="2"), tmp_path / "b2", now=now)
        models.put_in_charge(session, audited.retailer_id, second, now=now)
        session.commit()
    assert awaited(audited) == []


def test_every_model_has_evidence_of_its_own(audited: Services, tmp_path: Path) -> None:
    tagged(audited, tmp_path / "in", SURE)
    say(audited, "a", Verdict.CONFIRMED)
    with audited.database.write("test") as session:
        now = audited.clock.now()
        second = models.register(session, stand_in_card(version="2"), tmp_path / "b2", now=now)
        models.put_in_charge(session, audited.retailer_id, second, now=now)
        session.commit()
    say(audited, "b", Verdict.CONFIRMED)  # accepted by the first
    tagged(audited, tmp_path / "more", {"q.png": 255})
    say(audited, "q", Verdict.NOT_A_PRODUCT)
    with audited.database.read() as session:
        found = [
            autopilots.verdicts(session, audited.retailer_id, model_id).tolist()
            for model_id in (audited.model_id, second)
        ]
        (standing,) = autopilots.standings(session)
        assert autopilots.standings(session, "shades:1") == []
    assert found == [[False, False], [True]]
    assert standing.model.id == second


def test_the_audit_sample_is_found_by_its_index(services: Services) -> None:
    if not services.database.is_sqlite:
        return  # PostgreSQL scans a table this small whatever its indexes
    with services.database.read() as session:
        wanted = autopilots.awaited(session, services.retailer_id, services.model_id)
        query = sa.select(sa.func.count(Product.id)).where(wanted)
        text = str(query.compile(session.get_bind(), compile_kwargs={"literal_binds": True}))
        plan = session.execute(sa.text(f"EXPLAIN QUERY PLAN {text}")).all()
    assert "ix_products_audit_retailer_id_id" in plan[0].detail
