"""Accuracy against speed, for networks of several shapes and widths: the front to choose from.

    python -m tests.benchmarks.network_front $DATA runs/front [--epochs 8] [--seed 2] [--only NAME]

Each network gets the same short training (so the accuracies are lower than a whole one gives; their
order is what counts) and is scored on the select part. Figures are appended to `front.jsonl`; a
network that stands there is not trained again, so a run that was cut off goes on. At the end all
networks are timed in turns, anew in each run, into `speed.json`. The plot is `front.png`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FixedLocator, NullLocator
from rich.console import Console

from model_training.calibrate import find_temperature
from model_training.configuration import TrainingConfig
from model_training.datasets.fashion_mnist import find_folder, load_training_set
from model_training.figures import tree_distance
from model_training.measures import accuracy, negative_log_likelihood, risk_coverage
from model_training.networks import build
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
    "16-64-128 without squeeze": {"stem": 16, "widths": [16, 64, 128], "blocks": [1, 2, 2]},
    "16-64-160 late": {"stem": 16, "widths": [16, 64, 160], "blocks": [1, 1, 3], "squeeze": 8},
    "24-96-192": {"stem": 24, "widths": [24, 96, 192], "blocks": [1, 2, 2], "squeeze": 8},
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "16-48-96, loss knows the tree": ("16-48-96", {"tree_weight": 0.5}),
    "16-48-96, no blending": ("16-48-96", {"mixup": 0.0}),
}
"""Name -> one of the networks, and what is changed of its training; not part of the plot."""

SHIPPED = "16-64-128"
"""The network of both shipped bundles."""

ERROR = 0.01


def main() -> None:
    """Train what is not in the file yet, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="names of networks or variants; all if left out")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found = given.out / "front.jsonl"
    rows = [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []
    done = {(row["network"], row["epochs"], row.get("seed", 1)) for row in rows}
    data = load_training_set(find_folder(given.data))
    split = divide(data.images)
    train, select = data.take(split.train), data.take(split.select)
    trials = {name: (name, {}) for name in NETWORKS} | VARIANTS
    for name, (network, changes) in trials.items():
        config = TrainingConfig(
            parameters=NETWORKS[network],
            epochs=given.epochs,
            patience=0,
            seed=given.seed,
            mirror=False,
            **changes,
        )
        if (name, given.epochs, given.seed) in done or name not in (given.only or trials):
            continue
        trained = train_network(
            train,
            select,
            config,
            run_folder=given.out / f"{name.replace(' ', '-')}-{given.epochs}-{given.seed}",
            data_fingerprint=split.fingerprint,
            resume=True,
            console=Console(),
        )
        logits = predict_logits(trained.model, select.images)
        row = {
            "network": name,
            "epochs": given.epochs,
            "seed": given.seed,
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
        }
        rows.append(row)
        with found.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
    shown = [
        row
        for row in rows
        if (row["epochs"], row.get("seed", 1)) == (given.epochs, given.seed)
        and row["network"] in NETWORKS
    ]
    speed = speeds(select.images)
    (given.out / "speed.json").write_text(json.dumps(speed, indent=2) + "\n", encoding="utf-8")
    if shown:
        draw(shown, speed, given.out / "front.png")


def speeds(images: np.ndarray, batch: int = 256, rounds: int = 12) -> dict[str, float]:
    """Images per second of every network, without weights of worth: the median of its batches.

    They take turns, so that whatever else the machine does slows all of them alike.
    """
    models = {
        name: build("preact-resnet", {**parameters, "input_shape": [28, 28, 1], "categories": 10})
        for name, parameters in NETWORKS.items()
    }
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            started = time.perf_counter()
            model.predict_on_batch(images[:batch])
            times[name].append(time.perf_counter() - started)
    return {name: round(batch / float(np.median(found[2:])), 1) for name, found in times.items()}


def draw(rows: list[dict[str, Any]], speed: dict[str, float], path: Path) -> None:
    """A point per network; the one that is shipped stands out."""
    figure, axes = plt.subplots(figsize=(8.5, 5), layout="constrained")
    for row in rows:
        shipped = row["network"] == SHIPPED
        at = (speed[row["network"]], 100 * row["accuracy"])
        axes.scatter(*at, s=70 if shipped else 35, color="#c1440e" if shipped else "#2a6f97")
        axes.annotate(
            f"{row['network']}{' (shipped)' if shipped else ''}\n{row['parameters'] / 1e6:.2f} M",
            at,
            xytext=(7, -22) if "late" in row["network"] else (7, 4),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.set_xlim(0.85 * min(speed.values()), 1.7 * max(speed.values()))
    axes.margins(y=0.12)
    axes.xaxis.set_major_locator(FixedLocator([500, 1000, 2000, 4000, 8000, 16000]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("images per second, batches of 256, two CPU cores, one view")
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
