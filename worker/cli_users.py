"""Commands for who may log in to the pages."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.table import Table

from tagging import accounts
from tagging.domain import Role
from worker import console
from worker.bootstrap import open_runtime, utc_now
from worker.options import Home, Json, settings_for

users_app = typer.Typer(help="Who may log in to the pages.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose account.")]


def add_to(app: typer.Typer) -> None:
    """Hang these commands onto the main one."""
    app.add_typer(users_app, name="users")


@users_app.command("add")
def add(
    context: typer.Context,
    name: Name,
    role: Annotated[Role, typer.Option("--role", help="What they may do.")] = Role.REVIEWER,
    password: Annotated[
        bool,
        typer.Option("--password/--link-only", help="Ask for a password, or let them in by links."),
    ] = True,
    home: Home = None,
) -> None:
    """Make an account; the password is asked for."""
    settings, _ = settings_for(context, home, False)
    chosen = _ask() if password else None
    with open_runtime(settings) as runtime:
        accounts.add(runtime.database, name, role, chosen, now=utc_now())
    console.err().print(f"{name} is a {role} now", markup=False)


@users_app.command("list")
def everybody(context: typer.Context, home: Home = None, as_json: Json = False) -> None:
    """All accounts."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        found = accounts.everybody(runtime.database)
    if as_json:
        console.print_json([vars(one) for one in found])
        return
    table = Table("name", "role", "comes by", "", box=None, header_style="bold")
    for one in found:
        table.add_row(
            console.plain(one.name),
            one.role,
            "password" if one.has_password else "links",
            "kept out" if one.disabled else "",
        )
    console.out().print(table)


@users_app.command("set")
def change(
    context: typer.Context,
    name: Name,
    role: Annotated[Role | None, typer.Option("--role", help="What they may do.")] = None,
    password: Annotated[bool, typer.Option("--password", help="Ask for another password.")] = False,
    out: Annotated[
        bool | None, typer.Option("--keep-out/--let-in", help="Keep them out, or let them in.")
    ] = None,
    home: Home = None,
) -> None:
    """Change an account; they must log in again."""
    settings, _ = settings_for(context, home, False)
    chosen = _ask() if password else None
    with open_runtime(settings) as runtime:
        accounts.change(
            runtime.database, name, now=utc_now(), role=role, password=chosen, disabled=out
        )
    console.err().print(f"{name} is changed", markup=False)


@users_app.command("link")
def link(
    context: typer.Context,
    name: Name,
    at: Annotated[
        str, typer.Option("--at", metavar="URL", help="Where browsers reach the pages.")
    ] = "http://127.0.0.1:8765",
    home: Home = None,
) -> None:
    """Print a link that lets them in once, within a quarter of an hour."""
    settings, _ = settings_for(context, home, False)
    with open_runtime(settings) as runtime:
        token = accounts.make_link(runtime.database, name, now=utc_now())
    sys.stdout.write(f"{at.rstrip('/')}/enter/{token}\n")


def _ask() -> str:
    asked: str = typer.prompt("password", hide_input=True, confirmation_prompt=True)
    return asked
