"""Second opinions, disagreements and known answers, over real databases."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from tagging import desk
from tagging.agreement import LEAST
from tagging.answers import Answer, Opined, Recorded
from tagging.database import autopilots
from tagging.database import opinions as queries
from tagging.database.desk import Waiting
from tagging.database.tables import (
    AuditKey,
    AutopilotChange,
    KnownAnswer,
    Opinion,
    Product,
    Reservation,
    Review,
    WantedOpinion,
)
from tagging.desk import Wish
from tagging.disagreements import disagreements, settle
from tagging.domain import Autopilot, OpinionKind, Purpose, Status, Verdict
from tagging.errors import AtelierError, NotFoundError, ReviewError
from tagging.known_answers import mark, withdraw
from tagging.opinions import drawn, in_second_sample
from tagging.people import Agreement, report_on_people
from tagging.review import record_reviews
from tagging.undo import take_back
from tests.integration.test_rules import put
from tests.people import (
    SURE,
    add_verdicts,
    at_once,
    audit_all,
    product,
    say,
    state,
    tagged,
    undo,
    weighed,
)
from tests.stand_in import Services

UNSURE = {"p.png": 64, "q.png": 60, "r.png": 56, "s.png": 192}
ALL = "second_opinion_share: 1.0"


def take(services: Services, who: str, count: int = 96, **wish: Any) -> list[Waiting]:
    return desk.take(
        services.database,
        services.retailer_id,
        who,
        Wish(count=count, **wish),
        now=services.clock.now(),
    )


def asked(services: Services, who: str, **wish: Any) -> dict[str, Waiting]:
    """The cards on which an opinion of this person is asked, given back at once."""
    found = take(services, who, **wish)
    desk.leave(services.database, who)
    return {one.sku: one for one in found if one.purpose is Purpose.OPINION}


def answers_to(
    services: Services, cards: Sequence[Waiting], who: str, verdict: Verdict, category: str | None
) -> list[Answer]:
    return [
        Answer(
            retailer_id=services.retailer_id,
            sku=card.sku,
            image_set=card.image_set,
            prediction_id=card.prediction_id,
            verdict=verdict,
            category=category,
            reviewer=who,
            purpose=card.purpose,
        )
        for card in cards
    ]


def reply(
    services: Services,
    card: Waiting,
    who: str,
    verdict: Verdict = Verdict.CONFIRMED,
    category: str | None = None,
    *,
    action: str | None = None,
) -> Recorded | Opined | AtelierError:
    services.clock.seconds += 1
    (done,) = record_reviews(
        services.database,
        answers_to(services, [card], who, verdict, category),
        action=action or str(uuid.uuid4()),
        now=services.clock.now(),
    )
    return done


def opined(done: Recorded | Opined | AtelierError) -> Opined:
    assert isinstance(done, Opined), done
    return done


def rows(services: Services, table: type) -> int:
    with services.database.read() as session:
        return session.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def take_opinion_back(
    services: Services, *opinion_ids: int, by: str, action: str | None = None, admin: bool = False
) -> Recorded | Opined | AtelierError:
    services.clock.seconds += 1
    (done,) = take_back(
        services.database,
        [],
        by=by,
        action=action or str(uuid.uuid4()),
        now=services.clock.now(),
        of_others=admin,
        opinion_ids=opinion_ids,
    )
    return done


def settled(services: Services, sku: str, category: str | None, **more: Any) -> Recorded:
    services.clock.seconds += 1
    given = {"by": "Eve", "action": str(uuid.uuid4()), **more}
    return settle(
        services.database,
        services.retailer_id,
        sku,
        category=category,
        now=services.clock.now(),
        **given,
    )


@pytest.fixture(autouse=True)
def fixed_key(services: Services) -> None:
    """What is drawn is the same in every run."""
    with services.database.write("test") as session:
        session.add(
            AuditKey(
                retailer_id=services.retailer_id, key="5e" * 32, created_at=services.clock.now()
            )
        )
        session.commit()


@pytest.fixture
def decided(services: Services, tmp_path: Path) -> Services:
    """Ann decided that p is Dark, as was suggested; on that another person is asked."""
    put(services, ALL)
    tagged(services, tmp_path / "in", UNSURE)
    say(services, "p", Verdict.CONFIRMED)
    return services


class TestWhoIsAsked:
    def test_nobody_where_no_rule_says_so(self, services: Services, tmp_path: Path) -> None:
        tagged(services, tmp_path / "in", UNSURE)
        say(services, "p", Verdict.CONFIRMED)
        assert asked(services, "Bob") == {}
        assert rows(services, WantedOpinion) == 0

    def test_another_person_who_sees_what_the_first_saw(
        self, services: Services, tmp_path: Path
    ) -> None:
        put(services, ALL)
        tagged(services, tmp_path / "in", UNSURE)
        (first,) = (card for card in take(services, "Ann") if card.sku == "p")
        desk.leave(services.database, "Ann")
        reply(services, first, "Ann", Verdict.CORRECTED, "Middle")
        card = asked(services, "Bob")["p"]
        assert dataclasses.replace(card, purpose=Purpose.DECIDE) == first
        assert asked(services, "Ann") == {}

    def test_in_between_what_they_decide_on(self, decided: Services) -> None:
        found = take(decided, "Bob")
        assert sorted(one.sku for one in found) == list("pqrs")
        assert {one.sku for one in found if one.purpose is Purpose.OPINION} == {"p"}
        # The same cards again bring the same, and who names them gets no more.
        assert take(decided, "Bob") == found
        assert take(decided, "Bob", but=[one.product_id for one in found]) == []

    def test_what_is_on_one_screen_is_on_no_other(self, decided: Services) -> None:
        assert "p" in {one.sku for one in take(decided, "Bob")}
        assert take(decided, "Eve") == []
        decided.clock.seconds += desk.RESERVED_S + 1
        assert "p" in {one.sku for one in take(decided, "Eve")}

    def test_the_grid_asks_one_question(self, decided: Services) -> None:
        assert asked(decided, "Bob", opinions=False) == {}

    def test_only_of_the_category_that_is_wished(self, decided: Services) -> None:
        assert asked(decided, "Bob", suggestion="Light") == {}
        assert set(asked(decided, "Bob", suggestion="Dark")) == {"p"}

    def test_of_the_audit_sample_among_the_audit_sample(
        self, services: Services, tmp_path: Path
    ) -> None:
        put(services, ALL)
        tagged(audit_all(services), tmp_path / "in", SURE | UNSURE)
        say(services, "a", Verdict.CONFIRMED)
        say(services, "p", Verdict.CONFIRMED)
        assert set(asked(services, "Bob")) == {"p"}
        card = asked(services, "Bob", audit=True)["a"]
        assert (card.status, card.category, card.audit) == (Status.TAGGED, "Light", True)

    def test_of_many_cards_so_many_are_opinions(self, services: Services, tmp_path: Path) -> None:
        """Twice the share of the cards, so that what arose meanwhile is caught up with."""
        put(services, ALL)
        tagged(services, tmp_path / "in", {f"p{i:02}.png": 56 + i % 15 for i in range(80)})
        for i in range(40):
            say(services, f"p{i:02}", Verdict.CONFIRMED)
        put(services, "second_opinion_share: 0.1")
        found = take(services, "Bob", count=30)
        asks = [one for one in found if one.purpose is Purpose.OPINION]
        assert len(found) == 30 + len(asks)
        # Drawn with a chance of one in five behind each of 30.
        assert 1 <= len(asks) <= 15
        places = [number for number, one in enumerate(found) if one.purpose is Purpose.OPINION]
        assert places != list(range(30, len(found)))
        # With nothing else to do, what is left is asked.
        desk.leave(services.database, "Bob")
        for i in range(40, 80):
            say(services, f"p{i:02}", Verdict.CONFIRMED, reviewer="Bob")
        assert len(asked(services, "Bob", count=96)) == 40

    def test_the_draw(self) -> None:
        key = bytes(32)

        def sample(share: float, key: bytes = key) -> set[int]:
            return {
                i
                for i in range(5000)
                if in_second_sample(key, product_id=i, image_set="ab", review_id=i, share=share)
            }

        assert len(sample(0.1)) == pytest.approx(500, abs=100)  # 4.7 standard deviations
        assert sample(0.1) < sample(0.2) < sample(1.0)
        assert sample(0.0) == set()
        assert len(sample(1.0)) == 5000
        assert sample(0.1) != sample(0.1, bytes([1] * 32))
        values = [drawn(key, "other use", i) for i in range(1000)]
        assert 0 <= min(values) < max(values) < 1


class TestWhatIsSaid:
    def test_moves_nothing_and_looks_like_a_decision(self, decided: Services) -> None:
        before, reviews = vars(product(decided, "p")).copy(), rows(decided, Review)
        done = reply(decided, asked(decided, "Bob")["p"], "Bob", Verdict.CORRECTED, "Light")
        assert (opined(done).status, opined(done).category) == (Status.REVIEWED, "Light")
        after = vars(product(decided, "p"))
        assert {k: v for k, v in after.items() if k[0] != "_"} == {
            k: v for k, v in before.items() if k[0] != "_"
        }
        assert rows(decided, Review) == reviews
        assert asked(decided, "Eve") == {}
        assert rows(decided, WantedOpinion) == 0

    def test_gives_the_reservation_back(self, decided: Services) -> None:
        (card,) = (one for one in take(decided, "Bob") if one.sku == "p")
        reply(decided, card, "Bob")
        with decided.database.read() as session:
            held = set(session.scalars(sa.select(Reservation.product_id)))
        assert card.product_id not in held

    def test_twice_changes_nothing_and_otherwise_is_refused(self, decided: Services) -> None:
        card, act = asked(decided, "Bob")["p"], str(uuid.uuid4())
        first = opined(reply(decided, card, "Bob", action=act))
        for again in (reply(decided, card, "Bob", action=act), reply(decided, card, "Bob")):
            assert opined(again) == dataclasses.replace(first, repeated=True)
        other = reply(decided, card, "Bob", Verdict.NOT_A_PRODUCT)
        assert "take that back first" in str(other)
        assert rows(decided, Opinion) == 1

    def test_the_same_person_twice_at_once_counts_once(self, decided: Services) -> None:
        card = asked(decided, "Bob")["p"]
        done = at_once([partial(reply, decided, card, "Bob") for _ in range(4)])
        assert sorted(opined(one).repeated for one in done) == [False, True, True, True]
        assert rows(decided, Opinion) == 1

    def test_two_people_at_once_count_both(self, decided: Services) -> None:
        card = asked(decided, "Bob")["p"]
        for one in at_once([partial(reply, decided, card, who) for who in ("Bob", "Eve")]):
            assert not opined(one).repeated
        assert rows(decided, Opinion) == 2

    def test_who_is_unsure_leaves_it_to_the_next(self, decided: Services) -> None:
        done = opined(reply(decided, asked(decided, "Bob")["p"], "Bob", Verdict.UNSURE))
        assert (done.status, done.category) == (Status.NEEDS_REVIEW, None)
        assert asked(decided, "Bob") == {}
        reply(decided, asked(decided, "Eve")["p"], "Eve")
        assert asked(decided, "Ida") == {}

    def test_nobody_is_heard_who_was_not_asked(self, services: Services, tmp_path: Path) -> None:
        tagged(services, tmp_path / "in", UNSURE)
        card = dataclasses.replace(take(services, "Bob")[0], purpose=Purpose.OPINION)
        say(services, card.sku, Verdict.CONFIRMED)
        assert "no further opinion is asked" in str(reply(services, card, "Bob"))
        assert "Ann decided on" in str(
            reply(services, dataclasses.replace(card, purpose=Purpose.DECIDE), "Bob")
        )
        assert rows(services, Opinion) == 0

    def test_where_nothing_is_decided_any_more_it_decides(self, decided: Services) -> None:
        card = asked(decided, "Bob")["p"]
        with decided.database.read() as session:
            review = session.execute(sa.select(Review)).scalar_one()
        undo(decided, review.id)
        assert asked(decided, "Eve") == {}
        done = reply(decided, card, "Bob", Verdict.CORRECTED, "Light")
        assert isinstance(done, Recorded)
        assert product(decided, "p").category == "Light"

    def test_of_photos_that_changed_it_says_nothing(
        self, decided: Services, tmp_path: Path
    ) -> None:
        card = asked(decided, "Bob")["p"]
        tagged(decided, tmp_path / "in", {"p.png": 62})
        assert "photos of 'p' changed" in str(reply(decided, card, "Bob"))
        assert asked(decided, "Bob") == {}

    @pytest.mark.parametrize(
        ("verdict", "category", "told"),
        [
            (Verdict.CORRECTED, "Blue", "no category of this retailer"),
            (Verdict.CORRECTED, "Dark", "say confirmed"),
            (Verdict.UNSURE, "Dark", "goes without a category"),
        ],
    )
    def test_what_makes_no_sense_is_refused_as_ever(
        self, decided: Services, verdict: Verdict, category: str, told: str
    ) -> None:
        card = asked(decided, "Bob")["p"]
        assert told in str(reply(decided, card, "Bob", verdict, category))
        assert rows(decided, Opinion) == 0

    def test_in_one_act_with_decisions(self, decided: Services) -> None:
        cards = take(decided, "Bob")
        act = str(uuid.uuid4())
        sent = answers_to(decided, cards, "Bob", Verdict.CONFIRMED, None)
        for _ in range(2):  # the answer to the first may be lost
            done = record_reviews(decided.database, sent, action=act, now=decided.clock.now())
            kinds = [type(one) for one in done]
            assert kinds == [
                Opined if card.purpose is Purpose.OPINION else Recorded for card in cards
            ]
        assert (rows(decided, Opinion), rows(decided, Review)) == (1, 4)


class TestTakingBack:
    def test_it_is_asked_again(self, decided: Services) -> None:
        card = asked(decided, "Bob")["p"]
        said = opined(reply(decided, card, "Bob", Verdict.CORRECTED, "Light"))
        act = str(uuid.uuid4())
        undone = opined(take_opinion_back(decided, said.opinion_id, by="Bob", action=act))
        assert (undone.status, undone.category) == (card.status, card.category)
        again = opined(take_opinion_back(decided, said.opinion_id, by="Bob", action=act))
        assert (again.opinion_id, again.repeated) == (undone.opinion_id, True)
        assert "taken back already" in str(take_opinion_back(decided, said.opinion_id, by="Bob"))
        assert asked(decided, "Bob")["p"] == card
        assert disagreements(decided.database, decided.retailer_id) == []
        assert not opined(reply(decided, card, "Bob")).repeated
        assert rows(decided, Opinion) == 3

    def test_only_one_s_own_unless_an_administrator_does(self, decided: Services) -> None:
        said = opined(reply(decided, asked(decided, "Bob")["p"], "Bob"))
        assert "Bob decided on" in str(take_opinion_back(decided, said.opinion_id, by="Ida"))
        opined(take_opinion_back(decided, said.opinion_id, by="Eve", admin=True))
        assert isinstance(take_opinion_back(decided, 999, by="Eve"), NotFoundError)

    def test_not_where_somebody_decided_since(self, decided: Services) -> None:
        card = asked(decided, "Bob")["p"]
        said = opined(reply(decided, card, "Bob", Verdict.CORRECTED, "Light"))
        settled(decided, "p", "Light")
        refused = take_opinion_back(decided, said.opinion_id, by="Bob")
        assert "somebody decided on it since" in str(refused)

    def test_not_asked_again_where_another_one_stands(self, decided: Services) -> None:
        card = asked(decided, "Bob")["p"]
        first = opined(reply(decided, card, "Bob"))
        opined(reply(decided, card, "Eve"))
        opined(take_opinion_back(decided, first.opinion_id, by="Bob"))
        assert asked(decided, "Ida") == {}


class TestDisagreements:
    def test_are_listed_until_they_are_settled(self, decided: Services) -> None:
        say(decided, "q", Verdict.CONFIRMED)
        cards = asked(decided, "Bob")
        reply(decided, cards["p"], "Bob", Verdict.NOT_A_PRODUCT)
        reply(decided, cards["q"], "Bob")
        (found,) = disagreements(decided.database, decided.retailer_id)
        assert (found.sku, found.first_reviewer, found.first) == ("p", "Ann", "Dark")
        assert (found.second_reviewer, found.second) == ("Bob", None)
        assert settled(decided, "p", None).status is Status.REVIEWED
        assert disagreements(decided.database, decided.retailer_id) == []
        assert (product(decided, "p").status, product(decided, "p").category) == (
            Status.REVIEWED,
            None,
        )
        with pytest.raises(ReviewError, match="settled already"):
            settled(decided, "p", "Dark")

    @pytest.mark.parametrize(
        ("category", "verdict"),
        [
            ("Dark", Verdict.CONFIRMED),
            ("Light", Verdict.CORRECTED),
            ("Middle", Verdict.CORRECTED),
            (None, Verdict.NOT_A_PRODUCT),
        ],
    )
    def test_settling_takes_the_first_back_and_says_it_anew(
        self, decided: Services, category: str | None, verdict: Verdict
    ) -> None:
        reply(decided, asked(decided, "Bob")["p"], "Bob", Verdict.CORRECTED, "Light")
        act = str(uuid.uuid4())
        done = settled(decided, "p", category, action=act)
        again = settled(decided, "p", category, action=act)
        assert (again.review_id, again.repeated) == (done.review_id, True)
        with decided.database.read() as session:
            first, taken_back, last = session.scalars(sa.select(Review).order_by(Review.id))
        assert (taken_back.undoes_id, taken_back.reviewer) == (first.id, "Eve")
        assert (last.verdict, last.category, last.reviewer) == (verdict, category, "Eve")
        assert last.before is not None
        assert last.before["status"] == "needs_review"
        # What an administrator settled is asked of nobody.
        assert asked(decided, "Ida") == {}
        # And may be taken back as any decision.
        undo(decided, done.review_id, by="Eve")
        assert product(decided, "p").status is Status.NEEDS_REVIEW

    def test_what_cannot_be_settled_changes_nothing(self, decided: Services) -> None:
        reply(decided, asked(decided, "Bob")["p"], "Bob", Verdict.CORRECTED, "Light")
        for sku, category, error in (
            ("q", "Dark", ReviewError),
            ("zz", "Dark", NotFoundError),
            ("p", "Blue", ReviewError),
        ):
            with pytest.raises(error):
                settled(decided, sku, category)
        with pytest.raises(ReviewError, match="names no act"):
            settled(decided, "p", "Dark", action="x")
        assert (rows(decided, Review), product(decided, "p").status) == (1, Status.REVIEWED)

    def test_a_changed_photo_leaves_nothing_to_settle(
        self, decided: Services, tmp_path: Path
    ) -> None:
        reply(decided, asked(decided, "Bob")["p"], "Bob", Verdict.CORRECTED, "Light")
        tagged(decided, tmp_path / "in", {"p.png": 62})
        assert disagreements(decided.database, decided.retailer_id) == []

    def test_the_evidence_of_the_audit_is_what_was_settled(
        self, services: Services, tmp_path: Path
    ) -> None:
        put(services, ALL)
        tagged(audit_all(services), tmp_path / "in", SURE)
        add_verdicts(services, "d", right=300, wrong=0)
        say(services, "a", Verdict.CORRECTED, "Dark")
        assert (weighed(services).verdicts, weighed(services).errors) == (301, 1)
        reply(services, asked(services, "Bob", audit=True)["a"], "Bob")
        done = settled(services, "a", "Light")
        assert (weighed(services).verdicts, weighed(services).errors) == (301, 0)
        assert product(services, "a").decided_by == "person"
        with services.database.read() as session:
            assert autopilots.audited(session, done.review_id) is not None

    def test_a_certificate_does_not_lapse_between_the_two_verdicts(
        self, services: Services, tmp_path: Path
    ) -> None:
        put(services, ALL)
        tagged(audit_all(services), tmp_path / "in", SURE)
        add_verdicts(services, "d", right=356, wrong=0)
        say(services, "a", Verdict.CONFIRMED)
        assert state(services) is Autopilot.CERTIFIED
        changes = rows(services, AutopilotChange)
        reply(services, asked(services, "Bob", audit=True)["a"], "Bob", Verdict.CORRECTED, "Dark")
        settled(services, "a", "Light")
        assert state(services) is Autopilot.CERTIFIED
        assert rows(services, AutopilotChange) == changes
        assert weighed(services).verdicts == 357


class TestKnownAnswers:
    @pytest.fixture
    def marked(self, services: Services, tmp_path: Path) -> Services:
        """Ann decided on p, and Eve knows that she is right."""
        put(services, "known_answer_share: 1.0")
        tagged(services, tmp_path / "in", UNSURE)
        say(services, "p", Verdict.CONFIRMED)
        assert mark(
            services.database, services.retailer_id, "p", by="Eve", now=services.clock.now()
        )
        return services

    def test_come_among_the_cards_of_others_once(self, marked: Services) -> None:
        card = asked(marked, "Bob")["p"]
        assert (card.status, card.category, card.purpose) == (
            Status.NEEDS_REVIEW,
            None,
            Purpose.OPINION,
        )
        for who in ("Ann", "Eve"):
            assert asked(marked, who) == {}
        opined(reply(marked, card, "Bob"))
        assert asked(marked, "Bob") == {}
        assert set(asked(marked, "Ida")) == {"p"}
        with marked.database.read() as session:
            assert session.scalars(sa.select(Opinion.kind)).all() == [OpinionKind.KNOWN]

    def test_look_like_second_opinions(self, marked: Services) -> None:
        known = asked(marked, "Bob")["p"]
        put(marked, ALL)
        say(marked, "q", Verdict.CONFIRMED)
        second = asked(marked, "Bob")["q"]
        for name in ("purpose", "status", "category", "reason", "audit", "suggestion"):
            assert getattr(known, name) == getattr(second, name), name

    def test_never_come_alone_nor_where_no_rule_says_so(self, marked: Services) -> None:
        for sku in "qrs":
            say(marked, sku, Verdict.CONFIRMED)
        assert take(marked, "Bob") == []
        put(marked, "second_opinion_share: 0")
        assert asked(marked, "Bob") == {}

    def test_score_people(self, marked: Services) -> None:
        for sku in "qr":
            say(marked, sku, Verdict.CORRECTED, "Middle")
            mark(marked.database, marked.retailer_id, sku, by="Eve", now=marked.clock.now())
        cards = take(marked, "Bob")
        by_sku = {card.sku: card for card in cards if card.purpose is Purpose.OPINION}
        # One known answer at most behind each decision; the others come with the next cards.
        assert len(by_sku) == 1
        for sku in "pqr":
            card = {one.sku: one for one in take(marked, "Bob")}[sku]
            right = sku == "q"
            reply(
                marked,
                card,
                "Bob",
                Verdict.CORRECTED if right else Verdict.NOT_A_PRODUCT,
                "Middle" if right else None,
            )
        score = report_on_people(marked.database, marked.retailer_id).known["Bob"]
        assert (score.n, score.right) == (3, 1)
        assert score.lower == pytest.approx(0.0615, abs=5e-4)
        withdraw(marked.database, marked.retailer_id, "p", by="Eve", now=marked.clock.now())
        score = report_on_people(marked.database, marked.retailer_id).known["Bob"]
        assert (score.n, score.right) == (2, 1)
        # What is known is no sample of what people decide, so it says nothing of agreement.
        assert report_on_people(marked.database, marked.retailer_id).overall.n == 0

    def test_are_marked_listed_and_withdrawn(self, marked: Services) -> None:
        database, retailer_id, now = marked.database, marked.retailer_id, marked.clock.now()

        def lines() -> list[tuple[str, str | None, bool]]:
            with database.read() as session:
                found = queries.known_lines(session, retailer_id)
            return [(one.sku, one.category, one.usable) for one in found]

        assert not mark(database, retailer_id, "p", by="Ida", now=now)
        with pytest.raises(ReviewError, match="no person decided on 'q'"):
            mark(database, retailer_id, "q", by="Eve", now=now)
        with pytest.raises(NotFoundError):
            mark(database, retailer_id, "zz", by="Eve", now=now)
        assert lines() == [("p", "Dark", True)]
        with database.read() as session:
            review_id = session.scalars(sa.select(Review.id)).one()
        undo(marked, review_id)
        assert lines() == [("p", "Dark", False)]
        assert asked(marked, "Bob") == {}
        say(marked, "p", Verdict.CORRECTED, "Middle")
        assert mark(database, retailer_id, "p", by="Eve", now=now)
        assert lines() == [("p", "Middle", True)]
        withdraw(database, retailer_id, "p", by="Eve", now=now)
        assert lines() == []
        with pytest.raises(NotFoundError, match="no known answer"):
            withdraw(database, retailer_id, "p", by="Eve", now=now)
        assert rows(marked, KnownAnswer) == 2


class TestTheReport:
    def test_of_people_who_agree_or_guess(self, services: Services, tmp_path: Path) -> None:
        """Ann and Bob always say the same, Ida guesses; what each said is known to the test."""
        put(services, ALL)
        n = 120
        tagged(services, tmp_path / "in", {f"p{i:03}.png": 45 + i % 30 for i in range(n)})
        dice = np.random.default_rng(3)
        names = ["Dark", "Middle", "Light"]
        truth = dice.integers(3, size=n)
        guesses = dice.integers(3, size=n)
        with services.database.write("test") as session:
            about = session.scalars(sa.select(Product).order_by(Product.id)).all()
            for one, right, guess in zip(about, truth, guesses, strict=True):
                said = {"verdict": Verdict.CORRECTED, "created_at": services.clock.now()}
                review = Review(
                    product_id=one.id,
                    image_set=one.image_set,
                    reviewer="Ann",
                    category=names[right],
                    **said,
                )
                session.add(review)
                session.flush()
                for who, category in (("Bob", names[right]), ("Ida", names[guess])):
                    session.add(
                        Opinion(
                            product_id=one.id,
                            about_review_id=review.id,
                            kind=OpinionKind.SECOND,
                            image_set=one.image_set,
                            reviewer=who,
                            category=category,
                            action=str(uuid.uuid4()),
                            **said,
                        )
                    )
            session.commit()
        report = report_on_people(services.database, services.retailer_id)
        alike = int(np.count_nonzero(truth == guesses))
        assert (report.overall.n, report.overall.agreed) == (n, alike)
        assert report.by_person["Ann"] == report.by_person["Bob"]
        assert (report.by_person["Ann"].n, report.by_person["Ann"].agreed) == (2 * n, n + alike)
        # Ida's pairs are twice the same ones: 4 standard errors of 120 guesses.
        assert report.by_person["Ida"].kappa == pytest.approx(0, abs=4 / np.sqrt(2 * n))
        assert report.by_person["Ann"].kappa == pytest.approx(0.5, abs=0.15)
        assert report.overall.kappa == pytest.approx(1 / 3, abs=0.15)
        assert list(report.by_category) == ["Dark", "Light", "Middle"]
        for found in report.by_category.values():
            assert found.kappa == pytest.approx(1 / 3, abs=0.2)

    def test_too_few_are_not_stated(self, decided: Services) -> None:
        reply(decided, asked(decided, "Bob")["p"], "Bob")
        report = report_on_people(decided.database, decided.retailer_id)
        assert report.overall == Agreement(n=1, agreed=1, kappa=None)
        assert not report.overall.enough
        assert Agreement(n=LEAST, agreed=LEAST, kappa=None).enough
        assert list(report.by_person) == ["Ann", "Bob"]
        assert report.known == {}

    def test_what_became_of_the_first_decision_does_not_matter(self, decided: Services) -> None:
        reply(decided, asked(decided, "Bob")["p"], "Bob", Verdict.CORRECTED, "Light")
        settled(decided, "p", "Light")
        report = report_on_people(decided.database, decided.retailer_id)
        assert (report.overall.n, report.overall.agreed) == (1, 0)
