"""How many products stand where is told without counting them, and is what counting would tell."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging.database import counts, schema
from tagging.database.tables import Product, ProductCount
from tagging.domain import Status, Verdict
from tests.integration.test_ingest_and_tag import deliver
from tests.integration.test_sweep import pass_time
from tests.people import say, tagged
from tests.stand_in import Services, picture


def told(services: Services) -> dict[Status, int]:
    """What is told, checked against what is there."""
    with services.database.read() as session:
        found = counts.by_status(session)
        counted = Counter(session.scalars(sa.select(Product.status)))
    assert found == {status: counted[status] for status in Status}
    return found


def rows(services: Services) -> int:
    with services.database.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(ProductCount)) or 0


def test_every_move_is_counted(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sum(told(services).values()) == 0
    tagged(services, tmp_path / "in", {"a.png": 255, "b.png": 0, "p.png": 64})
    assert told(services)[Status.TAGGED] == 2
    say(services, "a", Verdict.CORRECTED, "Dark")
    (tmp_path / "in" / "b.png").write_bytes(picture(128))
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    deliver(services, tmp_path / "in")
    assert told(services)[Status.QUEUED] == 2
    services.tag_all()
    assert told(services)[Status.FAILED] == 1
    with services.database.write("test") as session:
        session.execute(sa.update(Product).values(status=Status.QUEUED))
    assert told(services)[Status.QUEUED] == 0, "what is rolled back is not counted"
    before, many = told(services), rows(services)
    monkeypatch.setattr(counts, "MANY", 2)
    monkeypatch.setattr(counts, "MOST", 5)
    pass_time(services, 30)
    assert rows(services) < 6 < many
    assert told(services) == before
    with services.database.write("test") as session:
        counts.recount(session)
        session.commit()
    assert told(services) == before


def test_what_was_there_before_is_counted_when_the_counts_come(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255, "p.png": 64})
    before = told(services)
    schema.downgrade(services.database, "0013")
    say(services, "a", Verdict.CORRECTED, "Dark")
    schema.upgrade(services.database)
    assert told(services) == before | {Status.TAGGED: 0, Status.REVIEWED: 1}
