"""How far people agree beyond chance: kappas and an interval, from what they said. Pure.

A kappa is (observed - expected) / (1 - expected): 1 where all agree, 0 where they agree as often as
people would who said each category as often as they do, but of products taken at random.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

LEAST: Final = 30
"""From so many on a kappa is stated.

With ten equally frequent categories and four of five said alike, its standard error is then 0.08
(Cohen 1960: sqrt(observed (1 - observed) / n) / (1 - expected)).
"""

Z_95: Final = 1.959964
"""Two-sided 95 % quantile of the normal distribution."""


def cohen(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa of two raters (Cohen 1960, "A coefficient of agreement for nominal scales").

    Args:
        pairs: what one and what the other said, per product.

    Returns:
        At most 1. None where there is nothing to compare, or where both said one and the same
        category of everything: chance explains all of it then.
    """
    if not pairs:
        return None
    n = len(pairs)
    one, other = Counter(left for left, _ in pairs), Counter(right for _, right in pairs)
    # In whole numbers, so that equality with chance is no matter of rounding.
    agreed = sum(left == right for left, right in pairs)
    expected = sum(count * other[label] for label, count in one.items())
    if expected == n * n:
        return None
    return (agreed * n - expected) / (n * n - expected)


def fleiss(counts: npt.NDArray[np.int64]) -> float | None:
    """Fleiss' kappa of any number of raters, who need not be the same for each product.

    Fleiss 1971, "Measuring nominal scale agreement among many raters", where each product has as
    many ratings. Where they have different numbers, the observed agreement is the mean over the
    products of the share of their pairs of ratings that agree, and a category's frequency the one
    among all ratings.

    Args:
        counts: (products, categories) int64, how many raters said what; two or more per product.

    Returns:
        At most 1. None where there is no product, or all ratings are of one category.

    Raises:
        ValueError: a product has fewer than two ratings.
    """
    if len(counts) == 0:
        return None
    ratings = counts.sum(axis=1)  # (products,)
    if (ratings < 2).any():
        raise ValueError("a product that one person rated says nothing of agreement")
    if np.count_nonzero(counts.sum(axis=0)) < 2:
        return None
    agreeing = (counts * (counts - 1)).sum(axis=1) / (ratings * (ratings - 1))  # (products,)
    frequencies = counts.sum(axis=0) / ratings.sum()  # (categories,)
    expected = float((frequencies**2).sum())
    return (float(agreeing.mean()) - expected) / (1 - expected)


def against_the_rest(counts: npt.NDArray[np.int64], category: int) -> npt.NDArray[np.int64]:
    """(products, 2): how many said this category, and how many another."""
    said = counts[:, category]
    return np.stack([said, counts.sum(axis=1) - said], axis=1)


def wilson(right: int, n: int, *, z: float = Z_95) -> tuple[float, float]:
    """The interval of a share of which `right` of `n` were seen, 0 to 1 each.

    The score interval of Wilson 1927, "Probable inference, the law of succession, and statistical
    inference"; with no trial nothing is known.

    Raises:
        ValueError: the counts make no sense.
    """
    if not 0 <= right <= n:
        raise ValueError(f"of {n} answers, {right} cannot be right")
    if n == 0:
        return 0.0, 1.0
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
