"""Workers whose model judges brightness and takes its time; everything else about them is real.

    python -m tests.faults.stand_in_worker

is one that takes none: with the settings of its environment, until its standard input ends.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagging.database.models import KnownModel
from tagging.model_card import CARD_NAME, ModelCard
from tagging.settings import Settings
from tagging.tag import Answers
from tests.stand_in import ShadeClassifier, ShadeShelf, stand_in_card
from worker.logs import configure_logging
from worker.run import run_worker

_WEIGHTS = b"no weights at all"


class SlowClassifier(ShadeClassifier):
    """So slow that something is nearly always in hand."""

    def __init__(self, card: ModelCard, seconds: float) -> None:
        super().__init__(card)
        self._seconds = seconds

    def classify(
        self,
        images: npt.NDArray[np.uint8],
        on_progress: Callable[[], None] = lambda: None,
    ) -> Answers:
        time.sleep(self._seconds)
        return super().classify(images, on_progress)


class SlowShelf(ShadeShelf):
    """Every model is a stand-in, at this speed per batch."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def get(self, model: KnownModel) -> ShadeClassifier:
        return self.classifiers.setdefault(model.id, SlowClassifier(model.card, self._seconds))

    def close(self) -> None:
        """Nothing runs."""


def slow_shelf(seconds: float) -> Callable[[Settings, object], SlowShelf]:
    """In place of `worker.bootstrap.keras_shelf`; `seconds` for each batch."""
    return lambda _settings, _loading: SlowShelf(seconds)


def write_bundle(folder: Path, version: str) -> Path:
    """A complete bundle of the stand-in model on disk."""
    folder.mkdir(parents=True)
    (folder / "none").write_bytes(_WEIGHTS)
    digest = hashlib.sha256(_WEIGHTS).hexdigest()
    card = stand_in_card(version=version).model_copy(update={"files": {"none": digest}})
    (folder / CARD_NAME).write_text(card.model_dump_json(), encoding="utf-8")
    return folder


if __name__ == "__main__":
    configure_logging("console")
    run_worker(Settings(), with_parent=True, make_shelf=slow_shelf(0.0))
