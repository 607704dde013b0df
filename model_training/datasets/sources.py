"""From what a person names (`fashion-mnist`, or the path of a CSV) to labelled images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from model_training.datasets.download import download_fashion_mnist
from model_training.datasets.fashion_mnist import (
    FOLDER,
    find_folder,
    load_csv,
    load_test_set,
    load_training_set,
)
from model_training.datasets.labelled import LabelledImages
from tagging.errors import TrainingDataError

FASHION_MNIST: Final = "fashion-mnist"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where labelled images lie; `test` is None where there is no test set."""

    name: str
    training: Path
    test: Path | None

    def __str__(self) -> str:
        return f"{self.name} ({self.training})"

    def load(self) -> LabelledImages:
        """The labelled images to train with, select on and hold out."""
        if self.training.is_dir():
            return load_training_set(self.training)
        return load_csv(self.training)

    def load_test(self) -> LabelledImages:
        """The test images and labels. Only `evaluate` calls this, and only when asked to.

        Raises:
            TrainingDataError: the source has no test set, or it is damaged.
        """
        if self.test is None:
            raise TrainingDataError(
                f"{self} has no test set. Evaluate without it, or on {FASHION_MNIST!r}."
            )
        return load_test_set(self.test)


def find_source(data: str, *, data_dir: Path | None, cache_dir: Path, console: Console) -> Source:
    """Find the data named `data`, downloading it where that is possible and needed.

    Args:
        data: `fashion-mnist`, or the path of a CSV in its form.
        data_dir: where data lies on this machine; None downloads into `cache_dir`.
        cache_dir: for downloads.
        console: gets a line per file fetched.

    Raises:
        TrainingDataError: nothing is known by this name, or it is not where it should be.
    """
    if data == FASHION_MNIST:
        if data_dir is None:
            folder = download_fashion_mnist(cache_dir / FOLDER, console=console)
        else:
            folder = find_folder(data_dir)
        return Source(name=data, training=folder, test=folder)
    path = Path(data)
    if path.suffix.lower() == ".csv" and path.exists():
        return Source(name=path.name, training=path, test=None)
    raise TrainingDataError(
        f"no data {data!r}: give {FASHION_MNIST!r}, or the path of an existing .csv with a label "
        "and 784 pixels per line."
    )
