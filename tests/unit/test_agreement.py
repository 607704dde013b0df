"""Kappas and intervals against published and hand-computed values, and what must hold of them."""

from __future__ import annotations

import numpy as np
import pytest

from tagging.agreement import against_the_rest, cohen, fleiss, wilson

FOURTEEN_RATERS = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ],
    np.int64,
)
"""Ten subjects, 14 raters, five categories: the worked example in Wikipedia's "Fleiss' kappa"."""


def pairs(yes_yes: int, yes_no: int, no_yes: int, no_no: int) -> list[tuple[str, str]]:
    return (
        [("yes", "yes")] * yes_yes
        + [("yes", "no")] * yes_no
        + [("no", "yes")] * no_yes
        + [("no", "no")] * no_no
    )


class TestCohen:
    @pytest.mark.parametrize(
        ("table", "expected"),
        [
            ((20, 5, 10, 15), 0.4),  # worked examples in Wikipedia's "Cohen's kappa"
            ((45, 15, 25, 15), 0.1304),
            ((25, 35, 5, 35), 0.2593),
            ((10, 0, 0, 10), 1.0),
            ((0, 10, 10, 0), -1.0),
        ],
    )
    def test_published_tables(self, table: tuple[int, int, int, int], expected: float) -> None:
        assert cohen(pairs(*table)) == pytest.approx(expected, abs=5e-5)

    def test_three_categories_by_hand(self) -> None:
        # 5 of 6 agree; chance: (2*3 + 2*1 + 2*2) / 36 = 1/3; (5/6 - 1/3) / (2/3) = 3/4.
        said = [("a", "a"), ("a", "a"), ("b", "b"), ("b", "a"), ("c", "c"), ("c", "c")]
        assert cohen(said) == pytest.approx(0.75)
        assert cohen([(right, left) for left, right in said]) == pytest.approx(0.75)

    def test_where_there_is_nothing_to_agree_on(self) -> None:
        assert cohen([]) is None
        assert cohen([("a", "a")] * 40) is None
        assert cohen([("a", "b")] * 40) == 0.0

    def test_no_product_is_a_category_as_any(self) -> None:
        assert cohen([(None, None), ("a", "a"), (None, "a"), ("a", None)]) == pytest.approx(0.0)


class TestFleiss:
    def test_fourteen_raters(self) -> None:
        assert fleiss(FOURTEEN_RATERS) == pytest.approx(0.210, abs=5e-4)

    def test_a_category_by_the_formula_of_fleiss_for_equal_numbers(self) -> None:
        """1 - sum x (m - x) / (n m (m - 1) p q), Fleiss 1971, for the first: p = 20 / 140.

        sum x (14 - x) = 2*12 + 7*7 + 3*11 + 2*12 + 6*8 = 178;
        10 * 14 * 13 * (1/7) * (6/7) = 222.857; 1 - 178 / 222.857 = 0.2013.
        """
        assert fleiss(against_the_rest(FOURTEEN_RATERS, 0)) == pytest.approx(0.2013, abs=5e-5)

    def test_different_numbers_of_raters_by_hand(self) -> None:
        # Agreeing pairs: 1, 1/3, 0, mean 4/9; frequencies 4/7 and 3/7, chance 25/49.
        counts = np.array([[2, 0], [1, 2], [1, 1]], np.int64)
        assert fleiss(counts) == pytest.approx((4 / 9 - 25 / 49) / (1 - 25 / 49))

    def test_where_there_is_nothing_to_agree_on(self) -> None:
        assert fleiss(np.zeros((0, 3), np.int64)) is None
        assert fleiss(np.array([[2, 0], [3, 0]], np.int64)) is None
        with pytest.raises(ValueError, match="one person"):
            fleiss(np.array([[2, 0], [1, 0]], np.int64))


@pytest.mark.parametrize("raters", [2, 3, 5])
@pytest.mark.parametrize("categories", [2, 10])
def test_guessing_is_no_agreement_and_equal_answers_are_all_of_it(
    raters: int, categories: int
) -> None:
    """Four standard errors of kappa of who guesses, sqrt(2 / (n m (m-1) (k-1))), as Fleiss 1971 has
    it for equally frequent categories.
    """
    dice, n = np.random.default_rng(7), 20_000
    said = dice.integers(categories, size=(n, raters))
    counts = np.stack([(said == category).sum(axis=1) for category in range(categories)], axis=1)
    error = np.sqrt(2 / (n * raters * (raters - 1) * (categories - 1)))
    assert fleiss(counts) == pytest.approx(0, abs=4 * error)
    left, right = said[:, 0].tolist(), said[:, 1].tolist()
    assert cohen(list(zip(left, right, strict=True))) == pytest.approx(
        0, abs=4 / np.sqrt(n * (categories - 1))
    )
    assert cohen(list(zip(left, left, strict=True))) == 1
    alike = np.eye(categories, dtype=np.int64)[said[:, 0]] * raters
    assert fleiss(alike) == pytest.approx(1)
    for category in range(categories):
        assert fleiss(against_the_rest(alike, category)) == pytest.approx(1)


class TestWilson:
    @pytest.mark.parametrize(
        ("right", "n", "expected"),
        [
            (81, 263, (0.2553, 0.3662)),  # Newcombe 1998, table I, method 3
            (15, 148, (0.0624, 0.1605)),
            (0, 20, (0.0, 0.1611)),
            (1, 29, (0.0061, 0.1718)),
        ],
    )
    def test_published_intervals(self, right: int, n: int, expected: tuple[float, float]) -> None:
        assert wilson(right, n) == pytest.approx(expected, abs=5e-5)

    def test_its_ends(self) -> None:
        assert wilson(0, 0) == (0.0, 1.0)
        assert wilson(20, 20)[1] == 1.0
        with pytest.raises(ValueError, match="cannot be right"):
            wilson(3, 2)
