"""Rules over real databases: versions, what they do to a batch, and trials that change nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging.answers import Recorded
from tagging.database import autopilots, rules, schema
from tagging.database.tables import Base, Product
from tagging.domain import Autopilot, ReviewReason, Status, Verdict
from tagging.errors import NotFoundError, ReviewError, RulesError, StaleRulesError
from tagging.images.model_input import PREPROCESSING_VERSION
from tagging.rules import RetailerRules, parse_rules
from tagging.rules_trial import Trial, try_rules
from tagging.steering import change_rules, turn
from tests.people import SURE, add_verdicts, at_once, product, say, state, tagged, weighed
from tests.stand_in import Services


def put(services: Services, text: str, by: str = "Ada") -> RetailerRules:
    services.clock.seconds += 1
    return change_rules(
        services.database, "default", parse_rules(text), by=by, now=services.clock.now(), text=text
    )


def tried(services: Services, text: str, most: int = 10_000) -> Trial:
    return try_rules(
        services.database,
        services.retailer_id,
        parse_rules(text),
        preprocessing_version=PREPROCESSING_VERSION,
        most=most,
    )


def everything(services: Services) -> list[tuple[object, ...]]:
    with services.database.read() as session:
        return [
            (table.name, *map(str, row))
            for table in Base.metadata.sorted_tables
            for row in session.execute(sa.select(table))
        ]


def test_every_version_is_kept_as_it_was_written(services: Services) -> None:
    text = "# as Ada wants it\nalways_review: [Dark]\n"
    assert put(services, text) == RetailerRules()
    assert put(services, text) == parse_rules(text)
    put(services, "accept_parent: true", by="Bob")
    with services.database.read() as session:
        found = rules.history(session, services.retailer_id, most=10)
        in_force = rules.in_force(session, services.retailer_id)
    assert [(one.number, one.created_by, one.text) for one in found] == [
        (2, "Bob", "accept_parent: true"),
        (1, "Ada", text),
    ]
    assert in_force == RetailerRules(accept_parent=True)


def test_rules_that_cannot_be_put_in_force_change_nothing(services: Services) -> None:
    before = everything(services)
    with pytest.raises(RulesError, match="Blue: no such category"):
        put(services, "always_review: [Blue]")
    with pytest.raises(ReviewError, match="names no person"):
        put(services, "accept_parent: true", by=" ")
    with pytest.raises(NotFoundError, match="retailers list"):
        change_rules(
            services.database, "nobody", RetailerRules(), by="Ada", now=services.clock.now()
        )
    assert everything(services) == before


def test_what_is_tagged_from_then_on_goes_by_them(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255})
    put(services, "always_review: [Light]\ncategories: {Dark: {threshold: 1.0}}")
    tagged(services, tmp_path / "more", {"b.png": 254, "c.png": 1, "d.png": 128})
    assert product(services, "a").status is Status.TAGGED
    reasons = {sku: product(services, sku).review_reason for sku in "bcd"}
    assert reasons == {
        "b": ReviewReason.RULE,
        "c": ReviewReason.LOW_CONFIDENCE,
        "d": None,
    }


def test_the_audit_takes_the_share_that_the_rules_say(services: Services, tmp_path: Path) -> None:
    put(services, "audit_share: 1.0")
    tagged(services, tmp_path / "in", SURE)
    put(services, "audit_share: 0.0")
    tagged(services, tmp_path / "more", {"x.png": 255})
    with services.database.read() as session:
        rows = session.execute(sa.select(Product.sku, Product.audit)).all()
    assert {row.sku: row.audit for row in rows} == dict.fromkeys("abcd", True) | {"x": False}
    # Another share makes no other tags, so the evidence goes on.
    assert state(services) is Autopilot.PROVISIONAL
    with services.database.read() as session:
        assert autopilots.stretch(session, services.retailer_id, services.model_id).after == 0


def test_a_required_certificate_is_earned_by_what_people_say_of_what_was_withheld(
    services: Services, tmp_path: Path
) -> None:
    put(services, "require_certificate: true")
    tagged(services, tmp_path / "in", {**SURE, "w.png": 64})
    found = {sku: product(services, sku) for sku in (*"abcd", "w")}
    assert {sku: (one.status, one.review_reason, one.audit) for sku, one in found.items()} == (
        dict.fromkeys("abcd", (Status.NEEDS_REVIEW, ReviewReason.RULE, True))
        | {"w": (Status.NEEDS_REVIEW, ReviewReason.LOW_CONFIDENCE, False)}
    )
    add_verdicts(services, "d", right=355, wrong=0)
    say(services, "w", Verdict.CONFIRMED)
    say(services, "a", Verdict.CONFIRMED)
    assert state(services) is Autopilot.PROVISIONAL
    moved = say(services, "b", Verdict.CONFIRMED).autopilot
    assert moved is not None
    assert state(services) is Autopilot.CERTIFIED
    tagged(services, tmp_path / "more", {"x.png": 255})
    assert product(services, "x").status is Status.TAGGED


def test_other_rules_start_the_evidence_anew(services: Services, tmp_path: Path) -> None:
    put(services, "audit_share: 1.0")
    tagged(services, tmp_path / "in", SURE)
    say(services, "a", Verdict.CONFIRMED)
    put(services, "audit_share: 1.0\nalways_review: [Middle]")
    with services.database.read() as session:
        (standing,) = autopilots.standings(session)
    assert (weighed(services).verdicts, standing.changed_by) == (0, "Ada")
    assert standing.reason == 'rules 2: always_review was [], is ["Middle"]'


def test_of_two_changes_at_once_both_are_versions(services: Services) -> None:
    texts = ["accept_parent: true", "require_certificate: true", "audit_share: 0.5"]
    outcomes = at_once([partial(put, services, text) for text in texts])
    assert all(isinstance(one, RetailerRules) for one in outcomes)
    with services.database.read() as session:
        found = rules.history(session, services.retailer_id, most=10)
    assert [one.number for one in found] == [3, 2, 1]
    assert {one.text for one in found} == set(texts)


def test_rules_that_were_begun_on_others_than_those_in_force_are_refused(
    services: Services,
) -> None:
    def put_instead_of(number: int, text: str) -> RetailerRules:
        now = services.clock.now()
        return change_rules(
            services.database, "default", parse_rules(text), by="Ada", now=now, instead_of=number
        )

    put_instead_of(0, "accept_parent: true")
    before = everything(services)
    with pytest.raises(StaleRulesError, match="Ada put version 1 in force meanwhile"):
        put_instead_of(0, "audit_share: 0.5")
    assert everything(services) == before
    put_instead_of(1, "audit_share: 0.5")


class TestTrials:
    def test_the_newest_products_are_decided_again_and_nothing_is_written(
        self, services: Services, tmp_path: Path
    ) -> None:
        tagged(services, tmp_path / "in", {**SURE, "w.png": 64})
        say(services, "a", Verdict.CORRECTED, "Dark")
        say(services, "b", Verdict.CONFIRMED)
        before = everything(services)
        found = tried(services, "always_review: [Middle]")
        assert everything(services) == before
        assert (found.products, found.unknown) == (5, 0)
        assert (found.now.accepted, found.now.waiting) == (4, 1)
        assert (found.tried.accepted, found.tried.waiting) == (3, 2)
        assert found.tried.by_reason == {"rule": 1, "low_confidence": 1}
        assert found.now.accepted_by_category == {"Light": 2, "Dark": 1, "Middle": 1}
        assert (found.tried.judged, found.tried.wrong) == (2, 1)
        assert vars(found.changes) == {"to_people": 1, "to_model": 0, "recategorised": 0}
        looser = tried(services, "categories: {Dark: {threshold: 0.1}, Middle: {threshold: 0.1}}")
        assert (looser.changes.to_model, looser.changes.total) == (1, 1)

    def test_only_so_many_the_last_delivered_first(
        self, services: Services, tmp_path: Path
    ) -> None:
        tagged(services, tmp_path / "in", {"a.png": 64})
        tagged(services, tmp_path / "more", {"b.png": 255, "c.png": 0})
        found = tried(services, "", most=2)
        assert (found.products, found.now.accepted, found.tried.accepted) == (2, 2, 2)

    def test_what_no_model_saw_is_counted_apart(self, services: Services, tmp_path: Path) -> None:
        assert tried(services, "").products == 0
        tagged(services, tmp_path / "in", SURE)
        with services.database.write("test") as session:
            session.execute(sa.text("DELETE FROM image_predictions"))
            session.commit()
        found = tried(services, "")
        assert (found.products, found.unknown) == (0, 4)

    def test_an_autopilot_that_is_off_is_no_rule(self, services: Services, tmp_path: Path) -> None:
        tagged(services, tmp_path / "in", SURE)
        turn(services.database, "default", on=False, by="Ada", now=services.clock.now())
        assert tried(services, "").tried.accepted == 4

    def test_other_rules_lose_the_certificate(self, services: Services, tmp_path: Path) -> None:
        put(services, "require_certificate: true")
        tagged(services, tmp_path / "in", SURE)
        add_verdicts(services, "d", right=356, wrong=0)
        assert isinstance(say(services, "a", Verdict.CONFIRMED), Recorded)
        assert state(services) is Autopilot.CERTIFIED
        found = tried(services, "require_certificate: true\nalways_review: [Dark]")
        assert (found.now.accepted, found.tried.accepted) == (4, 0)

    def test_names_are_checked(self, services: Services) -> None:
        with pytest.raises(RulesError, match="Blue") as refused:
            tried(services, "always_review: [Dark, Blue]\ncategories: {Red: {threshold: 1.0}}")
        places = [one.place for one in refused.value.problems]
        assert places == [("always_review", 1), ("categories", "Red")]


def test_what_a_retailer_asked_before_there_were_rules_is_their_first_version(
    services: Services,
) -> None:
    database = services.database
    schema.downgrade(database, "0003")
    with database.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE retailers SET target_precision = 0.95, accept_parent = :yes"),
            {"yes": True},
        )
    schema.upgrade(database)
    with database.read() as session:
        (found,) = rules.history(session, services.retailer_id, most=10)
    assert found.rules == RetailerRules(target_precision=0.95, accept_parent=True)
    assert parse_rules(found.text) == found.rules
    schema.downgrade(database, "0003")
    with database.engine.connect() as connection:
        row = connection.execute(
            sa.text("SELECT target_precision, accept_parent FROM retailers")
        ).one()
    assert (row.target_precision, bool(row.accept_parent)) == (0.95, True)
    schema.upgrade(database)
