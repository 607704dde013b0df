"""HTTP with a bound on what the server keeps of a request that nobody has seen yet.

Uvicorn bounds heads of requests with h11, not with httptools, which answers faster: there one
without an end is kept until memory is.
"""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

UNSEEN_BYTES: Final = 1 << 16
"""As of Uvicorn with h11. Of what comes at once, more may be kept until it is looked at."""


class BoundedHttp(HttpToolsProtocol):
    """Closes a connection that goes on sending headers, be it before or after a body.

    What is too long and complete is `tagging.web.security.Guarded`'s to refuse, with a reason.
    """

    _unseen = 0

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._unseen += len(data)
        super().data_received(data)
        if self._unseen > UNSEEN_BYTES:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        """A part of a body came, which waits for no more."""
        self._unseen = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._unseen = 0
        super().on_message_complete()
