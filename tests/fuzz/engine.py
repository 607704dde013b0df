"""Coverage-guided fuzzing of one target with Atheris (libFuzzer); needs the `fuzz` extra.

    python -m tests.fuzz.engine images --seconds 60        # `make fuzz` runs every target

Begins with the target's seeds, which its code makes anew, and with what earlier runs kept in
runs/fuzz/TARGET/corpus: the fewest inputs that reach all that was reached (`-merge=1`), 2,000 at
most. An input that fails is written beside it: try it again with `--again FILE`, mend what it
shows, and keep it as a case of a test.

What it sees are branches of Python, in `tagging` and in Pillow. Codecs, `csv` and `json` are C, and
what happens in them leads it nowhere.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Final, Protocol, cast

TARGETS: Final = ("images", "manifests")
KEPT_INPUTS: Final = 2_000
_FOLDER: Final = Path("runs/fuzz")


class Target(Protocol):
    """What a module of this package offers."""

    MAX_BYTES: int

    def seeds(self) -> Mapping[str, bytes]: ...
    def mutated(self, data: bytes, random: Random) -> bytes: ...
    def try_one(self, data: bytes) -> None: ...


def load(name: str) -> Target:
    """The target of this name, as a module."""
    return cast("Target", importlib.import_module(f"tests.fuzz.{name}"))


def main() -> int:
    """0 if nothing failed within the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--again", type=Path, help="try one input, without Atheris")
    parser.add_argument("--libfuzzer", nargs=argparse.REMAINDER, help="(used by itself)")
    asked = parser.parse_args()
    if asked.libfuzzer is not None:
        _become_libfuzzer(asked.target, asked.libfuzzer)
    target = load(asked.target)
    if asked.again is not None:
        target.try_one(asked.again.read_bytes())
        return 0
    return _campaign(asked.target, target, asked.seconds)


def _campaign(name: str, target: Target, seconds: int) -> int:
    folder = _FOLDER / name
    corpus, seeds = folder / "corpus", folder / "seeds"
    shutil.rmtree(seeds, ignore_errors=True)
    for place in (corpus, seeds):
        place.mkdir(parents=True, exist_ok=True)
    for seed, data in target.seeds().items():
        (seeds / seed).write_bytes(data)
    bounds = f"-max_len={target.MAX_BYTES}", "-timeout=20", "-rss_limit_mb=2048"
    ran = _libfuzzer(
        name,
        *(str(corpus), str(seeds), *bounds),
        *(f"-artifact_prefix={folder}/failed-", f"-max_total_time={seconds}"),
        "-print_final_stats=1",
    )
    tried = re.search(r"number_of_executed_units:\s*(\d+)", ran.stderr)
    covered = re.findall(r"cov: (\d+)", ran.stderr)
    merged = _minimise(name, corpus, seeds, bounds)
    kept = keep_smallest(corpus, KEPT_INPUTS)
    sys.stdout.write(
        f"{name}: {int(tried[1]) if tried else 0:,} inputs in {seconds} s, "
        f"{covered[-1] if covered else 'no'} branches reached, "
        f"{kept:,} inputs kept; {'nothing failed' if ran.returncode == 0 else 'FAILED'}\n"
    )
    for one in (ran, merged):
        if one.returncode:
            sys.stdout.write(one.stderr[-4_000:])
    return ran.returncode or merged.returncode


def _minimise(
    name: str, corpus: Path, seeds: Path, bounds: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    """Leave in the corpus what reaches something that neither the seeds nor others do."""
    fewest = corpus.with_name("fewest")
    shutil.rmtree(fewest, ignore_errors=True)
    shutil.copytree(seeds, fewest)  # merged are those that add to what is there
    merged = _libfuzzer(name, "-merge=1", *bounds, str(fewest), str(corpus))
    if merged.returncode == 0:
        for seed in seeds.iterdir():
            (fewest / seed.name).unlink()
        shutil.rmtree(corpus)
        fewest.rename(corpus)
    return merged


def keep_smallest(corpus: Path, most: int) -> int:
    """Delete the largest inputs, where there are more; how many are left."""
    found = sorted(corpus.iterdir(), key=lambda path: path.stat().st_size)
    for one in found[most:]:
        one.unlink()
    return min(most, len(found))


def _libfuzzer(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: libFuzzer ends the one that it runs in, and cleans up nothing."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        return subprocess.run(
            [*_module(name), "--libfuzzer", *arguments],
            env={**os.environ, "TMPDIR": place},
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )


def _module(name: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "tests.fuzz.engine", name]


def _become_libfuzzer(name: str, arguments: list[str]) -> None:
    import atheris  # only here: nothing else needs the `fuzz` extra

    with atheris.instrument_imports(include=["tagging", "PIL"]):
        target = load(name)

    def mutate(data: bytes, max_bytes: int, seed: int) -> bytes:
        """By turns libFuzzer's own, blind but led by comparisons, and one that knows the format."""
        if seed % 2:
            return cast("bytes", atheris.Mutate(data, max_bytes))
        return target.mutated(data, Random(seed))[:max_bytes]

    # libFuzzer merges in further processes, which it has a shell start by the first argument.
    myself = shlex.join([*_module(name), "--libfuzzer"])
    atheris.Setup([myself, *arguments], target.try_one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
