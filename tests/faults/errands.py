"""What people do, each as something that a person whose program died does again from the start.

An errand runs in a process of its own. `ERRANDS[kind](runtime, details)` returns what its doer
heard, as JSON; it raises whatever stood in the way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from PIL import Image

from tagging import accounts, desk, known_answers, steering
from tagging.answers import Answer, Recorded
from tagging.backup import Bundles, back_up
from tagging.catalog.opening import open_delivery
from tagging.database import counts, models, schema, uploads
from tagging.database.models import retailer_id as find_retailer
from tagging.database.session import Database
from tagging.database.tables import Product, ProductCount, RetagScope
from tagging.database.uploads import PendingLine
from tagging.desk import Wish
from tagging.disagreements import settle
from tagging.domain import Purpose, Role, Verdict
from tagging.errors import LoginError, NotFoundError, ReviewError
from tagging.forgetting import forget_upload
from tagging.images.store import FolderImageStore
from tagging.inbox import Inbox
from tagging.ingest import Ingest
from tagging.integrity import DeepCheck, mend_counts, mend_queued_nowhere
from tagging.restore import restore
from tagging.retag import Asked
from tagging.review import record_review, record_reviews
from tagging.rules import RetailerRules
from tagging.undo import take_back
from tests.stand_in import Bell, stand_in_card
from worker import bootstrap
from worker.bootstrap import Runtime

Details = dict[str, Any]


def deliver(runtime: Runtime, details: Details) -> Any:
    """`folder` under the upload id `upload`."""
    with open_delivery(Path(details["folder"]), manifest_in_folder=True) as delivery:
        summary = runtime.ingest.accept_upload(
            delivery,
            retailer_id=runtime.retailer(details["retailer"]),
            upload_id=details["upload"],
        )
    return {"products": summary.products, "rejected": summary.rejected}


def watch(runtime: Runtime, details: Details) -> Any:
    """Whatever lies in `inbox`, until it is empty."""
    drop = Inbox(
        root=Path(details["inbox"]),
        ingest=runtime.ingest,
        retailer_id=runtime.retailer(details["retailer"]),
        settle_s=0.1,
        monotonic=time.monotonic,
    )
    drop.prepare()
    while not drop.empty():
        for _ in drop.step():
            pass
        time.sleep(0.05)
    return {}


def take(runtime: Runtime, details: Details) -> Any:
    """The next products for `reviewer`, with the answers that this person is about to give."""
    wish = Wish(count=details["count"], audit=details["audit"], opinions=False)
    retailer = find(runtime, details["retailer"])
    taken = desk.take(runtime.database, retailer, details["reviewer"], wish, now=now())
    return [
        {
            "sku": one.sku,
            "product": one.product_id,
            "image_set": one.image_set,
            "prediction": one.prediction_id,
            "suggestion": one.suggestion,
            "reviewer": details["reviewer"],
        }
        for one in taken
    ]


def say(runtime: Runtime, details: Details) -> Any:
    """`answers` in one act; [review, sku, category] of each that stands."""
    retailer = find(runtime, details["retailer"])
    answers = [
        Answer(
            retailer_id=retailer,
            sku=one["sku"],
            image_set=one["image_set"],
            prediction_id=one["prediction"],
            verdict=Verdict(one["verdict"]),
            category=one["category"],
            reviewer=one["reviewer"],
        )
        for one in details["answers"]
    ]
    done = record_reviews(runtime.database, answers, action=details["action"], now=now())
    return [
        [found.review_id, one.sku, found.category]
        for one, found in zip(answers, done, strict=True)
        if isinstance(found, Recorded) and not found.repeated and one.verdict is not Verdict.UNSURE
    ]


def undo(runtime: Runtime, details: Details) -> Any:
    """Take `reviews` back."""
    take_back(
        runtime.database,
        details["reviews"],
        by=details["reviewer"],
        action=details["action"],
        now=now(),
        of_others=True,
    )
    return {}


def look(runtime: Runtime, details: Details) -> Any:
    """What a page does besides: a grid, one product again, what is kept, given back and left."""
    retailer = find(runtime, details["retailer"])
    who, database = details["reviewer"], runtime.database
    grid = desk.take_alike(database, retailer, who, Wish(count=4), now=now())
    taken = desk.take(database, retailer, who, Wish(count=2), now=now())
    keys = [one.product_id for one in [*grid, *taken]]
    if not keys:
        raise NotFoundError("nothing waits; look again")
    desk.take_again(database, retailer, who, keys[0], now=now())
    desk.keep(database, who, keys, now=now())
    desk.hand_back(database, who, keys, now=now())
    desk.leave(database, who)
    return {}


def govern(runtime: Runtime, details: Details) -> Any:
    """An administrator's day: rules, autopilot, opinions, known answers, retailers, models."""
    database, number, sku = runtime.database, details["number"], details["sku"]
    office = details["retailer"]
    retailer = find(runtime, office)
    rules = RetailerRules(
        second_opinion_share=1.0,
        audit_share=0.1 + (number % 5) / 10,
        priority=("rank", "stock")[number % 2],
    )
    steering.change_rules(database, office, rules, by="Eve", now=now())
    for on in (False, True):
        steering.turn(database, office, on=on, by="Eve", now=now())
    seen = _product(database, retailer, sku)
    first = Answer(
        retailer_id=retailer,
        sku=sku,
        image_set=seen.image_set,
        prediction_id=seen.prediction_id,
        verdict=Verdict.CORRECTED,
        category="Dark" if seen.suggestion != "Dark" else "Light",
        reviewer="Ann",
    )
    with contextlib.suppress(ReviewError):  # settled before this was done again
        record_review(database, first, now=now())
        known_answers.mark(database, retailer, sku, by="Eve", now=now())
        known_answers.withdraw(database, retailer, sku, by="Eve", now=now())
    _disagree(runtime, retailer, details)
    runtime.retailer(f"office-{number}")
    settings = runtime.settings.model_copy(update={"model_bundle": Path(details["bundle"])})
    dataclasses.replace(runtime, settings=settings).default_model()
    _command("retailers", "add", details["switched"], "--model", f"shades:{1 + number % 2}")
    return {}


def _disagree(runtime: Runtime, retailer: int, details: Details) -> None:
    """Bob is asked for a second opinion and says something else; Eve settles it."""
    database, sku = runtime.database, details["sku"]
    seen = _product(database, retailer, sku)
    opinion = Answer(
        retailer_id=retailer,
        sku=sku,
        image_set=seen.image_set,
        prediction_id=seen.prediction_id,
        verdict=Verdict.CONFIRMED,
        reviewer="Bob",
        purpose=Purpose.OPINION,
    )
    with contextlib.suppress(ReviewError):  # it was settled before this was done again
        record_reviews(database, [opinion], action=details["opinion"], now=now())
        settle(
            database,
            retailer,
            sku,
            category="Middle",
            by="Eve",
            action=details["settled"],
            now=now(),
        )


def log_in(runtime: Runtime, details: Details) -> Any:
    """An account is made and changed, and its owner comes, stays and goes."""
    database, name, password = runtime.database, details["name"], "a long enough password"
    with contextlib.suppress(LoginError):  # there is one already
        accounts.add(database, name, Role.REVIEWER, password, now=now())
    accounts.change(database, name, role=Role.ADMIN, now=now())
    token = accounts.enter_by_link(
        database, accounts.make_link(database, name, now=now()), now=now()
    )
    accounts.visitor(database, token, now=now() + dt.timedelta(hours=2))
    accounts.leave(database, token)
    accounts.enter_by_password(database, name, password, now=now())
    return {}


def migrate(runtime: Runtime, details: Details) -> Any:  # noqa: ARG001
    """A fresh database is brought up to date."""
    database = Database(details["url"])
    schema.upgrade(database)
    found = schema.current(database)
    database.close()
    if found != schema.head():
        raise AssertionError(f"the database is at {found}")
    return {}


def preserve(runtime: Runtime, details: Details) -> Any:
    """A backup in `folder`, restored beside it and checked; of everything while it is at work, or
    of a small installation: always, where this one has servers. Then what is lost of the small
    one's work is mended.
    """
    folder = Path(details["folder"])
    shutil.rmtree(folder, ignore_errors=True)
    small = _small(folder / "small", Path(details["empty"]))
    source = runtime if details["whole"] and runtime.database.is_sqlite else small
    back_up(
        source.database,
        source.store,
        folder / "a.backup",
        bundles=Bundles(shipped={}, folders=()),
        force=True,
        now=now(),
    )
    restore(folder / "a.backup", folder / "restored", bundles=Bundles(shipped={}, folders=()))
    restored = Database(f"sqlite:///{folder / 'restored' / 'atelier.db'}")
    _require_whole(restored, FolderImageStore(folder / "restored" / "images"))
    restored.close()
    with small.database.connect_to_write() as connection:
        connection.execute(sa.text("UPDATE batches SET state = 'done'"))
        connection.execute(sa.text("UPDATE product_counts SET products = products + 1"))
    assert mend_counts(small.database)
    mend_queued_nowhere(small.database, small.announcer, batch_images=4, now=now())
    _forget(small.database)
    _require_whole(small.database, FolderImageStore(folder / "small" / "images"))
    small.database.close()
    shutil.rmtree(folder)
    return {}


def _small(home: Path, empty: Path) -> Ingest:
    """An installation of two queued products, without a worker, on a copy of an empty database."""
    home.mkdir(parents=True)
    photos = home.parent / "photos"
    photos.mkdir()
    for shade in (0, 255):
        Image.new("RGB", (12, 12), (shade,) * 3).save(photos / f"{shade}.png")
    shutil.copyfile(empty, home / "atelier.db")
    database = Database(f"sqlite:///{home / 'atelier.db'}")
    with database.write("preserve") as session:
        card = stand_in_card()
        model = models.register(session, card, home / "models" / "shades-1", now=now())
        retailer = models.add_retailer(session, "small", model_id=model, now=now())
        session.commit()
    ingest = Ingest(
        database=database,
        store=FolderImageStore(home / "images"),
        announcer=Bell(),
        batch_images=4,
        image_max_bytes=10**6,
        now=now,
    )
    with open_delivery(photos) as delivery:
        ingest.accept_upload(delivery, retailer_id=retailer)
    return ingest


def _forget(database: Database) -> None:
    """An upload is cut off, and what was read of it removed."""
    with database.write("preserve.begin") as session:
        retailer = find_retailer(session, "small")
        long_ago = now() - dt.timedelta(hours=1)
        uploads.begin(
            session,
            upload_id="cut-off",
            retailer_id=retailer,
            source="photos",
            kind="folder",
            receiver="dead",
            now=long_ago,
        )
        lines = [PendingLine(seq=1, line=1, sku="a", images=(), title=None, attributes={})]
        uploads.append_lines(session, "cut-off", lines, [], receiver="dead", now=long_ago)
        session.commit()
    assert forget_upload(database, "cut-off", now=now) == 1


def _require_whole(database: Database, store: FolderImageStore) -> None:
    found = DeepCheck(database=database, store=store, now=now()).run()
    broken = [one for one in found if one.broken]
    if broken:
        raise AssertionError(f"a check finds {broken}")


def retag(runtime: Runtime, details: Details) -> Any:
    """All of a retailer's products are classified again; another request is cancelled."""
    retagging, asked = runtime.retagging, Asked(scope=RetagScope(details["scope"]))
    retagging.request(asked, [details["retailer"]], by="Eve")
    retagging.step(most_s=2.0)
    (unwanted,) = retagging.request(asked, [details["retailer"]], by="Eve")
    retagging.cancel(unwanted, by="Eve")
    return {}


def move_much(runtime: Runtime, details: Details) -> Any:
    """As many counts are appended as many moves would bring; they add up to nothing."""
    retailer = find(runtime, details["retailer"])
    row = {"retailer_id": retailer, "status": "tagged", "products": 0}
    with runtime.database.write("test") as session:
        session.execute(sa.insert(ProductCount), [row] * counts.MANY)
        session.commit()
    return {}


ERRANDS: Final[dict[str, Callable[[Runtime, Details], Any]]] = {
    "deliver": deliver,
    "watch": watch,
    "take": take,
    "say": say,
    "undo": undo,
    "look": look,
    "govern": govern,
    "log_in": log_in,
    "migrate": migrate,
    "preserve": preserve,
    "retag": retag,
    "move_much": move_much,
}


def now() -> dt.datetime:
    return bootstrap.utc_now()


def find(runtime: Runtime, name: str) -> int:
    with runtime.database.read() as session:
        return find_retailer(session, name)


def _product(database: Database, retailer: int, sku: str) -> Product:
    with database.read() as session:
        found = session.execute(
            sa.select(Product).where(Product.retailer_id == retailer, Product.sku == sku)
        ).scalar_one_or_none()
    if found is None:
        raise NotFoundError(sku)
    return found


def _command(*arguments: str) -> None:
    """`atelier ARGUMENTS`, in this process, with the settings in its environment."""
    from worker import cli_catalog
    from worker.cli import app

    cli_catalog.add_to(app)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        app([*arguments, "--json"], standalone_mode=False)
