"""What adapting a bundle to one shop's photos is worth: taught on one half, measured on the other.

    python -m tests.benchmarks.adapted model_training/bundles/fashion-mnist-2 $DATA

The photos are those of the shipped recipe that fit a category. The half that is reported on was
neither trained nor tuned on by anything. The second rows leave out those of its photos that are
near-duplicates of one in the other half. Last, the foreign photos of unseen kinds: how many of
those does each model accept?
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from model_training.adapt import adapt
from model_training.bundle import LoadedNetwork, Networks, load_networks
from model_training.commands import SHIPPED_RECIPE, Origin
from model_training.datasets.labelled import LabelledImages
from model_training.figures import acceptance_counts, cuts_of, judge_by_card
from model_training.near_duplicates import near_duplicate_groups
from model_training.predict import in_batches
from model_training.thresholds import Judged, accepted
from tagging.model_card import ModelCard


def main() -> None:
    """Print the table."""
    bundle, data_dir = Path(sys.argv[1]), Path(sys.argv[2])
    console = Console(width=100)
    base, networks = load_networks(bundle)
    with tempfile.TemporaryDirectory() as cache:
        origin = Origin(
            data="fashion-mnist",
            data_dir=data_dir,
            cache_dir=Path(cache),
            decoders=2,
            recipe=SHIPPED_RECIPE,
        )
        photos = origin.shop_photos(base.category_names, base.input, console)
    if photos is None:
        raise SystemExit("the recipe names no photos")
    own = np.flatnonzero(~photos.foreign & ~photos.reserved)
    other = np.flatnonzero(~photos.foreign & photos.reserved)
    aliens = np.flatnonzero(photos.foreign & photos.reserved)
    card, adapted = adapt(
        "shop-1",
        base,
        networks,
        LabelledImages(
            images=photos.images[own],
            labels=photos.category[own],
            categories=tuple(base.categories),
            parents=tuple(base.parents),
            kind=base.input.kind,
        ),
        data="shop photos",
    )
    groups = near_duplicate_groups(photos.images)
    fresh = other[~np.isin(groups[other], groups[own])]
    console.print(f"{base.title}, adapted to {len(own)} photos: {card.metrics['adaptation']}")
    models = (("as it is", base, networks), ("adapted", card, adapted))
    rows = [
        (name, model, c, _judged(c, n, photos.images[chosen], photos.category[chosen]))
        for name, chosen in (
            ("other half", other),
            ("without near-duplicates", fresh),
            ("foreign, unseen kinds", aliens),
        )
        for model, c, n in models
    ]
    for target in card.operating_points:
        table = Table(title=f"for a precision of {float(target):.1%}")
        for column in ("photos", "model", "n", "right", "accepted", "wrong", "95 % bound"):
            table.add_column(column, justify="right", no_wrap=True)
        for name, model, c, judged in rows:
            taken = accepted(judged, cuts_of(c, c.at(float(target))))
            counts = acceptance_counts(taken, judged.right)
            table.add_row(
                name,
                model,
                f"{len(taken):,}",
                f"{judged.right.mean():.1%}",
                f"{counts['accepted']:,} ({counts['coverage']:.1%})",
                str(counts["errors"]),
                f"{counts['error_upper']:.2%}",
            )
        console.print(table)


def _judged(card: ModelCard, networks: Networks, images: np.ndarray, labels: np.ndarray) -> Judged:
    logits, scores = in_batches(LoadedNetwork(networks, card.network).answer, images)
    return judge_by_card(card, logits, scores, labels)


if __name__ == "__main__":
    main()
