"""What people and programs read of an autopilot: whose rate is stated cannot be mistaken."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table

from tagging.audit_report import AuditReport, Part
from tagging.database.autopilots import Standing
from tagging.database.models import KnownModel
from tagging.domain import Autopilot
from tagging.estimate import estimate, tally
from tagging.evidence import verdicts_to_certify, weigh
from tagging.model_card import ModelCard, ParentAcceptance
from tagging.rules import RetailerRules
from tests.stand_in import stand_in_card
from worker.autopilot_text import autopilot_json, autopilot_lines, report_json, report_lines

USUAL = RetailerRules()


def standing(
    state: Autopilot,
    *,
    verdicts: int = 0,
    errors: int = 0,
    card: ModelCard | None = None,
    retailer: str = "maison",
    rules: RetailerRules = USUAL,
) -> Standing:
    evidence = weigh(np.arange(verdicts) < errors, 0.99)
    return Standing(
        retailer=retailer,
        model=KnownModel(id=1, path=Path("bundle"), card=card or stand_in_card()),
        state=state,
        since=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        target=0.99,
        rules=rules,
        evidence=evidence,
        to_certify=verdicts_to_certify(evidence, 0.99),
        waiting=1,
        reason="because",
        changed_by="Eve",
    )


def text(of: Standing) -> str:
    lines = autopilot_lines(of)
    assert all(len(line) <= 90 for line in lines)
    return "\n".join(lines)


def test_where_parents_are_accepted_the_rate_is_that_of_all_that_is_accepted() -> None:
    plain = stand_in_card()
    parents = ParentAcceptance(
        by_parent={"Shades": 0.9}, holdout_accepted=50, holdout_errors=2, error_upper=0.0095
    )
    spec = plain.acceptance.model_copy(update={"parents": parents})
    card = plain.model_copy(update={"acceptance": spec})
    said = text(standing(Autopilot.PROVISIONAL, card=card, rules=RetailerRules(accept_parent=True)))
    assert "at most 0.95% wrong" in said
    assert "(5 of 950)" in said
    assert "(3 of 900)" in text(standing(Autopilot.PROVISIONAL, card=card))
    # A bundle whose parents may accept nothing states what its categories do.
    assert "(3 of 900)" in text(
        standing(Autopilot.PROVISIONAL, rules=RetailerRules(accept_parent=True))
    )


def test_provisional_states_the_rate_of_the_hold_out_and_says_so() -> None:
    said = text(standing(Autopilot.PROVISIONAL))
    assert "autopilot provisional" in said
    assert "at most 0.90% wrong" in said
    assert "hold-out (3 of 900), not yet on this retailer's products" in said
    assert "no verdict yet" in said
    assert "1 waits for a person; 357 more verdicts without an error certify it" in said
    found = autopilot_json(standing(Autopilot.PROVISIONAL))
    assert (found["rate_of"], found["error_upper"]) == ("the bundle's own hold-out", 0.009)


def test_a_certificate_that_lapsed_shows_both_and_states_the_hold_out_again() -> None:
    lapsed = standing(Autopilot.PROVISIONAL, verdicts=403, errors=1)
    said = text(lapsed)
    assert "on the bundle's own hold-out" in said
    assert "1 wrong of 403 verdicts" in said
    assert "the error is 0.00% to 1.55%" in said
    assert autopilot_json(lapsed)["audit"]["errors"] == 1


def test_certified_states_the_rate_of_the_retailers_own_products() -> None:
    certified = standing(Autopilot.CERTIFIED, verdicts=402)
    said = text(certified)
    assert "at most 0.90% wrong (95% confidence)\n    on this retailer's own products" in said
    assert "hold-out" not in said
    found = autopilot_json(certified)
    assert found["rate_of"] == "this retailer's products"
    assert found["error_upper"] == certified.evidence.upper == found["audit"]["error_upper"]


def test_off_states_no_rate_and_says_how_to_turn_it_on() -> None:
    off = standing(Autopilot.OFF, verdicts=2, errors=2, retailer="la [red]maison")
    said = text(off)
    assert "stated rate: none" in said
    assert "everything goes to review" in said
    assert r"`atelier autopilot on 'la \[red]maison' --by NAME`" in said
    assert "because (Eve)" in said
    found = autopilot_json(off)
    assert (found["rate_of"], found["error_upper"]) == (None, None)


def test_a_model_that_accepted_nothing_states_nothing() -> None:
    card = stand_in_card()
    acceptance = card.acceptance.model_copy(update={"holdout_accepted": 0, "holdout_errors": 0})
    bare = card.model_copy(update={"acceptance": acceptance})
    assert "nothing was accepted of the bundle's own hold-out" in text(
        standing(Autopilot.PROVISIONAL, card=bare)
    )


def test_the_estimate_is_told_part_by_part() -> None:
    many = estimate(tally([(0.1, False)] * 396 + [(0.1, True)] * 4), 0.99)
    mixed = estimate(tally([(0.1, False)] * 300 + [(1.0, True)] * 10), 0.99)
    report = AuditReport(
        standing=standing(Autopilot.PROVISIONAL),
        since=None,
        pooled=mixed,
        waiting=3,
        by_category=[
            Part(name="Cat [red]", estimate=many, waiting=3),
            Part(name="Dog", estimate=estimate([], 0.99), waiting=0),
        ],
        by_week=[Part(name="2026-W01", estimate=mixed, waiting=0)],
        shares=[0.1, 1.0],
        unknown_shares=2,
    )
    *texts, table, promise = report_lines(report)
    said = "\n".join(str(line) for line in (*texts, promise))
    assert "different chances (10.0%, 100.0%)" in said
    assert "0.33% (" in said  # ten of 3,010 tags, not ten of 310 verdicts
    assert "of 2 older verdicts" in said
    assert "what waits may be wrong more often" in said
    assert "each end of each row by itself with 95% confidence" in said
    assert isinstance(table, Table)
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == [r"Cat \[red]", "Dog", "2026-W01"]
    assert cells[1:3] == [["400", "0", "310"], ["4", "0", "10"]]
    assert str(cells[3][0]).startswith("1.00% (")
    assert cells[3][1] == "too few to state (under 100)"
    found = report_json(report)["estimate"]
    assert (found["error"], found["weighted"], found["waiting"]) == (mixed.error, True, 3)
    assert [part["stated"] for part in found["by_category"]] == [True, False]


@pytest.mark.parametrize(("verdicts", "more"), [(355, "2 more verdicts"), (356, "1 more verdict ")])
def test_what_is_left_to_certify_is_told(verdicts: int, more: str) -> None:
    assert more in text(standing(Autopilot.PROVISIONAL, verdicts=verdicts))


def test_by_rules_that_accept_otherwise_the_hold_out_states_nothing() -> None:
    rules = RetailerRules(always_review=["Dark"])
    said = text(standing(Autopilot.PROVISIONAL, rules=rules))
    assert "stated rate: none yet" in said
    told = autopilot_json(standing(Autopilot.PROVISIONAL, rules=rules))
    assert (told["rate_of"], told["error_upper"]) == (None, None)
    # The audit's verdicts are of what is accepted, by whatever rules.
    certified = text(standing(Autopilot.CERTIFIED, verdicts=400, rules=rules))
    assert "on this retailer's own products" in certified


def test_without_a_certificate_that_the_rules_require_nothing_is_accepted() -> None:
    rules = RetailerRules(require_certificate=True)
    assert "accepts nothing until certified" in text(standing(Autopilot.PROVISIONAL, rules=rules))
    assert "accepts at a target" in text(standing(Autopilot.CERTIFIED, rules=rules))
