"""Pictures that end whoever looks at them, among many that are good.

    python -m tests.faults.poison --images 10000 --kills 5

Three pictures end the worker that has them in hand, every time: two side by side, one far from
them (with `--guilty 1`, that one alone). Meanwhile workers are killed from outside at random.
Exactly these products must fail, as `worker_crash`, and everything else must be tagged.
"""

from __future__ import annotations

from tests.faults import clock

clock.install()

import argparse  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402
import shutil  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import sqlalchemy as sa  # noqa: E402

from tagging.database.tables import Product  # noqa: E402
from tests.faults import promises  # noqa: E402
from tests.faults.installations import installed, settings_of  # noqa: E402
from tests.faults.world import World, inhabited  # noqa: E402

LONGEST_S = 1500.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.poison")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=5, help="of innocent workers")
    parser.add_argument("--guilty", type=int, choices=(1, 3), default=3)
    parser.add_argument("--kind", choices=("embedded", "servers"), default="embedded")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    folder = Path(tempfile.mkdtemp(prefix="atelier-poison-"))
    try:
        with (
            installed(
                given.kind, folder / "home", **{**settings_of(given.kind), "batch_images": 256}
            ) as installation,
            inhabited(installation, folder / "world", rng) as world,
        ):
            print(json.dumps(poisoned(world, given.images, given.kills, given.guilty)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def poisoned(world: World, images: int, kills: int, most: int) -> dict[str, object]:
    """Deliver, kill, wait, and say what came of it."""
    began = time.monotonic()
    delivered = world.deliver(images)
    shop = world.retailers["shop"]
    skus = [sku for owner, sku in world.expected if owner == shop]
    # Filed in the order of their sku, so these two are neighbours in one batch.
    ordered = sorted(skus)
    guilty = [ordered[-2], ordered[len(ordered) // 3], ordered[len(ordered) // 3 + 1]][:most]
    shas = []
    for sku in guilty:
        wanted = world.expected[shop, sku]
        shas.append(wanted.images[0])
        world.expected[shop, sku] = promises.Expected(
            images=wanted.images, suggestion=None, failure="worker_crash"
        )
    orders = world.folder / "failpoints"
    (orders / "order").write_text(f"kill key={','.join(shas)} always", encoding="ascii")
    (orders / "order").rename(orders / "tag.image")
    world.wait(lambda: delivered.done, LONGEST_S, busy=False)
    for _ in range(kills):
        pause = time.monotonic() + world.rng.uniform(1.0, 6.0)
        world.wait(lambda until=pause: time.monotonic() > until, 10, busy=False)
        world.wait(lambda: world.leases() > 0, 10, busy=False)
        world.rng.choice(world.workers).kill()
    ended = world.wait(
        lambda: world.at_rest() and not world.errands,
        LONGEST_S,
        busy=False,
    )
    with world.observer.read() as session:
        told = session.execute(
            sa.select(Product.failure_detail).where(
                Product.retailer_id == shop, Product.sku.in_(guilty)
            )
        ).scalars()
        told = sorted(str(detail) for detail in told)
        broken = promises.check(
            session, world.store, world.expected, world.reviewed, lines=world.lines
        )
    return {
        "products": len(world.expected),
        "guilty": len(guilty),
        "failed": world.ask("SELECT count(*) FROM products WHERE status = 'failed'"),
        "told": told,
        "ended": ended,
        "workers_ended": len(world.ends),
        "seconds": round(time.monotonic() - began, 1),
        "broken": str(broken),
    }


if __name__ == "__main__":
    main()
