"""Whatever is done to a product comes at every boundary of whatever else is, the whole of it.

What `test_interleavings.py` leaves out: first batches, and reviews, undos, requests and deliveries
that are in the middle while workers, people and deliveries do all of theirs. Each boundary has a
product of its own.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from tagging.answers import Recorded
from tagging.database import batches
from tagging.database.tables import Prediction, Product, RetagScope, Review
from tagging.domain import FailureCode, ReviewReason, Status, Verdict
from tagging.errors import AtelierError, ReviewError
from tagging.in_hand import InHand
from tagging.retag import Asked
from tagging.review import record_review, record_reviews
from tagging.tag import Tagger
from tagging.undo import take_back
from tests.integration.test_ingest_and_tag import deliver, write_folder
from tests.integration.test_interleavings import in_a_batch
from tests.integration.test_retag import ask, models_of, put_in_charge, told
from tests.meanwhile import (
    FILING,
    RECEIVING,
    RETAGGING,
    REVIEWING,
    TAGGING,
    UNDOING,
    UNLEASED,
    WRITING,
    Meanwhile,
    named,
)
from tests.people import answer, product, tagged
from tests.stand_in import Services

DELIVERING: Final = (*RECEIVING, *FILING)
MIDDLE: Final = 128


@pytest.fixture
def services(light_services: Services) -> Services:
    return light_services


@pytest.fixture
def meanwhile(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meanwhile]:
    found = Meanwhile(services, monkeypatch)
    yield found
    found.check()


@dataclass
class Act:
    """Does something once and keeps what came of it."""

    do: Callable[[], object]
    came: list[Any] = field(default_factory=list)

    def __call__(self) -> None:
        try:
            self.came.append(self.do())
        except AtelierError as error:
            self.came.append(error)

    @property
    def refused(self) -> str | None:
        """Why what a person said was not recorded; None: it was."""
        (came,) = self.came
        if isinstance(came, ReviewError):
            return came.why
        assert isinstance(came, Recorded), came
        return None


def another_worker(services: Services) -> Tagger:
    in_hand = InHand(step_s=30.0, monotonic=services.clock.monotonic)
    return dataclasses.replace(services.tagger, in_hand=in_hand, worker="another")


def first_batch(services: Services, folder: Path, sku: str, shade: int) -> int:
    """Deliver a product; the batch that it is in."""
    deliver(services, write_folder(folder / f"{sku}-first", {f"{sku}.png": shade}))
    return services.bell.messages.pop()


def all_tagged(services: Services, folder: Path, boundaries: tuple[str, ...]) -> dict[str, str]:
    """A product for each boundary, and all are tagged as `Light`."""
    skus = named(boundaries)
    tagged(services, folder / "in", {f"{sku}.png": 255 - i for i, sku in enumerate(skus.values())})
    return skus


def other_photo(services: Services, folder: Path, sku: str, shade: int) -> Act:
    source = write_folder(folder / f"{sku}-other", {f"{sku}.png": shade})
    return Act(lambda: deliver(services, source))


def saying(services: Services, sku: str, how: str = "one", who: str = "Ann") -> Act:
    """A review that somebody gives of what they see now: it is `Dark`."""
    seen = dataclasses.replace(answer(services, sku, Verdict.CORRECTED, "Dark"), reviewer=who)
    if how == "one":
        return Act(lambda: record_review(services.database, seen, now=services.clock.now()))
    act = str(uuid.uuid4())
    return Act(
        lambda: record_reviews(services.database, [seen], action=act, now=services.clock.now())[0]
    )


def undoing(services: Services, said: Act) -> Act:
    act = str(uuid.uuid4())
    review_id = said.came[0].review_id
    return Act(
        lambda: take_back(
            services.database, [review_id], by="Ann", action=act, now=services.clock.now()
        )[0]
    )


def requesting(services: Services, sku: str) -> Act:
    """A retag that somebody asks for, and that is put into batches."""

    def request() -> int:
        made = ask(services, Asked(scope=RetagScope.SKU, skus=(sku,)))
        while services.retagging.step(most_s=1.0):
            pass
        return made

    return Act(request)


def unannounced(services: Services) -> list[int]:
    """Batches that nobody was told of, and that the sweeper will announce."""
    now = services.clock.now()
    with services.database.read() as session:
        return batches.to_announce(
            session, older_than=now - dt.timedelta(days=1), now=now, limit=100
        )


def stands(services: Services, sku: str) -> tuple[Status, str | None, str | None]:
    found = product(services, sku)
    return found.status, found.category, found.decided_by


def predicted(services: Services, sku: str) -> int:
    """How many predictions there are of the photos that a product has now."""
    with services.database.read() as session:
        return session.execute(
            sa.select(sa.func.count(Prediction.id))
            .join(Product, Product.id == Prediction.product_id)
            .where(Product.sku == sku, Prediction.image_set == Product.image_set)
        ).scalar_one()


QUEUED: Final = (Status.QUEUED, None, None)
TAGGED_LIGHT: Final = (Status.TAGGED, "Light", "model")
SAID_DARK: Final = (Status.REVIEWED, "Dark", "person")


# A first batch is in hand


def test_a_photo_that_changes_while_its_first_batch_is_in_hand(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    for number, (boundary, sku) in enumerate(named(TAGGING).items()):
        batch = first_batch(services, tmp_path, sku, 255 - number)
        with meanwhile.at(boundary, other_photo(services, tmp_path, sku, number)):
            services.tagger.tag_batch(batch)
        assert stands(services, sku) == QUEUED, boundary
        assert product(services, sku).prediction_id is None
        services.tag_all()
        assert stands(services, sku) == (Status.TAGGED, "Dark", "model"), boundary
        assert predicted(services, sku) == 1


def test_a_review_of_what_is_being_classified_for_the_first_time(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    for number, (boundary, sku) in enumerate(named(TAGGING).items()):
        batch = first_batch(services, tmp_path, sku, 255 - number)
        said = saying(services, sku)
        with meanwhile.at(boundary, said):
            services.tagger.tag_batch(batch)
        if boundary in WRITING:
            assert said.refused == "classified_again"
        elif boundary != "batch.lease.commit":  # how long it waits for the lease is not known
            assert said.refused == "being_classified"
        else:
            assert said.refused in ("being_classified", "classified_again")
        assert stands(services, sku) == TAGGED_LIGHT, boundary


def test_two_workers_with_one_first_batch(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    for number, (boundary, sku) in enumerate(named(TAGGING).items()):
        batch = first_batch(services, tmp_path, sku, 255 - number)
        calls = services.shelf.calls
        second = Act(partial(another_worker(services).tag_batch, batch))
        with meanwhile.at(boundary, second, waits=False):
            report = services.tagger.tag_batch(batch)
        done = [report is not None, second.came[0] is not None]
        assert done == ([False, True] if boundary in UNLEASED else [True, False]), boundary
        assert services.shelf.calls == calls + 1
        assert stands(services, sku) == TAGGED_LIGHT, boundary
        assert predicted(services, sku) == 1


def test_a_retag_that_is_asked_for_while_a_first_batch_is_in_hand(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    for number, (boundary, sku) in enumerate(named(TAGGING).items()):
        batch = first_batch(services, tmp_path, sku, 255 - number)
        asked = requesting(services, sku)
        with meanwhile.at(boundary, asked, waits=False):
            services.tagger.tag_batch(batch)
        line = told(services, asked.came[0])
        assert (line.looked_at, line.in_work + line.queued) == (1, 1), boundary
        if not boundary.endswith(".commit"):
            assert line.queued == (boundary == "batch.write.committed"), boundary
        services.clock.seconds += 1
        services.tag_all()
        assert told(services, asked.came[0]).complete
        assert stands(services, sku) == TAGGED_LIGHT, boundary
        assert predicted(services, sku) == 1


def test_a_model_put_in_charge_while_a_first_batch_is_in_hand(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    """An older model's answer is better than none; the newer one's is asked for by a retag."""
    for number, (boundary, sku) in enumerate(named(TAGGING).items()):
        older, newer = f"{10 + number}", f"{50 + number}"
        put_in_charge(services, older)
        batch = first_batch(services, tmp_path, sku, 255 - number)
        with meanwhile.at(boundary, Act(partial(put_in_charge, services, newer))):
            services.tagger.tag_batch(batch)
        assert stands(services, sku) == TAGGED_LIGHT, boundary
        by = newer if boundary in UNLEASED else older
        assert models_of(services)[sku] == f"shades:{by}", boundary
        requesting(services, sku)()
        services.tag_all()
        assert stands(services, sku) == TAGGED_LIGHT, boundary
        assert models_of(services)[sku] == f"shades:{newer}"
        assert predicted(services, sku) == len({by, newer})


# A retag's batch is in hand


def test_two_workers_with_one_batch_of_a_retag(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    skus = all_tagged(services, tmp_path, TAGGING)
    put_in_charge(services)
    for boundary, sku in skus.items():
        batch = in_a_batch(services, sku)
        second = Act(partial(another_worker(services).tag_batch, batch))
        with meanwhile.at(boundary, second, waits=False):
            report = services.tagger.tag_batch(batch)
        done = [report is not None, second.came[0] is not None]
        assert done == ([False, True] if boundary in UNLEASED else [True, False]), boundary
        assert stands(services, sku) == TAGGED_LIGHT, boundary
        assert models_of(services)[sku] == "shades:2"
        assert predicted(services, sku) == 2


def test_a_retag_that_is_asked_for_while_another_is_in_hand(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    skus = all_tagged(services, tmp_path, TAGGING)
    put_in_charge(services)
    for boundary, sku in skus.items():
        batch = in_a_batch(services, sku)
        asked = requesting(services, sku)
        with meanwhile.at(boundary, asked, waits=False):
            services.tagger.tag_batch(batch)
        services.tag_all()
        assert told(services, asked.came[0]).complete
        assert stands(services, sku) == TAGGED_LIGHT, boundary
        assert models_of(services)[sku] == "shades:2"
        assert predicted(services, sku) == 2


def test_what_is_undone_while_a_retag_runs(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    skus = all_tagged(services, tmp_path, TAGGING)
    put_in_charge(services)
    for boundary, sku in skus.items():
        batch = in_a_batch(services, sku)
        said = saying(services, sku)
        said()
        undone = undoing(services, said)
        with meanwhile.at(boundary, undone):
            services.tagger.tag_batch(batch)
        assert undone.refused is None
        assert stands(services, sku) == TAGGED_LIGHT, boundary
        # What was reviewed when the machine wrote stayed as it was.
        if boundary != "batch.lease.commit":
            by = "shades:1" if boundary in WRITING else "shades:2"
            assert models_of(services)[sku] == by, boundary


# A delivery is coming in


@pytest.mark.parametrize("kind", ["first", "retag"])
def test_a_batch_that_is_tagged_while_other_photos_come(
    services: Services, tmp_path: Path, meanwhile: Meanwhile, kind: str
) -> None:
    skus = named(DELIVERING) if kind == "first" else all_tagged(services, tmp_path, DELIVERING)
    if kind == "retag":
        put_in_charge(services)
    for number, (boundary, sku) in enumerate(skus.items()):
        batch = (
            first_batch(services, tmp_path, sku, 255 - number)
            if kind == "first"
            else in_a_batch(services, sku)
        )
        tagging = Act(partial(another_worker(services).tag_batch, batch))
        with meanwhile.at(boundary, tagging, waits=boundary == "upload.file.commit"):
            other_photo(services, tmp_path, sku, number)()
        assert stands(services, sku) == QUEUED, boundary
        assert product(services, sku).prediction_id is None
        services.tag_all()
        assert stands(services, sku) == (Status.TAGGED, "Dark", "model"), boundary
        assert predicted(services, sku) == 1


def test_a_review_while_other_photos_come(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    for number, (boundary, sku) in enumerate(all_tagged(services, tmp_path, DELIVERING).items()):
        said = saying(services, sku)
        with meanwhile.at(boundary, said, waits=boundary == "upload.file.commit"):
            other_photo(services, tmp_path, sku, MIDDLE + number)()
        if said.refused is None:
            assert boundary not in FILING
            expected = (Status.NEEDS_REVIEW, "Dark", "person")
            assert stands(services, sku) == expected, boundary
        else:
            # One that waited for an earlier commit may have come after the filing.
            assert boundary in FILING or boundary.endswith(".commit")
            assert said.refused == "being_replaced"
            expected = (Status.TAGGED, "Middle", "model")
            assert stands(services, sku) == QUEUED, boundary
        services.tag_all()
        found = product(services, sku)
        assert (stands(services, sku), found.suggestion) == (expected, "Middle"), boundary
        assert (found.review_reason is ReviewReason.PHOTO_CHANGED) == (said.refused is None)


# Somebody decides


@pytest.mark.parametrize("how", REVIEWING)
def test_other_photos_that_come_while_somebody_decides(
    services: Services, tmp_path: Path, meanwhile: Meanwhile, how: str
) -> None:
    for number, (boundary, sku) in enumerate(
        all_tagged(services, tmp_path, REVIEWING[how]).items()
    ):
        said = saying(services, sku, how)
        photo = other_photo(services, tmp_path, sku, MIDDLE + number)
        with meanwhile.at(boundary, photo, waits=boundary.endswith(".commit")):
            said()
        assert said.refused is None
        for suggestion in (None, "Middle"):
            found = product(services, sku)
            assert stands(services, sku) == (Status.NEEDS_REVIEW, "Dark", "person"), boundary
            assert found.review_reason is ReviewReason.PHOTO_CHANGED
            assert found.suggestion == suggestion
            services.tag_all()


@pytest.mark.parametrize("how", REVIEWING)
def test_a_batch_of_a_retag_that_is_tagged_while_somebody_decides(
    services: Services, tmp_path: Path, meanwhile: Meanwhile, how: str
) -> None:
    skus = all_tagged(services, tmp_path, REVIEWING[how])
    put_in_charge(services)
    for boundary, sku in skus.items():
        batch = in_a_batch(services, sku)
        said = saying(services, sku, how)
        tagging = Act(partial(another_worker(services).tag_batch, batch))
        with meanwhile.at(boundary, tagging, waits=boundary.endswith(".commit")):
            said()
        assert said.refused is None
        assert tagging.came[0] is not None
        assert stands(services, sku) == SAID_DARK, boundary
        assert models_of(services)[sku] == "shades:1"


@pytest.mark.parametrize("how", REVIEWING)
def test_a_whole_retag_while_somebody_decides(
    services: Services, tmp_path: Path, meanwhile: Meanwhile, how: str
) -> None:
    skus = all_tagged(services, tmp_path, REVIEWING[how])
    put_in_charge(services)
    for boundary, sku in skus.items():
        said = saying(services, sku, how)
        asked = requesting(services, sku)
        other = another_worker(services)

        def retag(asked: Act = asked, other: Tagger = other) -> None:
            asked()
            while services.bell.messages:
                other.tag_batch(services.bell.messages.pop())

        with meanwhile.at(boundary, retag, waits=boundary.endswith(".commit")):
            said()
        assert said.refused is None
        line = told(services, asked.came[0])
        assert (line.looked_at, line.reviewed + line.queued, line.complete) == (1, 1, True)
        if boundary.endswith(".committed"):
            assert line.reviewed == 1
        assert stands(services, sku) == SAID_DARK, boundary
        assert models_of(services)[sku] == "shades:1"


@pytest.mark.parametrize("how", REVIEWING)
def test_another_person_while_somebody_decides(
    services: Services, tmp_path: Path, meanwhile: Meanwhile, how: str
) -> None:
    for boundary, sku in all_tagged(services, tmp_path, REVIEWING[how]).items():
        first, second = saying(services, sku, how), saying(services, sku, how, who="Bob")
        with meanwhile.at(boundary, second, waits=boundary.endswith(".commit")):
            first()
        assert (first.refused, second.refused) == (None, "decided")
        assert stands(services, sku) == SAID_DARK, boundary
        with services.database.read() as session:
            said = session.scalars(
                sa.select(Review.reviewer)
                .join(Product, Product.id == Review.product_id)
                .where(Product.sku == sku)
            ).all()
        assert said == ["Ann"]


@pytest.mark.parametrize("meets", ["retag", "photos"])
def test_what_comes_while_somebody_takes_back(
    services: Services, tmp_path: Path, meanwhile: Meanwhile, meets: str
) -> None:
    skus = all_tagged(services, tmp_path, UNDOING)
    put_in_charge(services)
    for number, (boundary, sku) in enumerate(skus.items()):
        batch = in_a_batch(services, sku)
        said = saying(services, sku)
        said()
        undone = undoing(services, said)
        second = (
            Act(partial(another_worker(services).tag_batch, batch))
            if meets == "retag"
            else other_photo(services, tmp_path, sku, MIDDLE + number)
        )
        with meanwhile.at(boundary, second, waits=boundary.endswith(".commit")):
            undone()
        assert undone.refused is None
        expected = TAGGED_LIGHT if meets == "retag" else QUEUED
        assert stands(services, sku) == expected, boundary
        services.tag_all()
        category = "Light" if meets == "retag" else "Middle"
        assert stands(services, sku) == (Status.TAGGED, category, "model"), boundary
        assert models_of(services)[sku] == "shades:2"


def changed(services: Services, folder: Path, boundaries: tuple[str, ...]) -> dict[str, int]:
    """A product for each boundary that somebody decided on and of which another photo came since,
    and the batch that this is in.
    """
    skus = all_tagged(services, folder, boundaries)
    found = {}
    for number, sku in enumerate(skus.values()):
        saying(services, sku)()
        other_photo(services, folder, sku, MIDDLE + number)()
        found[sku] = services.bell.messages.pop()
    return found


@pytest.mark.parametrize("undone_at", ["once", "the end"])
def test_a_decision_on_other_photos_that_is_taken_back(
    services: Services, tmp_path: Path, meanwhile: Meanwhile, undone_at: str
) -> None:
    """It waits again, with what the model says of these photos, whose batch found it decided on."""
    carried = changed(services, tmp_path, TAGGING)
    for boundary, (sku, batch) in zip(TAGGING, carried.items(), strict=True):
        calls = services.shelf.calls
        said = saying(services, sku)
        if undone_at == "once":
            said()
            assert said.refused is None
            undone = undoing(services, said)
            with meanwhile.at(boundary, undone):
                services.tagger.tag_batch(batch)
        else:
            with meanwhile.at(boundary, said):
                services.tagger.tag_batch(batch)
            if said.refused is not None:
                assert boundary in (*WRITING, "batch.lease.commit")
                continue
            assert product(services, sku).prediction_id is None, boundary
            undone = undoing(services, said)
            undone()
        assert undone.refused is None
        for waiting in unannounced(services):
            services.tagger.tag_batch(waiting)
        found = product(services, sku)
        assert stands(services, sku) == (Status.NEEDS_REVIEW, "Dark", "person"), boundary
        assert found.review_reason is ReviewReason.PHOTO_CHANGED
        assert (found.suggestion, predicted(services, sku)) == ("Middle", 1), boundary
        assert services.shelf.calls == calls + 1, boundary


def test_a_decision_on_other_photos_that_is_taken_back_after_they_failed(
    services: Services, tmp_path: Path
) -> None:
    """That they cannot be read is told, though nobody was told while the decision stood."""
    tagged(services, tmp_path / "in", {"p.png": 255})
    saying(services, "p")()
    (folder := tmp_path / "torn").mkdir()
    (folder / "p.png").write_bytes(b"no picture")
    deliver(services, folder)
    said = saying(services, "p")
    said()
    services.tag_all()
    assert product(services, "p").failure_code is None
    undoing(services, said)()
    for batch in unannounced(services):
        services.tagger.tag_batch(batch)
    found = product(services, "p")
    assert found.failure_code is FailureCode.UNSUPPORTED_FORMAT
    assert stands(services, "p") == (Status.NEEDS_REVIEW, "Dark", "person")
    # What is known to have failed is not read again each time.
    said = saying(services, "p")
    said()
    undoing(services, said)()
    assert unannounced(services) == []
    assert product(services, "p").failure_detail == found.failure_detail is not None


# A retag is asked for, and put into batches


def test_a_review_while_a_retag_is_asked_for(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    skus = all_tagged(services, tmp_path, RETAGGING)
    put_in_charge(services)
    for boundary, sku in skus.items():
        said = saying(services, sku)
        asked = requesting(services, sku)
        with meanwhile.at(boundary, said):
            asked()
        services.tag_all()
        assert said.refused is None
        assert told(services, asked.came[0]).complete
        assert stands(services, sku) == SAID_DARK, boundary
        assert models_of(services)[sku] == "shades:1"


@pytest.mark.parametrize("kind", ["first", "retag"])
def test_a_batch_that_is_tagged_while_a_retag_is_asked_for(
    services: Services, tmp_path: Path, meanwhile: Meanwhile, kind: str
) -> None:
    skus = named(RETAGGING) if kind == "first" else all_tagged(services, tmp_path, RETAGGING)
    if kind == "retag":
        put_in_charge(services)
    for number, (boundary, sku) in enumerate(skus.items()):
        batch = (
            first_batch(services, tmp_path, sku, 255 - number)
            if kind == "first"
            else in_a_batch(services, sku)
        )
        asked = requesting(services, sku)
        tagging = Act(partial(another_worker(services).tag_batch, batch))
        with meanwhile.at(boundary, tagging):
            asked()
        services.tag_all()
        assert tagging.came[0] is not None
        assert told(services, asked.came[0]).complete
        assert stands(services, sku) == TAGGED_LIGHT, boundary
        assert models_of(services)[sku] == ("shades:1" if kind == "first" else "shades:2")
        assert predicted(services, sku) == (1 if kind == "first" else 2)


def test_two_retags_that_are_asked_for_at_once(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    skus = all_tagged(services, tmp_path, RETAGGING)
    put_in_charge(services)
    for boundary, sku in skus.items():
        first, second = requesting(services, sku), requesting(services, sku)
        with meanwhile.at(boundary, second):
            first()
        services.tag_all()
        for asked in (first, second):
            line = told(services, asked.came[0])
            assert (line.looked_at, line.queued, line.complete) == (1, 1, True), boundary
        assert stands(services, sku) == TAGGED_LIGHT, boundary
        assert models_of(services)[sku] == "shades:2"
        assert predicted(services, sku) == 2
