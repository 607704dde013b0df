"""A TCP proxy that can be told to misbehave: what a network does on a bad day.

    proxy = Proxy(("127.0.0.1", 6379))
    proxy.behave("blackhole")
    proxy.behave("pass")

It runs in a process of its own, so that the driver that forks stays without threads. Behaviours:

pass        as a cable would
delay       every piece 0.3 s later
blackhole   accepts, takes and drops everything in both directions; connections stay open
reset       ends every connection, also new ones, with RST
halfclose   ends the answers' direction of every connection, takes requests all the same
drip        one byte every 20 ms
deaf        requests arrive, answers are dropped
unheard     the same, but only where a message of Redis is waited for (BRPOP); all else passes
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

BEHAVIOURS: Final = (
    "pass",
    "delay",
    "blackhole",
    "reset",
    "halfclose",
    "drip",
    "deaf",
    "unheard",
)
_PIECE: Final = 1 << 16
_LINGER_NONE: Final = struct.pack("ii", 1, 0)

Address = tuple[str, int] | str


class Proxy:
    """One listening port before one server. `target`: (host, port), or a Unix socket's path."""

    def __init__(self, target: Address) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(128)
        self.port: int = self._listener.getsockname()[1]
        reading, self._writing = os.pipe()
        context = multiprocessing.get_context("fork")
        self._process = context.Process(
            target=_run, args=(self._listener, target, reading, self._writing), daemon=True
        )
        self._process.start()
        os.close(reading)
        self._listener.close()

    def behave(self, how: str) -> None:
        """From now on, for open connections too."""
        os.write(self._writing, bytes([BEHAVIOURS.index(how)]))

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        os.close(self._writing)


def _run(listener: socket.socket, target: Address, orders: int, other_end: int) -> None:
    os.close(other_end)  # so that the driver's end is the only one, and its death is seen
    asyncio.run(_Forwarder(target).serve(listener, orders))


class _Forwarder:
    def __init__(self, target: Address) -> None:
        self._target = target
        self._how = "pass"
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, listener: socket.socket, orders: int) -> None:
        listener.setblocking(False)
        server = await asyncio.start_server(self._accept, sock=listener)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(orders, self._obey, orders, ended)
        async with server:
            await ended.wait()
        os._exit(0)

    def _obey(self, orders: int, ended: asyncio.Event) -> None:
        found = os.read(orders, 1)
        if not found:
            ended.set()
            return
        self._how = BEHAVIOURS[found[0]]
        if self._how == "reset":
            for writer in list(self._writers):
                _reset(writer)
        if self._how == "halfclose":
            for writer in list(self._writers):
                with contextlib.suppress(OSError, RuntimeError):
                    writer.write_eof()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._how == "reset":
            _reset(writer)
            return
        try:
            if isinstance(self._target, str):
                answers, requests = await asyncio.open_unix_connection(self._target)
            else:
                answers, requests = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        self._writers.add(writer)
        waits = False

        def request_dropped(piece: bytes) -> bool:
            nonlocal waits
            waits = waits or b"BRPOP" in piece  # Kombu waits on a connection of its own
            return self._how == "blackhole"

        def answer_dropped(_: bytes) -> bool:
            return self._how in ("blackhole", "deaf") or (self._how == "unheard" and waits)

        try:
            await asyncio.gather(
                self._pump(reader, requests, request_dropped),
                self._pump(answers, writer, answer_dropped),
            )
        finally:
            self._writers.discard(writer)
            for one in (writer, requests):
                one.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        drops: Callable[[bytes], bool],
    ) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            while piece := await reader.read(_PIECE):
                if drops(piece):
                    continue
                if self._how == "delay":
                    await asyncio.sleep(0.3)
                if self._how == "drip":
                    for byte in piece:
                        if self._how != "drip":
                            break
                        writer.write(bytes([byte]))
                        await writer.drain()
                        await asyncio.sleep(0.02)
                        piece = piece[1:]
                writer.write(piece)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    found: Any = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    writer.transport.abort()
