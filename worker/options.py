"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tagging.settings import Settings

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="The data folder (default: ATELIER_HOME, else ./atelier-data).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A folder of images, a CSV or JSONL manifest, a zip of either, or - for JSONL.",
    ),
]
TakeUp = Annotated[
    str | None,
    typer.Option(
        "--upload",
        metavar="ID",
        help="Deliver this upload again, which was cut off; `atelier status` names such.",
    ),
]
Retailer = Annotated[str, typer.Option("--retailer", metavar="NAME", help="Whose catalogue.")]


@dataclass(frozen=True, kw_only=True)
class As:
    """What was given before the command's name."""

    home: Path | None
    as_json: bool


def settings_for(context: typer.Context, home: Path | None, as_json: bool) -> tuple[Settings, bool]:
    """Settings from the environment and the options given before or after the command's name."""
    given: As = context.find_root().obj
    chosen = home or given.home
    settings = Settings() if chosen is None else Settings(home=chosen)
    return settings, as_json or given.as_json
