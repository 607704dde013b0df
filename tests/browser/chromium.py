"""Debian's Chromium, driven by Playwright; nothing of it outlives its block."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright, expect, sync_playwright

from tests.browser.family import none_left

ARGUMENTS = ("--disable-gpu",)
PATIENCE_MS = 120_000
"""How long the page may take for what it must do: the machine may be busy. Nothing is measured."""


MISSING = "Chromium is not here; on Debian: apt-get install chromium"


def executable() -> Path | None:
    """The installed Chromium, if there is one.

    Playwright's own build is not looked for: it would have to be downloaded.
    """
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    return None if found is None else Path(found)


def require() -> None:
    """Skip a test where there is no Chromium; with ATELIER_REQUIRE_BROWSER=1 it fails."""
    if executable() is None:
        if os.environ.get("ATELIER_REQUIRE_BROWSER") == "1":
            pytest.fail(MISSING)
        pytest.skip(MISSING)


@contextmanager
def driver() -> Iterator[Playwright]:
    """What drives browsers while the block runs."""
    with none_left() as look, sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MS)
        yield playwright
        look()


@contextmanager
def started(playwright: Playwright) -> Iterator[Browser]:
    """A browser without any past."""
    with none_left() as look:
        browser = playwright.chromium.launch(executable_path=_installed(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            look()
            browser.close()


@contextmanager
def with_profile(playwright: Playwright, folder: Path) -> Iterator[BrowserContext]:
    """A browser whose past is kept in `folder`."""
    with none_left() as look:
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=_installed(), args=ARGUMENTS
        )
        try:
            yield context
        finally:
            look()
            context.close()


def _installed() -> Path:
    found = executable()
    if found is None:
        raise FileNotFoundError(MISSING)
    return found
