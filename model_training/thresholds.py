"""From which confidence on a category is accepted, so that a stated share of those is right.

Two steps on two sets of images that the network was not trained on:

1. On **select**, each category gets the lowest cut at which its accepted error is at most
   1 - target, drawn half-way towards the one cut that would do so for all categories together
   (`cuts_by_category`). Chosen on few images, these cuts are too hopeful: in a trial, cuts for
   99 % gave 98.6 % on fresh images.
2. On **hold-out**, all cuts are moved together by one offset on the logit of the confidence. From
   the strictest offset downwards, each is tested: is the one-sided 95 % Clopper-Pearson upper
   bound of the pooled accepted error at most 1 - target? The walk ends at the first failure, and
   the last offset that passed is taken. Because the order was fixed before the labels were seen,
   this fixed-sequence test needs no correction for trying many offsets: with a probability of at
   least 95 % the error of what is accepted is at most 1 - target (Angelopoulos, Bates, Candes,
   Jordan and Lei 2021, "Learn then Test"; fixed-sequence testing: Bauer 1991).

What is out of distribution is never accepted, so it counts in neither step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from tagging.domain import OodBounds, Taxonomy, softmax_log_probs
from tagging.model_card import AcceptanceSpec, ParentAcceptance

NEVER: Final = 1.01
"""A threshold that no confidence reaches."""

CONFIDENCE_LEVEL: Final = 0.95

MIN_ACCEPTED: Final = 100
"""A cut must accept this many of the select images, or a tenth of the category's, if fewer; one
resting on a handful of lucky ones says nothing."""

START_COVERAGE: Final = 0.3
"""The walk starts at the strictest offset that would accept this share of *select*: stricter ones
accept too few to prove anything, and the fixed sequence would end before it began."""

START_SHARE: Final = 0.75
"""Where the cuts as they are accept little, it starts where this share of that is accepted: of a
model that may be trusted with a fifth of the products, that fifth can be proved, not 30 %."""

_STEP: Final = 0.05
_FURTHEST: Final = 12.0
_EDGE: Final = 1e-12

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a model said of images whose label is known.

    Attributes:
        answer: int64 (n,), index of the best category.
        confidence: float64 (n,), its calibrated probability, 0 to 1.
        right: bool (n,).
        familiar: bool (n,), not out of distribution.
        above: float64 (n, levels), the confidence in the answer's wider ancestors (see
            `Taxonomy.wider`), nearest first; 0 where there is none.
        node: int64 (n, levels), index into the taxonomy's inner nodes; -1 where there is none.
        right_above: bool (n, levels), whether the label lies under that ancestor.
    """

    answer: npt.NDArray[np.int64]
    confidence: Floats
    right: npt.NDArray[np.bool_]
    familiar: npt.NDArray[np.bool_]
    above: Floats
    node: npt.NDArray[np.int64]
    right_above: npt.NDArray[np.bool_]


def judge(
    logits: npt.NDArray[np.floating],
    ood_scores: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
    *,
    taxonomy: Taxonomy,
    temperature: float,
    ood_bounds: OodBounds,
) -> Judged:
    """Compare raw logits (n, categories) and ood scores (n,) with labels, as serving would."""
    answer = logits.argmax(axis=1).astype(np.int64)
    probabilities = np.exp(softmax_log_probs(logits, temperature))
    bounds = np.array([ood_bounds.of(leaf) for leaf in taxonomy.leaves])
    nodes = inner_nodes(taxonomy)
    chains = [[nodes.index(a) for a in taxonomy.wider(leaf)] for leaf in taxonomy.leaves]
    levels = max(map(len, chains))
    padded = np.array([chain + [-1] * (levels - len(chain)) for chain in chains], np.int64)
    node = padded.reshape(len(chains), levels)[answer]  # (n, levels)
    members = np.zeros((len(nodes) + 1, len(taxonomy.leaves)), bool)  # the last row: no node
    for index, name in enumerate(nodes):
        members[index, taxonomy.leaves_under(name)] = True
    under = members[node]  # (n, levels, categories)
    return Judged(
        answer=answer,
        confidence=probabilities.max(axis=1),
        right=answer == labels,
        familiar=ood_scores < bounds[answer],
        above=(under * probabilities[:, None, :]).sum(axis=2),
        node=node,
        right_above=np.take_along_axis(under, labels[:, None, None], axis=2)[:, :, 0],
    )


def inner_nodes(taxonomy: Taxonomy) -> list[str]:
    """Every wider ancestor of a leaf, in the order in which they are met."""
    return list(dict.fromkeys(a for leaf in taxonomy.leaves for a in taxonomy.wider(leaf)))


def error_upper_bound(errors: int, n: int, level: float = CONFIDENCE_LEVEL) -> float:
    """One-sided Clopper-Pearson upper bound of an error rate; 1 where nothing was seen."""
    if errors >= n:
        return 1.0
    return float(beta.ppf(level, errors + 1, n - errors))


def allows(target: float, error: float | None) -> bool:
    """Whether an accepted error, 0 to 1, is within a target precision; None, of nothing, is."""
    return (error or 0.0) <= 1 - target + 1e-12


def error_interval(errors: int, n: int, level: float = CONFIDENCE_LEVEL) -> tuple[float, float]:
    """Two-sided Clopper-Pearson interval of an error rate; (0, 1) where nothing was seen."""
    tail = (1 - level) / 2
    lower = 0.0 if errors == 0 else float(beta.ppf(tail, errors, n - errors + 1))
    return lower, error_upper_bound(errors, n, 1 - tail)


def accepted(judged: Judged, cuts: Floats) -> npt.NDArray[np.bool_]:
    """bool (n,): familiar, and at or above the cut (float64, one per category) of its answer."""
    taken: npt.NDArray[np.bool_] = judged.familiar & (judged.confidence >= cuts[judged.answer])
    return taken


def cuts_by_category(select: Judged, *, categories: int, target: float) -> Floats:
    """float64 (categories,): for each, the logit mean of its own lowest cut and the pooled one.

    A category's own cut hangs on a handful of errors; the pooled one knows nothing of the
    category. In bootstrap trials of the whole procedure at 99 % (the shipped network, its 5,000
    select images) own cuts accepted 78.1 % with 1.6 % errors in the worst category, the pooled
    cut 80.2 % with 2.0 %, and this half-way 80.0 % with 1.8 %.

    `NEVER` where no cut of its own has an accepted error of at most 1 - target.
    """
    pooled = lowest_cut(select, np.ones(len(select.right), dtype=bool), target=target)
    own = np.array(
        [lowest_cut(select, select.answer == c, target=target) for c in range(categories)]
    )
    if pooled > 1:
        return own
    blended = _from_logit((_to_logit(own) + _to_logit(np.array(pooled))) / 2)
    return np.where(own > 1, NEVER, blended)


def lowest_cut(select: Judged, among: npt.NDArray[np.bool_], *, target: float) -> float:
    """The lowest confidence at which the error accepted `among` (bool, n) is at most 1 - target.

    `NEVER` if there is none, or only ones that accept next to nothing (`MIN_ACCEPTED`).
    """
    mine = np.flatnonzero(among & select.familiar)
    if not len(mine):
        return NEVER
    mine = mine[np.argsort(-select.confidence[mine], kind="stable")]
    confidence = select.confidence[mine]
    taken = np.arange(1, len(mine) + 1)
    errors = np.cumsum(~select.right[mine])
    # Equal confidences are accepted together or not at all: a cut may stand only at the last.
    last_of_equals = np.r_[confidence[1:] < confidence[:-1], True]
    enough = taken >= min(MIN_ACCEPTED, max(1, len(mine) // 10))
    good = np.flatnonzero((errors <= (1 - target) * taken) & enough & last_of_equals)
    return float(confidence[good[-1]]) if len(good) else NEVER


def shift_cuts(cuts: Floats, offset: float) -> Floats:
    """Move cuts by `offset` on the logit scale; `NEVER` stays."""
    return np.where(cuts > 1, NEVER, _from_logit(_to_logit(cuts) + offset))


def _to_logit(confidence: Floats) -> Floats:
    inside = np.clip(confidence, _EDGE, 1 - _EDGE)
    logit: Floats = np.log(inside) - np.log1p(-inside)
    return logit


def _from_logit(logit: Floats) -> Floats:
    confidence: Floats = 1 / (1 + np.exp(-logit))
    return confidence


def acceptance_spec(
    select: Judged, holdout: Judged, *, taxonomy: Taxonomy, target: float
) -> AcceptanceSpec:
    """Both steps of this module's text.

    Args:
        select: for the cuts and for where the walk starts.
        holdout: for the offset and for the rate that is stated.
        taxonomy: its leaves are the categories, in the order of the outputs.
        target: precision, 0 to 1.

    Returns:
        The thresholds and the hold-out's counts. If not even the strictest offset passes, all
        thresholds are `NEVER`, nothing was accepted and the bound is 1.
    """
    base = cuts_by_category(select, categories=len(taxonomy.leaves), target=target)
    return _tested(base, _offsets(select, base), select, holdout, taxonomy, target)


def pooled_acceptance_spec(judged: Judged, *, taxonomy: Taxonomy, target: float) -> AcceptanceSpec:
    """The same from one set of cross-fitted answers, with too few images for a cut per category.

    All categories have one cut. The walk starts at the strictest that accepts as many images as
    one error among them may be proved with (473 for 99 %); how many are right plays no part in it.

    Args:
        judged: for the cut and for the rate that is stated; independent of each other.
        taxonomy: its leaves are the categories, in the order of the outputs.
        target: precision, 0 to 1.

    Returns:
        As `acceptance_spec`.
    """
    base = np.full(len(taxonomy.leaves), 0.5)
    grid = np.arange(_FURTHEST, -_FURTHEST, -_STEP)
    taken = np.array([int(accepted(judged, shift_cuts(base, o)).sum()) for o in grid])
    provable = np.array([error_upper_bound(1, n) <= 1 - target for n in taken.tolist()])
    enough = np.flatnonzero(provable)
    offsets = grid[enough[0] :] if len(enough) else grid[:0]
    spec = _tested(base, offsets, judged, judged, taxonomy, target)
    return spec.model_copy(update={"measured": "crossfitted"})


def _tested(
    base: Floats,
    offsets: Floats,
    select: Judged,
    holdout: Judged,
    taxonomy: Taxonomy,
    target: float,
) -> AcceptanceSpec:
    """The last of `offsets` before the first that fails on *hold-out*."""
    names = taxonomy.leaves
    passed: Floats | None = None
    for offset in offsets:
        cuts = shift_cuts(base, offset)
        taken = accepted(holdout, cuts)
        errors = int((taken & ~holdout.right).sum())
        if error_upper_bound(errors, int(taken.sum())) > 1 - target:
            break
        passed = cuts
    if passed is None:
        passed = np.full(len(names), NEVER)
    taken = accepted(holdout, passed)
    errors = int((taken & ~holdout.right).sum())
    return AcceptanceSpec(
        target_precision=target,
        fallback=NEVER,
        by_category={name: float(cut) for name, cut in zip(names, passed, strict=True)},
        holdout_n=len(holdout.right),
        holdout_accepted=int(taken.sum()),
        holdout_errors=errors,
        error_upper=error_upper_bound(errors, int(taken.sum())),
        parents=_parent_acceptance(select, holdout, passed, taxonomy=taxonomy, target=target),
    )


def accepted_parents(
    judged: Judged, cuts: Floats, by_node: Floats
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """What only an ancestor accepts, at its nearest ancestor that reaches its cut.

    Args:
        judged: what the model said.
        cuts: float64 (categories,), of the categories themselves.
        by_node: float64 (inner nodes,).

    Returns:
        accepted, bool (n,); right, bool (n,), whether the label lies under that ancestor.
    """
    if not judged.above.shape[1]:
        none = np.zeros(len(judged.right), bool)
        return none, none
    left = judged.familiar & ~accepted(judged, cuts)
    sure = judged.above >= np.append(by_node, np.inf)[judged.node]  # (n, levels)
    first = sure.argmax(axis=1)[:, None]
    right = np.take_along_axis(judged.right_above, first, axis=1)[:, 0]
    return left & sure.any(axis=1), right


def _parent_acceptance(
    select: Judged, holdout: Judged, cuts: Floats, *, taxonomy: Taxonomy, target: float
) -> ParentAcceptance:
    """One cut for all inner nodes, tested like the offset of the categories' cuts.

    The claim tested is that of a retailer who accepts both: the error of all that is accepted, as
    a category or as a parent. The sequence of cuts is fixed by the select images.
    """
    nodes = inner_nodes(taxonomy)
    taken = accepted(holdout, cuts)
    errors, n = int((taken & ~holdout.right).sum()), int(taken.sum())
    passed: tuple[float, int, int] | None = None
    for cut in _parent_cuts(select, cuts, len(nodes)):
        extra, right = accepted_parents(holdout, cuts, np.full(len(nodes), cut))
        more, wrong = int(extra.sum()), int((extra & ~right).sum())
        if error_upper_bound(errors + wrong, n + more) > 1 - target:
            break
        passed = (cut, more, wrong)
    if passed is None:
        return ParentAcceptance()
    cut, more, wrong = passed
    return ParentAcceptance(
        by_parent=dict.fromkeys(nodes, cut),
        holdout_accepted=more,
        holdout_errors=wrong,
        error_upper=error_upper_bound(errors + wrong, n + more),
    )


_PARENT_STEPS: Final = 40


def _parent_cuts(select: Judged, cuts: Floats, nodes: int) -> Floats:
    """Strictest first: quantiles of the select images' highest confidence in an ancestor.

    Only those for which an ancestor is surer than a coin; each step accepts a fortieth more.
    """
    left = select.familiar & ~accepted(select, cuts)
    best = select.above[left].max(axis=1, initial=0.0)
    best = best[best > 0.5]
    if not nodes or len(best) < _PARENT_STEPS:
        return np.zeros(0)
    steps: Floats = np.quantile(best, 1 - np.arange(1, _PARENT_STEPS) / _PARENT_STEPS)
    return steps


def _offsets(select: Judged, base: Floats) -> Floats:
    """Strictest first; fixed by the select images alone."""
    grid = np.arange(_FURTHEST, -_FURTHEST, -_STEP)
    coverage = np.array([accepted(select, shift_cuts(base, o)).mean() for o in grid])
    start = min(START_COVERAGE, START_SHARE * float(accepted(select, base).mean()))
    enough = np.flatnonzero((coverage >= start) & (coverage > 0))
    return grid[enough[0] :] if len(enough) else grid[:0]
