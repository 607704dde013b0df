"""The queries that people and workers wait for, and what PostgreSQL makes of each.

`queries` calls the functions of `tagging` themselves, so what is planned and timed here is what
runs. What writes is rolled back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging import desk as service
from tagging.database import (
    autopilots,
    backlog,
    batches,
    counts,
    desk,
    leaders,
    models,
    products,
    retags,
    reviews,
    trial,
    uploads,
)
from tagging.database.batches import Lease
from tagging.database.desk import Order
from tagging.database.products import Classified, ImageLogits, ProductFilter
from tagging.database.session import Database
from tagging.database.tables import Batch, BatchItem, Product, Retag, RetagScope
from tagging.domain import (
    CategoryConfidence,
    Decision,
    ItemOutcome,
    Prediction,
    ReviewReason,
    Status,
)
from tagging.images.model_input import PREPROCESSING_VERSION
from tagging.sweep import ANNOUNCE_AT_ONCE
from worker.bootstrap import utc_now

BIG: Final = frozenset(
    {
        "products",
        "upload_items",
        "predictions",
        "image_predictions",
        "images",
        "image_set_images",
        "batches",
        "batch_items",
        "reviews",
        "audit_verdicts",
    }
)
"""Tables that grow with what is delivered: none may be read from end to end."""
UPLOAD: Final = "million"
FRIDAY: Final = "friday"
"""An upload of some of the newest products, which were delivered again as they are."""
SMALL: Final = "corner shop"
OVERTAKEN: Final = "sunday"

Act = Callable[[], object]


def fill_ledger(database: Database, *, small: int = 500, friday: int = 100) -> None:
    """What `million.fill` leaves out: ledger and batch items, and a small retailer beside.

    `small`: its products; `friday`: lines of the upload of this name.
    """
    statements = (
        "INSERT INTO upload_items (upload_id, seq, line, sku, images, title, attributes, outcome, "
        "product_id) SELECT upload_id, id, id, sku, jsonb_build_array(sha256), title, attributes, "
        "'created', id FROM products JOIN image_set_images USING (image_set)",
        "INSERT INTO batch_items (batch_id, product_id, image_set) "
        "SELECT batch_id, product_id, image_set FROM predictions",
        f"INSERT INTO retailers (name, created_at) VALUES ('{SMALL}', now())",
        "INSERT INTO models_in_charge (retailer_id, model_id, since) "
        "SELECT max(id), (SELECT min(id) FROM models), now() FROM retailers",
        "INSERT INTO autopilots (retailer_id, model_id, state, since) "
        "SELECT max(id), (SELECT min(id) FROM models), 'provisional', now() FROM retailers",
        "INSERT INTO categories (retailer_id, name, parent) "
        f"SELECT (SELECT id FROM retailers WHERE name = '{SMALL}'), name, parent FROM categories",
        "INSERT INTO uploads SELECT 'small', (SELECT max(id) FROM retailers), source, kind, state, "
        "warnings, receiver, created_at, beat_at, filed_at FROM uploads WHERE id = 'million'",
        "INSERT INTO uploads SELECT 'friday', retailer_id, source, kind, state, "
        "warnings, receiver, created_at, beat_at, filed_at FROM uploads WHERE id = 'million'",
        f"INSERT INTO uploads SELECT '{OVERTAKEN}', retailer_id, source, kind, state, warnings, "
        "receiver, created_at - interval '1 day', beat_at, filed_at FROM uploads "
        "WHERE id = 'million'",
        "INSERT INTO upload_items (upload_id, seq, line, sku, images, title, attributes, outcome, "
        "product_id) SELECT 'friday', seq, line, sku, images, title, attributes, 'unchanged', "
        "product_id FROM upload_items WHERE upload_id = 'million' "
        f"ORDER BY seq DESC LIMIT {friday}",
        "INSERT INTO products (retailer_id, sku, title, attributes, image_set, upload_id, status, "
        "category, decided_by, suggestion, confidence, margin, top_confidence, review_reason, "
        "audit, tagged_at, created_at, updated_at) "
        "SELECT (SELECT max(id) FROM retailers), sku, title, attributes, image_set, 'small', "
        "status, category, decided_by, suggestion, confidence, margin, top_confidence, "
        "review_reason, false, tagged_at, created_at, updated_at FROM products "
        f"ORDER BY id LIMIT {small}",
    )
    with database.write("test") as session:
        session.execute(sa.text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            session.execute(sa.text(statement))
        counts.recount(session)
        session.commit()
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))


@dataclass(frozen=True, kw_only=True)
class Some:
    """Rows that the queries are asked about."""

    retailer_id: int
    model_id: int
    batch_ids: Sequence[int]
    skus: Sequence[str]
    product_ids: Sequence[int]
    waiting: Sequence[int]
    sha256s: Sequence[str]
    image_sets: Mapping[int, str]
    newest: int


def some(database: Database) -> Some:
    """In the middle of what there is."""
    with database.read() as session:
        retailer_id = models.retailer_id(session, "default")
        newest = session.scalar(
            sa.select(sa.func.max(Product.id)).where(Product.retailer_id == retailer_id)
        )
        assert newest is not None
        batch_ids = session.scalars(
            sa.select(Batch.id).where(Batch.id > newest // 512).order_by(Batch.id).limit(20)
        ).all()
        rows = session.execute(
            sa.select(Product.id, Product.sku, Product.image_set)
            .join(BatchItem, BatchItem.product_id == Product.id)
            .where(BatchItem.batch_id == batch_ids[0])
            .order_by(Product.id)
        ).all()
        sets = products.images_of(session, [row.image_set for row in rows])
        waiting = session.scalars(
            sa.select(Product.id)
            .where(Product.status == Status.NEEDS_REVIEW, Product.id > newest // 2)
            .order_by(Product.id)
            .limit(48)
        ).all()
        return Some(
            retailer_id=retailer_id,
            model_id=models.in_charge(session, retailer_id).id,
            batch_ids=batch_ids,
            skus=[row.sku for row in rows],
            product_ids=[row.id for row in rows],
            waiting=waiting,
            sha256s=[sha for one in sets.values() for sha in one],
            image_sets={row.id: row.image_set for row in rows},
            newest=newest,
        )


def queries(database: Database, about: Some) -> dict[str, Act]:
    """By a name that says who waits for it."""

    def reading(act: Callable[[Session], object]) -> Act:
        def asked() -> object:
            with database.read() as session:
                return act(session)

        return asked

    def writing(act: Callable[[Session], object]) -> Act:
        def asked() -> object:
            with database.write("test") as session:
                return act(session)  # rolled back

        return asked

    def listed(after: int = 0, **wanted: Any) -> Act:
        return reading(
            lambda session: products.page(session, ProductFilter(**wanted), after=after, size=101)
        )

    now = utc_now()
    retailer, middle = about.retailer_id, about.newest // 2

    def handed(order: Order, **more: Any) -> Act:
        return writing(
            lambda session: desk.hand_out(
                session,
                retailer,
                "Ann",
                count=6,
                order=order,
                now=now,
                until=now,
                but=about.waiting,
                **more,
            )
        )

    retag = Retag(
        retailer_id=retailer, scope=RetagScope.MISSING, after_id=middle, until_id=about.newest
    )
    named = Retag(
        retailer_id=retailer,
        scope=RetagScope.SKU,
        skus=list(about.skus),
        after_id=0,
        until_id=about.newest,
    )
    failed = Retag(retailer_id=retailer, scope=RetagScope.FAILED, after_id=0, until_id=about.newest)

    return {
        **{f"desk: cards, {order}": handed(order) for order in Order},
        "desk: cards, audit": handed(Order.OLDEST, audit=True),
        "desk: cards, one suggestion": handed(Order.CHEAPEST, suggestion="Sandal"),
        "desk: a grid's candidates": reading(
            lambda session: desk.alike_candidates(
                session, retailer, "Ann", count=192, order=Order.CHEAPEST, now=now
            )
        ),
        "desk: 48 products as they stand": reading(
            lambda session: desk.waiting(session, about.waiting)
        ),
        "desk: what 48 look like": reading(
            lambda session: desk.features(session, retailer, about.waiting)
        ),
        "desk: neighbours": reading(
            lambda session: desk.newest_of_suggestion(
                session, retailer, about.waiting[0], most=service.NEIGHBOURS_AMONG
            )
        ),
        "review: products locked": writing(
            lambda session: reviews.lock_products(session, retailer, about.skus[:48])
        ),
        "review: what stands": reading(
            lambda session: reviews.standing(session, about.product_ids[0])
        ),
        "list": listed(),
        "list --status needs_review": listed(status=Status.NEEDS_REVIEW),
        "list --status failed": listed(status=Status.FAILED),
        "list --status queued": listed(status=Status.QUEUED),
        "list --retailer": listed(retailer="default"),
        "list --retailer, a small one": listed(retailer=SMALL),
        "list --retailer --status": listed(retailer="default", status=Status.TAGGED),
        "list --retailer --category": listed(retailer="default", category="Sandal"),
        "list --category": listed(category="Sandal"),
        "list --category, a rare one": listed(category="Nothing of the kind"),
        "list --upload": listed(upload=UPLOAD),
        "list --upload, a small one": listed(upload="small"),
        "list --min-confidence": listed(min_confidence=0.5),
        "list --max-confidence, nothing": listed(max_confidence=0.01),
        "list --min-confidence, nothing": listed(min_confidence=1.0),
        "status: products by status": reading(counts.by_status),
        "status: batches by state": reading(backlog.counts),
        "status: an upload's batches": reading(lambda session: backlog.counts(session, UPLOAD)),
        "status: the products of an upload of 100,000": reading(
            lambda session: uploads.status_counts(session, FRIDAY)
        ),
        "status: the ledger of an upload of 100,000": reading(
            lambda session: uploads.outcome_counts(session, FRIDAY)
        ),
        "status: the rate": reading(backlog.recent_rate),
        "status: what is coming in": reading(
            lambda session: uploads.coming_in(session, None, now=now)
        ),
        "status: latest uploads": reading(uploads.latest),
        "status: why batches wait": reading(backlog.last_errors),
        "tag: whether any of an upload goes on": reading(
            lambda session: backlog.goes_on(session, upload_id=UPLOAD)
        ),
        "retag: whether any of it goes on": reading(
            lambda session: backlog.goes_on(session, retag_ids=[1])
        ),
        "status: retags": reading(retags.lines),
        "tagged_catalog: a product": reading(
            _sql("SELECT * FROM tagged_catalog WHERE retailer = 'default' AND sku = :sku", about)
        ),
        "tagged_catalog: 100 that wait, surest first": reading(
            _sql(
                "SELECT * FROM tagged_catalog WHERE status = 'needs_review' "
                "ORDER BY confidence DESC LIMIT 100",
                about,
            )
        ),
        "tagged_catalog: 100 of a category": reading(
            _sql(
                "SELECT * FROM tagged_catalog WHERE retailer = 'default' "
                "AND category = 'Sandal' LIMIT 100",
                about,
            )
        ),
        "sweeper: leases": reading(batches.pulses),
        "sweeper: queued": reading(lambda session: backlog.due_count(session, now=now)),
        "sweeper: queued, by retailer": reading(backlog.waiting),
        "sweeper: what to announce": writing(
            lambda session: batches.to_announce(
                session, older_than=now, now=now, limit=ANNOUNCE_AT_ONCE
            )
        ),
        "sweeper: uploads to file": reading(uploads.unfiled),
        "sweeper: the chair": reading(lambda session: leaders.chair(session, "sweeper")),
        "sweeper: open retags": reading(lambda session: retags.open_ids(session, most=1)),
        "retag: a page": reading(lambda session: retags.page(session, retag, after=middle)),
        "retag: by name": reading(lambda session: retags.page(session, named, after=0)),
        "retag: what failed": reading(lambda session: retags.page(session, failed, after=0)),
        "retag: a request": writing(
            lambda session: retags.add(session, retailer, RetagScope.ALL, by="Eve", now=now)
        ),
        "batch: its products": reading(
            lambda session: batches.leased_products(session, about.batch_ids[0])
        ),
        "batch: what is known of its images": reading(
            lambda session: products.known_logits(
                session,
                about.sha256s,
                model_id=about.model_id,
                preprocessing_version=PREPROCESSING_VERSION,
            )
        ),
        "filing: pending lines": writing(
            lambda session: uploads.pending_lines(
                session, UPLOAD, after_sku=None, most=2000, most_chars=10**7
            )
        ),
        "filing: pending lines behind those that are filed": writing(
            lambda session: uploads.pending_lines(
                session, UPLOAD, after_sku=about.skus[-1], most=2000, most_chars=10**7
            )
        ),
        "filing: known products": writing(
            lambda session: uploads.existing_products(session, retailer, about.skus)
        ),
        "filing: the ledger's counts of a small upload": reading(
            lambda session: uploads.outcome_counts(session, "small")
        ),
    }


def working(database: Database, about: Some) -> dict[str, Act]:
    """What takes a thousand rows at once, or hundreds of statements in one transaction."""

    def reading(act: Callable[[Session], object]) -> Act:
        def asked() -> object:
            with database.read() as session:
                return act(session)

        return asked

    def worked() -> None:
        with database.write("test") as session:
            _work(session, about)  # rolled back

    def exported(after: int = 0, **wanted: Any) -> Act:
        return reading(
            lambda session: products.page(
                session, ProductFilter(**wanted), after=after, size=products.PAGE
            )
        )

    retailer, middle = about.retailer_id, about.newest // 2
    return {
        "a batch, leased and written": worked,
        "rules try: newest products": reading(
            lambda session: trial.newest_products(session, retailer, most=500)
        ),
        "filing: what younger deliveries had": reading(
            lambda session: uploads.younger(
                session, OVERTAKEN, about.skus, first=min(about.skus), last=max(about.skus)
            )
        ),
        "review export: a page": reading(
            lambda session: reviews.queue_page(session, retailer, audit=False, after=middle)
        ),
        "review export: a page of the audit": reading(
            lambda session: reviews.queue_page(session, retailer, audit=True, after=0)
        ),
        "export: a page at the end": exported(after=about.newest - 2000),
        "export --retailer: a page": exported(after=middle, retailer="default"),
    }


def counting(database: Database, about: Some) -> dict[str, Act]:
    """What counts many rows, and is told from what was counted a moment ago where they are many."""

    def reading(act: Callable[[Session], object]) -> Act:
        def asked() -> object:
            with database.read() as session:
                return act(session)

        return asked

    return {
        "count: an upload's products by status": reading(
            lambda session: uploads.status_counts(session, UPLOAD)
        ),
        "count: an upload's ledger": reading(
            lambda session: uploads.outcome_counts(session, UPLOAD)
        ),
        "count: what waits": reading(lambda session: desk.counts(session, about.retailer_id)),
        "count: autopilots": reading(autopilots.standings),
        "SQL: 100 by sku": reading(
            _sql(
                "SELECT * FROM tagged_catalog WHERE retailer = 'default' AND sku > :sku "
                "ORDER BY sku LIMIT 100",
                about,
            )
        ),
        "SQL: how far each retailer is": reading(
            _sql(
                "SELECT retailer, status, count(*), max(tagged_at) FROM tagged_catalog "
                "GROUP BY retailer, status",
                about,
            )
        ),
        "count: tags to audit": reading(
            lambda session: autopilots.awaited_tags(session, about.retailer_id, about.model_id)
        ),
    }


def _sql(text: str, about: Some) -> Callable[[Session], object]:
    given = {"sku": about.skus[0]} if ":sku" in text else {}
    return lambda session: session.execute(sa.text(text), given).all()


def _work(session: Session, about: Some) -> None:
    """A batch, from the lease to the end of its write."""
    batch_id, now = about.batch_ids[0], utc_now()
    session.execute(sa.update(Batch).where(Batch.id == batch_id).values(state="queued"))
    session.flush()
    batches.due(session, batch_id, now=now)
    lease = batches.lease(session, batch_id, token="t", worker="w", alone=False)
    assert isinstance(lease, Lease)
    batches.beat(session, [lease])
    wanted = batches.leased_products(session, batch_id)
    products.known_logits(
        session,
        about.sha256s,
        model_id=about.model_id,
        preprocessing_version=PREPROCESSING_VERSION,
    )
    models.hold_in_charge(session, about.retailer_id)
    batches.finish(session, lease, now=now)
    products.add_image_predictions(
        session,
        [
            ImageLogits(sha256=sha, logits=b"1234", ood_score=0.0, features=b"12")
            for sha in about.sha256s
        ],
        model_id=about.model_id,
        preprocessing_version=PREPROCESSING_VERSION,
        now=now,
    )
    best = CategoryConfidence(category="Sandal", confidence=0.5)
    said = Prediction(top_k=(best,), ood_score=0.0, out_of_distribution=False)
    decision = Decision(
        status=Status.NEEDS_REVIEW,
        category=None,
        review_reason=ReviewReason.LOW_CONFIDENCE,
        suggested=best,
    )
    products.write_outcomes(
        session,
        [
            Classified(
                product_id=one.product_id,
                image_set=one.image_set,
                prediction=said,
                decision=decision,
            )
            for one in wanted
        ],
        [],
        batch_id=batch_id,
        model_id=about.model_id,
        preprocessing_version=PREPROCESSING_VERSION,
        now=now,
        replacing=True,
        audited={},
    )
    uploads.settle_lines(
        session,
        [{"upload_id": UPLOAD, "seq": 1, "outcome": ItemOutcome.UNCHANGED}],
    )


def read_to_the_end(database: Database, act: Act, *, forced: bool = False) -> list[str]:
    """The big tables that what `act` does reads from end to end, by PostgreSQL's own plans.

    `forced`: only where there is no other way; for tables so small that it is the best one.
    """
    found: set[str] = set()
    for plan in _plans(database, act, "EXPLAIN (FORMAT JSON)", forced=forced):
        found.update(
            node["Relation Name"] for node in _nodes(plan) if node["Node Type"] == "Seq Scan"
        )
    return sorted(found & BIG)


def rows_read(database: Database, act: Act, *, forced: bool = False) -> int:
    """How many rows, and entries of indexes, are read for what `act` does; PostgreSQL counts them.

    Those that a filter throws away count as well. Every statement is run again, in one transaction
    that is rolled back, and of many sets of parameters with the first only. `forced`: as above.
    """
    explain = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON)"
    read = sum(
        _read_by(node)
        for plan in _plans(database, act, explain, forced=forced)
        for node in _nodes(plan)
        if node["Node Type"] in _SCANS
    )
    return round(read)


_SCANS: Final = frozenset(
    {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan", "Bitmap Heap Scan"}
)


def _read_by(node: Mapping[str, Any]) -> float:
    """Rows are told for each loop."""
    thrown_away = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    rows = node["Actual Rows"] + sum(node.get(name, 0) for name in thrown_away)
    return float(rows * node["Actual Loops"])


_FORCING: Final = (
    "enable_seqscan = off",
    "seq_page_cost = 0.1",
    "random_page_cost = 0.1",
    "cpu_tuple_cost = 1",
    "cpu_index_tuple_cost = 1",
)
"""Each row costs much and each page little, so the best plan is the one that reads fewest rows, as
it is where there are very many."""


def _plans(
    database: Database, act: Act, explain: str, *, forced: bool
) -> Iterator[Mapping[str, Any]]:
    """The plan of each statement that `act` sends, explained in the same order."""
    with _statements(database) as seen:
        act()
    with database.engine.connect() as connection:
        for setting in _FORCING if forced else ():
            connection.exec_driver_sql(f"SET LOCAL {setting}")
        for statement, parameters in seen:
            plan = connection.exec_driver_sql(f"{explain} {statement}", parameters).scalar_one()
            yield (plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]
        connection.rollback()


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


@contextmanager
def _statements(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """What is sent to the database within the block: statements that have a plan."""
    seen: list[tuple[str, Any]] = []

    def note(
        _c: object, _cur: object, statement: str, given: Any, _ctx: object, many: bool
    ) -> None:
        if statement.lstrip().split(None, 1)[0] in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"):
            seen.append((statement, given[0] if many and given else given))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)
