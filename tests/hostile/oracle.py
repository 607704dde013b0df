"""What plain Pillow loads: a process of its own, under the bounds that our decoders have.

    python -m tests.hostile.oracle '{"max_bytes": ..., ...}' JPEG,PNG  < paths  > 1 or 0 for each

It knows nothing of `tagging`, so that what `tagging` refuses can be held against it.
"""

from __future__ import annotations

import io
import json
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image


def main() -> None:
    """Answer for each path of the standard input whether Pillow opens and loads it."""
    limits: dict[str, Any] = json.loads(sys.argv[1])
    formats = sys.argv[2].split(",")
    warnings.simplefilter("ignore")
    Image.init()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bound = pages * resource.getpagesize() + limits["max_memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, limits["max_seconds"])
        sys.stdout.write("1\n" if _loads(Path(line.rstrip("\n")), formats, limits) else "0\n")
        sys.stdout.flush()  # what was answered is known, whatever the next one does


def _loads(path: Path, formats: Sequence[str], limits: dict[str, Any]) -> bool:
    if path.stat().st_size > limits["max_bytes"]:
        return False
    try:
        # The bytes, as ours get them: of a path, Pillow maps some files, and reads them otherwise.
        with Image.open(io.BytesIO(path.read_bytes()), formats=formats) as image:
            if image.width * image.height > limits["max_pixels"]:
                return False
            image.load()
    except Exception:
        return False
    return True


def loadable(paths: Sequence[Path], limits: dict[str, Any], formats: Sequence[str]) -> list[bool]:
    """Whether plain Pillow opens and fully loads each of `paths` within `limits`.

    A file that ends the process, by a crash or by its time, does not load.
    """
    found: list[bool] = []
    while len(found) < len(paths):
        found += _ask(paths[len(found) :], limits, formats)
        if len(found) < len(paths):
            found.append(False)  # the one that was in hand
    return found


def _ask(paths: Sequence[Path], limits: dict[str, Any], formats: Sequence[str]) -> Iterator[bool]:
    module = [sys.executable, "-W", "ignore", "-m", "tests.hostile.oracle"]
    asked = subprocess.run(
        [*module, json.dumps(limits), ",".join(formats)],
        input="".join(f"{path}\n" for path in paths),
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode > 0:
        raise RuntimeError(f"the process that asks Pillow failed: {asked.stderr}")
    return (line == "1" for line in asked.stdout.split())


if __name__ == "__main__":
    main()
