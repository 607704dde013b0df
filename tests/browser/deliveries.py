"""Products whose photos are as bright as a test wants them: what the stand-in model judges by."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from tests.browser.installation import Installation
from tests.integration.test_ingest_and_tag import deliver
from tests.stand_in import picture


def deliver_shades(
    site: Installation, photos: Mapping[str, Sequence[int]], *, edge: int = 64
) -> None:
    """Deliver products by sku, with photos of these shades (0 to 255), and have them tagged."""
    source = site.folder / f"delivery-{time.monotonic_ns()}"
    source.mkdir()
    rows = []
    for sku, shades in photos.items():
        names = []
        for number, shade in enumerate(shades):
            names.append(f"{sku}-{number}.png")
            (source / names[-1]).write_bytes(picture(shade, size=(edge, edge)))
        rows.append(f"{sku},{'|'.join(names)},Jacket {sku}\n")
    (source / "products.csv").write_text("sku,image,title\n" + "".join(rows))
    deliver(site.services, source / "products.csv")
    site.services.clock.seconds += 1
    site.services.tag_all()
