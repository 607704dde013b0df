"""An installation with products that wait, and the real server of its pages."""

from __future__ import annotations

import datetime as dt
import socket
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, Route

from tagging import accounts, desk
from tagging.answers import Answer
from tagging.database.session import Database
from tagging.database.tables import Product, Reservation, Review, WebSession
from tagging.desk import Wish
from tagging.domain import Purpose, Role, Status, Verdict
from tagging.review import record_reviews
from tests.browser.family import family, must_end
from tests.integration.test_ingest_and_tag import deliver
from tests.integration.test_rules import put
from tests.processes import Place, Running
from tests.stand_in import Services, make_services, picture

PASSWORD = "correct horse battery"
START_S = 60.0

STANDING = (
    "status",
    "category",
    "decided_by",
    "review_reason",
    "suggestion",
    "confidence",
    "image_set",
    "prediction_id",
    "audit",
    "tagged_at",
)
"""Everything of a product but when it last changed."""


@dataclass(kw_only=True)
class Site:
    """`atelier web` over a database, and the people who may come in."""

    database: Database
    server: Running
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self.server.start()
        until = time.monotonic() + START_S
        while not self._answers():
            assert self.server.process is not None
            if self.server.process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"the server does not answer:\n{self.server.text()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: what the server has not written by now it never will. Nothing of it stays."""
        if self.server.process is not None:
            processes = family(self.server.process.pid)
            self.server.kill()
            must_end(processes)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/login", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, ConnectionError, TimeoutError):
            return False

    def person(self, name: str, role: Role = Role.REVIEWER) -> str:
        """Make an account with `PASSWORD`; returns its name."""
        accounts.add(self.database, name, role, PASSWORD, now=_now())
        return name

    def link(self, name: str) -> str:
        """A page that lets its visitor in as this person, once."""
        return f"{self.url}/enter/{accounts.make_link(self.database, name, now=_now())}"


@dataclass(kw_only=True)
class Installation(Site):
    """One with the stand-in model's products, whose database tells what came of it all."""

    services: Services
    folder: Path

    # --- what is there to review ---

    def waits(self, count: int) -> None:
        """Deliver products that the model is not sure of, and have them tagged."""
        self.deliver({f"AT-{number:03}": number for number in range(count)})

    def deliver(self, looks: dict[str, int]) -> None:
        """Deliver products by sku, each with a photo of this number; the same number, the same."""
        source = self.folder / f"delivery-{time.monotonic_ns()}"
        source.mkdir()
        rows = []
        for sku, look in looks.items():
            # Nearly as far from dark as from the middle; of a size of its own.
            shade, edge = 57 + look % 15, 48 + look
            (source / f"{sku}.png").write_bytes(picture(shade, size=(edge, edge)))
            rows.append(f"{sku},{sku}.png,Jacket {sku},navy\n")
        (source / "products.csv").write_text("sku,image,title,colour\n" + "".join(rows))
        deliver(self.services, source / "products.csv")
        self.services.clock.seconds += 1
        self.services.tag_all()

    def disagreement(self, sku: str) -> None:
        """Have Bea confirm a new product of this sku, and Cyd say that it is Light."""
        put(self.services, "second_opinion_share: 1.0")
        self.deliver({sku: len(self.standing())})
        for who, purpose, verdict, category in (
            ("Bea", Purpose.DECIDE, Verdict.CONFIRMED, None),
            ("Cyd", Purpose.OPINION, Verdict.CORRECTED, "Light"),
        ):
            cards = desk.take(
                self.database, self.services.retailer_id, who, Wish(count=96), now=_now()
            )
            (card,) = (one for one in cards if one.sku == sku)
            assert card.purpose is purpose
            answer = Answer(
                retailer_id=self.services.retailer_id,
                sku=sku,
                image_set=card.image_set,
                prediction_id=card.prediction_id,
                verdict=verdict,
                category=category,
                reviewer=who,
                purpose=purpose,
            )
            record_reviews(self.database, [answer], action=str(uuid.uuid4()), now=_now())
            desk.leave(self.database, who)

    # --- time passes ---

    def end_sessions(self) -> None:
        """As if twelve hours had passed: everybody must log in again."""
        self._execute(sa.delete(WebSession))

    def end_sessions_by_what_is_said(self, page: Page) -> None:
        """Just before it comes: were they over sooner, whatever else the page asks would lead to
        the log-in.
        """

        def end(route: Route) -> None:
            self.end_sessions()
            route.continue_()

        page.route("**/reviews", end, times=1)

    def end_reservations(self) -> None:
        """As if two minutes had passed: what is on a screen may be shown to others."""
        self._execute(sa.update(Reservation).values(until=_now() - dt.timedelta(seconds=1)))

    # --- what the database says ---

    def standing(self) -> dict[str, dict[str, Any]]:
        """Every product by sku, all of it but when it last changed."""
        with self.database.read() as session:
            return {
                product.sku: {name: getattr(product, name) for name in STANDING}
                for product in session.scalars(sa.select(Product))
            }

    def status(self, sku: str) -> Status:
        found: Status = self.standing()[sku]["status"]
        return found

    def said(self) -> list[tuple[str, str, str | None, str]]:
        """Every review that stands: (sku, verdict, category, reviewer), in the order of keys."""
        taken_back = sa.select(Review.undoes_id).where(Review.undoes_id.is_not(None))
        wanted = (
            sa.select(Product.sku, Review.verdict, Review.category, Review.reviewer)
            .join(Product, Product.id == Review.product_id)
            .where(Review.undoes_id.is_(None), Review.id.not_in(taken_back))
            .order_by(Review.id)
        )
        with self.database.read() as session:
            return [
                (sku, str(verdict), category, reviewer)
                for sku, verdict, category, reviewer in session.execute(wanted)
            ]

    def wait_for_reviews(self, count: int) -> None:
        """Until so many reviews stand; fails if it takes too long."""
        until = time.monotonic() + 60
        while len(self.said()) != count:
            if time.monotonic() > until:
                pytest.fail(f"not {count} reviews stand, but {self.said()}")
            time.sleep(0.05)

    def _execute(self, statement: Any) -> None:
        with self.database.write("test") as session:
            session.execute(statement)
            session.commit()


@contextmanager
def installed(
    database: Database, folder: Path, environment: dict[str, str]
) -> Iterator[Installation]:
    """An installation over `database`, whose server runs while the block does."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    server, port = _server(Place(home=home, environment={"ATELIER_DECODERS": "1", **environment}))
    services = make_services(database, home)
    found = Installation(
        database=database, server=server, port=port, services=services, folder=folder
    )
    with _running(found):
        yield found


@contextmanager
def served(place: Place) -> Iterator[Site]:
    """The pages of an installation that is there, while the block runs."""
    server, port = _server(place)
    database = Database(place.database_url)
    try:
        found = Site(database=database, server=server, port=port)
        with _running(found):
            yield found
    finally:
        database.close()


@contextmanager
def _running(site: Site) -> Iterator[None]:
    try:
        site.start()
        yield
    finally:
        site.kill()


def _server(place: Place) -> tuple[Running, int]:
    """A server that is not started yet, and its port: the same however often it is started."""
    port = _free_port()
    return Running(place, ("web", "--port", str(port)), prepared=True), port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
