"""Labelled photos from what a retailer delivers: a folder per class, or a manifest.

Both are read by `tagging.catalog`, so that encodings, ragged rows and paths that leave the folder
are treated as at ingest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from model_training.datasets.files import LabelledFile, Listing
from model_training.datasets.labelled import LeftOut
from tagging.catalog.delivery import (
    DeliveredRow,
    Delivery,
    DeliveryRowError,
    ImageSource,
    RejectedRow,
    SkippedFile,
    shown,
)
from tagging.catalog.folder import manifests_at_top
from tagging.catalog.naming import nfc
from tagging.catalog.opening import open_delivery
from tagging.catalog.paths import FileImage
from tagging.errors import TrainingDataError

_BLOCK_BYTES: Final = 1 << 20

LabelPath = tuple[str, ...]
"""From the outermost parent to the label itself; empty where a row has no label."""


def list_folder(folder: Path) -> Listing:
    """Photos in a folder per class: the folder that a photo stands in is its category.

    Folders around it are its parents, so that `apparel/topwear/shirts/1.jpg` is one of `shirts`,
    which belongs to `topwear`, which belongs to `apparel`. Folders of one name at different places
    are different categories, `men / shirts` and `women / shirts`: a folder is made by intent, so
    this is no slip.

    Raises:
        DeliveryError: the folder cannot be listed.
        TrainingDataError: it holds photos in fewer than two folders.
    """

    def label_path(row: DeliveredRow) -> LabelPath:
        return tuple(nfc(part) for part in Path(row.images[0].name).parts[:-1])

    def no_label(_: DeliveredRow) -> str:
        return "it stands in no folder that names its class"

    with open_delivery(folder) as delivery:
        found = _with_own_labels(list(_read(delivery, label_path, no_label)))
        remarks = tuple(delivery.warnings)
    listing = _listing(found, remarks)
    classes = sorted({file.label for file in listing.files})
    if len(classes) < 2:
        manifests = "".join(f" {name!r} stands at its top." for name in manifests_at_top(folder))
        raise TrainingDataError(
            f"{folder} holds photos in {len(classes)} folder(s)"
            f"{f' ({classes[0]!r})' if classes else ''}. Make one folder per class and put its "
            f"photos there, or say with --label which column of a manifest is the class.{manifests}"
        )
    return replace(listing, sources={folder.absolute().name: _md5_of(listing.files)})


def list_manifest(manifest: Path, *, label: str, parents: Sequence[str] = ()) -> Listing:
    """Photos that a manifest lists, with any of its columns as the label.

    Args:
        manifest: a CSV or JSON lines file as `atelier ingest` takes it: `sku` and `image`, and
            any further columns.
        label: the column with the category; capitals do not count.
        parents: the columns with what it belongs to, outermost first.

    Raises:
        DeliveryError: the manifest cannot be read.
        TrainingDataError: it names no image, or no row has a value in one of these columns.
    """
    columns = [nfc(name.strip()).lower() for name in (*parents, label)]
    filled: dict[str, None] = {}

    def label_path(row: DeliveredRow) -> LabelPath:
        fields = {"sku": row.sku, "title": row.title or "", **row.attributes}
        filled.update(dict.fromkeys(name for name, value in fields.items() if value))
        *above, own = (nfc(fields.get(name, "").strip()) for name in columns)
        return (*filter(None, above), own) if own else ()

    def no_label(row: DeliveredRow) -> str:
        return f"line {row.line}: its column {columns[-1]!r} is empty"

    with open_delivery(manifest) as delivery:
        found = list(_read(delivery, label_path, no_label))
        remarks = tuple(delivery.warnings)
    empty = [name for name in columns if name not in filled]
    if empty:
        raise TrainingDataError(
            f"no row of {manifest} that can be used has a value in the column "
            f"{', '.join(map(repr, empty))}; columns with values are "
            f"{', '.join(map(repr, filled)) or '(none)'}{_first_reason(found)}. Choose with "
            "--label and --parents."
        )
    digest = hashlib.md5(manifest.read_bytes(), usedforsecurity=False).hexdigest()
    listing = _listing(found, remarks)
    return replace(listing, sources={manifest.name: digest, "images": _md5_of(listing.files)})


def _read(
    delivery: Delivery,
    label_path: Callable[[DeliveredRow], LabelPath],
    no_label: Callable[[DeliveredRow], str],
) -> Iterator[LabelledFile | LeftOut]:
    for row in delivery.rows():
        if isinstance(row, RejectedRow):
            yield LeftOut(where=row.value, why=row.error)
        elif isinstance(row, SkippedFile):
            yield LeftOut(where=row.name, why=row.why)
        elif path := label_path(row):
            for image in row.images:
                yield _labelled(image, row.sku, path)
        else:
            yield LeftOut(where=shown(row.sku), why=no_label(row))


def _labelled(image: ImageSource, sku: str, path: LabelPath) -> LabelledFile | LeftOut:
    if not isinstance(image, FileImage):
        raise TrainingDataError(
            f"{shown(image.name)} lies in an archive; unpack it and give the folder or the manifest"
        )
    sha256 = hashlib.sha256()
    try:
        with image.open() as stream:
            while block := stream.read(_BLOCK_BYTES):
                sha256.update(block)
    except (OSError, DeliveryRowError) as error:
        return LeftOut(where=shown(image.name), why=str(error))
    return LabelledFile(
        path=Path(image.root) / image.relative,
        name=image.name,
        sha256=sha256.hexdigest(),
        product=sku,
        label=path[-1],
        parents=path[:-1],
    )


def _with_own_labels(found: Sequence[LabelledFile | LeftOut]) -> list[LabelledFile | LeftOut]:
    """Labels that stand under several lines of parents, each by its whole path."""
    places: dict[str, set[LabelPath]] = {}
    for one in found:
        if isinstance(one, LabelledFile):
            places.setdefault(one.label, set()).add(one.parents)
    return [
        replace(one, label=" / ".join((*one.parents, one.label)))
        if isinstance(one, LabelledFile) and len(places[one.label]) > 1
        else one
        for one in found
    ]


def _listing(found: Sequence[LabelledFile | LeftOut], remarks: tuple[str, ...]) -> Listing:
    return Listing(
        files=tuple(one for one in found if isinstance(one, LabelledFile)),
        left_out=tuple(one for one in found if isinstance(one, LeftOut)),
        remarks=remarks,
    )


def _md5_of(files: Iterable[LabelledFile]) -> str:
    listed = "".join(f"{file.sha256} {file.name}\n" for file in files)
    return hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest()


def _first_reason(found: Iterable[LabelledFile | LeftOut]) -> str:
    """Why the first row is not usable: where all are not, that is the thing to mend."""
    first = next((one for one in found if isinstance(one, LeftOut)), None)
    return "" if first is None else f" (the first that cannot be used: {first.where}: {first.why})"
