"""Photos as browsers get them: decoded by the isolated children, made anew, never the bytes that a
retailer sent.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from PIL import Image

from tagging.domain import FailureCode
from tagging.errors import StoreAwayError
from tagging.images.decoders import Decoded, DecodeRequest
from tagging.images.model_input import ModelInput
from tagging.images.protocol import WireSpec
from tagging.images.store import ImageStore
from tagging.private_files import make_private_folder, open_private

EDGES: Final = {"thumb": 320, "large": 1280, "full": 2560}
"""Name -> edge in pixels: in rows, to decide by, to look closer at. Photos are letterboxed on
white, as most product photos are shot.
"""

QUALITY: Final = 85
EFFORT: Final = 0
"""Of the WebP encoder, 0 to 6: at 1280 pixels 0 takes 50 ms, 4 (the usual) 230 for 10 % less."""

FAILURES_S: Final = 3600.0
"""For how long it is remembered that no picture can be made. To find that out may take 5 s."""

FAILURES: Final = 20_000
"""How many of these are remembered, the newest; some hundred bytes each."""


class Decoders(Protocol):
    """Bytes to pixels, outside of this process."""

    def decode(self, items: Sequence[DecodeRequest], spec: ModelInput) -> list[Decoded]:
        """One answer per item, in order."""


class PreviewFailed(Exception):
    """No picture can be made of a stored image; the message says why."""


class _Failures:
    """Of which images no picture could be made lately, and why. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[float, str]] = {}

    def of(self, sha256: str, size: str, *, now: float) -> str | None:
        """Why not, if that is known."""
        with self._lock:
            at, why = self._known.get((sha256, size), (now, None))
            return why if now - at < FAILURES_S else None

    def add(self, sha256: str, size: str, why: str, *, now: float) -> None:
        """Remember one; beyond `FAILURES` the oldest is forgotten."""
        with self._lock:
            self._known.pop((sha256, size), None)
            self._known[sha256, size] = now, why
            if len(self._known) > FAILURES:
                del self._known[next(iter(self._known))]


@dataclass(frozen=True, kw_only=True)
class Previews:
    """Makes previews and keeps them in a folder that may be emptied at any time.

    `clock`: seconds that never go back.
    """

    store: ImageStore
    decoders: Decoders
    folder: Path
    clock: Callable[[], float] = time.monotonic
    _failures: _Failures = field(default_factory=_Failures, init=False, repr=False)

    def made(self, sha256: str, size: str) -> bytes | None:
        """The WebP of an image, if it was made before.

        Args:
            sha256: 64 hex digits.
            size: a name in `EDGES`.
        """
        try:
            return self._path(sha256, size).read_bytes()
        except FileNotFoundError:
            return None

    def make(self, sha256: str, size: str) -> bytes:
        """A WebP of a stored image, made now and kept; arguments as of `made`.

        Raises:
            PreviewFailed: the image is gone, damaged, or refused by a bound; the latter two are
                told again for an hour without a look at the image.
            StoreAwayError: it cannot be read just now.
        """
        why = self._failures.of(sha256, size, now=self.clock())
        if why is not None:
            raise PreviewFailed(why)
        edge = EDGES[size]
        spec = WireSpec(kind="photo", height=edge, width=edge, channels=3)
        (decoded,) = self.decoders.decode(
            [DecodeRequest(sha256=sha256, path=self.store.path(sha256))], spec
        )
        if decoded.unread is not None:
            raise StoreAwayError(f"a stored image cannot be read ({decoded.unread})")
        if decoded.pixels is None:
            why = decoded.detail or "it cannot be read"
            # One that is gone may be back any time, and costs nothing.
            if decoded.code is not FailureCode.MISSING:
                self._failures.add(sha256, size, why, now=self.clock())
            raise PreviewFailed(why)
        stream = io.BytesIO()
        Image.fromarray(decoded.pixels).save(stream, "WEBP", quality=QUALITY, method=EFFORT)
        self._keep(self._path(sha256, size), stream.getvalue())
        return stream.getvalue()

    def _keep(self, path: Path, content: bytes) -> None:
        """Renamed, so that nobody reads half of it; not flushed, for it can be made again."""
        partial = path.with_name(f"{uuid.uuid4().hex}.partial")
        # The folder may be emptied in the middle of this; then it is made again next time.
        with contextlib.suppress(FileNotFoundError):
            make_private_folder(path.parent)
            with os.fdopen(open_private(partial, os.O_WRONLY | os.O_EXCL), "wb") as stream:
                stream.write(content)
            partial.replace(path)

    def _path(self, sha256: str, size: str) -> Path:
        return self.folder / size / sha256[:2] / f"{sha256}.webp"
