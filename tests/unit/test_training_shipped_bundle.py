"""The bundles that come with the project: whole, made for this version, as good as they say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import model_training
from model_training.commands import SHIPPED_RECIPE, Origin, run_evaluate
from model_training.outsiders import margins, strangers
from model_training.thresholds import error_upper_bound
from tagging.images.model_input import PREPROCESSING_VERSION, to_model_input
from tagging.model_card import ModelCard, read_bundle
from tests.strange_pictures import KINDS
from worker.bootstrap import DEFAULT_BUNDLE

BUNDLES = Path(model_training.__file__).parent / "bundles"


@pytest.fixture(scope="module", params=["fashion-mnist-2", "fashion-mnist-best-4"])
def bundle(request: pytest.FixtureRequest) -> Path:
    return BUNDLES / str(request.param)


@pytest.fixture(scope="module")
def card(bundle: Path) -> ModelCard:
    return read_bundle(bundle)


@pytest.fixture(scope="module")
def network(bundle: Path) -> Any:
    """The network of the bundle, loaded and compiled once."""
    from model_training.bundle import load_network

    return load_network(bundle)[1]


def require_measured(bundle: Path) -> None:
    """The slow one takes minutes; `make faults-large` measures it, too."""
    if bundle.name != "fashion-mnist-2" and os.environ.get("ATELIER_MEASURE_ALL") != "1":
        pytest.skip("takes minutes; ATELIER_MEASURE_ALL=1 measures every bundle")


def test_no_other_comes_along() -> None:
    assert sorted(path.name for path in BUNDLES.iterdir()) == [
        "fashion-mnist-2",
        "fashion-mnist-best-4",
    ]
    assert DEFAULT_BUNDLE == BUNDLES / "fashion-mnist-2"


def test_the_better_one_accepts_more() -> None:
    fast, best = (read_bundle(path).metrics["test"] for path in sorted(BUNDLES.iterdir()))
    assert best["accuracy"] >= fast["accuracy"]
    assert best["coverage"] >= max(0.83, fast["coverage"])


def test_it_is_made_for_this_version(card: ModelCard, bundle: Path) -> None:
    assert f"{card.name}-{card.version}" == bundle.name
    assert card.preprocessing_version == PREPROCESSING_VERSION
    assert (card.input.height, card.input.width, card.input.channels) == (28, 28, 1)
    assert len(card.categories) == 10
    assert sum(p.stat().st_size for p in bundle.iterdir()) < 16_000_000


def test_it_keeps_its_promise_on_the_holdout_and_on_the_test_set(card: ModelCard) -> None:
    spec, test = card.acceptance, card.metrics["test"]
    assert spec.error_upper == error_upper_bound(spec.holdout_errors, spec.holdout_accepted)
    assert spec.error_upper <= 1 - spec.target_precision
    assert test["images"] == 10_000
    assert test["accuracy"] >= 0.935
    assert test["error"] <= 1 - spec.target_precision


def test_the_rate_that_it_states_for_each_target_is_kept_on_the_test_set(card: ModelCard) -> None:
    assert {"0.95", "0.99", "0.995"} <= set(card.operating_points)
    for text, spec in card.operating_points.items():
        assert spec.error_upper <= 1 - spec.target_precision
        assert card.metrics["test"]["targets"][text]["error"] <= 1 - spec.target_precision


def test_parents_are_those_that_hold_several_categories(card: ModelCard) -> None:
    assert set(card.acceptance.parents.by_parent) <= {"Tops", "Footwear"}
    assert card.taxonomy.ancestors("Dress") == ("Dresses",)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_nothing_are_flagged(card: ModelCard, network: Any, kind: str) -> None:
    from model_training.predict import in_batches

    rng = np.random.default_rng([2026, list(KINDS).index(kind)])
    pictures = np.stack([to_model_input(KINDS[kind](rng), card.input) for _ in range(300)])
    found = margins(card, *in_batches(network.answer, pictures))
    assert (found >= 0).mean() >= 0.95


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_things_of_kinds_that_it_never_saw_are_flagged(
    card: ModelCard, bundle: Path, network: Any, data_dir: Path, tmp_path: Path
) -> None:
    require_measured(bundle)
    origin = Origin(
        data="fashion-mnist", data_dir=data_dir, cache_dir=tmp_path, recipe=SHIPPED_RECIPE
    )
    quiet = Console(quiet=True)
    photos = origin.shop_photos(card.category_names, card.input, quiet)
    said = strangers(card, network, photos)
    for name, group in said["strange"].items():
        assert group["flagged"] >= 0.95 * group["images"], name
    fitting = said["shop_fitting"]
    assert fitting["flagged"] <= 0.2 * fitting["images"]
    for key in ("images", "flagged"):
        assert fitting[key] == pytest.approx(card.metrics["shop_fitting"][key], abs=5)


@pytest.mark.heavy
@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
def test_its_figures_can_be_measured_again(
    card: ModelCard, bundle: Path, data_dir: Path, tmp_path: Path
) -> None:
    require_measured(bundle)
    report = run_evaluate(
        bundle,
        Origin(data="fashion-mnist", data_dir=data_dir, cache_dir=tmp_path),
        test=False,
        console=Console(quiet=True),
    )
    for part in ("select", "holdout"):
        stated = card.metrics[part]
        # Another processor may round the last bit of a logit otherwise: a handful of images.
        assert report[part]["accuracy"] == pytest.approx(stated["accuracy"], abs=1e-3)
        assert report[part]["nll"] == pytest.approx(stated["nll"], abs=1e-3)
        assert report[part]["accepted"] == pytest.approx(stated["accepted"], abs=5)
