"""Make the confidence a probability: one temperature for all logits, found on the select split.

Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks", section 4.2. The
temperature divides the logits and so changes no answer, only how sure it sounds.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from model_training.measures import negative_log_likelihood
from tagging.errors import TrainingDataError

COLDEST: Final = 0.05
HOTTEST: Final = 20.0
"""The bounds of the search. A network that needs more has learnt nothing that can be calibrated."""


def find_temperature(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> float:
    """The temperature with the least negative log-likelihood, between 0.05 and 20.

    Args:
        logits: (n, categories), raw, of images that the network was not trained on.
        labels: int64 (n,).

    Raises:
        TrainingDataError: there are no images, or the logits are not all finite numbers.
    """
    if not len(labels) or not np.isfinite(logits).all():
        raise TrainingDataError(
            f"cannot calibrate on {len(labels)} images whose logits are "
            f"{'finite' if np.isfinite(logits).all() else 'not all finite numbers'}. Train again "
            "with a lower learning rate, or with float32 instead of bfloat16."
        )
    # In log T the likelihood has one minimum, and hot and cold weigh the same.
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits, labels, math.exp(log_t)),
        bounds=(math.log(COLDEST), math.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return math.exp(float(found.x))
