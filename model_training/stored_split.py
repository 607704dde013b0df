"""A split as a file beside a model, and the same split again on data that grew since.

`split.npz` holds, for each part, the first 8 bytes of its images' digests as sorted uint64 numbers.
That two of 100,000 images share theirs is less likely than one in a thousand million.

    write_split(folder / "split.npz", labelled, split)
    again = read_split(read_content(folder)).apply(source.load())
    again.split  # no image that the model was trained on stands in its hold-out
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model_training.datasets.labelled import LabelledImages
from model_training.splits import (
    HELD_BACK_SHARE,
    PARTS,
    Group,
    Split,
    digests_of,
    grouped,
    split_of,
)
from tagging.errors import TrainingDataError
from tagging.model_card import BundleContent

SPLIT_NAME: Final = "split.npz"
"""What the file is called in a bundle."""

_FINGERPRINT: Final = "fingerprint"


@dataclass(frozen=True, kw_only=True)
class Reapplied:
    """A stored split on data that may have changed.

    Attributes:
        split: all images of the data.
        unchanged: whether it is the very split that was stored.
        new: how many images the stored split does not know; another copy of one is no new one.
        missing: how many of its images the data no longer has. Near-duplicates of these cannot be
            recognised any more, so figures on the hold-out are to be trusted only if it is 0.
        moved: how many images changed sides because a new one ties them to another.
    """

    split: Split
    unchanged: bool
    new: int
    missing: int
    moved: int


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredSplit:
    """`parts`: for each of `PARTS`, uint64, sorted. `fingerprint`: the split's (hex)."""

    parts: dict[str, npt.NDArray[np.uint64]]
    fingerprint: str

    def apply(self, labelled: LabelledImages) -> Reapplied:
        """Each image of `labelled` in the part that it was dealt to.

        New images join the group of their near-duplicates or of their product; a group without any
        image that is known is dealt by its hash, each part with its share, so that where it comes
        to lie depends on nothing else. A new image may tie together what stands in different
        parts; then the whole group goes to train, or else to select: a picture that was learned
        from is never held out, and one that is no longer held out does no harm.

        Raises:
            TrainingDataError: none of the images is known, so that this is other data.
        """
        digests = digests_of(labelled)
        prefixes = _prefixes(digests)
        before = self._sides(prefixes)  # (n,), index into PARTS, or -1
        if not (before >= 0).any():
            raise TrainingDataError(
                f"none of these {len(labelled)} images is among the "
                f"{sum(map(len, self.parts.values()))} of the split that is stored with the model. "
                "Give the data that its card names under 'data'."
            )
        after = before.copy()
        groups = grouped(labelled.images, digests, labelled.products)
        for group in groups:
            sides = before[list(group.members)]
            if (sides < 0).any():
                known = sides[sides >= 0]
                # PARTS are in the order of what a picture in them has been used for.
                after[list(group.members)] = known.min() if len(known) else _dealt(group)
        parts = {name: np.flatnonzero(after == i).tolist() for i, name in enumerate(PARTS)}
        split = split_of(parts, groups, digests)
        stored = np.concatenate(list(self.parts.values()))
        return Reapplied(
            split=split,
            unchanged=split.fingerprint == self.fingerprint,
            new=int((before < 0).sum()),
            missing=int((~np.isin(stored, prefixes)).sum()),
            moved=int(((before >= 0) & (after != before)).sum()),
        )

    def known(self, labelled: LabelledImages) -> npt.NDArray[np.bool_]:
        """bool (n,): the image, or one of its group, stands in any part."""
        digests = digests_of(labelled)
        known = self._sides(_prefixes(digests)) >= 0
        for group in grouped(labelled.images, digests, labelled.products):
            members = list(group.members)
            known[members] = known[members].any()
        return known

    def _sides(self, prefixes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        sides = np.full(len(prefixes), -1, np.int64)
        for index, name in reversed(list(enumerate(PARTS))):
            sides[np.isin(prefixes, self.parts[name])] = index
        return sides


def write_split(path: Path, labelled: LabelledImages, split: Split) -> None:
    """Write `split` of `labelled` to `path`; the same split gives the same bytes.

    Raises:
        TrainingDataError: `split` is not one of `labelled`.
    """
    digests = digests_of(labelled)
    indices = {name: getattr(split, name) for name in PARTS}
    if sorted(np.concatenate(list(indices.values())).tolist()) != list(range(len(labelled))):
        raise TrainingDataError(
            f"a split of {sum(map(len, indices.values()))} images was given with "
            f"{len(labelled)} images; give the images that were divided."
        )
    arrays: dict[str, Any] = {
        name: np.sort(_prefixes([digests[i] for i in part])) for name, part in indices.items()
    }
    arrays[_FINGERPRINT] = np.frombuffer(bytes.fromhex(split.fingerprint), np.uint8)
    with path.open("wb") as stream:
        np.savez(stream, **arrays)


def read_split(bundle: BundleContent) -> StoredSplit:
    """The split that is stored in a bundle.

    Raises:
        TrainingDataError: its card lists none, or the file holds something else.
    """
    path = bundle.folder / SPLIT_NAME
    if SPLIT_NAME not in bundle.files:
        raise _unreadable(path, "the card lists no such file")
    return parse_split(bundle.files[SPLIT_NAME], path)


def parse_split(content: bytes, path: Path) -> StoredSplit:
    """What `write_split` wrote.

    Args:
        content: the file's bytes ...
        path: ... and where they were read, for the error.

    Raises:
        TrainingDataError: they are something else.
    """
    try:
        found = np.load(io.BytesIO(content), allow_pickle=False)
        if not isinstance(found, np.lib.npyio.NpzFile):
            raise _unreadable(path, "it holds a single array")
        parts = {name: np.asarray(found[name]) for name in PARTS}
        fingerprint = np.asarray(found[_FINGERPRINT]).tobytes().hex()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, str(error)) from error
    for name, part in parts.items():
        if part.ndim != 1 or part.dtype != np.uint64 or (part[1:] < part[:-1]).any():
            raise _unreadable(path, f"{name!r} is no sorted row of uint64")
    each = np.concatenate([np.unique(part) for part in parts.values()])
    if len(np.unique(each)) < len(each):
        raise _unreadable(path, "an image stands in two parts")
    return StoredSplit(parts=parts, fingerprint=fingerprint)


def _dealt(group: Group) -> int:
    """The part, as an index into PARTS, of a group of which nothing is known."""
    place = int.from_bytes(group.key[:8], "big") / 2**64
    if place < HELD_BACK_SHARE:
        return PARTS.index("holdout")
    return PARTS.index("select" if place < 2 * HELD_BACK_SHARE else "train")


def _prefixes(digests: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    heads = b"".join(digest[:8] for digest in digests)
    return np.frombuffer(heads, ">u8").astype(np.uint64)


def _unreadable(path: Path, why: str) -> TrainingDataError:
    return TrainingDataError(
        f"{path} is no stored split ({why}). Copy the bundle again, or train it again."
    )
