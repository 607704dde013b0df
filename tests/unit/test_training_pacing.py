"""How long a training goes on."""

from __future__ import annotations

import pytest

from model_training.pacing import best_epoch, epochs_within, is_exhausted


def history(*nlls: float) -> list[dict[str, float]]:
    return [{"select_nll": nll} for nll in nlls]


@pytest.mark.parametrize(
    ("budget_s", "epoch_s", "epochs"),
    [(1000, 10, 40), (100, 10, 9), (101, 100, 1), (5, 10, 1), (0, 10, 1)],
)
def test_a_budget_buys_whole_epochs_but_never_none(
    budget_s: float, epoch_s: float, epochs: int
) -> None:
    assert epochs_within(budget_s, epoch_s, most=40) == epochs


@pytest.mark.parametrize(
    ("budget_s", "epochs"),
    [(1000, 40), (400, 26), (210, 7), (95, 3), (0, 1)],  # the first 8 take 25 s, others 10
)
def test_the_first_epochs_may_cost_more(budget_s: float, epochs: int) -> None:
    assert epochs_within(budget_s, 10, most=40, first=8, first_s=25) == epochs


def test_the_best_epoch_is_the_last_of_equals() -> None:
    assert best_epoch(history(0.3, 0.2, 0.2, 0.4)) == 2
    with pytest.raises(ValueError, match="no epoch"):
        best_epoch([])


def test_patience_runs_out() -> None:
    assert not is_exhausted([], 2)
    assert not is_exhausted(history(0.2, 0.3), 2)
    assert is_exhausted(history(0.2, 0.3, 0.25), 2)
    assert not is_exhausted(history(0.2, 0.3, 0.25), 0)
