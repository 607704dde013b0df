"""Commands for what people decide: the review queue as a file, and the autopilot's switch."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tagging.answers import Recorded
from tagging.audit_report import audit_report
from tagging.database import autopilots, models, reviews
from tagging.database.reviews import QueueLine
from tagging.errors import NotFoundError
from tagging.review_file import Imported, import_reviews, write_queue
from tagging.steering import turn
from tagging.undo import take_back
from worker import cli_people, console
from worker.autopilot_text import autopilot_json, autopilot_lines, report_json, report_lines
from worker.bootstrap import open_runtime, utc_now
from worker.cli_catalog import LIST_LIMIT, reader_may_leave, writing
from worker.options import Home, Json, Retailer, settings_for

review_app = typer.Typer(help="What waits for people, and what they decide.", no_args_is_help=True)
autopilot_app = typer.Typer(
    help="Whether a model may accept products without a person.", no_args_is_help=True
)

By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides; it is recorded.")]
Whose = Annotated[str, typer.Argument(metavar="RETAILER", help="Whose autopilot.")]


def add_to(app: typer.Typer) -> None:
    """Hang these commands onto the main one."""
    cli_people.add_to(review_app)
    app.add_typer(review_app, name="review")
    app.add_typer(autopilot_app, name="autopilot")


@review_app.command("list")
def list_reviews(
    context: typer.Context,
    retailer: Retailer = "default",
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            help="The audit sample: accepted products of whose tags people say whether they are "
            "wrong.",
        ),
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="As CSV to fill in, for `atelier review import`.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file; standard output if left out.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show the products that wait for a person."""
    settings, as_json = settings_for(context, home, as_json)
    if output is not None and not as_csv:
        raise typer.BadParameter("--output writes a CSV; add --csv")
    with open_runtime(settings) as runtime:
        with runtime.database.read() as session:
            retailer_id = models.retailer_id(session, retailer)
        lines = reviews.queue(runtime.database, retailer_id, audit=audit)
        if as_csv:
            with reader_may_leave(), writing(output) as stream:
                count = write_queue(lines, stream, runtime.store.path)
            console.err().print(f"{count:,} products written")
            return
        if as_json:
            console.print_json([vars(line) for line in lines])
            return
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in ("sku", "suggestion", "confidence", "why"):
            table.add_column(column, overflow="fold")
        number = -1
        for number, line in enumerate(lines):
            if number == LIST_LIMIT:
                console.err().print(f"the first {LIST_LIMIT}; --csv has all of them")
                break
            table.add_row(
                console.plain(line.sku),
                console.plain(line.suggestion or ""),
                "" if line.confidence is None else f"{line.confidence:.3f}",
                _why(line),
            )
        if number < 0:
            console.err().print("nothing waits for a person")
            return
        console.out().print(table)


def _why(line: QueueLine) -> str:
    """Why it waits, and why it waits without a suggestion."""
    return ", ".join(filter(None, (line.reason or "audit", line.failure)))


@review_app.command("import")
def import_file(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="A CSV with the columns sku and verdict or category.")
    ],
    by: By,
    retailer: Retailer = "default",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Record what people decided; every line is recorded or told with what to do."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        with runtime.database.read() as session:
            retailer_id = models.retailer_id(session, retailer)
        done = import_reviews(
            runtime.database, file, retailer_id=retailer_id, reviewer=by, now=utc_now
        )
    if as_json:
        console.print_json(
            {
                "recorded": done.recorded,
                "repeated": done.repeated,
                "unanswered": done.unanswered,
                "errors": [vars(error) for error in done.errors],
                "autopilot": [vars(move) for move in done.moves],
                "warnings": done.warnings,
            }
        )
        return
    _tell(done, retailer)


@review_app.command("undo")
def undo(
    context: typer.Context,
    skus: Annotated[list[str], typer.Argument(metavar="SKU...", help="Whose last verdict.")],
    by: By,
    retailer: Retailer = "default",
    of_others: Annotated[
        bool, typer.Option("--of-others", help="Also what somebody else decided.")
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Take back the last verdict on each product; it stands as it did before."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        with runtime.database.read() as session:
            retailer_id = models.retailer_id(session, retailer)
            found = [reviews.standing_of(session, retailer_id, sku) for sku in skus]
        ids = [one for one in found if one is not None]
        done = iter(
            take_back(
                runtime.database,
                ids,
                by=by,
                action=str(uuid.uuid4()),
                now=utc_now(),
                of_others=of_others,
            )
        )
    lines: list[dict[str, str | None]] = []
    for sku, review_id in zip(skus, found, strict=True):
        outcome = NotFoundError("nobody decided on it") if review_id is None else next(done)
        if isinstance(outcome, Recorded):
            lines.append({"sku": sku, "status": outcome.status, "category": outcome.category})
        else:
            lines.append({"sku": sku, "error": str(outcome)})
    if as_json:
        console.print_json(lines)
    for line in [] if as_json else lines:
        stands = line.get("error") or f"{line['status']} {line['category'] or ''}".strip()
        console.out().print(f"{line['sku']}: {stands}", markup=False)
    if any("error" in line for line in lines):
        raise typer.Exit(1)


def _tell(done: Imported, retailer: str) -> None:
    talk = console.err()
    for warning in done.warnings:
        talk.print(f"warning: {warning}", markup=False)
    for number, error in enumerate(done.errors):
        if number == 20:
            talk.print("  … and more; --json lists all of them")
            break
        talk.print(f"  line {error.line}: {error.sku!r}: {error.error}", markup=False)
    parts = [
        f"{number:,} {word}"
        for number, word in (
            (done.recorded, "recorded"),
            (done.repeated, "recorded before"),
            (done.unanswered, "unanswered"),
            (len(done.errors), "not recorded"),
        )
        if number
    ]
    console.out().print("reviews: " + (", ".join(parts) or "none in the file"))
    for move in done.moves:
        console.out().print(f"{retailer}: autopilot {move.state}: {move.reason}", markup=False)


@autopilot_app.command("show")
def show(context: typer.Context, retailer: Whose, home: Home = None, as_json: Json = False) -> None:
    """Say where it stands, and what the audit says of the tags that it accepted."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        report = audit_report(runtime.database, retailer)
    if as_json:
        console.print_json(report_json(report))
        return
    for line in (*autopilot_lines(report.standing), *report_lines(report)):
        console.out().print(line, soft_wrap=isinstance(line, str))


@autopilot_app.command("on")
def turn_on(
    context: typer.Context, retailer: Whose, by: By, home: Home = None, as_json: Json = False
) -> None:
    """Let the model accept again, provisionally; the evidence starts anew."""
    _turn(context, retailer, on=True, by=by, home=home, as_json=as_json)


@autopilot_app.command("off")
def turn_off(
    context: typer.Context, retailer: Whose, by: By, home: Home = None, as_json: Json = False
) -> None:
    """Send everything to review from now on; what is tagged already stays tagged."""
    _turn(context, retailer, on=False, by=by, home=home, as_json=as_json)


def _turn(
    context: typer.Context, retailer: str, *, on: bool, by: str, home: Path | None, as_json: bool
) -> None:
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        before, after = turn(runtime.database, retailer, on=on, by=by, now=utc_now())
        with runtime.database.read() as session:
            (standing,) = autopilots.standings(session, retailer=retailer)
    if as_json:
        console.print_json(autopilot_json(standing))
        return
    if before is after:
        console.err().print(f"the autopilot is {after} already; nothing changed")
    for line in autopilot_lines(standing):
        console.out().print(line, soft_wrap=True)
