"""Several people at once, each with a browser of their own."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tagging.domain import Role
from tests.browser.conftest import Person
from tests.browser.installation import Installation


@pytest.fixture(params=["site", "site_on_postgresql"])
def shared(request: pytest.FixtureRequest) -> Installation:
    """Both databases."""
    found: Installation = request.getfixturevalue(request.param)
    return found


def test_two_people_never_see_the_same_product(shared: Installation, person: Person) -> None:
    shared.waits(24)
    ann, bob = person(shared, "Ann"), person(shared, "Bob")
    for _ in range(12):
        assert ann.sku != bob.sku
        ann.decide("Enter")
        bob.decide("2")
    ann.saved()
    bob.saved()
    said = shared.said()
    assert len({sku for sku, *_ in said}) == len(said) == 24
    assert {who: sum(by == who for *_, by in said) for who in ("Ann", "Bob")} == {
        "Ann": 12,
        "Bob": 12,
    }
    assert {row["status"] for row in shared.standing().values()} == {"reviewed"}


def test_a_late_verdict_counts_if_nobody_else_gave_one(site: Installation, person: Person) -> None:
    site.waits(3)
    ann = person(site, "Ann")
    held = ann.sku
    site.end_reservations()
    bob = person(site, "Bob")
    assert bob.sku == held
    ann.decide("Enter")
    ann.saved()
    assert [(sku, who) for sku, _, _, who in site.said()] == [(held, "Ann")]
    expect(ann.error).to_be_hidden()


def test_a_late_verdict_against_another_ones_is_shown_as_a_conflict(
    site: Installation, person: Person
) -> None:
    site.waits(3)
    ann = person(site, "Ann")
    held = ann.sku
    site.end_reservations()
    bob = person(site, "Bob")
    assert bob.decide("x") == held
    bob.saved()
    ann.decide("2")
    expect(ann.error).to_contain_text("Bob")
    ann.saved()
    assert site.said() == [(held, "not_a_product", None, "Bob")]
    expect(bob.error).to_be_hidden()


def test_a_photo_that_changed_under_the_eyes_is_shown_anew(
    site: Installation, person: Person
) -> None:
    site.waits(1)
    ann = person(site)
    sku = ann.sku
    seen = ann.photo.get_attribute("src")
    site.deliver({sku: 7})
    ann.decide("Enter")
    expect(ann.error).to_be_visible()
    assert site.said() == []
    # The new one comes without being asked for; it is decided on as it is now.
    expect(ann.product).to_be_visible()
    expect(ann.title).to_have_text(f"Jacket {sku}")
    assert ann.photo.get_attribute("src") != seen
    ann.decide("Enter")
    ann.saved()
    assert [(one, verdict) for one, verdict, *_ in site.said()] == [(sku, "confirmed")]


def test_an_administrator_settles_what_two_people_disagree_on(
    site: Installation, person: Person
) -> None:
    for sku in ("AT-1", "AT-2", "AT-3"):
        site.disagreement(sku)
    page = person(site, "Eve", Role.ADMIN).page
    for sku, how in (("AT-1", "button"), ("AT-2", "field"), ("AT-3", "no product")):
        page.goto(f"{site.url}/people/default")
        card = page.locator(".disagreements li", has_text=sku)
        if how == "button":
            card.get_by_role("button", name="Light Cyd").click()
        elif how == "field":
            card.get_by_label("Another category").fill("Middle")
            card.get_by_label("Another category").press("Enter")
        else:
            card.get_by_role("button", name="not a product").click()
        expect(page.get_by_role("status")).to_have_text("It is settled.")
        expect(card).to_have_count(0)
    expect(page.get_by_text("Nobody disagrees on anything.")).to_be_visible()
    standing = site.standing()
    assert [standing[sku]["category"] for sku in ("AT-1", "AT-2", "AT-3")] == [
        "Light",
        "Middle",
        None,
    ]
