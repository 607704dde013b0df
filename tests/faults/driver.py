"""A seeded run of faults over one world, and what it came to.

python -m tests.faults --kind embedded --seed 7 --injections 40
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults import promises
from tests.faults.injections import inject, keras_plan, plan
from tests.faults.installations import Servers, installed, settings_of
from tests.faults.promises import Broken
from tests.faults.world import World, inhabited

FLOW_S: Final = 60.0
"""Within which work must flow again after a fault: promise 10."""
REST_S: Final = 120.0
"""Within which all errands end once nobody has new ones."""
MOST_REST_S: Final = 900.0
CLASSIFY_S: Final = 1.0
"""Of the stand-in, for a batch: so long that something is in hand nearly always."""
TRIES_MORE: Final = 3
"""What leads to a failpoint may miss: a sweeper that was just killed leaves no chair."""
REMEMBERED: Final = 10
"""After so many injections the copy of the broker that may come back is made anew."""
SLOW_S: Final = 8.0
"""From then on a recovery is told by name."""


@dataclass(kw_only=True)
class Result:
    """What a run came to. `code`: of which commit. `shipped`: with the patience that users get.

    `planned`, `struck`, `unreached`: injections; `injected`: how many of each sort; `recoveries_s`:
    from each fault's end to the next batch that is done; `slow`: the injections of those that took
    longest.
    """

    kind: str
    seed: int
    asked: int = 0
    code: str = ""
    shipped: bool = False
    planned: list[str] = field(default_factory=list)
    injected: dict[str, int] = field(default_factory=dict)
    counted: int = 0
    struck: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    recoveries_s: list[float] = field(default_factory=list)
    slow: dict[str, float] = field(default_factory=dict)
    products: int = 0
    reviews: int = 0
    ends: int = 0
    broken: str = ""
    seconds: float = 0.0

    @property
    def repeat(self) -> str:
        """The one command that does it again."""
        return (
            f"python -m tests.faults --kind {self.kind} --seed {self.seed} "
            f"--injections {self.asked}{' --shipped' if self.shipped else ''}"
        )


def run(
    kind: str,
    seed: int,
    injections: int,
    *,
    code: str = "",
    shipped: bool = False,
    talk: bool = False,
) -> Result:
    """Inject, and check every promise once all work has come to rest."""
    rng = random.Random(f"{kind}:{seed}")
    began = time.monotonic()
    result = Result(kind=kind, seed=seed, asked=injections, code=code, shipped=shipped)
    folder = Path(tempfile.mkdtemp(prefix="atelier-world-"))
    try:
        with (
            installed(kind, folder / "home", **settings_of(kind, shipped=shipped)) as installation,
            inhabited(
                installation,
                folder / "world",
                rng,
                keras=kind.startswith("keras"),
                classify_s=CLASSIFY_S,
            ) as world,
        ):
            start = (seed - 1) * injections
            if world.keras:
                result.planned = keras_plan(start, injections)
            else:
                result.planned = plan(installation.faults(), installation.disks, start, injections)
            try:
                _all(world, result, talk=talk)
            except Exception:
                result.broken = f"the run itself failed: {traceback.format_exc()}"
            result.products = len(world.expected)
            result.reviews = len(world.reviewed)
            result.ends = len(world.ends)
            if result.broken:  # its disks go with it; and nobody may change what is copied
                world.close()
                shutil.copytree(folder / "home", folder / "home-kept", symlinks=True)
    except Exception:  # whatever it is, the others go on, and it is told with its command
        result.broken += f"\nthe run itself failed: {traceback.format_exc()}"
    finally:
        result.seconds = time.monotonic() - began
        if result.broken:
            result.broken += f"\nkept, with its logs: {folder}"
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return result


def _all(world: World, result: Result, *, talk: bool) -> None:
    """Everything that is planned, what nothing came to some times more, and rest."""
    for number, injection in enumerate(result.planned):
        if number % REMEMBERED == 0:
            world.wait(world.in_flight, 5)
            world.installation.remember()
        _one(world, injection, result, talk=talk)
        if result.broken:
            return
    for _ in range(TRIES_MORE):
        again, result.unreached = result.unreached, []
        for injection in again:
            _one(world, injection, result, talk=talk)
            if result.broken:
                return
    _rest(world, result)


def sort_of(injection: str) -> str:
    """What injections are counted by: of failpoints the action, of others all of it."""
    family, *rest = injection.split()
    return f"failpoint {rest[1]}" if family == "failpoint" else injection


def _one(world: World, injection: str, result: Result, *, talk: bool) -> None:
    began = time.monotonic()
    outcome = inject(world, injection)
    if not outcome.reached:
        result.unreached.append(injection)
        if talk:
            print(f"{injection}: not reached", flush=True)
        return
    result.struck.append(injection)
    sort = sort_of(injection)
    result.injected[sort] = result.injected.get(sort, 0) + 1
    result.counted += outcome.counted
    done = world.done_batches(now=True)
    flowed = world.wait(lambda: world.done_batches() > done, FLOW_S)
    recovery = time.monotonic() - outcome.ended
    result.recoveries_s.append(recovery)
    if recovery > SLOW_S:
        result.slow[injection] = round(recovery, 1)
    world.look()
    if talk:
        print(
            f"{injection}: {outcome.ended - began:.1f} s, flows again after {recovery:.1f} s"
            + ("" if outcome.counted else " (nothing was in flight)"),
            flush=True,
        )
    if not flowed:
        result.broken = f"promise 10: after {injection!r} nothing flowed for {FLOW_S:g} s"
    elif world.broken:
        result.broken = f"after {injection!r}: " + "\n".join(world.broken[:5])


def _rest(world: World, result: Result) -> None:
    """Let everything end, and check."""
    done = world.done_batches()
    if not world.wait(lambda: not world.errands, REST_S, busy=False):
        result.broken = f"errands never ended: {[e.kind for e in world.errands]}"
        return
    until = time.monotonic() + MOST_REST_S
    while not world.wait(world.at_rest, FLOW_S, busy=False):
        # Retags of everything wait for one another: that work flows is what matters.
        before, done = done, world.done_batches()
        if done == before or time.monotonic() > until:
            result.broken = (
                f"promise 1: {world.left()} products, batches or retags wait; "
                f"{done - before} batches were done within {FLOW_S:g} s"
            )
            return
    found = _at_rest(world)
    world.look()
    with world.observer.read() as session:
        broken: Broken = promises.check(
            session,
            world.store,
            world.expected,
            world.reviewed,
            lines=world.lines,
            decoder_faults=world.decoder_faults,
        )
    found += [str(broken)] if broken else []
    found += world.broken
    result.broken = "\n".join(found)


def _at_rest(world: World) -> list[str]:
    """Work flows, and broker keys, files, handles and threads are where they were: promise 10."""
    before = world.half_written()
    last = world.deliver()
    if not world.wait(lambda: last.done and world.at_rest(), FLOW_S, busy=False):
        return ["promise 10: the delivery after the last fault is not tagged"]
    # What a process that died left half-written is removed when it is a day old.
    found = [f"promise 10: left half-written: {name}" for name in world.half_written() - before]
    if not world.wait(lambda: not world.grown(), 60, busy=False):
        found += [f"promise 10: {what}" for what in world.grown()]
    installation = world.installation
    if isinstance(installation, Servers):
        allowed = {"_kombu.binding.atelier.batches", "_kombu.binding_permanent.atelier.batches"}
        if not world.wait(lambda: set(installation.keys()) <= allowed, 60, busy=False):
            found.append(f"promise 10: left on the broker: {installation.keys()}")
    elif not world.wait(lambda: not installation.messages(), 60, busy=False):
        found.append(f"promise 10: left on the broker: {installation.messages()[:5]}")
    return found
