"""The data that a bundle was made from, divided as it was then."""

from __future__ import annotations

from pathlib import Path

from model_training.datasets.labelled import LabelledImages
from model_training.datasets.sources import Source
from model_training.stored_split import SPLIT_NAME, Reapplied, read_split
from tagging.errors import BundleError, TrainingDataError
from tagging.model_card import BundleContent, ModelCard


def refuse_adapted(bundle: Path, card: ModelCard) -> None:
    """Raises BundleError: the bundle is an adapted one, whose data is not divided."""
    if card.is_adapted:
        raise BundleError(
            f"{bundle} was adapted to a shop's photos, which are not divided into parts: it cannot "
            "be measured, reported on, combined, adapted again or used as a teacher. Its figures, "
            "cross-fitted, stand in its card (`atelier models show`); for the rest use the bundle "
            f"that it was made from, {card.data['base']['title']}."
        )


def own_data(content: BundleContent, source: Source) -> tuple[LabelledImages, Reapplied]:
    """Load `source` and divide it by the split that is stored in a bundle.

    Images that came since are dealt to the parts as well, so that none that the model was trained
    on is ever measured as if it were new.

    Raises:
        BundleError: the bundle has no split, images of it are not there, or it is not the card's.
        TrainingDataError: the data cannot be read.
    """
    bundle, card = content.folder, content.card
    refuse_adapted(bundle, card)
    stored = read_split(content)
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
