"""What the audit says of a retailer's accepted tags, over real databases."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging.audit_report import AuditReport, Part, audit_report, stated, week
from tagging.database.tables import AuditVerdict, Product
from tagging.domain import Verdict
from tagging.errors import NotFoundError
from tagging.rules import parse_rules
from tagging.steering import change_rules, turn
from tests.people import SURE, add_verdicts, audit_all, product, say, tagged, undo
from tests.stand_in import Services

WEEK_S = 7 * 24 * 3600


@pytest.fixture
def audited(services: Services) -> Services:
    return audit_all(services)


def report(services: Services) -> AuditReport:
    return audit_report(services.database, "default")


def told(parts: list[Part]) -> dict[str, tuple[int, int, int]]:
    return {
        part.name: (part.estimate.verdicts, part.estimate.errors, part.waiting) for part in parts
    }


def put(services: Services, text: str) -> None:
    services.clock.seconds += 1
    now = services.clock.now()
    change_rules(services.database, "default", parse_rules(text), by="Ada", now=now)


def test_before_any_verdict(services: Services) -> None:
    found = report(services)
    assert (found.pooled.verdicts, found.pooled.error, found.waiting) == (0, None, 0)
    assert (found.by_category, found.by_week, found.shares) == ([], [], [])
    with pytest.raises(NotFoundError, match="nobody"):
        audit_report(services.database, "nobody")


def test_pooled_by_category_and_by_the_week_of_acceptance(
    audited: Services, tmp_path: Path
) -> None:
    tagged(audited, tmp_path / "in", SURE)
    audited.clock.seconds += WEEK_S
    tagged(audited, tmp_path / "more", {"e.png": 255, "f.png": 1})
    say(audited, "a", Verdict.CONFIRMED)
    say(audited, "b", Verdict.CORRECTED, "Light")
    say(audited, "c", Verdict.NOT_A_PRODUCT)
    say(audited, "e", Verdict.CONFIRMED)
    found = report(audited)
    assert (found.pooled.verdicts, found.pooled.errors, found.waiting) == (4, 2, 2)
    assert found.pooled.error == 0.5
    assert not found.pooled.stated
    assert told(found.by_category) == {"Dark": (1, 1, 1), "Light": (2, 0, 1), "Middle": (1, 1, 0)}
    # 1 January 2026 is a Thursday; the verdicts are all of the second week.
    assert told(found.by_week) == {"2026-W02": (1, 0, 1), "2026-W01": (3, 2, 1)}
    assert [part.name for part in found.by_week] == ["2026-W02", "2026-W01"]
    assert (found.shares, found.unknown_shares) == ([1.0], 0)


def test_what_was_taken_back_and_what_came_before_do_not_count(
    audited: Services, tmp_path: Path
) -> None:
    tagged(audited, tmp_path / "in", SURE)
    say(audited, "a", Verdict.CONFIRMED)
    undo(audited, say(audited, "b", Verdict.NOT_A_PRODUCT).review_id)
    assert told(report(audited).by_category) == {
        "Light": (1, 0, 1),
        "Dark": (0, 0, 1),
        "Middle": (0, 0, 1),
    }
    for on in (False, True):
        audited.clock.seconds += 1
        turn(audited.database, "default", on=on, by="Eve", now=audited.clock.now())
    found = report(audited)
    assert (found.pooled.verdicts, found.waiting, found.by_category) == (0, 0, [])
    assert found.since == audited.clock.now()


def test_tags_that_had_different_chances_weigh_differently(
    services: Services, tmp_path: Path
) -> None:
    put(services, "audit_share: 1.0")
    tagged(services, tmp_path / "in", SURE)
    put(services, "audit_share: 0.25")
    many = {f"p{number:02}.png": 255 for number in range(40)}
    tagged(services, tmp_path / "more", many)
    with services.database.read() as session:
        rows = session.execute(sa.select(Product.sku, Product.audit, Product.audit_share)).all()
    assert {row.audit_share for row in rows if not row.audit} == {None}
    drawn = [row.sku for row in rows if row.audit_share == 0.25]
    assert 0 < len(drawn) < 40
    say(services, "a", Verdict.NOT_A_PRODUCT)
    for sku in drawn:
        say(services, sku, Verdict.CONFIRMED)
    found = report(services)
    assert found.shares == [0.25, 1.0]
    assert found.pooled.weighted
    assert found.pooled.error == pytest.approx(1 / (1 + 4 * len(drawn)))
    assert (found.pooled.lower, found.pooled.upper) > (0, 0)


def test_what_is_withheld_is_audited_for_certain(services: Services, tmp_path: Path) -> None:
    put(services, "require_certificate: true\naudit_share: 0.1")
    tagged(services, tmp_path / "in", SURE)
    say(services, "a", Verdict.CONFIRMED)
    assert report(services).shares == [1.0]
    # A new photo is another tag, which may be of the sample or not.
    tagged(services, tmp_path / "in", {"b.png": 64})
    assert (product(services, "b").audit, product(services, "b").audit_share) == (False, None)


def test_verdicts_of_an_older_version_count_as_near_as_can_be_known(
    audited: Services, tmp_path: Path
) -> None:
    tagged(audited, tmp_path / "in", SURE)
    then = product(audited, "a").tagged_at
    assert then is not None
    audited.clock.seconds += WEEK_S
    say(audited, "a", Verdict.CONFIRMED)
    with audited.database.write("test") as session:
        session.execute(sa.update(AuditVerdict).values(share=None, accepted_at=None))
        session.commit()
    found = report(audited)
    assert found.unknown_shares == 1
    assert told(found.by_week)[week(then)] == (1, 0, 3)


def test_the_rate_that_is_promised_and_whose_it_is(audited: Services, tmp_path: Path) -> None:
    tagged(audited, tmp_path / "in", SURE)
    of_the_bundle = stated(report(audited).standing)
    assert of_the_bundle is not None
    assert (of_the_bundle.own, of_the_bundle.error_upper) == (False, 0.009)
    add_verdicts(audited, "d", right=400, wrong=0)
    say(audited, "a", Verdict.CONFIRMED)
    found = report(audited)
    own = stated(found.standing)
    assert own is not None
    assert (own.own, own.error_upper) == (True, found.pooled.upper)
    assert (own.errors, own.accepted) == (0, 401)
    turn(audited.database, "default", on=False, by="Eve", now=audited.clock.now())
    assert stated(report(audited).standing) is None
    standing = dataclasses.replace(
        report(audited).standing, rules=parse_rules("always_review: [Dark]")
    )
    assert stated(standing) is None


def test_weeks_are_iso_weeks_in_utc() -> None:
    assert week(dt.datetime(2026, 12, 31, tzinfo=dt.UTC)) == "2026-W53"
    assert week(dt.datetime(2027, 1, 3, tzinfo=dt.UTC)) == "2026-W53"
    east = dt.timezone(dt.timedelta(hours=10))
    assert week(dt.datetime(2026, 1, 5, 8, tzinfo=east)) == "2026-W01"
