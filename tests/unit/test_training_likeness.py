"""What is kept of what a network sees: small, comparable, the same everywhere."""

from __future__ import annotations

import hashlib

import numpy as np

from model_training.likeness import DIMENSIONS, compact, sign_projection


def test_the_signs_are_the_same_on_every_machine() -> None:
    signs = sign_projection(96)
    assert signs.shape == (96, DIMENSIONS)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.05
    # What workers of other versions kept must stay comparable.
    digest = hashlib.sha256((signs > 0).tobytes()).hexdigest()
    assert digest == "383d2128d50d49c30c34b6caa47d61b522fa8865549d999c0fc2c8b9cca2c91a"


def test_angles_are_nearly_kept() -> None:
    rng = np.random.default_rng(1)
    kinds = rng.normal(size=(4, 200))
    seen = (np.repeat(kinds, 25, axis=0) + 0.3 * rng.normal(size=(100, 200))).astype(np.float32)
    kept = compact(seen, sign_projection(200)).astype(np.float64)

    def cosines(rows: np.ndarray) -> np.ndarray:
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(unit @ unit.T)

    assert np.abs(cosines(kept) - cosines(seen.astype(np.float64))).max() < 0.5
    nearest = np.argsort(-cosines(kept), axis=1)[:, :25]
    assert (nearest // 25 == np.arange(100)[:, np.newaxis] // 25).mean() > 0.99


def test_what_overflowed_is_like_nothing() -> None:
    seen = np.array([[1.0, 2.0, 3.0], [np.inf, 0.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    kept = compact(seen, sign_projection(3))
    assert kept.dtype == np.int8
    assert np.abs(kept[0]).max() == 127
    assert not kept[1:].any()
