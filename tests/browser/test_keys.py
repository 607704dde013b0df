"""The review page by its keys; what came of them is read in the database."""

from __future__ import annotations

import pytest
from playwright.sync_api import Route, expect

from tagging.database.tables import Category
from tests.browser.conftest import Person
from tests.browser.grid_page import wait_for
from tests.browser.installation import Installation
from tests.browser.pages import THEMES, Theme
from tests.browser.review_page import sideways
from tests.integration.test_rules import put


def test_each_key_says_what_it_stands_for(site: Installation, person: Person) -> None:
    site.waits(6)
    ann = person(site)
    suggested = {sku: row["suggestion"] for sku, row in site.standing().items()}

    confirmed = ann.decide("Enter")
    expect(ann.choices.nth(1)).to_contain_text("Middle")
    second = ann.decide("2")
    searched = ann.sku
    ann.search("ligh")
    expect(ann.found).to_have_count(1)
    ann.press("Enter")
    unsure = ann.decide("u")
    none = ann.decide("x")
    ann.saved()

    assert site.said() == [
        (confirmed, "confirmed", suggested[confirmed], "Ann"),
        (second, "corrected", "Middle", "Ann"),
        (searched, "corrected", "Light", "Ann"),
        (unsure, "unsure", None, "Ann"),
        (none, "not_a_product", None, "Ann"),
    ]
    assert len({confirmed, second, searched, unsure, none}) == 5


def test_the_keyboard_alone_reviews_on_postgresql(
    site_on_postgresql: Installation, person: Person
) -> None:
    site = site_on_postgresql
    site.waits(8)
    before = site.standing()
    ann = person(site)
    said = [ann.decide("Enter") for _ in range(8)]
    expect(ann.empty).to_be_visible()
    ann.saved()
    assert sorted(said) == sorted(before)
    assert {row["status"] for row in site.standing().values()} == {"reviewed"}
    for sku in reversed(said):
        ann.take_back(sku)
    ann.saved()
    assert site.said() == []
    assert site.standing() == before


@pytest.mark.parametrize("key", ["z", "Control+z"])
def test_undo_takes_back_one_after_the_other(site: Installation, person: Person, key: str) -> None:
    site.waits(10)
    before = site.standing()
    ann = person(site)
    said = [ann.decide(one) for one in ("Enter", "2", "u", "x", "Enter", "3")]
    ann.saved()
    assert len(site.said()) == 6
    for sku in reversed(said[3:]):
        ann.take_back(sku, key)
    ann.saved()
    assert [sku for sku, *_ in site.said()] == said[:3]
    for sku in reversed(said[:3]):
        ann.take_back(sku, key)
    ann.saved()
    assert site.said() == []
    assert site.standing() == before
    # There is nothing left to undo, and who presses once more takes nothing else back.
    ann.press(key)
    assert ann.decide("Enter") == said[0]
    ann.saved()
    assert [sku for sku, *_ in site.said()] == said[:1]


def test_what_is_undone_can_be_decided_otherwise(site: Installation, person: Person) -> None:
    site.waits(3)
    ann = person(site)
    sku = ann.decide("Enter")
    ann.take_back(sku)
    assert ann.decide("x") == sku
    ann.saved()
    assert site.said() == [(sku, "not_a_product", None, "Ann")]


UNSURE_WHEN_SHOWN = """title => {
    const shown = document.querySelector("#title");
    new MutationObserver((_, observer) => {
        if (shown.textContent !== title) return;
        observer.disconnect();
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "u", bubbles: true }));
        window.pressed = shown.textContent;
    }).observe(shown, { childList: true, characterData: true, subtree: true });
}"""
"""Press u at the very moment at which a product comes to the screen."""


def test_what_comes_back_after_a_reload_is_shown_at_once_whatever_else_comes(
    site: Installation, person: Person
) -> None:
    """It is before this person again, so it is among what they are given next, too: as the last."""
    site.waits(6)
    ann = person(site)
    sku = ann.decide("Enter")
    ann.saved()
    ann.open()
    expect(ann.page.locator("#undo")).to_be_enabled()  # it knows what was said before
    asked: list[Route] = []
    ann.page.route("**/api/default/cards/*", lambda route: asked.append(route))
    with ann.page.expect_response("**/api/default/cards?*"):
        ann.press("z")
    wait_for(lambda: ann.sku and len(asked), 1)
    ann.page.evaluate(UNSURE_WHEN_SHOWN, f"Jacket {sku}")
    asked[0].continue_()
    expect(ann.title).to_have_text(f"Jacket {sku}")
    assert ann.page.evaluate("pressed") == f"Jacket {sku}"
    # The key was meant for what was there before: nobody decides on what they had no time to see.
    ann.page.wait_for_timeout(300)
    assert ann.decide("Enter") == sku
    ann.saved()
    assert [said for said, *_ in site.said()] == [sku]


def test_the_search_finds_by_typing_and_closes_without_saying_anything(
    site: Installation, person: Person
) -> None:
    site.waits(2)
    ann = person(site)
    sku = ann.sku
    ann.search("nothing is called so")
    expect(ann.found).to_have_count(0)
    ann.press("Enter")
    ann.close_search()
    # Keys that are typed into the search decide nothing.
    ann.search("x1u")
    ann.close_search()
    assert ann.sku == sku
    # Three categories and what they belong to, which is searched too.
    ann.search("")
    expect(ann.found).to_have_count(4)
    ann.query.fill("SHADES")
    expect(ann.found).to_have_count(4)
    ann.query.fill("MIDD")
    ann.found.click()
    ann.saved()
    assert site.said() == [(sku, "corrected", "Middle", "Ann")]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("window", [(360, 740), (1280, 800)], ids=["telephone", "desk"])
def test_buttons_do_what_the_keys_do(
    site: Installation, person: Person, theme: Theme, window: tuple[int, int]
) -> None:
    site.waits(3)
    ann = person(site, theme=theme, window=window)
    sku = ann.sku
    ann.choices.nth(1).click()
    expect(ann.title).not_to_have_text(f"Jacket {sku}")
    ann.saved()
    assert site.said() == [(sku, "corrected", "Middle", "Ann")]
    ann.page.locator("#undo").click()
    expect(ann.title).to_have_text(f"Jacket {sku}")
    ann.saved()
    assert site.said() == []
    assert ann.decide("Enter") == sku
    ann.decide("x")
    ann.search("dark")
    assert sideways(ann.page) is None
    ann.found.click()
    expect(ann.empty).to_be_visible()
    ann.saved()
    assert [verdict for _, verdict, *_ in site.said()] == [
        "confirmed",
        "not_a_product",
        "confirmed",
    ]
    assert sideways(ann.page) is None


def test_who_logs_in_by_a_password_comes_to_the_page(site: Installation, person: Person) -> None:
    site.waits(1)
    ann = person(site)
    ann.page.locator("form[action='/logout'] button").click()
    ann.page.wait_for_url("**/login")
    ann.log_in("Ann")
    ann.page.locator("main a").first.click()
    ann.ready()
    sku = ann.decide("Enter")
    ann.saved()
    assert [one for one, *_ in site.said()] == [sku]


def test_what_was_chosen_lately_has_a_key(site: Installation, person: Person) -> None:
    with site.database.write("test") as session:
        session.add(Category(retailer_id=site.services.retailer_id, name="Skirt"))
        session.commit()
    site.waits(3)
    ann = person(site)
    expect(ann.lately).to_have_count(0)
    first = ann.sku
    ann.search("skirt")
    expect(ann.found).to_have_count(1)
    ann.press("Enter")
    expect(ann.lately).to_have_text(["4Skirt"])
    assert ann.sku != first
    second = ann.decide("4")
    third = ann.sku
    ann.lately.first.click()
    expect(ann.empty).to_be_visible()
    ann.saved()
    assert site.said() == [(sku, "corrected", "Skirt", "Ann") for sku in (first, second, third)]


def test_the_retailers_own_order_is_offered_where_there_is_one(
    site: Installation, person: Person
) -> None:
    site.waits(2)
    ann = person(site)
    order = ann.page.locator("#order option[value=priority]")
    expect(order).to_have_attribute("disabled", "")
    put(site.services, "priority: margin")
    ann.open()
    expect(order).not_to_have_attribute("disabled", "")
    ann.page.locator("#order").select_option("priority")
    ann.ready()
    assert "order=priority" in ann.page.url
    ann.page.reload()
    ann.ready()
    assert ann.page.locator("#order").input_value() == "priority"
