"""A backup of an installation on one machine, taken while it works: one file.

    back_up(database, store, Path("atelier.backup"), ...)

The database is copied first, as one commit left it; then the images that the copy names. These
are named by their content and never changed or removed, so what the copy names is there however
much was delivered meanwhile. The file is a tar:

    atelier.db                     the copy
    models/<id>/<file>             bundles that the copy names, but for those that come with Atelier
    images/ab/cd/<sha256>
    manifest.json                  last: where it stands, the backup is complete

It has no broker file, logs or previews: these are made anew. Every key is in the database.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from tagging.database import restored, schema, stored_images
from tagging.database.copying import copy_database
from tagging.database.session import Database
from tagging.errors import BackupError, BundleError
from tagging.failpoints import failpoint
from tagging.images.store import STALE_SECONDS, ImageStore
from tagging.model_card import BundleContent, card_fingerprint, read_content
from tagging.private_files import open_private
from tagging.tape import TapeWriter

FORMAT: Final = 1
DATABASE_NAME: Final = "atelier.db"
MANIFEST_NAME: Final = "manifest.json"
EXAMPLES: Final = 5
_PARTIAL: Final = ".partial"


class Manifest(BaseModel):
    """What a backup says of itself. `models`: row id -> file -> sha256."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = FORMAT
    atelier: str
    migration: str
    created_at: dt.datetime
    products: int
    images: int
    image_bytes: int
    missing_images: int
    database_bytes: int
    database_sha256: str
    models: dict[str, dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class BackupReport:
    """What was written. `missing`: sha256s of the first images that the store did not have as the
    database names them. `left_out`: models that are not usable here either, and why.
    """

    file: Path
    bytes: int
    manifest: Manifest
    missing: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Bundles:
    """Where models are: `shipped` come with Atelier, `folders` are searched for the others.

    `shipped`: fingerprint -> folder.
    """

    shipped: dict[str, Path]
    folders: tuple[Path, ...]


def back_up(
    database: Database,
    store: ImageStore,
    target: Path,
    *,
    bundles: Bundles,
    force: bool,
    now: dt.datetime,
    on_progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> BackupReport:
    """Write a backup to `target`, whole or not at all.

    Args:
        database: an SQLite one; others may use it meanwhile.
        target: its folder must be there.
        force: whether a file that stands there may be replaced.
        now: the time that the backup bears.
        on_progress: called with the bytes written and how many there will be.

    Raises:
        BackupError: it cannot be written (the disk is full, something stands there). Nothing is
            left of it, and what stood there stands.
    """
    source = database_file(database)
    _require_free(target, force=force)
    with _workplace(target) as folder:
        copy, tape = folder / DATABASE_NAME, folder / "tape"
        copy_database(source, copy)
        failpoint("backup.copied")
        with os.fdopen(open_private(tape, os.O_RDWR | os.O_EXCL), "w+b") as stream:
            report = _write(
                TapeWriter(stream), copy, store, bundles=bundles, now=now, on_progress=on_progress
            )
            size = stream.tell()
        _require_free(target, force=force)
        failpoint("backup.rename")
        tape.replace(target)
        failpoint("backup.renamed")
        _sync_folder(target.absolute().parent)
    return BackupReport(
        file=target,
        bytes=size,
        manifest=report.manifest,
        missing=report.missing,
        left_out=report.left_out,
    )


def database_file(database: Database) -> Path:
    """The file of an SQLite database. Raises BackupError for a server's."""
    name = database.url.database
    if not database.is_sqlite or not name:
        raise BackupError("only the database of one machine (SQLite) is backed up into a file")
    if not Path(name).is_file():
        raise BackupError(f"there is no database {name} yet; nothing to back up")
    return Path(name)


@dataclass(frozen=True, kw_only=True)
class _Written:
    manifest: Manifest
    missing: tuple[str, ...]
    left_out: tuple[str, ...]


def _write(
    tape: TapeWriter,
    copy: Path,
    store: ImageStore,
    *,
    bundles: Bundles,
    now: dt.datetime,
    on_progress: Callable[[int, int], None],
) -> _Written:
    database_bytes = copy.stat().st_size
    with copy.open("rb") as stream:
        database_sha256 = tape.add(DATABASE_NAME, database_bytes, stream)
    if database_sha256 is None:
        raise BackupError(f"{copy} changed while it was read; does another program use it?")
    # Opened after it is on the tape: opening may change how its journal is kept.
    database = Database(f"sqlite:///{copy}")
    try:
        migration = schema.current(database)
        if migration is None or not schema.knows(migration):
            raise BackupError(
                f"the database is at migration {migration or 'none'}, which this version of "
                "Atelier does not know; back it up with the version that it belongs to"
            )
        with database.read() as session:
            models = restored.model_rows(session)
            images, image_bytes = stored_images.totals(session)
            products = restored.product_count(session)
        _require_room(copy.parent, image_bytes)
        known, left_out = _write_models(tape, models, bundles)
        if images:
            store.require_available()
        done = database_bytes
        written, written_bytes = 0, 0
        missing: list[str] = []
        for image in stored_images.in_order(database):
            path = store.path(image.sha256)
            try:
                with path.open("rb") as stream:
                    fits = os.fstat(stream.fileno()).st_size == image.size_bytes and tape.add(
                        image_name(image.sha256), image.size_bytes, stream, sha256=image.sha256
                    )
            except FileNotFoundError:
                fits = False
            if fits:
                written, written_bytes = written + 1, written_bytes + image.size_bytes
            elif len(missing) < EXAMPLES:
                missing.append(image.sha256)
            done += image.size_bytes
            on_progress(done, database_bytes + image_bytes)
    finally:
        database.close()
    manifest = Manifest(
        atelier=version("atelier"),
        migration=migration,
        created_at=now,
        products=products,
        images=written,
        image_bytes=written_bytes,
        missing_images=images - written,
        database_bytes=database_bytes,
        database_sha256=database_sha256,
        models=known,
    )
    text = manifest.model_dump_json(indent=1).encode()
    tape.add(MANIFEST_NAME, len(text), io.BytesIO(text))
    tape.finish()
    failpoint("backup.written")
    return _Written(manifest=manifest, missing=tuple(missing), left_out=tuple(left_out))


def image_name(sha256: str) -> str:
    """An image's name on the tape."""
    return f"images/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _write_models(
    tape: TapeWriter, models: Sequence[tuple[int, str, str, str]], bundles: Bundles
) -> tuple[dict[str, dict[str, str]], list[str]]:
    known: dict[str, dict[str, str]] = {}
    left_out: list[str] = []
    for model_id, title, fingerprint, path in models:
        if fingerprint in bundles.shipped:
            continue
        found = _find(fingerprint, (Path(path), *bundles.folders))
        if found is None:
            left_out.append(
                f"{title}: no intact bundle of it is at {path} or in the data folder's models"
            )
            continue
        files: dict[str, str] = {}
        for name, content in found.files.items():
            files[name] = hashlib.sha256(content).hexdigest()
            tape.add(
                f"models/{model_id}/{name}", len(content), io.BytesIO(content), sha256=files[name]
            )
        known[str(model_id)] = files
    return known, left_out


def _find(fingerprint: str, folders: Sequence[Path]) -> BundleContent | None:
    """The first intact bundle of this fingerprint; what is written is what was verified."""
    for folder in folders:
        try:
            found = read_content(folder)
        except BundleError:
            continue
        if card_fingerprint(found.card) == fingerprint:
            return found
    return None


def _require_free(target: Path, *, force: bool) -> None:
    if not target.absolute().parent.is_dir():
        raise BackupError(f"there is no folder {target.absolute().parent}; make it first")
    if target.is_dir() and not target.is_symlink():
        raise BackupError(f"{target} is a folder; name the file that the backup is to be")
    if os.path.lexists(target) and not force:
        raise BackupError(f"{target} is there already; name another file, or say --force")


def _require_room(folder: Path, image_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < image_bytes:
        raise BackupError(
            f"the disk of {folder.parent} has {free / 1e9:,.1f} GB free, and the images are "
            f"{image_bytes / 1e9:,.1f} GB. Make room, or name a file on another disk; nothing was "
            "written"
        )


@contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """A folder beside the target, on the same disk; gone at the end, whatever happens."""
    parent = target.absolute().parent
    prefix = f".{target.name}."
    _remove_stale(parent, prefix)
    try:
        # mkdtemp makes it 0700.
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix, suffix=_PARTIAL))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise BackupError(
            f"the backup {target} cannot be written: {error}. Nothing of it was "
            "kept, and what is backed up was not touched; make room, or name another file"
        ) from error


def _remove_stale(parent: Path, prefix: str) -> None:
    """What a backup that was killed left behind, once it is a day old."""
    oldest = time.time() - STALE_SECONDS
    for folder in list(parent.iterdir()):
        if not (folder.name.startswith(prefix) and folder.name.endswith(_PARTIAL)):
            continue
        try:
            files = [folder, *folder.iterdir()] if folder.is_dir() else []
            old = bool(files) and all(path.lstat().st_mtime < oldest for path in files)
        except OSError:  # somebody else's, or gone by now
            continue
        if old:
            shutil.rmtree(folder, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
