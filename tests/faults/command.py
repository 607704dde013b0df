"""The command line of the fault driver."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from tests import memory
from tests.faults.disks import can_mount
from tests.faults.driver import Result, run
from tests.faults.injections import KERAS_ROUND

ROOT: Final = Path(__file__).parents[2]
PER_WORLD: Final = 42
KINDS: Final = ("embedded", "servers")
WITH_KERAS: Final = ("keras", "keras-servers")


def main() -> None:
    """See the module's text in `__main__`."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--kind", choices=(*KINDS, *WITH_KERAS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--injections", type=int, default=PER_WORLD)
    parser.add_argument("--worlds", type=int, default=1, help="how many at once")
    parser.add_argument("--log", type=Path, help="a file of results; what stands there is done")
    parser.add_argument("--keras-worlds", type=int, default=1, help="how many with the network")
    parser.add_argument(
        "--keras-injections", type=int, default=KERAS_ROUND, help="into each of these"
    )
    parser.add_argument("--least", type=int, default=0, help="goal: so many while in flight")
    parser.add_argument("--products", type=int, default=0, help="goal: so many products")
    parser.add_argument(
        "--shipped", action="store_true", help="patience as users get it, not a quick one"
    )
    parser.add_argument("--p99", type=float, help="goal: seconds until work flows again")
    given = parser.parse_args()
    memory.write_there()
    if given.kind is not None:
        results = [
            run(
                given.kind,
                given.seed,
                given.injections,
                code=this_code(),
                shipped=given.shipped,
                talk=True,
            )
        ]
        print(results[0].broken or "nothing broken")
    else:
        if not can_mount():
            print("no small disk can be mounted here (as root it can): none is full by itself")
        jobs = jobs_of(
            given.injections,
            first_seed=given.seed,
            keras_worlds=given.keras_worlds,
            keras_injections=given.keras_injections,
        )
        results = many(jobs, given.worlds, log=given.log, shipped=given.shipped)
    print(table(results))
    for result in results:
        if result.broken:
            print(f"\n{result.repeat}\n{result.broken}")
    missed = [f"never struck, though planned: {one}" for one in never_struck(results)]
    missed += goals_missed(results, least=given.least, products=given.products, p99=given.p99)
    print("".join(f"\n{one}" for one in missed))
    sys.exit(1 if missed or any(result.broken for result in results) else 0)


def this_code() -> str:
    """The commit that is checked out, `-dirty` where something differs from it."""
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=7"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=ROOT)
    return told.stdout.strip() or "no commit"


Job = tuple[str, int, int]
"""Kind, seed, injections."""


def jobs_of(
    injections: int, *, first_seed: int, keras_worlds: int, keras_injections: int
) -> list[Job]:
    """As many worlds as it takes, both kinds in turn; each with a seed of its own.

    One goes on in the plan where another of its kind ends, so that six of a kind kill at every
    failpoint, and a dozen of those with the real network.
    """
    jobs = [
        (KINDS[number % 2], first_seed + number // 2, PER_WORLD)
        for number in range(-(-injections // PER_WORLD))
    ]
    # Those with the real network take most of the machine: one first, for it lasts longest, and the
    # others far apart.
    apart = len(jobs) // max(1, keras_worlds)
    for number in reversed(range(keras_worlds)):
        jobs.insert(
            number * apart, (WITH_KERAS[number % 2], first_seed + number // 2, keras_injections)
        )
    return jobs


def many(jobs: list[Job], worlds: int, *, log: Path | None, shipped: bool) -> list[Result]:
    """All these worlds, so many at once; what stands in the log is not done again.

    Raises:
        ValueError: the log is of worlds with another patience.
    """
    results: list[Result] = []
    if log is not None and log.exists():
        results = [Result(**json.loads(line)) for line in log.read_text().splitlines()]
        if any(result.shipped != shipped for result in results):
            raise ValueError(f"{log} is of worlds with another patience: give --log another file")
    done = {(result.kind, result.seed) for result in results}
    code = this_code()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(worlds, mp_context=context, max_tasks_per_child=1) as pool:
        running = [
            pool.submit(_in_a_process, kind, seed, injections, code, shipped)
            for kind, seed, injections in jobs
            if (kind, seed) not in done
        ]
        for future in as_completed(running):
            result = future.result()
            results.append(result)
            if log is not None:
                with log.open("a") as stream:
                    stream.write(line_of(result) + "\n")
            print(
                f"{time.strftime('%H:%M:%S')} {result.kind} {result.seed}: "
                f"{result.counted} in {result.seconds:.0f} s"
                + (" BROKEN" if result.broken else ""),
                flush=True,
            )
    return results


def line_of(result: Result) -> str:
    """For the log: one line of JSON."""
    told = asdict(result)
    told["recoveries_s"] = [round(seconds, 2) for seconds in result.recoveries_s]
    told["seconds"] = round(result.seconds)
    return json.dumps(told)


def never_struck(results: list[Result]) -> list[str]:
    """Injections that were planned and struck in no world of their kind."""
    planned = {(one.kind, name) for one in results for name in one.planned}
    struck = {(one.kind, name) for one in results for name in one.struck}
    return [f"{name} ({kind})" for kind, name in sorted(planned - struck)]


def goals_missed(
    results: list[Result], *, least: int, products: int, p99: float | None
) -> list[str]:
    """What was to be reached and was not, with what was."""
    counted = sum(result.counted for result in results)
    delivered = sum(result.products for result in results)
    flows = float(np.percentile(recoveries(results), 99))
    found = []
    if counted < least:
        found.append(f"goal missed: {counted} injections while something was in flight of {least}")
    if delivered < products:
        found.append(f"goal missed: {delivered} products of {products}")
    if p99 is not None and flows > p99:
        found.append(f"goal missed: work flows again within {flows:.1f} s (p99), not {p99:g} s")
    return found


def recoveries(results: list[Result]) -> npt.NDArray[np.float64]:
    """Seconds from every fault's end until work flowed again."""
    return np.array([s for result in results for s in result.recoveries_s] or [0.0])


def _in_a_process(kind: str, seed: int, injections: int, code: str, shipped: bool) -> Result:
    if kind not in WITH_KERAS:
        # Whose workers take ten seconds of both processors to start would wait for the others.
        os.nice(15)
    return run(kind, seed, injections, code=code, shipped=shipped)


def table(results: list[Result]) -> str:
    """What all of them came to, in Markdown."""
    injected: Counter[str] = Counter()
    unreached: Counter[str] = Counter()
    slow = sorted((s, name, one.kind) for one in results for name, s in one.slow.items())
    for result in results:
        injected.update(result.injected)
        unreached.update(result.unreached)
    flows = recoveries(results)
    with_network = recoveries([one for one in results if one.kind in WITH_KERAS])
    rows = [
        ("patience", "as shipped" if any(one.shipped for one in results) else "quick"),
        ("code", ", ".join(sorted({result.code for result in results}))),
        ("worlds", len(results)),
        ("injections", sum(injected.values())),
        *[(f"of them {sort}", count) for sort, count in sorted(injected.items())],
        ("while something was in flight", sum(result.counted for result in results)),
        ("processes that ended", sum(result.ends for result in results)),
        ("products", sum(result.products for result in results)),
        ("reviews heard", sum(result.reviews for result in results)),
        ("worlds with a broken promise", sum(bool(result.broken) for result in results)),
        ("work flows again, p50", f"{np.percentile(flows, 50):.1f} s"),
        ("p99", f"{np.percentile(flows, 99):.1f} s"),
        ("most", f"{flows.max():.1f} s"),
        (
            "with the real network alone: p50, p99",
            f"{np.percentile(with_network, 50):.1f} s, {np.percentile(with_network, 99):.1f} s",
        ),
        ("failpoints not reached", sum(unreached.values())),
    ]
    lines = ["| | |", "|---|---|", *[f"| {name} | {value} |" for name, value in rows]]
    lines += [f"not reached: {name} ({count})" for name, count in unreached.most_common(60)]
    lines += [f"slow: {name} ({kind}, {seconds} s)" for seconds, name, kind in slow[:-16:-1]]
    return "\n".join(lines)
