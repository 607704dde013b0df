"""Files and folders that only the account that Atelier runs as may read, whatever its umask.

The data folder holds a retailer's unreleased catalogue and the accounts of people. Its folders are
0700 and its files 0600 from the moment they appear, not from a change of mode a moment later.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Final

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OURS: Final = frozenset({"images", "models", "loading", "previews", "datasets", "worker.log"})
_OUR_FILES: Final = ("atelier.db", "broker.db")
"""With SQLite's journals, and what was put aside."""


def make_private_folder(folder: Path) -> None:
    """Make `folder` for us alone; its parents, where missing, too. One that stands is left alone.

    Two processes may call it at once.

    Raises:
        OSError: it cannot be made.
    """
    if folder.is_dir():
        return
    make_private_folder(folder.parent)
    try:
        folder.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(
                errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)
            ) from None
        return  # another process was faster
    folder.chmod(FOLDER_MODE)  # a umask may have taken our own bits as well


def open_private(path: str | Path, flags: int) -> int:
    """A descriptor of a file that is made, where it is missing, for us alone.

    Args:
        path: the file.
        flags: of os.open(2); O_CREAT and O_CLOEXEC are added.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) & FILE_MODE != FILE_MODE:
        os.fchmod(descriptor, FILE_MODE)
    return descriptor


def make_private_file(path: Path) -> None:
    """Have `path`, so that what opens it next finds a file for us alone (SQLite's journals too:
    they take over the mode of their database).

    No descriptor of a file that others may see is ever closed here: that would take away all POSIX
    locks that this process has on it, SQLite's included (fcntl(2); sqlite.org/howtocorrupt.html).
    """
    if path.exists():
        return
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    os.close(open_private(fresh, os.O_WRONLY | os.O_EXCL))
    try:
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(fresh, path)
    finally:
        fresh.unlink()


def opened_to_others(home: Path) -> list[Path]:
    """What others may enter or read of a data folder: what Atelier keeps in it, and itself, unless
    there is something else in it, too. What is in a folder that is closed nobody gets to.
    """
    return [path for path in _kept(home) if _mode(path) & _OTHERS]


def close_to_others(home: Path, *, but: Path | None = None) -> list[Path]:
    """Take the rights of group and others from `opened_to_others`, and from all that is in what was
    open; returns what stayed open because it belongs to another account.

    Args:
        home: the data folder; a missing one is closed.
        but: a folder whose modes are somebody else's to choose, with all that is in it.
    """
    left: list[Path] = []
    for path in _kept(home):
        # The folder itself needs no look at all that is in it: that was just done.
        _close(path, but, left, deep=path != home)
    return left


def _close(path: Path, but: Path | None, left: list[Path], *, deep: bool) -> None:
    mode = _mode(path)
    if path == but or path.is_symlink() or not mode & _OTHERS:
        return
    try:
        if deep and path.is_dir():
            # Before the folder itself, so that it is done again if it is cut off.
            for entry in path.iterdir():
                _close(entry, but, left, deep=True)
        path.chmod(mode & ~_OTHERS)
    except FileNotFoundError:  # a journal that came and went
        return
    except PermissionError:
        left.append(path)


def _kept(home: Path) -> list[Path]:
    """What Atelier keeps in a data folder, and, where there is nothing else in it, itself: somebody
    may have named a folder that is not Atelier's alone.
    """
    if not home.is_dir():
        return []
    entries = sorted(home.iterdir())
    ours = [path for path in entries if path.name in _OURS or path.name.startswith(_OUR_FILES)]
    return (
        ours if {*ours} < {path for path in entries if path.name != "lost+found"} else [*ours, home]
    )


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.lstat().st_mode)
    except FileNotFoundError:
        return 0
