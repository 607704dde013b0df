"""The entries of a zip, judged by its directory and read within what that directory declares.

Nothing is ever written to disk under a name from the archive. `zipfile` parses and unpacks; what
it does not bound is bounded here: the size of the directory, the sum and the ratio of the sizes,
entries that lie on top of each other (D. Fifield, "A better zip bomb", 2019), names, and kinds.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

from tagging.catalog.delivery import DeliveryLimits, DeliveryRowError, shown
from tagging.catalog.naming import is_noise, nfc
from tagging.catalog.paths import open_plain, path_parts
from tagging.catalog.zip_directory import (
    END_BYTES,
    ENTRY_SIGNATURE,
    UTF8_NAME,
    Directory,
    put_in_order,
    stated_entries,
)
from tagging.domain import FailureCode
from tagging.errors import DeliveryError
from tagging.printable import printable

_DIRECTORY_BYTES_PER_ENTRY: Final = 200
"""More than a directory of a million entries needs for names of ordinary length."""
_MIN_DIRECTORY_BYTES: Final = 1 << 20
_LOCAL_HEADER_BYTES: Final = 30
_LOCAL_SIGNATURE: Final = b"PK\x03\x04"
_ENCRYPTED: Final = 0x1 | 0x40
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The ones whose unpacking `zipfile` bounds by the bytes asked for; bzip2 and LZMA are not."""

_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises for bytes that are no zip, or not what its directory says."""


@dataclass(frozen=True, slots=True)
class EntryProblem:
    """Why an entry is not read, and what to do (`said`)."""

    code: FailureCode
    said: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file of an archive.

    `name`: its path with `/`, in NFC; of a refused path what can be shown of it. `problem`: why it
    is not read. `refused`: so bad that it is reported even if it is no image. `noise`: left by a
    system, and worth no word unless a manifest names it.
    """

    name: str
    info: zipfile.ZipInfo
    problem: EntryProblem | None = None
    refused: bool = False
    noise: bool = False


class _BoundedDirectory(io.BufferedReader):
    """A file that, while `ZipFile` reads the directory from it, yields no more than is allowed."""

    def __init__(self, path: Path, limits: DeliveryLimits, *, follow_link: bool) -> None:
        super().__init__(open_plain(path, follow_link=follow_link).detach())
        self._bounded = True
        self.size = os.fstat(self.fileno()).st_size
        self._most = max(limits.max_entries * _DIRECTORY_BYTES_PER_ENTRY, _MIN_DIRECTORY_BYTES)
        self._max_entries = limits.max_entries
        self.directory = Directory()
        """What the directory holds beside what `ZipFile` makes of it."""

    def read(self, size: int | None = -1, /) -> bytes:
        if not self._bounded:
            return super().read(size)
        # A read allocates what it asks for, so ask for no more than there is.
        most = min(max(0, self.size - self.tell()), self._most + 1)
        data = super().read(most if size is None or size < 0 else min(size, most))
        # ZipFile reads the whole directory in one go, and each entry of it begins with this.
        if data.count(ENTRY_SIGNATURE) > self._max_entries or len(data) > self._most:
            raise _too_many(self._max_entries)
        if data.startswith(ENTRY_SIGNATURE):
            data, self.directory = put_in_order(data)
        return data

    def directory_is_read(self, entries: int) -> None:
        """From now on, reads are as they are asked for.

        Raises:
            BadZipFile: Some are lost: its end states another number of `entries` than were read,
                or there are some although none was.
        """
        self._bounded = False
        self.seek(max(0, self.size - END_BYTES))
        stated = stated_entries(super().read(END_BYTES))
        # Some programs write the true number modulo 65,536.
        if stated is not None and (entries - stated) % 0x10000:
            raise zipfile.BadZipFile(f"its end states {stated} entries, but there are {entries}")
        self.seek(0)
        if not entries and super().read(4) == _LOCAL_SIGNATURE:
            raise zipfile.BadZipFile("it begins with an entry, but its directory has none")


def open_zip(
    path: Path, limits: DeliveryLimits, *, follow_link: bool
) -> tuple[zipfile.ZipFile, Directory, BinaryIO]:
    """The archive, what else its directory holds, and the file under it.

    The caller closes the archive and then the file.

    Raises:
        DeliveryError: It is broken or too large.
        DeliveryRowError: It is a link where that is not followed.
        OSError: It can't be read.
    """
    file = _BoundedDirectory(path, limits, follow_link=follow_link)
    try:
        archive = zipfile.ZipFile(file)
        if len(archive.infolist()) > limits.max_entries:
            raise _too_many(limits.max_entries)
        file.directory_is_read(len(archive.infolist()))
        archive.NameToInfo.clear()  # never asked for, and as large as the list itself
        _refuse_large(path.name, file.size, archive, limits)
    except _BROKEN as error:
        file.close()
        raise DeliveryError(
            f"'{shown(path.name)}' is damaged or incomplete ({shown(str(error))}); upload it "
            "again, or pack it again"
        ) from error
    except BaseException:
        file.close()
        raise
    return archive, file.directory, file


def _refuse_large(name: str, packed: int, archive: zipfile.ZipFile, limits: DeliveryLimits) -> None:
    total = sum(info.file_size for info in archive.infolist())
    if total > limits.max_total_bytes:
        raise DeliveryError(
            f"'{shown(name)}' unpacks to {total} bytes, more than the {limits.max_total_bytes} "
            "allowed; deliver it in parts",
            code=FailureCode.TOO_LARGE,
        )
    if total > max(limits.total_ratio_free_bytes, limits.max_total_ratio * packed):
        raise DeliveryError(
            f"'{shown(name)}' would unpack from {packed} to {total} bytes, more than "
            f"{limits.max_total_ratio} times its size; deliver the unpacked folder",
            code=FailureCode.TOO_LARGE,
        )


def _too_many(most: int) -> DeliveryError:
    return DeliveryError(
        f"the archive has more than {most} entries; deliver it in parts",
        code=FailureCode.TOO_LARGE,
    )


def entries_of(
    archive: zipfile.ZipFile, directory: Directory, limits: DeliveryLimits
) -> list[Entry]:
    """The files of `archive`, folders left out, sorted by folder and name."""
    found = sorted(
        _named(archive, directory, limits),
        # The whole name comes third: `/a.jpg`, which is refused, must not part twins of `a.jpg`.
        key=lambda one: (one.name.rpartition("/")[::2], one.name, one.info.header_offset),
    )
    return list(_without_twins(found))


def _named(
    archive: zipfile.ZipFile, directory: Directory, limits: DeliveryLimits
) -> Iterator[Entry]:
    overlapping = _overlapping(archive)
    for at, info in enumerate(archive.infolist()):
        raw = directory.names.get(at) or _decoded_name(info)
        mode = info.external_attr >> 16
        try:
            parts = path_parts(raw.replace("\\", "/"))
        except DeliveryRowError:
            yield Entry(name=printable(raw), info=info, problem=_LEADS_OUT, refused=True)
            continue
        is_folder = raw.endswith(("/", "\\")) or stat.S_ISDIR(mode) or not parts
        noise = any(map(is_noise, parts))
        if is_folder and (noise or not info.file_size):
            continue
        odd = _BYTES_OF_A_FOLDER if is_folder else _odd(directory.problems.get(at))
        yield Entry(
            name=nfc("/".join(parts)) or printable(raw),
            info=info,
            problem=odd or (_OVERLAP if at in overlapping else _problem(info, limits)),
            refused=not noise and (odd is not None or stat.S_ISLNK(mode)),
            noise=noise,
        )


_LEADS_OUT: Final = EntryProblem(
    FailureCode.REFUSED_PATH, "the name leads out of the archive; pack plain relative names"
)
_LINK: Final = EntryProblem(
    FailureCode.REFUSED_PATH, "it is a link; pack the file itself (zip without -y)"
)
_BYTES_OF_A_FOLDER: Final = EntryProblem(
    FailureCode.BAD_ENTRY,
    "it is named as a folder but has bytes, which were not read; pack it as a file",
)
_OVERLAP: Final = EntryProblem(
    FailureCode.BAD_ENTRY,
    "its bytes overlap those of another entry or lie outside of the archive; pack it again",
)
_NO_FILE: Final = EntryProblem(
    FailureCode.CANNOT_OPEN, "it is a device, pipe or socket; pack a file"
)
_LOCKED: Final = EntryProblem(FailureCode.BAD_ENTRY, "it is encrypted; pack it without a password")
_TWIN: Final = EntryProblem(
    FailureCode.BAD_ENTRY,
    "another entry has the same name; pack the archive again with each file once",
)


def _odd(said: str | None) -> EntryProblem | None:
    return None if said is None else EntryProblem(FailureCode.BAD_ENTRY, said)


def _problem(info: zipfile.ZipInfo, limits: DeliveryLimits) -> EntryProblem | None:
    """Why an entry is not read, judged by the directory."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return _LINK
    if kind not in (0, stat.S_IFREG):
        return _NO_FILE
    if info.flag_bits & _ENCRYPTED:
        return _LOCKED
    if info.compress_type not in _METHODS:
        return EntryProblem(
            FailureCode.BAD_ENTRY,
            f"it is packed by method {info.compress_type}, which is not read; pack it with the "
            "ordinary one (Deflate)",
        )
    if info.file_size > max(limits.ratio_free_bytes, limits.max_ratio * info.compress_size):
        return EntryProblem(
            FailureCode.TOO_LARGE,
            f"it would unpack from {info.compress_size} to {info.file_size} bytes, more than "
            f"{limits.max_ratio} times its size; deliver the image by itself",
        )
    return None


def _overlapping(archive: zipfile.ZipFile) -> set[int]:
    """The positions of entries whose bytes overlap another's or the directory.

    All parties to it: nobody can tell which is the true one, and which one `zipfile` itself
    refuses depends on the version of Python.
    """
    infos = archive.infolist()
    order = sorted(range(len(infos)), key=lambda at: infos[at].header_offset)
    overlapping: set[int] = set()
    furthest, end = -1, 0
    for at in order:
        info = infos[at]
        name = info.orig_filename
        name_bytes = len(name.encode()) if info.flag_bits & UTF8_NAME else len(name)
        begins = info.header_offset
        ends = begins + _LOCAL_HEADER_BYTES + name_bytes + info.compress_size
        if begins < end:
            overlapping |= {furthest, at}
        if ends > archive.start_dir:
            overlapping.add(at)
        if ends > end:
            furthest, end = at, ends
    return overlapping


def _without_twins(entries: list[Entry]) -> Iterator[Entry]:
    """`entries`, sorted; those whose name was there before are given a problem."""
    before: str | None = None
    for entry in entries:
        if entry.name == before and entry.problem is None:
            yield Entry(name=entry.name, info=entry.info, problem=_TWIN)
        else:
            yield entry
        before = entry.name


def _decoded_name(info: zipfile.ZipInfo) -> str:
    """The name as it was meant.

    macOS packs names as UTF-8 without saying so, and `zipfile` then takes them for code page 437.
    A NUL, at which `zipfile` cuts, is kept so that it can be refused.
    """
    name = info.orig_filename if "\0" in info.orig_filename else info.filename
    if name.isascii() or info.flag_bits & UTF8_NAME or name != info.orig_filename:
        return name
    try:
        return name.encode("cp437").decode()
    except UnicodeError:
        return name


def open_entry(archive: zipfile.ZipFile, entry: Entry) -> BinaryIO:
    """A stream of the entry's bytes; reading past what the directory declares raises.

    Raises:
        OSError: The archive can't be read.
        DeliveryRowError: The entry is not read, or not what the directory says.
    """
    if entry.problem is not None:
        raise not_read(entry.name, entry.problem)
    try:
        packed = archive.open(entry.info)
    except _BROKEN as error:
        raise _damaged(entry.name, error) from error
    return cast(BinaryIO, io.BufferedReader(_EntryBytes(packed, entry), 1 << 16))


def not_read(text: str, problem: EntryProblem) -> DeliveryRowError:
    """The error of an entry with a problem, which `text` names."""
    return DeliveryRowError(f"'{shown(text)}': {problem.said}", code=problem.code)


class _EntryBytes(io.RawIOBase):
    """The unpacked bytes of one entry, exactly as many as were declared."""

    def __init__(self, packed: IO[bytes], entry: Entry) -> None:
        self._packed = packed
        self._name = entry.name
        self._left = entry.info.file_size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        try:
            data = self._packed.read(len(view))
        except _BROKEN as error:
            raise _damaged(self._name, error) from error
        self._left -= len(data)
        if self._left < 0 or (len(view) and not data and self._left):
            raise _damaged(self._name, "its size is not the one that the archive declares")
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._packed.close()
        super().close()


def _damaged(name: str, why: object) -> DeliveryRowError:
    return DeliveryRowError(
        f"'{shown(name)}' is damaged in the archive ({shown(str(why))}); pack it again",
        code=FailureCode.BAD_ENTRY,
    )
