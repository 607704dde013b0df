"""How an autopilot moves between its states, over real databases."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from tagging.answers import Recorded
from tagging.database import autopilots, rules, schema
from tagging.database.tables import AuditVerdict, AutopilotChange, AutopilotState
from tagging.domain import Autopilot, ReviewReason, Status, Verdict
from tagging.errors import AtelierError, BundleError, NotFoundError, ReviewError
from tagging.review import record_review
from tagging.rules import CategoryRule, RetailerRules
from tagging.steering import change_rules, turn
from tests.integration.test_ingest_and_tag import deliver, write_folder
from tests.people import (
    SURE,
    add_verdicts,
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
from tests.stand_in import Services


@pytest.fixture
def audited(services: Services) -> Services:
    return audit_all(services)


def test_enough_right_tags_certify_and_the_state_remembers_why(
    audited: Services, tmp_path: Path
) -> None:
    tagged(audited, tmp_path / "in", SURE)
    add_verdicts(audited, "d", right=355, wrong=0)
    assert say(audited, "a", Verdict.CONFIRMED).autopilot is None
    moved = say(audited, "b", Verdict.CONFIRMED).autopilot
    assert moved is not None
    assert (moved.state, state(audited)) == (Autopilot.CERTIFIED, Autopilot.CERTIFIED)
    with audited.database.read() as session:
        (standing,) = autopilots.standings(session)
        (change,) = session.scalars(sa.select(AutopilotChange))
    assert (standing.since, standing.reason) == (audited.clock.now(), moved.reason)
    assert (standing.to_certify, standing.waiting) == (0, 2)
    assert (change.before, change.state) == (Autopilot.PROVISIONAL, Autopilot.CERTIFIED)
    assert change.changed_by is None
    # What the verdicts no longer bear out lapses; the model goes on accepting.
    lapsed = say(audited, "c", Verdict.NOT_A_PRODUCT).autopilot
    assert lapsed is not None
    assert lapsed.state is Autopilot.PROVISIONAL


def test_a_certificate_lapses_and_comes_back_as_the_verdicts_bear_it_out(
    audited: Services, tmp_path: Path
) -> None:
    tagged(audited, tmp_path / "in", {**SURE, "e.png": 253})
    add_verdicts(audited, "d", right=356, wrong=0)
    moves = [say(audited, "a", Verdict.CONFIRMED), say(audited, "b", Verdict.NOT_A_PRODUCT)]
    # A lapsed certificate changes what is stated, not what is accepted.
    tagged(audited, tmp_path / "more", {"q.png": 255})
    assert product(audited, "q").status is Status.TAGGED
    add_verdicts(audited, "d", right=626 - 358 - 1, wrong=0)
    moves += [say(audited, "c", Verdict.CONFIRMED)]
    assert [move.autopilot.state if move.autopilot else None for move in moves] == [
        Autopilot.CERTIFIED,
        Autopilot.PROVISIONAL,
        Autopilot.CERTIFIED,
    ]
    # One more mistake is taken back, and with it what followed from it.
    mistake = say(audited, "d", Verdict.NOT_A_PRODUCT)
    assert state(audited) is Autopilot.PROVISIONAL
    (undone,) = undo(audited, mistake.review_id)
    assert isinstance(undone, Recorded)
    assert undone.autopilot is not None
    assert state(audited) is Autopilot.CERTIFIED
    with audited.database.read() as session:
        changes = session.scalars(sa.select(AutopilotChange).order_by(AutopilotChange.id)).all()
    assert len(changes) == 5
    assert all(two.before is one.state for one, two in pairwise(changes))


def test_wrong_tags_switch_off_and_a_person_starts_anew(audited: Services, tmp_path: Path) -> None:
    tagged(audited, tmp_path / "in", {f"p{i}.png": 255 for i in range(5)})
    assert say(audited, "p0", Verdict.NOT_A_PRODUCT).autopilot is None
    # At an error of 1 %, the first two would both be wrong once in 10,000 times.
    moved = say(audited, "p1", Verdict.NOT_A_PRODUCT).autopilot
    assert moved is not None
    assert (moved.state, state(audited)) == (Autopilot.OFF, Autopilot.OFF)
    # New products go to people, and no verdict turns it on again.
    tagged(audited, tmp_path / "more", {"q.png": 255})
    found = product(audited, "q")
    assert (found.status, found.review_reason) == (
        Status.NEEDS_REVIEW,
        ReviewReason.AUTOPILOT_OFF,
    )
    assert (found.category, found.suggestion, found.audit) == (None, "Light", False)
    assert say(audited, "p2", Verdict.CONFIRMED).autopilot is None
    assert state(audited) is Autopilot.OFF
    # A person does; what was accepted before is no evidence on what is accepted from then on.
    audited.clock.seconds += 1
    turned = turn(audited.database, "default", on=True, by=" Eve ", now=audited.clock.now())
    assert turned == (Autopilot.OFF, Autopilot.PROVISIONAL)
    assert weighed(audited).verdicts == 0
    say(audited, "p4", Verdict.NOT_A_PRODUCT)
    assert weighed(audited).verdicts == 0
    tagged(audited, tmp_path / "later", {"r.png": 255})
    assert product(audited, "r").status is Status.TAGGED
    with audited.database.read() as session:
        (standing,) = autopilots.standings(session)
    assert (standing.state, standing.changed_by, standing.waiting) == (
        Autopilot.PROVISIONAL,
        "Eve",
        1,
    )
    say(audited, "r", Verdict.CONFIRMED)
    assert (weighed(audited).verdicts, weighed(audited).errors) == (1, 0)


def test_a_person_turns_off_and_where_it_stands_so_nothing_happens(services: Services) -> None:
    database, now = services.database, services.clock.now()
    assert turn(database, "default", on=True, by="Eve", now=now) == (
        Autopilot.PROVISIONAL,
        Autopilot.PROVISIONAL,
    )
    turn(database, "default", on=False, by="Eve", now=now)
    turn(database, "default", on=False, by="Eve", now=now)
    assert state(services) is Autopilot.OFF
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(AutopilotChange)) == 1
    with pytest.raises(NotFoundError, match="retailers list"):
        turn(database, "nobody", on=True, by="Eve", now=now)
    with pytest.raises(ReviewError, match="names no person"):
        turn(database, "default", on=True, by="\n", now=now)


def test_why_a_person_turned_it_stands_on_record(services: Services) -> None:
    now = services.clock.now()
    turn(services.database, "default", on=False, by="Eve", now=now, why=" a strange\n week ")
    with services.database.read() as session:
        (standing,) = autopilots.standings(session)
        (change,) = autopilots.changes(session, services.retailer_id, most=9)
        assert autopilots.switched_off(session) == ["default"]
    assert standing.reason == "turned off by a person: a strange week"
    assert (change.model, change.state, change.changed_by) == ("shades:1", Autopilot.OFF, "Eve")
    with pytest.raises(ReviewError, match="at most 500"):
        turn(services.database, "default", on=True, by="Eve", now=now, why="x" * 501)
    turn(services.database, "default", on=True, by="Eve", now=now)
    with services.database.read() as session:
        assert autopilots.switched_off(session) == []


def test_a_database_of_the_version_before_goes_on(audited: Services, tmp_path: Path) -> None:
    schema.downgrade(audited.database, "0001")
    schema.upgrade(audited.database)
    tagged(audited, tmp_path / "in", SURE)
    say(audited, "a", Verdict.CONFIRMED)
    # Down with verdicts in it: what people decided stays, only the evidence goes.
    schema.downgrade(audited.database, "0001")
    schema.upgrade(audited.database)
    assert product(audited, "a").status is Status.REVIEWED
    assert weighed(audited).verdicts == 0
    say(audited, "b", Verdict.CONFIRMED)
    assert weighed(audited).verdicts == 1


def test_verdicts_that_come_at_once_all_count(audited: Services, tmp_path: Path) -> None:
    skus = [f"p{i}" for i in range(12)]
    tagged(audited, tmp_path / "in", {f"{sku}.png": 255 for sku in skus})
    add_verdicts(audited, "p0", right=350, wrong=0)
    now = audited.clock.now()
    given = [answer(audited, sku, Verdict.CONFIRMED) for sku in skus]
    acts = [partial(record_review, audited.database, one, now=now) for one in given]
    assert not [one for one in at_once(acts) if isinstance(one, AtelierError)]
    assert weighed(audited).verdicts == 362
    with audited.database.read() as session:
        (change,) = session.scalars(sa.select(AutopilotChange))
        counted = session.scalar(
            sa.select(sa.func.count())
            .select_from(AuditVerdict)
            .where(AuditVerdict.review_id <= change.review_id)
        )
    # The move names the very verdict that certified: no two were weighed on the same evidence.
    assert (change.state, counted) == (Autopilot.CERTIFIED, 357)


def test_who_turns_it_off_among_verdicts_that_would_certify_it_has_turned_it_off(
    audited: Services, tmp_path: Path
) -> None:
    skus = [f"p{i}" for i in range(6)]
    tagged(audited, tmp_path / "in", {f"{sku}.png": 255 for sku in skus})
    add_verdicts(audited, "p0", right=354, wrong=0)
    now = audited.clock.now()
    acts: list[Callable[[], object]] = [
        partial(record_review, audited.database, answer(audited, sku, Verdict.CONFIRMED), now=now)
        for sku in skus
    ]
    acts.insert(3, partial(turn, audited.database, "default", on=False, by="Eve", now=now))
    assert not [one for one in at_once(acts) if isinstance(one, AtelierError)]
    assert weighed(audited).verdicts == 360
    with audited.database.read() as session:
        *_, last = session.scalars(sa.select(AutopilotChange).order_by(AutopilotChange.id))
    assert (last.state, last.changed_by, state(audited)) == (Autopilot.OFF, "Eve", Autopilot.OFF)


def test_verdicts_and_a_delivery_of_new_photos_at_once_neither_block_nor_mix(
    audited: Services, tmp_path: Path
) -> None:
    skus = [f"p{i}" for i in range(12)]
    tagged(audited, tmp_path / "in", {f"{sku}.png": 255 for sku in skus})
    folder = write_folder(tmp_path / "in", {f"{sku}.png": 128 for sku in skus})
    given = [answer(audited, sku, Verdict.CONFIRMED) for sku in skus]
    now = audited.clock.now()

    def decide() -> list[Recorded | AtelierError]:
        found: list[Recorded | AtelierError] = []
        for one in given:
            try:
                found.append(record_review(audited.database, one, now=now))
            except AtelierError as error:
                found.append(error)
        return found

    acts: list[Callable[[], object]] = [decide, lambda: deliver(audited, folder)]
    told = at_once(acts)[0]
    assert isinstance(told, list)
    for sku, one in zip(skus, told, strict=True):
        found = product(audited, sku)
        if isinstance(one, Recorded):
            # It was decided on the old photo; the new one waits for a person.
            assert (found.review_reason, found.category) == (ReviewReason.PHOTO_CHANGED, "Light")
        else:
            assert "being classified" in str(one)
            assert found.status is Status.QUEUED
    assert weighed(audited).verdicts == sum(isinstance(one, Recorded) for one in told)


def test_the_state_of_a_model_that_was_never_in_charge_is_no_state(services: Services) -> None:
    with (
        services.database.write("test") as session,
        pytest.raises(NotFoundError, match="autopilot"),
    ):
        autopilots.lock(session, services.retailer_id, 999)
    with services.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(AutopilotState)) == 1
        assert np.array_equal(
            autopilots.verdicts(session, services.retailer_id, services.model_id),
            np.zeros(0, np.bool_),
        )


class TestWhatARetailerAsks:
    def test_another_target_makes_the_autopilot_provisional_and_starts_its_evidence_anew(
        self, audited: Services, tmp_path: Path
    ) -> None:
        tagged(audited, tmp_path / "in", SURE)
        add_verdicts(audited, "d", right=356, wrong=0)
        say(audited, "a", Verdict.CONFIRMED)
        assert state(audited) is Autopilot.CERTIFIED
        audited.clock.seconds += 1
        before = change_rules(
            audited.database,
            "default",
            RetailerRules(target_precision=0.98),
            by="Ada",
            now=audited.clock.now(),
        )
        assert before == RetailerRules()
        with audited.database.read() as session:
            (standing,) = autopilots.standings(session)
        assert (standing.state, standing.target) == (Autopilot.PROVISIONAL, 0.98)
        assert standing.evidence.verdicts == 0
        assert standing.reason == "rules 1: target_precision was not set, is 0.98"
        assert standing.changed_by == "Ada"
        # What was accepted before says nothing of what is accepted by the new thresholds.
        say(audited, "b", Verdict.CONFIRMED)
        assert weighed(audited).verdicts == 0

    def test_the_same_again_changes_nothing(self, audited: Services) -> None:
        change_rules(
            audited.database, "default", RetailerRules(), by="Ada", now=audited.clock.now()
        )
        with audited.database.read() as session:
            assert not session.scalars(sa.select(AutopilotChange)).all()

    def test_off_stays_off(self, audited: Services) -> None:
        turn(audited.database, "default", on=False, by="Ada", now=audited.clock.now())
        wanted = RetailerRules(accept_parent=True)
        change_rules(audited.database, "default", wanted, by="Ada", now=audited.clock.now())
        assert state(audited) is Autopilot.OFF
        with audited.database.read() as session:
            assert rules.in_force(session, audited.retailer_id) == wanted

    def test_what_no_threshold_can_keep_is_refused(self, audited: Services) -> None:
        for wanted in (
            RetailerRules(target_precision=0.999),
            RetailerRules(categories={"Dark": CategoryRule(target_precision=0.999)}),
        ):
            with pytest.raises(BundleError, match=r"its strictest are for 99.00%"):
                change_rules(audited.database, "default", wanted, by="Ada", now=audited.clock.now())
        with audited.database.read() as session:
            assert rules.newest(session, audited.retailer_id) is None
