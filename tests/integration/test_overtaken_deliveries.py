"""A delivery that takes long to be received, and a younger one that is filed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from tagging.catalog.opening import open_delivery
from tagging.database import models, uploads
from tagging.database.tables import Product
from tagging.domain import FailureCode, ItemOutcome, Status
from tests.faults.promises import ledger
from tests.integration.test_ingest_and_tag import deliver, listed, write_manifest
from tests.stand_in import Services, picture


class Overtaken(Protocol):
    def __call__(self, older: str, younger: str, whose: int = ...) -> str: ...


@pytest.fixture
def overtaken(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Overtaken:
    """Deliver the first manifest, and the second, whole, once a line of the first is received; the
    first one's id. `whose`: the second one's retailer.
    """
    monkeypatch.setattr("tagging.ingest.RECEIVE_ROWS", 1)
    folder = tmp_path / "in"
    folder.mkdir()
    for shade in (0, 40, 220, 255):
        (folder / f"{shade}.png").write_bytes(picture(shade))

    def bring(text: str, whose: int, on_rows: Callable[[int], None] = lambda _: None) -> str:
        manifest = folder / f"{len(list(folder.iterdir()))}.csv"
        manifest.write_text(text, encoding="utf-8")
        with open_delivery(manifest) as delivery:
            return services.ingest.accept_upload(
                delivery, retailer_id=whose, on_rows=on_rows
            ).upload_id

    def both(older: str, younger: str, whose: int = services.retailer_id) -> str:
        done: list[str] = []

        def meanwhile(_: int) -> None:
            if not done:
                services.clock.seconds += 60
                done.append(bring(younger, whose))

        overtaken = bring(older, services.retailer_id, meanwhile)
        services.tag_all()
        assert done
        return overtaken

    return both


def outcomes(services: Services, upload: str) -> dict[ItemOutcome, int]:
    with services.database.read() as session:
        assert list(ledger(session)) == []
        counts = uploads.outcome_counts(session, upload)
    return {outcome: number for outcome, number in counts.items() if number}


def test_photos_that_a_younger_delivery_replaced_stay_replaced(
    services: Services, overtaken: Overtaken
) -> None:
    """And what of the older one came to nothing is told; all else of it is filed."""
    older = overtaken(
        "sku,image\nP,0.png\nP,40.png\nQ,0.png\nR,0.png\n", "sku,image\nP,255.png\nR,0.png\n"
    )
    products = listed(services)
    assert {sku: line.category for sku, line in products.items()} == {
        "P": "Light",
        "Q": "Dark",
        "R": "Dark",
    }
    assert {line.status for line in products.values()} == {Status.TAGGED}
    assert outcomes(services, older) == {
        ItemOutcome.CREATED: 1,
        ItemOutcome.UNCHANGED: 1,
        ItemOutcome.SKIPPED: 2,
    }
    told = list(uploads.skipped_lines(services.database, older))
    assert [(line.line, line.code, line.value) for line in told] == [
        (2, FailureCode.SUPERSEDED, "P"),
        (3, FailureCode.SUPERSEDED, "P"),
    ]
    assert all("which began later" in line.error for line in told)
    assert all("deliver them again" in line.error for line in told)


def test_photos_that_a_younger_delivery_left_as_they_were_stay_so(
    services: Services, overtaken: Overtaken, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    first.mkdir()
    (first / "255.png").write_bytes(picture(255))
    deliver(services, write_manifest(first, "sku,image\nP,255.png\n"))
    services.tag_all()
    services.clock.seconds += 60
    older = overtaken("sku,image\nP,0.png\n", "sku,image\nP,255.png\n")
    assert listed(services)["P"].category == "Light"
    assert outcomes(services, older) == {ItemOutcome.SKIPPED: 1}


@pytest.mark.parametrize("image", ["0.png", "255.png"], ids=["other photos", "the same"])
@pytest.mark.parametrize(
    ("younger", "title", "attributes"),
    [
        ("sku,image\nP,255.png\n", "Old", {"colour": "red"}),
        ("sku,image,title\nP,255.png,New\n", "New", {"colour": "red"}),
        ("sku,image,cut\nP,255.png,slim\n", "Old", {"cut": "slim"}),
        ("sku,image,title,cut\nP,255.png,New,slim\n", "New", {"cut": "slim"}),
    ],
)
def test_texts_of_which_the_younger_one_said_nothing_are_the_older_ones(
    services: Services,
    overtaken: Overtaken,
    image: str,
    younger: str,
    title: str,
    attributes: dict[str, str],
) -> None:
    """As if the two had come one after the other."""
    overtaken(f"sku,image,title,colour\nP,{image},Old,red\n", younger)
    with services.database.read() as session:
        (product,) = session.query(Product).all()
        assert (product.title, product.attributes) == (title, attributes)
        assert product.category == "Light"


def test_another_retailers_younger_delivery_is_of_other_products(
    services: Services, overtaken: Overtaken
) -> None:
    with services.database.write("test") as session:
        other = models.add_retailer(
            session, "other", model_id=services.model_id, now=services.clock.now()
        )
        session.commit()
    overtaken("sku,image\nP,255.png\n", "sku,image\nP,255.png\n")
    services.clock.seconds += 60
    older = overtaken("sku,image\nP,0.png\n", "sku,image\nP,255.png\n", other)
    assert outcomes(services, older) == {ItemOutcome.CHANGED: 1}
