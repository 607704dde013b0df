"""`make screenshots`: every page in both themes and two windows, as it looks at work.

    python -m tests.browser.screenshots docs/img

The products are the sample catalogue, tagged by the shipped model under rules strict enough that
there is something to review; its pictures are this project's own drawings.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from tagging.domain import Role
from tagging.settings import Settings
from tests.browser import chromium
from tests.browser.installation import Site, served
from tests.browser.pages import PAGES, THEMES, Theme, show
from tests.browser.review_page import ReviewPage
from tests.processes import Place
from worker.bootstrap import open_runtime

SAMPLE = Path(__file__).parents[2] / "sample_catalog" / "products.csv"
RETAILER, QUIET = "sample", "empty"
RULES = """\
always_review: [T-shirt/top, Shirt, Pullover, Coat, Dress]
categories:
  Bag: {threshold: 0.99}
  Sneaker: {threshold: 0.99}
  Trouser: {threshold: 0.99}
audit_share: 1.0
"""
WINDOWS = {"desktop": (1280, 800), "phone": (390, 844)}
MOST_BYTES = 120_000


def main() -> None:
    """Write the pictures into the folder that is named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="Where the pictures go.")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="atelier-") as home,
        _sample(Path(home)) as site,
        chromium.driver() as playwright,
        chromium.started(playwright) as browser,
    ):
        site.person("Ann", Role.ADMIN)
        for theme in THEMES:
            for window in WINDOWS:
                _photograph(browser, site, theme, window, folder)


@contextmanager
def _sample(folder: Path) -> Iterator[Site]:
    """The sample catalogue, tagged, and the pages over it."""
    place = Place(home=folder / "home")
    with open_runtime(Settings(home=place.home, database_url=None, broker_url=None)) as runtime:
        runtime.retailer(RETAILER)
        runtime.retailer(QUIET)
    about = ("--retailer", RETAILER)
    place.run("rules", "set", "-", "--by", "Ann", *about, stdin=RULES.encode())
    place.run("tag", str(SAMPLE), *about)
    with served(place) as site:
        yield site


def _photograph(browser: Browser, site: Site, theme: Theme, window: str, folder: Path) -> None:
    width, height = WINDOWS[window]
    for shown in PAGES:
        if not shown.picture:
            continue
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce"
        )
        page = context.new_page()
        if not shown.stranger:
            ReviewPage(page, site).enter("Ann")
        show(page, shown, site.url, retailer=RETAILER, empty=QUIET)
        path = folder / f"{shown.name}-{theme}-{window}.png"
        path.write_bytes(_small(page.screenshot()))
        print(f"{path}: {path.stat().st_size:,} bytes")
        context.close()


def _small(png: bytes) -> bytes:
    """The same with as many colours as fit into `MOST_BYTES`."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (256, 128, 64, 32):
        stream = io.BytesIO()
        picture.quantize(colours).save(stream, "PNG", optimize=True)
        if stream.tell() <= MOST_BYTES:
            return stream.getvalue()
    raise SystemExit(
        f"a picture of {picture.size} has more than {MOST_BYTES:,} bytes in 32 colours"
    )


if __name__ == "__main__":
    main()
