"""A recipe says which shop photos show a model's categories and which show none of them.

It is a JSON file with a list of photo sets; each is a folder per class or a manifest with a label
column, as `atelier train` reads them. Labels that a recipe does not name are left out: what can be
argued over (a pair of shorts, for a model that knows trousers) should neither teach nor count.

    {"sets": [{"data": "studio/products.csv", "label": "article_type",
               "fits": {"Tshirts": "T-shirt/top"}, "foreign": ["Belts", "Caps"],
               "reserved": ["Belts"]}]}

`reserved` kinds of the foreign are never trained or tuned on: they tell what the model makes of
things that it has not seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from rich.console import Console

from model_training.datasets.deliveries import list_folder, list_manifest
from model_training.datasets.files import LabelledFile
from model_training.datasets.photos import Decoding, decode_photos
from model_training.shop_photos import FOREIGN, ShopPhotos, shop_photos
from tagging.errors import TrainingDataError
from tagging.model_card import InputSpec


class PhotoSet(BaseModel):
    """One folder or manifest.

    Attributes:
        data: its path, below the folder that all sets of the recipe lie in.
        label: the manifest's column that says what a photo shows; None for a folder per class.
        fits: what a photo shows -> the model's category that this is.
        foreign: what fits no category.
        reserved: those of `foreign` that are only reported on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    label: str | None = None
    fits: Mapping[str, str] = Field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _makes_sense(self) -> PhotoSet:
        if torn := sorted(self.fits.keys() & set(self.foreign)):
            raise ValueError(f"{torn} cannot fit a category and be foreign")
        if strays := sorted(set(self.reserved) - set(self.foreign)):
            raise ValueError(f"{strays} are reserved but not among the foreign")
        return self


class ShopRecipe(BaseModel):
    """See the module's text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sets: tuple[PhotoSet, ...] = Field(min_length=1)


def read_recipe(path: Path) -> ShopRecipe:
    """The recipe in `path`.

    Raises:
        TrainingDataError: it cannot be read, or is none.
    """
    try:
        return ShopRecipe.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise TrainingDataError(
            f"{path} is no recipe of shop photos: {error}. See model_training/shop_recipe.py for "
            "what one looks like."
        ) from error


def load_shop_photos(
    recipe: ShopRecipe,
    folder: Path,
    *,
    categories: Sequence[str],
    spec: InputSpec,
    decoding: Decoding,
    console: Console,
) -> ShopPhotos:
    """Every photo that the recipe names, as the model sees it, sorted by the file's sha256.

    Args:
        recipe: which.
        folder: where its sets lie.
        categories: the model's, in the order of its outputs.
        spec: the model's input.
        decoding: how photos are decoded and kept.
        console: gets progress, and a line on what could not be read.

    Raises:
        TrainingDataError: a set is missing or has none of the labels that the recipe names, a
            category is not the model's, or a side stays empty.
    """
    found: dict[str, tuple[LabelledFile, int]] = {}
    for one in recipe.sets:
        unknown = sorted(set(one.fits.values()) - set(categories))
        if unknown:
            raise TrainingDataError(
                f"the recipe lets photos of {one.data} fit {unknown}, but the model's categories "
                f"are {list(categories)}."
            )
        meaning = dict.fromkeys(one.foreign, FOREIGN) | {
            kind: categories.index(category) for kind, category in one.fits.items()
        }
        listed = [f for f in _files(folder / one.data, one.label) if f.label in meaning]
        if not listed:
            raise TrainingDataError(
                f"{folder / one.data} has no photo of {', '.join(map(repr, sorted(meaning)))}."
            )
        found |= {file.sha256: (file, meaning[file.label]) for file in listed}
    files = [found[sha256][0] for sha256 in sorted(found)]
    decoded = decode_photos(files, spec, decoding, console=console)
    if decoded.failures:
        console.print(f"{len(decoded.failures)} shop photos cannot be read and are left out")
    readable = [file for file in files if file.sha256 in decoded.row_of]
    return shop_photos(
        decoded.pixels[[decoded.row_of[file.sha256] for file in readable]],
        [file.label for file in readable],
        np.array([found[file.sha256][1] for file in readable], np.int64),
        reserved_kinds=frozenset(kind for one in recipe.sets for kind in one.reserved),
    )


def _files(place: Path, label: str | None) -> Sequence[LabelledFile]:
    if not place.exists():
        raise TrainingDataError(
            f"there are no shop photos in {place}. Put them there, give another folder with "
            "--shop-photos-dir, or leave --shop-photos out."
        )
    listing = list_folder(place) if label is None else list_manifest(place, label=label)
    return listing.files
