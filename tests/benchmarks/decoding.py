"""Pixels from a decoder child: through a pipe, as it is, or through shared memory? Prints ratios.

    python -m tests.benchmarks.decoding [--rounds 9]

Three figures for each size of input: what the whole way costs (the real child decodes drawn
JPEGs), and what carrying the pixels alone costs by either way. Both ways send the same headers; the
shared one puts the pixels into a memory file that both processes map, and the parent copies them
out, for a child that reads hostile files might change them later. Each round runs both, one after
the other, so that the ratio is of one moment. Processor time of both processes counts, which other
work on the machine changes little; the clock's is printed beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from tagging.images.decoder_process import DecoderProcess
from tagging.images.protocol import DecodeRequest, WireSpec, pack, read_answer, unpack_from
from tagging.images.rejection import ImageLimits
from tests.benchmarks.figures import machine
from tests.hostile.pictures import encoded, scene

SPECS: Final = (
    WireSpec(kind="fashion-mnist", height=28, width=28, channels=1),
    WireSpec(kind="photo", height=224, width=224, channels=3),
)
SLOTS: Final = 32  # images in one request, as the pool asks
WAYS: Final = ("pipe", "shared memory")
_REQUEST: Final = DecodeRequest(sha256="0" * 64, path=Path("none"))


def carry(spec: WireSpec, images: int, way: str) -> tuple[float, float]:
    """Seconds per image to bring `images` finished pictures from a child: processor's, clock's."""
    size = spec.height * spec.width * spec.channels
    memory = os.memfd_create("pixels")
    try:
        os.ftruncate(memory, SLOTS * size)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.decoding", "--child", way, str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(memory,),
            bufsize=0,
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            wire = _Wire(child.stdout, size)
            ask = json.dumps([spec.height, spec.width, spec.channels]).encode() + b"\n"
            with mmap.mmap(memory, SLOTS * size, prot=mmap.PROT_READ) as mapped:
                shared = np.frombuffer(mapped, np.uint8).reshape(SLOTS, size)
                _receive(wire, spec, shared, child.stdin, ask, way)  # warm
                start, used = time.perf_counter(), time.process_time()
                spent = 0.0
                for _ in range(images // SLOTS):
                    spent += _receive(wire, spec, shared, child.stdin, ask, way)
                clock = time.perf_counter() - start
                used = time.process_time() - used
                del shared
            child.stdin.close()
    finally:
        os.close(memory)
    count = images // SLOTS * SLOTS
    return (used + spent) / count, clock / count


class _Wire:
    """The messages that come from a child, read as `DecoderProcess` reads them."""

    def __init__(self, stream: IO[bytes], payload_max_bytes: int) -> None:
        self._descriptor = stream.fileno()
        self._payload_max_bytes = payload_max_bytes
        self._buffer = bytearray()

    def messages(self, count: int) -> Iterator[tuple[dict[str, object], bytearray]]:
        while count:
            message = unpack_from(self._buffer, payload_max_bytes=self._payload_max_bytes)
            if message is None:
                self._buffer += os.read(self._descriptor, 1 << 16)
            else:
                count -= 1
                yield message


def _receive(
    wire: _Wire, spec: WireSpec, shared: np.ndarray, stdin: IO[bytes], ask: bytes, way: str
) -> float:
    """One request; returns the processor seconds that the child says it took."""
    stdin.write(ask)
    spent, kept = 0.0, []
    for slot, (header, payload) in enumerate(wire.messages(SLOTS)):
        if way == "pipe":
            pixels = read_answer(header, payload, _REQUEST, spec).pixels
        else:
            pixels = shared[slot].copy().reshape(spec.height, spec.width, spec.channels)
        kept.append(pixels)
        spent = float(str(header["spent"]))
    assert kept[SLOTS - 1] is not None
    assert int(kept[SLOTS - 1].ravel()[-1]) == SLOTS - 1  # they are the right ones
    return spent


def _be_child(way: str, memory: int) -> None:
    """Answer each line with `SLOTS` pictures, whose every value is the slot's number."""
    for line in sys.stdin.buffer:
        shape = json.loads(line)
        size = int(np.prod(shape))
        made = [np.full(shape, slot, np.uint8) for slot in range(SLOTS)]
        used = time.process_time()
        with mmap.mmap(memory, SLOTS * size) as mapped:
            for slot, pixels in enumerate(made):
                if way == "pipe":
                    message = (
                        {"shape": shape, "spent": time.process_time() - used},
                        pixels.tobytes(),
                    )
                else:
                    place = np.frombuffer(mapped, np.uint8, size, slot * size)
                    place[:] = pixels.ravel()
                    del place  # or the mapping cannot be closed
                    message = {"shape": shape, "spent": time.process_time() - used}, b""
                view = memoryview(pack(*message))
                while view:
                    view = view[os.write(1, view) :]


def decode(spec: WireSpec, images: int) -> float:
    """Processor seconds per image of the whole way: a real child decodes JPEGs, the parent reads.

    The JPEGs are 400 x 533, as shop photos come.
    """
    with tempfile.TemporaryDirectory() as folder:
        requests = []
        for number in range(SLOTS):
            data = encoded(scene("RGB", 400, 533, turn=3 * number), "JPEG")
            path = Path(folder) / f"{number}.jpg"
            path.write_bytes(data)
            requests.append(DecodeRequest(sha256=hashlib.sha256(data).hexdigest(), path=path))
        child = DecoderProcess(ImageLimits(), measured=True)
        for _ in child.exchange(spec, requests):
            pass
        spent, used = 0.0, time.process_time()
        for _ in range(images // SLOTS):
            for answer in child.exchange(spec, requests):
                assert answer.cost is not None
                spent += answer.cost.cpu_seconds
        used = time.process_time() - used
        child.close()
    return (spent + used) / (images // SLOTS * SLOTS)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=3_200)
    parser.add_argument("--child", nargs=2, help="(used by itself)")
    asked = parser.parse_args()
    if asked.child:
        _be_child(asked.child[0], int(asked.child[1]))
        return
    before = machine()
    found = Table(title=before, box=None, title_justify="left")
    for name in ("input", "decode, µs", *(f"{way}, µs" for way in WAYS), "ratio", "of it all"):
        found.add_column(name, justify="right")
    for spec in SPECS:
        whole = float(np.median([decode(spec, asked.images // 5) for _ in range(asked.rounds)]))
        rounds = np.array(
            [[carry(spec, asked.images, way) for way in WAYS] for _ in range(asked.rounds)]
        )  # (rounds, ways, 2)
        took = 1e6 * np.median(rounds, axis=0)  # (ways, 2)
        ratio = np.median(rounds[:, 0] / rounds[:, 1], axis=0)
        saved = (took[0, 0] - took[1, 0]) / (1e6 * whole)
        found.add_row(
            f"{spec.height}x{spec.width}x{spec.channels}",
            f"{1e6 * whole:,.0f}",
            *(f"{took[at, 0]:,.1f} (clock {took[at, 1]:,.1f})" for at in range(len(WAYS))),
            f"{ratio[0]:.2f} (clock {ratio[1]:.2f})",
            f"{saved:.1%} saved",
        )
    Console(width=150).print(found)


if __name__ == "__main__":
    main()
