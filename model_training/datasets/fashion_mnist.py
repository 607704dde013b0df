"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747): 28x28 grey, ten categories.

Two forms are read: the four published idx files, checked against the published MD5s, and the
785-column CSV that is often passed around instead.

The labels of the 10,000 test images are reachable through `load_test_set` alone, which only
`model_training.evaluate` calls, and only when asked for the test score. Nothing is chosen on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from model_training.datasets.idx import read_idx
from model_training.datasets.labelled import LabelledImages
from model_training.datasets.pixel_csv import read_pixel_csv
from tagging.errors import TrainingDataError
from tagging.model_card import Category

FOLDER: Final = "fashion-mnist"
"""The name of the set's folder below a data or cache folder."""

SIDE: Final = 28

CATEGORIES: Final = (
    Category(name="T-shirt/top", parent="Tops"),
    Category(name="Trouser", parent="Bottoms"),
    Category(name="Pullover", parent="Tops"),
    Category(name="Dress", parent="Dresses"),
    Category(name="Coat", parent="Outerwear"),
    Category(name="Sandal", parent="Footwear"),
    Category(name="Shirt", parent="Tops"),
    Category(name="Sneaker", parent="Footwear"),
    Category(name="Bag", parent="Bags"),
    Category(name="Ankle boot", parent="Footwear"),
)
"""The set's own names in the order of its labels 0 to 9; the parents are ours."""

MD5: Final = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
"""The published checksums of the four files."""

_TRAIN_IDX = "train-images-idx3-ubyte.gz"
_TRAIN_CSV = "fashion-mnist_train.csv"
_TEST_CSV = "fashion-mnist_test.csv"


def find_folder(data_dir: Path) -> Path:
    """The folder with the set: `data_dir/fashion-mnist`, or `data_dir` itself.

    Raises:
        TrainingDataError: neither holds the training files, in either form.
    """
    for folder in (data_dir / FOLDER, data_dir):
        if holds_training_set(folder):
            return folder
    raise TrainingDataError(
        f"neither {data_dir / FOLDER} nor {data_dir} holds {_TRAIN_IDX} or "
        f"{_TRAIN_CSV}. Put the published files of Fashion-MNIST there, name another folder in "
        "ATELIER_DATA_DIR, or leave that unset to have the set downloaded."
    )


def holds_training_set(folder: Path) -> bool:
    """Whether `folder` itself holds the training images, in either form. Only names are looked at.

    A folder that does is this set and nothing else, however many other files lie there.
    """
    return (folder / _TRAIN_IDX).is_file() or (folder / _TRAIN_CSV).is_file()


def load_training_set(folder: Path) -> LabelledImages:
    """The 60,000 labelled training images: uint8 (60000, 28, 28, 1), from idx or else CSV.

    Raises:
        TrainingDataError: a file is missing, altered, or of another form.
    """
    if (folder / _TRAIN_IDX).exists():
        return _load_idx(folder, "train")
    return load_csv(folder / _TRAIN_CSV)


def load_test_set(folder: Path) -> LabelledImages:
    """The 10,000 test images with their labels. Only for the final score of a finished model."""
    if (folder / "t10k-images-idx3-ubyte.gz").exists():
        return _load_idx(folder, "t10k")
    return load_csv(folder / _TEST_CSV)


def load_csv(path: Path) -> LabelledImages:
    """A CSV of `label` and 784 pixels per line, with these ten categories."""
    images, labels, md5 = read_pixel_csv(path, height=SIDE, width=SIDE, categories=len(CATEGORIES))
    return LabelledImages(
        images=images, labels=labels, categories=CATEGORIES, sources={path.name: md5}
    )


def _load_idx(folder: Path, part: str) -> LabelledImages:
    sources: dict[str, str] = {}
    image_file, label_file = f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"
    images, sources[image_file] = read_idx(folder / image_file, dimensions=3, md5=MD5[image_file])
    labels, sources[label_file] = read_idx(folder / label_file, dimensions=1, md5=MD5[label_file])
    return LabelledImages(
        images=images[..., None],
        labels=labels.astype("int64"),
        categories=CATEGORIES,
        sources=sources,
    )
