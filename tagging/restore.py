"""A backup becomes an installation again: an empty data folder, filled whole or not at all.

Everything is unpacked into a folder beside it and verified there: every sha256, SQLite's own check,
that each image that the database names is there and no other. Then the copy of the database is
brought to this version's schema, what was going on when it was made is ended, and the folder gets
its name.

A backup is trusted with accounts and models as much as a database is: restore your own ones. What
it is not trusted with is this machine: no name in it reaches outside of the new folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.exc import DatabaseError

from tagging.backup import DATABASE_NAME, MANIFEST_NAME, Bundles, Manifest, image_name
from tagging.catalog.delivery import shown
from tagging.database import counts, restored, schema, stored_images
from tagging.database.restored import Released
from tagging.database.session import Database
from tagging.errors import BackupError, BundleError, StoreAwayError
from tagging.failpoints import failpoint
from tagging.images.store import FolderImageStore
from tagging.model_card import CARD_NAME, card_fingerprint, read_bundle
from tagging.private_files import open_private
from tagging.tape import Member, members

FLUSH_IMAGES: Final = 500
_MANIFEST_BYTES: Final = 1 << 20
_CARD_BYTES: Final = 16 << 20
_VALUE_BYTES: Final = 64 << 20
_MODEL_FILE: Final = re.compile(r"models/([1-9][0-9]{0,18})/([A-Za-z0-9_][A-Za-z0-9._-]{0,63})")
_IMAGE: Final = re.compile(r"images/[0-9a-f]{2}/[0-9a-f]{2}/([0-9a-f]{64})")
_MODELS: Final = "models"
_UNPACKED_MODELS: Final = ".models"


@dataclass(frozen=True, kw_only=True)
class RestoreReport:
    """What came of a restore. `missing_models`: `name:version` of models that are nowhere here.
    `dropped_triggers`: names of what somebody had added to the database.
    """

    home: Path
    manifest: Manifest
    migration: str
    released: Released
    missing_models: tuple[str, ...]
    dropped_triggers: tuple[str, ...]


def restore(
    source: Path,
    home: Path,
    *,
    bundles: Bundles,
    on_progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> RestoreReport:
    """Make `home` the installation of which `source` is a backup.

    Args:
        source: made by `tagging.backup.back_up`, of this version or an older one.
        home: missing or empty; the folder that it is in must be there.
        bundles: where the models that come with Atelier are on this machine.
        on_progress: called with the bytes read and how many there are.

    Raises:
        BackupError: the backup is damaged, altered, or of a newer version; or `home` is in use.
            Then nothing was put in place.
    """
    _require_empty(home)
    with _workplace(home) as folder:
        with _opened(source) as stream:
            manifest = _Unpacking(folder, stream, on_progress).run()
        report = _prepare(folder, home, manifest, bundles)
        _sync_all(folder)
        failpoint("restore.rename")
        _require_empty(home)
        folder.rename(home)  # over an empty folder, too
        failpoint("restore.renamed")
        _sync_folder(home.absolute().parent)
    return report


class _Unpacking:
    """Reads a tape into a folder; nothing that it says is believed before it was compared."""

    def __init__(
        self, folder: Path, stream: BinaryIO, on_progress: Callable[[int, int], None]
    ) -> None:
        self._folder = folder
        self._stream = stream
        self._on_progress = on_progress
        self._size = os.fstat(stream.fileno()).st_size
        self._database: tuple[str, int] | None = None  # sha256, bytes
        self._models: dict[str, dict[str, str]] = {}
        self._images = 0
        self._manifest: Manifest | None = None

    def run(self) -> Manifest:
        store = FolderImageStore(self._folder / "images", private=True)
        with store.session() as puts:
            for member in members(self._stream):
                if self._manifest is not None:
                    raise _foreign(member.name)
                if self._database is None and member.name != DATABASE_NAME:
                    raise BackupError(
                        f"this is no backup of Atelier: it begins with {member.name!r}. "
                        "`atelier backup` makes one"
                    )
                if image := _IMAGE.fullmatch(member.name):
                    self._image(member, image[1], puts.put(member, max_bytes=member.size)[0])
                    if self._images % FLUSH_IMAGES == 0:
                        puts.flush()
                else:
                    self._other(member)
                self._on_progress(self._stream.tell(), self._size)
            puts.flush()
        return self._compared()

    def _image(self, member: Member, named: str, found: str) -> None:
        if member.name != image_name(named) or found != named:
            raise BackupError(
                f"the backup is damaged: the bytes of image {named} are those of {found}. Copy it "
                "again, or use another"
            )
        self._images += 1

    def _other(self, member: Member) -> None:
        if member.name == DATABASE_NAME and self._database is None:
            self._database = (self._keep(member, self._folder / DATABASE_NAME), member.size)
            _require_known(self._folder / DATABASE_NAME)
        elif member.name == MANIFEST_NAME:
            self._manifest = _read_manifest(member)
        elif model := _MODEL_FILE.fullmatch(member.name):
            if model[2] == CARD_NAME and member.size > _CARD_BYTES:
                raise _foreign(member.name)
            files = self._models.setdefault(model[1], {})
            if model[2] in files or len(self._models) > 10_000 or len(files) > 100:
                raise _foreign(member.name)
            folder = self._folder / _UNPACKED_MODELS / model[1]
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            files[model[2]] = self._keep(member, folder / model[2])
        else:
            raise _foreign(member.name)

    def _keep(self, member: Member, path: Path) -> str:
        """Write a member to a new file; its sha256."""
        digest = hashlib.sha256()
        with os.fdopen(open_private(path, os.O_WRONLY | os.O_EXCL), "wb") as stream:
            while piece := member.read(1 << 20):
                digest.update(piece)
                stream.write(piece)
        return digest.hexdigest()

    def _compared(self) -> Manifest:
        manifest = self._manifest
        if manifest is None:
            raise BackupError("the backup has no manifest: it is incomplete. Use another")
        said = (manifest.database_sha256, manifest.database_bytes)
        if said != self._database or manifest.models != self._models:
            raise BackupError(
                "the backup is damaged: the database or a model in it is not what its manifest "
                "says. Copy it again, or use another"
            )
        if manifest.images != self._images:
            raise BackupError(
                f"the backup is damaged: its manifest says {manifest.images:,} images, it has "
                f"{self._images:,}. Copy it again, or use another"
            )
        return manifest


def _read_manifest(member: Member) -> Manifest:
    if member.size > _MANIFEST_BYTES:
        raise _foreign(member.name)
    try:
        return Manifest.model_validate_json(b"".join(iter(member.read, b"")))
    except ValidationError as error:
        raise BackupError(
            f"the backup's manifest cannot be read ({error.error_count()} problems): it is damaged "
            "or of another version of Atelier"
        ) from error


def _foreign(name: str) -> BackupError:
    return BackupError(
        f"the backup has an entry that has no place in one, {name!r}: it was not made by `atelier "
        "backup`. Nothing of it was restored"
    )


def _require_known(path: Path) -> None:
    """Refuse what is no database, or of a newer version, before the images are unpacked."""
    database = _opened_database(path)
    try:
        with database.read() as session:
            foreign = restored.foreign_schema(session)
        if foreign is not None:
            raise BackupError(
                f"the database in the backup has a {shown(foreign)}, which Atelier does not make, "
                "and is not read. Use another backup"
            )
        migration = schema.current(database)
    except DatabaseError as error:
        raise BackupError(
            f"the database in the backup cannot be read: {error.orig}. Use another backup"
        ) from error
    finally:
        database.close()
    if migration is None or not schema.knows(migration):
        raise BackupError(
            f"the backup's database is at migration {migration or 'none'}, which this version of "
            "Atelier does not know: it was made by a newer one. Install that one to restore it"
        )


def _opened_database(path: Path) -> Database:
    """A database that others may have made: nothing in its schema runs what it likes, and no value
    in it takes more memory than `_VALUE_BYTES`."""

    def confine(connection: sqlite3.Connection, _: object) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_BYTES)
        connection.execute("PRAGMA trusted_schema = OFF")

    database = Database(f"sqlite:///{path}")
    sa.event.listen(database.engine, "connect", confine)
    return database


def _prepare(folder: Path, home: Path, manifest: Manifest, bundles: Bundles) -> RestoreReport:
    """Verify the unpacked database, and make it one of an installation at `home`."""
    database = _opened_database(folder / DATABASE_NAME)
    try:
        _require_sound(database)
        _compare_images(database, FolderImageStore(folder / "images"), manifest)
        dropped = _drop_triggers(database)
        schema.upgrade(database)
        with database.write("restore.prepare") as session:
            missing: list[str] = []
            for model_id, title, fingerprint, _ in restored.model_rows(session):
                path = _place_model(folder, home.absolute(), str(model_id), fingerprint)
                path = path or bundles.shipped.get(fingerprint)
                if path is None:
                    missing.append(title)
                else:
                    restored.move_model(session, model_id, path)
            released = restored.release_all(session)
            counts.make_triggers(session)
            session.commit()
    except DatabaseError as error:
        raise BackupError(
            f"the database in the backup cannot be used: {error.orig}. Use another backup"
        ) from error
    finally:
        database.close()
    shutil.rmtree(folder / _UNPACKED_MODELS, ignore_errors=True)
    return RestoreReport(
        home=home,
        manifest=manifest,
        migration=schema.head(),
        released=released,
        missing_models=tuple(missing),
        dropped_triggers=dropped,
    )


def _require_sound(database: Database) -> None:
    with database.read() as session:
        verdict = restored.quick_check(session)
    if verdict != "ok":
        raise BackupError(f"the database in the backup is damaged: {verdict}. Use another backup")


def _drop_triggers(database: Database) -> tuple[str, ...]:
    """They would run with whatever is written here; Atelier's are made anew afterwards."""
    with database.write("restore.triggers") as session:
        names = restored.drop_triggers(session)
        session.commit()
    return tuple(names)


def _compare_images(database: Database, store: FolderImageStore, manifest: Manifest) -> None:
    """Each image that the database names is there, but for those that were missing already."""
    there, lacking = 0, 0
    for image in stored_images.in_order(database):
        try:
            fits = store.path(image.sha256).stat().st_size == image.size_bytes
        except (FileNotFoundError, ValueError):
            fits = False
        there, lacking = there + fits, lacking + (not fits)
    if (there, lacking) != (manifest.images, manifest.missing_images):
        raise BackupError(
            f"the backup is damaged: {lacking:,} images that its database names are not in it, "
            f"where its manifest says {manifest.missing_images:,}, and "
            f"{manifest.images - there:,} are that it does not name. Use another"
        )


def _place_model(folder: Path, home: Path, model_id: str, fingerprint: str) -> Path | None:
    """Where an unpacked model will be; None if it is not in the backup."""
    unpacked = folder / _UNPACKED_MODELS / model_id
    if not unpacked.is_dir():
        return None
    try:
        card = read_bundle(unpacked)
    except BundleError as error:
        raise BackupError(f"a model in the backup is damaged: {error}") from error
    if card_fingerprint(card) != fingerprint:
        raise BackupError(
            f"the backup is damaged: what it has as model {model_id} is {card.title}, which is not "
            "the one that its database names. Use another"
        )
    name = f"{card.name}-{card.version}"
    if (folder / _MODELS / name).exists():  # a-1 in version 2, and a in version 1-2
        name = f"{name}.{model_id}"
    (folder / _MODELS).mkdir(mode=0o700, exist_ok=True)
    unpacked.rename(folder / _MODELS / name)
    return home / _MODELS / name


@contextmanager
def _opened(source: Path) -> Iterator[BinaryIO]:
    try:
        with source.open("rb") as stream:
            yield stream
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        if error.filename != str(source):
            raise
        raise BackupError(f"{source} cannot be read: {error.strerror}") from error


def _require_empty(home: Path) -> None:
    if os.path.lexists(home) and (home.is_symlink() or not home.is_dir()):
        raise BackupError(f"{home} is no folder; choose another data folder with --home DIR")
    if home.is_dir() and (there := sorted(path.name for path in home.iterdir())):
        raise BackupError(
            f"the data folder {home} is not empty (it has {', '.join(there[:5])}"
            f"{', …' if len(there) > 5 else ''}). A backup is restored into an empty one: choose "
            "another with --home DIR, or move this one away first"
        )
    if os.path.ismount(home):
        raise BackupError(
            f"{home} is a mounted disk or volume, which cannot be replaced as a whole. Restore "
            f"into a new folder on it: --home {home / 'atelier'}"
        )


@contextmanager
def _workplace(home: Path) -> Iterator[Path]:
    """A folder beside the data folder, on the same disk; gone at the end, unless it was renamed."""
    parent = home.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=f".{home.name}.", suffix=".partial"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, StoreAwayError) as error:
        raise BackupError(
            f"the data folder {home} cannot be made: {error}. Nothing was put in place; make room, "
            "or choose another with --home DIR"
        ) from error


def _sync_all(folder: Path) -> None:
    """Have the database, the models and every folder on the disk; images are there already."""
    for path in [folder / DATABASE_NAME, *(folder / _MODELS).rglob("*"), folder]:
        with contextlib.suppress(FileNotFoundError):
            _sync_folder(path)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
