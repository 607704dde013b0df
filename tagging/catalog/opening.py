"""`open_delivery`: finds out what kind of delivery was handed over."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO, Final

from tagging.catalog.archive import open_archive
from tagging.catalog.delivery import (
    ACCEPTED,
    DEFAULT_LIMITS,
    Delivery,
    DeliveryLimits,
    DeliveryRowError,
    failure_of,
    several_manifests,
    shown,
)
from tagging.catalog.folder import FolderDelivery, manifests_at_top, single_image
from tagging.catalog.manifest import manifest_from_stdin, open_manifest
from tagging.catalog.naming import MANIFEST_ENDINGS, ending, is_image_name
from tagging.catalog.paths import open_plain
from tagging.catalog.web_images import ImageFetcher
from tagging.domain import FailureCode
from tagging.errors import DeliveryError

ZIP_MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06")
"""How a zip begins: with its first entry or, if it has none, with the end of its directory."""


def open_delivery(
    source: str | Path,
    *,
    stdin: BinaryIO | None = None,
    limits: DeliveryLimits = DEFAULT_LIMITS,
    manifest_in_folder: bool = False,
    fetcher: ImageFetcher | None = None,
    follow_link: bool = True,
) -> Delivery:
    """Open what `source` names: see `ACCEPTED`.

    Args:
        source: A path, or `-`.
        stdin: The stream that `-` stands for; its image paths are relative to the current folder.
        limits: How much the delivery may ask of this machine.
        manifest_in_folder: Read a folder that holds exactly one manifest at its top as that
            manifest (a drop folder is delivered this way).
        fetcher: Gets the images that a manifest names by web addresses; None: such rows are
            rejected.
        follow_link: Whether `source` itself may be a link: yes for who names it, no where somebody
            else put it there.

    Raises:
        DeliveryError: The delivery as a whole cannot be read; the text says what to do.
    """
    if str(source) == "-":
        if stdin is None:
            raise DeliveryError("'-' is standard input, but none was handed over; name a file")
        return manifest_from_stdin(stdin, limits=limits, fetcher=fetcher)
    path = Path(source)
    mode = _mode_of(source, path, follow_link=follow_link)
    if stat.S_ISLNK(mode):
        raise DeliveryError(
            f"'{shown(str(source))}' is a link and is not followed; put the file or folder itself "
            "there",
            code=FailureCode.REFUSED_PATH,
        )
    if stat.S_ISDIR(mode):
        manifests = manifests_at_top(path) if manifest_in_folder else []
        if len(manifests) == 1:
            return open_manifest(
                path / manifests[0], limits=limits, follow_link=False, fetcher=fetcher
            )
        folder = FolderDelivery(path)
        if manifests:
            folder.warnings.append(several_manifests(manifests))
        return folder
    if not stat.S_ISREG(mode):
        raise DeliveryError(
            f"'{shown(str(source))}' is neither a file nor a folder; {_accepted()}",
            code=FailureCode.CANNOT_OPEN,
        )
    magic = _first_bytes(path, follow_link=follow_link)
    refusal = _foreign_format(path.name, magic)
    if refusal is not None:
        raise DeliveryError(f"'{shown(str(source))}' {refusal}")
    if magic.startswith(ZIP_MAGICS):
        return open_archive(path, limits=limits, follow_link=follow_link, fetcher=fetcher)
    if ending(path.name) in MANIFEST_ENDINGS:
        return open_manifest(path, limits=limits, follow_link=follow_link, fetcher=fetcher)
    if is_image_name(path.name):
        return single_image(path, follow_link=follow_link)
    raise DeliveryError(f"'{shown(str(source))}' is nothing that can be ingested; {_accepted()}")


_SPREADSHEETS: Final = frozenset({"xlsx", "xlsm", "xlsb", "xls", "ods", "numbers"})
_OTHER_ARCHIVES: Final = {
    b"\x1f\x8b": "gzip",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}


def _accepted() -> str:
    return f"give {ACCEPTED}"


def _mode_of(source: str | Path, path: Path, *, follow_link: bool) -> int:
    text = str(source)
    if not text.strip():
        raise DeliveryError(f"the source is empty; {_accepted()}")
    if "://" in text and not path.exists():
        raise DeliveryError(f"'{shown(text)}' is an address; download it first, then {_accepted()}")
    try:
        return path.stat(follow_symlinks=follow_link).st_mode
    except FileNotFoundError:
        raise DeliveryError(
            f"there is no '{shown(text)}'; {_accepted()}", code=FailureCode.MISSING
        ) from None
    except (OSError, ValueError) as error:  # a NUL in it is a ValueError
        raise DeliveryError(
            f"'{shown(text)}' cannot be read ({error}); {_accepted()}",
            code=FailureCode.CANNOT_OPEN,
        ) from error


def _first_bytes(path: Path, *, follow_link: bool) -> bytes:
    try:
        with open_plain(path, follow_link=follow_link) as file:
            return file.read(8)
    except DeliveryRowError as error:
        raise DeliveryError(str(error), code=error.code) from error
    except OSError as error:
        raise DeliveryError(
            f"'{shown(str(path))}' cannot be read ({error.strerror}); check its permissions",
            code=failure_of(error),
        ) from error


def _foreign_format(name: str, magic: bytes) -> str | None:
    """Why a well-known format is not read and what to do, or None."""
    last = ending(name)
    if last in _SPREADSHEETS:
        return "is a spreadsheet; save it as CSV (UTF-8) and give that file"
    if last == "json":
        return "is JSON; write one object per line and call it .jsonl"
    for signature, what in _OTHER_ARCHIVES.items():
        if magic.startswith(signature):
            return f"is a {what} archive, which is not read; unpack it, or pack it as .zip"
    if last == "zip" and not magic.startswith(ZIP_MAGICS):
        return "is called .zip but is none; pack it again, or give the unpacked folder"
    return None
