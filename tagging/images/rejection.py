"""Why a picture was refused: the exception of this package, and the bounds that it speaks of."""

from __future__ import annotations

from dataclasses import dataclass

from tagging.domain import FailureCode
from tagging.errors import AtelierError


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """What one picture may cost. No bound on frames is needed: only the first is ever decoded.

    `max_bytes`: of the file. `max_pixels`: width x height, read from the header before any pixel
    is decoded. `max_seconds`: of processor time. `max_memory_bytes`: address space on top of what
    the idle decoder has (enforced on Linux; macOS has no such limit).
    """

    max_bytes: int = 50 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_seconds: float = 5.0
    max_memory_bytes: int = 512 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "max_seconds", "max_memory_bytes"):
            value = getattr(self, name)
            if value <= 0:
                raise ValueError(f"ImageLimits.{name} must be above 0, got {value!r}")


class ImageRejected(AtelierError):
    """A picture that cannot be used; `code` for the row, `detail` (one sentence) for a person."""

    def __init__(self, code: FailureCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class ImageTooLarge(ImageRejected):
    """The file has more bytes than allowed."""

    def __init__(self, max_bytes: int, found: str) -> None:
        super().__init__(
            FailureCode.TOO_LARGE,
            f"The file has {found}, more than the {max_bytes:,} bytes allowed; "
            "deliver a smaller file or raise ATELIER_IMAGE_MAX_BYTES.",
        )
