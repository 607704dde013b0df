"""`atelier check`: looks at everything that Atelier needs, and says how to mend what is wrong."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from tagging.database import backlog, counts, models, schema, uploads
from tagging.database.models import ModelLine
from tagging.database.session import Database, wal_is_safe
from tagging.domain import Status
from tagging.errors import AtelierError
from tagging.images import confinement
from tagging.model_card import card_fingerprint, read_bundle
from tagging.private_files import opened_to_others
from tagging.redaction import shown_url
from tagging.settings import Settings
from worker import console
from worker.bootstrap import DEFAULT_BUNDLE, loads_of, utc_now
from worker.cut_off import cut_off_text
from worker.doorbell import BrokerDoorbell
from worker.loads import deadly

LOW_DISK_BYTES: Final = 1024**3


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at; `remedy` is empty where nothing is to be done."""

    what: str
    ok: bool
    found: str
    remedy: str = ""

    def as_json(self) -> dict[str, object]:
        """The documented keys."""
        return vars(self)

    def lines(self) -> list[str]:
        """For a terminal, in Rich's markup."""
        mark = "[green]ok[/green]     " if self.ok else "[red]problem[/red]"
        told = [f"{mark} {self.what}: {console.plain(self.found)}"]
        if self.remedy:
            told.append(f"        → {console.plain(self.remedy)}")
        return told


def print_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """On standard output."""
    if as_json:
        console.print_json([finding.as_json() for finding in findings])
        return
    for finding in findings:
        for line in finding.lines():
            console.out().print(line, soft_wrap=True)


def examine(settings: Settings) -> list[Finding]:
    """Every finding, in the order in which they should be mended. Changes nothing."""
    findings = [_data_folder(settings), _decoders(), _tensorflow(), _model(settings)]
    if _out_of_reach(settings.home):
        return findings  # nothing in it can be looked at
    findings[1:1] = [_privacy(settings)]
    findings.append(_sqlite(settings))
    if settings.embedded and not (settings.home / "atelier.db").exists():
        findings.append(
            Finding(
                what="database",
                ok=True,
                found="none yet; the first `atelier tag` makes it in the data folder",
            )
        )
        return findings
    database = Database(settings.resolved_database_url())
    try:
        findings.append(_database(database))
        if findings[-1].ok:
            findings.extend(_queue(settings, database))
    finally:
        database.close()
    return findings


def _out_of_reach(folder: Path) -> bool:
    """Whether this account may not even see what is in it."""
    try:
        os.scandir(folder).close()
    except PermissionError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        pass
    return False


def _data_folder(settings: Settings) -> Finding:
    home = settings.home.absolute()
    # By os.path: for Path.exists, before Python 3.12, what is out of reach is an error.
    where = next(one for one in (home, *home.parents) if os.path.lexists(one))
    is_folder = os.path.isdir(where)  # noqa: PTH112
    if not (is_folder and os.access(where, os.W_OK | os.X_OK)):
        return Finding(
            what="data folder",
            ok=False,
            found=f"{where} cannot be written" if is_folder else f"{where} is no folder",
            remedy="choose another with --home DIR or ATELIER_HOME, or change its owner",
        )
    free = shutil.disk_usage(where).free
    return Finding(
        what="data folder",
        ok=free >= LOW_DISK_BYTES,
        found=f"{home}, {free / 1024**3:.1f} GiB free",
        remedy="" if free >= LOW_DISK_BYTES else "make room: images are copied into it",
    )


def _privacy(settings: Settings) -> Finding:
    opened = opened_to_others(settings.home.resolve())
    shared = settings.images_dir and settings.images_dir.resolve()
    opened = [path for path in opened if path != shared]
    return Finding(
        what="privacy",
        ok=not opened,
        found=f"other accounts of this machine may open {', '.join(map(str, opened[:5]))}"
        if opened
        else "the data folder is closed to other accounts of this machine",
        remedy=f"as the owner: chmod -R go= {shlex.quote(str(settings.home.absolute()))}; any "
        "command but `check` that its owner runs does the same"
        if opened
        else "",
    )


def _decoders() -> Finding:
    """No problem where it is missing: the limits of memory and time hold everywhere."""
    found = confinement.supported()
    return Finding(
        what="decoders",
        ok=True,
        found=f"kept from other processes, files and programs by Landlock, version {found}"
        if found
        else "bounded in memory and time, but not kept from files, programs and networks: this "
        "system has no Landlock, or a container's filter of system calls keeps it from us",
    )


def _tensorflow() -> Finding:
    if find_spec("tensorflow") is None:
        return Finding(
            what="tensorflow",
            ok=os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow",
            found="not installed",
            remedy="pip install 'atelier[cpu]', or 'atelier[gpu]' on a machine with one; or set "
            "KERAS_BACKEND to a backend that is installed",
        )
    names = ("tensorflow", "tensorflow-cpu", "keras")
    return Finding(
        what="tensorflow", ok=True, found=", ".join(filter(None, map(_release_of, names)))
    )


def _release_of(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""


def _model(settings: Settings) -> Finding:
    path: Path = settings.model_bundle or DEFAULT_BUNDLE
    try:
        card = read_bundle(path)
    except AtelierError as error:
        return Finding(
            what="model for new retailers",
            ok=False,
            found=str(error),
            remedy="train one with `atelier train`, or set ATELIER_MODEL_BUNDLE",
        )
    return Finding(
        what="model for new retailers", ok=True, found=f"{card.title} at {path}, all files verified"
    )


def _sqlite(settings: Settings) -> Finding:
    mode = "WAL" if wal_is_safe() else "DELETE journal, because this release's WAL has a defect"
    return Finding(
        what="sqlite",
        ok=True,
        found=f"{sqlite3.sqlite_version}, {mode}"
        + ("" if settings.embedded else " (not in use: a database server is set)"),
    )


def _database(database: Database) -> Finding:
    shown = shown_url(database.url.render_as_string(hide_password=False))
    try:
        found, needed = schema.current(database), schema.head()
    except DBAPIError as error:
        return Finding(
            what="database",
            ok=False,
            found=f"{shown} does not answer: {str(error.orig).strip()}",
            remedy="start the server, or correct ATELIER_DATABASE_URL",
        )
    return Finding(
        what="database",
        ok=found == needed,
        found=f"{shown} at migration {found}",
        remedy="" if found == needed else "run `atelier db upgrade`",
    )


def _queue(settings: Settings, database: Database) -> Iterator[Finding]:
    doorbell = BrokerDoorbell(settings)
    depth = doorbell.depth()
    yield Finding(
        what="broker",
        ok=depth is not None,
        found="does not answer" if depth is None else f"{depth:,} messages wait",
        remedy="start the broker, or correct ATELIER_BROKER_URL" if depth is None else "",
    )
    with database.read() as session:
        in_batches = backlog.counts(session)
        products = counts.by_status(session)
        errors = backlog.last_errors(session)
        dead = uploads.cut_off(session, now=utc_now())
        in_charge = [line for line in models.all_models(session) if line.in_charge_of]
    broken = [
        f"{line.title} (of {', '.join(line.in_charge_of)}): {said}"
        for line in in_charge
        if (said := _wrong_with(line))
    ]
    yield Finding(
        what="queue",
        ok=not errors,
        found=f"{products[Status.QUEUED]:,} products queued in {in_batches['queued']:,} batches, "
        f"{in_batches['leased']:,} in hand" + ("; " + "; ".join(errors) if errors else ""),
        remedy="mend what the errors name; the batches stay queued"
        if errors
        else "start `atelier worker`"
        if in_batches["queued"] and not in_batches["leased"]
        else "",
    )
    told = [cut_off_text(one) for one in dead]
    yield Finding(
        what="uploads",
        ok=True,  # nothing that was promised is broken: who delivered it heard of no product
        found="; ".join(what for what, _ in told) or "none was cut off while it was received",
        remedy="; ".join(remedy for _, remedy in told),
    )
    yield Finding(
        what="models in charge",
        ok=not broken,
        found="all verified" if not broken else f"not usable: {'; '.join(broken)}",
        remedy="copy the bundle back to its folder, which `atelier models list` names, or put "
        "another model in charge with `atelier retailers add NAME --model NAME:VERSION`"
        if broken
        else "",
    )
    used = {line.title for line in in_charge}
    died = {t: n for t, n in deadly(loads_of(settings).folder).items() if t in used}
    yield Finding(
        what="loading models",
        ok=not died,
        found="ended no worker of this data folder"
        if not died
        else "workers died or hung while they loaded "
        + ", ".join(f"{title} ({number} in a row)" for title, number in died.items()),
        remedy=""
        if not died
        else "give the worker more memory and start it again, or put another "
        "model in charge; other models' work goes on meanwhile",
    )


def _wrong_with(line: ModelLine) -> str:
    """Empty if what lies at its path is intact, and the model that was registered."""
    try:
        card = line.usable().card
        if card_fingerprint(read_bundle(line.path)) != card_fingerprint(card):
            return f"another bundle lies at {line.path}"
    except (AtelierError, OSError) as error:
        return str(error)
    return ""
