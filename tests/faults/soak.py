"""Steady work for as long as you like: does anything grow?

    python -m tests.faults.soak --minutes 30 --plot docs/img/soak.png
    python -m tests.faults.soak --minutes 30 --kind keras --plot docs/img/soak-keras.png

First it is measured how much is taken in and classified when there is always more to do. Then
uploads at 80 % of that, reviews, undone reviews and retags go on. Every ten seconds the memory of
the workers and of their decoders, file handles and threads are read from /proc, and the broker's
keys, files that are no stored image, and the batches that wait from where they lie. After a fifth
of the time, which counts as warm-up, memory may grow by 5 %, and everything else must stay flat;
and the load must have been there. Of the batches that wait the median counts: at 80 % of capacity a
disk that stalls makes some wait for a minute, which is no growth where none waits afterwards.
`keras` has the real network, where most of the memory is.

Each reading tells the machine's pace, too: how often a processor second has a piece of work of
always the same size. Where others take a part of the machine, 80 % of its capacity is no longer
that; a soak of which the pace fell says so, and says nothing of the batches that wait. `cost` is
what a product took in the end, in such pieces, against what it took after the warm-up.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from tests.faults import promises
from tests.faults.installations import Servers, installed, settings_of
from tests.faults.world import World, inhabited

EVERY_S: Final = 10.0
LOAD: Final = 0.8
LEAST_LOAD: Final = 0.75
"""Of capacity: what is delivered, and what must have been done for a soak to say anything."""
PRODUCTS: Final = 96
AT_ONCE: Final = 3
"""Products of a delivery, and how many deliveries at most come in at a time."""
RETAGGED: Final = 960
"""Products that are classified again, once a minute, besides what is delivered."""
LEAST_PACE: Final = 0.9
"""Of the pace after the warm-up: what it must still be in the end."""
FULL: Final = 2000
"""Products that wait, from which on no more are needed to keep all busy."""
PATIENCE_S: Final = 60.0
"""Nobody breaks off a delivery for being slow: what is half written then stays for a day."""
WARM_S: Final = 10.0
MEASURED_S: Final = 30.0
MIB: Final = 1 << 20
KINDS: Final = ("embedded", "servers", "keras", "keras-servers")
SHARD: Final = re.compile("[0-9a-f]{2}")
BOUNDS: Final[dict[str, Callable[[float], float]]] = {
    "memory_mib": lambda before: before * 1.05,
    "decoders_mib": lambda before: before * 1.05,
    "handles": lambda before: before + 1,
    "threads": lambda before: before + 1,
    "broker_keys": lambda before: before + 1,
    "files": lambda before: before + 2,
    "queued_batches": lambda before: before * 1.2 + 2,
}
"""What each reading may have come to in the end."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One reading. Of each worker: memory (RSS, MiB), that of its decoders, file handles, threads.

    `files`: all in the data folder but stored images; half-written ones are of these. `pace`: of
    the machine, in pieces of work a second of processor time. `busy_s`: processor seconds of all
    processes together so far.
    """

    at_s: float
    memory_mib: list[float]
    decoders_mib: list[float]
    handles: list[int]
    threads: list[int]
    broker_keys: int
    files: int
    queued_batches: int
    done: int
    pace: float
    busy_s: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kind", choices=KINDS, default="servers")
    parser.add_argument("--plot", type=Path, help="where; the readings come beside it, as .jsonl")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.minutes < 1:
        parser.error("--minutes: less than one says nothing")
    keras = given.kind.startswith("keras")
    settings = {**settings_of(given.kind), "batch_images": 32, "classify_shapes": (32,)}
    folder = Path(tempfile.mkdtemp(prefix="atelier-soak-"))
    try:
        with (
            installed(given.kind, folder / "home", small_disks=False, **settings) as installation,
            inhabited(
                installation,
                folder / "world",
                random.Random(given.seed),
                keras=keras,
                office=RETAGGED,
            ) as world,
        ):
            world.patience_s = PATIENCE_S
            rate = capacity(world)
            samples = soak(world, given.minutes * 60, LOAD * rate)
            found = grown(samples)
            passed = samples[-1].at_s - samples[0].at_s
            load = (samples[-1].done - samples[0].done) / passed / rate
            told = {"capacity_per_s": round(rate, 1), "load": round(load, 2), **found}
            # At once: what is looked at next are all products, and may fail for reasons of its own.
            print(json.dumps(told, indent=1), flush=True)
            if given.plot is not None:
                plot(samples, given.plot)
                lines = (json.dumps(asdict(sample)) for sample in samples)
                given.plot.with_suffix(".jsonl").write_text("\n".join(lines) + "\n", "utf-8")
            broken = rest(world)
            print(f"broken: {broken or 'nothing'}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if found["pace"] < LEAST_PACE:
        raise SystemExit(
            f"the machine went at {found['pace']:.2f} of its pace in the end: others used it, and "
            "this says little"
        )
    if load < LEAST_LOAD:
        raise SystemExit(f"the load was {load:.2f} of capacity, not {LOAD}: this says little")
    raise SystemExit(1 if broken or not all(found["flat"].values()) else 0)


def capacity(world: World) -> float:
    """Products per second that all of it takes in and classifies, where always more waits than it
    can do; people resting.
    """
    found: list[tuple[float, int]] = []
    for seconds in (WARM_S, MEASURED_S):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if (world.queued() or 0) < FULL:
                feed(world)
            world.tick()
        found.append((time.monotonic(), int(world.ask(DONE) or 0)))
    (began, before), (ended, after) = found
    world.wait(lambda: not world.errands and world.queued() == 0, 300, busy=False)
    return (after - before) / (ended - began)


def feed(world: World) -> int:
    """Begin one more delivery, unless so many are under way; how many products it has."""
    if sum(errand.kind == "deliver" for errand in world.errands) >= AT_ONCE:
        return 0
    world.deliver(PRODUCTS)
    return PRODUCTS + 3  # whose photos changed


DONE: Final = "SELECT count(*) FROM predictions"


def soak(world: World, seconds: float, rate: float) -> list[Sample]:
    """Keep the workers that busy for so long."""
    began = time.monotonic()
    samples: list[Sample] = []
    delivered, retags = 0, 0
    while (passed := time.monotonic() - began) < seconds:
        world.tick()
        kinds = {errand.kind for errand in world.errands}
        if delivered < rate * passed:
            delivered += feed(world)
        world.review_some()
        if "retag" not in kinds and passed > 60.0 * (retags + 1):
            # Of everything, a hundred batches would wait at any time, and no load be steady.
            world.retag("office", all_of_it=True)
            retags += 1
        if passed >= EVERY_S * len(samples):
            # What is expected grows with every product; no fork need look through it for garbage.
            gc.freeze()
            samples.append(read(world, passed))
            if len(samples) % 30 == 1:
                print(samples[-1], flush=True)
    return samples


def read(world: World, at_s: float) -> Sample:
    workers = [worker.pid for worker in world.workers]
    installation = world.installation
    return Sample(
        at_s=round(at_s, 1),
        memory_mib=[_memory(pid) for pid in workers],
        decoders_mib=[sum(_memory(child) for child in _children(pid)) for pid in workers],
        handles=[len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in workers],
        threads=[len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in workers],
        broker_keys=len(installation.keys()) if isinstance(installation, Servers) else 0,
        files=_files(installation.settings.home, world.store),
        queued_batches=int(world.ask("SELECT count(*) FROM batches WHERE state = 'queued'") or 0),
        done=int(world.ask(DONE) or 0),
        pace=pace(),
        busy_s=busy(),
    )


def busy() -> float:
    """Processor seconds of this machine so far, idle ones and other guests' apart (proc(5))."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def pace() -> float:
    """Pieces of work that a processor second has now: the median of several short looks."""
    looks = []
    for _ in range(5):
        began = time.thread_time()
        sum(range(200_000))
        looks.append(1 / (time.thread_time() - began))
    return float(np.median(looks))


def _memory(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / MIB
    raise AssertionError(f"process {pid} has no memory")


def _files(home: Path, store: Path) -> int:
    """All but the stored images, whose folders are not read: there are very many. What was written
    to in the last ten seconds may be about to go, or to be stored, and does not count.
    """
    found, recent = 0, time.time() - 10
    for folder, folders, names in os.walk(home):
        if Path(folder) == store:
            folders[:] = [name for name in folders if not SHARD.fullmatch(name)]
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found += (Path(folder) / name).stat().st_mtime < recent
    return found


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def rest(world: World) -> str:
    """Let everything end; what is broken then."""
    if not world.wait(lambda: not world.errands and world.at_rest(), 300, busy=False):
        return f"{world.left()} products, batches or retags wait at the end"
    with world.observer.read() as session:
        if session.get_bind().dialect.name == "postgresql":
            # Between two queries all stored images are read, which takes as long as it takes.
            session.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        found = promises.check(
            session, world.store, world.expected, world.reviewed, lines=world.lines
        )
    ended = f"workers ended: {world.ends}" if world.ends else ""
    return "\n".join(filter(None, [str(found) if found else "", ended]))


def grown(samples: list[Sample]) -> dict[str, Any]:
    """By how much each reading grew: the last fifth against the one after the warm-up."""
    length = len(samples)
    warm, part = length // 5, max(2, length // 5)
    early, late = samples[warm : warm + part], samples[-part:]

    def mean(part: list[Sample], name: str) -> float:
        middle = np.median if name == "queued_batches" else np.mean
        return float(middle([np.mean(asdict(one)[name]) for one in part]))

    found = {name: (round(mean(early, name), 1), round(mean(late, name), 1)) for name in BOUNDS}
    flat = {name: BOUNDS[name](before) >= after for name, (before, after) in found.items()}
    # Nor may they have begun to wait in the last two minutes.
    last = mean(samples[-max(2, min(part, round(120 / EVERY_S))) :], "queued_batches")
    flat["queued_batches"] &= BOUNDS["queued_batches"](found["queued_batches"][0]) >= last
    return {
        "samples": length,
        "done": samples[-1].done,
        "pace": round(mean(late, "pace") / mean(early, "pace"), 2),
        "cost": round(_cost(late) / _cost(early), 2),
        "early_late": found,
        "queued_in_the_end": round(last, 1),
        "flat": flat,
    }


def _cost(part: list[Sample]) -> float:
    """Of one product, in pieces of work: seconds at the machine's pace then."""
    first, last = part[0], part[-1]
    rate = float(np.mean([one.pace for one in part]))
    return (last.busy_s - first.busy_s) * rate / (last.done - first.done)


def plot(samples: list[Sample], path: Path) -> None:
    """Each reading over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = (
        ("memory_mib", "memory of each worker, MiB"),
        ("decoders_mib", "memory of the decoders of each, MiB"),
        ("handles", "file handles of each"),
        ("threads", "threads of each"),
        ("broker_keys", "keys on the broker"),
        ("files", "files in the data folder but images"),
        ("queued_batches", "batches that wait"),
        ("pace", "pace of the machine"),
    )
    figure, axes = pyplot.subplots(4, 2, figsize=(10, 9), sharex=True)
    minutes = [one.at_s / 60 for one in samples]
    for axis, (name, title) in zip(axes.flat, shown, strict=True):
        axis.plot(minutes, [asdict(one)[name] for one in samples])
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("minutes")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
