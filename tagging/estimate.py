"""How many of the accepted tags are wrong, from those that were audited. Pure.

Each accepted tag came into the audit sample by a keyed hash: with a chance, its share, that was
set before and has nothing to do with whether it is wrong. Where the share was the same for all of
them, the part of the audited tags that is wrong is an unbiased estimate. Where it was not (another
`audit_share`; everything, while a certificate is required), tags with a larger share are too many
among the audited, so each counts 1 / share times: the estimate of Hajek (1971), whose bias falls
with the number of verdicts and is none where the shares are equal.

The bounds hold at every look (`tagging.evidence`), under the assumptions written there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tagging.evidence import BAD, FLAT, GOOD, LEVEL, last_refuted, lower_bound, upper_bound

FEWEST: Final = 100
"""With fewer verdicts no error is stated: without a single wrong one the upper bound would still
lie over 3 %."""

CELLS: Final = 400
"""Of the mixtures: many enough that ten times as many change the bounds by less than 1 in 1,000."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Verdicts on tags that had the same chance of being audited, above 0 to 1."""

    share: float
    verdicts: int
    errors: int


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is known of the error of the accepted tags.

    `error`: estimate (0 to 1); None without a verdict. `lower`, `upper`: bounds of the average
    error of all accepted tags that the verdicts stand for, each by itself with a confidence of
    `LEVEL` at every number of verdicts at once, hence both together with 2 `LEVEL` - 1 or more.
    Several estimates (of categories, of weeks) make that promise each for itself: of twenty, one
    bound may well miss. Where the share is lowered, the promise begins anew.
    `weighted`: whether the shares differ, so that the verdicts do not count the same.
    """

    verdicts: int
    errors: int
    error: float | None
    lower: float
    upper: float
    weighted: bool

    @property
    def stated(self) -> bool:
        """Whether the verdicts are enough to state an error."""
        return self.verdicts >= FEWEST


def tally(verdicts: Iterable[tuple[float | None, bool]]) -> list[Tally]:
    """Verdicts (share, whether wrong) by their share, the smallest first.

    A share that is not known, of an older version, counts as the smallest that is: as nobody can
    say of how many tags it speaks, it gets the weight of the others of its time or more.
    """
    seen = list(verdicts)
    usual = min((share for share, _ in seen if share is not None), default=1.0)
    total: Counter[float] = Counter()
    errors: Counter[float] = Counter()
    for given, wrong in seen:
        share = usual if given is None else given
        total[share] += 1
        errors[share] += wrong
    return [
        Tally(share=share, verdicts=total[share], errors=errors[share]) for share in sorted(total)
    ]


def estimate(tallies: list[Tally], target: float) -> Estimate:
    """The estimate and its bounds.

    Args:
        tallies: each of another share; none where nothing was audited.
        target: precision that the accepted tags must have; it shapes the bounds only.

    Raises:
        ValueError: counts, shares or target make no sense.
    """
    for one in tallies:
        if not 0 < one.share <= 1 or not 0 <= one.errors <= one.verdicts:
            raise ValueError(f"no audit brings {one!r}")
    verdicts, errors = sum(t.verdicts for t in tallies), sum(t.errors for t in tallies)
    weighted = len(tallies) > 1
    if not weighted:
        return Estimate(
            verdicts=verdicts,
            errors=errors,
            error=errors / verdicts if verdicts else None,
            lower=lower_bound(verdicts, errors, target),
            upper=upper_bound(verdicts, errors, target),
            weighted=False,
        )
    weights = np.array([1 / t.share for t in tallies])
    wrong = np.array([t.errors for t in tallies], np.float64)
    right = np.array([t.verdicts - t.errors for t in tallies], np.float64)
    error = float(weights @ wrong / (weights @ (wrong + right)))
    return Estimate(
        verdicts=verdicts,
        errors=errors,
        error=error,
        lower=weighted_lower(tallies, error, target),
        upper=weighted_upper(tallies, error, target),
        weighted=True,
    )


def weighted_upper(
    tallies: list[Tally], error: float, target: float, *, level: float = LEVEL
) -> float:
    """The error under which the average of all accepted tags lies, at every look.

    A bet against an error of p: each audited tag of share s multiplies what is staked by
    1 + (v / s) (wrong - p), v < 0; a tag that is not audited by 1. Over the draw, the factor of a
    tag whose chance of being wrong is q is on average 1 + v (q - p). The product of these averages
    is at most 1 where the q's are p on average or more (the geometric mean is at most the
    arithmetic one), so what is staked, starting at 1, ever reaches 1 / (1 - level) with a
    probability of at most 1 - level (Ville), whatever the number of tags that nobody looked at.
    Betting on means by inverse chances: Waudby-Smith & Ramdas 2024, "Estimating means of bounded
    random variables by betting"; Waudby-Smith et al. 2024, "Anytime-valid off-policy inference for
    contextual bandits". With a single share the bets are the likelihood ratios of
    `evidence.upper_bound`.

    v is mixed over x = 1 + v (1 - p) / (smallest share), between 0 and 1, as there at p = 1 -
    target. As x does not depend on p, what is staked against p grows with p: the bound is where it
    reaches the limit.

    Args:
        error: the estimate from `tallies`, against which no bet wins.
    """
    chances, wrong, right = _columns(tallies)
    edges = np.linspace(0, 1, CELLS + 1)
    allowed = 1 - target
    below = -np.expm1(np.log1p(-edges * allowed) / (GOOD * allowed))
    mass = (1 - FLAT) * np.diff(below) / below[-1] + FLAT / CELLS  # (cells,), in all 1
    stake = np.outer(1 - (edges[1:] + edges[:-1]) / 2, chances)  # (cells, tallies), 0 to 1
    if not right.any():
        return 1.0
    limit = -math.log(1 - level)
    lost = np.log(mass) + np.log1p(-stake) @ wrong  # (cells,)

    def refuted(p: float) -> bool:
        won = np.log1p(stake * (p / (1 - p))) @ right
        return float(np.logaddexp.reduce(lost + won)) >= limit

    return last_refuted(refuted, refuted=1.0, tenable=error)


def weighted_lower(
    tallies: list[Tally], error: float, target: float, *, level: float = LEVEL
) -> float:
    """The error over which it lies; the mirror image, with bets on x = v p / (smallest share)."""
    chances, wrong, right = _columns(tallies)
    if not wrong.any():
        return 0.0
    # The part of Beta(1, b) over any p is, seen from there, Beta(1, b) again: its quantiles.
    at = (np.arange(CELLS) + 0.5) / CELLS
    bets = -np.expm1(np.log1p(-at) * BAD * (1 - target))
    stake = np.outer(bets, chances)  # (cells, tallies), 0 to 1
    limit = -math.log(1 - level)
    lost = np.log1p(-stake) @ right - math.log(CELLS)  # (cells,)

    def refuted(p: float) -> bool:
        won = np.log1p(stake * ((1 - p) / p)) @ wrong
        return float(np.logaddexp.reduce(lost + won)) >= limit

    return last_refuted(refuted, refuted=0.0, tenable=error)


def _columns(tallies: list[Tally]) -> tuple[Floats, Floats, Floats]:
    """(tallies,) each: the smallest share in units of its own, wrong tags, right tags."""
    smallest = min(t.share for t in tallies)
    return (
        np.array([smallest / t.share for t in tallies]),
        np.array([t.errors for t in tallies], np.float64),
        np.array([t.verdicts - t.errors for t in tallies], np.float64),
    )
