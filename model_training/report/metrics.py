"""Every number that a report shows, as plain JSON values: `metrics.json`, and what the page prints.

Shares are from 0 to 1, rounded to five places; counts are whole. Unless it says otherwise, a number
is of the hold-out.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from model_training.measures import (
    adaptive_calibration_error_by_category,
    calibration_bins,
    risk_coverage,
    roc,
)
from model_training.report import mistakes
from model_training.report.agreement import Compared, agreement_json
from model_training.report.findings import Findings, Part
from model_training.report.mistakes import share
from model_training.thresholds import allows, error_interval
from tagging.model_card import ModelCard

CURVE_POINTS: Final = 200

Json = dict[str, Any]


def measure(findings: Findings, compared: list[Compared]) -> Json:
    """See the module's text.

    Args:
        findings: what was gathered.
        compared: what `agreement.ensure_agreement` gave.
    """
    card = findings.card
    return {
        "model": _model(findings),
        "data": _data(findings),
        "per_1000": _per_1000(findings),
        "acceptance": card.acceptance.model_dump(mode="json"),
        "targets": _targets(findings),
        "select": dict(findings.select.figures),
        "holdout": dict(findings.holdout.figures),
        "categories": _categories(findings),
        "calibration": _calibration(findings),
        "risk_coverage": _risk_coverage(findings.holdout),
        "confusion": mistakes.confusion(findings).tolist(),
        "confusions": mistakes.confusions(findings),
        "tree_distance": mistakes.tree_distance(findings),
        "out_of_distribution": _out_of_distribution(findings),
        "shop": (
            None
            if findings.shop is None
            else {"kinds": dict(findings.shop.kinds), "fitting": dict(findings.shop.fitting)}
        ),
        "examples": mistakes.examples(findings),
        "label_errors": mistakes.label_errors(findings),
        "training": _training(findings),
        "test": card.metrics.get("test"),
        "test_without_duplicates": card.metrics.get("test_without_duplicates"),
        "agreement": agreement_json(compared),
    }


def _model(findings: Findings) -> Json:
    card = findings.card
    return {
        "title": card.title,
        "name": card.name,
        "version": card.version,
        "description": card.description,
        "created_at": card.created_at,
        "network": card.network.model_dump(mode="json"),
        "parameters": findings.network.parameters,
        "weights_bytes": findings.network.weights_bytes,
        "rescaling": findings.network.rescaling,
        "temperature": card.temperature,
        "preprocessing_version": card.preprocessing_version,
        "versions": dict(card.versions),
        "files_sha256": dict(card.files),
    }


def _data(findings: Findings) -> Json:
    labels, names = findings.data.labels, findings.card.category_names
    split = findings.split
    counts = {
        part: np.bincount(labels[indices], minlength=len(names))
        for part, indices in (
            ("train", split.train),
            ("select", split.select),
            ("holdout", split.holdout),
        )
    }
    return {
        "name": findings.source,
        "images": len(findings.data),
        "shape": list(findings.data.images.shape[1:]),
        "files_md5": dict(findings.data.sources),
        "limit": findings.card.data.get("limit"),
        "split": dict(split.facts()),
        "merged": findings.card.data.get("merged"),
        "by_category": {
            name: {part: int(count[c]) for part, count in counts.items()}
            for c, name in enumerate(names)
        },
    }


def _per_1000(findings: Findings) -> Json:
    """What happens to a thousand photos like those of the hold-out, as the card states it.

    `tagged` and `waiting` add up to 1,000. `at_most_wrong` is the 95 % bound, rounded up;
    `waiting_right`: among those that wait, whose suggestion is right already.
    """
    spec, part = findings.card.acceptance, findings.holdout
    n = max(1, spec.holdout_n)
    tagged = round(1000 * spec.holdout_accepted / n)
    waiting_right = part.judged.right[~part.taken].mean() if (~part.taken).any() else 0.0
    return {
        "tagged": tagged,
        "wrong": _half_up(1000 * spec.holdout_errors / n),
        "at_most_wrong": math.ceil(tagged * spec.error_upper) if tagged else 0,
        "waiting": 1000 - tagged,
        "waiting_right": _half_up((1000 - tagged) * float(waiting_right)),
        "strange": _half_up(1000 * part.figures["flagged"] / n),
    }


def _refuted(card: ModelCard, target: str) -> float | None:
    """The accepted error on test, where it is more than the target allows: the card's thresholds
    for it were withdrawn then.
    """
    on_test = card.metrics.get("test", {}).get("targets", {}).get(target, {})
    error: float | None = on_test.get("error")
    return None if allows(float(target), error) else error


def _targets(findings: Findings) -> Json:
    names, part = findings.card.category_names, findings.holdout
    answered = np.bincount(part.judged.answer, minlength=len(names))
    table: Json = {}
    for text, point in findings.operating_points.items():
        kept = np.bincount(part.judged.answer[point.taken], minlength=len(names))
        spec = point.spec
        table[text] = {
            "stored_in_card": point.stored,
            "refuted_by_test": None if point.stored else _refuted(findings.card, text),
            "accepted": spec.holdout_accepted,
            "errors": spec.holdout_errors,
            "coverage": share(spec.holdout_accepted, spec.holdout_n),
            "error": share(spec.holdout_errors, spec.holdout_accepted),
            "error_upper": round(spec.error_upper, 5),
            "by_parent": spec.parents.model_dump(mode="json", exclude={"by_parent"}),
            "coverage_by_category": {
                name: share(int(kept[c]), int(answered[c])) for c, name in enumerate(names)
            },
        }
    return table


def _categories(findings: Findings) -> Json:
    """By category: `images` and `found` count by label, all else by the model's answer."""
    card, part = findings.card, findings.holdout
    calibration = adaptive_calibration_error_by_category(part.logits, part.labels, card.temperature)
    answered = np.bincount(part.judged.answer, minlength=len(card.categories))
    table: Json = {}
    for c, category in enumerate(card.categories):
        row = dict(part.figures["by_category"][category.name])
        images, found, said = row["images"], row["found"], int(answered[c])
        table[category.name] = row | {
            "parent": category.parent,
            "answered": said,
            "precision": share(found, said),
            "precision_interval": _interval(found, said),
            "recall": share(found, images),
            "recall_interval": _interval(found, images),
            "adaptive_calibration_error": round(float(calibration[c]), 5),
        }
    return table


def _calibration(findings: Findings) -> Json:
    """Expected calibration error with 15 bins of equal mass, before and after the temperature."""
    card, part = findings.card, findings.holdout
    by_category = adaptive_calibration_error_by_category(part.logits, part.labels, card.temperature)
    before = adaptive_calibration_error_by_category(part.logits, part.labels)
    bins = calibration_bins(part.judged.confidence, part.judged.right)
    return {
        "temperature": round(card.temperature, 5),
        **{
            name: {"before": p.figures["ece_uncalibrated"], "after": p.figures["ece"]}
            for name, p in (("select", findings.select), ("holdout", part))
        },
        "adaptive": {
            "before": round(float(before.mean()), 5),
            "after": round(float(by_category.mean()), 5),
        },
        "bins": [
            {"confidence": round(c, 5), "accuracy": round(a, 5), "images": n}
            for c, a, n in zip(
                bins.confidence.tolist(), bins.accuracy.tolist(), bins.images.tolist(), strict=True
            )
        ],
    }


def _risk_coverage(part: Part) -> Json:
    curve = risk_coverage(part.judged.confidence, part.judged.right)
    at = np.unique(np.linspace(0, len(curve.risk) - 1, CURVE_POINTS).astype(int))
    return {
        "area": round(curve.area, 6),
        "coverage": np.round(curve.coverage[at], 5).tolist(),
        "risk": np.round(curve.risk[at], 5).tolist(),
    }


def _out_of_distribution(findings: Findings) -> Json:
    """`familiar` is the select part, on which the thresholds were chosen."""
    select, bounds = findings.select, findings.card.out_of_distribution
    return {
        "threshold": bounds.threshold,
        "threshold_by_category": dict(bounds.by_category),
        "familiar": {
            "images": len(select.labels),
            "flagged": int((~select.judged.familiar).sum()),
        },
        "groups": {
            name: {
                "images": len(margins),
                "flagged": int((margins >= 0).sum()),
                "auroc": round(roc(select.margins, margins).area, 5),
            }
            for name, margins in findings.foreign.items()
            if len(margins)
        },
        "stated": findings.card.metrics.get("strange", {}),
    }


def _training(findings: Findings) -> Json:
    card, images = findings.card, len(findings.split.train)
    networks = _networks(card.title, card.metrics.get("training", {}), images)
    return {
        "networks": networks,
        "seconds": round(sum(network["seconds"] for network in networks), 1),
    }


def _networks(title: str, told: Json, images: int) -> list[Json]:
    """How each network of a model was trained, from what its card says; a committee has several."""
    if "members" in told:
        return [
            network
            for member in told["members"]
            for network in _networks(member["title"], member.get("training", {}), images)
        ]
    epochs = list(told.get("epochs", []))
    seconds = sum(epoch["seconds"] for epoch in epochs)
    shown = images * len(epochs)
    return [
        {
            "title": title,
            "config": told.get("config", {}),
            "teachers": [teacher["title"] for teacher in told.get("teachers", [])],
            "epochs": epochs,
            "seconds": round(seconds, 1),
            "images_shown": shown,
            "images_per_s": round(shown / seconds, 1) if seconds else None,
        }
    ]


def _interval(part: int, whole: int) -> list[float] | None:
    """Two-sided 95 % Clopper-Pearson interval of the share; None of nothing."""
    if not whole:
        return None
    lower, upper = error_interval(whole - part, whole)
    return [round(1 - upper, 5), round(1 - lower, 5)]


def _half_up(value: float) -> int:
    return math.floor(value + 0.5)
