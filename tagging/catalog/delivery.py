"""What a delivery is; `tagging.catalog.opening` finds out of which kind one is.

    with open_delivery("shop/products.csv") as delivery:
        for row in delivery.rows():
            ...

A delivery is read as a stream of rows: memory does not grow with the number of products. Each row
is a product that can be taken in, something that was refused with a reason, or a file that is no
picture. What a picture's bytes are worth is decided by whoever opens them, not here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Final, Literal, Protocol, Self

from tagging.catalog.redaction import address_without_secrets, without_secrets
from tagging.domain import FailureCode
from tagging.errors import AtelierError
from tagging.printable import printable

SHOWN_CHARS: Final = 200
"""How much of what was received is repeated in a report."""

ACCEPTED: Final = (
    "a folder of images, a manifest (.csv, .tsv, .txt, .jsonl, .ndjson), a .zip of either, one "
    "image file, or - for JSON lines on standard input"
)

Kind = Literal["folder", "manifest", "archive", "stdin"]


class DeliveryRowError(AtelierError):
    """One row, or the bytes of one of its images, cannot be used; its neighbours go on.

    Raised while a path is resolved and by `open` and `read` of an `ImageSource`. Whoever catches
    it turns it into a rejected row of the same `code`.
    """

    def __init__(self, said: str, *, code: FailureCode) -> None:
        super().__init__(said)
        self.code = code


def failure_of(error: DeliveryRowError | OSError) -> FailureCode:
    """The code of a row that cannot be taken in because of `error`."""
    if isinstance(error, DeliveryRowError):
        return error.code
    return FailureCode.MISSING if isinstance(error, FileNotFoundError) else FailureCode.CANNOT_OPEN


def shown(text: str) -> str:
    """`text` printable and no longer than `SHOWN_CHARS` characters; of a web address no secret."""
    clear = printable(address_without_secrets(text)[: SHOWN_CHARS + 1])
    return clear if len(clear) <= SHOWN_CHARS else clear[: SHOWN_CHARS - 1] + "…"


class ImageSource(Protocol):
    """The bytes of one delivered image, not yet looked at."""

    @property
    def name(self) -> str:
        """What the image is called in the delivery."""

    def identity(self, stream: BinaryIO, /) -> Hashable | None:
        """What no other bytes of this delivery have, told without reading `stream`, which `open`
        gave; None where that cannot be told."""

    def open(self) -> BinaryIO:
        """A stream of the bytes, which the caller closes.

        Raises:
            OSError: The file cannot be read any more.
            DeliveryRowError: It is not what was announced. Reading may raise it too.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveredRow:
    """One product as delivered, with at least one image. Several rows may name one `sku`.

    `line`: where it stands: the physical line of a manifest on which the row begins (the header is
    line 1); in a folder or an archive of images, the ordinal among images and rejected rows.
    """

    line: int
    sku: str
    images: tuple[ImageSource, ...]
    title: str | None
    attributes: Mapping[str, str]

    @property
    def chars(self) -> int:
        """How many characters its texts have."""
        texts = (*self.attributes.keys(), *self.attributes.values(), self.title or "")
        return sum(map(len, texts)) + sum(len(image.name) for image in self.images)


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectedRow:
    """Something delivered that no product can be made of.

    `code`: why. `value`: what was received, made printable and shortened to 200 characters.
    `error`: what is wrong and what to do about it. `sku`: where it could be read. Both texts are
    rid of what may be secret in a web address.
    """

    line: int
    code: FailureCode
    value: str
    error: str
    sku: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", shown(without_secrets(self.value)))
        object.__setattr__(self, "error", without_secrets(self.error))


@dataclass(frozen=True, kw_only=True, slots=True)
class SkippedFile:
    """A file among the images that is not called like one. It is listed and is no error."""

    name: str
    code: FailureCode
    why: str


Row = DeliveredRow | RejectedRow | SkippedFile


@dataclass(frozen=True, kw_only=True)
class DeliveryLimits:
    """How much one delivery may ask of this machine."""

    max_entries: int = 1_000_000
    """Entries in an archive, folders included."""
    max_total_bytes: int = 200 * 1000**3
    """Bytes of all entries of an archive, unpacked, as its directory declares them."""
    max_ratio: int = 1000
    """How many times larger than packed an entry may be, if it is above `ratio_free_bytes`."""
    ratio_free_bytes: int = 1_000_000
    """Entries up to this size, unpacked, may have any ratio."""
    max_total_ratio: int = 100
    """How many times larger than the archive all entries may be, unpacked and together, if that is
    above `total_ratio_free_bytes`. Photos are packed as they come: one archive, one time."""
    total_ratio_free_bytes: int = 2 * 1000**3
    max_manifest_bytes: int = 10 * 1000**3
    """Bytes of a manifest: several times those of the largest catalogue."""
    max_manifest_ratio: int = 100
    """How many times larger than packed a manifest in an archive may be, if it is above
    `manifest_ratio_free_bytes`. Text packs well; a gigabyte of line ends packs a thousand times,
    and takes an hour to read."""
    manifest_ratio_free_bytes: int = 10_000_000
    max_cell_chars: int = 100_000
    """Characters in one cell of a manifest, or in one value of a JSON line; three times what a
    spreadsheet's cell holds."""
    max_row_chars: int = 200_000
    """Characters in one row of a manifest. A page of a thousand products must fit into memory."""
    max_columns: int = 1000
    """Columns of a manifest."""
    max_images_per_row: int = 200
    """Images that one row may name."""
    max_lines: int = 2**31 - 1
    """Lines of a manifest, blank ones included: what the ledger counts to."""


DEFAULT_LIMITS: Final = DeliveryLimits()


class Delivery(ABC):
    """A delivery that could be opened. Use it in a `with` block.

    `kind` and `name` say what was handed over; `warnings` grows while it is opened and read.
    """

    def __init__(self, *, kind: Kind, name: str) -> None:
        self.kind: Kind = kind
        self.name = name
        self.warnings: list[str] = []
        self._open_files = ExitStack()

    def close_with(self, resources: ExitStack) -> None:
        """Close `resources` when this delivery is closed."""
        self._open_files.push(resources)

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """Everything that was delivered, in a fixed order.

        Raises:
            DeliveryError: The delivery stopped being readable halfway (a disk, a changed file).
        """

    @abstractmethod
    def estimated_rows(self) -> int | None:
        """About how many rows there are, for a progress bar; None where counting costs too much."""

    def close(self) -> None:
        """Let go of open files. Images of an archive can't be opened afterwards."""
        self._open_files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def several_manifests(names: list[str]) -> str:
    """The warning of a delivery in which it is not clear which manifest counts."""
    listed = ", ".join(f"'{shown(name)}'" for name in names[:5])
    return (
        f"there are {len(names)} manifests ({listed}), so none was read and products are named "
        "after their image files; to use a manifest, leave exactly one"
    )
