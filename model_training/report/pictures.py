"""All pictures of a report, by file name: which numbers go into which chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from model_training.augment import Augmentation
from model_training.measures import calibration_bins, risk_coverage, roc
from model_training.report import confidence_plots, plots, sheets
from model_training.report.findings import Findings, target_text
from model_training.report.style import chart_name, house_style, percent, png
from tagging.domain import softmax_log_probs

AUGMENTATION_SEED: Final = 1

Json = Mapping[str, Any]


def draw(findings: Findings, numbers: Json) -> dict[str, bytes]:
    """File name -> PNG. `numbers` is what `metrics.measure` gave.

    A picture that there is nothing to draw for (a card without a history, no foreign pictures, no
    mistakes) is left out.
    """
    with house_style():
        return {name: png(figure) for name, figure in _figures(findings, numbers).items()}


def _figures(findings: Findings, numbers: Json) -> dict[str, Figure]:
    data, train = findings.data, findings.split.train
    figures = {
        "distribution.png": plots.distribution(numbers["data"]["by_category"]),
        "steps.png": plots.steps(data.images[train[0]], findings.network.rescaling),
        "confusion.png": plots.confusion(
            np.array(numbers["confusion"]), findings.card.category_names
        ),
        "precision-recall.png": plots.precision_recall(numbers["categories"]),
        "reliability.png": _reliability(findings),
        "risk-coverage.png": _risk_coverage(findings, numbers["targets"]),
    }
    for number, figure in enumerate(sheets.samples(data, train), start=1):
        figures[f"samples-{number}.png"] = figure
    networks = numbers["training"]["networks"]
    for config in (network["config"] for network in networks):
        if "augmentation" in config and "augmentation.png" not in figures:
            figures["augmentation.png"] = sheets.augmentations(
                data, train, Augmentation(**config["augmentation"]), seed=AUGMENTATION_SEED
            )
    for number, network in enumerate(networks, start=1):
        if network["epochs"]:
            figures[f"learning-curves-{number}.png"] = plots.learning_curves(network["epochs"])
    if numbers["out_of_distribution"]["groups"]:
        figures["strangeness.png"] = _strangeness(findings)
    return figures | _photos(findings, numbers)


def _reliability(findings: Findings) -> Figure:
    part = findings.holdout
    raw = np.exp(softmax_log_probs(part.logits, 1.0).max(axis=1))
    return confidence_plots.reliability(
        calibration_bins(raw, part.judged.right),
        calibration_bins(part.judged.confidence, part.judged.right),
    )


def _risk_coverage(findings: Findings, targets: Json) -> Figure:
    part = findings.holdout
    points = {
        text: (
            float(point.taken.mean()),
            float((~part.judged.right[point.taken]).mean()) if point.taken.any() else 0.0,
        )
        for text, point in findings.operating_points.items()
        if targets[text]["refuted_by_test"] is None
    }
    return confidence_plots.risk_by_coverage(
        risk_coverage(part.judged.confidence, part.judged.right),
        points,
        target_text(findings.card.acceptance.target_precision),
    )


def _strangeness(findings: Findings) -> Figure:
    own = findings.select.margins
    groups = {name: margins for name, margins in findings.foreign.items() if len(margins)}
    return confidence_plots.strangeness(
        {name: roc(own, margins) for name, margins in groups.items()},
        {
            name: (float((own >= 0).mean()), float((margins >= 0).mean()))
            for name, margins in groups.items()
        },
    )


def _photos(findings: Findings, numbers: Json) -> dict[str, Figure]:
    """The photos that the page shows one by one, as sheets to be passed on."""
    examples, doubtful = numbers["examples"], numbers["label_errors"]["select and hold-out"]
    found: dict[str, Figure] = {}
    for name, items, title in (
        ("right.png", examples["right"], "Right answers"),
        ("wrong.png", examples["wrong"], "Wrong answers"),
        ("surest-mistakes.png", examples["surest_mistakes"], "The surest mistakes"),
    ):
        if items:
            found[name] = _contact_sheet(findings, items, "answer", "confidence", title)
    if doubtful["listed"]:
        found["doubtful-labels.png"] = _contact_sheet(
            findings,
            doubtful["listed"][:50],
            "suggestion",
            "suggestion_probability",
            "Labels that are probably wrong",
        )
    return found


def _contact_sheet(
    findings: Findings, items: Sequence[Json], answer: str, confidence: str, title: str
) -> Figure:
    images = findings.data.images[[item["index"] for item in items]]
    captions = [
        f"{chart_name(item[answer], 15)}\n{percent(item[confidence], 1)}\n"
        f"label: {chart_name(item['label'], 11)}"
        for item in items
    ]
    return sheets.contact_sheet(images, captions, title)
