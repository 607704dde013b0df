"""What a model makes of pictures that it was not made from: shop photos, and drawings of nothing.

Two questions. Is what fits no category flagged (`flagged_by_group`)? And of the photos that do fit
one, how much would be accepted, how much of that would be wrong, and what would thresholds be worth
that were set on this shop's own photos (`fitting_figures`)?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from model_training.drawings import KINDS, drawings
from model_training.figures import acceptance_counts, cuts_of, judge_by_card
from model_training.predict import in_batches
from model_training.shop_photos import ShopPhotos
from model_training.thresholds import Judged, acceptance_spec, accepted
from tagging.model_card import AcceptanceSpec, ModelCard

DRAWN: Final = 300
"""Of each kind, by the code that the sentinel learnt from, with another seed."""

DRAWINGS_SEED: Final = 1_000_003

Floats = npt.NDArray[np.float64]
Logits = npt.NDArray[np.float32]


class Network(Protocol):
    """What answers: raw logits (n, categories) and out-of-distribution scores (n,)."""

    def answer(self, images: npt.NDArray[np.uint8]) -> tuple[Logits, Floats]: ...


def strangers(card: ModelCard, network: Network, photos: ShopPhotos | None) -> dict[str, Any]:
    """All that is measured here, as plain JSON values.

    Returns:
        `strange`: how many foreign pictures are flagged, by group. With `photos` also `shop_kinds`
        and `shop_fitting`, as `flagged_by_kind` and `fitting_figures` say.
    """
    groups = drawn_margins(card, network)
    if photos is None:
        return {"strange": flagged_by_group(groups)}
    shop = ask_photos(network, photos)
    return {
        "strange": flagged_by_group(unseen_margins(card, shop) | groups),
        "shop_kinds": flagged_by_kind(card, shop),
        "shop_fitting": fitting_figures(card, shop),
    }


@dataclass(frozen=True, kw_only=True)
class ShopAnswers:
    """Shop photos, and for each of them logits float32 (n, categories) and scores float64 (n,)."""

    photos: ShopPhotos
    logits: Logits
    scores: Floats


def ask_photos(network: Network, photos: ShopPhotos) -> ShopAnswers:
    """What a model says of shop photos."""
    logits, scores = in_batches(network.answer, photos.images)
    return ShopAnswers(photos=photos, logits=logits, scores=scores)


def drawn_margins(card: ModelCard, network: Network) -> dict[str, Floats]:
    """By kind, the `margins` of fresh drawings: float64 (DRAWN,) each."""
    found = {}
    for kind in KINDS:
        pictures = drawings(kind, DRAWN, card.input, seed=DRAWINGS_SEED)
        found[f"drawn {kind}"] = margins(card, *in_batches(network.answer, pictures))
    return found


def unseen_margins(card: ModelCard, shop: ShopAnswers) -> dict[str, Floats]:
    """The `margins` of the foreign photos of kinds that are only reported on."""
    chosen = shop.photos.foreign & shop.photos.reserved
    return {
        "shop photos of unseen kinds": margins(card, shop.logits[chosen], shop.scores[chosen]),
    }


def margins(card: ModelCard, logits: npt.NDArray[np.floating], scores: Floats) -> Floats:
    """Out-of-distribution scores (n,), less the bound of the category that the image looks most
    like: float64 (n,), no fixed range; 0 and above is out of distribution.
    """
    bounds = card.out_of_distribution.bounds()
    by_category = np.array([bounds.of(name) for name in card.category_names])
    less: Floats = scores - by_category[logits.argmax(axis=1)]
    return less


def flagged_by_group(groups: Mapping[str, Floats]) -> dict[str, Any]:
    """By group of `margins`: how many images, and how many of them are flagged."""
    return {
        name: {"images": len(found), "flagged": int((found >= 0).sum())}
        for name, found in groups.items()
    }


def flagged_by_kind(card: ModelCard, shop: ShopAnswers) -> dict[str, Any]:
    """By kind of shop photo: `images`, `flagged`, `fits` (its category or None), `reserved` (how
    many of the images are).
    """
    photos = shop.photos
    flagged = margins(card, shop.logits, shop.scores) >= 0
    table: dict[str, Any] = {}
    for kind in sorted({*photos.kinds.tolist()}):
        mine = photos.kinds == kind
        category = int(photos.category[mine][0])
        table[kind] = {
            "images": int(mine.sum()),
            "flagged": int((flagged & mine).sum()),
            "fits": card.category_names[category] if category >= 0 else None,
            "reserved": int((mine & photos.reserved).sum()),
        }
    return table


def fitting_figures(card: ModelCard, shop: ShopAnswers) -> dict[str, Any]:
    """Of the reserved photos that fit a category.

    Returns:
        `images`, `flagged`, `right`; `before`: what the bundle's own thresholds accept and how much
        of that is wrong; `after`: the same with thresholds that were set on the other half
        (`own_thresholds`), and which those are.
    """
    fits = ~shop.photos.foreign
    own, other = fits & ~shop.photos.reserved, fits & shop.photos.reserved
    judged = _judged(card, shop, other)
    spec = own_thresholds(card, shop, own)
    return {
        "images": int(other.sum()),
        "flagged": int((~judged.familiar).sum()),
        "right": int(judged.right.sum()),
        "before": _at(card, card.acceptance, judged),
        "after": _at(card, spec, judged),
        "own_thresholds": {
            "set_on": int(own.sum()),
            **{name: round(cut, 6) for name, cut in spec.by_category.items() if cut <= 1},
        },
    }


def own_thresholds(
    card: ModelCard, shop: ShopAnswers, among: npt.NDArray[np.bool_]
) -> AcceptanceSpec:
    """Thresholds for the card's target precision from photos of one shop (`among`, bool (n,)).

    A quarter of them sets the cuts, the rest tests the offset; see `thresholds`. This is what a
    shop's own reviews could do for it before any training.
    """
    quarter = shop.photos.tuning_quarter()
    return acceptance_spec(
        _judged(card, shop, among & quarter),
        _judged(card, shop, among & ~quarter),
        taxonomy=card.taxonomy,
        target=card.acceptance.target_precision,
    )


def _judged(card: ModelCard, shop: ShopAnswers, chosen: npt.NDArray[np.bool_]) -> Judged:
    return judge_by_card(
        card, shop.logits[chosen], shop.scores[chosen], shop.photos.category[chosen]
    )


def _at(card: ModelCard, spec: AcceptanceSpec, judged: Judged) -> dict[str, Any]:
    return acceptance_counts(accepted(judged, cuts_of(card, spec)), judged.right)
