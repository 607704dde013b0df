"""Which products look alike to the model."""

from __future__ import annotations

import numpy as np
import pytest

from tagging.likeness import directions, laid_out, most_alike


def kept(*numbers: int) -> bytes:
    return np.array(numbers, np.int8).tobytes()


FEATURES = {1: kept(100, 1), 2: kept(1, 100), 3: kept(90, 5), 4: kept(4, 120), 5: kept(70, 2)}


def test_like_is_found_by_like() -> None:
    seen = directions(FEATURES, [1, 2, 3, 4, 5])
    assert sorted(most_alike(seen, 0, 3)) == [0, 2, 4]
    assert sorted(most_alike(seen, 1, 2)) == [1, 3]
    assert most_alike(seen, 3, 99)[0] == 3
    assert sorted(most_alike(seen, 3, 99)) == [0, 1, 2, 3, 4]


def test_length_says_nothing_and_what_all_share_neither() -> None:
    loud = {1: kept(120, 10, 10), 2: kept(12, 1, 1), 3: kept(100, 10, 40)}
    seen = directions(loud, [1, 2, 3])
    assert seen[0] @ seen[1] > 0.95
    assert seen[0] @ seen[2] < 0


@pytest.mark.parametrize("features", [{}, {1: kept(3, 4)}, {1: b"", 2: kept(0, 0)}])
def test_what_is_not_known_is_like_nothing(features: dict[int, bytes]) -> None:
    seen = directions(features, [1, 2, 3])
    assert not np.isnan(seen).any()
    assert not (seen @ seen.T).any()
    assert most_alike(seen, 1, 2) == [1, 0]
    assert sorted(laid_out(seen)) == [0, 1, 2]


def test_all_stand_once_like_by_like() -> None:
    seen = directions(FEATURES, [1, 2, 3, 4, 5])
    order = laid_out(seen)
    assert sorted(order) == [0, 1, 2, 3, 4]
    groups = ["rest" if row in (1, 3) else "most" for row in order]
    assert groups == ["most"] * 3 + ["rest"] * 2
    assert laid_out(seen[:0]) == []
