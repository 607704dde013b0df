"""The networks and the training belong to no backend of Keras: one trains, the other serves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TRAIN = """
import json, sys
from pathlib import Path
from rich.console import Console
from model_training import outsiders
from model_training.augment import Augmentation
from model_training.commands import Origin, run_train
from model_training.configuration import SentinelConfig, TrainingConfig
outsiders.DRAWN = 20
data, out = map(Path, sys.argv[1:])
run_train(
    Origin(data=str(data), data_dir=None, cache_dir=data.parent),
    out=out,
    console=Console(quiet=True),
    configure=lambda _: TrainingConfig(
        parameters={"stem": 4, "widths": [4, 8], "blocks": [1, 1], "squeeze": 2},
        batch_size=32, epochs=1, peak_learning_rate=1e-2, dtype_policy="float32",
        augmentation=Augmentation(shift=1, tone=0, erase=0),
    ),
    sentinel=SentinelConfig(
        parameters={"stem": 4, "widths": [4], "blocks": [1]},
        rounds=1, steps=3, batch_size=16, pool=40,
    ),
)
"""

ANSWER = """
import json, sys
from pathlib import Path
import keras, numpy as np
from model_training.bundle import load_network
from model_training.predict import in_batches
_, network = load_network(Path(sys.argv[-1]))
images = np.random.default_rng(5).integers(0, 256, (20, 28, 28, 1), dtype=np.uint8)
logits, scores = in_batches(network.answer, images, batch=16)
print(json.dumps({
    "backend": keras.backend.backend(), "logits": logits.tolist(), "scores": scores.tolist(),
}))
"""


def run(backend: str, script: str, *arguments: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert said["backend"] == backend
    return said


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 360 pictures: the brighter, the higher the label."""
    rng = np.random.default_rng(0)
    lines = [",".join(["label", *(f"pixel{i}" for i in range(1, 785))])]
    for i in range(360):
        lit = rng.integers(0, 2, (7, 7)).repeat(4, axis=0).repeat(4, axis=1)
        lines.append(",".join(map(str, [i % 10, *(lit * (30 + 23 * (i % 10))).ravel().tolist()])))
    path = tmp_path_factory.mktemp("data") / "blotches.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.heavy
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_what_one_backend_trained_the_other_serves(
    data: Path, tmp_path: Path, backend: str
) -> None:
    other = {"tensorflow": "jax", "jax": "tensorflow"}[backend]
    for needed in (backend, other):
        if find_spec(needed) is None:  # importing TensorFlow here would slow every other test
            pytest.skip(f"{needed} is not installed")
    bundle = tmp_path / "toy-1"
    here, there = run(backend, TRAIN + ANSWER, data, bundle), run(other, ANSWER, bundle)
    assert np.asarray(here["logits"]).shape == (20, 10)
    np.testing.assert_allclose(here["logits"], there["logits"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(here["scores"], there["scores"], rtol=1e-3, atol=1e-3)
