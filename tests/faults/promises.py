"""What must hold, whatever happens, checked from the database and the store alone.

The numbers are those of the ten promises in docs/reliability.md. Nothing here asks the code under
test; the journal (`tests/faults/journal.py`) says what happened, the store's bytes what is there.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tests.faults.journal import Event, events

ENDS: Final = ("tagged", "needs_review", "reviewed", "failed")
DECODER_CODES: Final = ("decoder_crash", "decode_timeout")
BY_MACHINE: Final = {
    ("queued", "tagged"),
    ("queued", "needs_review"),
    ("queued", "failed"),
}
BY_RETAG: Final = {
    (before, after) for before in ("tagged", "needs_review") for after in ("tagged", "needs_review")
} | BY_MACHINE
BY_PERSON: Final = {
    ("tagged", "reviewed"),
    ("needs_review", "reviewed"),
    ("tagged", "needs_review"),
    ("reviewed", "tagged"),  # undone
    ("reviewed", "needs_review"),
    ("needs_review", "tagged"),
}


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What whoever delivered and reviewed knows. `suggestion`: what the model must say of it, None
    where nobody knows.
    """

    images: tuple[str, ...]
    suggestion: str | None
    failure: str | None = None


@dataclass(kw_only=True)
class Broken:
    """Promises that were found broken: number -> what was found."""

    found: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, promise: int, what: str) -> None:
        self.found[promise].append(what)

    def __bool__(self) -> bool:
        return bool(self.found)

    def __str__(self) -> str:
        lines = []
        for promise, found in sorted(self.found.items()):
            lines += [f"promise {promise}: {len(found)} times; the first ones:"]
            lines += [f"  {what}" for what in found[:5]]
        return "\n".join(lines)


def check(
    session: Session,
    store: Path,
    expected: Mapping[tuple[int, str], Expected],
    reviewed: Mapping[tuple[str, str], str | None],
    *,
    lines: Mapping[str, int],
    decoder_faults: int = 0,
) -> Broken:
    """Everything, once work has come to rest.

    Args:
        session: one snapshot.
        store: the image store's folder.
        expected: (retailer, sku) -> what was delivered last.
        reviewed: (action, sku) -> category, of every review whose sender heard that it stands.
        lines: upload -> how many lines it has, of every upload whose sender heard that it stands.
        decoder_faults: how many products may have failed because their decoder was made to crash
            or hang: that costs the image in hand, by design.
    """
    broken = check_rows(session)
    _ends(session, expected, decoder_faults, broken)
    _bytes(session, store, broken)
    _reviews(session, reviewed, broken)
    _lines(session, lines, broken)
    return broken


def check_rows(session: Session) -> Broken:
    """What rows and journal say by themselves, of a database in which nothing is in hand."""
    broken = Broken()
    _predictions(session, broken)
    _whole(session, broken)
    for what in ledger(session):
        broken.add(7, what)
    _counts(session, broken)
    History(session).check(broken)
    return broken


def _counts(session: Session, broken: Broken) -> None:
    said = "SELECT retailer_id, status, products AS difference FROM product_counts"
    there = "SELECT retailer_id, status, -count(*) FROM products GROUP BY retailer_id, status"
    for row in _rows(
        session,
        f"SELECT retailer_id, status, sum(difference) AS more FROM ({said} UNION ALL {there}) AS a "
        "GROUP BY retailer_id, status HAVING sum(difference) <> 0",
    ):
        broken.add(7, f"{row['more']} {row['status']} too many are counted")


def _rows(session: Session, query: str, **values: Any) -> Iterator[Mapping[str, Any]]:
    yield from session.execute(sa.text(query), values).mappings()


def _ends(
    session: Session,
    expected: Mapping[tuple[int, str], Expected],
    decoder_faults: int,
    broken: Broken,
) -> None:
    found = {
        (row["retailer_id"], row["sku"]): row
        for row in _rows(session, "SELECT * FROM products ORDER BY id")
    }
    sets = _image_sets(session)
    by_decoder: list[str] = []
    for key, wanted in expected.items():
        row = found.get(key)
        if row is None:
            broken.add(1, f"{key} was delivered and is not there")
            continue
        if row["status"] not in ENDS:
            broken.add(1, f"{key} is still {row['status']}")
        if sets.get(row["image_set"]) != wanted.images:
            broken.add(3, f"{key} has not the photos that were delivered last")
        if wanted.failure is None:
            if row["status"] == "failed" and row["failure_code"] in DECODER_CODES:
                by_decoder.append(f"{key} failed: {row['failure_code']}")
            elif row["status"] == "failed":
                number = 6 if row["failure_code"] == "worker_crash" else 1
                broken.add(number, f"{key} failed: {row['failure_code']}: {row['failure_detail']}")
            elif row["prediction_id"] is None and row["status"] == "reviewed":
                pass  # a person was faster than the machine, which writes nothing then
            elif wanted.suggestion not in (None, row["suggestion"]):
                broken.add(3, f"{key} is taken for {row['suggestion']}, not {wanted.suggestion}")
        elif (row["status"], row["failure_code"]) != ("failed", wanted.failure):
            broken.add(6, f"{key} should have failed as {wanted.failure}, is {row['status']}")
    if len(by_decoder) > decoder_faults:
        broken.add(6, f"more than {decoder_faults}: {by_decoder}")
    for key in found.keys() - expected.keys():
        broken.add(7, f"{key} is there and was never delivered")


def _image_sets(session: Session) -> dict[str, tuple[str, ...]]:
    sets: dict[str, list[str]] = defaultdict(list)
    query = "SELECT image_set, sha256 FROM image_set_images ORDER BY image_set, position"
    for row in _rows(session, query):
        sets[row["image_set"]].append(row["sha256"])
    return {name: tuple(images) for name, images in sets.items()}


def _predictions(session: Session, broken: Broken) -> None:
    doubled = (
        "SELECT product_id, count(*) AS n FROM predictions GROUP BY product_id, image_set, "
        "model_id, preprocessing_version HAVING count(*) > 1"
    )
    for row in _rows(session, doubled):
        broken.add(2, f"product {row['product_id']} has {row['n']} equal predictions")
    doubled = (
        "SELECT sha256, count(*) AS n FROM image_predictions GROUP BY sha256, model_id, "
        "preprocessing_version HAVING count(*) > 1"
    )
    for row in _rows(session, doubled):
        broken.add(2, f"image {row['sha256']} has {row['n']} equal predictions")
    without = (
        "SELECT p.sku, p.status FROM products p LEFT JOIN predictions q ON q.id = p.prediction_id "
        "WHERE (p.status IN ('tagged', 'needs_review') AND q.id IS NULL "
        # Where a person decided on older photos, and the new ones failed.
        "AND (p.status = 'tagged' OR p.failure_code IS NULL)) "
        "OR q.product_id <> p.id OR q.image_set <> p.image_set"
    )
    for row in _rows(session, without):
        broken.add(2, f"{row['sku']} is {row['status']} without a prediction of these photos")


def _bytes(session: Session, store: Path, broken: Broken) -> None:
    for name, images in _image_sets(session).items():
        if hashlib.sha256("\n".join(images).encode()).hexdigest() != name:
            broken.add(3, f"image set {name} does not name its images")
    for row in _rows(session, "SELECT sha256, size_bytes FROM images"):
        what = wrong_bytes(store, row["sha256"], row["size_bytes"])
        if what is not None:
            broken.add(9, what)
    missing = (
        "SELECT s.sha256 FROM image_set_images s LEFT JOIN images i ON i.sha256 = s.sha256 "
        "WHERE i.sha256 IS NULL"
    )
    for row in _rows(session, missing):
        broken.add(9, f"image {row['sha256']} of a product has no row")


def wrong_bytes(store: Path, sha256: str, size: int) -> str | None:
    """What is wrong with a stored image, if anything is."""
    path = store / sha256[:2] / sha256[2:4] / sha256
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"image {sha256} cannot be read: {error}"
    if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
        return f"image {sha256} is not what its name says"
    return None


def _whole(session: Session, broken: Broken) -> None:
    halves = {
        "a tag without category": "status = 'tagged' AND (category IS NULL OR confidence IS NULL "
        "OR suggestion IS NULL OR decided_by <> 'model')",
        "a product that waits without a reason": "status = 'needs_review' "
        "AND review_reason IS NULL",
        "a failure without a code": "status = 'failed' AND (failure_code IS NULL "
        "OR failure_detail IS NULL)",
        "a guess that is published": "decided_by IS NULL AND category IS NOT NULL",
        "a decision of nobody": "status = 'reviewed' AND decided_by <> 'person'",
    }
    for name, condition in halves.items():
        for row in _rows(session, f"SELECT sku FROM products WHERE {condition}"):
            broken.add(9, f"{name}: {row['sku']}")
    uncoded = (
        "SELECT upload_id, seq, outcome FROM upload_items "
        "WHERE (outcome IN ('rejected', 'skipped')) <> (code IS NOT NULL)"
    )
    for row in _rows(session, uncoded):
        line = f"line {row['seq']} of {row['upload_id']}, {row['outcome']}"
        broken.add(9, f"{line}, has no code or one that it should not have")
    torn = (
        "SELECT b.id FROM batches b LEFT JOIN batch_items i ON i.batch_id = b.id "
        "GROUP BY b.id, b.products HAVING count(i.product_id) <> b.products"
    )
    for row in _rows(session, torn):
        broken.add(9, f"batch {row['id']} has not the products that it counts")
    held = "SELECT id, state FROM batches WHERE lease_token IS NOT NULL OR state = 'leased'"
    for row in _rows(session, held):
        broken.add(10, f"batch {row['id']} is still {row['state']}, or keeps a token")


def _reviews(
    session: Session, reviewed: Mapping[tuple[str, str], str | None], broken: Broken
) -> None:
    query = (
        "SELECT r.action, p.sku, r.category FROM reviews r JOIN products p ON p.id = r.product_id "
        "WHERE r.action IS NOT NULL AND r.undoes_id IS NULL"
    )
    found: dict[tuple[str, str], list[str | None]] = defaultdict(list)
    for row in _rows(session, query):
        found[row["action"], row["sku"]].append(row["category"])
    for key, category in reviewed.items():
        if found[key] != [category]:
            broken.add(5, f"{key} was answered with {category}; recorded is {found[key]}")


def _lines(session: Session, lines: Mapping[str, int], broken: Broken) -> None:
    query = "SELECT upload_id, count(*) AS n FROM upload_items GROUP BY upload_id"
    found = {row["upload_id"]: row["n"] for row in _rows(session, query)}
    for upload, sent in lines.items():
        if found.get(upload, 0) != sent:
            broken.add(7, f"of the {sent} lines of {upload}, {found.get(upload, 0)} are told of")


def ledger(session: Session) -> Iterator[str]:
    """What does not add up between ledgers and products; must be empty at every commit."""
    for row in _rows(
        session,
        "SELECT i.upload_id, i.seq, i.sku FROM upload_items i LEFT JOIN products p "
        "ON p.id = i.product_id WHERE i.outcome IN "
        "('created', 'changed', 'updated', 'unchanged', 'merged') "
        "AND (p.id IS NULL OR p.sku <> i.sku)",
    ):
        yield f"line {row['seq']} of {row['upload_id']} says that {row['sku']} is there"
    for row in _rows(
        session,
        "SELECT u.id, count(*) AS n FROM uploads u JOIN upload_items i ON i.upload_id = u.id "
        "WHERE u.state = 'filed' AND i.outcome = 'pending' GROUP BY u.id",
    ):
        yield f"upload {row['id']} is filed, and {row['n']} of its lines are pending"
    # Joined, not asked for one by one: no index leads from a product to its lines.
    created = (
        "SELECT product_id, count(*) AS n FROM upload_items WHERE outcome = 'created' "
        "GROUP BY product_id"
    )
    for row in _rows(
        session,
        f"SELECT p.sku, coalesce(c.n, 0) AS n FROM products p LEFT JOIN ({created}) AS c "
        "ON c.product_id = p.id WHERE coalesce(c.n, 0) <> 1",
    ):
        yield f"product {row['sku']} was created {row['n']} times, says the ledger"


class History:
    """The journal, read from its beginning: every change must have had the right to happen."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._items: dict[int, set[tuple[int, str]]] = defaultdict(set)
        for row in _rows(session, "SELECT batch_id, product_id, image_set FROM batch_items"):
            self._items[row["batch_id"]].add((row["product_id"], row["image_set"]))
        self._reviews: dict[int, int] = defaultdict(int)
        self._ended: dict[str | None, set[int]] = defaultdict(set)
        self._retags: set[int] = set()
        self._seen: dict[int, str] = {}
        if sa.inspect(session.connection()).has_table("retags"):
            query = "SELECT id FROM batches WHERE retag_id IS NOT NULL"
            self._retags = {row["id"] for row in _rows(session, query)}

    def check(self, broken: Broken) -> None:
        for event in events(self._session):
            if event.what == "batches":
                self._batch(event)
            elif event.before:
                self._product(event, broken)
            elif (event.after["status"], event.after["category"]) != ("queued", None):
                broken.add(8, f"product {event.ref} began as {event.after}")

    def _batch(self, event: Event) -> None:
        if event.transaction is None:
            # Transactions follow each other here, so only the last change of a batch counts.
            self._ended[None].clear()
        if (event.before.get("state"), event.after["state"]) == ("leased", "done"):
            self._ended[event.transaction].add(event.ref)

    def _product(self, event: Event, broken: Broken) -> None:
        said = f"product {event.ref}: {event.before} -> {event.after}"
        arrow = (str(event.before["status"]), str(event.after["status"]))
        by_person = event.before["decided_by"] == "person"
        decided = event.changed("status", "category", "decided_by")
        spoken = event.reviews > self._reviews[event.ref]
        self._reviews[event.ref] = event.reviews
        if event.changed("tagged_at"):
            self._machine(event, arrow, said, broken)
            if by_person and decided:
                broken.add(5, said)
        elif spoken and not event.changed("image_set"):
            if decided and arrow[0] != arrow[1] and arrow not in BY_PERSON:
                broken.add(8, said)
        elif event.changed("image_set"):
            to = "needs_review" if by_person else "queued"
            kept = not by_person or not event.changed("category", "decided_by")
            if event.after["status"] != to or not kept:
                broken.add(8, said)
        elif arrow == ("failed", "queued"):
            pass  # its lost bytes were delivered again, or somebody asked for it
        elif decided:
            broken.add(5 if by_person else 8, said)

    def _machine(self, event: Event, arrow: tuple[str, str], said: str, broken: Broken) -> None:
        convicted = event.after["failure_code"] == "worker_crash"
        written_by = [
            batch
            for batch in self._ended[event.transaction]
            if (event.ref, event.after["image_set"]) in self._items[batch]
        ]
        if not written_by and not convicted:
            broken.add(4, f"written outside of a lease: {said}")
        if event.before["decided_by"] == "person":
            return
        retagged = any(batch in self._retags for batch in written_by)
        if arrow not in (BY_RETAG if retagged else BY_MACHINE):
            broken.add(8, said)
