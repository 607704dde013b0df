"""Hostile pictures through the real decoder pool, held against plain Pillow; prints a table.

    python -m tests.hostile.images --seeds 0:20000       # `make hostile-images`

Resumable: what a block of seeds came to is kept in the state file (`--state`), and blocks that
stand there are not run again; a longer range only runs what is new. Delete it to begin anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import PIL
from rich.console import Console
from rich.table import Table

from tagging.domain import PRODUCT_FAILURES, FailureCode
from tagging.images.content import allowed_formats
from tagging.images.decoders import Decoded, DecodeRequest, DecoderPool, DecoderUnavailable
from tagging.images.protocol import WireSpec
from tagging.images.rejection import ImageLimits
from tests.hostile.mutations import mutant
from tests.hostile.oracle import loadable
from tests.hostile.pictures import good_neighbour

BLOCK: Final = 500
PER_NEIGHBOUR: Final = 4
SPECS: Final = (
    WireSpec(kind="fashion-mnist", height=28, width=28, channels=1),
    WireSpec(kind="photo", height=64, width=64, channels=3),
)


@dataclasses.dataclass(kw_only=True)
class Tally:
    """What hostile files came to.

    `outcomes`: by failure code, `decoded` for pixels. `deaths`: decoder children that a file
    brought down by a crash. `unavailable`: calls that the pool could not answer at all.
    `unclassified`: failures without a code or a sentence. `refused_wrongly`: names of files that
    plain Pillow loads within the bounds. `spoilt`: neighbours without exactly their own pixels.
    `cpu_seconds`, `peak_bytes`: the most that one file took, and `_name` which.
    """

    files: int = 0
    neighbours: int = 0
    outcomes: dict[str, int] = dataclasses.field(default_factory=dict)
    unavailable: int = 0
    unclassified: list[str] = dataclasses.field(default_factory=list)
    refused_wrongly: list[str] = dataclasses.field(default_factory=list)
    spoilt: list[str] = dataclasses.field(default_factory=list)
    loaded_by_pillow: int = 0
    cpu_seconds: float = 0.0
    cpu_name: str = ""
    peak_bytes: int = 0
    peak_name: str = ""

    @property
    def deaths(self) -> int:
        return self.outcomes.get(FailureCode.DECODER_CRASH, 0)

    @property
    def faults(self) -> list[str]:
        """What must not be, in words; empty where all held."""
        limits = ImageLimits()
        found = [f"not classified: {name}" for name in self.unclassified]
        found += [f"refused, but Pillow loads it: {name}" for name in self.refused_wrongly]
        found += [f"spoilt: {name}" for name in self.spoilt]
        if self.unavailable:
            found.append(f"the pool gave no answer {self.unavailable} times")
        if self.deaths:
            found.append(f"{self.deaths} decoders crashed")
        if self.cpu_seconds > limits.max_seconds:
            found.append(f"{self.cpu_seconds:.2f} s of processor time: {self.cpu_name}")
        if self.peak_bytes > limits.max_memory_bytes:
            found.append(f"{self.peak_bytes:,} bytes of memory: {self.peak_name}")
        return found

    def add(self, other: Tally) -> None:
        """Take in what other files came to."""
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if isinstance(mine, list) or field.name in _SUMS:
                setattr(self, field.name, mine + theirs)
        self.outcomes = dict(Counter(self.outcomes) + Counter(other.outcomes))
        if other.cpu_seconds > self.cpu_seconds:
            self.cpu_seconds, self.cpu_name = other.cpu_seconds, other.cpu_name
        if other.peak_bytes > self.peak_bytes:
            self.peak_bytes, self.peak_name = other.peak_bytes, other.peak_name

    def take(self, name: str, answer: Decoded, *, pillow_loads: bool) -> None:
        """Take in what became of one hostile file."""
        self.files += 1
        self.loaded_by_pillow += pillow_loads
        outcome = "decoded" if answer.readable else str(answer.code)
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if not answer.readable:
            if answer.code not in PRODUCT_FAILURES or not str(answer.detail).endswith("."):
                self.unclassified.append(f"{name}: {answer.code} {answer.detail!r}")
            if pillow_loads:
                self.refused_wrongly.append(f"{name}: {answer.code}: {answer.detail}")
        if answer.cost is not None and answer.cost.cpu_seconds > self.cpu_seconds:
            self.cpu_seconds, self.cpu_name = answer.cost.cpu_seconds, name
        if answer.cost is not None and answer.cost.peak_bytes > self.peak_bytes:
            self.peak_bytes, self.peak_name = answer.cost.peak_bytes, name


_SUMS: Final = ("files", "neighbours", "unavailable", "loaded_by_pillow")


def try_files(pool: DecoderPool, names: Sequence[str], paths: Sequence[Path], seed: int) -> Tally:
    """Decode the files at `paths`, a good neighbour after every fourth; what they came to.

    `pool`: a measured one with the default limits. `names`: what the report calls the files.
    `seed`: for the neighbours, and for which model the pictures are meant.
    """
    spec = SPECS[seed // BLOCK % len(SPECS)]
    requests: list[DecodeRequest] = []
    shown: dict[int, np.ndarray] = {}
    hostile: list[int] = []
    for number, path in enumerate(paths):
        hostile.append(len(requests))
        requests.append(_request(path))
        if number % PER_NEIGHBOUR == PER_NEIGHBOUR - 1:
            data, pixels = good_neighbour(seed + number, spec.width, spec.channels)
            neighbour = path.with_name(f"{path.name}.neighbour")
            neighbour.write_bytes(data)
            shown[len(requests)] = pixels
            requests.append(_request(neighbour))
    tally = Tally(neighbours=len(shown))
    try:
        answers = pool.decode(requests, spec)
    except DecoderUnavailable:
        tally.unavailable = 1
        return tally
    loads = loadable(paths, dataclasses.asdict(ImageLimits()), allowed_formats())
    for at, name, pillow_loads in zip(hostile, names, loads, strict=True):
        tally.take(name, answers[at], pillow_loads=pillow_loads)
    for at, pixels in shown.items():
        answer = answers[at]
        if answer.pixels is None or not np.array_equal(answer.pixels, pixels):
            tally.spoilt.append(f"after seed {requests[at].path.stem}: {answer.code}")
    return tally


def try_mutants(pool: DecoderPool, seeds: range) -> Tally:
    """Decode the mutants of these seeds, in blocks; nothing stays on the disk."""
    total = Tally()
    for start in range(seeds.start, seeds.stop, BLOCK):
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            names, paths = [], []
            for seed in range(start, min(start + BLOCK, seeds.stop)):
                made = mutant(seed)
                names.append(made.name)
                paths.append(Path(folder) / str(seed))
                paths[-1].write_bytes(made.data)
            total.add(try_files(pool, names, paths, start))
    return total


def _request(path: Path) -> DecodeRequest:
    return DecodeRequest(sha256=hashlib.sha256(path.read_bytes()).hexdigest(), path=path)


def table(tally: Tally, title: str) -> Table:
    """Figures as a table."""
    found = Table(title=title, box=None, show_header=False, title_justify="left")
    found.add_column()
    found.add_column(justify="right")
    found.add_row("hostile files", f"{tally.files:,}")
    for code, count in Counter(tally.outcomes).most_common():
        found.add_row(f"  {code}", f"{count:,}")
    found.add_row("loaded by plain Pillow", f"{tally.loaded_by_pillow:,}")
    found.add_row("  and refused", f"{len(tally.refused_wrongly):,}")
    found.add_row("failures without a code", f"{len(tally.unclassified):,}")
    found.add_row("decoders that crashed", f"{tally.deaths:,}")
    found.add_row("calls without an answer", f"{tally.unavailable:,}")
    found.add_row("good neighbours", f"{tally.neighbours:,}")
    found.add_row("  without exactly their pixels", f"{len(tally.spoilt):,}")
    found.add_row("most processor time of one that was answered", f"{tally.cpu_seconds:.2f} s")
    found.add_row("most memory of one", f"{tally.peak_bytes / 2**20:.0f} MiB")
    return found


def main() -> int:
    """Run what the state lacks of the range; print the table; 1 if anything did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0:20000", help="first and one past the last")
    parser.add_argument("--state", type=Path, default=Path("runs/hostile-images.json"))
    parser.add_argument("--decoders", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    first, past = (int(word) for word in asked.seeds.split(":"))
    state: dict[str, Any] = json.loads(asked.state.read_text()) if asked.state.exists() else {}
    started, ran = time.monotonic(), 0
    console, progress = Console(), Console(stderr=True)
    with DecoderPool(asked.decoders, ImageLimits(), measured=True) as pool:
        for start in range(first, past, BLOCK):
            block = range(start, min(start + BLOCK, past))
            key = f"{block.start}:{block.stop}"
            if key in state:
                continue
            state[key] = dataclasses.asdict(try_mutants(pool, block))
            ran += len(block)
            _write(asked.state, state)
            progress.print(f"seeds {key} after {time.monotonic() - started:.0f} s")
    total = Tally()
    for key, kept in state.items():
        start, stop = (int(word) for word in key.split(":"))
        if first <= start and stop <= past:
            total.add(Tally(**kept))
    console.print(table(total, f"mutants {asked.seeds}, Pillow {PIL.__version__}"))
    console.print(f"{ran:,} of them now, in {time.monotonic() - started:.0f} s")
    for fault in total.faults:
        console.print(fault, style="red", markup=False)
    return 1 if total.faults else 0


def _write(path: Path, state: dict[str, Any]) -> None:
    """In one step, so that whoever is cut off finds a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(state, indent=1))
    unfinished.replace(path)


if __name__ == "__main__":
    sys.exit(main())
