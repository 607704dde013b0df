"""Files and folders that only the account that Atelier runs as may read, whatever its umask.

The data folder holds a retailer's unreleased catalogue and the accounts of people. Its folders are
0700 and its files 0600 from the moment they appear, not from a change of mode a moment later.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def make_private_folder(folder: Path) -> None:
    """Make `folder` for us alone; its parents, where missing, too. One that stands is left alone.

    Two processes may call it at once.
    """
    if folder.is_dir():
        return
    make_private_folder(folder.parent)
    try:
        folder.mkdir(mode=FOLDER_MODE)
    except FileExistsError:  # another process was faster
        return
    folder.chmod(FOLDER_MODE)  # a umask may have taken our own bits as well


def open_private(path: Path, flags: int) -> int:
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
    """
    os.close(open_private(path, os.O_RDWR))


def opened_to_others(home: Path) -> list[Path]:
    """What others may enter or read of a data folder: itself, and what stands in it directly.

    Others get to nothing deeper once these are closed. Links are not looked through.
    """
    return [path for path in _shallow(home) if _mode(path) & _OTHERS]


def close_to_others(home: Path) -> list[Path]:
    """Take the rights of group and others from what `opened_to_others` finds; returns what stayed
    open because it belongs to another account.
    """
    left: list[Path] = []
    for path in opened_to_others(home):
        try:
            path.chmod(_mode(path) & ~_OTHERS)
        except FileNotFoundError:  # a journal that came and went
            continue
        except PermissionError:
            left.append(path)
    return left


def _shallow(home: Path) -> Iterator[Path]:
    if home.is_dir():
        yield home
        yield from (path for path in sorted(home.iterdir()) if not path.is_symlink())


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.lstat().st_mode)
    except FileNotFoundError:
        return 0
