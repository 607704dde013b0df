"""Looks: how often the process ended while it read what no plan counts yet.

A manifest at the top of a drop folder is read once before it is planned, for the names of the
images that belong to it. That is noted before, and struck out after.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError

from tagging.errors import AtelierError
from tagging.held_folder import HeldFolder

NOTES: Final = "looks.json"
NO_FAULT: Final = (OSError, DBAPIError, AtelierError, KeyboardInterrupt, SystemExit)
"""What ends a look that is no fault of what was looked at, or that is told of it by itself."""

log = structlog.get_logger("inbox")

Signature = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Looks:
    """The notes in `state`, a folder that is ours alone. Not for two processes at once.

    Everything but `forget` raises OSError where the notes cannot be read or written.
    """

    state: HeldFolder

    def ended(self, name: str, signature: Signature) -> int:
        """How often a look at `name`, as it stands now, ended the process."""
        tries, seen = self._read().get(name, (0, signature))
        return tries if seen == signature else 0

    @contextmanager
    def at(self, name: str, signature: Signature) -> Iterator[None]:
        """Note a look, in a `with` block; struck out at its end, but not where the process ends."""
        tries = self.ended(name, signature)
        self._write(self._read() | {name: (tries + 1, signature)})
        try:
            yield
        except NO_FAULT:
            self._write_tries(name, tries, signature)
            raise
        self._write_tries(name, 0, signature)

    def forget(self, name: str) -> None:
        """Strike out all of `name`, which has a plan from now on."""
        self._write_tries(name, 0, (0, 0, 0))

    def keep(self, names: Collection[str]) -> None:
        """Strike out all others, which are gone."""
        notes = self._read()
        if notes.keys() - set(names):
            self._write({name: note for name, note in notes.items() if name in names})

    def _write_tries(self, name: str, tries: int, signature: Signature) -> None:
        # Where it cannot be written, the count stays one too high.
        with suppress(OSError):
            others = {other: note for other, note in self._read().items() if other != name}
            self._write(others | ({name: (tries, signature)} if tries else {}))

    def _read(self) -> dict[str, tuple[int, Signature]]:
        if not self.state.holds(NOTES):
            return {}
        try:
            raw = json.loads(self.state.read(NOTES))
            return {
                str(name): (int(tries), (int(files), int(size), int(youngest)))
                for name, (tries, (files, size, youngest)) in raw.items()
            }
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            log.warning("notes_refused", file=str(self.state.path / NOTES), error=str(error))
            return {}

    def _write(self, notes: dict[str, tuple[int, Signature]]) -> None:
        """Not forced to the disk: an end of the process is survived, and no other is counted."""
        if not notes:
            if self.state.holds(NOTES):
                self.state.remove(NOTES)
            return
        with self.state.new_text("looking") as stream:
            json.dump(notes, stream)
        self.state.move("looking", self.state, NOTES)
