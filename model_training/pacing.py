"""How long a training goes on: within a time budget, and no longer than it helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

SPARE: Final = 0.05
"""Part of a time budget that is kept for what a measurement of some steps does not show."""


def epochs_within(
    budget_s: float, epoch_s: float, *, most: int, first: int = 0, first_s: float = 0.0
) -> int:
    """How many epochs of `epoch_s` seconds fit into `budget_s` seconds: at least 1, at most `most`.

    The `first` of them take `first_s` seconds each instead.

    The number is chosen before the first epoch, so that the learning rate comes down to 0 within
    the budget: half of a schedule is worth far less than a whole one of half the length.
    """
    budget_s *= 1 - SPARE
    if first and budget_s < first * first_s:
        return max(1, min(most, int(budget_s / first_s)))
    return max(1, min(most, first + int((budget_s - first * first_s) / epoch_s)))


def best_epoch(history: Sequence[Mapping[str, Any]]) -> int:
    """Index of the epoch with the lowest calibrated negative log-likelihood on the select part; the
    last of equals. Calibrated, because a network that grows too sure is none the worse for it once
    its temperature is set.

    Raises:
        ValueError: there is no epoch.
    """
    if not history:
        raise ValueError("no epoch has been trained yet, so none is the best")
    return min(range(len(history)), key=lambda i: (history[i]["select_nll"], -i))


def is_exhausted(history: Sequence[Mapping[str, Any]], patience: int) -> bool:
    """Whether the best epoch lies `patience` epochs or more back; never with a patience of 0."""
    return bool(patience and history) and len(history) - 1 - best_epoch(history) >= patience
