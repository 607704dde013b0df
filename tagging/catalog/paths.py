"""Paths that somebody else wrote, resolved inside one folder and opened without following links.

Two lines of defence. `ImageFolder.find` refuses what leaves the folder, by its text or through a
link, with an error that a retailer can act on. `FileImage.open` then walks from the folder to the
file one component at a time with O_NOFOLLOW, so that a link planted in between is not followed.
Folders are listed in the same way.

A hard link is the file itself, and nobody can tell that it has another name elsewhere. Who may make
one of a file that they may not read is up to the system (`fs.protected_hardlinks` on Linux).
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from tagging.catalog.delivery import DeliveryRowError, shown
from tagging.catalog.naming import is_utf8, nfc, nfd
from tagging.domain import FailureCode

MAX_PATH_CHARS: Final = 4096
MAX_KNOWN_FOLDERS: Final = 4096
"""How many resolved sub-folders are remembered; then they are looked up afresh."""
MAX_LISTED_NAMES: Final = 50_000
"""A missing file is compared with the names of its folder up to this many, for a suggestion."""
MAX_LISTED_FOLDERS: Final = 8
HELD: Final = "/proc/self/fd/"
"""Begins a path that leads through a folder which this process holds open (`HeldFolder.way`)."""

_WEB_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|data:")
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_FOLDER_FLAGS: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


class MissingFileError(DeliveryRowError):
    """A path that is in order but leads to no file."""

    def __init__(self, said: str) -> None:
        super().__init__(said, code=FailureCode.MISSING)


def refused(text: str, why: str) -> DeliveryRowError:
    """The error of a path that is not even looked up."""
    return DeliveryRowError(f"'{shown(text)}' {why}", code=FailureCode.REFUSED_PATH)


def _no_file(text: str, why: str) -> DeliveryRowError:
    """The error of a path at which there is something, but no file that can be read."""
    return DeliveryRowError(f"'{shown(text)}' {why}", code=FailureCode.CANNOT_OPEN)


def path_parts(text: str) -> tuple[str, ...]:
    """The components of a relative path with `/`, `.` and inner `..` resolved by their text.

    Percent signs, tildes, dollars and backslashes are letters like any other.

    Raises:
        DeliveryRowError: The path is absolute, leaves the folder, or is no path.
    """
    if len(text) > MAX_PATH_CHARS:
        raise refused(text, f"is longer than {MAX_PATH_CHARS} characters; shorten it")
    if "\0" in text:
        raise refused(text, "has a NUL character in it; write a plain relative path")
    if not is_utf8(text):
        raise refused(text, "is not valid Unicode; write a plain relative path in UTF-8")
    if _WEB_ADDRESS.match(text):
        raise refused(text, "is an address; download the image and write its relative path")
    if text.startswith(("/", "\\")) or _DRIVE.match(text):
        raise refused(text, "is absolute; write the path relative to the manifest's folder")
    parts: list[str] = []
    for part in text.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            raise refused(text, "leaves the manifest's folder; move the image into it")
    return tuple(parts)


def without_links(root: str | Path) -> str:
    """`root` as an absolute path free of links. One that leads through a folder that is held open
    stays as it is: whoever renames that folder cannot put another in its place.
    """
    text = os.fspath(root)
    return text if text.startswith(HELD) else os.path.realpath(text)


def open_plain(path: Path, *, follow_link: bool) -> io.BufferedReader:
    """Open what somebody delivered; `follow_link`: whether `path` itself may be a link.

    Raises:
        OSError: It is gone or not readable.
        DeliveryRowError: It is a link, or no regular file, where that is not followed.
    """
    return path.open("rb") if follow_link else open_inside(str(path.parent), path.name)


def open_inside(root: str, relative: str) -> io.BufferedReader:
    """Open the regular file at `relative`, a real path within `root`, following no link.

    Raises:
        OSError: It is gone or not readable.
        DeliveryRowError: A component is a link by now, or the file is no regular file.
    """
    folder, _, last = relative.rpartition("/")
    with _folder_inside(root, folder) as at:
        # O_NONBLOCK: a FIFO put in the file's place would otherwise hold us here for good.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(last, flags, dir_fd=at)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENODEV):
                raise _no_file_any_more(relative) from error
            raise _link_or(error, relative) from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _no_file_any_more(relative)
    return os.fdopen(file, "rb")


@contextmanager
def scan_inside(root: str, relative: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """The entries of the folder at `relative`, a real path within `root` ('' for `root` itself).

    No link is followed on the way, so that a folder swapped for one tells nothing of what lies
    outside. The entries are good within the context only.

    Raises:
        OSError: It is gone or not readable.
        DeliveryRowError: A component is a link by now.
    """
    with _folder_inside(root, relative) as at:
        # Opened anew: what O_PATH gave can be walked through, not read.
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
    try:
        with os.scandir(descriptor) as entries:
            yield entries
    finally:
        os.close(descriptor)


@contextmanager
def _folder_inside(root: str, relative: str) -> Iterator[int]:
    """A descriptor of a folder, to which one component after the other led and none was a link."""
    at = os.open(root, _FOLDER_FLAGS)
    try:
        for part in filter(None, relative.split("/")):
            try:
                deeper = os.open(part, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=at)
            except OSError as error:
                raise _link_or(error, relative) from error
            os.close(at)
            at = deeper
        yield at
    finally:
        os.close(at)


def _link_or(error: OSError, relative: str) -> Exception:
    """What to raise for a component that cannot be opened without following a link."""
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return refused(relative, "became a link meanwhile; deliver the file itself")
    return error


def _no_file_any_more(relative: str) -> DeliveryRowError:
    return _no_file(relative, "is no longer a regular file; deliver it again")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileImage:
    """An image in a folder. `relative` is its real path within `root`, free of links."""

    root: str
    relative: str
    name: str

    def open(self) -> BinaryIO:
        return open_inside(self.root, self.relative)

    def identity(self, stream: BinaryIO, /) -> Hashable | None:
        """The file's, as it is: one that was written to since is another."""
        info = os.fstat(stream.fileno())
        return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def inside(root: str, real: str) -> str | None:
    """The path of `real` relative to `root` (both without links): '' for `root` itself, None for
    what lies outside."""
    if real == root:
        return ""
    prefix = root.rstrip("/") + "/"
    return real[len(prefix) :] if real.startswith(prefix) else None


class ImageFolder:
    """The folder in which a manifest's images are looked up.

    `place` names it in errors: "beside the manifest".
    """

    def __init__(self, root: str | Path, *, place: str) -> None:
        self.root = without_links(root)
        self.place = place
        self._folders: dict[tuple[str, ...], str] = {}
        self._listed: dict[str, dict[str, str]] = {}

    def find(self, text: str) -> FileImage:
        """The image that `text`, a path from a manifest, names.

        The literal file comes first; if there is none, backslashes count as separators.

        Raises:
            DeliveryRowError: refused, missing, or nothing that can be read as a file.
        """
        try:
            return self._find(text, path_parts(text))
        except MissingFileError:
            if "\\" not in text:
                raise
        return self._find(text, path_parts(text.replace("\\", "/")))

    def _find(self, text: str, parts: tuple[str, ...]) -> FileImage:
        if not parts:
            raise _no_file(text, "is a folder; name an image file")
        *folders, last = parts
        real, mode = self._child(text, self._folder(text, tuple(folders)), last)
        if stat.S_ISDIR(mode):
            raise _no_file(text, "is a folder; name an image file in it")
        if not stat.S_ISREG(mode):
            raise _no_file(text, "is a device, pipe or socket and is not opened; deliver a file")
        return FileImage(root=self.root, relative=inside(self.root, real) or "", name=text)

    def _folder(self, text: str, parts: tuple[str, ...]) -> str:
        """The real path of a sub-folder."""
        if not parts:
            return self.root
        known = self._folders.get(parts)
        if known is not None:
            return known
        real = self.root
        for part in parts:
            real, mode = self._child(text, real, part)
            if not stat.S_ISDIR(mode):
                raise self._missing(text)
        if len(self._folders) >= MAX_KNOWN_FOLDERS:
            self._folders.clear()
        self._folders[parts] = real
        return real

    def _child(self, text: str, folder: str, part: str) -> tuple[str, int]:
        """The real path and mode of `part` in `folder`; links are followed if they stay inside."""
        path, mode = self._lookup(text, folder, part)
        if not stat.S_ISLNK(mode):
            return path, mode
        try:
            real = os.path.realpath(path, strict=True)
            within = inside(os.path.realpath(self.root), real)
            if within is None:
                raise refused(text, "is a link that leaves the folder; deliver the file itself")
            real = str(Path(self.root, within))
            return real, os.lstat(real).st_mode
        except OSError as error:
            raise DeliveryRowError(
                f"'{shown(text)}' is a link that leads nowhere; deliver the file itself",
                code=FailureCode.MISSING,
            ) from error

    def _lookup(self, text: str, folder: str, part: str) -> tuple[str, int]:
        forms = (part,) if part.isascii() else (part, nfc(part), nfd(part))
        above = folder.rstrip("/")  # of the root of the file system nothing is left
        for form in dict.fromkeys(forms):
            path = f"{above}/{form}"
            try:
                return path, os.lstat(path).st_mode
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise _no_file(
                    text, f"cannot be read ({error.strerror}); check its name and permissions"
                ) from error
        names = self._names_in(folder)
        similar = names.get(nfc(part)) or names.get(nfc(part).casefold())
        if similar is None:
            raise self._missing(text)
        path = f"{above}/{similar}"
        if nfc(similar) == nfc(part):
            return path, os.lstat(path).st_mode
        raise self._missing(text, similar=inside(self.root, path))

    def _names_in(self, folder: str) -> dict[str, str]:
        """Names by their normal form C, and by that without case; {} for a very large folder."""
        known = self._listed.get(folder)
        if known is not None:
            return known
        names: dict[str, str] = {}
        try:
            with scan_inside(self.root, inside(self.root, folder) or "") as entries:
                for count, entry in enumerate(entries):
                    if count >= MAX_LISTED_NAMES:
                        names.clear()
                        break
                    if is_utf8(entry.name):
                        names[nfc(entry.name)] = entry.name
                        names.setdefault(nfc(entry.name).casefold(), entry.name)
        except (OSError, DeliveryRowError):
            names.clear()  # No suggestion, then; the missing file is reported all the same.
        if len(self._listed) >= MAX_LISTED_FOLDERS:
            self._listed.clear()
        self._listed[folder] = names
        return names

    def _missing(self, text: str, similar: str | None = None) -> MissingFileError:
        return missing_file(text, place=self.place, similar=similar)


def missing_file(text: str, *, place: str, similar: str | None) -> MissingFileError:
    """The error of a path with no file, with the name that was perhaps meant."""
    if similar is None:
        hint = "add the file, or correct the path, and deliver the line again"
    else:
        hint = f"there is '{shown(similar)}': capitals count, write it exactly so"
    return MissingFileError(f"no file '{shown(text)}' {place}; {hint}")
