"""Many people review at once while a catalogue is delivered, and what must hold afterwards.

Each person is a thread that logs in for real and makes the page's requests, with a person's pauses:
most take one product at a time, some a grid; they take verdicts back, send one again because its
answer was lost on the way, and answer late for what is reserved for them no more. `judge` then
compares what each of them was answered with what stands in the database.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
import traceback
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from tagging.database.session import Database
from tagging.database.tables import (
    BigId,
    Product,
    Reservation,
    Review,
    Upload,
    UploadItem,
    UploadState,
    UtcDateTime,
)
from tagging.desk import RESERVED_S
from tagging.domain import ItemOutcome, ReviewReason, Status, Verdict
from tests.reviewers import Card, Reviewer, Timing, add_people, answer, nothing_timed

GRID: Final = 48
ORDERS: Final = ("cheapest", "uncertain", "valuable", "oldest")

HANDED_OVER: Final = sa.Table(
    "handed_over",
    sa.MetaData(),
    sa.Column("product_id", BigId),
    sa.Column("giver", sa.Text),
    sa.Column("given_until", UtcDateTime),
    sa.Column("taker", sa.Text),
    sa.Column("taken_until", UtcDateTime),
)
"""Written by a trigger: every time that a reservation goes from one person to another."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """A product on somebody's screen, for certain, from `start` to `end` (`time.monotonic`)."""

    reviewer: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Acknowledged:
    """A verdict, or the undoing of one, that the server said it has.

    `action`: None where it said that it had it already, perhaps from another act.
    """

    review: int
    product: int
    reviewer: str
    verdict: str | None
    action: str | None


@dataclass(kw_only=True)
class Account:
    """What the people were answered. Thread-safe."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    taken_back: set[int] = field(default_factory=set)
    held: defaultdict[int, list[Held]] = field(default_factory=lambda: defaultdict(list))
    refused: Counter[str] = field(default_factory=Counter)
    did: Counter[str] = field(default_factory=Counter)
    delivered: int = 0
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def acknowledge(self, one: Acknowledged) -> None:
        with self._lock:
            self.acknowledged.append(one)

    def take_back(self, review: int) -> None:
        with self._lock:
            self.taken_back.add(review)

    def hold(self, product: int, one: Held) -> None:
        with self._lock:
            self.held[product].append(one)

    def refuse(self, why: str) -> None:
        kinds = (
            "decided on",
            "photos of",
            "classified again",
            "being classified",
            "cannot be undone",
        )
        with self._lock:
            self.refused[next((kind for kind in kinds if kind in why), why)] += 1

    def do(self, what: str, count: int = 1) -> None:
        with self._lock:
            self.did[what] += count

    def add_broken(self, what: str) -> None:
        with self._lock:
            self.broken.append(what)


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How people work. Shares are of the acts; pauses in seconds, on average."""

    pause_s: float = 1.0
    grid_pause_s: float = 6.0
    corrected: float = 0.12
    unsure: float = 0.05
    not_a_product: float = 0.03
    undone: float = 0.05
    answer_lost: float = 0.05
    late: float = 0.03


def review_at_once(
    url: str,
    database: Database,
    names: Sequence[str],
    *,
    seconds: float,
    deliver: Callable[[int], int],
    habits: Habits | None = None,
    timed: Timing = nothing_timed,
    seed: int = 1,
) -> Account:
    """Let `names` review for `seconds` while deliveries come in; what they were answered.

    It begins when everybody has logged in. Every fourth of them takes grids, every fifth the audit
    sample.

    Args:
        deliver: delivers portion 0, 1, 2 ... of a catalogue and returns its number of lines; is
            called again and again until the time is over.
    """
    note_handing_over(database)
    add_people(database, names)
    account = Account()
    shift = _Shift(len(names) + 1, seconds)
    people = [
        _Person(
            number,
            name,
            url=url,
            database=database,
            account=account,
            shift=shift,
            habits=habits or Habits(),
            timed=timed,
            seed=seed,
        )
        for number, name in enumerate(names)
    ]

    def upload() -> None:
        portion = 0
        shift.begin()
        while shift.left_s() > 0:
            account.delivered += deliver(portion)
            portion += 1

    with ThreadPoolExecutor(len(people) + 1) as pool:
        for future in [pool.submit(one.work) for one in people] + [pool.submit(upload)]:
            if (error := future.exception()) is not None:
                text = "".join(traceback.format_exception(error)[-3:])
                account.add_broken(f"somebody had to stop: {text}")
    account.seconds = time.monotonic() - shift.began
    return account


def note_handing_over(database: Database) -> None:
    """From now on, every reservation that goes from one person to another stands in a table."""
    values = "(OLD.product_id, OLD.reviewer, OLD.until, NEW.reviewer, NEW.until)"
    with database.connect_to_write() as connection:
        HANDED_OVER.create(connection)
        if database.is_sqlite:
            connection.exec_driver_sql(
                "CREATE TRIGGER handing_over AFTER UPDATE ON reservations "
                "WHEN OLD.reviewer <> NEW.reviewer "
                f"BEGIN INSERT INTO handed_over VALUES {values}; END"
            )
        else:
            connection.exec_driver_sql(
                "CREATE FUNCTION note_handing_over() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN INSERT INTO handed_over VALUES {values}; RETURN NULL; END $$"
            )
            connection.exec_driver_sql(
                "CREATE TRIGGER handing_over AFTER UPDATE ON reservations FOR EACH ROW "
                "WHEN (OLD.reviewer <> NEW.reviewer) EXECUTE FUNCTION note_handing_over()"
            )


class _Shift:
    """Begins for all at the same moment, and ends for all."""

    def __init__(self, many: int, seconds: float) -> None:
        self._seconds = seconds
        self._together = threading.Barrier(many, action=self._start)
        self.began = time.monotonic()

    def _start(self) -> None:
        self.began = time.monotonic()

    def begin(self) -> None:
        """Wait for the others."""
        self._together.wait()

    def call_off(self) -> None:
        """Somebody cannot come."""
        self._together.abort()

    def left_s(self) -> float:
        """How long it still lasts; negative once it is over."""
        return self.began + self._seconds - time.monotonic()


class _Person:
    """One person at work."""

    def __init__(
        self,
        number: int,
        name: str,
        *,
        url: str,
        database: Database,
        account: Account,
        shift: _Shift,
        habits: Habits,
        timed: Timing,
        seed: int,
    ) -> None:
        self._name = name
        self._url = url
        self._database = database
        self._account = account
        self._shift = shift
        self._habits = habits
        self._timed = timed
        self._random = random.Random(f"{seed} {number}")
        self._takes_grids = number % 4 == 3
        audit = number % 5 == 4
        self._wish = {"audit": "true"} if audit else {"order": ORDERS[number % len(ORDERS)]}
        self._given: dict[int, float] = {}  # product -> since when it is certainly before them
        self._ends: dict[int, float] = {}  # product -> until when it is reserved at the least
        self._seen: list[int] = []

    def work(self) -> None:
        try:
            reviewer = Reviewer(self._url, self._name, timed=self._timed)
        except Exception:
            self._shift.call_off()
            raise
        with reviewer:
            self._reviewer = reviewer
            self._shift.begin()
            while self._shift.left_s() > 0:
                found = self._take()
                if not found:
                    self._pause(0.5)
                elif self._takes_grids:
                    self._work_grid(found)
                else:
                    self._work_one_by_one(found)
            self._put_away(list(self._given))

    def _take(self) -> list[Card]:
        asked = time.monotonic()
        if self._takes_grids:
            found = self._reviewer.grid(count=GRID, have=self._seen[-GRID:], **self._wish)
        else:
            found = self._reviewer.cards(count=6, have=self._seen[-40:], **self._wish)
        got = time.monotonic()
        for card in found:
            # What is shown to one person again is one stretch; it began no later than the first.
            self._given.setdefault(card["product"], got)
            self._ends[card["product"]] = asked + RESERVED_S
        self._account.do("products shown", len(found))
        return found

    def _work_one_by_one(self, cards: list[Card]) -> None:
        for number, card in enumerate(cards):
            if self._shift.left_s() <= 0:
                return
            self._reviewer.photo(card, "large", kind="photo, large")
            if self._random.random() < self._habits.late:
                self._let_run_out(card)
            self._pause(self._habits.pause_s)
            self._say([card])
            if number % 3 == 1:
                self._reviewer.counts()
        left = [card["product"] for card in cards if card["product"] in self._given]
        self._put_away(left)

    def _work_grid(self, cards: list[Card]) -> None:
        for card in cards:
            self._reviewer.photo(card, "thumb", kind="photo, thumb")
        self._pause(self._habits.grid_pause_s)
        asked = time.monotonic()
        kept = self._reviewer.keep([card["product"] for card in cards])
        for product in kept & self._given.keys():
            self._ends[product] = asked + RESERVED_S
        self._say(cards)
        self._reviewer.counts()

    def _say(self, cards: list[Card]) -> None:
        said = [self._verdict(card) for card in cards]
        action = str(uuid.uuid4())
        self._end([card["product"] for card in cards])
        kind = "a verdict" if len(cards) == 1 else "a grid's verdicts"
        if self._random.random() < self._habits.answer_lost:
            self._reviewer.say_and_hear_nothing(said, action)
            self._account.do("answers lost")
        outcomes = self._reviewer.say(said, action, kind=kind)
        self._seen += [card["product"] for card in cards]
        for card, given, outcome in zip(cards, said, outcomes, strict=True):
            if "error" in outcome:
                self._account.refuse(outcome["error"])
                continue
            self._account.do("verdicts")
            self._account.acknowledge(
                Acknowledged(
                    review=outcome["review"],
                    product=card["product"],
                    reviewer=self._name,
                    verdict=given["verdict"],
                    action=None if outcome["repeated"] else action,
                )
            )
        if self._random.random() < self._habits.undone:
            self._pause(self._habits.pause_s)
            self._undo(
                action,
                {
                    out["review"]: c
                    for c, out in zip(cards, outcomes, strict=True)
                    if "review" in out
                },
            )

    def _undo(self, action: str, said: dict[int, Card]) -> None:
        if not said:
            return
        undoing = str(uuid.uuid4())
        outcomes = self._reviewer.undo(action, undoing)
        # The server names them by their keys, oldest first or not: each answer has its review's.
        with self._database.read() as session:
            rows = session.execute(
                sa.select(Review.id, Review.undoes_id, Review.product_id).where(
                    Review.action == undoing
                )
            ).all()
        by_key = {row.id: row for row in rows}
        for outcome in outcomes:
            if "error" in outcome:
                self._account.refuse(outcome["error"])
                continue
            row = by_key.get(outcome["review"])
            if row is None or row.undoes_id not in said:
                self._account.add_broken(f"an undo was acknowledged that is no row: {outcome}")
                continue
            self._account.do("undone")
            self._account.take_back(row.undoes_id)
            self._account.acknowledge(
                Acknowledged(
                    review=row.id,
                    product=row.product_id,
                    reviewer=self._name,
                    verdict=None,
                    action=undoing,
                )
            )

    def _verdict(self, card: Card) -> dict[str, Any]:
        others = [one["category"] for one in card["top_k"] if one["category"] != card["suggestion"]]
        drawn = self._random.random()
        for verdict, share in (
            ("corrected", self._habits.corrected if others else 0.0),
            ("unsure", self._habits.unsure),
            ("not_a_product", self._habits.not_a_product),
        ):
            if drawn < share:
                return answer(card, verdict, others[0] if verdict == "corrected" else None)
            drawn -= share
        return answer(card)

    def _let_run_out(self, card: Card) -> None:
        """The two minutes pass at once, for a run of two minutes has no time for them."""
        self._end([card["product"]])
        with self._database.write("test") as session:
            session.execute(
                sa.update(Reservation)
                .where(
                    Reservation.product_id == card["product"], Reservation.reviewer == self._name
                )
                .values(until=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1))
            )
            session.commit()
        self._account.do("reservations run out")
        self._pause(2 * self._habits.pause_s)

    def _put_away(self, products: Collection[int]) -> None:
        if products:
            self._end(products)
            self._reviewer.leave(list(products)[:96])

    def _end(self, products: Collection[int]) -> None:
        """From now on they may be another's."""
        now = time.monotonic()
        for product in products:
            if (start := self._given.pop(product, None)) is not None:
                end = min(now, self._ends.pop(product))
                self._account.hold(product, Held(reviewer=self._name, start=start, end=end))

    def _pause(self, mean_s: float) -> None:
        left = max(0.0, self._shift.left_s())
        time.sleep(min(left, mean_s * self._random.lognormvariate(-0.125, 0.5)))


def judge(database: Database, account: Account) -> list[str]:
    """What is broken, a sentence each; nothing if all holds.

    To be called when nothing is in work any more.
    """
    return [
        *account.broken,
        *_lost_or_doubled(database, account),
        *_not_standing(database, account),
        *_shown_to_two(database, account),
        *_ledgers(database, account),
    ]


def _lost_or_doubled(database: Database, account: Account) -> list[str]:
    """Every acknowledged verdict is a row, and every row was acknowledged."""
    names = {one.reviewer for one in account.acknowledged}
    with database.read() as session:
        rows = {row.id: row for row in session.scalars(sa.select(Review)) if row.reviewer in names}
    said = {one.review: one for one in account.acknowledged}
    found = [
        f"verdict {key} was acknowledged and is not there" for key in said.keys() - rows.keys()
    ]
    found += [f"row {key} was acknowledged to nobody" for key in rows.keys() - said.keys()]
    for key in said.keys() & rows.keys():
        one, row = said[key], rows[key]
        same = (row.product_id, row.reviewer) == (one.product, one.reviewer)
        same &= one.action is None or one.action == row.action
        if not same or (one.verdict is not None and row.verdict != one.verdict):
            found.append(f"verdict {key} is not what was acknowledged: {one}")
    return found


def _not_standing(database: Database, account: Account) -> list[str]:
    """What was decided and not taken back stands, once for each look of a product."""
    with database.read() as session:
        rows = session.scalars(sa.select(Review).order_by(Review.id)).all()
        products = {row.id: row for row in session.scalars(sa.select(Product))}
    undone = {row.undoes_id for row in rows if row.undoes_id is not None}
    standing: dict[int, Review] = {}
    times: Counter[tuple[int, str]] = Counter()
    for row in rows:
        if row.undoes_id is None and row.id not in undone and row.verdict is not Verdict.UNSURE:
            standing[row.product_id] = row
            times[row.product_id, row.image_set] += 1
    found = [
        f"product {product} was decided on {count} times"
        for (product, _), count in times.items()
        if count > 1
    ]
    found += [
        f"verdict {key} was said to be undone and is not" for key in account.taken_back - undone
    ]
    for key, row in standing.items():
        product = products[key]
        stands = product.status is Status.REVIEWED or (
            product.review_reason is ReviewReason.PHOTO_CHANGED
        )
        if not stands or product.category != row.category or product.decided_by != "person":
            found.append(
                f"verdict {row.id} ({row.verdict}, {row.category}) does not stand: {product.sku} "
                f"is {product.status}, {product.category} by {product.decided_by}"
            )
    return found


def _shown_to_two(database: Database, account: Account) -> list[str]:
    """Nobody got what was reserved for another, by the database's times and by the people's."""
    with database.read() as session:
        rows = session.execute(sa.select(HANDED_OVER)).all()
    reserved = dt.timedelta(seconds=RESERVED_S)
    found = [
        f"product {row.product_id} was {row.giver}'s until {row.given_until} and went to "
        f"{row.taker} at {row.taken_until - reserved}"
        for row in rows
        if row.given_until > row.taken_until - reserved
    ]
    for product, stretches in account.held.items():
        ordered = sorted(stretches, key=lambda one: one.start)
        for number, one in enumerate(ordered):
            found += [
                f"product {product} was before {one.reviewer} and {other.reviewer} at once"
                for other in ordered[number + 1 :]
                if other.start < one.end and other.reviewer != one.reviewer
            ]
    return found


def _ledgers(database: Database, account: Account) -> list[str]:
    """Every delivered line has its outcome, and its product came to an end."""
    with database.read() as session:
        states = Counter(session.scalars(sa.select(Upload.state)))
        outcomes = Counter(session.scalars(sa.select(UploadItem.outcome)))
        queued = session.scalar(sa.select(sa.func.count()).where(Product.status == Status.QUEUED))
        homeless = session.scalar(
            sa.select(sa.func.count())
            .select_from(UploadItem)
            .where(UploadItem.outcome != ItemOutcome.REJECTED, UploadItem.product_id.is_(None))
        )
    found = []
    if set(states) - {UploadState.FILED}:
        found.append(f"uploads are not filed: {dict(states)}")
    if outcomes[ItemOutcome.PENDING] or homeless:
        found.append(f"lines without an outcome or a product: {dict(outcomes)}, {homeless}")
    if sum(outcomes.values()) < account.delivered:
        found.append(f"{account.delivered} lines were delivered, {sum(outcomes.values())} stand")
    if queued:
        found.append(f"{queued} products are still queued")
    return found
