"""Commands that make and measure models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tagging.settings import Settings
from worker import console
from worker.bootstrap import DEFAULT_BUNDLE
from worker.options import Home, Json, settings_for


def add_to(app: typer.Typer) -> None:
    """Hang these commands onto the main one."""
    app.command()(train)
    app.command()(evaluate)


Data = Annotated[
    str,
    typer.Option(
        "--data", help="fashion-mnist, a folder with its idx files, or a 785-column CSV file."
    ),
]


def train(
    context: typer.Context,
    data: Data = "fashion-mnist",
    out: Annotated[
        Path | None, typer.Option("--out", help="The bundle's folder (default: in `models`).")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1)] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of order and augmentation.")] = 1,
    limit: Annotated[
        int | None, typer.Option("--limit", min=100, help="Only so many images, for a trial.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Train the CNN, calibrate it, set its thresholds, and write the bundle."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from model_training.commands import run_train

    settings, as_json = settings_for(context, home, as_json)
    bundle = run_train(
        data,
        data_dir=settings.data_dir,
        cache_dir=settings.home / "datasets",
        out=out or settings.models_dir() / "fashion-mnist-1",
        epochs=epochs,
        resume=resume,
        seed=seed,
        limit=limit,
        console=console.err(),
    )
    if as_json:
        console.print_json({"bundle": str(bundle)})
    else:
        console.out().print(f"bundle: {bundle}")


def evaluate(
    context: typer.Context,
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle's folder; the shipped one if left out.")
    ] = None,
    data: Data = "fashion-mnist",
    test: Annotated[
        bool, typer.Option("--test", help="Score the test images: once per released bundle.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Write the test figures into the card.")
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle: accuracy, calibration, what it accepts and how much of that is wrong."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from model_training.commands import run_evaluate

    settings, as_json = settings_for(context, home, as_json)
    figures = run_evaluate(
        _bundle(bundle, settings),
        data=data,
        data_dir=settings.data_dir,
        cache_dir=settings.home / "datasets",
        test=test,
        record=record,
        console=console.err(),
    )
    if as_json:
        console.print_json(figures)
    else:
        for name, value in figures.items():
            console.out().print(f"{name}: {value}", markup=False)


def _bundle(given: Path | None, settings: Settings) -> Path:
    return given or settings.model_bundle or DEFAULT_BUNDLE
