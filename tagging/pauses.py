"""Pauses between tries of what cannot be done, as one process keeps them. On a monotonic clock."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

FIRST_S: Final = 5.0
MOST_S: Final = 300.0


@dataclass(kw_only=True)
class Pauses(Generic[Key]):
    """After each failure twice as long as before, up to five minutes. Forgotten by a success."""

    monotonic: Callable[[], float]
    first_s: float = FIRST_S
    most_s: float = MOST_S
    _until: dict[Key, tuple[float, float]] = field(default_factory=dict)

    def failed(self, what: Key) -> None:
        """Leave it alone for a while."""
        _, before_s = self._until.get(what, (0.0, self.first_s / 2))
        pause_s = min(2 * before_s, self.most_s)
        self._until[what] = (self.monotonic() + pause_s, pause_s)

    def worked(self, what: Key) -> None:
        """It can be done."""
        self._until.pop(what, None)

    def failing(self) -> set[Key]:
        """What failed and did not work since."""
        return set(self._until)

    def waiting(self) -> set[Key]:
        """What is to be left alone now."""
        now = self.monotonic()
        return {what for what, (until, _) in self._until.items() if now < until}
