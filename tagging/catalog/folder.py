"""A folder of images: every file that is called like an image is one product.

Folders are listed one at a time and sorted, so that memory grows with the largest folder and not
with the delivery, and the same folder always gives the same rows in the same order.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tagging.catalog.delivery import (
    DeliveredRow,
    Delivery,
    DeliveryRowError,
    ImageSource,
    RejectedRow,
    Row,
    SkippedFile,
    failure_of,
    shown,
)
from tagging.catalog.naming import (
    is_found_manifest,
    is_noise,
    is_product_name,
    is_utf8,
    nfc,
    product_names,
    skip_reason,
    sku_problem,
)
from tagging.catalog.paths import FileImage, inside, scan_inside, without_links
from tagging.domain import FailureCode
from tagging.errors import DeliveryError
from tagging.printable import printable

MAX_PATH_BYTES: Final = 4096
"""Of a whole path, on Linux; what lies deeper cannot be named in one piece."""
MAX_COUNTED: Final = 100_000
"""Entries looked at for the estimate of a progress bar; a larger folder has no estimate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """One name in a folder.

    `path`: relative to the delivered folder, as the system spells it. `product`: the sku of an
    image, or how the skus in a folder begin; None if the name is no UTF-8 or a twin has taken it.
    """

    name: str
    path: str
    product: str | None
    is_folder: bool
    is_file: bool
    is_link: bool


class FolderDelivery(Delivery):
    """A folder. The sku of an image is its path in the folder, in NFC, without its ending.

    Files that would share a sku keep their endings (see `product_names`). Links to files that stay
    inside are followed; links to folders never, so that there are no loops.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(without_links(root))
        super().__init__(kind="folder", name=printable(self._root.name or str(self._root)))
        try:
            os.scandir(self._root).close()
        except OSError as error:
            raise _unlistable(root, error) from error

    def rows(self) -> Iterator[Row]:
        line = 0
        try:
            levels = [iter(self._listing("", ""))]
        except OSError as error:
            raise _unlistable(self._root, error) from error
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop()
                continue
            row: Row
            if len(os.fsencode(self._root / entry.path)) >= MAX_PATH_BYTES:
                row = _reject(
                    entry,
                    line + 1,
                    FailureCode.CANNOT_OPEN,
                    f"its path has {MAX_PATH_BYTES} bytes or more; move it further up",
                )
            elif entry.is_folder and entry.product is not None:
                try:
                    levels.append(iter(self._listing(entry.path, entry.product)))
                    continue
                except OSError as error:
                    row = _reject(
                        entry,
                        line + 1,
                        failure_of(error),
                        f"the folder cannot be listed ({error.strerror}), so nothing in it was "
                        "read; check its permissions and deliver it again",
                    )
                except DeliveryRowError as error:
                    row = RejectedRow(
                        line=line + 1, code=error.code, value=entry.path, error=str(error)
                    )
            else:
                row = self._row(entry, line + 1)
            if not isinstance(row, SkippedFile):
                line += 1
            yield row

    def estimated_rows(self) -> int | None:
        images = seen = 0
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with scan_inside(str(self._root), folder) as entries:
                    for entry in entries:
                        seen += 1
                        if seen > MAX_COUNTED:
                            return None
                        if is_noise(entry.name):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(f"{folder}/{entry.name}" if folder else entry.name)
                        elif is_product_name(entry.name):
                            images += 1
            except (OSError, DeliveryRowError):
                continue  # Reported when the rows are read; an estimate may miss it.
        return images

    def _listing(self, folder: str, product: str) -> list[_Entry]:
        """What `folder` (relative) holds, noise left out, sorted by name.

        Raises:
            OSError: It cannot be listed.
            DeliveryRowError: It became a link meanwhile.
        """
        with scan_inside(str(self._root), folder) as entries:
            kinds = {entry.name: _kind(entry) for entry in entries if not is_noise(entry.name)}
        names = sorted(filter(is_utf8, kinds), key=lambda name: (nfc(name), name))
        broken = sorted(kinds.keys() - set(names))
        parts = product_names(n for n in names if is_product_name(n) and not kinds[n][0])
        seen: set[str] = set()
        for name in names:
            if kinds[name][0]:
                parts[name] = None if nfc(name) in seen else nfc(name)
                seen.add(nfc(name))
        above = f"{product}/" if product else ""
        return [
            _Entry(
                name=name,
                path=f"{folder}/{name}" if folder else name,
                product=None if (part := parts.get(name)) is None else above + part,
                is_folder=kinds[name][0],
                is_file=kinds[name][1],
                is_link=kinds[name][2],
            )
            for name in (*names, *broken)
        ]

    def _within(self, path: str) -> str | None:
        """The relative path of what a link leads to; None for what lies outside or cannot be
        followed to its end."""
        try:
            real = os.path.realpath(self._root / path)
        except OSError:  # such as a link into a folder that is closed to us
            return None
        return inside(os.path.realpath(self._root), real)

    def _row(self, entry: _Entry, line: int) -> Row:
        """What to say of an entry that is not descended into."""
        named_image = is_product_name(entry.name)
        if not is_utf8(entry.name):
            if not (named_image or entry.is_folder):
                return _skip(
                    entry,
                    FailureCode.NOT_AN_IMAGE,
                    "its name is not valid UTF-8, and it is not called an image",
                )
            return _reject(
                entry,
                line,
                FailureCode.BAD_SKU,
                "its name is not valid UTF-8; rename it in plain letters",
            )
        if entry.is_folder:
            return _reject(entry, line, FailureCode.BAD_SKU, f"{_TWIN}; nothing in it was read")
        relative, is_file = entry.path, entry.is_file
        if entry.is_link:
            within = self._within(entry.path)
            if within is None:
                return _reject(
                    entry,
                    line,
                    FailureCode.REFUSED_PATH,
                    "it is a link that leaves the folder; put the file itself there",
                )
            kind = _kind_at(self._root / within)
            if stat.S_ISDIR(kind):
                return _skip(
                    entry,
                    FailureCode.REFUSED_PATH,
                    "a link to a folder inside this delivery is not followed",
                )
            relative, is_file = within, stat.S_ISREG(kind)
        if not named_image:
            return _skip(entry, *skip_reason(printable(entry.path)))
        if not is_file and entry.is_link:
            return _reject(
                entry,
                line,
                FailureCode.MISSING,
                "it is a link that leads to no file; put the file itself there",
            )
        if not is_file:
            return _reject(
                entry,
                line,
                FailureCode.CANNOT_OPEN,
                "it is a device, pipe or socket and is not opened; put a file there",
            )
        return image_row(
            FileImage(root=str(self._root), relative=relative, name=entry.path), line, entry.product
        )


def _kind_at(path: Path) -> int:
    """Of which kind what stands there is; 0: nothing, or nothing that can be looked at."""
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except OSError:
        return 0


def _kind(entry: os.DirEntry[str]) -> tuple[bool, bool, bool]:
    """Whether it is a folder, a file, a link; what cannot be asked is a file, until it is read.

    Where a folder's list tells no kinds, each is looked up, and one that cannot be (a bad sector)
    must not cost the whole folder.
    """
    try:
        return (
            entry.is_dir(follow_symlinks=False),
            entry.is_file(follow_symlinks=False),
            entry.is_symlink(),
        )
    except OSError:
        return False, True, False


_TWIN: Final = (
    "another one beside it has the same name in a different Unicode normal form; rename one of them"
)


def image_row(image: ImageSource, line: int, sku: str | None) -> Row:
    """The row of one image that is a product by itself; `sku` None: a twin has taken its name."""
    problem = _TWIN if sku is None else sku_problem(sku)
    if sku is None or problem is not None:
        return RejectedRow(
            line=line,
            code=FailureCode.BAD_SKU,
            value=image.name,
            error=f"'{shown(image.name)}': {problem}",
        )
    return DeliveredRow(line=line, sku=sku, images=(image,), title=None, attributes={})


def single_image(path: Path, *, follow_link: bool) -> Delivery:
    """A delivery of one product, whose sku is the file's name without its ending."""
    return _SingleImage(path, follow_link=follow_link)


class _SingleImage(Delivery):
    def __init__(self, path: Path, *, follow_link: bool) -> None:
        super().__init__(kind="folder", name=printable(path.name))
        real = Path(os.path.realpath(path)) if follow_link else path.absolute()
        self._image = FileImage(root=str(real.parent), relative=real.name, name=path.name)
        self._sku = product_names([path.name])[path.name]

    def rows(self) -> Iterator[Row]:
        yield image_row(self._image, 1, self._sku)

    def estimated_rows(self) -> int:
        return 1


def manifests_at_top(root: Path) -> list[str]:
    """The names of the manifests directly in `root`, sorted. Links do not count.

    Raises:
        DeliveryError: The folder cannot be listed.
    """
    try:
        with os.scandir(root) as entries:
            return sorted(
                entry.name
                for entry in entries
                if is_found_manifest(entry.name)
                and not is_noise(entry.name)
                and entry.is_file(follow_symlinks=False)
            )
    except OSError as error:
        raise _unlistable(root, error) from error


def _unlistable(root: Path, error: OSError) -> DeliveryError:
    return DeliveryError(
        f"the folder '{shown(str(root))}' cannot be listed ({error.strerror}); check its "
        "permissions",
        code=failure_of(error),
    )


def _reject(entry: _Entry, line: int, code: FailureCode, why: str) -> RejectedRow:
    error = f"'{shown(entry.path)}': {why}"
    return RejectedRow(line=line, code=code, value=entry.path, error=error)


def _skip(entry: _Entry, code: FailureCode, why: str) -> SkippedFile:
    return SkippedFile(name=printable(entry.path), code=code, why=why)
