"""Accuracy against speed, for networks of several shapes and widths: the front to choose from.

    python -m tests.benchmarks.network_front $DATA runs/front [--epochs 8]

Each network gets the same short training (so the accuracies are lower than a whole one gives; their
order is what counts), is scored on the select part, and timed on this machine. Figures are appended
to `front.jsonl`; a network that stands there is not trained again, so a run that was cut off goes
on. The plot is `front.png`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import keras
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console

from model_training.calibrate import find_temperature
from model_training.configuration import TrainingConfig
from model_training.datasets.fashion_mnist import find_folder, load_training_set
from model_training.figures import tree_distance
from model_training.measures import accuracy, negative_log_likelihood, risk_coverage
from model_training.predict import predict_logits
from model_training.splits import divide
from model_training.train import train_network
from tagging.domain import softmax_log_probs

NETWORKS: dict[str, dict[str, Any]] = {
    "8-32-64": {"stem": 8, "widths": [8, 32, 64], "blocks": [1, 1, 1], "squeeze": 8},
    "16-32-64": {"stem": 16, "widths": [16, 32, 64], "blocks": [1, 2, 2], "squeeze": 8},
    "16-48-96": {"stem": 16, "widths": [16, 48, 96], "blocks": [1, 2, 2], "squeeze": 8},
    "16-48-96 without squeeze": {"stem": 16, "widths": [16, 48, 96], "blocks": [1, 2, 2]},
    "16-64-128": {"stem": 16, "widths": [16, 64, 128], "blocks": [1, 2, 2], "squeeze": 8},
    "16-64-160 late": {"stem": 16, "widths": [16, 64, 160], "blocks": [1, 1, 3], "squeeze": 8},
    "24-96-192": {"stem": 24, "widths": [24, 96, 192], "blocks": [1, 2, 2], "squeeze": 8},
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "16-48-96, loss knows the tree": ("16-48-96", {"tree_weight": 0.5}),
    "16-48-96, no blending": ("16-48-96", {"mixup": 0.0}),
}
"""Name -> one of the networks, and what is changed of its training; not part of the plot."""

ERROR = 0.01


def main() -> None:
    """Train what is not in the file yet, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found = given.out / "front.jsonl"
    rows = [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []
    done = {(row["network"], row["epochs"], row["mixup"]) for row in rows}
    data = load_training_set(find_folder(given.data))
    split = divide(data.images)
    train, select = data.take(split.train), data.take(split.select)
    trials = {name: (name, {}) for name in NETWORKS} | VARIANTS
    for name, (network, changes) in trials.items():
        config = TrainingConfig(
            parameters=NETWORKS[network],
            epochs=given.epochs,
            patience=0,
            mirror=False,
            **changes,
        )
        if (name, given.epochs, config.mixup) in done:
            continue
        trained = train_network(
            train,
            select,
            config,
            run_folder=given.out / f"{name.replace(' ', '-')}-{given.epochs}",
            data_fingerprint=split.fingerprint,
            resume=True,
            console=Console(),
        )
        logits = predict_logits(trained.model, select.images)
        row = {
            "network": name,
            "epochs": given.epochs,
            "mixup": config.mixup,
            "parameters": int(trained.model.count_params()),
            "accuracy": accuracy(logits, select.labels),
            "nll": negative_log_likelihood(
                logits, select.labels, find_temperature(logits, select.labels)
            ),
            "accepted": _accepted(logits, select.labels),
            "tree_distance": tree_distance(
                train.taxonomy, logits.argmax(axis=1).astype(np.int64), select.labels
            ),
            "seconds": sum(epoch["seconds"] for epoch in trained.history),
            "images_per_s": images_per_s(trained.model, select.images),
        }
        rows.append(row)
        with found.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
    mixup = TrainingConfig().mixup
    shown = [
        row
        for row in rows
        if (row["epochs"], row["mixup"]) == (given.epochs, mixup) and row["network"] in NETWORKS
    ]
    draw(shown, given.out / "front.png")


def images_per_s(model: keras.Model, images: np.ndarray, batch: int = 256) -> float:
    """The median of 15 batches."""
    times = []
    for _ in range(17):
        started = time.perf_counter()
        model.predict_on_batch(images[:batch])
        times.append(time.perf_counter() - started)
    return batch / float(np.median(times[2:]))


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """A point per network."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for row in rows:
        axes.scatter(row["images_per_s"], 100 * row["accuracy"], color="#2a6f97")
        axes.annotate(
            f"{row['network']}\n{row['parameters'] / 1e6:.2f} M",
            (row["images_per_s"], 100 * row["accuracy"]),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.set_xlabel("images per second, batches of 256, this machine")
    axes.set_ylabel("right answers on the select part, %")
    axes.set_title(f"Accuracy against speed after {rows[0]['epochs']} epochs")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def _accepted(logits: np.ndarray, labels: np.ndarray) -> float:
    confidence = softmax_log_probs(logits, 1.0).max(axis=1)
    curve = risk_coverage(confidence, logits.argmax(axis=1) == labels)
    good = np.flatnonzero(curve.risk <= ERROR)
    return float(curve.coverage[good[-1]]) if len(good) else 0.0


if __name__ == "__main__":
    main()
