"""Commands that look at what is there: products, retailers, models, the database."""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.table import Table

from tagging.database import autopilots, models, products, rules, schema, uploads
from tagging.database.products import ProductFilter
from tagging.database.session import Database
from tagging.domain import Autopilot, Status
from tagging.errors import AtelierError, BundleError, SchemaError
from tagging.model_card import read_bundle
from tagging.steering import change_rules
from worker import console
from worker.autopilot_text import autopilot_json, autopilot_lines
from worker.bootstrap import Runtime, bundle_folders, open_runtime, prepare_home, utc_now
from worker.options import Home, Json, settings_for

LIST_LIMIT = 100

products_app = typer.Typer(help="The tagged catalogue.", no_args_is_help=True)
retailers_app = typer.Typer(help="Who delivers.", no_args_is_help=True)
models_app = typer.Typer(help="Model bundles.", no_args_is_help=True)
db_app = typer.Typer(help="The database's schema.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Hang these commands onto the main one."""
    app.add_typer(products_app, name="products")
    app.add_typer(retailers_app, name="retailers")
    app.add_typer(models_app, name="models")
    app.add_typer(db_app, name="db")


class Format(enum.StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSONL = "jsonl"


FilterStatus = Annotated[Status | None, typer.Option("--status", help="Only in this status.")]
FilterCategory = Annotated[
    str | None, typer.Option("--category", help="Only with this category in force.")
]
FilterRetailer = Annotated[str | None, typer.Option("--retailer", help="Only of this retailer.")]
FilterUpload = Annotated[str | None, typer.Option("--upload", help="Only of this upload.")]
MinConfidence = Annotated[
    float | None, typer.Option("--min-confidence", min=0, max=1, help="Confidence at least this.")
]
MaxConfidence = Annotated[
    float | None, typer.Option("--max-confidence", min=0, max=1, help="Confidence at most this.")
]


@products_app.command("list")
def list_products(
    context: typer.Context,
    status: FilterStatus = None,
    category: FilterCategory = None,
    retailer: FilterRetailer = None,
    upload: FilterUpload = None,
    min_confidence: MinConfidence = None,
    max_confidence: MaxConfidence = None,
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many (a table: 100).")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show products."""
    settings, as_json = settings_for(context, home, as_json)
    wanted = ProductFilter(
        retailer=retailer,
        upload=upload,
        status=status,
        category=category,
        min_confidence=min_confidence,
        max_confidence=max_confidence,
    )
    with open_runtime(settings) as runtime:
        _check_names(runtime, wanted)
        if not as_json and form is Format.TABLE:
            most = limit or LIST_LIMIT
            lines = list(products.listing(runtime.database, wanted, limit=most + 1))
            show = console.out()
            show.print(console.products_table(lines[:most], width=show.width))
            if len(lines) > most:
                console.err().print(f"the first {most}; `atelier products export` has all of them")
            return
        found = products.listing(runtime.database, wanted, limit=limit)
        with reader_may_leave():
            if as_json:
                console.write_json_array(found, sys.stdout)
            elif form is Format.CSV:
                console.write_csv(found, sys.stdout)
            else:
                console.write_jsonl(found, sys.stdout)


@products_app.command("export")
def export_products(
    context: typer.Context,
    status: FilterStatus = None,
    category: FilterCategory = None,
    retailer: FilterRetailer = None,
    upload: FilterUpload = None,
    min_confidence: MinConfidence = None,
    max_confidence: MaxConfidence = None,
    form: Annotated[Format, typer.Option("--format", help="How to write.")] = Format.JSONL,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file; standard output if left out.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write all products, streamed."""
    settings, as_json = settings_for(context, home, as_json)
    wanted = ProductFilter(
        retailer=retailer,
        upload=upload,
        status=status,
        category=category,
        min_confidence=min_confidence,
        max_confidence=max_confidence,
    )
    with open_runtime(settings) as runtime, reader_may_leave(), writing(output) as stream:
        _check_names(runtime, wanted)
        found = products.listing(runtime.database, wanted)
        if as_json:
            count = console.write_json_array(found, stream)
        elif form is Format.CSV:
            count = console.write_csv(found, stream)
        elif form is Format.TABLE:
            lines = list(found)
            count = len(lines)
            show = Console(file=stream, highlight=False)
            show.print(console.products_table(lines, width=show.width))
        else:
            count = console.write_jsonl(found, stream)
    console.err().print(f"{count:,} products written")


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """A reader of our output that goes away (`| head`) is no failure of ours."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


@contextmanager
def writing(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears under its name only when it is complete."""
    if path is None:
        yield sys.stdout
        return
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="") as stream:
        yield stream
    partial.replace(path)


def _check_names(runtime: Runtime, wanted: ProductFilter) -> None:
    """A retailer or upload that does not exist is a mistake, not an empty list."""
    with runtime.database.read() as session:
        if wanted.retailer is not None:
            models.retailer_id(session, wanted.retailer)
        if wanted.upload is not None:
            uploads.get(session, wanted.upload)


@retailers_app.command("add")
def add_retailer(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="1 to 100 characters.")],
    model: Annotated[
        str | None, typer.Option("--model", help="name:version of its model in charge.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Add a retailer, or put another model in charge of one."""
    settings, as_json = settings_for(context, home, as_json)
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise typer.BadParameter("a retailer's name has 1 to 100 printable characters")
    with open_runtime(settings) as runtime:
        # What is wrong with the one for new retailers keeps nobody from putting another in charge.
        default = runtime.default_model() if model is None else None
        _register_found(runtime)
        with runtime.database.write("models.put_in_charge") as session:
            model_id = default or models.find_model(session, str(model)).id
            retailer_id = models.add_retailer(session, name, model_id=model_id, now=utc_now())
            if model is not None:
                models.put_in_charge(session, retailer_id, model_id, now=utc_now())
            session.commit()
        _print_retailers(runtime, as_json=as_json, only=name)


def between_0_and_1(target: float | None) -> float | None:
    if target is not None and not 0 < target < 1:
        raise typer.BadParameter(f"a share lies between 0 and 1, got {target}; 0.99 is usual")
    return target


@retailers_app.command("set")
def set_retailer(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The retailer.")],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides this.")],
    target: Annotated[
        float | None,
        typer.Option(
            "--target",
            metavar="SHARE",
            callback=between_0_and_1,
            help="How much of what is accepted must be right: 0.98.",
        ),
    ] = None,
    accept_parent: Annotated[
        bool | None,
        typer.Option(
            "--accept-parent/--no-accept-parent",
            help="Tag with the parent category where only that is sure enough.",
        ),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Change what must hold for a tag to be accepted without a person; the audit starts anew."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        with runtime.database.read() as session:
            now = rules.in_force(session, models.retailer_id(session, name))
        asked = {"target_precision": target, "accept_parent": accept_parent}
        changes = {field: value for field, value in asked.items() if value is not None}
        wanted = now.model_copy(update=changes)
        change_rules(runtime.database, name, wanted, by=by, now=utc_now())
        _print_retailers(runtime, as_json=as_json, only=name)


@retailers_app.command("list")
def list_retailers(context: typer.Context, home: Home = None, as_json: Json = False) -> None:
    """Every retailer and the model in charge."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        _print_retailers(runtime, as_json=as_json)


def _print_retailers(runtime: Runtime, *, as_json: bool, only: str | None = None) -> None:
    with runtime.database.read() as session:
        lines = [r for r in models.retailers(session) if only is None or r.name == only]
    if as_json:
        shown = [
            {
                "name": line.name,
                "model": line.model,
                "autopilot": line.autopilot,
                "target_precision": line.rules.target_precision,
                "accept_parent": line.rules.accept_parent,
            }
            for line in lines
        ]
        console.print_json(shown if only is None else shown[0])
        return
    columns = ("retailer", "model in charge", "autopilot", "target", "accepts parents")
    table = Table(*columns, box=None, header_style="bold")
    for line in lines:
        target = line.rules.target_precision
        table.add_row(
            console.plain(line.name),
            line.model or "",
            line.autopilot or "",
            "the model's" if target is None else f"{target:.2%}",
            "yes" if line.rules.accept_parent else "no",
        )
    console.out().print(table)


def _register_default(runtime: Runtime) -> None:
    """As far as it can be; what is wrong with it is no reason to show none."""
    try:
        runtime.default_model()
    except AtelierError as error:
        console.err().print(f"the model for new retailers: {error}", markup=False, soft_wrap=True)


def _register_found(runtime: Runtime) -> None:
    """Make bundles known that lie on this machine and are not in the database yet."""
    with runtime.database.read() as session:
        known = {line.title for line in models.all_models(session)}
    for path in bundle_folders(runtime.settings):
        try:
            card = read_bundle(path)
        except (BundleError, OSError) as error:
            console.err().print(f"left out: {path}: {error}", markup=False, soft_wrap=True)
            continue
        if card.title not in known:
            with runtime.database.write("models.register") as session:
                models.register(session, card, path.absolute(), now=utc_now())
                session.commit()


@models_app.command("list")
def list_models(context: typer.Context, home: Home = None, as_json: Json = False) -> None:
    """The bundles, and of whom each is in charge."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        _register_default(runtime)
        _register_found(runtime)
        with runtime.database.read() as session:
            lines = models.all_models(session)
    if as_json:
        console.print_json(
            [
                {
                    "model": line.title,
                    "in_charge_of": line.in_charge_of,
                    "categories": line.known and len(line.known.card.categories),
                    "path": str(line.path),
                    "error": line.error or None,
                }
                for line in lines
            ]
        )
        return
    table = Table("model", "in charge of", "categories", box=None, header_style="bold")
    table.add_column("path", overflow="fold")
    for line in lines:
        table.add_row(
            line.title,
            console.plain(", ".join(line.in_charge_of)),
            str(len(line.known.card.categories)) if line.known else "cannot be read",
            console.plain(str(line.path)),
        )
    console.out().print(table)
    for line in lines:
        if line.error:
            console.err().print(line.error, markup=False, soft_wrap=True)


@models_app.command("show")
def show_model(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="name or name:version.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """A bundle's card, and what it may accept for whom."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        _register_default(runtime)
        _register_found(runtime)
        with runtime.database.read() as session:
            found = models.find_model(session, model)
            standings = autopilots.standings(session, found.card.title)
    card = found.card
    if as_json:
        shown = [autopilot_json(standing) for standing in standings]
        console.print_json(
            card.model_dump(mode="json") | {"path": str(found.path), "autopilots": shown}
        )
        return
    show = console.out()
    show.print(f"[bold]{card.title}[/bold]  {console.plain(card.description)}")
    show.print(f"  network     {console.plain(f'{card.network.name} {card.network.parameters}')}")
    show.print(f"  input       {card.input.height}x{card.input.width}x{card.input.channels}")
    show.print(f"  calibration temperature {card.temperature:.3f}")
    show.print(f"  thresholds  for a precision of {card.acceptance.target_precision:.1%}:")
    thresholds = card.acceptance.thresholds()
    for category in card.categories:
        threshold = thresholds.of(category.name)
        text = f"{threshold:.3f}" if threshold <= 1 else "accepts nothing"
        name, parent = console.plain(category.name), console.plain(category.parent or "")
        show.print(f"    {name:<16} {text:<16} [dim]{parent}[/dim]")
    if not standings:
        said = console.autopilot_text(card, Autopilot.PROVISIONAL)
        show.print(f"  no retailer yet: {said}")
    for standing in standings:
        for line in autopilot_lines(standing):
            show.print(f"  {line}", soft_wrap=True)
    for part in ("select", "holdout", "test", "crossfitted"):
        if figures := card.metrics.get(part):
            show.print(f"  {part:<11} {_figures_text(figures)}", markup=False)


def _figures_text(figures: dict[str, Any]) -> str:
    """One part's figures in a line; `--json` has all of them."""
    return (
        f"{figures['images']:,} images, {figures['accuracy']:.2%} right, ECE {figures['ece']:.2%}, "
        f"accepts {figures['coverage']:.1%}, of those {figures['errors']} wrong "
        f"({figures['error'] or 0:.2%}; at most {figures['error_upper']:.2%})"
    )


@db_app.command("upgrade")
def upgrade(context: typer.Context, home: Home = None) -> None:
    """Run the migrations that are missing."""
    settings, _ = settings_for(context, home, False)
    if settings.embedded:
        prepare_home(settings)
    database = Database(settings.resolved_database_url())
    before = schema.current(database)
    schema.upgrade(database)
    after = schema.current(database)
    database.close()
    console.err().print(
        f"the database is at migration {after}" + ("" if before == after else f", was {before}")
    )


@db_app.command("check")
def check(context: typer.Context, home: Home = None, as_json: Json = False) -> None:
    """Exit 1 unless the database is at the migration that this version needs."""
    settings, as_json = settings_for(context, home, as_json)
    if settings.embedded and not settings.home.is_dir():
        raise SchemaError(
            f"there is no data folder {settings.home}; `atelier db upgrade` makes one"
        )
    database = Database(settings.resolved_database_url())
    found, needed = schema.current(database), schema.head()
    database.close()
    if as_json:
        console.print_json({"current": found, "needed": needed, "ok": found == needed})
    else:
        console.out().print(f"migration {found}, needed {needed}")
    if found != needed:
        raise typer.Exit(1)
