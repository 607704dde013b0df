"""Whether an error has the code that it should have, for `pytest.raises(..., check=coded(...))`."""

from __future__ import annotations

from collections.abc import Callable

from tagging.catalog.delivery import DeliveryRowError
from tagging.domain import FailureCode
from tagging.errors import DeliveryError
from tagging.images.rejection import ImageRejected


def coded(*codes: FailureCode) -> Callable[[BaseException], bool]:
    """Whether an error has one of `codes`."""

    def check(error: BaseException) -> bool:
        assert isinstance(error, DeliveryError | DeliveryRowError | ImageRejected)
        return error.code in codes

    return check
