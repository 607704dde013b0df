"""Commands that take a backup of one machine's installation, and make one of a backup."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from tagging import failpoints
from tagging.backup import BackupReport, Bundles, back_up
from tagging.database.session import Database
from tagging.errors import BackupError, BundleError
from tagging.model_card import CARD_NAME, card_fingerprint, read_card
from tagging.redaction import shown_url
from tagging.restore import RestoreReport, restore
from tagging.settings import Settings
from worker import console
from worker.bootstrap import SHIPPED_BUNDLES, bundle_folders, image_store, utc_now
from worker.deep_check import examine_deeply
from worker.doctor import examine, print_findings
from worker.options import Home, Json, settings_for


def add_to(app: typer.Typer) -> None:
    """Hang these commands onto the main one."""
    app.command("backup")(backup)
    app.command("restore")(restore_backup)


def backup(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file that the backup is to be.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that stands there.")
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write database, images and models into one file, while everything goes on."""
    settings, as_json = settings_for(context, home, as_json)
    failpoints.switch_on(settings.failpoints)
    if not settings.embedded:
        raise BackupError(_how_with_servers(settings))
    if not (settings.home / "atelier.db").exists():
        raise BackupError(
            f"there is nothing to back up in {settings.home}: it has no database. Name the data "
            "folder with --home DIR or ATELIER_HOME"
        )
    database = Database(settings.resolved_database_url())
    try:
        with _progress("backing up") as on_progress:
            report = back_up(
                database,
                image_store(settings),
                file,
                bundles=_bundles(settings),
                force=force,
                now=utc_now(),
                on_progress=on_progress,
            )
    finally:
        database.close()
    _tell_backup(report, as_json=as_json)


def restore_backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `atelier backup` wrote.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Make an empty data folder the installation that was backed up, and check all of it."""
    settings, as_json = settings_for(context, home, as_json)
    failpoints.switch_on(settings.failpoints)
    if not settings.embedded:
        raise BackupError(
            "ATELIER_DATABASE_URL is set, and a backup is restored into a data folder: unset it. A "
            "dump of PostgreSQL is restored with pg_restore; see docs/backup.md"
        )
    if settings.images_dir is not None:
        raise BackupError(
            "ATELIER_IMAGES_DIR is set, and a backup is restored into a data folder as a whole: "
            "unset it, restore, then move `images` out of the data folder and set it again"
        )
    with _progress("restoring") as on_progress:
        report = restore(file, settings.home, bundles=_bundles(settings), on_progress=on_progress)
    findings = [*examine(settings), *examine_deeply(settings)]
    if as_json:
        console.print_json(
            _restore_json(report) | {"findings": [finding.as_json() for finding in findings]}
        )
    else:
        _tell_restore(report)
        print_findings(findings, as_json=False)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _bundles(settings: Settings) -> Bundles:
    shipped = {}
    for card in sorted(SHIPPED_BUNDLES.glob(f"*/{CARD_NAME}")):
        try:
            shipped[card_fingerprint(read_card(card.parent))] = card.parent
        except BundleError as error:
            console.err().print(f"warning: {error}", markup=False)
    folders = [path for path in bundle_folders(settings) if path.parent != SHIPPED_BUNDLES]
    return Bundles(shipped=shipped, folders=tuple(folders))


def _how_with_servers(settings: Settings) -> str:
    database = shown_url(settings.resolved_database_url())
    return (
        f"the database of this installation is on a server ({database}): its own tool backs it up "
        "while it works. In this order, for the images that the database names must be in the "
        "copy of the store:\n"
        "  1. pg_dump --format=custom --file=atelier.dump --dbname=DATABASE\n"
        f"  2. rsync -a {settings.resolved_images_dir()}/ BACKUP/images/\n"
        f"  3. rsync -a {settings.models_dir()}/ BACKUP/models/\n"
        "Redis needs no backup: it is only a doorbell. docs/backup.md says how to restore it"
    )


def _tell_backup(report: BackupReport, *, as_json: bool) -> None:
    manifest = report.manifest
    if as_json:
        console.print_json(
            {
                "file": str(report.file.absolute()),
                "bytes": report.bytes,
                "atelier": manifest.atelier,
                "migration": manifest.migration,
                "created_at": manifest.created_at.isoformat(),
                "products": manifest.products,
                "images": manifest.images,
                "image_bytes": manifest.image_bytes,
                "missing_images": manifest.missing_images,
                "missing": list(report.missing),
                "models": len(manifest.models),
                "left_out": list(report.left_out),
            }
        )
        return
    console.out().print(
        f"{report.file}: {manifest.products:,} products, {manifest.images:,} images, "
        f"{len(manifest.models)} models besides those that come with Atelier; "
        f"{report.bytes / 1e6:,.1f} MB",
        markup=False,
        soft_wrap=True,
    )
    if manifest.missing_images:
        more = "…" if manifest.missing_images > len(report.missing) else ""
        console.err().print(
            f"warning: {manifest.missing_images:,} images are not in it, for the store does not "
            f"have them as the database names them ({', '.join(report.missing)}{more}); `atelier "
            "check --deep` says what to do",
            markup=False,
            soft_wrap=True,
        )
    for one in report.left_out:
        console.err().print(f"warning: not in it: {one}", markup=False, soft_wrap=True)


def _restore_json(report: RestoreReport) -> dict[str, object]:
    return {
        "home": str(report.home.absolute()),
        "backup_of": report.manifest.created_at.isoformat(),
        "migration_before": report.manifest.migration,
        "migration": report.migration,
        "products": report.manifest.products,
        "images": report.manifest.images,
        "models": len(report.manifest.models),
        "leases_released": report.released.leases,
        "sessions_dropped": report.released.sessions,
        "links_dropped": report.released.links,
        "missing_models": list(report.missing_models),
        "dropped_triggers": list(report.dropped_triggers),
    }


def _tell_restore(report: RestoreReport) -> None:
    manifest = report.manifest
    talk = console.out()
    talk.print(
        f"{report.home}: as of {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC, "
        f"{manifest.products:,} products, {manifest.images:,} images",
        markup=False,
        soft_wrap=True,
    )
    if report.migration != manifest.migration:
        talk.print(f"  database upgraded from migration {manifest.migration} to {report.migration}")
    talk.print(
        f"  {report.released.leases:,} batches that were in hand are queued again; start `atelier "
        "worker`"
    )
    talk.print(
        f"  {report.released.sessions:,} sessions and {report.released.links:,} log-in links were "
        "dropped: everybody logs in again"
    )
    if report.dropped_triggers:
        talk.print(
            f"  triggers that are not Atelier's were dropped: {', '.join(report.dropped_triggers)}",
            markup=False,
        )
    for title in report.missing_models:
        talk.print(
            f"  warning: the model {title} was not in the backup and is not here; copy its bundle "
            "into the `models` folder",
            markup=False,
        )


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Nothing is drawn where standard error is no terminal."""
    talk = console.err()
    with Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=talk,
        transient=True,
        disable=not talk.is_terminal,
    ) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, of: progress.update(bar, completed=done, total=of)
