"""Reports of real bundles: a small one that is trained here, and the one that is shipped."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from model_training.augment import Augmentation
from model_training.commands import SHIPPED_RECIPE, Origin, run_train
from model_training.configuration import SentinelConfig, TrainingConfig
from model_training.report.make import run_report
from tagging.errors import BundleError
from tagging.model_card import CARD_NAME, read_card
from worker.bootstrap import DEFAULT_BUNDLE

# Keras 3.15 reads its own variables with numpy's old protocol; nothing of ours to mend.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 400 pictures that are easy to tell apart: the brighter, the higher the label."""
    rng = np.random.default_rng(0)
    lines = [",".join(["label", *(f"pixel{i}" for i in range(1, 785))])]
    for i in range(400):
        lit = rng.integers(0, 2, (7, 7)).repeat(4, axis=0).repeat(4, axis=1)
        lines.append(",".join(map(str, [i % 10, *(lit * (30 + 23 * (i % 10))).ravel().tolist()])))
    path = tmp_path_factory.mktemp("data") / "blotches.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def bundle(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_train(
        Origin(data=str(data), data_dir=None, cache_dir=data.parent),
        out=tmp_path_factory.mktemp("made") / "toy-3",
        console=QUIET,
        sentinel=SentinelConfig(
            parameters={"stem": 4, "widths": [4], "blocks": [1]},
            rounds=1,
            steps=3,
            batch_size=16,
            pool=40,
        ),
        configure=lambda _: TrainingConfig(
            parameters={"stem": 4, "widths": [4, 8], "blocks": [1, 1]},
            batch_size=32,
            epochs=2,
            peak_learning_rate=1e-2,
            dtype_policy="float32",
            augmentation=Augmentation(shift=1, tone=0, erase=0),
        ),
    )


def test_the_command_writes_a_report_that_says_what_the_card_says(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker", "report", str(bundle), "--data", str(data), "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "reports" / "toy-3"
    assert Path(json.loads(done.stdout)["page"]) == Path("reports/toy-3/index.html")
    card = read_card(bundle)
    numbers = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert numbers["holdout"] == card.metrics["holdout"]
    assert numbers["acceptance"] == card.acceptance.model_dump(mode="json")
    assert numbers["data"]["split"] == card.data["split"]
    assert numbers["agreement"]["equal"] == numbers["agreement"]["compared"]
    (network,) = numbers["training"]["networks"]
    assert (network["title"], len(network["epochs"])) == ("toy:3", 2)
    assert numbers["model"]["rescaling"] == pytest.approx([1 / 127.5, -1])
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert f"{card.metrics['holdout']['accuracy']:.1%}"[:-1] + "\N{NO-BREAK SPACE}%" in page
    assert {"learning-curves-1.png", "augmentation.png"} < {p.name for p in folder.iterdir()}


def test_a_card_that_was_edited_gets_no_report(bundle: Path, data: Path, tmp_path: Path) -> None:
    edited = Path(shutil.copytree(bundle, tmp_path / bundle.name))
    card = json.loads((edited / CARD_NAME).read_text(encoding="utf-8"))
    card["metrics"]["holdout"]["accuracy"] += 0.2
    (edited / CARD_NAME).write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(BundleError, match="the report and the card disagree: holdout accuracy"):
        run_report(
            edited,
            Origin(data=str(data), data_dir=None, cache_dir=tmp_path),
            out=tmp_path / "report",
            console=QUIET,
        )
    assert not (tmp_path / "report").exists()


def test_other_data_than_the_bundles_own_gets_no_report(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    lines = data.read_text(encoding="utf-8").splitlines()
    other = tmp_path / "other.csv"
    other.write_text("\n".join(lines[:300]) + "\n", encoding="utf-8")
    with pytest.raises(BundleError, match="was made from other data than"):
        run_report(
            bundle,
            Origin(data=str(other), data_dir=None, cache_dir=tmp_path),
            out=tmp_path / "report",
            console=QUIET,
        )


@pytest.mark.timeout(1200)
@pytest.mark.skipif(
    os.environ.get("ATELIER_MEASURE_ALL") != "1",
    reason="takes two minutes; ATELIER_MEASURE_ALL=1 makes it, as do make faults-large and report",
)
def test_the_report_of_what_is_shipped_equals_its_card(data_dir: Path, tmp_path: Path) -> None:
    shipped = DEFAULT_BUNDLE
    page = run_report(
        shipped,
        Origin(data="fashion-mnist", data_dir=data_dir, cache_dir=tmp_path, recipe=SHIPPED_RECIPE),
        out=tmp_path / shipped.name,
        console=QUIET,
    )
    card = read_card(shipped)
    numbers = json.loads((page.parent / "metrics.json").read_text(encoding="utf-8"))
    assert numbers["test"] == card.metrics["test"]
    spec = card.acceptance
    chosen = numbers["targets"][f"{spec.target_precision:g}"]
    assert (chosen["accepted"], chosen["errors"]) == (spec.holdout_accepted, spec.holdout_errors)
    # Another processor may round the last bit of a logit otherwise: a handful of images.
    for key, apart in (("accuracy", 1e-3), ("ece", 1e-3), ("accepted", 5), ("errors", 5)):
        assert numbers["holdout"][key] == pytest.approx(card.metrics["holdout"][key], abs=apart)
    text = re.sub(r"data:image/[^\"]+", "", page.read_text(encoding="utf-8"))
    assert f"{numbers['per_1000']['tagged']} are tagged without a person" in text
