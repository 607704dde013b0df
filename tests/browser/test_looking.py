"""Looking at a product before deciding on it: closer, at its other photos, at others like it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tagging.domain import Verdict
from tests.browser.conftest import Person
from tests.browser.deliveries import deliver_shades
from tests.browser.grid_page import wait_for
from tests.browser.installation import Installation
from tests.browser.review_page import ReviewPage
from tests.integration.test_ingest_and_tag import deliver
from tests.people import say

WINDOW = (1280, 800)
UNSURE = 60
"""A shade nearly as far from dark as from the middle."""


def zoom(page: ReviewPage) -> Locator:
    return page.page.locator("#zoom")


def closed(page: ReviewPage) -> None:
    """Until it is hidden, and the page has heard of it."""
    expect(zoom(page)).to_be_hidden()
    expect(page.page.locator("#stage img")).to_have_count(0)


def box(page: ReviewPage) -> dict[str, float]:
    """Where the photo that is looked at closer lies now: its middle and its width in pixels."""
    found: dict[str, float] = page.page.locator("#stage img").evaluate(
        """photo => {
            const { x, y, width, height } = photo.getBoundingClientRect();
            return { x: x + width / 2, y: y + height / 2, width };
        }"""
    )
    return found


def size(page: ReviewPage) -> float:
    """How many times as wide as the window."""
    return round(box(page)["width"] / WINDOW[0], 3)


def sha256(page: ReviewPage, photo: str = "#photo") -> str:
    """Which photo is shown."""
    source = page.page.locator(photo).get_attribute("src")
    assert source is not None
    return source.rpartition("/")[2]


def test_the_photo_is_looked_at_closer_by_keys(site: Installation, person: Person) -> None:
    site.waits(2)
    ann = person(site, window=WINDOW)
    shown = ann.sku
    expect(zoom(ann)).to_be_hidden()
    ann.press("Space")
    expect(zoom(ann)).to_be_visible()
    assert sha256(ann, "#stage img") == sha256(ann)
    # What is larger than the window comes in full.
    expect(ann.page.locator('#stage img[src*="/full/"]')).to_be_visible()
    assert size(ann) == 1

    ann.press("+")
    wait_for(lambda: size(ann) > 1, True)
    once = size(ann)
    ann.press("+")
    wait_for(lambda: size(ann) > once, True)
    ann.press("-")
    wait_for(lambda: size(ann), once)
    ann.press("0")
    wait_for(lambda: size(ann), 1)
    ann.press("-")  # it never becomes smaller than the window
    wait_for(lambda: size(ann), 1)
    for _ in range(20):
        ann.press("+")
    wait_for(lambda: size(ann), 8)

    # Keys that decide on the page decide nothing here.
    for key in ("Enter", "1", "x", "u"):
        ann.press(key)
    expect(zoom(ann)).to_be_visible()
    ann.press("Escape")
    closed(ann)
    assert ann.sku == shown
    assert site.said() == []
    # The next time it begins as it did the first time.
    ann.press("Space")
    wait_for(lambda: size(ann), 1)
    ann.press("Space")
    closed(ann)
    assert ann.decide("Enter") == shown


def test_a_photo_that_is_looked_at_again_at_once_is_there(
    site: Installation, person: Person
) -> None:
    site.waits(1)
    ann = person(site)
    ann.press("Space")
    expect(ann.page.locator("#stage img")).to_be_visible()
    # So quickly that the browser has not told the page of the first end yet.
    ann.page.evaluate(
        """() => new Promise((heard) => {
            const dialog = document.querySelector("#zoom");
            dialog.addEventListener("close", () => setTimeout(heard));
            dialog.close();
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key: " ", bubbles: true }));
        })"""
    )
    expect(zoom(ann)).to_be_visible()
    expect(ann.page.locator("#stage img")).to_be_visible()


def test_a_photo_that_is_larger_than_the_window_is_dragged(
    site: Installation, person: Person
) -> None:
    site.waits(1)
    ann = person(site, window=WINDOW)
    mouse = ann.page.mouse
    ann.page.locator("#frame").click()
    expect(ann.page.locator('#stage img[src*="/full/"]')).to_be_visible()
    at_first = box(ann)

    def drag(x: float, y: float) -> None:
        mouse.move(640, 400)
        mouse.down()
        mouse.move(640 + x, 400 + y, steps=5)
        mouse.up()

    drag(50, 30)  # there is nothing beside it yet
    assert box(ann) == at_first
    ann.page.locator("#nearer").click()
    ann.page.locator("#nearer").click()
    assert size(ann) >= 2
    drag(50, 30)
    moved = box(ann)
    assert (moved["x"] - at_first["x"], moved["y"] - at_first["y"]) == pytest.approx((50, 30))
    mouse.move(100, 100)  # let go, it stays
    assert box(ann) == moved
    # No further than to its edge.
    drag(600, 380)
    drag(600, 380)
    drag(600, 380)
    edge = box(ann)
    assert edge["x"] - edge["width"] / 2 == pytest.approx(0)

    # What lies under the mouse stays there when the wheel comes nearer.
    ann.press("0")
    wait_for(lambda: size(ann), 1)
    mouse.move(840, 300)
    mouse.wheel(0, -200)
    wait_for(lambda: size(ann) > 1, True)
    grown, now = size(ann), box(ann)
    assert (840 - now["x"]) / grown == pytest.approx(840 - at_first["x"], abs=0.5)
    assert (300 - now["y"]) / grown == pytest.approx(300 - at_first["y"], abs=0.5)
    ann.page.locator("#farther").click()
    wait_for(lambda: size(ann) < grown, True)
    ann.page.locator("#zoom form button").click()
    closed(ann)
    assert site.said() == []


def test_a_photo_that_is_larger_than_the_window_is_moved_without_dragging(
    site: Installation, person: Person
) -> None:
    deliver_shades(site, {"AT-001": [60, 58]})
    ann = person(site, window=WINDOW)
    first = sha256(ann)
    ann.press("Space")
    expect(ann.page.locator('#stage img[src*="/full/"]')).to_be_visible()
    ann.press("+")
    ann.press("+")
    middle = box(ann)
    ann.press("ArrowRight")
    assert box(ann)["x"] < middle["x"]
    ann.press("ArrowDown")
    assert box(ann)["y"] < middle["y"]
    # The photo stays: arrows lead on to the next one only where nothing is beside the window.
    assert sha256(ann, "#stage img") == first
    ann.press("0")
    ann.press("ArrowRight")
    wait_for(lambda: sha256(ann, "#stage img") != first, True)
    ann.press("+")
    ann.press("+")
    before = box(ann)
    ann.page.mouse.click(WINDOW[0] / 2 + 100, WINDOW[1] / 2)
    assert round(before["x"] - box(ann)["x"]) == 100


def test_arrows_lead_through_the_photos_of_a_product(site: Installation, person: Person) -> None:
    deliver_shades(site, {"AT-001": [UNSURE, UNSURE + 1, UNSURE + 2], "AT-002": [UNSURE]})
    ann = person(site)
    thumbs = ann.page.locator("#thumbs")
    ann.page.locator("#order").select_option("oldest")
    expect(ann.title).to_have_text("Jacket AT-001")
    ann.page.locator("#order").blur()
    expect(thumbs.locator("button")).to_have_count(3)

    seen = []
    for _ in range(3):
        seen.append(sha256(ann))
        expect(thumbs.locator('[aria-pressed="true"]')).to_have_count(1)
        assert sha256(ann, '#thumbs [aria-pressed="true"] img') == seen[-1]
        ann.press("ArrowRight")
    assert len(set(seen)) == 3
    assert sha256(ann) == seen[0]  # after the last comes the first
    ann.press("ArrowLeft")
    assert sha256(ann) == seen[2]
    thumbs.locator("button").nth(1).click()
    assert sha256(ann) == seen[1]

    # Closer, too.
    ann.press("Space")
    assert sha256(ann, "#stage img") == seen[1]
    ann.press("ArrowRight")
    assert sha256(ann, "#stage img") == seen[2]
    ann.press("Escape")
    closed(ann)
    assert sha256(ann) == seen[2]
    assert ann.decide("Enter") == "AT-001"
    # Where there is one photo there is nowhere to go.
    assert ann.sku == "AT-002"
    expect(thumbs).to_be_hidden()
    only = sha256(ann)
    ann.press("ArrowRight")
    assert sha256(ann) == only


def test_accepted_products_of_the_same_category_are_shown_beside_it(
    site: Installation, person: Person
) -> None:
    deliver_shades(site, {"AT-101": [1], "AT-102": [2], "AT-103": [128], "AT-104": [255]})
    deliver_shades(site, {"AT-001": [UNSURE]})
    assert site.standing()["AT-001"]["suggestion"] == "Dark"
    ann = person(site)
    like = ann.page.locator("#neighbours button")
    expect(like).to_have_count(2)
    titles = {one.get_attribute("title") for one in like.all()}
    assert titles == {"Jacket AT-101", "Jacket AT-102"}
    # One of them is looked at closer, and decided is still on the product.
    first = sha256(ann, "#neighbours li:first-child img")
    like.first.click()
    expect(zoom(ann)).to_be_visible()
    assert sha256(ann, "#stage img") == first
    ann.press("Escape")
    closed(ann)
    assert ann.decide("Enter") == "AT-001"
    ann.saved()
    assert site.said() == [("AT-001", "confirmed", "Dark", "Ann")]


def test_nothing_of_another_category_is_shown_beside_it(site: Installation, person: Person) -> None:
    deliver_shades(site, {"AT-103": [128], "AT-104": [255]})
    deliver_shades(site, {"AT-001": [UNSURE]})
    ann = person(site)
    ann.page.wait_for_load_state("networkidle")
    expect(ann.page.locator("#neighbours")).to_be_hidden()


def test_the_keys_are_told_and_letters_can_be_switched_off(
    site: Installation, person: Person
) -> None:
    site.waits(4)
    ann = person(site)
    shown = ann.sku
    tells = ann.page.locator("#help")
    ann.press("?")
    expect(tells).to_be_visible()
    for key in ("x", "1", "u"):
        ann.press(key)
    ann.page.locator("#letters").uncheck()
    ann.press("Escape")
    expect(tells).to_be_hidden()

    # For who speaks to their computer: single letters do nothing now, and after a reload neither.
    for again in (False, True):
        if again:
            ann.page.reload()
            ann.ready()
            shown = ann.sku
        for key in ("x", "1", "u", "/", "?", "z", "+"):
            ann.press(key)
        assert ann.sku == shown
        for dialog in (tells, ann.picker, zoom(ann)):
            expect(dialog).to_be_hidden()
    assert site.said() == []

    # What is no letter works on.
    assert ann.decide("Enter") == shown
    ann.take_back(shown, "Control+z")
    ann.page.locator("#show-help").click()
    ann.page.locator("#letters").check()
    ann.press("Escape")
    expect(tells).to_be_hidden()
    assert ann.decide("x") == shown
    ann.saved()
    assert site.said() == [(shown, "not_a_product", None, "Ann")]


def test_digits_go_by_their_place_where_they_need_shift(site: Installation, person: Person) -> None:
    site.waits(3)
    ann = person(site)
    shown = ann.sku
    second = ann.choices.nth(1).locator(".name").inner_text()

    def press(place: str, writes: str, *, shift: bool = False) -> None:
        keyed = {"code": place, "key": writes, "shiftKey": shift}
        ann.page.locator("body").dispatch_event("keydown", keyed)

    # A sign that is written with Shift is no digit.
    press("Digit2", "@", shift=True)
    assert ann.sku == shown
    # The French keyboard's second key of the upper row.
    press("Digit2", "é")
    expect(ann.title).not_to_have_text(f"Jacket {shown}")
    # With Shift it writes the digit itself.
    after = ann.sku
    third = ann.choices.nth(2).locator(".name").inner_text()
    press("Digit3", "3", shift=True)
    expect(ann.title).not_to_have_text(f"Jacket {after}")
    ann.saved()
    assert site.said() == [
        (shown, "corrected", second, "Ann"),
        (after, "corrected", third, "Ann"),
    ]


def test_why_there_is_no_suggestion_is_said(site: Installation, person: Person) -> None:
    deliver_shades(site, {"a": [255]})
    say(site.services, "a", Verdict.CORRECTED, "Dark")
    (site.folder / "new").mkdir()
    (site.folder / "new" / "a.png").write_bytes(b"no picture")
    deliver(site.services, site.folder / "new")
    site.services.tag_all()
    site.waits(1)
    ann = person(site, window=WINDOW)
    ann.press("u")  # it comes last
    expect(ann.page.locator("#reason")).to_have_text(
        "The photo changed since it was decided to be “Dark”. There is no suggestion, for none of "
        "its photos can be used (unsupported_format). Another one must be delivered."
    )
