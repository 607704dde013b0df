"""`make screenshots`: every page in both themes and two windows, as it looks at work.

    python -m tests.browser.screenshots docs/img

The products are those of the sample catalogue, each in several colours, tagged by the shipped model
under rules strict enough that there is something to review. All pictures are this project's own
drawings.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageOps
from playwright.sync_api import Browser

from tagging import desk
from tagging.answers import Answer
from tagging.database import models
from tagging.database.desk import Order, Waiting
from tagging.desk import Wish
from tagging.domain import Purpose, Role, Verdict
from tagging.review import record_reviews
from tagging.settings import Settings
from tests.browser import chromium
from tests.browser.installation import Site, served
from tests.browser.pages import PAGES, THEMES, Theme, settled, show
from tests.browser.review_page import ReviewPage
from tests.processes import Place
from worker.bootstrap import open_runtime, utc_now

SAMPLE = Path(__file__).parents[2] / "sample_catalog" / "products.csv"
RETAILER, QUIET = "sample", "empty"
RULES = """\
always_review: [T-shirt/top, Shirt, Pullover, Coat]
audit_share: 0.3
second_opinion_share: 1.0
"""
COLOURWAYS = ((0, 1.0), (40, 0.8), (90, 1.2), (140, 0.9), (190, 1.35))
"""How far the hue is turned (of 256), and the exponent of the brightness; white stays white."""
WINDOWS: Final[dict[str, dict[str, Any]]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    # By touch, so that what is shown to fingers alone is seen, and no keys.
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}
QUALITY = 88
"""Of the pictures: fewer colours would tint paper and bars."""


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
    with open_runtime(
        Settings(home=place.home, database_url=None, broker_url=None, images_dir=None)
    ) as runtime:
        runtime.retailer(RETAILER)
        runtime.retailer(QUIET)
    about = ("--retailer", RETAILER)
    place.run("rules", "set", "-", "--by", "Ann", *about, stdin=RULES.encode())
    place.run("tag", str(_catalogue(folder / "in")), *about)
    with served(place) as site:
        _decide(site)
        yield site


def _decide(site: Site) -> None:
    """Some days of two people's work, so that the administrators' pages have something to say.

    Bea says what each product is; Cyd, asked for a second opinion, doubts every ninth.
    """
    with site.database.read() as session:
        retailer_id = models.retailer_id(session, RETAILER)
    right = {row["sku"]: row["expected_category"] for row in _sample_rows()}
    for who, wish in (
        ("Bea", Wish(count=96, audit=True)),
        ("Bea", Wish(count=96, order=Order.OLDEST, opinions=False)),
        ("Cyd", Wish(count=48)),
    ):
        cards = desk.take(site.database, retailer_id, who, wish, now=utc_now())
        if who == "Bea" and not wish.audit:
            cards = cards[::2]  # of every category some are decided, and some wait
        if who == "Cyd":
            cards = [card for card in cards if card.purpose is Purpose.OPINION]
        answers = []
        for number, card in enumerate(cards):
            category = right[card.sku.rpartition("-")[0]]
            if who == "Cyd" and number % 9 == 4:
                category = next(c for one in card.top_k if (c := one["category"]) != category)
            answers.append(_answer(retailer_id, who, card, category))
        record_reviews(site.database, answers, action=str(uuid.uuid4()), now=utc_now())
        desk.leave(site.database, who)


def _answer(retailer_id: int, who: str, card: Waiting, category: str) -> Answer:
    confirmed = category == card.suggestion
    return Answer(
        retailer_id=retailer_id,
        sku=card.sku,
        image_set=card.image_set,
        prediction_id=card.prediction_id,
        verdict=Verdict.CONFIRMED if confirmed else Verdict.CORRECTED,
        category=None if confirmed else category,
        reviewer=who,
        purpose=card.purpose,
    )


def _sample_rows() -> list[dict[str, str]]:
    """The lines of the sample's manifest."""
    with SAMPLE.open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))


def _catalogue(folder: Path) -> Path:
    """The manifest of the sample's products in all colours, but without the answers."""
    folder.mkdir()
    manifest = folder / "products.csv"
    with manifest.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["sku", "image", "title", "colour"])
        for row in _sample_rows():
            if not row["expected_category"]:
                continue
            for number, (hue, exponent) in enumerate(COLOURWAYS, start=1):
                names = []
                for image in row["image"].split("|"):
                    names.append(f"{Path(image).stem}-{number}.png")
                    _coloured(SAMPLE.parent / image, hue, exponent).save(folder / names[-1])
                colour = row["colour"] if hue == 0 else f"colourway {number}"
                writer.writerow([f"{row['sku']}-{number}", "|".join(names), row["title"], colour])
    return manifest


def _coloured(path: Path, hue: int, exponent: float) -> Image.Image:
    """The picture, upright and on white, in another colour."""
    drawn = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("HSV")
    tone, saturation, value = flat.split()
    turned = tone.point(lambda level: (level + hue) % 256)
    lit = value.point(lambda level: round(255 * (level / 255) ** exponent))
    return Image.merge("HSV", (turned, saturation, lit)).convert("RGB")


def _photograph(browser: Browser, site: Site, theme: Theme, window: str, folder: Path) -> None:
    for shown in PAGES:
        if not shown.picture:
            continue
        context = browser.new_context(
            **WINDOWS[window], color_scheme=theme, reduced_motion="reduce"
        )
        page = context.new_page()
        if not shown.stranger:
            ReviewPage(page, site).enter("Ann")
        show(page, shown, site.url, retailer=RETAILER, empty=QUIET)
        if shown.name == "review":
            # What is sure looks as if nobody were needed.
            with page.expect_response("**/cards?**"):
                page.locator("#order").select_option("uncertain")
            page.locator(shown.until).wait_for()
            page.locator("#neighbours:not([hidden])").wait_for()
            settled(page)
        path = folder / f"{shown.name}-{theme}-{window}.webp"
        path.write_bytes(_small(page.screenshot()))
        sys.stdout.write(f"{path}: {path.stat().st_size:,} bytes\n")
        context.close()


def _small(png: bytes) -> bytes:
    """The same as a WebP."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(stream, "WEBP", quality=QUALITY, method=6)
    return stream.getvalue()


if __name__ == "__main__":
    main()
