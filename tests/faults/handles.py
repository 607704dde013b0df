"""What one worker holds before and after many faults of the network that it lives through.

python -m tests.faults.handles --rounds 5
"""

from __future__ import annotations

from tests.faults import clock

clock.install()

import argparse  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402
import re  # noqa: E402
import shutil  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Final  # noqa: E402

from tests import memory  # noqa: E402
from tests.faults import promises  # noqa: E402
from tests.faults.installations import Servers, installed, settings_of  # noqa: E402
from tests.faults.world import World, held_by, inhabited  # noqa: E402

HOW: Final = ("delay", "reset", "halfclose", "drip")
"""Without those after which nothing ever comes: what waits for it is ended, as it should be."""
FAULT_S: Final = 0.5
"""Shorter than anybody's patience: what ends a worker is another test's."""
FLOW_S: Final = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.handles")
    parser.add_argument("--rounds", type=int, default=1, help="after the one that warms up")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    memory.write_there()
    folder = Path(tempfile.mkdtemp(prefix="atelier-handles-"))
    try:
        with (
            installed(
                "servers", folder / "home", small_disks=False, **settings_of("servers")
            ) as on,
            inhabited(on, folder / "world", random.Random(given.seed), workers=1) as world,
        ):
            print(json.dumps(lived_through(world, given.rounds)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lived_through(world: World, rounds: int) -> dict[str, object]:
    """What the worker held after the first round, and what after the last one."""
    installation = world.installation
    assert isinstance(installation, Servers)
    faults = [f"{server} {how}" for server in installation.proxies for how in HOW]
    (worker,) = world.workers
    before: dict[str, int] = {}
    for number in range(rounds + 1):
        for fault in faults:
            live_through(world, installation, fault)
        if number == 0:
            before = holdings_of(worker.pid)
    world.wait(lambda: holdings_of(worker.pid)["files"] <= before["files"], 20, busy=False)
    with world.observer.read() as session:
        broken = promises.check(
            session, world.store, world.expected, world.reviewed, lines=world.lines
        )
    return {
        "faults": len(faults) * (rounds + 1),
        "before": before,
        "after": holdings_of(worker.pid),
        "ended": [end for end in world.ends if end.startswith("worker")],
        "broken": str(broken),
    }


def live_through(world: World, installation: Servers, fault: str) -> None:
    """One fault while something is in flight, and a delivery that is tagged in spite of it."""
    delivered = world.deliver()
    world.wait(world.in_flight, 5, busy=False)
    installation.fault(fault)
    until = time.monotonic() + FAULT_S
    world.wait(lambda: time.monotonic() > until, FLOW_S, busy=False)
    installation.mend()
    if not world.wait(lambda: delivered.done and world.at_rest(), FLOW_S, busy=False):
        raise AssertionError(f"after {fault} nothing flowed\n{world.tail()}")


def holdings_of(pid: int) -> dict[str, int]:
    """Of `held_by`, and the memory that is the process's own, in KiB."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        status = ""
    own = re.search(r"RssAnon:\s+(\d+) kB", status)
    return {**held_by(pid)._asdict(), "memory_kib": int(own[1]) if own else 0}


if __name__ == "__main__":
    main()
