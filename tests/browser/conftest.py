"""A browser, and an installation for it to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright

from tagging.database import schema
from tagging.database.session import Database
from tagging.domain import Role
from tests.browser import chromium
from tests.browser.installation import Installation, installed
from tests.browser.pages import Theme
from tests.browser.review_page import ReviewPage
from tests.prepared import make_ready

Person = Callable[..., ReviewPage]


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """What drives browsers; looked for first is whether there is one to drive."""
    chromium.require()
    make_ready()  # what is started after this must be gone by the end of it
    with chromium.driver() as found:
        yield found


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Chromium. Each context of it is a person's browser without any past."""
    with chromium.started(playwright) as found:
        yield found


@pytest.fixture
def site(browser: Browser, tmp_path: Path) -> Iterator[Installation]:  # noqa: ARG001
    """The embedded default, on SQLite, with its server."""
    home = tmp_path / "home"
    home.mkdir()
    database = Database(f"sqlite:///{home / 'atelier.db'}")
    schema.upgrade(database)
    with installed(database, tmp_path, {}) as found:
        yield found
    database.close()


@pytest.fixture
def site_on_postgresql(
    browser: Browser,  # noqa: ARG001
    postgresql_url: str,
    tmp_path: Path,
) -> Iterator[Installation]:
    """The same over PostgreSQL."""
    database = Database(postgresql_url)
    with installed(database, tmp_path, {"ATELIER_DATABASE_URL": postgresql_url}) as found:
        yield found
    database.close()


@pytest.fixture
def person(browser: Browser) -> Iterator[Person]:
    """Opens a browser of their own for somebody, logged in and at the review page."""
    contexts = []

    def come(
        site: Installation,
        name: str = "Ann",
        role: Role = Role.REVIEWER,
        theme: Theme = "light",
        window: tuple[int, int] = (1280, 800),
    ) -> ReviewPage:
        width, height = window
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme
        )
        contexts.append(context)
        found = ReviewPage(context.new_page(), site)
        found.enter(site.person(name, role))
        found.open()
        return found

    yield come
    for context in contexts:
        context.close()
