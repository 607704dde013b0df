"""What people do in tests: they look at a product, say what it is, and verdicts add up."""

from __future__ import annotations

import dataclasses
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from tagging.answers import Answer, Recorded
from tagging.database import autopilots, models
from tagging.database.tables import AuditVerdict, Product, Review
from tagging.domain import Autopilot, Verdict
from tagging.errors import AtelierError
from tagging.evidence import Evidence, weigh
from tagging.review import record_review
from tagging.undo import take_back
from tests.integration.test_ingest_and_tag import deliver, write_folder
from tests.stand_in import Services

Found = TypeVar("Found")

SURE = {"a.png": 255, "b.png": 0, "c.png": 128, "d.png": 254}
"""Pictures that the stand-in model accepts, as Light, Dark, Middle and Light."""


def audit_all(services: Services) -> Services:
    """The same services, auditing every accepted product."""
    services.tagger = dataclasses.replace(services.tagger, audit_share=1.0)
    return services


def tagged(services: Services, folder: Path, shades: dict[str, int]) -> None:
    """Deliver pictures of these shades by their file names, and have them tagged."""
    deliver(services, write_folder(folder, shades))
    services.clock.seconds += 1
    services.tag_all()


def product(services: Services, sku: str) -> Product:
    with services.database.read() as session:
        return session.execute(sa.select(Product).where(Product.sku == sku)).scalar_one()


def answer(services: Services, sku: str, verdict: Verdict, category: str | None = None) -> Answer:
    seen = product(services, sku)
    return Answer(
        retailer_id=services.retailer_id,
        sku=sku,
        image_set=seen.image_set,
        prediction_id=seen.prediction_id,
        verdict=verdict,
        category=category,
        reviewer="Ann",
    )


def say(
    services: Services,
    sku: str,
    verdict: Verdict,
    category: str | None = None,
    reviewer: str = "Ann",
) -> Recorded:
    services.clock.seconds += 1
    given = dataclasses.replace(answer(services, sku, verdict, category), reviewer=reviewer)
    return record_review(services.database, given, now=services.clock.now())


def weighed(services: Services) -> Evidence:
    with services.database.read() as session:
        found = autopilots.verdicts(session, services.retailer_id, services.model_id)
    return weigh(found, 0.99)


def state(services: Services) -> Autopilot:
    with services.database.read() as session:
        return models.autopilot(session, services.retailer_id, services.model_id)


def add_verdicts(services: Services, sku: str, *, right: int, wrong: int) -> None:
    """Audit verdicts as so many other products would have brought them, right ones first."""
    about = product(services, sku)
    now = services.clock.now()
    with services.database.write("test") as session:
        ids = session.scalars(
            sa.insert(Review).returning(Review.id),
            [
                {
                    "product_id": about.id,
                    "image_set": about.image_set,
                    "prediction_id": about.prediction_id,
                    "reviewer": "Ann",
                    "verdict": Verdict.CONFIRMED,
                    "category": about.suggestion,
                    "created_at": now,
                }
            ]
            * (right + wrong),
        ).all()
        session.execute(
            sa.insert(AuditVerdict),
            [
                {
                    "review_id": review_id,
                    "retailer_id": services.retailer_id,
                    "model_id": services.model_id,
                    "accepted": about.suggestion,
                    "wrong": number >= right,
                }
                for number, review_id in enumerate(sorted(ids))
            ],
        )
        session.commit()


def undo(services: Services, *review_ids: int, by: str = "Ann") -> list[Recorded | AtelierError]:
    services.clock.seconds += 1
    return take_back(
        services.database, review_ids, by=by, action=str(uuid.uuid4()), now=services.clock.now()
    )


def at_once(acts: Sequence[Callable[[], Found]]) -> list[Found | AtelierError]:
    """What each act brings when all begin at the same moment; other errors are raised."""
    start = threading.Barrier(len(acts))

    def begin(act: Callable[[], Found]) -> Found | AtelierError:
        start.wait()
        try:
            return act()
        except AtelierError as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return [future.result() for future in [pool.submit(begin, act) for act in acts]]
