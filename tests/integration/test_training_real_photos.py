"""Two real shops as training data: a manifest with levels, and a folder per class."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from model_training.datasets.labelled import LabelledImages
from model_training.datasets.sources import PhotoOptions, find_source
from model_training.near_duplicates import near_duplicate_groups
from model_training.splits import Split, divide_labelled
from model_training.stored_split import parse_split, write_split
from tagging.errors import TrainingDataError


def load(folder: Path, cache: Path, options: PhotoOptions) -> LabelledImages:
    return find_source(
        str(folder),
        data_dir=None,
        cache_dir=cache,
        console=Console(quiet=True),
        options=options,
        decoders=2,
    ).load()


def assert_sound(data: LabelledImages, split: Split, folder: Path) -> None:
    """Parts of the announced size, nothing on two sides, and the same again from a file."""
    n = len(data)
    assert len(split.select) == len(split.holdout) == round(n / 12)
    side = np.zeros(n, int)
    side[split.select], side[split.holdout] = 1, 2
    assert data.products is not None
    for keys in (near_duplicate_groups(data.images).tolist(), data.digests, data.products.tolist()):
        sides = defaultdict(set)
        for key, one in zip(keys, side.tolist(), strict=True):
            sides[key].add(one)
        assert {len(found) for found in sides.values()} == {1}
    write_split(folder / "split.npz", data, split)
    path = folder / "split.npz"
    assert parse_split(path.read_bytes(), path).apply(data).unchanged


def test_a_manifest_with_three_levels(data_dir: Path, tmp_path: Path) -> None:
    options = PhotoOptions(
        label="article_type", parents=("master_category", "sub_category"), image_size=32
    )
    data = load(data_dir / "studio-catalog", tmp_path, options)
    assert data.images.shape == (5600, 32, 32, 3)
    assert data.left_out == ()
    parents = {node.name: node.parent for node in (*data.parents, *data.categories)}
    assert parents["Tshirts"] == "Topwear"
    assert parents["Topwear"] == "Apparel"
    assert parents["Heels"] == "Shoes"
    assert parents["Shoes"] == "Footwear"
    assert parents["Apparel"] is None
    assert 20 < len(data.categories) < 50
    counts = np.bincount(data.labels)
    for category, count in zip(data.categories, counts.tolist(), strict=True):
        assert count >= 30 or category.name == "other"
    assert sum(merged.images for merged in data.merged) == sum(
        count
        for category, count in zip(data.categories, counts.tolist(), strict=True)
        if "other" in category.name
    )
    assert_sound(data, divide_labelled(data), tmp_path)
    with pytest.raises(TrainingDataError, match="belongs to"):
        load(
            data_dir / "studio-catalog", tmp_path, PhotoOptions(label="season", parents=("usage",))
        )


def test_a_folder_per_class(data_dir: Path, tmp_path: Path) -> None:
    data = load(data_dir / "worn-photos", tmp_path, PhotoOptions(image_size=32))
    assert data.images.shape == (3068, 32, 32, 3)
    assert [category.name for category in data.categories] == [
        "dress",
        "hat",
        "longsleeve",
        "outwear",
        "pants",
        "shirt",
        "shoes",
        "shorts",
        "skirt",
        "t-shirt",
    ]
    assert data.merged == data.left_out == ()
    assert_sound(data, divide_labelled(data), tmp_path)
