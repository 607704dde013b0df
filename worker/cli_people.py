"""Commands for what people say of the same products: agreement, disagreements, known answers."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer
from rich.table import Table

from tagging.agreement import LEAST
from tagging.database import models, opinions
from tagging.disagreements import MOST_LISTED, disagreements, settle
from tagging.errors import AtelierError
from tagging.known_answers import mark, withdraw
from tagging.people import Agreement, PeopleReport, report_on_people
from worker import console
from worker.bootstrap import Runtime, open_runtime, utc_now
from worker.options import Home, Json, Retailer, settings_for

known_app = typer.Typer(
    help="Decisions whose answer is known, put among the cards of others to score them.",
    no_args_is_help=True,
)

By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides; it is recorded.")]
Skus = Annotated[list[str], typer.Argument(metavar="SKU...", help="Which products.")]

NO_PRODUCT = "not a product"


def add_to(review_app: typer.Typer) -> None:
    """Hang these commands onto `atelier review`."""
    review_app.command("agreement")(agreement)
    review_app.command("disagreements")(list_disagreements)
    review_app.command("settle")(settle_one)
    review_app.add_typer(known_app, name="known")


def agreement(
    context: typer.Context, retailer: Retailer = "default", home: Home = None, as_json: Json = False
) -> None:
    """How far people agree on the same products, and how they answer what is known."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        report = report_on_people(runtime.database, _retailer(runtime, retailer))
    if as_json:
        console.print_json(report_json(report))
        return
    _print(report)


def list_disagreements(
    context: typer.Context, retailer: Retailer = "default", home: Home = None, as_json: Json = False
) -> None:
    """Products of which two people said different things, and which nobody settled yet."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        found = disagreements(runtime.database, _retailer(runtime, retailer))
    if as_json:
        console.print_json([vars(one) for one in found])
        return
    if not found:
        console.err().print("nobody disagrees on anything")
        return
    table = Table("sku", "first", "second", "suggestion", box=None, header_style="bold")
    for one in found:
        table.add_row(
            *map(
                console.plain,
                (
                    one.sku,
                    f"{one.first or NO_PRODUCT} ({one.first_reviewer})",
                    f"{one.second or NO_PRODUCT} ({one.second_reviewer})",
                    one.suggestion or "",
                ),
            )
        )
    console.out().print(table)
    if len(found) == MOST_LISTED:
        console.err().print(f"the first {MOST_LISTED}; settle these and look again")


def settle_one(
    context: typer.Context,
    sku: Annotated[str, typer.Argument(help="Of which people said different things.")],
    by: By,
    category: Annotated[
        str | None, typer.Option("--category", metavar="NAME", help="What it is.")
    ] = None,
    not_a_product: Annotated[
        bool, typer.Option("--not-a-product", help="The photo shows no product.")
    ] = False,
    retailer: Retailer = "default",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Decide what a product is that people disagree on; the first decision is taken back."""
    settings, as_json = settings_for(context, home, as_json)
    if (category is None) is not not_a_product:
        raise typer.BadParameter("say what it is: either --category NAME or --not-a-product")
    with open_runtime(settings) as runtime:
        done = settle(
            runtime.database,
            _retailer(runtime, retailer),
            sku,
            category=category,
            by=by,
            action=str(uuid.uuid4()),
            now=utc_now(),
        )
    if as_json:
        console.print_json({"sku": sku, "status": done.status, "category": done.category})
        return
    console.out().print(f"{sku}: {done.category or NO_PRODUCT}", markup=False)
    if done.autopilot is not None:
        console.out().print(
            f"{retailer}: autopilot {done.autopilot.state}: {done.autopilot.reason}", markup=False
        )


@known_app.command("add")
def add_known(
    context: typer.Context,
    skus: Skus,
    by: By,
    retailer: Retailer = "default",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Mark what people decided on these products as known to be right."""
    settings, as_json = settings_for(context, home, as_json)
    lines: list[dict[str, str]] = []
    with open_runtime(settings) as runtime:
        retailer_id = _retailer(runtime, retailer)
        for sku in skus:
            try:
                fresh = mark(runtime.database, retailer_id, sku, by=by, now=utc_now())
            except AtelierError as error:
                lines.append({"sku": sku, "error": str(error)})
            else:
                lines.append({"sku": sku, "is": "known" if fresh else "known already"})
    _tell(lines, as_json=as_json)


@known_app.command("remove")
def remove_known(
    context: typer.Context,
    skus: Skus,
    by: By,
    retailer: Retailer = "default",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Ask for these no more; what was replied to them scores nobody."""
    settings, as_json = settings_for(context, home, as_json)
    lines: list[dict[str, str]] = []
    with open_runtime(settings) as runtime:
        retailer_id = _retailer(runtime, retailer)
        for sku in skus:
            try:
                withdraw(runtime.database, retailer_id, sku, by=by, now=utc_now())
            except AtelierError as error:
                lines.append({"sku": sku, "error": str(error)})
            else:
                lines.append({"sku": sku, "is": "known no more"})
    _tell(lines, as_json=as_json)


@known_app.command("list")
def list_known(
    context: typer.Context, retailer: Retailer = "default", home: Home = None, as_json: Json = False
) -> None:
    """The known answers."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        retailer_id = _retailer(runtime, retailer)
        with runtime.database.read() as session:
            found = opinions.known_lines(session, retailer_id)
    if as_json:
        console.print_json([vars(one) for one in found])
        return
    if not found:
        console.err().print("no answer is known; `atelier review known add SKU` marks one")
        return
    table = Table("sku", "category", "by", "", box=None, header_style="bold")
    for one in found:
        table.add_row(
            console.plain(one.sku),
            console.plain(one.category or NO_PRODUCT),
            console.plain(one.added_by),
            "" if one.usable else "stands otherwise now, so it is not asked",
        )
    console.out().print(table)


def report_json(report: PeopleReport) -> dict[str, Any]:
    """The documented form of a report; a kappa that cannot be stated is null."""
    return {
        "least": LEAST,
        "overall": _agreement_json(report.overall),
        "by_person": [
            {"person": who, **_agreement_json(one)} for who, one in report.by_person.items()
        ],
        "by_category": [
            {"category": name, **_agreement_json(one)} for name, one in report.by_category.items()
        ],
        "known": [{"person": who, **vars(score)} for who, score in report.known.items()],
    }


def _agreement_json(one: Agreement) -> dict[str, Any]:
    return {"n": one.n, "agreed": one.agreed, "raw": one.raw, "kappa": one.kappa}


def _print(report: PeopleReport) -> None:
    show = console.out()
    if not report.overall.n:
        show.print("nobody gave a second opinion yet; the rule second_opinion_share asks for them")
    else:
        show.print("How far people agree on the same products")
        table = Table("", "n", "said alike", "kappa", box=None, header_style="bold")
        table.add_row("overall", *_cells(report.overall))
        for who, one in report.by_person.items():
            table.add_row(console.plain(who), *_cells(one))
        for name, one in report.by_category.items():
            table.add_row(console.plain(name or NO_PRODUCT), *_cells(one))
        show.print(table)
        show.print("Overall and by category Fleiss' kappa, by person Cohen's against all others.")
    if report.known:
        show.print("What is known")
        table = Table("", "n", "right", "95 % interval", box=None, header_style="bold")
        for who, score in report.known.items():
            table.add_row(
                console.plain(who),
                f"{score.n:,}",
                f"{score.right:,}",
                f"{score.lower:.1%} to {score.upper:.1%}",
            )
        show.print(table)


def _cells(one: Agreement) -> tuple[str, str, str]:
    if one.kappa is not None:
        kappa = f"{one.kappa:.3f}"
    else:
        kappa = "all said one thing" if one.enough else f"too few to state (under {LEAST})"
    return f"{one.n:,}", "" if one.raw is None else f"{one.raw:.1%}", kappa


def _tell(lines: list[dict[str, str]], *, as_json: bool) -> None:
    if as_json:
        console.print_json(lines)
    for line in [] if as_json else lines:
        console.out().print(f"{line['sku']}: {line.get('error') or line['is']}", markup=False)
    if any("error" in line for line in lines):
        raise typer.Exit(1)


def _retailer(runtime: Runtime, name: str) -> int:
    with runtime.database.read() as session:
        return models.retailer_id(session, name)
