"""Commands that make and measure models."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from model_training.commands import Origin, run_adapt, run_combine, run_evaluate, run_train
from model_training.configuration import TrainingConfig
from model_training.datasets.reviewed import Reviews
from model_training.datasets.sources import FASHION_MNIST, REVIEWS, PhotoOptions
from tagging.settings import Settings
from worker import console
from worker.bootstrap import DEFAULT_BUNDLE, image_limits, make_data_folder, open_runtime
from worker.options import Home, Json, settings_for


def add_to(app: typer.Typer) -> None:
    """Hang these commands onto the main one."""
    app.command()(train)
    app.command()(adapt)
    app.command()(combine)
    app.command()(evaluate)


Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        help="fashion-mnist; a folder with its files; a CSV of a label and 784 pixels per line; a "
        "folder of photos per class; a manifest (.csv, .jsonl) with --label; or reviews.",
    ),
]
Bundle = Annotated[
    Path | None, typer.Argument(help="A bundle's folder; the shipped one if left out.")
]
NewBundle = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="The bundle's folder, <name>-<version> (in `models`)."
    ),
]
Label = Annotated[
    str | None,
    typer.Option("--label", metavar="COLUMN", help="The manifest's column with the category."),
]
ForRetailer = Annotated[
    str | None,
    typer.Option("--retailer", metavar="NAME", help="Whose reviews, with --data reviews."),
]
ShopPhotosRecipe = Annotated[
    Path | None,
    typer.Option(
        "--shop-photos",
        metavar="RECIPE",
        help="A JSON file that says which photos show nothing that the model knows.",
    ),
]
ShopPhotosFolder = Annotated[
    Path | None,
    typer.Option(
        "--shop-photos-dir",
        metavar="DIR",
        help="Where those photos lie (default: ATELIER_DATA_DIR, else beside the recipe).",
    ),
]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def duration_s(text: str) -> float:
    """Seconds in `90s`, `30m` or `1.5h`.

    Raises:
        typer.BadParameter: it is none of these, or not above 0.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not seconds:
        raise typer.BadParameter(f"{text!r} is no duration; write it like 90s, 30m or 1.5h")
    return seconds


def train(
    context: typer.Context,
    data: Data = FASHION_MNIST,
    label: Label = None,
    parents: Annotated[
        str | None,
        typer.Option(
            "--parents",
            metavar="COLUMN,…",
            help="Columns with what the category belongs to, the outermost first.",
        ),
    ] = None,
    min_per_class: Annotated[
        int,
        typer.Option(
            "--min-per-class", min=1, help="Smaller categories go to their parent, or to other."
        ),
    ] = PhotoOptions().min_per_class,
    photo_input: Annotated[
        Literal["photo", "fashion-mnist"],
        typer.Option("--input", help="Colour photos, or 28x28 grey cut-outs."),
    ] = "photo",
    image_size: Annotated[
        int, typer.Option("--image-size", help="Height and width of a colour photo, pixels.")
    ] = PhotoOptions().image_size,
    retailer: ForRetailer = None,
    out: NewBundle = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1)] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(
            "--time-budget", metavar="TIME", help="As many epochs as fit into 90s, 30m or 2h."
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience", min=0, help="Stop after so many epochs without progress; 0: never."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", help="Of initial weights, order and augmentation.")
    ] = 1,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            "--teacher", metavar="BUNDLE", help="Learn from a finished model too; may be repeated."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=100, help="Only so many images, for a trial.")
    ] = None,
    shop_photos: ShopPhotosRecipe = None,
    shop_photos_dir: ShopPhotosFolder = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Train the CNN, calibrate it, set its thresholds, and write the bundle."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    settings, as_json = settings_for(context, home, as_json)
    options = PhotoOptions(
        label=label,
        parents=tuple(name.strip() for name in parents.split(",")) if parents else (),
        min_per_class=min_per_class,
        input=photo_input,
        image_size=image_size,
    )
    asked: dict[str, Any] = {"seed": seed, "epochs": epochs, "patience": patience}
    changes = {name: value for name, value in asked.items() if value is not None}
    with origin_of(settings, data, options, retailer, shop_photos, shop_photos_dir) as origin:
        bundle = run_train(
            origin,
            out=_place(out, settings.models_dir() / f"{_named_after(data, retailer)}-1"),
            configure=lambda spec: TrainingConfig.for_input(spec).changed(**changes),
            resume=resume,
            limit=limit,
            teachers=teacher or (),
            time_budget_s=None if time_budget is None else duration_s(time_budget),
            console=console.err(),
        )
    _say_bundle(bundle, as_json=as_json)


def adapt(
    context: typer.Context,
    bundle: Bundle = None,
    *,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="DATA",
            help="A manifest with --label, or a folder of photos per category: a random sample of "
            "your catalogue.",
        ),
    ],
    label: Label = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help='JSON: {"your label": "the model\'s category", "another": null to leave out}.',
        ),
    ] = None,
    out: NewBundle = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Teach a finished model your own photos, in a minute; needs a thousand or so with labels."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    settings, as_json = settings_for(context, home, as_json)
    with origin_of(settings, data, None, None, None, None) as origin:
        made = run_adapt(
            bundle or settings.model_bundle or DEFAULT_BUNDLE,
            origin,
            out=_place(out, _next_version(settings.models_dir(), _named_after(data, None))),
            label=label,
            meaning=labels,
            console=console.err(),
        )
    _say_bundle(made, as_json=as_json)


def combine(
    context: typer.Context,
    members: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE...", help="Two or more, of the same data.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The bundle's folder, <name>-<version>.")
    ],
    data: Data = FASHION_MNIST,
    retailer: ForRetailer = None,
    shop_photos: ShopPhotosRecipe = None,
    shop_photos_dir: ShopPhotosFolder = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Make one model of several: surer answers, at the cost of all of them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    settings, as_json = settings_for(context, home, as_json)
    with origin_of(settings, data, None, retailer, shop_photos, shop_photos_dir) as origin:
        bundle = run_combine(members, origin, out=out, console=console.err())
    _say_bundle(bundle, as_json=as_json)


def _say_bundle(bundle: Path, *, as_json: bool) -> None:
    if as_json:
        console.print_json({"bundle": str(bundle)})
    else:
        console.out().print(f"bundle: {bundle}", soft_wrap=True)


def evaluate(
    context: typer.Context,
    bundle: Bundle = None,
    data: Data = FASHION_MNIST,
    retailer: ForRetailer = None,
    test: Annotated[
        bool, typer.Option("--test", help="Score the test images: once per released bundle.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Write the test figures into the card.")
    ] = False,
    shop_photos: ShopPhotosRecipe = None,
    shop_photos_dir: ShopPhotosFolder = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle: accuracy, calibration, what it accepts and how much of that is wrong."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    settings, as_json = settings_for(context, home, as_json)
    with origin_of(settings, data, None, retailer, shop_photos, shop_photos_dir) as origin:
        figures = run_evaluate(
            bundle or settings.model_bundle or DEFAULT_BUNDLE,
            origin,
            test=test,
            record=record,
            console=console.err(),
        )
    if as_json:
        console.print_json(figures)
    else:
        for name, value in figures.items():
            console.out().print(f"{name}: {value}", markup=False)


@contextmanager
def origin_of(
    settings: Settings,
    data: str,
    options: PhotoOptions | None,
    retailer: str | None,
    recipe: Path | None,
    shop_dir: Path | None,
) -> Iterator[Origin]:
    """Where the images come from; the database is open meanwhile if they are reviews."""
    make_data_folder(settings, "datasets")
    origin = Origin(
        data=data,
        data_dir=settings.data_dir,
        cache_dir=settings.home / "datasets",
        options=options,
        decoders=settings.decoders,
        limits=image_limits(settings),
        recipe=recipe,
        shop_dir=shop_dir,
    )
    if data != REVIEWS:
        yield origin
        return
    if retailer is None:
        raise typer.BadParameter("--data reviews needs --retailer: whose reviews?")
    with open_runtime(settings) as runtime:
        reviews = Reviews(database=runtime.database, store=runtime.store, retailer=retailer)
        yield replace(origin, reviews=reviews)


def _place(out: Path | None, default: Path) -> Path:
    """Where a new bundle goes. What goes into the data folder is for this account alone."""
    if out is not None:
        return out
    # The process ends with the bundle; all that it writes meanwhile goes there, too.
    os.umask(0o077)
    return default


def _next_version(folder: Path, name: str) -> Path:
    """`<name>-<version>` in `folder`, one more than the highest that is there."""
    found = [re.fullmatch(re.escape(name) + r"-(\d+)", path.name) for path in folder.glob("*")]
    return folder / f"{name}-{1 + max((int(m[1]) for m in found if m), default=0)}"


def _named_after(data: str, retailer: str | None) -> str:
    """A name for a bundle: lower case letters, digits and dashes."""
    raw = retailer if data == REVIEWS and retailer else Path(data).absolute().stem
    return re.sub(r"[^a-z0-9]+", "-", raw.lower()).strip("-")[:60] or "model"
