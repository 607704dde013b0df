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
PATIENCE_MS = 30_000
"""How long the page may take for what it must do: the machine may be busy. Nothing is measured."""


def executable() -> Path:
    """The installed Chromium.

    Where there is none, a test is skipped; with ATELIER_REQUIRE_BROWSER=1 it fails. Playwright's
    own build is not looked for: it would have to be downloaded.
    """
    for name in ("chromium", "chromium-browser"):
        if found := shutil.which(name):
            return Path(found)
    message = "Chromium is not here; on Debian: apt-get install chromium"
    if os.environ.get("ATELIER_REQUIRE_BROWSER") == "1":
        pytest.fail(message)
    pytest.skip(message)


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
        browser = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
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
            folder, executable_path=executable(), args=ARGUMENTS
        )
        try:
            yield context
        finally:
            look()
            context.close()
