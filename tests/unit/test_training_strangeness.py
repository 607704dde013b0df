"""Strange features score high, familiar ones low, and a file holds exactly what is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from model_training.strangeness import Strangeness, fit
from tagging.errors import BundleError

CENTRES = np.array([[4.0, 0, 0, 0, 0], [0, 4.0, 0, 0, 0], [0, 0, 4.0, 0, 0]])


def sample(n: int, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Three categories in five directions, the last of which hardly varies."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    noise = rng.normal(size=(n, 5)) * [1, 1, 1, 1, 0.05]
    return CENTRES[labels] + noise, labels


@pytest.fixture(scope="module")
def fitted() -> Strangeness:
    return fit(*sample(5000, seed=0))


def test_the_score_is_the_relative_mahalanobis_distance(fitted: Strangeness) -> None:
    """Against the formula of the paper, computed with inverse covariances."""
    features, labels = sample(5000, seed=0)
    means = np.stack([features[labels == c].mean(axis=0) for c in range(3)])

    def inverse(centred: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        covariance = centred.T @ centred / len(centred)
        return np.linalg.inv(covariance + 1e-3 * np.trace(covariance) / 5 * np.eye(5))

    within, overall = inverse(features - means[labels]), inverse(features - features.mean(axis=0))
    one = np.array([1.0, -2.0, 3.0, 0.5, 0.3])
    near = min(float((one - m) @ within @ (one - m)) for m in means)
    away = one - features.mean(axis=0)
    assert fitted.score(one[np.newaxis])[0] == pytest.approx(near - float(away @ overall @ away))


def test_the_foreign_scores_above_nearly_all_of_the_familiar(fitted: Strangeness) -> None:
    familiar = fitted.score(sample(2000, seed=1)[0])
    foreign = np.tile([-4.0, -4.0, -4.0, 0, 0], (100, 1))
    between = CENTRES.mean(axis=0, keepdims=True)
    threshold = np.quantile(familiar, 0.99)
    assert (fitted.score(foreign) > threshold).all()
    assert fitted.score(between) > np.median(familiar)


def test_what_is_saved_is_what_is_loaded(fitted: Strangeness, tmp_path: Path) -> None:
    fitted.save(tmp_path / "s.npz")
    loaded = Strangeness.load(tmp_path / "s.npz")
    features, _ = sample(50, seed=2)
    assert loaded.score(features) == pytest.approx(fitted.score(features))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no arrays")
    np.savez(tmp_path / "few.npz", within=np.eye(2))
    np.savez(tmp_path / "pickled.npz", within=np.array([{}], dtype=object))
    np.savez(
        tmp_path / "shapes.npz",
        within=np.eye(3),
        overall=np.eye(3),
        centres=np.ones((2, 3)),
        middle=np.ones(2),
    )
    for name in ("text", "few", "pickled", "shapes", "missing"):
        with pytest.raises(BundleError):
            Strangeness.load(tmp_path / f"{name}.npz")
