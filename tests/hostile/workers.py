"""Hostile pictures through real worker processes, among good ones; prints a line for each block.

    python -m tests.hostile.workers --kind servers --seeds 0:20000       # `make hostile-images`

Mutants are delivered, a good neighbour after every fourth, to an installation with two workers and
the stand-in model, which have the patience that users get. No worker may end and no batch be tried
twice; each mutant is tagged, or failed with a code and a sentence; each neighbour is tagged as what
it shows. The ten promises are checked, too. Each block of seeds has an installation of its own.
"""

from __future__ import annotations

from tests.faults import clock

clock.install()

import argparse  # noqa: E402
import dataclasses  # noqa: E402
import hashlib  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402
import shutil  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Iterator, Mapping  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Final  # noqa: E402

import sqlalchemy as sa  # noqa: E402
from PIL import Image  # noqa: E402
from PIL.PngImagePlugin import PngInfo  # noqa: E402
from sqlalchemy.orm import Session  # noqa: E402

from tagging.database.tables import Batch, BatchState, Product  # noqa: E402
from tagging.domain import PRODUCT_FAILURES, FailureCode, Status  # noqa: E402
from tests.faults import promises  # noqa: E402
from tests.faults.installations import installed, settings_of  # noqa: E402
from tests.faults.world import World, inhabited  # noqa: E402
from tests.hostile.mutations import mutant  # noqa: E402
from tests.stand_in import SHADES  # noqa: E402

BLOCK: Final = 2_000
"""Seeds of one installation: some 300 MB of files."""
PER_NEIGHBOUR: Final = 4
LONGEST_S: Final = 1800.0
"""After so long a block that still waits is given up."""
OF_PICTURES: Final = frozenset(PRODUCT_FAILURES) - {
    FailureCode.WORKER_CRASH,
    FailureCode.DECODER_CRASH,
    FailureCode.MISSING,
}
"""What a picture may fail of. The others say that it did harm, or that it was not looked at."""


@dataclasses.dataclass(kw_only=True)
class Tally:
    """What delivered pictures came to.

    `outcomes`: of mutants, by failure code, `tagged` for what the model answered. `faults`: what
    must not be, in words.
    """

    mutants: int = 0
    neighbours: int = 0
    batches: int = 0
    outcomes: dict[str, int] = dataclasses.field(default_factory=dict)
    faults: list[str] = dataclasses.field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in what others came to."""
        self.mutants += other.mutants
        self.neighbours += other.neighbours
        self.batches += other.batches
        self.outcomes = dict(Counter(self.outcomes) + Counter(other.outcomes))
        self.faults += other.faults


def try_block(kind: str, seeds: range) -> Tally:
    """Deliver the mutants of these seeds to a fresh installation; what they came to."""
    folder = Path(tempfile.mkdtemp(prefix="atelier-hostile-"))
    settings = {**settings_of(kind, shipped=True), "batch_images": 32}
    try:
        with (
            installed(kind, folder / "home", small_disks=False, **settings) as installation,
            inhabited(
                installation, folder / "world", random.Random(seeds.start), classify_s=0.0
            ) as world,
        ):
            return _tagged(world, seeds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tagged(world: World, seeds: range) -> Tally:
    world.patience_s = LONGEST_S
    shown: dict[str, str] = {}
    shas: dict[str, str] = {}

    def pictures() -> Iterator[tuple[str, bytes]]:
        for seed in seeds:
            yield f"{seed:06}", mutant(seed).data
            if seed % PER_NEIGHBOUR == PER_NEIGHBOUR - 1:
                sku = f"{seed:06} good"  # products are filed in the order of their skus
                shown[sku], data = good_picture(seed)
                yield sku, data

    def noted() -> Iterator[tuple[str, bytes]]:
        for sku, data in pictures():
            shas[sku] = hashlib.sha256(data).hexdigest()
            yield sku, data

    delivered = world.send(noted())
    ended = world.wait(
        lambda: delivered.done and world.at_rest(),
        LONGEST_S,
        busy=False,
    )
    tally = Tally(mutants=len(seeds), neighbours=len(shown))
    if not ended:
        tally.faults.append(f"{world.queued()} products wait after {LONGEST_S:.0f} s")
    tally.faults += [f"a process ended: {end}" for end in world.ends]
    with world.observer.read() as session:
        _take_products(session, world, tally, shas, shown)
        _take_batches(session, tally)
        broken = promises.check(
            session, world.store, world.expected, world.reviewed, lines=world.lines
        )
    tally.faults += str(broken).splitlines()
    if tally.faults:
        sys.stderr.write(f"the end of the log:\n{world.tail()}\n")
    return tally


def _take_products(
    session: Session,
    world: World,
    tally: Tally,
    shas: Mapping[str, str],
    shown: Mapping[str, str],
) -> None:
    shop = world.retailers["shop"]
    query = sa.select(Product).where(Product.retailer_id == shop)
    found = {product.sku: product for product in session.scalars(query)}
    outcomes: Counter[str] = Counter()
    for sku, sha256 in shas.items():
        product = found.get(sku)
        if product is None:
            tally.faults.append(f"{sku} was delivered and is no product")
            continue
        failure = product.failure_code
        world.expected[shop, sku] = promises.Expected(
            images=(sha256,),
            suggestion=shown.get(sku),
            failure=None if failure is None or sku in shown else str(failure),
        )
        if sku in shown:
            if (product.status, product.category) != (Status.TAGGED, shown[sku]):
                said = f"{product.status} {product.category} {product.failure_detail}"
                tally.faults.append(f"{sku} shows {shown[sku]}: {said}")
            continue
        outcomes["tagged" if failure is None else str(failure)] += 1
        if product.status is Status.FAILED:
            told = str(product.failure_detail)
            if failure not in OF_PICTURES or not told.endswith("."):
                tally.faults.append(f"{mutant(int(sku)).name}: {failure} {told!r}")
        elif product.status not in (Status.TAGGED, Status.NEEDS_REVIEW):
            tally.faults.append(f"{mutant(int(sku)).name}: {product.status}")
    tally.outcomes = dict(outcomes)


def _take_batches(session: Session, tally: Tally) -> None:
    for batch in session.scalars(sa.select(Batch)):
        tally.batches += 1
        came_to = (batch.state, batch.attempts, batch.crashes, batch.hindered)
        if came_to != (BatchState.DONE, 1, 0, 0):
            tally.faults.append(
                f"batch {batch.id} is {batch.state} after {batch.attempts} attempts, "
                f"{batch.crashes} crashes, {batch.hindered} hindrances: {batch.last_error}"
            )


def good_picture(mark: int) -> tuple[str, bytes]:
    """What the stand-in model must say of it, and a PNG whose bytes no other mark has."""
    at = mark // PER_NEIGHBOUR % len(SHADES)
    text = PngInfo()
    text.add_text("mark", str(mark))
    stream = io.BytesIO()
    Image.new("L", (12, 12), (0, 128, 255)[at]).save(stream, "PNG", pnginfo=text)
    return SHADES[at], stream.getvalue()


def main() -> int:
    """Try all blocks; the last line is their tally as JSON. 1 if anything did not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", choices=("embedded", "servers"), default="embedded")
    parser.add_argument("--seeds", default="0:20000", help="first and one past the last")
    asked = parser.parse_args()
    first, past = (int(word) for word in asked.seeds.split(":"))
    began, total = time.monotonic(), Tally()
    for start in range(first, past, BLOCK):
        block = range(start, min(start + BLOCK, past))
        total.add(try_block(asked.kind, block))
        seconds = time.monotonic() - began
        sys.stderr.write(f"{asked.kind}, seeds {start}:{block.stop} after {seconds:.0f} s\n")
    for fault in total.faults:
        sys.stderr.write(f"{fault}\n")
    sys.stdout.write(json.dumps(dataclasses.asdict(total)) + "\n")
    return 1 if total.faults else 0


if __name__ == "__main__":
    sys.exit(main())
