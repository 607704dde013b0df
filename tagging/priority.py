"""What a retailer wants decided first: a number that stands in a column of their deliveries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def priority_of(attributes: Mapping[str, Any], column: str | None) -> float | None:
    """The priority of a product, the higher the sooner; None where there is none.

    Args:
        attributes: the further columns as they were delivered.
        column: the one that the retailer's rules name.

    Returns:
        A finite number. None where the product has no such column or something else stands in it:
        it then comes last, and is never left out.
    """
    value = None if column is None else attributes.get(column)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    # Python alone takes 1_000 for a number.
    if isinstance(value, str) and "_" in value:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
