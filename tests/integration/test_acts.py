"""What a person said last, over real databases."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path

import pytest

from tagging import desk
from tagging.database import acts
from tagging.database.acts import Act
from tagging.database.desk import Waiting
from tagging.desk import UNDOABLE, Wish
from tagging.domain import Purpose, Verdict
from tagging.review import record_reviews
from tests.integration.test_rules import put
from tests.people import answer, say, tagged
from tests.stand_in import Services


def act(services: Services, who: str, *skus: str, purpose: Purpose = Purpose.DECIDE) -> str:
    """Confirm products in one act; returns its name."""
    services.clock.seconds += 1
    action = str(uuid.uuid4())
    answers = [
        dataclasses.replace(answer(services, sku, Verdict.CONFIRMED), reviewer=who, purpose=purpose)
        for sku in skus
    ]
    record_reviews(services.database, answers, action=action, now=services.clock.now())
    return action


def said_by(services: Services, who: str) -> list[Act]:
    return desk.said_by(services.database, services.retailer_id, who)


def take(services: Services, who: str) -> list[Waiting]:
    return desk.take(
        services.database, services.retailer_id, who, Wish(count=96), now=services.clock.now()
    )


def test_the_newest_come_first_and_no_more_than_can_be_undone(
    services: Services, tmp_path: Path
) -> None:
    skus = [f"p{number:02}" for number in range(UNDOABLE + 3)]
    tagged(services, tmp_path / "in", {f"{sku}.png": 60 for sku in skus})
    names = [act(services, "Ann", sku) for sku in skus]
    found = said_by(services, "Ann")
    assert [one.action for one in found] == names[::-1][:UNDOABLE]
    assert [one.said[0].sku for one in found] == skus[::-1][:UNDOABLE]
    assert said_by(services, "Bob") == []


def test_an_act_on_many_is_whole_over_pages(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "PAGE", 2)
    tagged(services, tmp_path / "in", {f"{sku}.png": 60 for sku in "abcdefg"})
    first, second = act(services, "Ann", *"abc"), act(services, "Ann", *"defg")
    found = {one.action: sorted(said.sku for said in one.said) for one in said_by(services, "Ann")}
    assert found == {first: list("abc"), second: list("defg")}


def test_an_opinion_is_told_as_a_decision_is(services: Services, tmp_path: Path) -> None:
    put(services, "second_opinion_share: 1.0")
    tagged(services, tmp_path / "in", {"p.png": 60})
    decided = act(services, "Ann", "p")
    assert [one.purpose for one in take(services, "Bob")] == [Purpose.OPINION]
    opined = act(services, "Bob", "p", purpose=Purpose.OPINION)
    ((anns,), (bobs,)) = said_by(services, "Ann"), said_by(services, "Bob")
    assert (anns.action, bobs.action) == (decided, opined)
    assert anns.said == bobs.said


def test_what_came_from_a_file_has_no_name_to_be_undone_by(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"p.png": 60})
    say(services, "p", Verdict.CONFIRMED, reviewer="Ann")
    assert said_by(services, "Ann") == []
