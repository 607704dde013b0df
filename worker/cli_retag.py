"""Commands that have products classified again, and say how far that is."""

from __future__ import annotations

from typing import Annotated

import typer

from tagging.database import retags
from tagging.database.retags import RetagLine
from tagging.database.tables import RetagScope
from tagging.retag import Asked
from worker import console
from worker.bootstrap import open_runtime
from worker.embedded import embedded_worker
from worker.follow import nothing_left, wait_for_retags
from worker.options import Home, Json, settings_for
from worker.retag_text import retag_json, retag_text

retag_app = typer.Typer(invoke_without_command=True)

By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who asks; it is recorded.")]


def add_to(app: typer.Typer) -> None:
    """Hang these commands onto the main one."""
    app.add_typer(retag_app, name="retag")


@retag_app.callback()
def ask(
    context: typer.Context,
    missing: Annotated[
        bool,
        typer.Option("--missing", help="What the model in charge did not classify yet."),
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything that was classified.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME:VERSION", help="What this model classified last."),
    ] = None,
    sku: Annotated[
        list[str] | None,
        typer.Option("--sku", metavar="SKU", help="This product; may be given several times."),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="What failed.")] = False,
    retailer: Annotated[
        str | None,
        typer.Option("--retailer", metavar="NAME", help="Whose products; everybody's if left out."),
    ] = None,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who asks; it is recorded.")] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when workers have classified all of it.")
    ] = False,
    here: Annotated[
        bool, typer.Option("--here", help="The same, with a worker of its own.")
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Have products classified again by the model in charge.

    Tags stay as they are until each is written anew; what a person decided stays in any case.
    Running workers go on with it, wherever it is cut off.
    """
    given = {
        RetagScope.MISSING: missing,
        RetagScope.ALL: everything,
        RetagScope.MODEL: model is not None,
        RetagScope.SKU: bool(sku),
        RetagScope.FAILED: failed,
    }
    scopes = [scope for scope, is_given in given.items() if is_given]
    if context.invoked_subcommand is not None:
        if scopes:
            raise typer.BadParameter(
                f"`{context.invoked_subcommand}` asks for nothing to be classified; leave "
                f"--{scopes[0]} out"
            )
        return
    if len(scopes) != 1:
        raise typer.BadParameter("say which: one of --missing, --all, --model, --sku and --failed")
    if not by:
        raise typer.BadParameter("say who asks, with --by NAME; it is recorded")
    settings, as_json = settings_for(context, home, as_json)
    asked = Asked(scope=scopes[0], model=model, skus=tuple(dict.fromkeys(sku or ())))
    talk = console.err()
    with open_runtime(settings) as runtime:
        made = runtime.retagging.request(asked, None if retailer is None else [retailer], by=by)
        if not made:
            talk.print("nothing was delivered yet, so there is nothing to classify again")
        # Where there is nothing to classify, no worker need be started to find that out.
        if here and not nothing_left(runtime, made):
            runtime.try_again()
            with embedded_worker(settings) as worker:
                wait_for_retags(runtime, made, talk, worker=worker)
        elif wait:
            wait_for_retags(runtime, made, talk)
        with runtime.database.read() as session:
            lines = retags.lines(session, made, most=len(made))
    if made or as_json:
        _print(lines, as_json=as_json)
    if made and not (as_json or wait or here):
        talk.print(
            "any running worker goes on with it (`atelier worker` starts one); "
            "`atelier retag status` says how far it is"
        )


@retag_app.command("status")
def status(
    context: typer.Context,
    retag: Annotated[int | None, typer.Argument(help="One; the newest if left out.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="At most so many.")] = 10,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """How far requests are, and what was found."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime, runtime.database.read() as session:
        if retag is not None:
            retags.get(session, retag)
        lines = retags.lines(session, None if retag is None else [retag], most=most)
    _print(lines, as_json=as_json)


@retag_app.command("cancel")
def cancel(
    context: typer.Context,
    retag: Annotated[int, typer.Argument(help="Which; `atelier retag status` lists them.")],
    by: By,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Look at no further products of a request; the batches that it made are worked off."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        ended = runtime.retagging.cancel(retag, by=by)
        with runtime.database.read() as session:
            lines = retags.lines(session, [retag])
    if not ended:
        console.err().print(f"retag {retag} had ended before; nothing changed")
    _print(lines, as_json=as_json)


def _print(lines: list[RetagLine], *, as_json: bool) -> None:
    if as_json:
        console.print_json([retag_json(line) for line in lines])
        return
    if not lines:
        console.out().print("nobody asked for anything to be classified again")
        return
    for line in lines:
        asked = f"asked by {console.plain(line.requested_by)}, {line.created_at:%Y-%m-%d %H:%M} UTC"
        console.out().print(f"{retag_text(line)}; {asked}", soft_wrap=True)
