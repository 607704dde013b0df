"""Which model was being loaded when a worker died: noted on disk, so that the next one knows.

A note is a file that its process keeps locked while it loads. However that process ends, the
kernel frees the lock, so a note that nobody holds is of one that died: of too little memory, a
crash in a driver, a load that hung until the watchdog came. Notes carry a number, one more than
those that were found, so that several workers that were killed together count as one death.

One death may be anybody's doing, so the model is tried again at once. After more of them it is
tried after pauses that double, by one process at a time, and work for other models goes on in
between. What is loaded at last, and a stop that was asked for, clear the notes.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from tagging.database.models import KnownModel
from tagging.errors import BundleError, PassingError
from tagging.model_card import card_fingerprint
from tagging.private_files import make_private_folder, open_private

FREE_DEATHS: Final = 1
"""So many are followed by a new try at once."""
FIRST_PAUSE_S: Final = 5.0
MOST_PAUSE_S: Final = 30.0
"""No longer, for the deaths may all have been somebody else's doing, who has stopped."""
_SUFFIX: Final = ".loading"

log = structlog.get_logger("loads")


class LoadPausedError(BundleError, PassingError):
    """Loading the model ended workers before; it is not tried now."""


@dataclass(frozen=True, kw_only=True)
class _Note:
    """`held`: by a process that loads just now."""

    path: Path
    number: int
    held: bool


class Loads:
    """The notes in one data folder, as one process sees them. Thread-safe.

    Args:
        folder: where they lie; made when it is needed.
    """

    def __init__(self, folder: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self._monotonic = monotonic
        self._seen: dict[tuple[str, int], float] = {}
        self._mine: set[Path] = set()
        self._lock = threading.RLock()  # a signal's handler may come in between

    @contextmanager
    def noted(self, model: KnownModel) -> Iterator[None]:
        """Enter it to load the model.

        Raises:
            LoadPausedError: that ended workers before, and its pause is not over.
        """
        key = card_fingerprint(model.card)[:32]
        notes = self._notes(key)
        deaths = max((note.number for note in notes if not note.held), default=0)
        if deaths > FREE_DEATHS:
            self._require_over(model.card.title, key, deaths, tried=any(n.held for n in notes))
        if deaths:
            log.warning("loading_again", model=model.card.title, deaths=deaths)
        with self._note(key, deaths + 1, model.card.title):
            yield
        _remove(note.path for note in self._notes(key) if not note.held)

    def forget(self) -> None:
        """Clear what nobody else is loading, what this process loads just now included.

        For a stop that was asked for: who starts it again may have given it more memory.
        """
        with self._lock:
            mine = set(self._mine)
        notes = self.folder.glob(f"*{_SUFFIX}")
        _remove(path for path in notes if path in mine or not _is_held(path))

    def _require_over(self, title: str, key: str, deaths: int, *, tried: bool) -> None:
        now = self._monotonic()
        pause_s = min(FIRST_PAUSE_S * 2.0 ** (deaths - FREE_DEATHS - 1), MOST_PAUSE_S)
        with self._lock:
            since = self._seen.setdefault((key, deaths), now)
        if tried or now < since + pause_s:
            raise LoadPausedError(
                f"{title} is not loaded just now: the last {deaths} times workers died or hung "
                "while they loaded it. It is tried again from time to time. Does it need more "
                "memory than there is? Put another model in charge, or give it more and start the "
                "worker again."
            )

    @contextmanager
    def _note(self, key: str, number: int, title: str) -> Iterator[None]:
        """Held within the block, and gone after it: whatever was raised, this process lives."""
        path = self.folder / f"{key}.{number}.{secrets.token_hex(4)}{_SUFFIX}"
        try:
            descriptor = self._write(path, title)
        except OSError as error:  # a full disk keeps no model from being loaded
            log.warning("load_not_noted", model=title, error=str(error))
            yield
            return
        with self._lock:
            self._mine.add(path)
        try:
            yield
        finally:
            _remove([path])
            os.close(descriptor)
            with self._lock:
                self._mine.discard(path)

    def _write(self, path: Path, title: str) -> int:
        make_private_folder(self.folder)
        fresh = path.with_suffix(".new")
        descriptor = open_private(fresh, os.O_WRONLY | os.O_EXCL)
        try:
            os.write(descriptor, title.encode())
            # Before it has its name, or others would take it for a dead one's.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            fresh.rename(path)
        except OSError:
            os.close(descriptor)
            with suppress(OSError):
                fresh.unlink()
            raise
        return descriptor

    def _notes(self, key: str) -> list[_Note]:
        return [
            _Note(path=path, number=_number(path), held=_is_held(path))
            for path in self.folder.glob(f"{key}.*{_SUFFIX}")
        ]


def deadly(folder: Path) -> dict[str, int]:
    """`name:version` of the models that workers died of more than once when they last loaded them,
    and how often in a row. For people; `folder` may be missing.
    """
    found: dict[str, int] = {}
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        if _number(path) > FREE_DEATHS and not _is_held(path):
            with suppress(FileNotFoundError):
                title = path.read_text(encoding="utf-8")
                found[title] = max(found.get(title, 0), _number(path))
    return found


def _remove(notes: Iterable[Path]) -> None:
    """What cannot be removed makes a model wait at worst; it stops neither a load nor a stop."""
    try:
        for path in notes:
            path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("note_not_removed", error=str(error))


def _number(path: Path) -> int:
    return int(path.name.split(".")[1])


def _is_held(path: Path) -> bool:
    """Whether a process that lives keeps it. What is gone, or another account's, counts as held."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
