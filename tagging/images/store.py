"""The image store: every file once, under the sha256 of its bytes.

A folder `ab/cd/<sha256>`, which any number of processes may share (also over NFS). What stands
under a final name is complete and durable: bytes go to a temporary file beside it, are flushed to
disk, and only then renamed.

In the data folder it is for this account alone. One that an administrator set up for several
machines (`ATELIER_IMAGES_DIR`) keeps what they chose: umask, group and default ACLs decide there.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import io
import os
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Protocol

from tagging.errors import StoreAwayError
from tagging.failpoints import failpoint
from tagging.images.rejection import ImageTooLarge
from tagging.private_files import make_private_folder, open_private

_BLOCK_BYTES: Final = 1 << 20
_INCOMING: Final = "incoming"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_HEX: Final = re.compile(r"[0-9a-f]{2}")
STALE_SECONDS: Final = 24 * 60 * 60
"""How old a temporary file must be to be taken for the leftover of a process that died."""


class Source(Protocol):
    """Whatever can be read piece by piece."""

    def read(self, size: int, /) -> bytes: ...


class StoreSession(Protocol):
    """Images on their way into a store; visible and durable from `flush` on, else discarded."""

    def put(self, source: bytes | Source, max_bytes: int) -> tuple[str, int]: ...
    def has(self, sha256: str, size: int) -> bool: ...
    def flush(self) -> None: ...


class ImageStore(Protocol):
    """Where images lie, named by the sha256 (64 lower-case hex digits) of their bytes."""

    def put(self, source: bytes | Source, max_bytes: int) -> tuple[str, int]:
        """Store an image; returns its sha256 and size in bytes. Durable on return.

        Raises:
            ImageTooLarge: the source has more than `max_bytes`; nothing was kept.
            OSError: the source cannot be read; nothing was kept.
            StoreAwayError: the store cannot be written.
        """
        ...

    def session(self) -> AbstractContextManager[StoreSession]:
        """A context in which many images are put and made durable together."""
        ...

    def path(self, sha256: str) -> Path:
        """Where the image lies, or would lie. Raises ValueError for what is no sha256."""
        ...

    def open(self, sha256: str) -> BinaryIO:
        """The image's bytes, to be closed by the caller. Raises FileNotFoundError."""
        ...

    def exists(self, sha256: str) -> bool:
        """Whether the image is there, complete."""
        ...

    def require_available(self) -> None:
        """Tell a lost image from a lost store: raises StoreAwayError for the latter."""
        ...


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file that was found in the store. `sha256`: None for what is no image's final name."""

    path: Path
    sha256: str | None

    @property
    def is_temporary(self) -> bool:
        """Whether it is on its way in, or was when a process died."""
        return self.path.parent.name == _INCOMING


class FolderImageStore:
    """An `ImageStore` in a folder of a local or shared file system."""

    def __init__(self, root: Path, *, private: bool = False) -> None:
        """`root` is made at the first `put`. `private`: nobody else may read what is put."""
        self.root = root
        self.private = private

    def put(self, source: bytes | Source, max_bytes: int) -> tuple[str, int]:
        """See `ImageStore.put`. For many images, `session` is several times faster."""
        with self.session() as session:
            stored = session.put(source, max_bytes)
            session.flush()
        return stored

    def session(self) -> FolderSession:
        """See `FolderSession`. Also removes temporary files older than a day."""
        with _errors_of_the_store(self.root):
            self.remove_stale()
        return FolderSession(self)

    def path(self, sha256: str) -> Path:
        """See `ImageStore.path`."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"an image is named by 64 lower-case hex digits, got {sha256!r}")
        return self.root / sha256[:2] / sha256[2:4] / sha256

    def open(self, sha256: str) -> BinaryIO:
        """See `ImageStore.open`."""
        return self.path(sha256).open("rb")

    def exists(self, sha256: str) -> bool:
        """See `ImageStore.exists`."""
        return self.path(sha256).is_file()

    def require_available(self) -> None:
        """See `ImageStore.require_available`.

        A mount that is gone leaves an empty folder, so the folder that the first `put` made is
        asked for.
        """
        with _errors_of_the_store(self.root):
            there = (self.root / _INCOMING).is_dir()
        if not there:
            raise StoreAwayError(
                f"the image store at {self.root} is away (it has no '{_INCOMING}' folder); mount "
                "it again or correct ATELIER_IMAGES_DIR"
            )

    def walk(self) -> Iterator[StoredFile]:
        """Every file of the store: the images in the order of their sha256, strangers in between.

        Holds one folder's names at a time, some hundred in a store of millions.
        """
        for first in _entries(self.root):
            if first.name == "lost+found":  # the file system's own
                continue
            if not (_is_folder(first) and (_HEX.fullmatch(first.name) or first.name == _INCOMING)):
                yield StoredFile(path=Path(first.path), sha256=None)
                continue
            for second in _entries(first):
                if not (_is_folder(second) and _HEX.fullmatch(second.name)):
                    yield StoredFile(path=Path(second.path), sha256=None)
                    continue
                for last in _entries(second):
                    named = _SHA256.fullmatch(last.name) is not None
                    stands = named and self.path(last.name) == Path(last.path)
                    yield StoredFile(path=Path(last.path), sha256=last.name if stands else None)

    def remove_stale(self, older_than_seconds: float = STALE_SECONDS) -> int:
        """Delete what processes that died left half-written; returns the number of files.

        The age is that of the last write, so an upload that is still running is never touched.
        """
        removed = 0
        oldest = time.time() - older_than_seconds
        with contextlib.suppress(FileNotFoundError):  # no image was ever put
            for entry in list(os.scandir(self.root / _INCOMING)):
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    if entry.stat().st_mtime < oldest:
                        Path(entry.path).unlink()
                        removed += 1
        return removed


class FolderSession:
    """Many images put, few waits for the disk. For one thread.

        with store.session() as session:
            for photo in photos:
                session.put(photo, max_bytes)
            session.flush()  # the commit: everything put so far is complete, visible, durable

    Until `flush`, nothing is visible under its final name. Leaving the context without it discards
    what was put since the last one.
    """

    def __init__(self, store: FolderImageStore) -> None:
        self._store = store
        self._incoming = store.root / _INCOMING
        self._pending: dict[str, Path] = {}  # sha256 -> temporary file
        self._folders: set[Path] = set()  # whose entries flush must make durable

    def __enter__(self) -> FolderSession:
        with _errors_of_the_store(self._store.root):
            self._make_folder(self._incoming)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _errors_of_the_store(self._store.root):
            for temporary in self._pending.values():
                temporary.unlink(missing_ok=True)
        self._pending.clear()

    def put(self, source: bytes | Source, max_bytes: int) -> tuple[str, int]:
        """Take in one image, hashing while it streams; returns its sha256 and size in bytes.

        An image that is there already (name and size) is not written again.

        Raises:
            ImageTooLarge: the source has more than `max_bytes`.
            OSError: the source cannot be read. In either case nothing of it is kept, and what was
                put before it stays put.
            StoreAwayError: the store cannot be written.
        """
        with _errors_of_the_store(self._store.root):
            return self._put(source, max_bytes)

    def _put(self, source: bytes | Source, max_bytes: int) -> tuple[str, int]:
        if isinstance(source, bytes):
            if len(source) > max_bytes:
                raise ImageTooLarge(max_bytes, f"{len(source):,} bytes")
            sha256, size = hashlib.sha256(source).hexdigest(), len(source)
            if self.has(sha256, size):
                return sha256, size
            source = io.BytesIO(source)
        failpoint("image.write")
        temporary = self._incoming / uuid.uuid4().hex
        try:
            sha256, size = _write_hashed(source, temporary, max_bytes, self._store.private)
            failpoint("image.written")
            if self.has(sha256, size):
                temporary.unlink()
            else:
                self._pending[sha256] = temporary
        except BaseException:  # also Ctrl-C: no temporary file without an owner
            temporary.unlink(missing_ok=True)
            raise
        return sha256, size

    def has(self, sha256: str, size: int) -> bool:
        """Whether the image was put before, so that the next `flush` makes it durable if it is not
        yet. Raises StoreAwayError.
        """
        with _errors_of_the_store(self._store.root):
            return sha256 in self._pending or self._stands(sha256, size)

    def flush(self) -> None:
        """Make everything put so far durable and visible.

        Names appear after their bytes are safe, and count as durable once their folders are.

        Raises:
            StoreAwayError: the store cannot be written.
        """
        with _errors_of_the_store(self._store.root):
            self._flush()

    def _flush(self) -> None:
        _sync_all(self._pending.values())
        failpoint("image.synced")
        for sha256, temporary in list(self._pending.items()):
            final = self._store.path(sha256)
            self._make_folder(final.parent)
            temporary.replace(final)
            self._folders.add(final.parent)
            del self._pending[sha256]
            failpoint("image.renamed")
        _sync_all(self._folders)
        failpoint("image.stored")
        self._folders.clear()

    def _make_folder(self, folder: Path) -> None:
        """Make `folder` and its parents; a new folder is an entry of its parent to make durable."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        if self._store.private:
            make_private_folder(folder)
        else:
            folder.mkdir(exist_ok=True)
        self._folders.add(folder.parent)

    def _stands(self, sha256: str, size: int) -> bool:
        """Whether the image is in the store. A file of another size is damaged: write it again."""
        final = self._store.path(sha256)
        try:
            stands = final.stat().st_size == size
        except FileNotFoundError:
            return False
        if stands:  # perhaps by a process that has renamed it but not yet synced the folder
            self._folders.add(final.parent)
        return stands


def _entries(folder: os.PathLike[str]) -> list[os.DirEntry[str]]:
    """A folder's entries by name; none where it is gone."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


class _SourceFailed(Exception):
    """Carries an OSError of a source past those of the store."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


@contextlib.contextmanager
def _errors_of_the_store(root: Path) -> Iterator[None]:
    """Turns an OSError into StoreAwayError, unless it is the source's.

    Who delivers an unreadable file and who has a full disk must not be taken for each other: the
    one costs a row, the other ends the upload.
    """
    try:
        yield
    except _SourceFailed as failed:
        raise failed.error from None
    except OSError as error:
        raise StoreAwayError(
            f"the image store at {root} cannot be used ({error.strerror or error}); make room, or "
            "correct its permissions or ATELIER_IMAGES_DIR, and try again"
        ) from error


def _next_block(source: Source) -> bytes:
    try:
        return source.read(_BLOCK_BYTES)
    except OSError as error:
        raise _SourceFailed(error) from error


def _write_hashed(source: Source, target: Path, max_bytes: int, private: bool) -> tuple[str, int]:
    """Copy `source` into the new file `target`; returns sha256 and size. Raises ImageTooLarge."""
    digest, size = hashlib.sha256(), 0
    opener = open_private if private else None
    with open(target, "xb", buffering=0, opener=opener) as stream:
        while block := _next_block(source):
            size += len(block)
            if size > max_bytes:
                raise ImageTooLarge(max_bytes, f"at least {size:,} bytes")
            digest.update(block)
            view = memoryview(block)
            while view:
                view = view[stream.write(view) :]
    return digest.hexdigest(), size


def _sync_all(paths: Collection[Path]) -> None:
    """Write files or folders (of one file system) to the disk.

    Several: one `syncfs` first writes them out together; the `fsync` of each then finds nothing
    left to wait for (seen: 325 files/s without, 12,000 with), and is there for its error report,
    which `syncfs` gives on recent kernels only.
    """
    if len(paths) > 1:
        _sync_file_system(next(iter(paths)))
    for path in paths:
        _sync(path)


def _sync(path: Path) -> None:
    """Write a file's bytes, or a folder's entries, to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # On macOS, fsync leaves the bytes in the drive's cache; F_FULLFSYNC does not.
        full_sync = getattr(fcntl, "F_FULLFSYNC", None)
        if full_sync is None:
            os.fsync(descriptor)
        else:
            fcntl.fcntl(descriptor, full_sync)
    finally:
        os.close(descriptor)


def _sync_file_system(path: Path) -> None:
    """Write out all that is dirty in `path`'s file system. Only to be faster; may do nothing."""
    syncfs = _syncfs()
    if syncfs is not None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            syncfs(descriptor)  # an error shows in the fsync of each file
        finally:
            os.close(descriptor)


@functools.cache
def _syncfs() -> Callable[[int], int] | None:
    """Linux's syncfs(2), which Python does not offer; None elsewhere."""
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "syncfs", None)
    return found
