"""What every page is held to, in both themes, on a telephone and on a desk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, StorageState

from tagging.database import models, schema
from tagging.database.session import Database
from tagging.domain import Role
from tests.browser import axe
from tests.browser.chromium import PATIENCE_MS
from tests.browser.installation import Installation, installed
from tests.browser.pages import PAGES, Shown, Theme, show
from tests.browser.review_page import ReviewPage, complaints, sideways

SIZES = {"telephone": (360, 740), "desk": (1280, 800)}


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:  # noqa: ARG001
    """One for all of these tests: they only look."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "home").mkdir()
    database = Database(f"sqlite:///{folder / 'home' / 'atelier.db'}")
    schema.upgrade(database)
    with installed(database, folder, {}) as found:
        found.waits(60)
        found.disagreement("AT-900")
        found.person("Ann", Role.ADMIN)
        with database.write("test") as session:
            models.add_retailer(
                session, "quiet", model_id=found.services.model_id, now=found.services.clock.now()
            )
            session.commit()
        yield found
    database.close()


@pytest.fixture(scope="module")
def ann(browser: Browser, site: Installation) -> StorageState:
    """The cookie of somebody who is logged in."""
    context = browser.new_context()
    ReviewPage(context.new_page(), site).enter("Ann")
    state = context.storage_state()
    context.close()
    return state


@contextmanager
def tab(
    browser: Browser,
    theme: Theme = "light",
    size: str = "desk",
    who: StorageState | None = None,
    locale: str = "en-GB",
) -> Iterator[Page]:
    """A tab of a browser that asks for this theme and language."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=theme,
        storage_state=who,
        locale=locale,
    )
    try:
        found = context.new_page()
        found.set_default_timeout(PATIENCE_MS)
        yield found
    finally:
        context.close()


# What fits depends on the size alone, what can be told apart on the theme alone.
@pytest.mark.parametrize(("size", "theme"), [("telephone", "dark"), ("desk", "light")])
@pytest.mark.parametrize("shown", PAGES, ids=lambda shown: shown.name)
def test_a_page_keeps_to_wcag_fits_and_does_not_complain(
    browser: Browser, site: Installation, ann: StorageState, shown: Shown, size: str, theme: Theme
) -> None:
    with tab(browser, theme, size, None if shown.stranger else ann) as page:
        said = complaints(page)
        show(page, shown, site.url, retailer="default", empty="quiet")
        assert sideways(page) is None
        # Before axe, which is no part of the page.
        assert [line for line in said if not line.startswith(tuple(shown.complaints))] == []
        found = axe.violations(page)
        assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", [">99.9%", ">99.9%", "99.9%", "0.1%", "<0.1%", "<0.1%"]),
        ("fr", ["> 99,9 %", "> 99,9 %", "99,9 %", "0,1 %", "< 0,1 %", "< 0,1 %"]),
    ],
)
def test_no_confidence_is_told_as_certainty(
    browser: Browser, site: Installation, language: str, said: list[str]
) -> None:
    context = browser.new_context(locale=language)
    page = context.new_page()
    page.goto(f"{site.url}/login")
    found = page.evaluate(
        """async () => {
            const { sure } = await import("/static/text.js");
            return [1, 0.9996, 0.9994, 0.0006, 0.0004, 0].map(sure);
        }"""
    )
    context.close()
    # Which of the spaces that do not break stands before a sign, browsers change.
    assert [" ".join(one.split()) for one in found] == said


@pytest.mark.parametrize("shown", PAGES, ids=lambda shown: shown.name)
def test_a_page_fits_a_telephone_in_french(
    browser: Browser, site: Installation, ann: StorageState, shown: Shown
) -> None:
    who = None if shown.stranger else ann
    with tab(browser, size="telephone", who=who, locale="fr-FR") as page:
        show(page, shown, site.url, retailer="default", empty="quiet")
        assert page.locator("html").get_attribute("lang") == "fr"
        assert sideways(page) is None


def test_axe_sees_what_is_wrong(browser: Browser, site: Installation) -> None:
    with tab(browser) as page:
        page.goto(f"{site.url}/login")
        assert axe.violations(page) == []
        page.evaluate(
            "document.querySelector('label').replaceWith(document.createElement('input'))"
        )
        (violation,) = axe.violations(page)
        assert violation.startswith("label (critical)")


def test_what_the_policy_forbids_is_heard_of(browser: Browser, site: Installation) -> None:
    with tab(browser) as page:
        page.goto(f"{site.url}/login")
        said = complaints(page)
        with page.expect_console_message():
            page.evaluate("document.body.setAttribute('style', 'color: red')")
            page.evaluate("document.body.innerHTML += '<p style=\"color: red\">'")
        assert said
        assert all("Content Security Policy" in line for line in said)


def test_what_is_too_wide_is_seen(browser: Browser, site: Installation) -> None:
    with tab(browser, size="telephone") as page:
        page.goto(f"{site.url}/login")
        page.evaluate("document.querySelector('h1').style.width = '400px'")
        found = sideways(page)
        assert found is not None
        assert "H1" in found["wide"]
