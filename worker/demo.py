"""`make demo`: the main job on the sample catalogue, with nothing but this machine.

    python -m worker.demo

Runs what `atelier tag` runs, on the embedded default, in `demo-data`.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rich.console import Console

from tagging.database import models, products, uploads
from tagging.database.products import ProductFilter, ProductLine
from tagging.errors import AtelierError
from tagging.settings import Settings
from worker import console
from worker.bootstrap import Runtime, open_runtime
from worker.cli import ingest_source
from worker.embedded import embedded_worker
from worker.follow import standing, wait_for_upload

SAMPLE: Final = Path(__file__).parent.parent / "sample_catalog" / "products.csv"
HOME: Final = Path("demo-data")
RETAILER: Final = "sample"


def main(picture: Path | None = None) -> int:
    """Returns the exit code. `picture`: an SVG file to draw what was printed into."""
    began = time.perf_counter()
    # Said here, so that a server in the environment does not get the sample catalogue.
    settings = Settings(home=HOME, database_url=None, broker_url=None, images_dir=None)
    show = Console(highlight=False, record=picture is not None)
    if not SAMPLE.exists():
        raise AtelierError(f"the sample catalogue {SAMPLE} is missing; run this from a checkout")
    with open_runtime(settings) as runtime:
        summary = ingest_source(runtime, str(SAMPLE), RETAILER, console.err())
        complete = standing(runtime, summary.upload_id).complete
        if not complete:
            show.print(f"{summary.enqueued} products to classify; starting a worker …")
            runtime.try_again()
            with embedded_worker(settings) as worker:
                wait_for_upload(runtime, summary.upload_id, show, worker=worker)
        _show(runtime, summary.upload_id, show)
        if complete:
            show.print(
                f"\nNot done again: {summary.unchanged} of {summary.products} products stand as "
                "they were delivered before, so no photo was stored, queued or classified, no "
                "worker was started, and the environment was ready."
            )
    show.print(f"\n{time.perf_counter() - began:.1f} s. Try next:")
    for line in (
        f"atelier status --home {HOME}",
        f"atelier web --home {HOME}                  (review in the browser)",
        f"atelier products list --status needs_review --home {HOME}",
        f"atelier products export --format csv --home {HOME}",
        f"atelier tag YOUR_FOLDER --home {HOME}      (a folder of photos, a manifest or a zip)",
    ):
        show.print(f"  .venv/bin/{line}", soft_wrap=True)
    if picture is not None:
        show.save_svg(str(picture), title="make demo")
    return 0


def _show(runtime: Runtime, upload_id: str, show: Console) -> None:
    delivered = {row["sku"]: row for row in _manifest()}
    photos = {sku: row["image"].replace("images/", "") for sku, row in delivered.items()}
    lines = list(products.listing(runtime.database, ProductFilter(retailer=RETAILER)))
    show.print(console.products_table(lines, width=show.width, photos=photos))
    with runtime.database.read() as session:
        counts = uploads.status_counts(session, upload_id)
        (line,) = [r for r in models.retailers(session) if r.name == RETAILER]
        card = models.find_model(session, str(line.model)).card
    show.print(f"\n{console.status_line(counts)}")
    right, known, accepted_right, accepted = _score(lines, delivered)
    show.print(
        f"The model's best answer is right for {right} of the {known} products whose category is "
        f"known; of the {accepted} that it accepted by itself, {accepted_right} are right."
    )
    if line.autopilot is not None:
        show.print(console.autopilot_text(card, line.autopilot) + ".")


def _score(
    lines: list[ProductLine], delivered: Mapping[str, Mapping[str, str]]
) -> tuple[int, int, int, int]:
    """(right, known, right among accepted, accepted) of the products whose category is known."""
    known = [
        (line, delivered[line.sku]["expected_category"])
        for line in lines
        if line.sku in delivered and delivered[line.sku]["expected_category"]
    ]
    accepted = [(line, expected) for line, expected in known if line.category is not None]
    return (
        sum(line.suggestion == expected for line, expected in known),
        len(known),
        sum(line.category == expected for line, expected in accepted),
        len(accepted),
    )


def _manifest() -> list[dict[str, str]]:
    with SAMPLE.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
    except AtelierError as error:
        console.err().print(f"error: {error}", markup=False)
        sys.exit(1)
