"""What is put before whom, over real databases: orders, reservations, and two who want the same."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ClauseElement, Executable

from tagging import desk
from tagging.answers import Answer
from tagging.database import desk as queries
from tagging.database import schema
from tagging.database.desk import Order, Waiting
from tagging.database.session import Database
from tagging.database.tables import Product, Reservation
from tagging.desk import Wish
from tagging.domain import Purpose, ReviewReason, Status, Verdict
from tagging.errors import AtelierError, NotFoundError, ReviewError
from tagging.review import record_review
from tests.integration.test_rules import put
from tests.people import SURE, at_once, audit_all, say, tagged, undo
from tests.stand_in import Services, make_services

UNSURE = {"p.png": 64, "q.png": 60, "r.png": 56, "s.png": 192}
"""Pictures that the stand-in model is unsure of; the nearer to 64 or 192, the less sure."""


def take(services: Services, who: str = "Ann", count: int = 96, **wish: Any) -> list[Waiting]:
    return desk.take(
        services.database,
        services.retailer_id,
        who,
        Wish(count=count, **wish),
        now=services.clock.now(),
    )


def skus(found: list[Waiting]) -> list[str]:
    return [one.sku for one in found]


def test_a_card_has_all_that_is_needed_to_decide(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", {"p.png": 60})
    (card,) = take(services)
    assert (card.sku, card.suggestion, card.reason) == (
        "p",
        "Dark",
        ReviewReason.LOW_CONFIDENCE,
    )
    assert [one["category"] for one in card.top_k] == ["Dark", "Middle", "Light"]
    assert card.confidence == card.top_k[0]["confidence"]
    assert len(card.images) == 1
    record_review(
        services.database,
        Answer(
            retailer_id=services.retailer_id,
            sku=card.sku,
            image_set=card.image_set,
            prediction_id=card.prediction_id,
            verdict=Verdict.CONFIRMED,
            reviewer="Ann",
        ),
        now=services.clock.now(),
    )
    assert take(services) == []
    with services.database.read() as session:
        assert session.scalars(sa.select(Reservation)).all() == []


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Order.CHEAPEST, "rqsp"),
        (Order.UNCERTAIN, "psqr"),
        (Order.VALUABLE, "psqr"),
        (Order.OLDEST, "pqrs"),
    ],
)
def test_the_orders(services: Services, tmp_path: Path, order: Order, expected: str) -> None:
    shades = UNSURE | {"s.png": 193}
    tagged(services, tmp_path / "in", shades)
    found = take(services, order=order)
    assert skus(found) == list(expected)
    # Taken one by one, the order is the same.
    desk.leave(services.database, "Ann")
    one_by_one: list[Waiting] = []
    for _ in expected:
        one_by_one += take(
            services, count=1, order=order, but=[one.product_id for one in one_by_one]
        )
    assert one_by_one == found


def test_who_asks_for_the_least_sure_is_not_led_by_the_parent(
    services: Services, tmp_path: Path
) -> None:
    """Of Footwear it may be sure, and of no shoe."""
    tagged(services, tmp_path / "in", UNSURE | {"s.png": 193})
    with services.database.write("test") as session:
        session.execute(sa.update(Product).where(Product.sku == "p").values(confidence=0.99))
        session.commit()
    assert skus(take(services, order=Order.CHEAPEST))[0] == "p"
    desk.leave(services.database, "Ann")
    assert skus(take(services, order=Order.UNCERTAIN))[0] == "p"


def test_only_one_category_as_the_grid_shows_them(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", UNSURE)
    assert {one.suggestion for one in take(services)} == {"Dark", "Light"}
    found = take(services, suggestion="Dark")
    assert found
    assert {one.suggestion for one in found} == {"Dark"}


def test_what_one_person_has_nobody_else_is_shown(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", UNSURE)
    mine = take(services, "Ann", count=2)
    theirs = take(services, "Bob")
    assert sorted(skus(mine) + skus(theirs)) == list("pqrs")
    assert take(services, "Eve") == []
    # Who loads the page again has the same before them; who says what they have gets others.
    assert take(services, "Ann") == mine
    assert take(services, "Ann", but=[one.product_id for one in mine]) == []
    desk.leave(services.database, "Bob", [theirs[0].product_id])
    assert take(services, "Eve") == theirs[:1]


def test_a_clock_that_was_set_back_keeps_nothing_reserved(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"p.png": 60})
    services.clock.jumped_s = 3600.0
    assert skus(take(services, "Ann")) == ["p"]
    assert take(services, "Bob") == []
    services.clock.jumped_s = 0.0
    assert skus(take(services, "Bob")) == ["p"]


def test_a_reservation_runs_out_unless_it_is_kept(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", UNSURE)
    ann = [one.product_id for one in take(services, "Ann", count=2)]
    services.clock.seconds += 100
    assert desk.keep(services.database, "Ann", ann[:1], now=services.clock.now()) == {ann[0]}
    services.clock.seconds += desk.RESERVED_S - 50
    bob = [one.product_id for one in take(services, "Bob")]
    assert ann[0] not in bob
    assert ann[1] in bob
    # What somebody else has by now is not kept.
    assert desk.keep(services.database, "Ann", ann, now=services.clock.now()) == {ann[0]}


def test_what_was_decided_meanwhile_is_not_kept(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", UNSURE)
    ann = {one.sku: one.product_id for one in take(services, "Ann")}
    say(services, "p", Verdict.CONFIRMED, reviewer="Bob")
    kept = desk.keep(services.database, "Ann", ann.values(), now=services.clock.now())
    assert kept == set(ann.values()) - {ann["p"]}


def test_an_opinion_that_is_asked_is_kept_by_who_was_asked(
    services: Services, tmp_path: Path
) -> None:
    put(services, "second_opinion_share: 1.0")
    tagged(services, tmp_path / "in", {"p.png": 64})
    (card,) = take(services, "Ann")
    say(services, "p", Verdict.CONFIRMED, reviewer="Ann")
    (asked,) = take(services, "Bob")
    assert asked.purpose is Purpose.OPINION
    keep = partial(desk.keep, services.database, product_ids=[card.product_id])
    assert keep(reviewer="Eve", now=services.clock.now()) == set()
    assert keep(reviewer="Bob", now=services.clock.now()) == {card.product_id}


def test_who_was_unsure_is_not_asked_again_for_a_day(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", {"p.png": 64, "q.png": 60})
    said = say(services, "p", Verdict.UNSURE, reviewer="Ann")
    assert skus(take(services, "Ann")) == ["q"]
    assert skus(alike(services, "Ann")) == ["q"]
    assert skus(take(services, "Bob")) == ["p"]
    desk.leave(services.database, "Bob")
    undo(services, said.review_id)
    assert sorted(skus(take(services, "Ann"))) == ["p", "q"]
    say(services, "p", Verdict.UNSURE, reviewer="Ann")
    services.clock.seconds += queries.UNSURE_FOR.total_seconds()
    assert sorted(skus(take(services, "Ann"))) == ["p", "q"]


def test_of_other_photos_who_was_unsure_is_asked(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", {"p.png": 64})
    say(services, "p", Verdict.UNSURE, reviewer="Ann")
    assert take(services, "Ann") == []
    tagged(services, tmp_path / "new", {"p.png": 62})
    assert skus(take(services, "Ann")) == ["p"]


def test_a_late_verdict_counts_if_nobody_else_gave_one(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", {"p.png": 64, "q.png": 60})
    take(services, "Ann")
    services.clock.seconds += desk.RESERVED_S + 1
    take(services, "Bob")
    assert say(services, "p", Verdict.CONFIRMED, reviewer="Ann").status is Status.REVIEWED
    say(services, "q", Verdict.CONFIRMED, reviewer="Bob")
    with pytest.raises(ReviewError, match="Bob decided on 'q'"):
        say(services, "q", Verdict.CORRECTED, "Light", reviewer="Ann")


def test_the_audit_sample_comes_in_the_order_of_delivery(
    services: Services, tmp_path: Path
) -> None:
    tagged(audit_all(services), tmp_path / "in", SURE | {"w.png": 64})
    found = take(services, audit=True, order=Order.CHEAPEST)
    assert skus(found) == list("abcd")
    assert {one.status for one in found} == {Status.TAGGED}
    assert [one.category for one in found] == [one.suggestion for one in found]
    assert skus(take(services)) == ["w"]


def test_many_people_at_once_never_have_the_same(services: Services, tmp_path: Path) -> None:
    """And every product is decided on once, whoever was quicker."""
    n = 60
    tagged(services, tmp_path / "in", {f"p{i:02}.png": 40 + i % 40 for i in range(n)})

    def work(who: str) -> list[str]:
        dice, done = random.Random(who), []
        while cards := take(services, who, count=dice.randint(1, 4), order=dice.choice([*Order])):
            for card in cards:
                answer = Answer(
                    retailer_id=services.retailer_id,
                    sku=card.sku,
                    image_set=card.image_set,
                    prediction_id=card.prediction_id,
                    verdict=Verdict.CONFIRMED,
                    reviewer=who,
                )
                try:
                    record_review(services.database, answer, now=services.clock.now())
                except AtelierError as error:
                    done.append(f"{card.sku}: {error}")
                else:
                    done.append(card.sku)
        return done

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(work, [f"person {i}" for i in range(8)]))
    waiting = {one.sku for one in take(services, "last")}
    assert waiting == set()
    decided = sorted(sku for one in done for sku in one)
    assert len(decided) == len(set(decided))
    assert all(":" not in sku for sku in decided)


def test_wishes_that_make_no_sense(services: Services) -> None:
    for count in (0, desk.MOST_CARDS + 1):
        with pytest.raises(ValueError, match="between 1 and 96"):
            take(services, count=count)
    with pytest.raises(ReviewError, match="names no person"):
        take(services, "\n")


def test_what_waits_is_counted(services: Services, tmp_path: Path) -> None:
    tagged(audit_all(services), tmp_path / "in", SURE | UNSURE)
    found = desk.counts(services.database, services.retailer_id)
    assert (found["waiting"], found["audit"]) == (4, 4)
    assert found["by_reason"] == {"low_confidence": 4}
    assert sum(found["by_suggestion"].values()) == 4
    assert found["priority"] is False
    put(services, "priority: margin")
    assert desk.counts(services.database, services.retailer_id)["priority"] is True


class Explained(Executable, ClauseElement):
    """A statement that tells how another would be done."""

    inherit_cache = False

    def __init__(self, statement: sa.Select[int]) -> None:
        self.statement = statement


@compiles(Explained)
def _explain(element: Explained, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN QUERY PLAN {compiler.process(element.statement, **options)}"


@pytest.mark.parametrize(
    ("order", "suggestion"), [*((order, None) for order in Order), (Order.CHEAPEST, "Dark")]
)
def test_no_order_is_sorted_for(tmp_path: Path, order: Order, suggestion: str | None) -> None:
    """Each is read off an index, so that a million products wait as quickly as ten."""
    database = Database(f"sqlite:///{tmp_path / 'atelier.db'}")
    schema.upgrade(database)
    services = make_services(database, tmp_path)
    query = queries._free(
        services.retailer_id,
        "Ann",
        awaited=None,
        order=order,
        now=services.clock.now(),
        suggestion=suggestion,
        but=(),
    )
    with services.database.read() as session:
        plan = [str(row) for row in session.execute(Explained(query.limit(5)))]
    assert any("ix_products_" in line for line in plan)
    assert not any("TEMP B-TREE" in line for line in plan), plan
    database.close()


SHADES = {f"{name}.png": shade for name, shade in zip("abcdefgh", range(52, 76, 3), strict=True)}
"""Eight pictures that the model is unsure of: Dark up to 61, Middle from 67 on; 64 is between."""


def alike(services: Services, who: str = "Ann", count: int = 96, **wish: Any) -> list[Waiting]:
    return desk.take_alike(
        services.database,
        services.retailer_id,
        who,
        Wish(count=count, **wish),
        now=services.clock.now(),
    )


def test_a_grid_asks_one_question_about_what_looks_alike(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", UNSURE)
    assert {one.sku for one in alike(services, order=Order.OLDEST)} == {"p", "q", "r"}
    assert skus(alike(services, "Bob")) == ["s"]
    assert alike(services, "Eve") == []
    assert skus(alike(services, suggestion="Light", but=[])) == []
    desk.leave(services.database, "Bob")
    assert skus(alike(services, suggestion="Light")) == ["s"]


def test_of_several_times_as_many_those_most_like_the_first_are_taken(
    services: Services, tmp_path: Path
) -> None:
    # Equally sure, so the last delivered comes first; what looks like it is 66, not 62.
    dark = {"a.png": 56, "b.png": 57, "c.png": 58, "d.png": 61, "e.png": 61, "f.png": 62}
    tagged(services, tmp_path / "in", dark)
    first = take(services, "Bob", count=1, order=Order.UNCERTAIN)
    desk.leave(services.database, "Bob")
    found = alike(services, count=3, order=Order.UNCERTAIN)
    assert first[0] in found
    assert {one.sku for one in found} == {"d", "e", "f"}
    assert {one.sku for one in alike(services, count=3, but=[one.product_id for one in found])} == {
        "a",
        "b",
        "c",
    }


def test_two_who_want_the_same_grid_get_different_ones(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", SHADES)
    waiting = len(take(services, "Zoe"))
    desk.leave(services.database, "Zoe")
    with ThreadPoolExecutor(4) as pool:
        grids = list(pool.map(lambda who: alike(services, who, count=2), ["A", "B", "C", "D"]))
    had = [sku for grid in grids for sku in skus(grid)]
    assert len(had) == len(set(had))
    assert len(had) == min(8, waiting)
    for grid in grids:
        assert len({one.suggestion for one in grid}) <= 1


def test_the_audit_is_taken_in_its_order_and_only_laid_out(
    services: Services, tmp_path: Path
) -> None:
    tagged(audit_all(services), tmp_path / "in", SURE)
    found = alike(services, count=3, audit=True)
    assert {one.sku for one in found} == set("abc")
    found = alike(services, audit=True)
    assert [one.category for one in found] == ["Light", "Light", "Dark", "Middle"]


@pytest.mark.parametrize("count", [0, 97])
def test_a_grid_has_bounds(services: Services, count: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 96"):
        alike(services, count=count)


def test_neighbours_are_in_force_and_look_alike(services: Services, tmp_path: Path) -> None:
    sure = {"a.png": 0, "b.png": 30, "c.png": 4, "d.png": 255, "e.png": 34}
    tagged(services, tmp_path / "in", sure | {"p.png": 60})
    (card,) = take(services)
    near = desk.neighbours(services.database, services.retailer_id, card.product_id, count=2)
    assert {one.sku for one in near} == {"b", "e"}
    assert {one.category for one in near} == {"Dark"}
    every = desk.neighbours(services.database, services.retailer_id, card.product_id, count=9)
    assert {one.sku for one in every} == set("abce")
    with pytest.raises(NotFoundError, match="no product with the key 999"):
        desk.neighbours(services.database, services.retailer_id, 999)


def test_people_who_take_and_leave_in_all_orders_never_wait_for_each_other(
    services: Services, tmp_path: Path
) -> None:
    if services.database.is_sqlite:
        pytest.skip("SQLite has one writer at a time, so nobody waits for another's row")
    tagged(services, tmp_path / "in", {f"p{i:02}.png": 50 + (i * 7) % 30 for i in range(30)})

    def work(who: str, order: Order) -> int:
        done = 0
        for _ in range(25):
            held = take(services, who, count=14, order=order)
            desk.keep(
                services.database,
                who,
                [one.product_id for one in held],
                now=services.clock.now(),
            )
            desk.leave(services.database, who)
            done += 1
        return done

    acts = [partial(work, f"P{n}", order) for n, order in enumerate(list(Order) * 2)]
    assert at_once(acts) == [25] * len(acts)


def test_what_waits_is_counted_by_its_indexes(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'atelier.db'}")
    schema.upgrade(database)
    services = make_services(database, tmp_path)
    asked: list[tuple[str, Any]] = []

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def listen(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    with database.read() as session:
        queries.counts(session, services.retailer_id)
        counting = [one for one in asked if "count(" in one[0]]
        plans = [
            str(session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", given).all())
            for text, given in counting
        ]
    assert len(plans) == 2
    assert "ix_products_waiting_retailer_id_review_reason_suggestion" in plans[0]
    assert "ix_products_audit_retailer_id_id_prediction_id_tagged_at" in plans[1]
    database.close()
