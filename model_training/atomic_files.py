"""Files that are there whole or not at all, whatever is killed when."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tagging.private_files import open_private


def write_file_atomically(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write beside `path`, fsync, rename, fsync the folder: readers see the old bytes or the new.

    On POSIX a rename is kept in the folder's own bytes, hence the second fsync.

    Args:
        path: the file.
        content: all of it.
        private: for this account alone, whatever the umask; what it replaces stays so.
    """
    if path.exists():
        private |= not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if private:
            os.close(open_private(partial, os.O_WRONLY))
        partial.write_bytes(content)
        sync_file(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Have a written file's bytes on the disk."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """fsync a folder's entries; nothing to do on systems that cannot open one (Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
