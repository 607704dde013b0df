"""The command line of the fault driver."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np

from tests.faults.driver import Result, run

PER_WORLD: Final = 42
KINDS: Final = ("embedded", "servers")


def main() -> None:
    """See the module's text in `__main__`."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--kind", choices=(*KINDS, "keras"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--injections", type=int, default=PER_WORLD)
    parser.add_argument("--worlds", type=int, default=1, help="how many at once")
    parser.add_argument("--log", type=Path, help="a file of results; what stands there is done")
    given = parser.parse_args()
    if given.kind is not None:
        results = [run(given.kind, given.seed, given.injections, talk=True)]
        print(results[0].broken or "nothing broken")
    else:
        results = many(given.injections, given.worlds, first_seed=given.seed, log=given.log)
    print(table(results))
    for result in results:
        if result.broken:
            print(f"\n{result.repeat}\n{result.broken}")
    missed = never_struck(results)
    if missed:
        print(f"\nnever struck, though planned: {', '.join(missed)}")
    sys.exit(1 if missed or any(result.broken for result in results) else 0)


def many(injections: int, worlds: int, *, first_seed: int, log: Path | None) -> list[Result]:
    """As many worlds as it takes, both kinds in turn; each with a seed of its own.

    One goes on in the plan where another of its kind ends, so that five of a kind kill at every
    failpoint.
    """
    results: list[Result] = []
    if log is not None and log.exists():
        results = [Result(**json.loads(line)) for line in log.read_text().splitlines()]
    done = {(result.kind, result.seed) for result in results}
    # Those with the real network last longest, so they go first.
    jobs = [("keras", first_seed)]
    jobs += [
        (KINDS[number % 2], first_seed + number // 2)
        for number in range(-(-injections // PER_WORLD))
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(worlds, mp_context=context, max_tasks_per_child=1) as pool:
        running = [
            pool.submit(_in_a_process, kind, seed)
            for kind, seed in jobs
            if (kind, seed) not in done
        ]
        for future in as_completed(running):
            result = future.result()
            results.append(result)
            if log is not None:
                with log.open("a") as stream:
                    stream.write(json.dumps(asdict(result)) + "\n")
            print(
                f"{time.strftime('%H:%M:%S')} {result.kind} {result.seed}: "
                f"{result.counted} in {result.seconds:.0f} s"
                + (" BROKEN" if result.broken else ""),
                flush=True,
            )
    return results


def never_struck(results: list[Result]) -> list[str]:
    """Failpoints that were to be struck and were not, in no world of a kind and by no action."""
    missed = {(name.split()[1], one.kind) for one in results for name in one.unreached}
    struck = {(name, one.kind) for one in results for name in one.struck}
    return [f"{name} ({kind})" for name, kind in sorted(missed - struck)]


def _in_a_process(kind: str, seed: int) -> Result:
    if kind != "keras":
        # Whose workers take ten seconds of both processors to start would wait for the others.
        os.nice(5)
    return run(kind, seed, PER_WORLD)


def table(results: list[Result]) -> str:
    """What all of them came to, in Markdown."""
    injected: Counter[str] = Counter()
    unreached: Counter[str] = Counter()
    slow = sorted((s, name, one.kind) for one in results for name, s in one.slow.items())
    for result in results:
        injected.update(result.injected)
        unreached.update(result.unreached)
    recoveries = np.array([s for result in results for s in result.recoveries_s] or [0.0])
    rows = [
        ("worlds", len(results)),
        ("injections", sum(injected.values())),
        *[(f"of them {family}", count) for family, count in injected.most_common()],
        ("while something was in flight", sum(result.counted for result in results)),
        ("processes that ended", sum(result.ends for result in results)),
        ("products", sum(result.products for result in results)),
        ("reviews heard", sum(result.reviews for result in results)),
        ("worlds with a broken promise", sum(bool(result.broken) for result in results)),
        ("work flows again, p50", f"{np.percentile(recoveries, 50):.1f} s"),
        ("p99", f"{np.percentile(recoveries, 99):.1f} s"),
        ("most", f"{recoveries.max():.1f} s"),
        ("failpoints not reached", sum(unreached.values())),
    ]
    lines = ["| | |", "|---|---|", *[f"| {name} | {value} |" for name, value in rows]]
    lines += [f"not reached: {name} ({count})" for name, count in unreached.most_common(60)]
    lines += [f"slow: {name} ({kind}, {seconds} s)" for seconds, name, kind in slow[:-16:-1]]
    return "\n".join(lines)
