"""What `atelier train`, `adapt`, `combine` and `evaluate` call.

Keras is imported when they run, not before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from model_training.configuration import SentinelConfig, TrainingConfig
from model_training.datasets.photos import Decoding
from model_training.datasets.reviewed import Reviews
from model_training.datasets.sources import REVIEWS, PhotoOptions, Source, find_source
from model_training.material import Material
from model_training.own_data import refuse_adapted
from model_training.shop_photos import ShopPhotos
from model_training.shop_recipe import load_shop_photos, read_recipe
from model_training.splits import divide_labelled
from model_training.stored_split import read_split
from tagging.errors import TrainingDataError
from tagging.images.rejection import ImageLimits
from tagging.model_card import InputSpec, ModelCard, NetworkSpec, read_card, read_content

SHIPPED_RECIPE: Final = Path(__file__).parent / "recipes" / "fashion-mnist.json"
"""Which photos taught the shipped models what is strange."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the images of a model come from.

    Attributes:
        data: see `sources.find_source`.
        data_dir: where published data lies on this machine; None downloads it.
        cache_dir: for downloads and decoded photos.
        options: how photos are read; None for the defaults.
        reviews: the database and retailer behind the data `reviews`.
        decoders: how many processes decode photos.
        limits: what one photo may cost.
        recipe: of shop photos that show what is strange (`shop_recipe`); None for none.
        shop_dir: the folder that the recipe's sets lie in; None for `data_dir`, or else the
            recipe's own folder.
    """

    data: str
    data_dir: Path | None
    cache_dir: Path
    options: PhotoOptions | None = None
    reviews: Reviews | None = None
    decoders: int = 1
    limits: ImageLimits | None = None
    recipe: Path | None = None
    shop_dir: Path | None = None

    def of(self, card: ModelCard) -> Origin:
        """The same with the options by which the photos of a bundle were read, unless others were
        given.
        """
        stored = card.data.get("options")
        if self.options is not None or not stored:
            return self
        return dataclasses.replace(self, options=PhotoOptions.from_dict(stored))

    def source(self, console: Console) -> Source:
        """Raises TrainingDataError: there is no such data."""
        return find_source(
            self.data,
            data_dir=self.data_dir,
            cache_dir=self.cache_dir,
            console=console,
            options=self.options,
            reviews=self.reviews,
            decoders=self.decoders,
            limits=self.limits,
        )

    def shop_photos(
        self, categories: list[str], spec: InputSpec, console: Console
    ) -> ShopPhotos | None:
        """The shop photos as a model with these categories sees them; None without a recipe.

        Raises:
            TrainingDataError: the recipe or a photo set is missing, or does not fit.
        """
        if self.recipe is None:
            return None
        return load_shop_photos(
            read_recipe(self.recipe),
            self.shop_dir or self.data_dir or self.recipe.parent,
            categories=categories,
            spec=spec,
            decoding=Decoding(
                cache_dir=self.cache_dir / "photos",
                processes=self.decoders,
                limits=self.limits or ImageLimits(),
            ),
            console=console,
        )


def run_train(
    origin: Origin,
    *,
    out: Path,
    console: Console,
    configure: Callable[[InputSpec], TrainingConfig] = TrainingConfig.for_input,
    sentinel: SentinelConfig | None = None,
    resume: bool = False,
    limit: int | None = None,
    time_budget_s: float | None = None,
    teachers: Sequence[Path] = (),
    replace: bool = False,
) -> Path:
    """Load, split, train, teach the sentinel, calibrate, set thresholds, write the bundle.

    The run's checkpoint and history are kept beside the bundle in `<out>.run`, so that a run that
    was cut off goes on with `resume`.

    Args:
        origin: of the images.
        out: the bundle's folder, `<name>-<version>`.
        console: gets progress and results.
        configure: gives the training's configuration for what the images turn out to be.
        sentinel: how the sentinel is taught; None for the defaults for so many images.
        resume: go on from the last whole epoch of the same run, if there is one.
        limit: use only the first so many images, for a quick try; None for all.
        time_budget_s: seconds that the training (without what comes before and after it) may
            take; see `train.train_network`.
        teachers: bundles that teach beside the labels; see `teacher`.
        replace: whether a bundle at `out` may be replaced.

    Returns:
        `out`.

    Raises:
        TrainingDataError: the data is missing, altered or too little, or a number is impossible.
        BundleError: `out` exists and may not be replaced.
    """
    if limit is not None and limit < 1:
        raise TrainingDataError(f"limit must be at least 1, got {limit}.")
    source = origin.source(console)

    from model_training.bundle import Networks, ensure_free, write_bundle
    from model_training.finish import Made, finish
    from model_training.sentinel import NETWORK, train_sentinel
    from model_training.teacher import load_teachers
    from model_training.train import train_network

    ensure_free(out, replace=replace)
    material = _material(origin, source, limit, console)
    labelled, split = material.labelled, material.split
    config = configure(labelled.spec)
    taught_by = load_teachers(teachers, labelled, split)
    trained = train_network(
        labelled.take(split.train),
        labelled.take(split.select),
        config,
        run_folder=out.with_name(out.name + ".run"),
        data_fingerprint=split.fingerprint,
        resume=resume,
        console=console,
        time_budget_s=time_budget_s,
        teachers=taught_by,
    )
    sentinel = sentinel or SentinelConfig.for_images(len(split.train), seed=config.seed)
    guard, guard_parameters = train_sentinel(
        labelled.take(split.train).images,
        material.photos,
        labelled.spec,
        sentinel,
        console=console,
    )
    made = Made(
        networks=Networks(classifier=trained.model, sentinel=guard),
        classifier=trained.network,
        sentinel=NetworkSpec(name=NETWORK, parameters=dict(guard_parameters)),
        sentinel_config=sentinel,
        description=f"{config.network} trained on {source.name} for {len(trained.history)} epochs",
        training={
            "config": config.as_dict(),
            "epochs": list(trained.history),
            "teachers": [] if taught_by is None else taught_by.named,
        },
    )
    card = finish(out.name, made, material)
    write_bundle(out, made.networks, card, labelled, split, replace=replace)
    _print_finished(out, card, console)
    return out


def run_combine(
    members: Sequence[Path],
    origin: Origin,
    *,
    out: Path,
    console: Console,
    replace: bool = False,
) -> Path:
    """Make one bundle of several: a committee that is calibrated and gets thresholds of its own.

    Its sentinel is the first member's.

    Args:
        members: two bundles or more, made from the same images, divided the same.
        origin: of those images.
        out: the bundle's folder, `<name>-<version>`.
        console: gets results.
        replace: whether a bundle at `out` may be replaced.

    Returns:
        `out`.

    Raises:
        TrainingDataError: fewer than two members, one made from other data, or the data is missing
            or altered.
        BundleError: a member is damaged, or `out` exists and may not be replaced.
    """
    if len(members) < 2:
        raise TrainingDataError("a committee needs at least two bundles; name another one.")
    first = read_card(members[0])
    source = origin.of(first).source(console)

    from model_training.bundle import ensure_free, write_bundle
    from model_training.combine import committee_of
    from model_training.finish import finish

    ensure_free(out, replace=replace)
    material = _material(origin, source, first.data.get("limit"), console)
    made = committee_of(members, material.labelled, material.split)
    card = finish(out.name, made, material)
    write_bundle(out, made.networks, card, material.labelled, material.split, replace=replace)
    _print_finished(out, card, console)
    return out


def run_adapt(
    bundle: Path,
    origin: Origin,
    *,
    out: Path,
    console: Console,
    label: str | None = None,
    meaning: Path | None = None,
    replace: bool = False,
) -> Path:
    """Make a new bundle that knows one shop's photos: see `adapt`.

    Args:
        bundle: what is adapted.
        origin: of the shop's photos; they are read as the bundle's input wants them.
        out: the new bundle's folder, `<name>-<version>`.
        console: gets progress and results.
        label: the manifest's column with the category.
        meaning: a JSON file that says which category each of the shop's labels means; see
            `adapt.relabelled`. None where they are the model's own.
        replace: whether a bundle at `out` may be replaced.

    Returns:
        `out`.

    Raises:
        TrainingDataError: the photos are missing, too few, of other categories, or reviews.
        BundleError: `bundle` is damaged or an adapted one, or `out` exists and may not be replaced.
    """
    if origin.data == REVIEWS:
        raise TrainingDataError(
            "reviews are mostly of products that a model doubted; a rate that is measured on them "
            "would not hold for the catalogue. Label a random sample of it and give that as a "
            "manifest, or train on the reviews: atelier train --data reviews."
        )
    content = read_content(bundle)
    base = content.card
    refuse_adapted(bundle, base)
    # What is rare here is not merged: its category is the model's.
    options = PhotoOptions(label=label, min_per_class=1, input=base.input.kind)
    if base.input.kind == "photo":
        options = dataclasses.replace(options, image_size=base.input.height)
    means = {} if meaning is None else read_meaning(meaning)
    source = dataclasses.replace(origin, options=options).source(console)

    from model_training.adapt import adapt, relabelled
    from model_training.bundle import ensure_free, networks_of, write_bundle

    ensure_free(out, replace=replace)
    photos = relabelled(source.load(), base, means)
    known = read_split(content).known(photos)
    if known.any():
        console.print(
            f"{known.sum()} photos are left out: {base.title} was made with them or with others of "
            "their products, so what it makes of them says nothing about new ones"
        )
        photos = photos.take(np.flatnonzero(~known))
    card, networks = adapt(out.name, base, networks_of(content), photos, data=source.name)
    write_bundle(out, networks, card, photos, None, replace=replace)
    found = card.metrics["crossfitted"]
    console.print(
        f"{out}: {card.metrics['before']['accuracy']:.4f} of {len(photos)} photos right before, "
        f"{found['accuracy']:.4f} after (each answered by a model that did not know it); accepts "
        f"{found['accepted']} with {found['errors']} errors"
    )
    if not card.acceptance.holdout_accepted:
        console.print(
            f"nothing can be proved for a precision of {card.acceptance.target_precision:.1%}, so "
            "all will go to review: it takes some hundred more photos, or a lower target (atelier "
            "retailers set)"
        )
    return out


def read_meaning(path: Path) -> dict[str, str | None]:
    """What each of a shop's labels means: label -> category, or None to leave its photos out.

    Raises:
        TrainingDataError: the file is missing, or no JSON object of texts and nulls.
    """
    try:
        return TypeAdapter(dict[str, str | None]).validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise TrainingDataError(f"there is no file {path}.") from error
    except ValidationError as error:
        raise TrainingDataError(
            f'{path} must hold a JSON object like {{"Tshirts": "T-shirt/top", "Watches": null}}: '
            f"{error}"
        ) from error


def _material(origin: Origin, source: Source, limit: int | None, console: Console) -> Material:
    labelled = source.load().first(limit)
    names = [category.name for category in labelled.categories]
    photos = origin.shop_photos(names, labelled.spec, console)
    split = divide_labelled(labelled)
    console.print(
        f"{source}: {len(split.train)} to train, {len(split.select)} to select, "
        f"{len(split.holdout)} held out"
    )
    return Material(data=source.name, labelled=labelled, split=split, limit=limit, photos=photos)


def _print_finished(out: Path, card: ModelCard, console: Console) -> None:
    acceptance = card.acceptance
    console.print(
        f"{out}: hold-out accuracy {card.metrics['holdout']['accuracy']:.4f}, accepts "
        f"{acceptance.holdout_accepted} of {acceptance.holdout_n} with "
        f"{acceptance.holdout_errors} errors (95 % bound {acceptance.error_upper:.4f})"
    )


def run_evaluate(
    bundle: Path,
    origin: Origin,
    *,
    test: bool,
    console: Console,
    record: bool = False,
) -> dict[str, Any]:
    """Measure a bundle on the data that it was made from; see `evaluate.evaluate_bundle`."""
    from model_training.evaluate import evaluate_bundle

    content = read_content(bundle)
    refuse_adapted(bundle, content.card)
    origin = origin.of(content.card)
    return evaluate_bundle(
        content,
        origin.source(console),
        test=test,
        record=record,
        shop=lambda card: origin.shop_photos(card.category_names, card.input, console),
    )
