"""From what a person names to labelled images: see `find_source`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from rich.console import Console

from model_training.datasets.deliveries import list_folder, list_manifest
from model_training.datasets.download import download_fashion_mnist
from model_training.datasets.fashion_mnist import (
    FOLDER,
    SIDE,
    find_folder,
    holds_training_set,
    load_csv,
    load_test_set,
    load_training_set,
)
from model_training.datasets.files import Listing
from model_training.datasets.labelled import LabelledImages, LeftOut
from model_training.datasets.photos import Decoding, decode_photos
from model_training.datasets.pixel_csv import is_pixel_csv
from model_training.datasets.reviewed import Reviews, list_reviews
from model_training.datasets.taxonomy import categories_of, settle
from tagging.catalog.folder import manifests_at_top
from tagging.catalog.naming import MANIFEST_ENDINGS, ending
from tagging.errors import TrainingDataError
from tagging.images.rejection import ImageLimits
from tagging.model_card import InputSpec

FASHION_MNIST: Final = "fashion-mnist"
REVIEWS: Final = "reviews"


@dataclass(frozen=True, kw_only=True)
class PhotoOptions:
    """How photos are read; published pixel sets need none of it.

    Attributes:
        label: the manifest's column with the category.
        parents: the columns with what it belongs to, outermost first.
        min_per_class: images; a smaller category goes to its parent, or to `other`.
        input: `photo` keeps colours and proportions; `fashion-mnist` makes 28x28 grey cut-outs.
        image_size: height and width of a `photo`, pixels.
    """

    label: str | None = None
    parents: tuple[str, ...] = ()
    min_per_class: int = 30
    input: Literal["fashion-mnist", "photo"] = "photo"
    image_size: int = 96

    def __post_init__(self) -> None:
        if self.min_per_class < 1:
            raise TrainingDataError(
                f"--min-per-class must be at least 1, got {self.min_per_class}."
            )
        if not 16 <= self.image_size <= 512:
            raise TrainingDataError(f"--image-size must be 16 to 512, got {self.image_size}.")
        if self.parents and self.label is None:
            raise TrainingDataError(
                f"--parents {','.join(self.parents)} needs --label: which column is the category?"
            )

    @property
    def spec(self) -> InputSpec:
        if self.input == "fashion-mnist":
            return InputSpec(kind="fashion-mnist", height=SIDE, width=SIDE, channels=1)
        size = self.image_size
        return InputSpec(kind="photo", height=size, width=size, channels=3)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, for cards."""
        return asdict(self) | {"parents": list(self.parents)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> PhotoOptions:
        """What `as_dict` gave."""
        return PhotoOptions(**{**values, "parents": tuple(values["parents"])})


class Source(ABC):
    """Where labelled images lie."""

    name: str

    @abstractmethod
    def load(self) -> LabelledImages:
        """The labelled images to train with, select on and hold out.

        Raises:
            TrainingDataError: they are missing, altered, or of another form than announced.
        """

    def load_test(self) -> LabelledImages:
        """The test images and labels. Only `evaluate` calls this, and only when asked to.

        Raises:
            TrainingDataError: the source has no test set, or it is damaged.
        """
        raise TrainingDataError(
            f"{self} has no test set. Evaluate without it, or on {FASHION_MNIST!r}."
        )


@dataclass(frozen=True, kw_only=True)
class PixelSource(Source):
    """A set that came as pixels; `test` is None where there is no test set."""

    name: str
    training: Path
    test: Path | None

    def __str__(self) -> str:
        return f"{self.name} ({self.training})"

    def load(self) -> LabelledImages:
        if self.training.is_dir():
            return load_training_set(self.training)
        return load_csv(self.training)

    def load_test(self) -> LabelledImages:
        return super().load_test() if self.test is None else load_test_set(self.test)


@dataclass(frozen=True, kw_only=True)
class PhotoSource(Source):
    """Image files with labels; `listing` finds them."""

    name: str
    place: str
    listing: Callable[[], Listing]
    options: PhotoOptions
    decoding: Decoding
    console: Console

    def __str__(self) -> str:
        return f"{self.name} ({self.place})"

    def load(self) -> LabelledImages:
        listing = settle(self.listing())
        for remark in listing.remarks:
            self.console.print(f"note: {remark}", markup=False)
        if not listing.files:
            raise TrainingDataError(
                f"{self} has no photo that can be used{_first_reasons(listing.left_out)}."
            )
        decoded = decode_photos(
            listing.files, self.options.spec, self.decoding, console=self.console
        )
        files = [file for file in listing.files if file.sha256 in decoded.row_of]
        broken = tuple(
            LeftOut(where=file.name, why=decoded.failures[file.sha256])
            for file in listing.files
            if file.sha256 in decoded.failures
        )
        found = categories_of(
            Counter(file.label for file in files),
            {file.label: file.parents for file in files},
            min_per_class=self.options.min_per_class,
        )
        products = {name: i for i, name in enumerate(dict.fromkeys(f.product for f in files))}
        return LabelledImages(
            images=decoded.pixels[[decoded.row_of[file.sha256] for file in files]],
            labels=np.array([found.leaf_of[file.label] for file in files], np.int64),
            categories=found.leaves,
            parents=found.parents,
            sources=listing.sources,
            kind=self.options.input,
            digests=tuple(bytes.fromhex(file.sha256) for file in files),
            products=np.array([products[file.product] for file in files], np.int64),
            merged=found.merged,
            left_out=(*listing.left_out, *broken),
            options=self.options.as_dict(),
        )


def _first_reasons(left_out: Sequence[LeftOut]) -> str:
    told = "; ".join(f"{one.where}: {one.why}" for one in left_out[:3])
    return f" ({len(left_out)} left out: {told})" if told else ""


def find_source(
    data: str,
    *,
    data_dir: Path | None,
    cache_dir: Path,
    console: Console,
    options: PhotoOptions | None = None,
    reviews: Reviews | None = None,
    decoders: int = 1,
    limits: ImageLimits | None = None,
) -> Source:
    """Find the data named `data`, downloading it where that is possible and needed.

    Args:
        data: one of

            * `fashion-mnist`, or a folder with its files (idx or CSV), or a CSV in its form;
            * a folder of photos with a folder per class;
            * a manifest (CSV or JSON lines), or, with a label in `options`, a folder with one at
              its top;
            * `reviews`: what people decided, from `reviews`.
        data_dir: where data lies on this machine; None downloads into `cache_dir`.
        cache_dir: for downloads and decoded photos.
        console: gets a line per file fetched, and progress.
        options: how photos are read; None for the defaults.
        reviews: the database and retailer behind `reviews`.
        decoders: how many processes decode photos.
        limits: what one photo may cost; None for the defaults.

    Raises:
        TrainingDataError: nothing is known by this name, it is not where it should be, or the
            options do not fit it.
    """
    chosen = options or PhotoOptions()
    if data == FASHION_MNIST:
        if data_dir is None:
            folder = download_fashion_mnist(cache_dir / FOLDER, console=console)
        else:
            folder = find_folder(data_dir)
        return _pixels(PixelSource(name=data, training=folder, test=folder), chosen)
    path = Path(data)
    if path.is_dir() and holds_training_set(path):
        return _pixels(PixelSource(name=FASHION_MNIST, training=path, test=path), chosen)
    if path.is_file() and is_pixel_csv(path):
        return _pixels(PixelSource(name=path.name, training=path, test=None), chosen)
    place, listing = _photos(data, path, chosen, reviews)
    return PhotoSource(
        name=data if data == REVIEWS else path.absolute().name,
        place=place,
        listing=listing,
        options=chosen,
        decoding=Decoding(
            cache_dir=cache_dir / "photos", processes=decoders, limits=limits or ImageLimits()
        ),
        console=console,
    )


def _pixels(source: PixelSource, options: PhotoOptions) -> PixelSource:
    if options.label is not None:
        raise TrainingDataError(
            f"{source} has its own labels; leave out --label {options.label!r}, or give a manifest."
        )
    return source


def _photos(
    data: str, path: Path, options: PhotoOptions, reviews: Reviews | None
) -> tuple[str, Callable[[], Listing]]:
    """Where the photos are, in words, and what lists them."""
    label, parents = options.label, options.parents
    if data == REVIEWS:
        if reviews is None or label is not None:
            raise TrainingDataError(
                "reviews need a retailer, whose database holds them, and no --label: the label is "
                "what people decided."
            )
        return reviews.retailer, lambda: list_reviews(reviews)
    if path.is_dir() and label is None:
        return str(path), lambda: list_folder(path)
    if path.is_dir():
        found = manifests_at_top(path)
        if len(found) != 1:
            raise TrainingDataError(
                f"--label {label!r} names a column of a manifest, but {path} has {len(found)} "
                "manifests at its top. Give the manifest itself, or leave --label out to take the "
                "folders as classes."
            )
        path = path / found[0]
    if not path.is_file() or ending(path.name) not in MANIFEST_ENDINGS:
        raise TrainingDataError(
            f"no data {data!r}: give {FASHION_MNIST!r}, {REVIEWS!r}, an existing folder (with a "
            "folder of photos per class, or Fashion-MNIST's files), or an existing .csv or .jsonl "
            "(a manifest, or a label and 784 pixels per line)."
        )
    if label is None:
        raise TrainingDataError(
            f"{path} is a manifest: say with --label which of its columns is the category."
        )
    return str(path), lambda: list_manifest(path, label=label, parents=parents)
