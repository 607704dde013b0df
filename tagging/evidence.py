"""What audit verdicts prove of an error: bounds at every look, and a detector of drift. Pure.

People say, one after the other, whether an accepted tag is wrong. From that row of verdicts come a
lower and an upper bound of the error that may be looked at after every verdict, and a detector that
sounds when the error rose lately.

Assumption: what is asked, and in which order it is answered, has nothing to do with whether it is
wrong. The audit sample is drawn that way; who leaves the hard ones unanswered makes the error look
smaller than it is, who answers them first makes it look larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

LEVEL: Final = 0.95
"""Confidence of the lower and of the upper bound, each by itself."""

GOOD: Final = 0.2
"""Mean of the upper bound's mixture, Beta(1, .), in units of the greatest error allowed.

Chosen among means of 0.1 to 0.5 and Beta(s, .) with s of 0.3 to 2: with `FLAT` it certifies a
model that makes no error after 357 verdicts, where 299 is the least that any bound could need. The
largest of them (0.5, 2) certifies one with half of the error allowed up to a sixth sooner, and one
without any a quarter later.
"""

FLAT: Final = 0.05
"""Weight of a uniform part in the same mixture: it keeps the bound of a bad model close, and costs
a good one five verdicts."""

BAD: Final = 5.0
"""Mean of the lower bound's mixture, Beta(1, .), in the same units.

Chosen among 2 to 20: smaller ones find an error of twenty times the one allowed later, larger ones
one of twice as much.
"""

DRIFTS: Final = (2.0, 3.0, 5.0, 10.0, 20.0)
"""The errors that the detector of drift watches for, in the same units, with equal weight. Larger
ones gain nothing: where nine of ten tags are wrong, the last finds it after four verdicts."""

ALARM_RUN: Final = 100_000.0
"""Verdicts until a false alarm of drift, on average at least, at the greatest error allowed.

A tenth of it would find a rise to 5 % after 115 verdicts instead of 175, and stop 17 % of the
retailers with half of the error allowed within 100,000 verdicts, instead of 1 %
(`make simulate-autopilot`).
"""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the audit verdicts say of the error of the accepted products.

    `lower`, `upper`: bounds of the error (0 to 1), each with a confidence of `LEVEL` at every
    number of verdicts at once. `log_drift`: natural logarithm of the detector of drift; from
    log(`ALARM_RUN`) on it is an alarm.
    """

    verdicts: int
    errors: int
    lower: float
    upper: float
    log_drift: float

    @property
    def drifting(self) -> bool:
        return self.log_drift >= math.log(ALARM_RUN)


def weigh(wrong: npt.NDArray[np.bool_], target: float) -> Evidence:
    """The evidence of verdicts.

    Args:
        wrong: (verdicts,) bool, in the order in which they came: whether the accepted tag was
            wrong.
        target: Precision that the accepted tags must have, between 0 and 1.

    Raises:
        ValueError: `target` lies outside.
    """
    verdicts, errors = len(wrong), int(np.count_nonzero(wrong))
    return Evidence(
        verdicts=verdicts,
        errors=errors,
        lower=lower_bound(verdicts, errors, target),
        upper=upper_bound(verdicts, errors, target),
        log_drift=log_drift(wrong, target),
    )


def upper_bound(verdicts: int, errors: int, target: float, *, level: float = LEVEL) -> float:
    """The error (0 to 1) under which the true one lies, at whatever moment one looks.

    The likelihood ratio of a smaller error against p is, where the error is p or more, at each
    verdict expected to stay or to fall; so is the mixture of those of all errors under p, which
    starts at 1 or less. By Ville's inequality it ever reaches 1 / (1 - level) with a probability
    of at most 1 - level (Robbins 1970, "Statistical methods related to the law of the iterated
    logarithm"; Howard et al. 2021, "Time-uniform, nonparametric, nonasymptotic confidence
    sequences"). Above the share of errors seen it grows with p, so what it refutes is everything
    from some p on: that p is the bound.

    For a fixed p, as the target is, it also holds of the average error so far when the error
    changes, because the logarithm of a Bernoulli variable's moment-generating function is concave
    in its mean. `target` shapes the mixture only: the bound holds for every error.

    Raises:
        ValueError: the counts or the target make no sense.
    """
    _check(verdicts, errors, target)
    if errors == verdicts:
        return 1.0
    limit = -math.log(1 - level)
    return last_refuted(
        lambda p: _log_evidence_below(verdicts, errors, p, target) >= limit,
        refuted=1.0,
        tenable=errors / verdicts,
    )


def lower_bound(verdicts: int, errors: int, target: float, *, level: float = LEVEL) -> float:
    """The error (0 to 1) above which the true one lies; the mirror image of `upper_bound`.

    Raises:
        ValueError: the counts or the target make no sense.
    """
    _check(verdicts, errors, target)
    if errors == 0:
        return 0.0
    limit = -math.log(1 - level)
    return last_refuted(
        lambda p: _log_evidence_above(verdicts, errors, p, target) >= limit,
        refuted=0.0,
        tenable=errors / verdicts,
    )


def log_drift(wrong: npt.NDArray[np.bool_], target: float) -> float:
    """Natural logarithm of the evidence that at some moment the error rose over the one allowed.

    The bounds forget slowly: after 10,000 good verdicts it takes hundreds of bad ones to move
    them. This is the mixture of Shiryaev-Roberts e-detectors (Shin, Ramdas & Rinaldo 2024,
    "E-detectors: a nonparametric framework for sequential change detection"): the sum,
    over every moment at which the error may have risen, of the likelihood ratio since then. While
    the error is at most the one allowed, the detector less the number of verdicts is expected to
    stay or to fall. So it first reaches c after c verdicts or more on average, and within the
    first n verdicts with a probability of at most n / c.

    Args:
        wrong: (verdicts,) bool, in the order in which they came.

    Returns:
        -inf where there is no verdict.
    """
    if len(wrong) == 0:
        return -math.inf
    raised = drifts(target)  # (drifts,)
    steps = np.where(wrong[:, np.newaxis], *drift_steps(raised, 1 - target))  # (verdicts, drifts)
    so_far = np.cumsum(steps, axis=0)
    since = so_far[-1] - np.concatenate([np.zeros((1, len(raised))), so_far[:-1]])
    return float(np.logaddexp.reduce(since.ravel()) - math.log(len(raised)))


def drifts(target: float) -> npt.NDArray[np.float64]:
    """The errors that `log_drift` watches for: (drifts,) float64, above 1 - target, below 1."""
    allowed = 1 - target
    return np.unique(np.minimum(allowed * np.array(DRIFTS), (1 + allowed) / 2))


def drift_steps(
    raised: npt.NDArray[np.float64], allowed: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Log likelihood ratios of a wrong and of a right tag, (drifts,) each."""
    return np.log(raised / allowed), np.log((1 - raised) / (1 - allowed))


def verdicts_to_certify(evidence: Evidence, target: float) -> int:
    """How many more verdicts without an error put the upper bound under 1 - target; 0 if it is."""
    limit, allowed = -math.log(1 - LEVEL), 1 - target

    def certifies(more: int) -> bool:
        verdicts = evidence.verdicts + more
        return _log_evidence_below(verdicts, evidence.errors, allowed, target) >= limit

    if certifies(0):
        return 0
    enough = 1
    while not certifies(enough):
        enough *= 2
    short = enough // 2
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if certifies(middle) else (middle, enough)
    return enough


def _log_evidence_below(verdicts: int, errors: int, p: float, target: float) -> float:
    """Log of the mixture, over all errors under p, of their likelihood ratios against p."""
    # Here, because it takes longer to import than most commands take.
    from scipy.special import betainc

    right = verdicts - errors
    found = -math.inf
    for weight, b in ((1 - FLAT, 1 / (GOOD * (1 - target))), (FLAT, 1.0)):
        part = float(betainc(1 + errors, b + right, p))
        found = float(np.logaddexp(found, math.log(weight) + _mixture(errors, right, p, b, part)))
    return found


def _log_evidence_above(verdicts: int, errors: int, p: float, target: float) -> float:
    """The same for the errors over p."""
    from scipy.special import betaincc

    b = 1 / (BAD * (1 - target))
    right = verdicts - errors
    return _mixture(errors, right, p, b, float(betaincc(1 + errors, b + right, p)))


def _mixture(errors: int, right: int, p: float, b: float, part: float) -> float:
    from scipy.special import betaln

    # The part of the prior beyond p is left out, not made up for: the mixture then starts below 1,
    # which costs little, and grows with the distance of p, so that what is refuted is one interval.
    if part <= 0:
        return -math.inf
    likelihood = errors * math.log(p) + right * math.log1p(-p)
    return float(betaln(1 + errors, b + right) - betaln(1, b)) + math.log(part) - likelihood


def last_refuted(is_refuted: Callable[[float], bool], *, refuted: float, tenable: float) -> float:
    """The last p that is refuted on the way to the tenable one: a bound that errs to the outside.

    `is_refuted` is asked strictly between the two.
    """
    for _ in range(50):
        middle = (refuted + tenable) / 2
        if is_refuted(middle):
            refuted = middle
        else:
            tenable = middle
    return refuted


def _check(verdicts: int, errors: int, target: float) -> None:
    if not 0 <= errors <= verdicts:
        raise ValueError(f"of {verdicts} verdicts, the number of errors cannot be {errors!r}")
    if not 0 < target < 1:
        raise ValueError(f"the target precision lies between 0 and 1, got {target!r}")
