"""The data that a bundle was made from, divided as it was then."""

from __future__ import annotations

from pathlib import Path

from model_training.datasets.labelled import LabelledImages
from model_training.datasets.sources import Source
from model_training.stored_split import SPLIT_NAME, Reapplied, read_split
from tagging.errors import BundleError, TrainingDataError
from tagging.model_card import ModelCard


def own_data(bundle: Path, card: ModelCard, source: Source) -> tuple[LabelledImages, Reapplied]:
    """Load `source` and divide it by the split that is stored in `bundle`.

    Images that came since are dealt to the parts as well, so that none that the model was trained
    on is ever measured as if it were new.

    Raises:
        BundleError: the bundle has no split, images of it are not there, or it is not the card's.
        TrainingDataError: the data cannot be read.
    """
    if SPLIT_NAME not in card.files:
        raise BundleError(
            f"{bundle} was adapted to photos that were not divided: each was answered by a model "
            "that did not know it. What was found stands in its card under 'crossfitted'."
        )
    stored = read_split(bundle / SPLIT_NAME)
    if stored.fingerprint != card.data.get("split", {}).get("fingerprint"):
        raise BundleError(
            f"{bundle / SPLIT_NAME} is not the split that the card names. Copy the bundle again, "
            "or train it again."
        )
    data = source.load().first(card.data.get("limit"))
    try:
        again = stored.apply(data)
    except TrainingDataError as error:
        raise BundleError(f"{bundle} was made from other data than {source}: {error}") from error
    if again.missing:
        raise BundleError(
            f"{bundle} was made from other data than {source}: {again.missing} of its images are "
            "not there, and what resembles them cannot be told from new ones. Give the data that "
            "its card names under 'data'."
        )
    return data, again
