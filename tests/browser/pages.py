"""Every page there is, in one list: for axe, for the layout, and for the screenshots.

A page that is new needs one line in `PAGES`, and is held to all that the others are held to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from playwright.sync_api import Page, expect

Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")


@dataclass(frozen=True)
class Shown:
    """A page and how to come to it.

    `path`: with {retailer} and {empty}, a retailer with products that wait and one without any.
    `until`: a selector of what is visible once all of it is there. `keys`: pressed then, one after
    the other; `then`: what is visible after them. `stranger`: for who is not logged in.
    `complaints`: how the lines begin that the console shows rightly, as for a refused request.
    `picture`: whether `make screenshots` takes one.
    """

    name: str
    path: str
    until: str
    keys: Sequence[str] = ()
    then: str | None = None
    stranger: bool = False
    prepare: Callable[[Page], None] | None = None
    complaints: Sequence[str] = ()
    picture: bool = True


def _wrong_password(page: Page) -> None:
    page.locator("input[name=name]").fill("Nobody")
    page.locator("input[name=password]").fill("not the password")
    page.locator("main button").click()
    expect(page.locator("[role=alert]")).to_be_visible()


PAGES: Final = (
    Shown("login", "/login", "main form", stranger=True),
    Shown(
        "login-refused",
        "/login",
        "main form",
        stranger=True,
        prepare=_wrong_password,
        picture=False,
        complaints=["Failed to load resource: the server responded with a status of 403"],
    ),
    Shown("enter", "/enter/a-link", "main form", stranger=True, picture=False),
    Shown("home", "/", "main a"),
    Shown("review", "/review/{retailer}", "#product:not([hidden])"),
    Shown("review-search", "/review/{retailer}", "#product:not([hidden])", ("/",), "#found button"),
    Shown(
        "review-said",
        "/review/{retailer}",
        "#product:not([hidden])",
        ("h",),
        "#said[open]",
        picture=False,
    ),
    Shown("review-nothing", "/review/{empty}", "#empty:not([hidden])", picture=False),
    Shown("grid", "/grid/{retailer}", "#tiles li"),
    Shown("grid-keys", "/grid/{retailer}", "#tiles li", ("?",), "#keys[open]"),
    Shown("grid-nothing", "/grid/{empty}", "#empty:not([hidden])", picture=False),
    Shown("rules", "/rules/{retailer}", "main form"),
    Shown("autopilot", "/autopilot/{retailer}", "main section"),
    Shown("people", "/people/{retailer}", ".disagreements li"),
    Shown(
        "error",
        "/review/nobody-of-this-name",
        "main h1",
        picture=False,
        complaints=["Failed to load resource: the server responded with a status of 404"],
    ),
)


def show(page: Page, shown: Shown, url: str, *, retailer: str, empty: str) -> None:
    """Bring a page to the screen, photos and all."""
    page.goto(url + shown.path.format(retailer=retailer, empty=empty))
    expect(page.locator(shown.until).first).to_be_visible()
    if shown.prepare is not None:
        shown.prepare(page)
    for key in shown.keys:
        page.keyboard.press(key)
    if shown.then is not None:
        expect(page.locator(shown.then).first).to_be_visible()
    settled(page)


def settled(page: Page) -> None:
    """Until nothing is on its way any more, and every photo in sight is drawn."""
    page.wait_for_load_state("networkidle")
    page.wait_for_function(
        # A lazy one far below the window is asked for when somebody comes near it.
        """() => [...document.images].every((one) => one.complete ||
             (one.loading === "lazy" && one.getBoundingClientRect().top > innerHeight))"""
    )
    # Loaded is not drawn: those that decode beside the page come a frame or more later.
    page.evaluate(
        """() => Promise.all([...document.images].filter((one) => one.complete && one.naturalWidth)
             .map((one) => one.decode()))"""
    )
