"""Teach a finished model one shop's photos by a linear adjustment of its answers; numpy only.

The shop's photos are some thousand, not enough to train a network, but enough for its last step. To
the calibrated log-probabilities comes a linear function of them and of the network's features,
whose squares are penalised, so that without evidence the answers stay as they were (Platt 1999 and
Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2, matrix scaling, with
features as well; a linear probe as in Kornblith, Shlens and Le 2019, "Do Better ImageNet Models
Transfer Better?").

Whatever is said of the result comes from cross-fitting: each photo is answered by an adjustment
that was fitted without it and without its near-duplicates. One number, the penalty, is chosen by
the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import logsumexp
from threadpoolctl import threadpool_limits

from model_training.splits import Group
from tagging.errors import TrainingDataError

FOLDS: Final = 5

FEWEST: Final = 200
"""Groups of photos. Fewer say little; to prove a precision of 99 %, it takes some 500 that are
accepted (`thresholds.pooled_acceptance_spec`).
"""

LEAST_SPREAD: Final = 0.05
"""Of a feature, as a share of the median one's: what hardly ever fires here would weigh without
limit where it does.
"""

PENALTIES: Final = (3.0, 10.0, 30.0, 100.0, 300.0)
"""Tried by cross-fitting, the one with the least negative log-likelihood is taken."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Adjustment:
    """`log_probs + inputs @ kernel + bias` are the new logits.

    Attributes:
        kernel: float64 (inputs, categories).
        bias: float64 (categories,).
    """

    kernel: Floats
    bias: Floats

    def apply(self, log_probs: Floats, inputs: Floats) -> Floats:
        """float64 (n, categories) from the same and float64 (n, inputs)."""
        adjusted: Floats = log_probs + inputs @ self.kernel + self.bias
        return adjusted


@dataclass(frozen=True, kw_only=True)
class CrossFitted:
    """What was found.

    Attributes:
        adjustment: fitted to all photos.
        logits: float64 (n, categories), of each photo by the one that did not know it.
        penalty: the chosen one.
        tried: penalty -> mean negative log-likelihood, cross-fitted.
    """

    adjustment: Adjustment
    logits: Floats
    penalty: float
    tried: dict[float, float]


def fit(
    log_probs: Floats, inputs: Floats, labels: npt.NDArray[np.int64], *, penalty: float
) -> Adjustment:
    """The least penalised negative log-likelihood, by L-BFGS; it is convex, so there is one.

    Args:
        log_probs: (n, categories), the model's own answers.
        inputs: (n, inputs), any scale; the penalty is for inputs of mean 0 and deviation 1.
        labels: (n,), what people said.
        penalty: times half the sum of squares of the kernel, beside the sum over the photos.
    """
    categories = log_probs.shape[1]
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0)
    scale = np.maximum(spread, LEAST_SPREAD * float(np.median(spread)) + 1e-9)
    z = np.c_[(inputs - mean) / scale, np.ones(len(inputs))]  # the bias is the last row
    weight = np.full((z.shape[1], 1), penalty)
    weight[-1] = 1.0  # all but free, yet finite for a category that nobody has
    aim = np.zeros_like(log_probs)
    aim[np.arange(len(labels)), labels] = 1

    def loss(flat: Floats) -> tuple[float, Floats]:
        w = flat.reshape(-1, categories)
        logits = log_probs + z @ w
        norm = logsumexp(logits, axis=1, keepdims=True)
        value = float(norm.sum() - (logits * aim).sum() + 0.5 * (weight * w * w).sum())
        slope: Floats = z.T @ (np.exp(logits - norm) - aim) + weight * w
        return value, slope.ravel()

    start = np.zeros(z.shape[1] * categories)
    # The products are small: on a busy machine several threads wait for each other far longer than
    # they work (seen: ten minutes instead of one).
    with threadpool_limits(limits=1, user_api="blas"):
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    w = found.x.reshape(-1, categories)
    kernel = w[:-1] / scale[:, None]
    return Adjustment(kernel=kernel, bias=w[-1] - mean @ kernel)


def cross_fit(
    log_probs: Floats, inputs: Floats, labels: npt.NDArray[np.int64], groups: Sequence[Group]
) -> CrossFitted:
    """Choose the penalty and fit; see the module's text.

    Args:
        log_probs: (n, categories), the model's own answers.
        inputs: (n, inputs).
        labels: (n,), indices of categories.
        groups: what must not be torn apart, together all n.

    Raises:
        TrainingDataError: fewer than `FEWEST` groups, or all of one category.
    """
    if len(groups) < FEWEST or len(np.unique(labels)) < 2:
        raise TrainingDataError(
            f"got {len(labels)} photos of {len(groups)} products and {len(np.unique(labels))} "
            f"categories; at least {FEWEST} products of two or more categories are needed to "
            "adapt a model and to say how often it errs. Label more."
        )
    fold = folds_of(groups, len(labels))
    answers = {penalty: _crossed(log_probs, inputs, labels, fold, penalty) for penalty in PENALTIES}
    tried = {penalty: _nll(logits, labels) for penalty, logits in answers.items()}
    penalty = min(tried, key=tried.__getitem__)
    return CrossFitted(
        adjustment=fit(log_probs, inputs, labels, penalty=penalty),
        logits=answers[penalty],
        penalty=penalty,
        tried=tried,
    )


def folds_of(groups: Sequence[Group], n: int) -> npt.NDArray[np.int64]:
    """int64 (n,), 0 to `FOLDS` - 1: groups are dealt round in the order of their key."""
    fold = np.zeros(n, np.int64)
    for place, group in enumerate(sorted(groups, key=lambda group: group.key)):
        fold[list(group.members)] = place % FOLDS
    return fold


def _crossed(
    log_probs: Floats,
    inputs: Floats,
    labels: npt.NDArray[np.int64],
    fold: npt.NDArray[np.int64],
    penalty: float,
) -> Floats:
    logits = np.zeros_like(log_probs)
    for number in range(FOLDS):
        out = fold == number
        found = fit(log_probs[~out], inputs[~out], labels[~out], penalty=penalty)
        logits[out] = found.apply(log_probs[out], inputs[out])
    return logits


def _nll(logits: Floats, labels: npt.NDArray[np.int64]) -> float:
    own = logits[np.arange(len(labels)), labels]
    return float((logsumexp(logits, axis=1) - own).mean())
