"""Everything that the pages of a report need of a model and its data, as frozen values.

`assemble` computes; `gather` fetches what it computes from. This module imports Keras (through
`evaluate`); light code must not import it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model_training.datasets.labelled import LabelledImages
from model_training.figures import cuts_of, figures, judge_by_card
from model_training.outsiders import margins
from model_training.report.label_errors import Labelled, Suspect, suspects
from model_training.splits import Split
from model_training.thresholds import Judged, acceptance_spec, accepted
from tagging.domain import softmax_log_probs
from tagging.model_card import AcceptanceSpec, ModelCard

TARGETS: Final = (0.95, 0.98, 0.99, 0.995)
"""The precisions that the report compares; a card's own targets are added."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Raw logits float32 (n, categories) and out-of-distribution scores float64 (n,)."""

    logits: npt.NDArray[np.float32]
    ood_scores: Floats


@dataclass(frozen=True, kw_only=True)
class Network:
    """What the report says of the network.

    Attributes:
        parameters: how many numbers were learnt or gathered.
        weights_bytes: size of the bundle's weights file.
        rescaling: (scale, offset): the network's first step is pixel * scale + offset; None where
            it has no such step.
    """

    parameters: int
    weights_bytes: int
    rescaling: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the data and what the model says of it.

    Attributes:
        name: `select`, `hold-out` or `train`.
        indices: int64 (n,), into the whole set.
        labels: int64 (n,).
        logits: float32 (n, categories).
        margins: float64 (n,), see `outsiders.margins`.
        probabilities: float64 (n, categories), calibrated.
        judged: as serving would.
        taken: bool (n,), accepted at the card's own thresholds.
        figures: as `evaluate.figures` says.
    """

    name: str
    indices: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    margins: Floats
    probabilities: Floats
    judged: Judged
    taken: npt.NDArray[np.bool_]
    figures: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """Thresholds for one target precision, and what they accept of the hold-out (bool, n).

    `stored`: whether the card holds them; the others were found for this report, on the same
    parts of the data and in the same way.
    """

    spec: AcceptanceSpec
    taken: npt.NDArray[np.bool_]
    stored: bool


@dataclass(frozen=True, kw_only=True)
class Shop:
    """What is said of shop photos: as `outsiders.flagged_by_kind` and `fitting_figures` say."""

    kinds: Mapping[str, Any]
    fitting: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """See the module's text. `operating_points` by the target as text ("0.98"), rising.

    `foreign`: by group, float64 (n,), the `outsiders.margins` of images that do not belong.
    `recomputed`: the thresholds that the card holds, found again, by the target as text.
    """

    card: ModelCard
    source: str
    data: LabelledImages
    split: Split
    network: Network
    select: Part
    holdout: Part
    operating_points: Mapping[str, OperatingPoint]
    recomputed: Mapping[str, AcceptanceSpec]
    suspects: Sequence[Suspect]
    foreign: Mapping[str, Floats] = field(default_factory=dict)
    shop: Shop | None = None


def assemble(
    *,
    card: ModelCard,
    source: str,
    data: LabelledImages,
    split: Split,
    network: Network,
    answers: Mapping[str, Answers],
    foreign: Mapping[str, Floats] | None = None,
    shop: Shop | None = None,
) -> Findings:
    """Judge the answers, compare operating points, and look for wrong labels.

    Args:
        card: of the model that answered.
        source: what the data is called.
        data: the whole set that was divided.
        split: its three parts.
        network: what is said of it.
        answers: for `select`, `hold-out` and `train`.
        foreign: see `Findings`.
        shop: None where there are no shop photos.
    """
    indices = {"select": split.select, "hold-out": split.holdout, "train": split.train}
    parts = {
        name: _part(card, name, data, indices[name], answers[name])
        for name in ("select", "hold-out", "train")
    }
    select, holdout = parts["select"], parts["hold-out"]
    stored = _stored(card)
    specs = stored | {
        target_text(target): _found_again(card, select, holdout, target)
        for target in TARGETS
        if target_text(target) not in stored
    }
    return Findings(
        card=card,
        source=source,
        data=data,
        split=split,
        network=network,
        select=select,
        holdout=holdout,
        operating_points={
            text: OperatingPoint(
                spec=spec,
                taken=accepted(holdout.judged, cuts_of(card, spec)),
                stored=text in stored,
            )
            for text, spec in sorted(specs.items(), key=lambda item: float(item[0]))
        },
        recomputed={
            text: _found_again(card, select, holdout, spec.target_precision)
            for text, spec in stored.items()
        },
        suspects=suspects(
            {
                "select and hold-out": _labelled(select, holdout),
                "train": _labelled(parts["train"]),
            }
        ),
        foreign=dict(foreign or {}),
        shop=shop,
    )


def target_text(target: float) -> str:
    """The key of an operating point: 0.98 -> "0.98"."""
    return f"{target:g}"


def _part(
    card: ModelCard,
    name: str,
    data: LabelledImages,
    indices: npt.NDArray[np.int64],
    answers: Answers,
) -> Part:
    labelled = data.take(indices)
    judged = judge_by_card(card, answers.logits, answers.ood_scores, labelled.labels)
    return Part(
        name=name,
        indices=indices,
        labels=labelled.labels,
        logits=answers.logits,
        margins=margins(card, answers.logits, answers.ood_scores),
        probabilities=np.exp(softmax_log_probs(answers.logits, card.temperature)),
        judged=judged,
        taken=accepted(judged, cuts_of(card, card.acceptance)),
        figures=figures(card, answers.logits, answers.ood_scores, labelled),
    )


def _labelled(*parts: Part) -> Labelled:
    return (
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
    )


def _stored(card: ModelCard) -> dict[str, AcceptanceSpec]:
    """What the card holds, by target; for one that it holds twice, what is in force."""
    specs = (*card.operating_points.values(), card.acceptance)
    return {target_text(spec.target_precision): spec for spec in specs}


def _found_again(card: ModelCard, select: Part, holdout: Part, target: float) -> AcceptanceSpec:
    return acceptance_spec(select.judged, holdout.judged, taxonomy=card.taxonomy, target=target)
