"""Products are classified again because somebody asked; what stands, stands until it is done."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging import retag
from tagging.database import models, retags
from tagging.database.retags import RetagLine
from tagging.database.tables import Batch, Prediction, Product, RetagScope, RetagState
from tagging.domain import FailureCode, ReviewReason, Status, Verdict
from tagging.errors import NotFoundError, RetagError
from tagging.retag import Asked
from tests.integration.test_ingest_and_tag import deliver, listed, write_folder
from tests.people import product, say, tagged
from tests.stand_in import Services, picture, stand_in_card

ALL = Asked(scope=RetagScope.ALL)
MISSING = Asked(scope=RetagScope.MISSING)
FAILED = Asked(scope=RetagScope.FAILED)


def ask(services: Services, asked: Asked = ALL) -> int:
    (made,) = services.retagging.request(asked, ["default"], by="Eve")
    return made


def work_off(services: Services) -> None:
    """Until every open request is in batches, and these are written."""
    services.clock.seconds += 1
    while services.retagging.step(most_s=1.0):
        services.tag_all()


def told(services: Services, retag_id: int) -> RetagLine:
    with services.database.read() as session:
        return retags.lines(session, [retag_id])[0]


def put_in_charge(services: Services, version: str = "2", fallback: float = 0.9) -> int:
    """Another stand-in model, of which `fallback` says what it accepts."""
    now = services.clock.now()
    with services.database.write("test") as session:
        card = stand_in_card(version=version, fallback=fallback)
        made = models.register(session, card, services.folder / version, now=now)
        models.put_in_charge(session, services.retailer_id, made, now=now)
        session.commit()
    return made


def models_of(services: Services) -> dict[str, str | None]:
    return {sku: line.model for sku, line in listed(services).items()}


@pytest.fixture
def shades(services: Services, tmp_path: Path) -> Services:
    """Ten products, a to h tagged by their shade, p and q waiting, in batches of four."""
    pictures = {f"{sku}.png": 255 - i for i, sku in enumerate("abcdefgh")}
    tagged(services, tmp_path / "in", pictures | {"p.png": 64, "q.png": 65})
    return services


def test_all_is_classified_again_and_stands_until_then(shades: Services) -> None:
    before = listed(shades)
    put_in_charge(shades, fallback=2.0)
    made = ask(shades)
    shades.retagging.step(most_s=1.0)
    assert listed(shades) == before
    assert told(shades, made).state is RetagState.DONE
    with shades.database.read() as session:
        sizes = session.scalars(
            sa.select(Batch.products).where(Batch.retag_id == made).order_by(Batch.id)
        ).all()
    assert sizes == [4, 4, 2]
    assert not told(shades, made).complete
    shades.tag_all()
    after = listed(shades)
    assert {line.model for line in after.values()} == {"shades:2"}
    assert {line.status for line in after.values()} == {Status.NEEDS_REVIEW}
    assert {line.category for line in after.values()} == {None}
    line = told(shades, made)
    assert (line.looked_at, line.queued, line.classified, line.complete) == (10, 10, 10, True)


def test_what_was_unsure_may_be_tagged_now(shades: Services) -> None:
    assert product(shades, "p").status is Status.NEEDS_REVIEW
    put_in_charge(shades, fallback=0.1)
    ask(shades)
    work_off(shades)
    assert product(shades, "p").status is Status.TAGGED
    assert product(shades, "p").category == product(shades, "p").suggestion
    assert product(shades, "p").review_reason is None
