"""The review page as a person uses it. Its ids stand here and nowhere else in the tests."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.browser.chromium import PATIENCE_MS
from tests.browser.installation import PASSWORD, Site

OUTBOX = "atelier-unsent"
"""How the keys in localStorage begin under which the page keeps what is not safe yet."""


class ReviewPage:
    """One tab of somebody's browser."""

    def __init__(self, page: Page, site: Site) -> None:
        self.page = page
        self.site = site
        page.set_default_timeout(PATIENCE_MS)

    # --- coming in ---

    def enter(self, name: str) -> None:
        """By a link that works once."""
        self.page.goto(self.site.link(name))
        self.page.locator("main button").click()
        self.page.wait_for_url(f"{self.site.url}/")

    def log_in(self, name: str) -> None:
        """By name and password."""
        self.page.goto(f"{self.site.url}/login")
        self._fill_in(name)
        self.page.wait_for_url(f"{self.site.url}/")

    def log_in_again(self, name: str) -> None:
        """At the form that the page led to, and back to the page from there."""
        self.page.wait_for_url("**/login?back=*")
        self._fill_in(name)
        self.page.wait_for_url("**/default*")
        self.ready()

    def _fill_in(self, name: str) -> None:
        self.page.locator("input[name=name]").fill(name)
        self.page.locator("input[name=password]").fill(PASSWORD)
        self.page.locator("main button").click()

    def open(self, retailer: str = "default") -> None:
        """The page, once its first product or that there is none is shown."""
        self.page.goto(f"{self.site.url}/review/{retailer}")
        self.ready()

    def prepared(self, products: int) -> None:
        """Until this browser has the photos of so many products (at most six are asked for).

        They come in any order, so that of fewer nobody knows whether the next one is among them.
        """
        self.page.wait_for_function(
            """products => {
                const names = performance.getEntriesByType("resource").map((one) => one.name);
                const photos = names.filter((name) => name.includes("/photos/large/"));
                return new Set(photos).size >= products;
            }""",
            arg=products,
        )

    def ready(self) -> None:
        expect(self.product.or_(self.empty).first).to_be_visible()
        if self.product.is_visible():
            assert self.sku

    # --- what is there to see ---

    @property
    def product(self) -> Locator:
        return self.page.locator("#product:not([hidden])")

    @property
    def empty(self) -> Locator:
        return self.page.locator("#empty:not([hidden])")

    @property
    def photo(self) -> Locator:
        return self.page.locator("#photo")

    @property
    def title(self) -> Locator:
        return self.page.locator("#title")

    @property
    def choices(self) -> Locator:
        return self.page.locator("#choices button")

    @property
    def lately(self) -> Locator:
        """Categories with a key that the model does not offer."""
        return self.page.locator("#lately button")

    @property
    def unsent(self) -> Locator:
        return self.page.locator("#unsent")

    @property
    def error(self) -> Locator:
        return self.page.locator("#error")

    @property
    def picker(self) -> Locator:
        return self.page.locator("#picker")

    @property
    def query(self) -> Locator:
        return self.page.locator("#query")

    @property
    def found(self) -> Locator:
        return self.page.locator("#found button")

    @property
    def sku(self) -> str:
        """Of the product that is shown, once its photo is: no key counts before."""
        expect(self.title).to_contain_text("Jacket")
        self.page.wait_for_function(
            """() => { const photo = document.querySelector("#photo");
                return photo !== null && photo.complete && photo.naturalWidth > 0; }"""
        )
        return self.title.inner_text().removeprefix("Jacket ")

    def kept(self) -> list[str]:
        """What this browser still holds for the server, by its keys."""
        found: list[str] = self.page.evaluate(
            "begin => Object.keys(localStorage).filter((key) => key.startsWith(begin))", OUTBOX
        )
        return found

    # --- what a person does ---

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def decide(self, key: str = "Enter") -> str:
        """Press a key that decides on the product that is shown; returns its sku.

        Comes back as soon as the next one is shown; the server may not know yet.
        """
        expect(self.product).to_be_visible()
        sku = self.sku
        self.press(key)
        self._gone(sku)
        return sku

    def take_back(self, sku: str, key: str = "z") -> None:
        """Press a key that undoes; the product must come back to the screen."""
        self.press(key)
        expect(self.title).to_have_text(f"Jacket {sku}")
        expect(self.product).to_be_visible()

    def search(self, wanted: str) -> None:
        """Open the search and type."""
        self.press("/")
        expect(self.picker).to_be_visible()
        self.query.press_sequentially(wanted)

    def close_search(self) -> None:
        """Close it by keys, without a choice."""
        self.press("Escape")  # takes back what was typed
        self.press("Escape")
        expect(self.picker).to_be_hidden()
        # The field keeps the focus, and takes keys, until the browser draws again.
        expect(self.query).not_to_be_focused()

    def saved(self, who: str = "") -> None:
        """Until the server has everything, and the page says nothing of it any more.

        `who`: only what this person said; others may have used this browser, too.
        """
        self.page.wait_for_function(
            "begin => !Object.keys(localStorage).some((key) => key.startsWith(begin))",
            arg=f"{OUTBOX}/{who}/" if who else OUTBOX,
        )
        expect(self.unsent).to_be_empty()

    def _gone(self, sku: str) -> None:
        self.page.wait_for_function(
            """title => document.querySelector("#product").hidden
                || document.querySelector("#title").textContent !== title""",
            arg=f"Jacket {sku}",
        )


def complaints(page: Page) -> list[str]:
    """Gathers what the page writes to the console as an error, from now on.

    A refusal by the content security policy is one of them, and so is an exception that nothing
    catches.
    """
    found: list[str] = []
    page.on("console", lambda m: found.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def sideways(page: Page) -> dict[str, Any] | None:
    """What makes the page scroll sideways, or None."""
    found: dict[str, Any] | None = page.evaluate(
        """() => {
            const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return null;
            const wide = [...document.querySelectorAll("body *")]
                .filter((one) => one.getBoundingClientRect().right > width + 0.5)
                .map((one) => one.id || one.tagName);
            return { width, content: document.documentElement.scrollWidth, wide };
        }"""
    )
    return found
