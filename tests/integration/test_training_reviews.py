"""What people decided, read back from real databases as training data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from rich.console import Console

from model_training.datasets.files import Listing
from model_training.datasets.reviewed import AUDITED, Reviews, list_reviews
from model_training.datasets.sources import PhotoOptions, find_source
from tagging.database import models
from tagging.domain import Status, Verdict
from tagging.errors import NotFoundError, TrainingDataError
from tests.integration.test_ingest_and_tag import deliver, listed, write_folder, write_manifest
from tests.people import audit_all, say, tagged
from tests.stand_in import Services, picture, stand_in_card


@pytest.fixture
def unaudited(services: Services) -> Services:
    """Services that audit nothing, so that every verdict counts as training data."""
    services.tagger = dataclasses.replace(services.tagger, audit_share=0.0)
    return services


def reviews_of(services: Services, retailer: str = "default") -> Reviews:
    return Reviews(database=services.database, store=services.store, retailer=retailer)


def listing_of(services: Services) -> Listing:
    return list_reviews(reviews_of(services))


def put_another_model_in_charge(services: Services) -> None:
    with services.database.write("test") as session:
        card = stand_in_card(version="2")
        now = services.clock.now()
        model_id = models.register(session, card, services.folder / "second", now=now)
        models.put_in_charge(session, services.retailer_id, model_id, now=now)
        session.commit()


def test_what_a_person_put_in_force_is_a_label(unaudited: Services, tmp_path: Path) -> None:
    tagged(
        unaudited,
        tmp_path / "in",
        {"a.png": 255, "b.png": 0, "c.png": 128, "d.png": 64, "e.png": 254, "f.png": 1},
    )
    say(unaudited, "a", Verdict.CONFIRMED)
    say(unaudited, "b", Verdict.CORRECTED, "Middle")
    say(unaudited, "c", Verdict.CORRECTED, "Shades")
    say(unaudited, "d", Verdict.NOT_A_PRODUCT)
    say(unaudited, "e", Verdict.UNSURE)
    assert listed(unaudited)["f"].status is Status.TAGGED  # no person said so
    listing = listing_of(unaudited)
    assert [(f.product, f.label, f.parents) for f in listing.files] == [
        ("a", "Light", ("Shades",)),
        ("b", "Middle", ("Shades",)),
    ]
    assert listing.files[0].path.read_bytes() == picture(255)
    (wide,) = listing.left_out
    assert wide.where == "c"
    assert wide.why == "'Shades' is wider than 'Dark', 'Light', 'Middle'"
    assert list(listing.sources) == ["reviews"]
    say(unaudited, "f", Verdict.CONFIRMED)
    assert listing_of(unaudited).sources != listing.sources


def test_a_photo_that_changed_since_is_not_what_the_person_saw(
    unaudited: Services, tmp_path: Path
) -> None:
    tagged(unaudited, tmp_path / "in", {"a.png": 255, "b.png": 0})
    for sku in "ab":
        say(unaudited, sku, Verdict.CONFIRMED)
    assert [f.product for f in listing_of(unaudited).files] == ["a", "b"]
    tagged(unaudited, tmp_path / "in", {"a.png": 1})
    assert listed(unaudited)["a"].category == "Light"  # in force, until somebody looks again
    assert [f.product for f in listing_of(unaudited).files] == ["b"]


def test_all_photos_of_a_product_are_one_product(unaudited: Services, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", {"1.png": 255, "2.png": 250, "3.png": 0})
    deliver(unaudited, write_manifest(folder, "sku,image\nx,1.png|2.png\ny,3.png\n"))
    unaudited.tag_all()
    for sku in "xy":
        say(unaudited, sku, Verdict.CONFIRMED)
    source = find_source(
        "reviews",
        data_dir=None,
        cache_dir=tmp_path / "cache",
        console=Console(quiet=True),
        options=PhotoOptions(min_per_class=1, image_size=16),
        reviews=reviews_of(unaudited),
    )
    data = source.load()
    assert str(source) == "reviews (default)"
    assert [data.categories[label].name for label in data.labels] == ["Light", "Light", "Dark"]
    assert [category.parent for category in data.categories] == ["Shades", "Shades"]
    assert data.products is not None
    assert data.products.tolist() == [0, 0, 1]
    assert data.images[:, 8, 8, 0].tolist() == [255, 250, 0]


def test_audited_verdicts_wait_until_another_model_is_in_charge(
    services: Services, tmp_path: Path
) -> None:
    """Trained on, they would no longer measure the model that they are about."""
    audit_all(services)
    tagged(services, tmp_path / "in", {"a.png": 255, "b.png": 64})
    assert listed(services)["b"].status is Status.NEEDS_REVIEW  # so it is none of the sample
    say(services, "a", Verdict.CONFIRMED)
    with pytest.raises(TrainingDataError, match=r"no product of 'default' .*\(1 left out\)"):
        listing_of(services)
    say(services, "b", Verdict.CONFIRMED)
    listing = listing_of(services)
    assert [f.product for f in listing.files] == ["b"]
    assert [(one.where, one.why) for one in listing.left_out] == [("a", AUDITED)]
    put_another_model_in_charge(services)
    listing = listing_of(services)
    assert [f.product for f in listing.files] == ["a", "b"]
    assert listing.left_out == ()


def test_only_the_reviews_of_that_retailer(unaudited: Services, tmp_path: Path) -> None:
    tagged(unaudited, tmp_path / "in", {"a.png": 255})
    say(unaudited, "a", Verdict.CONFIRMED)
    with unaudited.database.write("test") as session:
        models.add_retailer(
            session, "maison", model_id=unaudited.model_id, now=unaudited.clock.now()
        )
        session.commit()
    with pytest.raises(TrainingDataError, match=r"no product of 'maison' .*atelier review list"):
        list_reviews(reviews_of(unaudited, "maison"))
    with pytest.raises(NotFoundError, match="nobody"):
        list_reviews(reviews_of(unaudited, "nobody"))


def test_more_products_than_a_page(
    unaudited: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagging.database.training.PAGE", 2)
    tagged(unaudited, tmp_path / "in", {f"{i}.png": i for i in range(5)})
    for i in range(5):
        say(unaudited, str(i), Verdict.CONFIRMED)
    assert [f.product for f in listing_of(unaudited).files] == list("01234")
