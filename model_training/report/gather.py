"""One pass over a bundle and its data: load, verify, answer, and hand over to `findings.assemble`.

This module imports Keras; light code must not import it.
"""

from __future__ import annotations

from collections.abc import Iterator

import keras
from rich.console import Console

from model_training.bundle import LoadedNetwork, Networks, networks_of
from model_training.datasets.sources import Source
from model_training.outsiders import (
    ask_photos,
    drawn_margins,
    fitting_figures,
    flagged_by_kind,
    unseen_margins,
)
from model_training.own_data import own_data
from model_training.predict import in_batches
from model_training.report.findings import Answers, Findings, Network, Shop, assemble
from model_training.shop_photos import ShopPhotos
from tagging.errors import BundleError
from tagging.model_card import BundleContent


def gather(
    bundle: BundleContent,
    source: Source,
    *,
    console: Console,
    photos: ShopPhotos | None,
) -> Findings:
    """Everything that a report on `bundle` says.

    Args:
        bundle: read and verified.
        source: the data that the bundle was made from; its test set is not read.
        console: gets a line per part.
        photos: shop photos, for the section on pictures that do not belong; None for drawings
            alone.

    Raises:
        BundleError: the bundle is damaged, or was made from other data.
        TrainingDataError: the data is missing or altered.
    """
    card, networks = bundle.card, networks_of(bundle)
    network = LoadedNetwork(networks, card.network)
    data, again = own_data(bundle, source)
    if not again.unchanged:
        raise BundleError(
            f"{again.new} images came to {source} since {bundle.folder} was made, so its figures "
            "cannot be found again. Give the data as it was, or use `atelier evaluate`."
        )
    split = again.split
    answers = {}
    for name, indices in (
        ("select", split.select),
        ("hold-out", split.holdout),
        ("train", split.train),
    ):
        console.print(f"reading {len(indices):,} photos of the {name} part")
        logits, scores = in_batches(network.answer, data.images[indices])
        answers[name] = Answers(logits=logits, ood_scores=scores)
    console.print("looking at pictures that do not belong")
    foreign = drawn_margins(card, network)
    shop = None
    if photos is not None:
        answered = ask_photos(network, photos)
        foreign = unseen_margins(card, answered) | foreign
        shop = Shop(kinds=flagged_by_kind(card, answered), fitting=fitting_figures(card, answered))
    return assemble(
        card=card,
        source=source.name,
        data=data,
        split=split,
        network=Network(
            parameters=int(networks.classifier.count_params()),
            weights_bytes=len(bundle.files[card.weights]),
            rescaling=_rescaling(networks),
        ),
        answers=answers,
        foreign=foreign,
        shop=shop,
    )


def _rescaling(networks: Networks) -> tuple[float, float] | None:
    """Of the layer `rescale`, by which every network of `model_training.networks` begins."""
    for layer in _layers(networks.classifier):
        if layer.name == "rescale":
            return float(layer.scale), float(layer.offset)
    return None


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Of a model and of the models inside it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer
