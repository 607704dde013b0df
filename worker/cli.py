"""The `atelier` command: entry points that parse, call one service, and print.

Exit codes: 0 done, 1 failed, 2 wrong use. Data goes to standard output, talk to standard error.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from pydantic import ValidationError
from rich.live import Live
from rich.markup import escape
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tagging.catalog.opening import open_delivery
from tagging.database import autopilots, backlog, counts, retags, uploads
from tagging.database.retags import RetagLine
from tagging.domain import Status
from tagging.errors import AtelierError, DeliveryError, MachineError
from tagging.ingest import UploadSummary
from tagging.settings import Settings
from worker import console
from worker.autopilot_text import autopilot_json, autopilot_lines
from worker.bootstrap import Runtime, open_runtime, utc_now
from worker.cut_off import cut_off_json, cut_off_text
from worker.deep_check import examine_deeply
from worker.doctor import examine, print_findings
from worker.embedded import embedded_worker
from worker.embedded import supervise as supervised
from worker.follow import progress_bar, wait_for_upload
from worker.logs import configure_logging, redact_uncaught, redactor
from worker.options import As, Home, Json, Retailer, Source, TakeUp, settings_for
from worker.retag_text import retag_json, retag_text

app = typer.Typer(
    name="atelier",
    help="Tags fashion catalogues: photos in, categories with a measured error rate out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def root(context: typer.Context, home: Home = None, as_json: Json = False) -> None:
    # Before anything can talk: standard output is for data.
    configure_logging("console", level=logging.WARNING)
    context.obj = As(home=home, as_json=as_json)


@app.command()
def tag(
    context: typer.Context,
    source: Source,
    retailer: Retailer = "default",
    upload: TakeUp = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Take a delivery in, tag it with a worker of its own, and print the summary."""
    settings, as_json = settings_for(context, home, as_json)
    talk = console.err()
    with open_runtime(settings) as runtime:
        summary = ingest_source(runtime, source, retailer, talk, upload=upload)
        if summary.enqueued or _unfinished(runtime, summary.upload_id):
            runtime.try_again()
            with embedded_worker(settings) as worker:
                wait_for_upload(runtime, summary.upload_id, talk, worker=worker)
        elif not as_json and summary.products:
            talk.print("nothing to classify: every product stands as it was delivered before")
        _print_upload(runtime, summary, as_json=as_json)


@app.command()
def ingest(
    context: typer.Context,
    source: Source,
    retailer: Retailer = "default",
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when workers have tagged all of it.")
    ] = False,
    upload: TakeUp = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Take a delivery in and queue it for the workers; prints the upload's id."""
    settings, as_json = settings_for(context, home, as_json)
    talk = console.err()
    with open_runtime(settings) as runtime:
        summary = ingest_source(runtime, source, retailer, talk, upload=upload)
        if wait:
            wait_for_upload(runtime, summary.upload_id, talk)
        _print_upload(runtime, summary, as_json=as_json)


@app.command()
def watch(
    context: typer.Context,
    inbox: Annotated[Path, typer.Argument(help="The drop folder; made if missing.")],
    retailer: Retailer = "default",
    settle_s: Annotated[
        float, typer.Option(min=0.1, help="Take what has not changed for so many seconds.")
    ] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="Return when nothing is left to take.")
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Ingest whatever lands in a folder; then move it to `done` or `rejected` inside it."""
    from tagging.inbox import Inbox

    settings, as_json = settings_for(context, home, as_json)
    configure_logging(settings.log_format)
    # An end from inside, so that it counts as no try of what is being read just then.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with open_runtime(settings) as runtime:
        drop = Inbox(
            root=inbox,
            ingest=runtime.ingest,
            retailer_id=runtime.retailer(retailer),
            settle_s=settle_s,
            monotonic=time.monotonic,
        )
        drop.prepare()
        while True:
            try:
                for taken in drop.step():
                    if as_json:
                        console.print_json(taken)
                        sys.stdout.flush()
            except (DBAPIError, OSError, MachineError) as error:
                # The database or a disk is away: what was begun is in its plan, so try again.
                structlog.get_logger("inbox").error("inbox_waits", error=str(error))
                time.sleep(5.0)
                continue
            if once and drop.empty():
                return
            if once and drop.only_waits():
                raise DeliveryError(
                    f"what is left in {inbox} cannot be moved or read; the log above says why. It "
                    "is tried again at the next start"
                )
            time.sleep(min(0.5, settle_s / 2))


@app.command()
def worker(
    context: typer.Context,
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=16, help="Batches in flight (default 2).")
    ] = None,
    supervise: Annotated[
        bool | None,
        typer.Option(
            "--supervise/--no-supervise",
            help="Start another one when it is killed or stuck. By default where no database "
            "server is used: beside one, what starts services does it.",
        ),
    ] = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
    home: Home = None,
) -> None:
    """Run a worker until SIGTERM; one of the running workers sweeps."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    settings, _ = settings_for(context, home, False)
    if concurrency is not None:
        settings = settings.model_copy(update={"concurrency": concurrency})
    configure_logging(settings.log_format)
    if not with_parent and (settings.embedded if supervise is None else supervise):
        raise typer.Exit(supervised(settings))
    from worker.run import run_worker

    run_worker(settings, with_parent=with_parent)


@app.command()
def status(
    context: typer.Context,
    upload: Annotated[str | None, typer.Argument(help="An upload's id; all if left out.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until nothing is queued.")
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """How many products stand where, how fast it goes, and what the autopilot may do."""
    settings, as_json = settings_for(context, home, as_json)
    with open_runtime(settings) as runtime:
        if follow and not as_json:
            with Live(console=console.out(), refresh_per_second=4) as live:
                while True:
                    now = _status(runtime, upload)
                    live.update(_status_text(runtime, now, upload))
                    if not now["busy"]:
                        return
                    time.sleep(0.5)
        while True:
            now = _status(runtime, upload)
            if as_json:
                console.print_json(now)
                sys.stdout.flush()
            else:
                console.out().print(_status_text(runtime, now, upload))
            if not follow or not now["busy"]:
                return
            time.sleep(1.0)


@app.command()
def check(
    context: typer.Context,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also whether all rows and images are as they must be.")
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample", metavar="N", min=0, help="With --deep, read the bytes of N images only."
        ),
    ] = None,
    mend: Annotated[
        bool, typer.Option("--mend", help="With --deep, mend what can be mended from the rows.")
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Look at everything that Atelier needs, and say how to mend what is wrong."""
    settings, as_json = settings_for(context, home, as_json)
    if (mend or sample is not None) and not deep:
        raise typer.BadParameter("--sample and --mend go with --deep")
    findings = examine(settings)
    if deep and all(finding.ok for finding in findings if finding.what == "database"):
        findings += examine_deeply(settings, sample=sample, mend=mend)
    print_findings(findings, as_json=as_json)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def ingest_source(
    runtime: Runtime, source: str, retailer: str, talk: Any, *, upload: str | None = None
) -> UploadSummary:
    """Take in a folder, manifest, zip or standard input, with a progress bar.

    `upload`: one that was cut off and is delivered again. Raises NotFoundError if there is none.
    """
    retailer_id = runtime.retailer(retailer)
    if upload is not None:
        with runtime.database.read() as session:
            uploads.get(session, upload)
            if uploads.is_received(session, upload):
                talk.print(f"all of upload {upload} was received before; nothing is read again")
    stdin = sys.stdin.buffer if source == "-" else None
    with (
        open_delivery(source, stdin=stdin, fetcher=runtime.ingest.fetcher) as delivery,
        progress_bar(talk) as progress,
    ):
        bar = progress.add_task("receiving", total=delivery.estimated_rows(), rate="")
        return runtime.ingest.accept_upload(
            delivery,
            retailer_id=retailer_id,
            upload_id=upload,
            on_rows=lambda rows: progress.update(bar, advance=rows),
        )


def _unfinished(runtime: Runtime, upload_id: str) -> bool:
    with runtime.database.read() as session:
        return uploads.status_counts(session, upload_id)[Status.QUEUED] > 0


def _print_upload(runtime: Runtime, summary: UploadSummary, *, as_json: bool) -> None:
    rejected = uploads.rejected_lines(runtime.database, summary.upload_id)
    skipped = uploads.skipped_lines(runtime.database, summary.upload_id)
    with runtime.database.read() as session:
        stand = uploads.status_counts(session, summary.upload_id)
    if as_json:
        console.print_json_with_lists(
            {
                "upload": summary.upload_id,
                "products": summary.products,
                "unchanged": summary.unchanged,
                "created": summary.created,
                "changed": summary.changed,
                "updated": summary.updated,
                "superseded": summary.superseded,
                "enqueued": summary.enqueued,
                "by_status": stand,
                "warnings": list(summary.warnings),
            },
            {"rejected": map(vars, rejected), "skipped": map(vars, skipped)},
        )
        return
    talk = console.err()
    for kind, lines in (("rejected", rejected), ("skipped", skipped)):
        for number, line in enumerate(lines):
            if number == 20:
                talk.print(f"  … and more; `atelier ingest --json` lists all {kind} lines")
                break
            code = f" ({line.code})" if line.code else ""
            talk.print(
                f"  {kind} line {line.line}{code}: {line.value!r}: {line.error}", markup=False
            )
    console.print_summary(summary, stand, console.out())


def _status(runtime: Runtime, upload: str | None) -> dict[str, Any]:
    with runtime.database.read() as session:
        if upload is not None:
            uploads.get(session, upload)
        counted = (
            counts.by_status(session) if upload is None else uploads.status_counts(session, upload)
        )
        in_batches = backlog.counts(session, upload)
        again = _open_retags(session) if upload is None else []
        dead = uploads.cut_off(session, now=utc_now())
        return {
            "upload": upload,
            "busy": bool(
                counted[Status.QUEUED]
                or in_batches["queued"]
                or in_batches["leased"]
                or again
                or uploads.coming_in(session, upload, now=utc_now())
            ),
            "products": sum(counted.values()),
            "by_status": counted,
            "batches": in_batches,
            "hindered_by": backlog.last_errors(session, upload),
            "products_per_s": backlog.recent_rate(session),
            "retags": [retag_json(line) for line in again],
            "cut_off": [cut_off_json(one) for one in dead if upload in (None, one.upload)],
            "autopilots": [autopilot_json(standing) for standing in autopilots.standings(session)],
        }


def _open_retags(session: Session) -> list[RetagLine]:
    return retags.lines(session, retags.open_ids(session, most=10))


def _status_text(runtime: Runtime, now: dict[str, Any], upload: str | None) -> str:
    lines = [
        f"{'upload ' + upload if upload else 'all uploads'}: {now['products']:,} products",
        f"  {console.status_line(now['by_status'])}",
        "  batches: " + ", ".join(f"{n:,} {state}" for state, n in now["batches"].items() if n),
        f"  rate: {now['products_per_s']:,.1f} products/s over the last minute",
        *(f"  [red]cannot be done:[/red] {console.plain(one)}" for one in now["hindered_by"]),
    ]
    with runtime.database.read() as session:
        for standing in autopilots.standings(session):
            lines += [f"  {line}" for line in autopilot_lines(standing)]
        if upload is None:
            lines += [f"  {retag_text(line)}" for line in _open_retags(session)]
            lines += [
                f"  upload {one.id}: {one.state} from {console.plain(one.source)}"
                for one in uploads.latest(session, 5)
            ]
        for one in uploads.cut_off(session, now=utc_now()):
            if upload in (None, one.upload):
                what, remedy = map(console.plain, cut_off_text(one))
                lines += [f"  {what}", f"    → {remedy}"]
    return "\n".join(lines)


@contextmanager
def _errors_for_people() -> Iterator[None]:
    say = redactor().text
    try:
        yield
    except AtelierError as error:
        console.err().print("[red]error:[/red]", escape(say(str(error))), soft_wrap=True)
        sys.exit(1)
    except DBAPIError as error:
        console.err().print("[red]error:[/red] the database cannot be used:", end=" ")
        console.err().print(say(str(error.orig)), markup=False)
        console.err().print("`atelier check` says what is wrong and how to mend it.")
        sys.exit(1)
    except UnicodeEncodeError as error:
        # Only what was typed: any other text that cannot be stored should have been refused before.
        if not any(word.endswith(error.object) for word in sys.argv):
            raise
        said = f"error: {say(error.object)!r} is no valid text; type it in UTF-8"
        console.err().print(said, markup=False, soft_wrap=True)
        sys.exit(2)
    except ValidationError as error:
        for one in error.errors():
            name = "_".join(str(part) for part in one["loc"])
            got = "" if Settings.is_secret(name) else f" (got {one['input']!r})"
            said = one["msg"].removeprefix("Value error, ")
            # What is about several settings at once names them itself.
            what = f"ATELIER_{name.upper()}: {said}{got}" if name else said
            console.err().print(f"error: {say(what)}", markup=False, soft_wrap=True)
        sys.exit(2)


def main() -> None:
    """The console script."""
    from worker import (
        cli_backup,
        cli_catalog,
        cli_report,
        cli_retag,
        cli_review,
        cli_rules,
        cli_train,
        cli_uploads,
        cli_users,
        cli_web,
    )

    cli_catalog.add_to(app)
    cli_backup.add_to(app)
    cli_train.add_to(app)
    cli_report.add_to(app)
    cli_retag.add_to(app)
    cli_review.add_to(app)
    cli_rules.add_to(app)
    cli_uploads.add_to(app)
    cli_users.add_to(app)
    cli_web.add_to(app)
    redact_uncaught()
    with _errors_for_people():
        app()


if __name__ == "__main__":
    main()
