"""The command that writes a model's report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from model_training.datasets.sources import FASHION_MNIST
from worker import console
from worker.bootstrap import DEFAULT_BUNDLE
from worker.cli_train import (
    Bundle,
    Data,
    ForRetailer,
    ShopPhotosFolder,
    ShopPhotosRecipe,
    origin_of,
)
from worker.options import Home, Json, settings_for


def add_to(app: typer.Typer) -> None:
    """Hang this command onto the main one."""
    app.command()(report)


def report(
    context: typer.Context,
    bundle: Bundle = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The report's folder (default: reports/<name>-<version>)."),
    ] = None,
    data: Data = FASHION_MNIST,
    retailer: ForRetailer = None,
    shop_photos: ShopPhotosRecipe = None,
    shop_photos_dir: ShopPhotosFolder = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle anew, check its card, and write a page with pictures of all of it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from model_training.report.make import run_report

    settings, as_json = settings_for(context, home, as_json)
    with origin_of(settings, data, None, retailer, shop_photos, shop_photos_dir) as origin:
        page = run_report(
            bundle or settings.model_bundle or DEFAULT_BUNDLE,
            origin,
            out=out,
            console=console.err(),
        )
    if as_json:
        console.print_json({"page": str(page)})
    else:
        console.out().print(f"report: {page}", soft_wrap=True)
