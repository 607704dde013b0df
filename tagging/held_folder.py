"""Folders of ours where others may write: held open, so that what is put under their names is
never entered.

Whoever may write to a folder may rename what is in it, ours included, and put a link there. So a
folder is opened once, through no link, must belong to this account, and all that is done in it goes
by its descriptor (openat(2), renameat(2)): under whatever name it is by then, it is the same one.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from tagging.catalog.paths import HELD
from tagging.errors import DeliveryError
from tagging.private_files import FILE_MODE, FOLDER_MODE

_PERMISSIONS: Final = 0o777
_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class HeldFolder:
    """A folder that is held open until it is closed. `path`: what it was called, for messages."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def at(cls, path: Path) -> HeldFolder:
        """The folder that somebody named, whoever owns it; a link will do. Raises OSError."""
        return cls(path, os.open(path, _OPEN))

    def own(self, name: str, *, private: bool = False) -> HeldFolder:
        """The folder `name` in this one; made if it is missing.

        `private`: for this account alone from now on, if it was not before.

        Raises:
            DeliveryError: it is a link, no folder, or another account's.
            OSError: it cannot be made or opened.
        """
        with suppress(FileExistsError):  # whose it is, is seen below
            os.mkdir(name, FOLDER_MODE if private else _PERMISSIONS, dir_fd=self._descriptor)
        path = self.path / name
        try:
            descriptor = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise _not_ours(path, "is a link or a file, no folder") from error
            if error.errno == errno.EACCES:
                raise _not_ours(path, "is closed to this process") from error
            raise
        held = HeldFolder(path, descriptor)
        owner = os.fstat(descriptor).st_uid
        if owner != os.geteuid():
            held.close()
            raise _not_ours(path, f"belongs to user {owner}, not to user {os.geteuid()}")
        if private and stat.S_IMODE(os.fstat(descriptor).st_mode) & _PERMISSIONS != FOLDER_MODE:
            os.fchmod(descriptor, FOLDER_MODE)
        return held

    @property
    def way(self) -> Path:
        """A path into this very folder, for whoever opens by paths; good in this process, while it
        is held. Elsewhere than on Linux there is none, and it is the folder's name.
        """
        return Path(f"{HELD}{self._descriptor}") if Path(HELD).is_dir() else self.path

    def is_still(self, path: Path) -> bool:
        """Whether it is what `path` leads to. Raises OSError where that leads to nothing."""
        return os.path.samestat(path.stat(), os.fstat(self._descriptor))

    def is_at(self, parent: HeldFolder) -> bool:
        """Whether it still stands in `parent` under its name."""
        try:
            found = os.stat(self.path.name, dir_fd=parent._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self._descriptor))

    def names(self) -> list[str]:
        """Of all that is in it, sorted."""
        return sorted(os.listdir(self._descriptor))  # noqa: PTH208 (no path leads there for sure)

    def kind(self, name: str) -> int | None:
        """Of which kind `name` is (`stat.S_IFMT`), a link being a link wherever it leads; None: it
        is gone; 0: that cannot be told.
        """
        try:
            info = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError:
            return 0  # whoever moves or opens it says why
        return stat.S_IFMT(info.st_mode)

    def holds(self, name: str) -> bool:
        """Whether there is anything of that name."""
        return self.kind(name) is not None

    def read(self, name: str) -> bytes:
        """All of a file that this account wrote.

        Raises:
            OSError: there is none, or it is a link.
            ValueError: it is no regular file, or another account's.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, dir_fd=self._descriptor), "rb") as stream:
            info = os.fstat(stream.fileno())
            if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid():
                raise ValueError(f"{self.path / name} is no file of user {os.geteuid()}")
            return stream.read()

    def begins(self, name: str, beginning: bytes) -> bool:
        """Whether a file of that name begins so; nothing else does."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(name, flags, dir_fd=self._descriptor), "rb") as stream:
                return stream.read(len(beginning)) == beginning
        except OSError:  # a link, a folder, or not ours to read
            return False

    def new_text(self, name: str) -> TextIO:
        """A new file to write UTF-8 into; what stood there is gone.

        What is no valid text is escaped by backslashes, as JSON has it.
        """
        if self.holds(name):
            self.remove(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o666, dir_fd=self._descriptor)
        return os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace")

    def lock_file(self, name: str) -> TextIO:
        """A file to lock, made if it is missing, for this account alone."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, FILE_MODE, dir_fd=self._descriptor)
        return os.fdopen(descriptor, "w", encoding="utf-8")

    def move(self, name: str, to: HeldFolder, new: str | None = None) -> None:
        """Rename `name` into another folder of the same file system, as `new` if that is given."""
        os.rename(name, new or name, src_dir_fd=self._descriptor, dst_dir_fd=to._descriptor)

    def remove(self, name: str) -> None:
        """Remove a file."""
        os.unlink(name, dir_fd=self._descriptor)

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder."""
        os.rmdir(name, dir_fd=self._descriptor)

    def sync(self) -> None:
        """Make durable which names are in it."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _not_ours(path: Path, why: str) -> DeliveryError:
    return DeliveryError(
        f"{path} {why}, so nothing is written there. Remove it or give it to user {os.geteuid()}, "
        f"and look who else may write to {path.parent}"
    )
