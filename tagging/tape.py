"""A tar file written and read as a stream: plain files only, and nothing of it kept in memory.

Python's tarfile remembers every member and follows whatever an archive says of long names, links
and sparse files. Here only its codec of single headers is used: a backup has files with short
names, and everything else is refused.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from tagging.errors import BackupError
from tagging.images.store import Source

_BLOCK: Final = 512
_PIECE: Final = 1 << 20


class TapeWriter:
    """Writes members one after the other into a file that can be cut back."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def add(self, name: str, size: int, source: Source, *, sha256: str | None = None) -> str | None:
        """Copy a member in; its sha256, or None if it was not what was announced.

        Args:
            name: at most 100 ASCII characters.
            size: how many bytes `source` has. Other than that, or another `sha256`, and nothing of
                it stays.
        """
        start = self._stream.tell()
        header = tarfile.TarInfo(name)
        header.size, header.mode = size, 0o600
        block = header.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")
        if len(block) != _BLOCK:
            raise ValueError(f"a name has at most 100 characters here, got {name!r}")
        self._stream.write(block)
        digest, written = hashlib.sha256(), 0
        while piece := source.read(min(_PIECE, size - written + 1)):
            written += len(piece)
            if written > size:
                break
            digest.update(piece)
            self._stream.write(piece)
        if written != size or sha256 not in (None, digest.hexdigest()):
            self._stream.seek(start)
            self._stream.truncate()
            return None
        self._stream.write(b"\0" * (-size % _BLOCK))
        return digest.hexdigest()

    def finish(self) -> None:
        """Write the end mark, and all of it to the disk."""
        self._stream.write(b"\0" * (2 * _BLOCK))
        self._stream.flush()
        os.fsync(self._stream.fileno())


@dataclass(kw_only=True)
class Member:
    """One file of a tape; to be read before the next one is asked for."""

    name: str
    size: int
    _stream: BinaryIO
    _left: int

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; b"" at its end. Raises BackupError where the tape was cut off."""
        wanted = self._left if size < 0 else min(size, self._left)
        if wanted == 0:
            return b""
        piece = self._stream.read(wanted)
        if not piece:
            raise _cut_off()
        self._left -= len(piece)
        return piece

    def skip(self) -> None:
        while self.read(_PIECE):
            pass


def members(stream: BinaryIO) -> Iterator[Member]:
    """The files of a tape, in order.

    Raises:
        BackupError: it is no tar file, it was cut off, or it has anything but plain files.
    """
    while True:
        header = stream.read(_BLOCK)
        if len(header) < _BLOCK:
            raise _cut_off()
        if header == b"\0" * _BLOCK:
            if stream.read(_BLOCK) != header:
                raise _cut_off()
            return
        try:
            found = tarfile.TarInfo.frombuf(header, "ascii", "surrogateescape")
        except tarfile.HeaderError as error:
            raise BackupError(
                f"this is no backup of Atelier, or it is damaged: {error}; `atelier backup` makes "
                "one"
            ) from error
        if found.type != tarfile.REGTYPE or found.size < 0:
            raise BackupError(
                f"the backup has an entry that is no plain file, {found.name!r}: it was not made "
                "by `atelier backup`. Nothing of it was restored"
            )
        member = Member(name=found.name, size=found.size, _stream=stream, _left=found.size)
        yield member
        member.skip()
        padding = -found.size % _BLOCK
        if len(stream.read(padding)) < padding:
            raise _cut_off()


def _cut_off() -> BackupError:
    return BackupError(
        "the backup ends too early: it was cut off or copied in part. Copy it again, or use another"
    )
