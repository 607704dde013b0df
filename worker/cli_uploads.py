"""Commands on uploads themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from tagging.forgetting import forget_upload
from worker import console
from worker.bootstrap import open_runtime, utc_now
from worker.options import Home, Json, settings_for

uploads_app = typer.Typer(help="Uploads: remove what is left of one that was cut off.")


def add_to(app: typer.Typer) -> None:
    """Hang these commands onto the main one."""
    app.add_typer(uploads_app, name="uploads")


@uploads_app.callback()
def root() -> None:
    """A group, though it has one command."""


@uploads_app.command("forget")
def forget(
    context: typer.Context,
    upload: Annotated[
        str,
        typer.Argument(help="One that was cut off while it was received; see `atelier status`."),
    ],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Remove what was read of a delivery that nobody will deliver again. No product came of it."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        lines = forget_upload(runtime.database, upload, now=utc_now)
    if as_json:
        console.print_json({"upload": upload, "lines": lines})
        return
    console.err().print(f"upload {upload} was forgotten, with {lines:,} lines of its ledger")
