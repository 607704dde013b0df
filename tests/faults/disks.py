"""Small disks that can be full: a tmpfs whose size is set to what it holds, and back.

Needs the right to mount (root, as a rule). Where there is none, disks are full by a bound on the
size of files only, and the driver says so.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

SIZE_MIB: Final = 1024
"""What it may hold; only what it does hold takes memory."""
_TRIES: Final = 50


class Disk:
    """A file system of its own at a folder, which is made."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        _mount("-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=0755", "none", str(folder))

    def fill(self) -> None:
        """From now on nothing more can be written to it: ENOSPC."""
        for _ in range(_TRIES):
            found = os.statvfs(self._folder)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            try:
                self._resize(f"{max(used, found.f_frsize)}")
            except subprocess.CalledProcessError:  # somebody wrote in between
                continue
            return
        raise RuntimeError(f"{self._folder} could not be filled")

    def empty(self) -> None:
        """There is room again."""
        self._resize(f"{SIZE_MIB}m")

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self._folder)], check=True, capture_output=True)

    def _resize(self, size: str) -> None:
        _mount("-o", f"remount,size={size}", str(self._folder))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@cache
def can_mount() -> bool:
    """Whether this process may make such disks."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            Disk(Path(folder)).close()
        except (OSError, subprocess.CalledProcessError):
            return False
    return True


@contextmanager
def disk(folder: Path) -> Iterator[Disk | None]:
    """A small disk at a folder while the block does; None where none can be had."""
    if not can_mount():
        folder.mkdir(parents=True, exist_ok=True)
        yield None
        return
    found = Disk(folder)
    try:
        yield found
    finally:
        found.close()
