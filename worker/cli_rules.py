"""Commands for a retailer's rules: what may be accepted, and what always goes to a person."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tagging.database import models
from tagging.database import rules as versions
from tagging.errors import RulesError
from tagging.images.model_input import PREPROCESSING_VERSION
from tagging.rules import RetailerRules, parse_rules, told_apart, written
from tagging.rules_trial import MOST_PRODUCTS, Outcome, Trial, try_rules
from tagging.steering import change_rules
from worker import console
from worker.bootstrap import open_runtime, utc_now
from worker.options import Home, Json, Retailer, settings_for

rules_app = typer.Typer(
    help="What may be accepted without a person, and what always goes to one.",
    no_args_is_help=True,
)

File = Annotated[str, typer.Argument(metavar="FILE", help="YAML or JSON; - for standard input.")]


def add_to(app: typer.Typer) -> None:
    """Hang these commands onto the main one."""
    app.add_typer(rules_app, name="rules")


@rules_app.command("show")
def show(
    context: typer.Context, retailer: Retailer = "default", home: Home = None, as_json: Json = False
) -> None:
    """Print the rules in force as a file that `set` takes."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime, runtime.database.read() as session:
        found = versions.newest(session, models.retailer_id(session, retailer))
    rules = RetailerRules() if found is None else found.rules
    if as_json:
        number = None if found is None else found.number
        console.print_json({"version": number, "rules": rules.model_dump(mode="json")})
        return
    text = written(rules) if found is None else found.text
    sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
    if found is None:
        console.err().print("no rules were written; everything is as usual")
    else:
        console.err().print(
            f"version {found.number} by {found.created_by}, {found.created_at:%Y-%m-%d %H:%M} UTC",
            markup=False,
        )


@rules_app.command("try")
def try_file(
    context: typer.Context,
    file: File,
    retailer: Retailer = "default",
    last: Annotated[
        int, typer.Option("--last", min=1, help="How many of the newest products to decide again.")
    ] = MOST_PRODUCTS,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Say what these rules would have done to the newest products; changes nothing."""
    settings, as_json = settings_for(context, home, as_json)
    rules = parse_rules(_read(file))
    with open_runtime(settings) as runtime:
        with runtime.database.read() as session:
            retailer_id = models.retailer_id(session, retailer)
        trial = try_rules(
            runtime.database,
            retailer_id,
            rules,
            preprocessing_version=PREPROCESSING_VERSION,
            most=last,
        )
    if as_json:
        console.print_json(
            {
                "products": trial.products,
                "unknown": trial.unknown,
                "now": vars(trial.now),
                "tried": vars(trial.tried),
                "changes": vars(trial.changes),
            }
        )
        return
    _print_trial(trial)


@rules_app.command("set")
def set_file(
    context: typer.Context,
    file: File,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides; it is recorded.")],
    retailer: Retailer = "default",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Put rules in force for what is tagged from now on; where they accept otherwise than before,
    the audit starts anew.
    """
    settings, as_json = settings_for(context, home, as_json)
    text = _read(file)
    rules = parse_rules(text)
    with open_runtime(settings) as runtime:
        before = change_rules(runtime.database, retailer, rules, by=by, now=utc_now(), text=text)
        with runtime.database.read() as session:
            found = versions.newest(session, models.retailer_id(session, retailer))
    number = None if found is None else found.number
    if as_json:
        console.print_json({"version": number, "changed": told_apart(before, rules)})
    elif before == rules:
        console.err().print("these rules are in force already; nothing changed")
    else:
        console.out().print(f"rules {number} in force: {told_apart(before, rules)}", markup=False)


@rules_app.command("history")
def history(
    context: typer.Context,
    retailer: Retailer = "default",
    most: Annotated[int, typer.Option("--most", min=1, help="At most so many.")] = 20,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Every version of the rules, the one in force first."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime, runtime.database.read() as session:
        found = versions.changes(session, models.retailer_id(session, retailer), most=most)
    lines: list[dict[str, Any]] = [
        {
            "version": one.number,
            "by": one.created_by,
            "at": one.created_at.isoformat(timespec="seconds"),
            "changed": changed,
        }
        for one, changed in found
    ]
    if as_json:
        console.print_json(lines)
        return
    table = Table("version", "by", "at", box=None, header_style="bold")
    table.add_column("changed", overflow="fold")
    for line in lines:
        table.add_row(*(console.plain(str(value)) for value in line.values()))
    console.out().print(table)


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError(f"{file!r} cannot be read as text: {error}") from error


def _print_trial(trial: Trial) -> None:
    show = console.out()
    if not trial.products:
        show.print("no product has an answer of the model in charge yet; nothing to try")
        return
    show.print(
        f"Of the last {trial.products:,} products {trial.tried.waiting:,} would wait for a person "
        f"(by the rules in force {trial.now.waiting:,}); {trial.changes.total:,} would fare "
        "otherwise."
    )
    table = Table("", "in force", "tried", box=None, header_style="bold")
    table.add_row("accepted", f"{trial.now.accepted:,}", f"{trial.tried.accepted:,}")
    table.add_row("waiting", f"{trial.now.waiting:,}", f"{trial.tried.waiting:,}")
    for reason in sorted({*trial.now.by_reason, *trial.tried.by_reason}):
        table.add_row(
            f"  {reason}",
            f"{trial.now.by_reason[reason]:,}",
            f"{trial.tried.by_reason[reason]:,}",
        )
    show.print(table)
    for name, outcome in (("in force", trial.now), ("tried", trial.tried)):
        if outcome.judged:
            show.print(_judged(name, outcome))
    if trial.unknown:
        show.print(f"{trial.unknown:,} more have no answer of the model in charge.")


def _judged(name: str, outcome: Outcome) -> str:
    return (
        f"{name}: of {outcome.judged:,} accepted ones people have decided on, {outcome.wrong:,} "
        "otherwise. They saw the hard ones, so this is no rate."
    )
