"""Two acts on one product: the second comes at every boundary of the first, and both end well.

Each boundary has a product of its own. The other pairs are in `test_interleavings_of_acts.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging.answers import Recorded
from tagging.database import uploads
from tagging.database.tables import Batch, BatchState, Prediction, RetagScope
from tagging.domain import ItemOutcome, ReviewReason, Status, Verdict
from tagging.errors import AtelierError, ReviewError
from tagging.in_hand import InHand
from tagging.retag import Asked
from tagging.review import record_review
from tests.integration.test_ingest_and_tag import deliver, listed, write_folder
from tests.integration.test_retag import ask, models_of, put_in_charge, told, vars_of, work_off
from tests.meanwhile import (
    BETWEEN,
    FILING,
    RECEIVING,
    RETAGGING,
    STORING,
    TAGGING,
    UNLEASED,
    Meanwhile,
    named,
)
from tests.people import answer, product, tagged
from tests.stand_in import Services


@pytest.fixture
def services(light_services: Services) -> Services:
    return light_services


@pytest.fixture
def meanwhile(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meanwhile]:
    found = Meanwhile(services, monkeypatch)
    yield found
    found.check()


def in_a_batch(services: Services, sku: str) -> int:
    """Ask for one product again; the batch that it is in."""
    services.clock.seconds += 1
    ask(services, Asked(scope=RetagScope.SKU, skus=(sku,)))
    services.retagging.step(most_s=1.0)
    return services.bell.messages.pop()


def predictions_are_single(services: Services) -> None:
    with services.database.read() as session:
        counts = session.execute(
            sa.select(sa.func.count(Prediction.id)).group_by(
                Prediction.product_id, Prediction.image_set, Prediction.model_id
            )
        ).scalars()
        assert set(counts) <= {1}


def test_a_review_while_a_retag_runs(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    skus = named(TAGGING)
    tagged(
        services, tmp_path / "in", {f"{sku}.png": 255 - i for i, sku in enumerate(skus.values())}
    )
    put_in_charge(services)
    for boundary, sku in skus.items():
        batch = in_a_batch(services, sku)
        seen = answer(services, sku, Verdict.CORRECTED, "Dark")
        said: list[Recorded | AtelierError] = []

        def decide(seen=seen, said=said) -> None:  # type: ignore[no-untyped-def]
            try:
                said.append(record_review(services.database, seen, now=services.clock.now()))
            except AtelierError as error:
                said.append(error)

        with meanwhile.at(boundary, decide):
            services.tagger.tag_batch(batch)
        found = product(services, sku)
        if isinstance(said[0], Recorded):
            assert boundary not in ("batch.write.commit", "batch.write.committed")
            assert (found.status, found.category, found.decided_by) == (
                Status.REVIEWED,
                "Dark",
                "person",
            )
            assert models_of(services)[sku] == "shades:1"
        else:
            assert boundary not in (*UNLEASED, "batch.lease.committed", *BETWEEN)
            assert isinstance(said[0], ReviewError)
            assert said[0].why == "classified_again"
            assert (found.status, models_of(services)[sku]) == (Status.TAGGED, "shades:2")
    predictions_are_single(services)


def test_a_photo_that_changes_while_its_retag_runs(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    skus = named(TAGGING)
    shades = {f"{sku}.png": 255 - i for i, sku in enumerate(skus.values())}
    tagged(services, tmp_path / "in", shades)
    put_in_charge(services)
    for number, (boundary, sku) in enumerate(skus.items()):
        batch = in_a_batch(services, sku)

        def change(sku=sku, number=number) -> None:  # type: ignore[no-untyped-def]
            deliver(services, write_folder(tmp_path / sku, {f"{sku}.png": number}))

        with meanwhile.at(boundary, change):
            services.tagger.tag_batch(batch)
        found = product(services, sku)
        assert (found.status, found.category, found.prediction_id) == (Status.QUEUED, None, None)
        services.tag_all()
        meanwhile.watch()
        found = product(services, sku)
        assert (found.status, found.category) == (Status.TAGGED, "Dark")
        assert models_of(services)[sku] == "shades:2"
    predictions_are_single(services)


def test_a_model_put_in_charge_while_a_retag_runs(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    skus = named(TAGGING)
    shades = {f"{sku}.png": 255 - i for i, sku in enumerate(skus.values())}
    tagged(services, tmp_path / "in", shades)
    for number, (boundary, sku) in enumerate(skus.items()):
        older, newer = f"{10 + number}", f"{50 + number}"
        put_in_charge(services, older)
        batch = in_a_batch(services, sku)
        before = product(services, sku)

        def promote(newer=newer) -> None:  # type: ignore[no-untyped-def]
            put_in_charge(services, newer)

        with meanwhile.at(boundary, promote):
            services.tagger.tag_batch(batch)
        with services.database.read() as session:
            row = session.get_one(Batch, batch)
        if boundary in UNLEASED:
            assert row.state is BatchState.DONE  # leased with the newer one, which was loaded first
        if boundary in ("batch.lease.committed", *BETWEEN):
            # What the older one says does not replace a tag any more; the newer one is asked.
            assert vars_of(product(services, sku)) == vars_of(before)
            assert (row.state, row.attempts) == (BatchState.QUEUED, 0)
        if row.state is BatchState.QUEUED:
            services.tagger.tag_batch(batch)
            meanwhile.watch()
        written = models_of(services)[sku]
        if boundary in ("batch.write.commit", "batch.write.committed"):
            assert written == f"shades:{older}"
            ask(services, Asked(scope=RetagScope.MISSING))
            work_off(services)
            assert models_of(services)[sku] == f"shades:{newer}"
        elif boundary != "batch.lease.commit":
            assert written == f"shades:{newer}"
    predictions_are_single(services)


def test_what_an_older_model_says_late_of_photos_that_came_back_replaces_nothing(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    """Of a delivery's batch: the product has a newer one's answer to the same photos by then."""
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    first = services.bell.messages.pop()

    def there_and_back() -> None:
        for shade in (0, 255):
            deliver(services, write_folder(tmp_path / "in", {"a.png": shade}))
        put_in_charge(services)
        # Another worker: this one has its hands full.
        hand = InHand(step_s=30.0)
        other = dataclasses.replace(services.tagger, in_hand=hand)
        dataclasses.replace(services, tagger=other).tag_all()

    with meanwhile.at("tag.classified", there_and_back):
        services.tagger.tag_batch(first)
    assert models_of(services) == {"a": "shades:2"}


@pytest.mark.parametrize("before", ["unknown", "tagged"])
def test_two_deliveries_of_one_product_at_once(
    services: Services, tmp_path: Path, meanwhile: Meanwhile, before: str
) -> None:
    skus = named((*RECEIVING, *FILING))
    if before == "tagged":
        shades = {f"{sku}.png": 120 + number for number, sku in enumerate(skus.values())}
        tagged(services, tmp_path / "in", shades)
    for number, (boundary, sku) in enumerate(skus.items()):
        services.clock.seconds += 60
        made: dict[str, str] = {}

        def bring(which, shade, sku=sku, made=made) -> None:  # type: ignore[no-untyped-def]
            services.clock.seconds += 1
            source = write_folder(tmp_path / f"{sku}-{which}", {f"{sku}.png": shade})
            made[which] = deliver(services, source).upload_id

        with meanwhile.at(boundary, partial(bring, "younger", 255 - number)):
            bring("older", number)
        assert product(services, sku).status is Status.QUEUED
        services.tag_all()
        meanwhile.watch()
        found = product(services, sku)
        assert found.status is Status.TAGGED
        # The photo in force is that of the younger delivery, also where the older one was not all
        # here yet when that one was filed; and its tag is of it.
        assert (found.upload_id, found.category) == (made["younger"], "Light")
        with services.database.read() as session:
            for which, upload in made.items():
                outcomes = uploads.outcome_counts(session, upload)
                assert sum(outcomes.values()) == 1
                skipped = outcomes[ItemOutcome.SKIPPED]
                if which == "younger" or boundary in ("upload.received.committed", *FILING):
                    assert skipped == 0
                elif boundary.endswith(".committed") or boundary in STORING:
                    assert skipped == 1
                counts = uploads.status_counts(session, upload)
                assert sum(counts.values()) == counts[Status.TAGGED] == 1 - skipped
    assert len(listed(services)) == len(skus)
    predictions_are_single(services)


@pytest.mark.parametrize("first", ["upload", "retag"])
def test_a_retag_while_an_upload_is_filed(
    services: Services, tmp_path: Path, meanwhile: Meanwhile, first: str
) -> None:
    boundaries = named((*RECEIVING[-2:], *FILING) if first == "upload" else RETAGGING)
    skus = list(boundaries.values())
    tagged(services, tmp_path / "in", {f"{sku}.png": 255 - i for i, sku in enumerate(skus)})
    for number, (boundary, sku) in enumerate(boundaries.items()):
        services.clock.seconds += 60
        version = f"{10 + number}"
        put_in_charge(services, version)
        asked: list[int] = []

        def retag(asked=asked) -> None:  # type: ignore[no-untyped-def]
            asked.append(ask(services))
            while services.retagging.step(most_s=1.0):
                pass

        def upload(sku=sku, number=number) -> None:  # type: ignore[no-untyped-def]
            shades = {f"{sku}.png": number, f"{sku}-new.png": 100 + number}
            deliver(services, write_folder(tmp_path / sku, shades))

        acts = (upload, retag) if first == "upload" else (retag, upload)
        with meanwhile.at(boundary, acts[1]):
            acts[0]()
        services.tag_all()
        meanwhile.watch()
        work_off(services)
        meanwhile.watch()
        assert product(services, sku).category == "Dark"
        assert product(services, f"{sku}-new").status is not Status.QUEUED
        assert set(models_of(services).values()) == {f"shades:{version}"}
        assert told(services, asked[0]).complete
    assert len(listed(services)) == 2 * len(skus)
    predictions_are_single(services)


def test_two_who_are_unsure_and_a_retag(
    services: Services, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    """A tag that somebody withdraws while it is being renewed is not put back."""
    skus = named(("batch.lease.committed", "tag.decode", "tag.classified"))
    tagged(
        services, tmp_path / "in", {f"{sku}.png": 255 - i for i, sku in enumerate(skus.values())}
    )
    put_in_charge(services)
    for boundary, sku in skus.items():
        batch = in_a_batch(services, sku)
        seen = answer(services, sku, Verdict.UNSURE)

        def withdraw(seen=seen) -> None:  # type: ignore[no-untyped-def]
            record_review(services.database, seen, now=services.clock.now())

        with meanwhile.at(boundary, withdraw):
            services.tagger.tag_batch(batch)
        found = product(services, sku)
        assert (found.status, found.review_reason, found.category) == (
            Status.NEEDS_REVIEW,
            ReviewReason.REQUESTED,
            None,
        )
        assert models_of(services)[sku] == "shades:2"
