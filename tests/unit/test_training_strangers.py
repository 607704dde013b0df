"""What teaches a model what is strange, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from rich.console import Console

from model_training.commands import SHIPPED_RECIPE
from model_training.datasets.fashion_mnist import CATEGORIES
from model_training.datasets.photos import Decoding
from model_training.distort import distort
from model_training.drawings import KINDS, drawings
from model_training.outsiders import (
    ShopAnswers,
    fitting_figures,
    flagged_by_group,
    flagged_by_kind,
    margins,
    unseen_margins,
)
from model_training.shop_photos import FOREIGN, ShopPhotos, shop_photos
from model_training.shop_recipe import PhotoSet, ShopRecipe, load_shop_photos, read_recipe
from tagging.errors import TrainingDataError
from tagging.images.rejection import ImageLimits
from tagging.model_card import InputSpec, ModelCard
from tests.stand_in import SHADES, stand_in_card

GREY = InputSpec(kind="fashion-mnist", height=28, width=28, channels=1)
COLOUR = InputSpec(kind="photo", height=32, width=32, channels=3)


class TestDrawings:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("spec", [GREY, COLOUR], ids=lambda spec: spec.kind)
    def test_the_same_seed_draws_the_same(self, kind: str, spec: InputSpec) -> None:
        drawn = drawings(kind, 6, spec, seed=3)
        assert drawn.shape == (6, spec.height, spec.width, spec.channels)
        assert drawn.dtype == np.uint8
        assert np.array_equal(drawn, drawings(kind, 6, spec, seed=3))
        assert not np.array_equal(drawn, drawings(kind, 6, spec, seed=4))

    def test_kinds_differ(self) -> None:
        one, *others = (drawings(kind, 4, GREY, seed=1) for kind in KINDS)
        assert not any(np.array_equal(one, other) for other in others)


class TestDistort:
    def test_every_copy_is_broken_and_the_originals_stay(self) -> None:
        rng = np.random.default_rng(0)
        images = np.zeros((60, 28, 28, 1), np.uint8)
        images[:, 4:24, 8:20] = rng.integers(60, 256, (60, 20, 12, 1))
        before = images.copy()
        broken = distort(images, ground=0, rng=rng)
        assert broken.shape == images.shape
        assert broken.dtype == np.uint8
        assert np.array_equal(images, before)
        assert all(not np.array_equal(a, b) for a, b in zip(images, broken, strict=True))

    def test_what_lies_around_stays_the_ground(self) -> None:
        white = np.full((40, 32, 32, 3), 255, np.uint8)
        white[:, 10:22, 10:22] = 40
        broken = distort(white, ground=255, rng=np.random.default_rng(1))
        corners = broken[:, [0, 0, -1, -1], [0, -1, 0, -1]].reshape(40, -1)
        assert (corners.min(axis=1) > 200).mean() > 0.6  # a detail may fill the whole picture


def some_photos(n: int = 400, seed: int = 0) -> ShopPhotos:
    rng = np.random.default_rng(seed)
    kinds = rng.choice(["tee", "hat", "belt"], n)
    category = np.where(kinds == "tee", rng.integers(0, 3, n), FOREIGN)
    return shop_photos(
        rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8),
        kinds.tolist(),
        category.astype(np.int64),
        reserved_kinds=frozenset({"belt"}),
    )


class TestShopPhotos:
    def test_foreign_ones_are_dealt_by_kind_and_fitting_ones_by_their_pixels(self) -> None:
        photos = some_photos()
        assert photos.reserved[photos.kinds == "belt"].all()
        assert not photos.reserved[photos.kinds == "hat"].any()
        assert 0.3 < photos.reserved[photos.kinds == "tee"].mean() < 0.7
        turned = shop_photos(
            photos.images[::-1],
            photos.kinds[::-1].tolist(),
            photos.category[::-1],
            reserved_kinds=frozenset({"belt"}),
        )
        assert np.array_equal(turned.reserved[::-1], photos.reserved)

    def test_the_tuning_quarter_is_never_reserved(self) -> None:
        photos = some_photos()
        quarter = photos.tuning_quarter()
        assert not (quarter & photos.reserved).any()
        assert 0.15 < quarter[~photos.reserved].mean() < 0.35

    def test_a_side_that_stays_empty_is_refused(self) -> None:
        with pytest.raises(TrainingDataError, match="no foreign ones"):
            shop_photos(
                np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), dtype=np.uint8),
                ["tee"] * 20 + ["hat"] * 20,
                np.array([0] * 20 + [FOREIGN] * 20),
                reserved_kinds=frozenset(),
            )


class TestRecipe:
    def test_the_shipped_one_fits_the_shipped_categories(self) -> None:
        recipe = read_recipe(SHIPPED_RECIPE)
        names = {category.name for category in CATEGORIES}
        assert {c for one in recipe.sets for c in one.fits.values()} <= names
        studio, worn = recipe.sets
        assert studio.reserved == tuple(sorted(studio.foreign))[1::2]  # every second, no choice
        assert worn.reserved == worn.foreign == ("hat",)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "is no recipe of shop photos"),
            ('{"sets": []}', "is no recipe of shop photos"),
            ('{"sets": [{"data": "a", "fits": {"x": "y"}, "foreign": ["x"]}]}', "and be foreign"),
            ('{"sets": [{"data": "a", "reserved": ["x"]}]}', "not among the foreign"),
            ('{"sets": [{"data": "a", "colour": "red"}]}', "colour"),
        ],
    )
    def test_a_bad_one_says_what_is_wrong(self, tmp_path: Path, content: str, message: str) -> None:
        path = tmp_path / "recipe.json"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(TrainingDataError, match=message):
            read_recipe(path)

    def test_a_missing_one_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingDataError, match="is no recipe"):
            read_recipe(tmp_path / "none.json")

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        rng = np.random.default_rng(0)
        for kind in ("tee", "hat", "belt", "unsaid"):
            (tmp_path / "shop" / kind).mkdir(parents=True)
            for number in range(8):
                pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "shop" / kind / f"{number}.png")
        (tmp_path / "shop" / "tee" / "broken.png").write_bytes(b"no picture")
        return tmp_path

    def load(self, folder: Path, **changes: Any) -> ShopPhotos:
        told: dict[str, Any] = {
            "data": "shop",
            "fits": {"tee": "Dark"},
            "foreign": ["hat", "belt"],
            "reserved": ["belt"],
        }
        return load_shop_photos(
            ShopRecipe(sets=(PhotoSet(**(told | changes)),)),
            folder,
            categories=list(SHADES),
            spec=COLOUR,
            decoding=Decoding(cache_dir=folder / "cache", processes=1, limits=ImageLimits()),
            console=Console(quiet=True),
        )

    def test_photos_are_read_as_the_model_sees_them(self, folder: Path) -> None:
        photos = self.load(folder)
        assert photos.images.shape == (24, 32, 32, 3)
        assert sorted(set(photos.kinds.tolist())) == ["belt", "hat", "tee"]
        assert set(photos.category[photos.kinds == "tee"].tolist()) == {0}
        assert photos.foreign.sum() == 16

    def test_a_category_that_the_model_lacks_is_refused(self, folder: Path) -> None:
        with pytest.raises(TrainingDataError, match=r"fit \['Dress'\]"):
            self.load(folder, fits={"tee": "Dress"})

    def test_a_missing_set_is_refused(self, folder: Path) -> None:
        with pytest.raises(TrainingDataError, match="there are no shop photos in"):
            self.load(folder, data="elsewhere")

    def test_labels_that_nothing_has_are_refused(self, folder: Path) -> None:
        with pytest.raises(TrainingDataError, match="has no photo of 'shoe'"):
            self.load(folder, fits={"shoe": "Dark"}, foreign=[], reserved=[])


def answers(photos: ShopPhotos, card: ModelCard, *, seed: int = 0) -> ShopAnswers:
    """Of a model that is right for nine in ten, sure when it is, and flags what is foreign."""
    rng = np.random.default_rng(seed)
    right = np.where(photos.foreign, 0, photos.category)
    said = np.where(rng.random(len(photos)) < 0.9, right, (right + 1) % len(card.categories))
    logits = np.zeros((len(photos), len(card.categories)), np.float32)
    logits[np.arange(len(photos)), said] = np.where(said == right, 9.0, 1.0)
    scores: npt.NDArray[np.float64] = np.where(photos.foreign, 2.0, -2.0)
    return ShopAnswers(photos=photos, logits=logits, scores=scores)


class TestWhatIsSaid:
    card = stand_in_card()

    def test_margins_are_measured_from_the_threshold(self) -> None:
        logits = np.zeros((2, 3), np.float32)
        assert margins(self.card, logits, np.array([0.5, -1.0])).tolist() == [0.5, -1.0]

    def test_only_unseen_kinds_are_a_group(self) -> None:
        photos = some_photos()
        groups = unseen_margins(self.card, answers(photos, self.card))
        (found,) = flagged_by_group(groups).values()
        assert found == {
            "images": int((photos.kinds == "belt").sum()),
            "flagged": int((photos.kinds == "belt").sum()),
        }

    def test_every_kind_is_counted(self) -> None:
        photos = some_photos()
        table = flagged_by_kind(self.card, answers(photos, self.card))
        assert set(table) == {"tee", "hat", "belt"}
        assert sum(row["images"] for row in table.values()) == len(photos)
        assert table["belt"]["reserved"] == table["belt"]["images"] == table["belt"]["flagged"]
        assert table["hat"]["fits"] is None
        assert table["tee"]["flagged"] == 0

    def test_own_thresholds_are_set_on_one_half_and_counted_on_the_other(self) -> None:
        photos = some_photos(6000)
        said = fitting_figures(self.card, answers(photos, self.card))
        own = ~photos.foreign & ~photos.reserved
        assert said["images"] == int((~photos.foreign & photos.reserved).sum())
        assert said["own_thresholds"]["set_on"] == int(own.sum())
        # Whoever is sure here is right, so all of those may be accepted.
        assert said["after"]["errors"] == 0
        assert said["after"]["accepted"] == said["right"]
        assert json.loads(json.dumps(said)) == said

    def test_a_model_that_is_wrong_however_sure_is_let_accept_nothing(self) -> None:
        photos = some_photos(3000)
        given = answers(photos, self.card)
        rng = np.random.default_rng(1)
        logits = np.zeros_like(given.logits)
        logits[np.arange(len(photos)), rng.integers(0, 3, len(photos))] = 9.0
        said = fitting_figures(
            self.card, ShopAnswers(photos=photos, logits=logits, scores=given.scores)
        )
        assert said["before"]["accepted"] == said["images"]
        assert said["after"]["accepted"] == 0
