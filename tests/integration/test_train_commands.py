"""`atelier train`, `evaluate` and `report` on a retailer's own photos, as a person calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from rich.console import Console

from model_training.commands import Origin, run_train
from model_training.configuration import SentinelConfig, TrainingConfig
from model_training.datasets.sources import PhotoOptions
from tagging.model_card import read_bundle
from worker.cli_train import duration_s


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), (" 2h ", 7200)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0m", "30", "m", "1d", "-5m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="write it like 90s, 30m"):
        duration_s(text)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 130 photos: wide and tall rectangles of two colours, and a few rings."""
    folder = tmp_path_factory.mktemp("catalogue")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    lines = ["sku,image,shape,family"]
    for number in range(130):
        shape = "ring" if number < 10 else ("wide", "tall")[number % 2]
        pixels = np.full((48, 48, 3), 255, np.uint8)
        ink = rng.integers(0, 160, 3)
        y, x = np.mgrid[:48, :48]
        if shape == "ring":
            pixels[np.abs(np.hypot(y - 24, x - 24) - 15) < 4] = ink
        else:
            long, short = int(rng.integers(34, 44)), int(rng.integers(8, 20))
            height, width = (short, long) if shape == "wide" else (long, short)
            top, left = (int(rng.integers(0, 48 - side)) for side in (height, width))
            pixels[top : top + height, left : left + width] = ink
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        family = "round" if shape == "ring" else "straight"
        lines.append(f"S{number},images/{number}.png,{shape},{family}")
    (folder / "products.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


HURRIED = """
from model_training import outsiders
from model_training.configuration import SentinelConfig
outsiders.DRAWN = 20
SentinelConfig.for_images = staticmethod(
    lambda n, *, seed: SentinelConfig(rounds=1, steps=3, batch_size=16, pool=40, seed=seed)
)
from worker.cli import main
main()
"""
"""The command line, with a sentinel of a few steps that few drawings measure: the usual one takes a
minute to teach.
"""


def atelier(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HURRIED, *words],
        capture_output=True,
        text=True,
        cwd=home,
        env={k: v for k, v in os.environ.items() if not k.startswith("ATELIER_")},
        check=False,
    )


def training_on(catalogue: Path) -> list[str]:
    return [
        *("train", "--data", str(catalogue / "products.csv")),
        *("--label", "shape", "--parents", "family", "--min-per-class", "20"),
        *("--image-size", "32", "--epochs", "2", "--time-budget", "10m"),
    ]


@pytest.fixture(scope="module")
def home(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a model was trained on the manifest."""
    folder = tmp_path_factory.mktemp("home")
    done = atelier(folder, *training_on(catalogue), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bundle"].endswith("atelier-data/models/products-1")
    return folder


EXPECTED = [("other", None), ("tall", "straight"), ("wide", "straight")]


def bundle_of(home: Path) -> Path:
    return home / "atelier-data" / "models" / "products-1"


def test_the_card_says_what_was_too_small_and_how_photos_were_read(home: Path) -> None:
    card = read_bundle(bundle_of(home))
    assert card.title == "products:1"
    assert [(c.name, c.parent) for c in card.categories] == EXPECTED
    assert [m["category"] for m in card.data["merged"]] == ["ring"]
    assert (card.input.kind, card.input.height, card.input.channels) == ("photo", 32, 3)
    assert card.data["options"]["label"] == "shape"
    assert len(card.metrics["training"]["epochs"]) == 2


def test_evaluating_needs_no_options_again(home: Path, catalogue: Path) -> None:
    done = atelier(
        home,
        *("evaluate", str(bundle_of(home)), "--data", str(catalogue / "products.csv"), "--json"),
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["holdout"] == read_bundle(bundle_of(home)).metrics["holdout"]


def test_there_is_no_test_set_to_score(home: Path, catalogue: Path) -> None:
    done = atelier(
        home,
        *("evaluate", str(bundle_of(home)), "--data", str(catalogue / "products.csv"), "--test"),
    )
    assert done.returncode != 0
    assert "has no test set" in done.stderr


@pytest.mark.heavy
def test_the_report_says_what_was_too_small(home: Path, catalogue: Path) -> None:
    done = atelier(
        home,
        *("report", str(bundle_of(home)), "--data", str(catalogue / "products.csv"), "--json"),
    )
    assert done.returncode == 0, done.stderr
    page = (home / json.loads(done.stdout)["page"]).read_text(encoding="utf-8")
    assert "ring, 10 photos: part of other" in page


def test_a_model_is_adapted_to_another_manifest(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(1)
    lines = ["sku,image,form"]
    for number in range(210):
        form = ("flat", "upright", "dot")[number % 3]
        pixels = np.full((48, 48, 3), 255, np.uint8)
        height, width = {"flat": (10, 40), "upright": (40, 10), "dot": (8, 8)}[form]
        top, left = (int(rng.integers(0, 48 - side)) for side in (height, width))
        pixels[top : top + height, left : left + width] = rng.integers(0, 160, 3)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f"S{number},{number}.png,{form}")
    (folder / "photos.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ("adapt", str(bundle_of(home)), "--data", str(folder / "photos.csv"), "--label", "form")
    refused = atelier(home, *words)
    assert refused.returncode != 0
    assert "mean no category of products:1" in refused.stderr
    meaning = {"flat": "wide", "upright": "tall", "dot": "other"}
    (folder / "labels.json").write_text(json.dumps(meaning), encoding="utf-8")
    done = atelier(home, *words, "--labels", str(folder / "labels.json"), "--json")
    assert done.returncode == 0, done.stderr
    card = read_bundle(home / json.loads(done.stdout)["bundle"])
    assert card.title == "photos:1"
    assert (card.input.kind, card.input.height) == ("photo", 32)
    assert card.metrics["crossfitted"]["accuracy"] > 0.9


@pytest.mark.heavy
def test_models_are_combined(home: Path, catalogue: Path) -> None:
    words = ("--data", str(catalogue / "products.csv"), "--out", "both-1")
    one = str(bundle_of(home))
    refused = atelier(home, "combine", one, one, *words)
    assert refused.returncode != 0
    assert "are the same classifier" in refused.stderr
    assert not (home / "both-1").exists()
    read_as = PhotoOptions(label="shape", parents=("family",), min_per_class=20, image_size=32)
    other = run_train(
        Origin(
            data=str(catalogue / "products.csv"), data_dir=None, cache_dir=home, options=read_as
        ),
        out=home / "other-1",
        console=Console(quiet=True),
        sentinel=SentinelConfig(rounds=1, steps=3, batch_size=16, pool=40),
        configure=lambda spec: TrainingConfig.for_input(spec).changed(
            parameters={"stem": 4, "widths": [4, 8], "blocks": [1, 1]}, epochs=1, seed=2
        ),
    )
    done = atelier(home, "combine", one, str(other), *words)
    assert done.returncode == 0, done.stderr
    assert read_bundle(home / "both-1").network.name == "committee"


def test_reviews_need_a_retailer(tmp_path: Path) -> None:
    done = atelier(tmp_path, "train", "--data", "reviews")
    assert done.returncode == 2
    assert "needs --retailer" in done.stderr
