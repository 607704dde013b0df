"""The wrong answers and the doubtful labels, as plain JSON values; a part of `metrics`.

All of the hold-out, the doubtful labels excepted.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model_training.report.findings import Findings

SUREST: Final = 50
"""How many of the surest mistakes are shown."""

SAMPLED: Final = 20
"""How many right and wrong answers are shown as examples."""

LISTED_SUSPECTS: Final = 200
"""How many doubtful labels are listed per part; the count is of all."""

CONFUSIONS: Final = 12
"""How many pairs of categories are listed."""

Json = dict[str, Any]


def confusion(findings: Findings) -> npt.NDArray[np.int64]:
    """int64 (categories, categories): rows are labels, columns the model's answers."""
    k, part = len(findings.card.categories), findings.holdout
    counts = np.bincount(part.labels * k + part.judged.answer, minlength=k * k)
    return counts.reshape(k, k).astype(np.int64)


def confusions(findings: Findings) -> list[Json]:
    """The commonest mix-ups, the worst first; `share` is of the label's images."""
    matrix, names = confusion(findings), findings.card.category_names
    off = matrix * ~np.eye(len(matrix), dtype=bool)
    worst = np.argsort(-off, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [(int(at) // len(off), int(at) % len(off)) for at in worst]
    return [
        {
            "label": names[label],
            "answer": names[answer],
            "images": int(off[label, answer]),
            "share": share(int(off[label, answer]), int(matrix[label].sum())),
        }
        for label, answer in pairs
        if off[label, answer]
    ]


def tree_distance(findings: Findings) -> Json:
    """Wrong answers by how far they lie from the label in the tree of categories.

    2 steps: another category of the same parent; more: another branch.
    """
    card, part = findings.card, findings.holdout
    taxonomy, names = card.taxonomy, card.category_names
    counts: dict[int, list[int]] = {}
    for at in np.flatnonzero(~part.judged.right).tolist():
        steps = taxonomy.distance(names[part.labels[at]], names[part.judged.answer[at]])
        row = counts.setdefault(steps, [0, 0])
        row[0] += 1
        row[1] += int(part.taken[at])
    total = sum(row[0] for row in counts.values())
    return {
        "errors": total,
        "mean": round(sum(s * row[0] for s, row in counts.items()) / total, 5) if total else None,
        "by_steps": {
            str(steps): {"errors": row[0], "accepted_errors": row[1], "share": share(row[0], total)}
            for steps, row in sorted(counts.items())
        },
    }


def examples(findings: Findings) -> Json:
    part = findings.holdout
    wrong = np.flatnonzero(~part.judged.right)
    surest = wrong[np.argsort(-part.judged.confidence[wrong], kind="stable")][:SUREST]
    return {
        "surest_mistakes": [_example(findings, at) for at in surest],
        "wrong": [_example(findings, at) for at in _spread(wrong)],
        "right": [
            _example(findings, at) for at in _spread(np.flatnonzero(part.judged.right & part.taken))
        ],
    }


def _example(findings: Findings, at: np.int64) -> Json:
    """`index` is into the whole set, `at` into the hold-out."""
    part, names = findings.holdout, findings.card.category_names
    return {
        "index": int(part.indices[at]),
        "label": names[part.labels[at]],
        "answer": names[part.judged.answer[at]],
        "confidence": round(float(part.judged.confidence[at]), 5),
        "accepted": bool(part.taken[at]),
    }


def _spread(among: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """At most `SAMPLED` of these, evenly over the file, so that nobody chose them."""
    if len(among) <= SAMPLED:
        return among
    some: npt.NDArray[np.int64] = among[np.linspace(0, len(among) - 1, SAMPLED).astype(int)]
    return some


def label_errors(findings: Findings) -> Json:
    names = findings.card.category_names
    sizes = {
        "select and hold-out": len(findings.split.select) + len(findings.split.holdout),
        "train": len(findings.split.train),
    }
    table: Json = {}
    for part, images in sizes.items():
        mine = [s for s in findings.suspects if s.part == part]
        table[part] = {
            "images": images,
            "suspects": len(mine),
            "share": share(len(mine), images),
            "listed": [
                {
                    "index": s.index,
                    "label": names[s.label],
                    "suggestion": names[s.suggestion],
                    "label_probability": round(s.label_probability, 5),
                    "suggestion_probability": round(s.suggestion_probability, 5),
                }
                for s in mine[:LISTED_SUSPECTS]
            ],
        }
    return table


def share(part: int, whole: int) -> float | None:
    """`part` of `whole`, 0 to 1, to five places; None of nothing."""
    return round(part / whole, 5) if whole else None
