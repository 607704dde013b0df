"""A zip of images, or of a manifest and its images, read entry by entry and never unpacked to disk.

It is a manifest delivery if exactly one manifest (.csv, .tsv, .jsonl, .ndjson) lies at its top, or,
where its top holds nothing but one folder, directly in that folder. Otherwise every image in it is
a product, whose sku is the image's whole path in the archive without its ending; a single top
folder is part of that path.
"""

from __future__ import annotations

import zipfile
from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from tagging.catalog.delivery import (
    Delivery,
    DeliveryLimits,
    DeliveryRowError,
    RejectedRow,
    Row,
    SkippedFile,
    failure_of,
    several_manifests,
    shown,
)
from tagging.catalog.folder import image_row
from tagging.catalog.manifest import FileManifest
from tagging.catalog.naming import (
    JSONL_ENDINGS,
    ending,
    is_found_manifest,
    is_product_name,
    nfc,
    product_names,
    skip_reason,
)
from tagging.catalog.paths import MissingFileError, missing_file, path_parts
from tagging.catalog.web_images import ImageFetcher
from tagging.catalog.zip_entries import Entry, entries_of, not_read, open_entry, open_zip
from tagging.domain import FailureCode
from tagging.errors import DeliveryError
from tagging.printable import printable


def open_archive(
    path: Path,
    *,
    limits: DeliveryLimits,
    follow_link: bool,
    fetcher: ImageFetcher | None = None,
) -> Delivery:
    """The zip at `path`, which may itself be a link if `follow_link`.

    Raises:
        DeliveryError: It is damaged, too large, or its manifest cannot be read.
    """
    with ExitStack() as stack:
        try:
            archive, directory, file = open_zip(path, limits, follow_link=follow_link)
        except DeliveryRowError as error:
            raise DeliveryError(str(error), code=error.code) from error
        except OSError as error:
            raise DeliveryError(
                f"'{shown(path.name)}' cannot be read ({error.strerror}); upload it again",
                code=failure_of(error),
            ) from error
        stack.enter_context(file)
        stack.enter_context(archive)
        entries = entries_of(archive, directory, limits)
        manifests = _manifests(entries)
        delivery: Delivery
        if len(manifests) == 1:
            manifest = manifests[0]
            _refuse_large_manifest(manifest, limits)
            delivery = FileManifest(
                kind="archive",
                name=path.name,
                manifest=manifest.name,
                is_json=ending(manifest.name) in JSONL_ENDINGS,
                open_bytes=lambda: open_entry(archive, manifest),
                find_image=_ArchiveImages(archive, entries, beside=manifest.name).find,
                limits=limits,
                fetcher=fetcher,
            )
        else:
            delivery = _ArchiveFolder(path.name, archive, entries)
            if manifests:
                delivery.warnings.append(several_manifests([one.name for one in manifests]))
        delivery.close_with(stack.pop_all())
        return delivery


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveImage:
    """An image in an archive."""

    archive: zipfile.ZipFile
    entry: Entry

    @property
    def name(self) -> str:
        return self.entry.name

    def open(self) -> BinaryIO:
        return open_entry(self.archive, self.entry)

    def identity(self, _stream: BinaryIO, /) -> Hashable | None:
        """Where the entry stands in the archive."""
        return self.entry.info.header_offset


class _ArchiveFolder(Delivery):
    """An archive in which every image is a product."""

    def __init__(self, name: str, archive: zipfile.ZipFile, entries: Sequence[Entry]) -> None:
        super().__init__(kind="archive", name=printable(name))
        self._archive = archive
        self._entries = [entry for entry in entries if not entry.noise]

    def rows(self) -> Iterator[Row]:
        line = 0
        for folder, in_folder in groupby(self._entries, lambda e: e.name.rpartition("/")[0]):
            entries = list(in_folder)
            # A dict, since twins have one name between them.
            images = {
                e.name.rpartition("/")[2]: None
                for e in entries
                if is_product_name(e.name) and not e.refused
            }
            parts = product_names(images)
            for entry in entries:
                part = parts.get(entry.name.rpartition("/")[2])
                sku = f"{folder}/{part}" if folder and part else part
                row = self._row(entry, line + 1, sku)
                if not isinstance(row, SkippedFile):
                    line += 1
                yield row

    def _row(self, entry: Entry, line: int, sku: str | None) -> Row:
        if not (entry.refused or is_product_name(entry.name)):
            name = printable(entry.name)
            code, why = skip_reason(name, in_archive=True)
            return SkippedFile(name=name, code=code, why=why)
        if entry.problem is not None:
            refused = not_read(entry.name, entry.problem)
            return RejectedRow(line=line, code=refused.code, value=entry.name, error=str(refused))
        return image_row(ArchiveImage(archive=self._archive, entry=entry), line, sku)

    def estimated_rows(self) -> int:
        return sum(entry.refused or is_product_name(entry.name) for entry in self._entries)


def _manifests(entries: Sequence[Entry]) -> list[Entry]:
    """The manifests at the top, or in the only folder there."""
    listed = {
        e.name: e for e in entries if not (e.refused or e.noise)
    }  # of twins the one with the problem
    if all("/" in name for name in listed):
        tops = {name.partition("/")[0] for name in listed}
        if len(tops) != 1:
            return []
        depth = 1
    else:
        depth = 0
    return [e for name, e in listed.items() if name.count("/") == depth and is_found_manifest(name)]


def _refuse_large_manifest(manifest: Entry, limits: DeliveryLimits) -> None:
    packed, size = manifest.info.compress_size, manifest.info.file_size
    most = max(limits.manifest_ratio_free_bytes, limits.max_manifest_ratio * packed)
    if manifest.problem is None and size > min(most, limits.max_manifest_bytes):
        raise DeliveryError(
            f"the manifest '{shown(manifest.name)}' would unpack from {packed} to {size} bytes, "
            f"more than {limits.max_manifest_ratio} times its size or more than "
            f"{limits.max_manifest_bytes} in all; deliver the unpacked folder, or in parts",
            code=FailureCode.TOO_LARGE,
        )


class _ArchiveImages:
    """The images that a manifest in an archive can name: those beside it and below."""

    def __init__(self, archive: zipfile.ZipFile, entries: Sequence[Entry], *, beside: str) -> None:
        self._archive = archive
        self._folder = beside.rpartition("/")[0]
        # Of twins the later one stays, which says that the name is not unique.
        self._entries = {entry.name: entry for entry in entries if entry.name}
        self._sorted: list[tuple[str, str]] | None = None
        """(name without case, name), made when first needed."""

    def find(self, text: str) -> ArchiveImage:
        """As `ImageFolder.find`, within the archive."""
        try:
            return self._find(text, path_parts(text))
        except MissingFileError:
            if "\\" not in text:
                raise
        return self._find(text, path_parts(text.replace("\\", "/")))

    def _find(self, text: str, parts: tuple[str, ...]) -> ArchiveImage:
        name = nfc("/".join((self._folder, *parts) if self._folder else parts))
        entry = self._entries.get(name)
        if entry is None:
            similar = self._similar_name(name)
            if similar is not None and similar.endswith("/"):
                raise DeliveryRowError(
                    f"'{shown(text)}' is a folder; name an image file in it",
                    code=FailureCode.CANNOT_OPEN,
                )
            raise missing_file(text, place="beside the manifest in the archive", similar=similar)
        if entry.problem is not None:
            raise not_read(text, entry.problem)
        return ArchiveImage(archive=self._archive, entry=entry)

    def _similar_name(self, name: str) -> str | None:
        """The entry of that name but for case, or such a folder with a slash at its end.

        Folders are found among the sorted names. A list of all of them could be a thousand times
        larger than the archive, whose paths may have thousands of parts.
        """
        if self._sorted is None:
            self._sorted = sorted(
                (other.casefold(), other)
                for other, entry in self._entries.items()
                if not entry.refused
            )
        wanted = name.casefold()
        skip = len(self._folder) + bool(self._folder)
        at = bisect_left(self._sorted, (wanted,))
        if at < len(self._sorted) and self._sorted[at][0] == wanted:
            return self._sorted[at][1][skip:]
        at = bisect_left(self._sorted, (f"{wanted}/",))
        if at < len(self._sorted) and self._sorted[at][0].startswith(f"{wanted}/"):
            depth = wanted.count("/") + 1
            return "/".join(self._sorted[at][1].split("/")[:depth])[skip:] + "/"
        return None
