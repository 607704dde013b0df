"""The grid page as a person uses it. Its ids stand here and nowhere else in the tests."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.chromium import PATIENCE_MS
from tests.browser.review_page import ReviewPage

BARE = "✗"
"""What a marked tile shows as long as nobody said what is wrong with it."""

WINDOW = (1280, 1600)
"""So high that all tiles of a test's grids are in view."""


class GridPage(ReviewPage):
    """One tab of somebody's browser, with many products in it.

    One comes in, searches and sees what is not saved yet as on the review page.
    """

    def open(self, retailer: str = "default", query: str = "") -> None:
        """The page, once its first grid or that there is none is shown."""
        self.page.goto(f"{self.site.url}/grid/{retailer}{query}")
        self.ready()

    def ready(self) -> None:
        """Until there is a grid that can be saved, or none."""
        can_be_saved = self.page.locator("#grid:has(#tiles li) #confirm:enabled")
        expect(can_be_saved.or_(self.empty).first).to_be_visible()

    # --- what is there to see ---

    @property
    def tiles(self) -> Locator:
        return self.page.locator("#tiles li")

    def tile(self, sku: str) -> Locator:
        return self.tiles.filter(has_text=sku)

    @property
    def choices(self) -> Locator:
        """The categories under the digits, in their order."""
        return self.page.locator("#choices-line button")

    @property
    def messages(self) -> Locator:
        return self.page.locator("#messages")

    @property
    def later(self) -> Locator:
        """In the search: leave the marked ones, and save the others."""
        return self.page.locator("#later")

    @property
    def keys(self) -> Locator:
        """The dialog that tells the keys."""
        return self.page.locator("#keys")

    def button(self, name: str) -> Locator:
        """One of confirm, search, unsure, none and undo."""
        return self.page.locator(f"#{name}")

    def chosen(self, name: str) -> str:
        """What is chosen above: of suggestion, order or size."""
        return self.page.locator(f"#{name}").input_value()

    def skus(self) -> list[str]:
        """Of the products that are shown, in their order."""
        return [_sku(text) for text in self.tiles.all_text_contents()]

    def marks(self) -> dict[str, str]:
        """Sku -> what the mark says, of the tiles that are marked."""
        found: list[list[str]] = self.tiles.evaluate_all(
            """tiles => tiles.filter((tile) => tile.getAttribute("aria-selected") === "false")
                 .map((tile) => [tile.textContent, tile.querySelector(".mark").textContent])"""
        )
        return {_sku(text): mark for text, mark in found}

    def must_be_marked(self, *skus: str) -> None:
        """These and no others, as soon as the page has done what it was told."""
        wait_for(lambda: sorted(self.marks()), sorted(skus))

    def must_show(self, *skus: str) -> None:
        """These, whatever their order, and no others."""
        wait_for(lambda: sorted(self.skus()), sorted(skus))

    # --- what a person does ---

    def choose(self, name: str, value: str) -> None:
        """Choose a suggestion, an order or a size above."""
        self.page.locator(f"#{name}").select_option(value)

    def pick(self, wanted: str) -> None:
        """Type into the search, which is open, until one category is left, and take that."""
        expect(self.picker).to_be_visible()
        self.query.press_sequentially(wanted)
        expect(self.found).to_have_count(1)
        self.press("Enter")
        expect(self.picker).to_be_hidden()

    def save(self) -> list[str]:
        """Press Enter; returns what was shown, as soon as it is shown no more.

        The server may not know yet.
        """
        expect(self.button("confirm")).to_be_enabled()
        skus = self.skus()
        self.press("Enter")
        self.next_after(skus)
        return skus

    def next_after(self, skus: list[str]) -> None:
        """Until the grid of these is gone and the next one, or that there is none, is shown."""
        self.tile(skus[0]).wait_for(state="detached")
        self.ready()

    def switch_letters(self, *, on: bool) -> None:
        """As the switch in the review page's dialog of keys does."""
        self.page.evaluate(
            "chosen => localStorage.setItem('atelier-letters', chosen)", "on" if on else "off"
        )

    def press_at(self, place: str, *, writes: str, shift: bool = False) -> None:
        """Press a key by its place, of a keyboard on which it writes something else."""
        self.page.locator("body").dispatch_event(
            "keydown", {"code": place, "key": writes, "shiftKey": shift}
        )

    def sweep(self, first: int, last: int) -> None:
        """Hold the mouse on one tile and go over all in its row to another."""
        self.page.mouse.move(*self._middle(first))
        self.page.mouse.down()
        self.page.mouse.move(*self._middle(last), steps=20)
        self.page.mouse.up()

    def below(self, index: int) -> int:
        """The place of the tile that stands below the one at this place."""
        boxes = [tile.bounding_box() for tile in self.tiles.all()]
        here = boxes[index]
        assert here is not None
        return next(
            place
            for place, box in enumerate(boxes)
            if box is not None and box["x"] == here["x"] and box["y"] > here["y"]
        )

    def _middle(self, index: int) -> tuple[float, float]:
        box = self.tiles.nth(index).bounding_box()
        assert box is not None
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def wait_for(look: Callable[[], object], wanted: object) -> None:
    """Until a look at the page finds what is wanted; else it fails and tells what was found."""
    until = time.monotonic() + PATIENCE_MS / 1000
    while (found := look()) != wanted:
        if time.monotonic() > until:
            pytest.fail(f"expected {wanted}, found {found}")
        time.sleep(0.02)


def _sku(text: str) -> str:
    found = re.search(r"AT-\d{3}", text)
    assert found is not None, text
    return found[0]
