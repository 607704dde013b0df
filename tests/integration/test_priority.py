"""A retailer's own priority: from the delivered column to the order in which people decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ClauseElement, Executable

from tagging import desk
from tagging.database import desk as queries
from tagging.database import priorities
from tagging.database.desk import Order
from tagging.database.tables import Product
from tagging.desk import Wish
from tagging.domain import Status, Verdict
from tagging.priority import priority_of
from tagging.steering import change_rules
from tests.integration.test_ingest_and_tag import deliver, write_folder, write_manifest
from tests.integration.test_rules import put
from tests.people import say, undo
from tests.stand_in import Services

MARGINS = {"p": "3", "q": "10.5", "r": "", "s": "much", "t": "10.5", "u": "-1"}


def delivered(services: Services, folder: Path, margins: dict[str, str], shade: int = 64) -> None:
    """Products with a column `margin`, each with a picture of its own shade, tagged."""
    shades = {f"{sku}.png": shade + i % 5 for i, sku in enumerate(margins)}
    write_folder(folder, shades)
    lines = [f"{sku},{sku}.png,{margin}" for sku, margin in margins.items()]
    deliver(services, write_manifest(folder, "\n".join(["sku,image,margin", *lines])))
    services.clock.seconds += 1
    services.tag_all()


def by_priority(services: Services) -> str:
    found = desk.take(
        services.database,
        services.retailer_id,
        "Bob",
        Wish(count=96, order=Order.PRIORITY),
        now=services.clock.now(),
    )
    return "".join(one.sku for one in found)


def priorities_of(services: Services) -> dict[str, float | None]:
    with services.database.read() as session:
        rows = session.execute(sa.select(Product.sku, Product.priority))
        return {row.sku: row.priority for row in rows}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("12", 12.0),
        (" -3.5 ", -3.5),
        ("1e3", 1000.0),
        (7, 7.0),
        (0.25, 0.25),
        ("0", 0.0),
        (True, None),
        (None, None),
        ("", None),
        ("high", None),
        ("1_000", None),
        ("1,5", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        (10**400, None),
        ([1], None),
    ],
)
def test_what_is_a_number(value: object, expected: float | None) -> None:
    assert priority_of({"margin": value}, "margin") == expected
    assert priority_of({"margin": value}, "other") is None
    assert priority_of({"margin": value}, None) is None


def test_highest_first_then_oldest_and_without_a_number_last(
    services: Services, tmp_path: Path
) -> None:
    put(services, "priority: margin")
    delivered(services, tmp_path / "in", MARGINS)
    assert by_priority(services) == "qtpurs"
    # A changed column is heard of without a new photo.
    delivered(services, tmp_path / "in", MARGINS | {"u": "11", "p": "none"})
    assert by_priority(services) == "uqtprs"


def test_other_rules_renew_what_waits(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(priorities, "PAGE", 2)
    delivered(services, tmp_path / "in", MARGINS)
    assert set(priorities_of(services).values()) == {None}
    assert by_priority(services) == "pqrstu"
    put(services, "priority: margin")
    assert by_priority(services) == "qtpurs"
    put(services, "priority: season")
    assert by_priority(services) == "pqrstu"
    put(services, "priority: margin")
    put(services, "accept_parent: true")
    assert set(priorities_of(services).values()) == {None}


def test_a_renewal_that_was_cut_off_is_done_by_the_same_rules_again(
    services: Services, tmp_path: Path
) -> None:
    delivered(services, tmp_path / "in", MARGINS)
    put(services, "priority: margin")
    with services.database.write("test") as session:
        session.execute(sa.update(Product).values(priority=None))
        session.commit()
    put(services, "priority: margin")
    assert by_priority(services) == "qtpurs"


def test_what_comes_back_to_the_queue_has_its_priority(services: Services, tmp_path: Path) -> None:
    delivered(services, tmp_path / "in", {"a": "4", "b": "5", "c": "6"}, shade=251)
    said = say(services, "a", Verdict.CONFIRMED)
    put(services, "priority: margin")
    assert priorities_of(services) == dict.fromkeys("abc")
    undo(services, said.review_id)
    say(services, "b", Verdict.UNSURE)
    assert priorities_of(services) == {"a": 4.0, "b": 5.0, "c": None}
    assert by_priority(services) == "b"


def test_the_order_is_no_reason_to_weigh_anew(services: Services, tmp_path: Path) -> None:
    delivered(services, tmp_path / "in", {"a": "4"}, shade=255)
    rules = put(services, "priority: margin")
    change_rules(
        services.database,
        "default",
        rules.model_copy(update={"second_opinion_share": 0.1}),
        by="Ada",
        now=services.clock.now(),
    )
    with services.database.read() as session:
        assert session.execute(sa.text("SELECT count(*) FROM autopilot_changes")).scalar() == 0
        assert session.execute(sa.select(Product.status)).scalar_one() is Status.TAGGED


class Planned(Executable, ClauseElement):
    """A statement that tells how another would be done, on either database."""

    inherit_cache = False

    def __init__(self, statement: sa.Select[int]) -> None:
        self.statement = statement


@compiles(Planned, "sqlite")
def _plan_sqlite(element: Planned, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN QUERY PLAN {compiler.process(element.statement, **options)}"


@compiles(Planned, "postgresql")
def _plan_postgresql(element: Planned, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN {compiler.process(element.statement, **options)}"


def test_the_order_is_read_off_its_index(services: Services) -> None:
    query = queries._free(
        services.retailer_id,
        "Ann",
        awaited=None,
        order=Order.PRIORITY,
        now=services.clock.now(),
        suggestion=None,
        but=(),
    )
    with services.database.read() as session:
        if not services.database.is_sqlite:
            # An empty table is read as a whole otherwise.
            for way in ("seqscan", "bitmapscan", "sort"):
                session.execute(sa.text(f"SET LOCAL enable_{way} = off"))
        plan = "\n".join(str(row) for row in session.execute(Planned(query.limit(5))))
    assert "ix_products_waiting_retailer_id_priority_id" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan, plan
