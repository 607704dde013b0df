"""The bundle that comes with the project: whole, made for this version, and as good as it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

import model_training
from model_training.commands import Origin, run_evaluate
from model_training.thresholds import error_upper_bound
from tagging.images.model_input import PREPROCESSING_VERSION
from tagging.model_card import ModelCard, read_bundle

BUNDLE = Path(model_training.__file__).parent / "bundles" / "fashion-mnist-1"


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return read_bundle(BUNDLE)


def test_it_is_made_for_this_version(card: ModelCard) -> None:
    assert card.title == "fashion-mnist:1"
    assert card.preprocessing_version == PREPROCESSING_VERSION
    assert (card.input.height, card.input.width, card.input.channels) == (28, 28, 1)
    assert len(card.categories) == 10
    assert sum(p.stat().st_size for p in BUNDLE.iterdir()) < 10_000_000


def test_it_keeps_its_promise_on_the_holdout_and_on_the_test_set(card: ModelCard) -> None:
    spec, test = card.acceptance, card.metrics["test"]
    assert spec.error_upper == error_upper_bound(spec.holdout_errors, spec.holdout_accepted)
    assert spec.error_upper <= 1 - spec.target_precision
    assert test["images"] == 10_000
    assert test["accuracy"] >= 0.935
    assert test["error"] <= 1 - spec.target_precision


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
def test_its_figures_can_be_measured_again(card: ModelCard, data_dir: Path, tmp_path: Path) -> None:
    report = run_evaluate(
        BUNDLE,
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
