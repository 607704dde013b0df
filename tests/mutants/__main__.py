"""Takes guards out of the code, one at a time, and sees the named test fail.

    make mutants
    python -m tests.mutants --only 4

Each mutant is a few words of one file, replaced in a copy of the project; the copy's test must fail
then. It must pass without the mutant, so every test is run once in the untouched copy first. A test
that passes although its guard is gone holds nothing.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LIST: Final = Path(__file__).with_name("mutants.toml")
COPIED: Final = ("tagging", "worker", "model_training", "migrations", "sample_catalog", "tests")
TIMEOUT_S: Final = 900
ALL_TIMEOUT_S: Final = 3600


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """`promise`: which of the ten, or the bound that is taken away. `new` may be empty."""

    promise: str
    file: str
    old: str
    new: str
    test: str


def read(path: Path = LIST) -> list[Mutant]:
    """The list, checked against the code: each `old` must stand in its file exactly once."""
    mutants = [Mutant(**one) for one in tomllib.loads(path.read_text())["mutant"]]
    for mutant in mutants:
        count = (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old)
        if count != 1:
            raise ValueError(
                f"{mutant.old!r} stands {count} times in {mutant.file}; a mutant needs a place of "
                "its own"
            )
    return mutants


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--only", help="this promise only")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once")
    given = parser.parse_args()
    mutants = [one for one in read() if given.only in (None, one.promise)]
    with tempfile.TemporaryDirectory(prefix="atelier-mutants-") as folder:
        copies = [_copied(Path(folder) / str(number)) for number in range(given.jobs)]
        tests = sorted({mutant.test for mutant in mutants})
        print(f"{len(mutants)} mutants, {len(tests)} tests", flush=True)
        if not passes(copies[0], tests, processes=given.jobs, timeout_s=ALL_TIMEOUT_S):
            sys.exit("the tests fail without any mutant")
        free: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for copy in copies:
            free.put(copy)
        with ThreadPoolExecutor(given.jobs) as pool:
            died = list(pool.map(lambda mutant: _dies(free, mutant), mutants))
        survived = [mutant for mutant, dead in zip(mutants, died, strict=True) if not dead]
    for mutant in survived:
        print(f"SURVIVED: promise {mutant.promise}: {mutant.file}: {mutant.old!r}")
    print(f"{len(mutants) - len(survived)} of {len(mutants)} mutants were seen by their test")
    sys.exit(1 if survived else 0)


def _copied(copy: Path) -> Path:
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "docker-compose.yml", "Dockerfile"):
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "docs", copy / "docs", ignore=shutil.ignore_patterns("img"))
    return copy


def _dies(free: queue.SimpleQueue[Path], mutant: Mutant) -> bool:
    """Whether the mutant's test sees it, in whichever copy is free."""
    copy = free.get()
    path = copy / mutant.file
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace(mutant.old, mutant.new), encoding="utf-8")
    began = time.monotonic()
    try:
        seen = not passes(copy, [mutant.test])
    finally:
        path.write_text(whole, encoding="utf-8")
        free.put(copy)
    verdict = "seen" if seen else "NOT SEEN"
    print(
        f"{verdict} by {mutant.test} in {time.monotonic() - began:.0f} s "
        f"(promise {mutant.promise}, {mutant.file})",
        flush=True,
    )
    return seen


def passes(
    copy: Path, tests: list[str], *, processes: int = 0, timeout_s: float = TIMEOUT_S
) -> bool:
    """Whether all of these tests pass in the copy. What hangs, fails."""
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", ""),
                *("-n", str(processes), "--dist", "loadfile"),
                *tests,
            ],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1):  # 1: tests failed; anything else is no verdict of a test
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.returncode == 0


if __name__ == "__main__":
    main()
