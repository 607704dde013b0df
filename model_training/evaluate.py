"""Measure a finished bundle: on the two parts that it was chosen with, and, once, on the test set.

This module imports Keras (through the bundle); light code must not import it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from model_training.bundle import network_of, record_metrics
from model_training.datasets.sources import Source
from model_training.figures import figures
from model_training.near_duplicates import near_duplicate_groups
from model_training.outsiders import strangers
from model_training.own_data import own_data
from model_training.predict import in_batches
from model_training.shop_photos import ShopPhotos
from tagging.errors import BundleError
from tagging.model_card import BundleContent, ModelCard

LoadShopPhotos = Callable[[ModelCard], ShopPhotos | None]
"""Gives the shop photos as the model of a card sees them, if there are any."""


def evaluate_bundle(
    bundle: BundleContent,
    source: Source,
    *,
    test: bool,
    record: bool = False,
    shop: LoadShopPhotos | None = None,
) -> dict[str, Any]:
    """Measure a bundle on the parts of the data that it was made from.

    Args:
        bundle: read and verified.
        source: the data that the bundle was trained on.
        test: also read and score the test set. Once per released model.
        record: write the test figures into the card, where they then stay.
        shop: for what the model makes of shop photos; None leaves that out.

    Returns:
        `model`; `new_images`: how many came since it was made; then `select` and `holdout`, and
        with `test` also `test` and `test_without_duplicates` (without the images that have a
        near-duplicate among the training set's). Each as `figures.figures` says. Then what
        `outsiders.strangers` says, and with `record` the `withdrawn` targets, which the test
        contradicts.

    Raises:
        BundleError: the bundle is damaged, `record` without `test`, or recorded before otherwise,
            or it was replaced meanwhile.
        TrainingDataError: the data is missing or altered.
    """
    if record and not test:
        raise BundleError("only test figures are recorded; ask for the test set as well.")
    card = bundle.card
    network = network_of(bundle)
    data, again = own_data(bundle, source)
    split = again.split
    parts = {"select": data.take(split.select), "holdout": data.take(split.holdout)}
    if test:
        parts["test"] = source.load_test()
        seen = _seen_in(data.images, parts["test"].images)
        parts["test_without_duplicates"] = parts["test"].take(np.flatnonzero(~seen))
    report: dict[str, Any] = {"model": card.title, "new_images": again.new}
    for name, part in parts.items():
        logits, ood_scores = in_batches(network.answer, part.images)
        report[name] = figures(card, logits, ood_scores, part)
    report |= strangers(card, network, None if shop is None else shop(card))
    if record:
        tests = {name: report[name] for name in ("test", "test_without_duplicates")}
        recorded = record_metrics(bundle.folder, tests, measured=card)
        report["withdrawn"] = sorted({*card.operating_points} - {*recorded.operating_points})
    return report


def _seen_in(training: npt.NDArray[np.uint8], test: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """bool (tests,): which test images have a near-duplicate among the training images."""
    group_of = near_duplicate_groups(np.concatenate([training, test]))
    return np.isin(group_of[len(training) :], group_of[: len(training)])
