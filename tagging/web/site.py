"""What the pages need, built elsewhere and passed in."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio

from tagging.database.session import Database
from tagging.waiting_counts import WaitingCounts
from tagging.web.previews import Previews
from tagging.web.recent import RecentVisitors

PHOTO_THREADS: Final = 16
"""That may wait for the decoders. All other requests share some forty threads of their own."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """`secure`: whether browsers reach it over TLS, so that cookies are for TLS only."""

    database: Database
    previews: Previews
    now: Callable[[], dt.datetime]
    preprocessing_version: str
    secure: bool = False

    @functools.cached_property
    def counts(self) -> WaitingCounts:
        """How many products wait."""
        return WaitingCounts(self.database)

    @functools.cached_property
    def recent(self) -> RecentVisitors:
        """Who asked a moment ago."""
        return RecentVisitors(self.database)

    @functools.cached_property
    def photo_threads(self) -> anyio.CapacityLimiter:
        """Lent to requests for photos, so that these keep each other waiting and nobody else."""
        return anyio.CapacityLimiter(PHOTO_THREADS)
