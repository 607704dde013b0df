"""What is injected: every failpoint with every action, signals, the broker, the network, the clock.

An injection is told by a text (`failpoint batch.write.commit kill`), so that a list of them is a
plan, and a plan can be repeated.
"""

from __future__ import annotations

import ast
import functools
import random
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tagging import failpoints
from tagging.images.decoder_process import wall_seconds
from tests.faults import clock
from tests.faults.installations import Servers
from tests.faults.world import Errand, World
from worker.bootstrap import image_limits

ROOT: Final = Path(__file__).parents[2]
ACTIONS: Final = ("kill", "exit", "raise", "delay 1.5", "hang")
FAULT_S: Final = 1.5
"""How long what is turned off stays off."""
OTHERS: Final = 77
"""Injections besides the kills in a round."""
EACH: Final = 2
"""How often everything that is no failpoint comes in a round."""
HANG_MORE_S: Final = 8.0
"""How much longer than it may a worker takes to be gone that hangs."""
REACH_S: Final = 30.0
"""How long a failpoint may take to be reached."""

LEADS_TO: Final[dict[str, str]] = {
    "accounts": "log_in",
    "autopilot": "govern",
    "backup": "preserve",
    "desk": "look_around",
    "desk.take.": "take",
    "inbox": "drop",
    "integrity": "preserve",
    "known": "govern",
    "models.": "govern",
    "restore": "preserve",
    "retailers": "govern",
    "review.act": "say",
    "review.one": "govern",
    "review.settle": "govern",
    "review.undo": "undo",
    "retag": "retag",
    "rules": "govern",
    "schema": "migrate",
    "batch.give_back": "raise in hand",
    "batches.resume": "kill all",
    "sweep.announce": "lose messages",
    "sweep.counts": "move_much",
    "sweep.leave": "end the sweeper",
    "sweep.take_back": "kill in hand",
    "sweep.take_chair": "kill all",
    "upload.forget": "preserve",
    "worker.give_back": "end in hand",
    "model": "kill all",
}
"""Beginning of a name -> what must happen for it to be reached; whatever else happens by itself."""

KERAS_ONLY: Final = frozenset({"model.load", "model.read", "model.loaded"})
"""The stand-in loads nothing; the world with the real network visits these (`keras_plan`)."""


def _calls() -> Iterator[tuple[ast.Call, str]]:
    """Every call of a failpoint, or of a named write, with the place where it stands."""
    for package in ("tagging", "worker", "model_training"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name == "failpoints.py":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                function = ast.unparse(node.func)
                named = function.endswith(".write") and "database" in function
                if named or function.split(".")[-1] == "failpoint":
                    yield node, f"{path.relative_to(ROOT)}:{node.lineno}"


def calls_in_code() -> int:
    """How many there are, whether or not their names can be read."""
    return sum(1 for _ in _calls())


def places_in_code() -> dict[str, list[str]]:
    """Name -> where it stands; a named write under its own name."""
    found: dict[str, list[str]] = {}
    for node, place in _calls():
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            is_write = ast.unparse(node.func).endswith(".write")
            found.setdefault(first.value + (".*" if is_write else ""), []).append(place)
    return found


@functools.cache
def names_in_code() -> frozenset[str]:
    """Every failpoint that the code has: `failpoint("...")`, and two for every named write."""
    found: set[str] = set()
    for name in places_in_code():
        stem = name.removesuffix(".*")
        found |= {name} if name == stem else {f"{stem}.commit", f"{stem}.committed"}
    return frozenset(found)


def swept() -> list[str]:
    """Every failpoint that the driver visits."""
    return sorted(names_in_code() - KERAS_ONLY)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`counted`: it struck while a lease, an upload or a review was in flight. Times are of
    `time.monotonic`, in seconds. `reached`: False for a failpoint that nothing came to.
    """

    injection: str
    reached: bool = True
    counted: bool = False
    ended: float = 0.0


def plan(kinds: list[str], disks: Iterable[str], start: int, count: int) -> list[str]:
    """Injections `start` to `start + count` of the endless list for an installation.

    It comes in rounds. Each has a kill at every failpoint, twice what is done to servers (`kinds`),
    workers, clock, disks and messages, and some of the failpoints with another action, which take
    turns from round to round.
    """
    kills = [f"failpoint {name} kill" for name in swept()]
    each = EACH * [
        *[f"server {kind}" for kind in kinds],
        *[f"worker {what}" for what in _WORKER],
        *[f"disk full {place}" for place in ("everywhere", *disks)],
        *["clock forward", "clock back", "messages five times", "sweepers two"],
    ]
    turns = [f"failpoint {name} {action}" for name in swept() for action in ACTIONS[1:]]
    random.Random("turns").shuffle(turns)
    length, some = len(kills) + OTHERS, OTHERS - len(each)
    if some < 1:
        raise ValueError(f"{len(each)} injections that are no failpoints; a round has {OTHERS}")
    found: list[str] = []
    for number in range(start // length, (start + count) // length + 1):
        whole = kills + each + [turns[(number * some + i) % len(turns)] for i in range(some)]
        random.Random(f"round {number}").shuffle(whole)
        found += whole
    skipped = start % length
    return found[skipped : skipped + count]


def _with_keras() -> list[str]:
    names = ["model.load", "model.read", "model.loaded"]
    names += ["tag.classify", "tag.classified", "batch.write.commit"]
    found = [f"failpoint {name} kill" for name in names]
    found += [f"failpoint {name} raise" for name in names[::2]]
    found += [f"failpoint {name} hang" for name in names[1::2]]
    found += ["model cut", "model swapped", "model swapped while read"] * 2
    found += ["worker killed", "worker terminated", "worker stopped"] * 2
    return [*found, "disk full everywhere"]


KERAS_ROUND: Final = len(_with_keras())


def keras_plan(start: int, count: int) -> list[str]:
    """What is done to workers that load a real network: fewer, for each start takes seconds.

    As `plan`: injections `start` to `start + count` of an endless list of rounds.
    """
    found: list[str] = []
    for number in range(start // KERAS_ROUND, (start + count) // KERAS_ROUND + 1):
        whole = _with_keras()
        random.Random(f"with the network {number}").shuffle(whole)
        found += whole
    skipped = start % KERAS_ROUND
    return found[skipped : skipped + count]


def inject(world: World, injection: str) -> Outcome:
    """Make it happen to a world that is at work, and end it."""
    kind, *rest = injection.split()
    match kind:
        case "failpoint":
            return _failpoint(world, injection, rest[0], " ".join(rest[1:]))
        case "server":
            return _during(world, injection, _server(world, " ".join(rest)))
        case "worker":
            what = " ".join(rest)
            if what == "stopped":
                return _during(world, injection, _stopped(world))
            return _strike(world, injection, what)
        case "clock":
            clock.jump(3600.0 if rest == ["forward"] else -3600.0)
            counted = world.in_flight()
            return Outcome(injection=injection, counted=counted, ended=time.monotonic())
        case "messages":
            counted = world.in_flight()
            world.ring_again(5)
            return Outcome(injection=injection, counted=counted, ended=time.monotonic())
        case "sweepers":
            return _two_sweepers(world, injection)
        case "model":
            return _during(world, injection, _model(world, " ".join(rest)))
        case "disk":
            return _during(world, injection, _full(world, rest[1]))
        case _:
            raise ValueError(injection)


# Failpoints


def _failpoint(world: World, injection: str, name: str, action: str) -> Outcome:
    struck_by = _order(world, name, action)
    lead = max((key for key in LEADS_TO if name.startswith(key)), key=len, default=None)
    errand = None if lead is None else _lead(world, LEADS_TO[lead])

    def over() -> bool:
        return struck_by() is not None or (errand is not None and errand.done)

    world.wait(over, REACH_S)
    struck = struck_by()
    # Of what happens to a child before it has an image's bytes no product may fail.
    blamed = name.startswith("decoder.") and name != "decoder.read"
    if struck is not None and blamed and not action.startswith("delay"):
        world.decoder_faults += 1
    counted = world.in_flight()
    began = time.monotonic()
    _take_away(world, name)
    if struck is None:
        return Outcome(injection=injection, reached=False)
    if action.startswith("delay"):
        world.wait(lambda: time.monotonic() > began + FAULT_S, 10)
    if action == "hang":
        _await_end(world, name, struck)
    return Outcome(injection=injection, counted=counted, ended=time.monotonic())


def _await_end(world: World, name: str, pid: int) -> None:
    """Whoever hangs is noticed and ended: a worker by itself, its child by the worker, and anybody
    else by who waits, which may take longer and is no promise.
    """
    patient = any(errand.child.pid == pid for errand in world.errands)
    longest = max(world.settings.stuck_s, world.settings.load_s if world.keras else 0.0)
    if name == "decoder.read":  # a disk that gives nothing is waited for
        longest = max(longest, wall_seconds(image_limits(world.settings)))
    if not world.wait(lambda: is_gone(pid), longest + HANG_MORE_S) and not patient:
        world.broken.append(f"stuck is dead: after {longest + HANG_MORE_S:g} s {pid} still hung")


def is_gone(pid: int) -> bool:
    """Whether there is no such process, or one that nobody has waited for yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in ("Z", "X")


def _lead(world: World, what: str) -> Errand | None:
    """Bring about what a failpoint waits for; the errand that comes by it, if one does."""
    match what:
        case "raise in hand":
            _order(world, "tag.classify", "raise")
        case "lose messages":
            world.lose_messages()
        case "kill in hand":
            world.wait(lambda: world.leases() > 0, 5)
            world.workers[0].kill()
        case "kill all" | "end the sweeper":
            number = signal.SIGKILL if what == "kill all" else signal.SIGTERM
            for worker in world.workers:
                worker.kill(number)
        case "end in hand":
            # Whoever has begun it when it is told to stop does not finish it in time.
            delay = f"delay {world.settings.stop_s + 2:g}"
            begun = _order(world, "tag.classify", delay)
            world.wait(lambda: begun() is not None, 10)
            for worker in world.workers:
                worker.kill(signal.SIGTERM)
        case "move_much":
            # It is the sweeper that comes by it, a while after.
            world.move_much()
        case _:
            return world.lead(what)
    return None


def _order(world: World, name: str, action: str) -> Callable[[], int | None]:
    """Order it; what is returned tells which process it struck, once it did."""
    folder = world.settings.failpoints
    assert folder is not None
    before = failpoints.fired(folder, name)
    if before is not None:
        before[0].unlink()
    partial = folder / f"{name}.order"
    partial.write_text(action, encoding="ascii")
    partial.rename(folder / name)

    def struck() -> int | None:
        found = failpoints.fired(folder, name)
        return None if found is None else found[1]

    return struck


def _take_away(world: World, name: str) -> None:
    """The order of this name, if nobody obeyed it."""
    assert world.settings.failpoints is not None
    (world.settings.failpoints / name).unlink(missing_ok=True)


# What begins, lasts and ends


def _during(world: World, injection: str, fault: Iterator[None]) -> Outcome:
    """Begin it while something is in flight, let it last, and end it."""
    world.wait(world.in_flight, 5)
    counted = world.in_flight()
    next(fault)
    began = time.monotonic()
    world.wait(lambda: time.monotonic() > began + FAULT_S, 10)
    for _ in fault:
        pass
    return Outcome(injection=injection, counted=counted, ended=time.monotonic())


def _strike(world: World, injection: str, what: str) -> Outcome:
    """What is over as soon as it begins: the signal."""
    world.wait(world.in_flight, 5)
    counted = world.in_flight()
    struck = world.workers if what == "all killed" else [world.rng.choice(world.workers)]
    for worker in struck:
        worker.kill(signal.SIGTERM if what == "terminated" else signal.SIGKILL)
    return Outcome(injection=injection, counted=counted, ended=time.monotonic())


def _server(world: World, kind: str) -> Iterator[None]:
    world.installation.fault(kind)
    yield
    world.installation.mend()


def _stopped(world: World) -> Iterator[None]:
    """Longer than a lease may be silent: it is taken back, and its holder wakes up afterwards."""
    worker = world.rng.choice(world.workers)
    worker.kill(signal.SIGSTOP)
    yield
    until = time.monotonic() + world.settings.stale_s
    world.wait(lambda: time.monotonic() > until, world.settings.stale_s + 1)
    worker.kill(signal.SIGCONT)


_WORKER: Final = ("killed", "all killed", "terminated", "stopped")


def _two_sweepers(world: World, injection: str) -> Outcome:
    """Who sweeps pauses in the middle of it for so long that another takes the chair and sweeps;
    then it goes on, and the two do the same work.
    """
    chair = "SELECT holder FROM leaders"
    name = "sweep.keep_chair.committed"  # it comes by at every sweep, and believes that it sits
    world.wait(lambda: world.ask(chair) is not None and world.in_flight(), world.settings.stale_s)
    first = world.ask(chair)
    paused = _order(world, name, f"delay {1.5 * world.settings.stale_s + 1:g}")
    world.wait(lambda: paused() is not None, REACH_S)
    counted = world.in_flight()
    moved = world.wait(
        lambda: world.ask(chair) not in (None, first), 1.5 * world.settings.stale_s + 1
    )
    _take_away(world, name)
    return Outcome(injection=injection, reached=moved, counted=counted, ended=time.monotonic())


def _model(world: World, how: str) -> Iterator[None]:
    """While a network is loaded, its file is cut short, or another's lies in its place; then its
    workers die, and the next ones find it so. Or it is swapped just when the next one read it.
    """
    if how == "swapped while read":
        read = _order(world, "model.read", "delay 1.5")
        for worker in world.workers:
            worker.kill()
        world.wait(lambda: read() is not None, 60)
    weights = world.bundle / "model.weights.h5"
    whole = weights.read_bytes()
    other = (world.bundle / "sentinel.weights.h5").read_bytes()
    weights.write_bytes(whole[: len(whole) // 2] if how == "cut" else other)
    if how != "swapped while read":
        for worker in world.workers:
            worker.kill()
    yield
    weights.write_bytes(whole)


def _full(world: World, place: str) -> Iterator[None]:
    """No process may write to any file (EFBIG), or nothing more goes onto one disk (ENOSPC)."""
    if place != "everywhere":
        world.installation.disks[place].fill()
        yield
        world.installation.disks[place].empty()
        if place == "database" and isinstance(world.installation, Servers):
            world.installation.restore_database()
        return
    world.no_room = True
    for child in world.children():
        _limit_files(child.pid, 0)
    yield
    world.no_room = False
    for child in world.children():
        _limit_files(child.pid, resource.RLIM_INFINITY)


def _limit_files(pid: int, size: int) -> None:
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    except ProcessLookupError:
        pass  # it ended meanwhile
