"""Image files with a label each, before they are decoded: what every reader of photos gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model_training.datasets.labelled import LeftOut


@dataclass(frozen=True, kw_only=True)
class LabelledFile:
    """One image file and what it shows.

    Attributes:
        path: where its bytes lie.
        name: what it is called in the delivery.
        sha256: of its bytes, hex.
        product: photos of one product have the same.
        label: the category, as delivered.
        parents: what the row says the category belongs to, outermost first; blanks left out.
    """

    path: Path
    name: str
    sha256: str
    product: str
    label: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a reader found. `sources`: file name -> md5 (hex). `remarks`: for people."""

    files: tuple[LabelledFile, ...]
    left_out: tuple[LeftOut, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
