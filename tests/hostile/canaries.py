"""A tree that nobody may touch, watched by the kernel (inotify), and a scan of whole folders."""

from __future__ import annotations

import ctypes
import hashlib
import os
import struct
import sys
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.stand_in import picture

_ALL_EVENTS: Final = 0xFFF
_EVENT: Final = struct.Struct("iIII")


def scanned(root: Path) -> dict[str, tuple[int, int, int, str]]:
    """Everything under `root`: mode, size, change in ns, and the sha256 (or the link's target)."""
    found = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        what = ""
        if path.is_symlink():
            what = str(path.readlink())
        elif path.is_file():
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path)] = (info.st_mode, info.st_size, info.st_mtime_ns, what)
    return found


class Canaries:
    """Pictures, a manifest with its pictures, and a zip, outside of every delivery.

    `secrets`: the sha256s of all their bytes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "photos").mkdir(parents=True)
        for at, name in enumerate(("a.png", "secret.jpg", "photos/b.png", "photos/c.png")):
            (root / name).write_bytes(picture(90 + at))
        (root / "products.csv").write_text("sku,image\nsecret,a.png\n")
        with zipfile.ZipFile(root / "photos.zip", "w") as archive:
            archive.writestr("stolen.png", picture(99))
        self._before = scanned(root)
        self.secrets = {what for *_, what in self._before.values() if what}
        self.secrets.add(hashlib.sha256(picture(99)).hexdigest())
        self._watch = -1

    def __enter__(self) -> Self:
        if sys.platform == "linux":
            libc = ctypes.CDLL(None, use_errno=True)
            self._watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            for folder in (self.root, self.root / "photos"):
                if libc.inotify_add_watch(self._watch, os.fsencode(folder), _ALL_EVENTS) < 0:
                    raise OSError(ctypes.get_errno(), "inotify_add_watch")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._watch >= 0:
            os.close(self._watch)

    def touched(self) -> list[str]:
        """Names that were opened, read, listed, written, made, moved or deleted since last asked.

        By any process. Always empty where there is no inotify (macOS).
        """
        names: list[str] = []
        while self._watch >= 0:
            try:
                events = os.read(self._watch, 1 << 16)
            except BlockingIOError:
                break
            at = 0
            while at < len(events):
                *_, length = _EVENT.unpack_from(events, at)
                at += _EVENT.size
                names.append(os.fsdecode(events[at : at + length].rstrip(b"\0")) or ".")
                at += length
        return names

    def unchanged(self) -> bool:
        """Whether all of it is as it was made. Reads it: ask `touched` first."""
        same = scanned(self.root) == self._before
        self.touched()
        return same
