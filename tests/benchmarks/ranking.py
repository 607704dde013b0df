"""By what should a model's answers be ranked, the surest first? Measured on the select part.

    python -m tests.benchmarks.ranking model_training/bundles/fashion-mnist-2 $DATA

Only the order counts here: how much can be accepted until 1 % of it is wrong (the best cut, chosen
with the labels in hand, so too hopeful for all of them alike), and the area under the risk-coverage
curve. `passes`: how often the network must be run per image. All scores use the bundle's own
temperature, which is set for the shipped view.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from model_training.bundle import load_networks
from model_training.datasets.fashion_mnist import find_folder, load_training_set
from model_training.measures import accuracy, risk_coverage
from model_training.predict import predict_logits
from model_training.splits import divide
from tagging.domain import softmax_log_probs

Floats = npt.NDArray[np.float64]
ERROR = 0.01


def scores(logits: npt.NDArray[np.floating], temperature: float) -> Mapping[str, Floats]:
    """(n,) each, higher is surer."""
    log_probs = softmax_log_probs(logits, temperature)
    ordered = np.sort(log_probs, axis=1)
    return {
        "max probability": ordered[:, -1],
        "margin (first less second)": np.exp(ordered[:, -1]) - np.exp(ordered[:, -2]),
        "log-margin": ordered[:, -1] - ordered[:, -2],
        "negative entropy": (np.exp(log_probs) * log_probs).sum(axis=1),
        "energy": logsumexp(logits, axis=1),
        "max logit": logits.max(axis=1).astype(np.float64),
    }


def coverage_at(confidence: Floats, right: npt.NDArray[np.bool_]) -> float:
    """The largest share that can be accepted with at most `ERROR` of it wrong."""
    curve = risk_coverage(confidence, right)
    good = np.flatnonzero(curve.risk <= ERROR)
    return float(curve.coverage[good[-1]]) if len(good) else 0.0


def main() -> None:
    """Print a row per score."""
    bundle, data_dir = Path(sys.argv[1]), Path(sys.argv[2])
    card, networks = load_networks(bundle)
    classifier = networks.classifier
    core = next((part for part in classifier.layers if isinstance(part, keras.Model)), classifier)
    data = load_training_set(find_folder(data_dir))
    select = data.take(divide(data.images).select)
    one = predict_logits(core, select.images)
    mirrored = predict_logits(core, select.images[:, :, ::-1])
    shifted = [
        predict_logits(core, np.roll(select.images, by, axis=axis))
        for axis in (1, 2)
        for by in (-1, 1)
    ]
    views: Mapping[str, tuple[int, npt.NDArray[np.floating]]] = {
        "as it is": (1, one),
        "mean of logits with its mirror image": (2, (one + mirrored) / 2),
        "mean of logits over six views": (6, np.mean([one, mirrored, *shifted], axis=0)),
    }
    print(f"{card.title}, {len(select)} select images; accepted until {ERROR:.0%} is wrong")
    print(f"{'view':<38} {'score':<28} passes  accuracy  accepted    AURC")
    for view, (passes, logits) in views.items():
        right = logits.argmax(axis=1) == select.labels
        for name, confidence in scores(logits, card.temperature).items():
            print(
                f"{view:<38} {name:<28} {passes:>6} {accuracy(logits, select.labels):>9.2%} "
                f"{coverage_at(confidence, right):>9.1%} "
                f"{risk_coverage(confidence, right).area:>7.4f}"
            )


if __name__ == "__main__":
    main()
