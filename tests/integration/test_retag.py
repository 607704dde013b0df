"""Products are classified again because somebody asked; what stands, stands until it is done."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tagging import failpoints, retag
from tagging.answers import Recorded
from tagging.database import backlog, models, products, retags
from tagging.database.retags import RetagLine
from tagging.database.tables import (
    Batch,
    BatchItem,
    BatchState,
    Product,
    RetagScope,
    RetagState,
)
from tagging.domain import FailureCode, ReviewReason, Status, Verdict
from tagging.errors import NotFoundError, RetagError, ReviewError, StoreAwayError
from tagging.failpoints import FailpointError
from tagging.retag import Asked
from tests.integration.test_ingest_and_tag import deliver, listed, write_folder
from tests.integration.test_priority import delivered
from tests.integration.test_rules import put
from tests.integration.test_sweep import batch_of, lease, pass_time
from tests.people import SURE, at_once, audit_all, product, say, tagged, undo, weighed
from tests.stand_in import Services, picture, stand_in_card

ALL = Asked(scope=RetagScope.ALL)
MISSING = Asked(scope=RetagScope.MISSING)
FAILED = Asked(scope=RetagScope.FAILED)


def ask(services: Services, asked: Asked = ALL) -> int:
    (made,) = services.retagging.request(asked, ["default"], by="Eve")
    return made


def work_off(services: Services) -> None:
    """Until every open request is in batches, and these are written."""
    services.clock.seconds += 1
    while services.retagging.step(most_s=1.0) or services.bell.messages:
        services.tag_all()


def stored(services: Services, sku: str) -> Path:
    """The file of a product's main photo."""
    image_set = product(services, sku).image_set
    with services.database.read() as session:
        return services.store.path(products.images_of(session, [image_set])[image_set][0])


def told(services: Services, retag_id: int) -> RetagLine:
    with services.database.read() as session:
        return retags.lines(session, [retag_id])[0]


def put_in_charge(services: Services, version: str = "2", fallback: float = 0.9) -> int:
    """Another stand-in model, of which `fallback` says what it accepts."""
    now = services.clock.now()
    with services.database.write("test") as session:
        card = stand_in_card(version=version, fallback=fallback)
        made = models.register(session, card, services.folder / version, now=now)
        models.put_in_charge(session, services.retailer_id, made, now=now)
        session.commit()
    return made


def models_of(services: Services) -> dict[str, str | None]:
    return {sku: line.model for sku, line in listed(services).items()}


@pytest.fixture
def shades(services: Services, tmp_path: Path) -> Services:
    """Ten products, a to h tagged by their shade, p and q waiting, in batches of four."""
    pictures = {f"{sku}.png": 255 - i for i, sku in enumerate("abcdefgh")}
    tagged(services, tmp_path / "in", pictures | {"p.png": 64, "q.png": 65})
    return services


def test_all_is_classified_again_and_stands_until_then(shades: Services) -> None:
    before = listed(shades)
    put_in_charge(shades, fallback=2.0)
    made = ask(shades)
    shades.retagging.step(most_s=1.0)
    assert listed(shades) == before
    assert told(shades, made).state is RetagState.DONE
    with shades.database.read() as session:
        sizes = session.scalars(
            sa.select(Batch.products).where(Batch.retag_id == made).order_by(Batch.id)
        ).all()
    assert sizes == [4, 4, 2]
    assert not told(shades, made).complete
    shades.tag_all()
    after = listed(shades)
    assert {line.model for line in after.values()} == {"shades:2"}
    assert {line.status for line in after.values()} == {Status.NEEDS_REVIEW}
    assert {line.category for line in after.values()} == {None}
    line = told(shades, made)
    assert (line.looked_at, line.queued, line.classified, line.complete) == (10, 10, 10, True)


def test_what_was_unsure_may_be_tagged_now(shades: Services) -> None:
    assert product(shades, "p").status is Status.NEEDS_REVIEW
    put_in_charge(shades, fallback=0.1)
    ask(shades)
    work_off(shades)
    assert product(shades, "p").status is Status.TAGGED
    assert product(shades, "p").category == product(shades, "p").suggestion
    assert product(shades, "p").review_reason is None


def test_missing_classifies_only_what_another_model_did(shades: Services, tmp_path: Path) -> None:
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    deliver(shades, tmp_path / "in")
    shades.tag_all()
    calls = shades.shelf.calls
    up_to_date = ask(shades, MISSING)
    work_off(shades)
    line = told(shades, up_to_date)
    assert (line.looked_at, line.queued, line.not_asked, line.failed) == (11, 0, 10, 1)
    assert line.complete
    assert shades.shelf.calls == calls
    put_in_charge(shades)
    # One is of the new model already.
    (tmp_path / "in" / "a.png").write_bytes(picture(0))
    deliver(shades, tmp_path / "in")
    shades.tag_all()
    calls = shades.shelf.calls
    line = told(shades, ask(shades, MISSING))
    work_off(shades)
    line = told(shades, line.id)
    assert (line.queued, line.not_asked, line.failed) == (9, 1, 1)
    assert shades.shelf.calls == calls + 9
    assert set(models_of(shades).values()) == {"shades:2", None}
    # Asked again, there is nothing left.
    line = told(shades, ask(shades, MISSING))
    work_off(shades)
    assert told(shades, line.id).queued == 0
    assert shades.shelf.calls == calls + 9


def test_pictures_that_are_read_otherwise_now_are_missing(shades: Services) -> None:
    newer = dataclasses.replace(shades.retagging, preprocessing_version="newer")
    made = ask(shades, MISSING)
    while newer.step(most_s=1.0):
        pass
    assert told(shades, made).queued == 10


def test_what_one_model_classified_last(shades: Services, tmp_path: Path) -> None:
    put_in_charge(shades)
    (tmp_path / "in" / "a.png").write_bytes(picture(0))
    deliver(shades, tmp_path / "in")
    shades.tag_all()
    made = ask(shades, Asked(scope=RetagScope.MODEL, model="shades:2"))
    work_off(shades)
    line = told(shades, made)
    assert (line.queued, line.not_asked, line.model) == (1, 9, "shades:2")
    with pytest.raises(NotFoundError, match="no model 'nix'"):
        ask(shades, Asked(scope=RetagScope.MODEL, model="nix"))


def test_products_by_their_names(shades: Services) -> None:
    put_in_charge(shades)
    made = ask(shades, Asked(scope=RetagScope.SKU, skus=("b", "q")))
    work_off(shades)
    assert told(shades, made).queued == 2
    newer = {sku for sku, model in models_of(shades).items() if model == "shades:2"}
    assert newer == {"b", "q"}


def test_an_unknown_name_asks_for_nothing(shades: Services) -> None:
    with pytest.raises(NotFoundError, match="no product 'nix'"):
        ask(shades, Asked(scope=RetagScope.SKU, skus=("b", "nix")))
    with pytest.raises(RetagError, match="--retailer"):
        shades.retagging.request(Asked(scope=RetagScope.SKU, skus=("b",)), [], by="Eve")
    with shades.database.read() as session:
        assert retags.lines(session) == []


@pytest.mark.parametrize(
    "given",
    [
        {"scope": RetagScope.MODEL},
        {"scope": RetagScope.ALL, "model": "shades:1"},
        {"scope": RetagScope.SKU},
        {"scope": RetagScope.MISSING, "skus": ("a",)},
        {"scope": RetagScope.SKU, "skus": tuple(map(str, range(retag.MOST_SKUS + 1)))},
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(RetagError):
        Asked(**given)


def test_what_failed_is_queued_again_on_request_only(services: Services, tmp_path: Path) -> None:
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255, "b.png": 254}))
    kept = stored(services, "a").read_bytes()
    stored(services, "a").write_bytes(kept[:50])
    services.tag_all()
    assert product(services, "a").failure_code is FailureCode.UNREADABLE
    stored(services, "a").write_bytes(kept)
    for asked in (ALL, MISSING):
        made = ask(services, asked)
        work_off(services)
        assert told(services, made).failed == 1
    assert product(services, "a").status is Status.FAILED
    made = ask(services, FAILED)
    services.retagging.step(most_s=1.0)
    queued = product(services, "a")
    assert (queued.status, queued.failure_code, queued.failure_detail) == (
        Status.QUEUED,
        None,
        None,
    )
    services.tag_all()
    assert product(services, "a").status is Status.TAGGED
    assert told(services, made).looked_at == 1


def test_a_photo_that_cannot_be_read_any_more_takes_no_tag_away(shades: Services) -> None:
    put_in_charge(shades)
    before = product(shades, "a")
    stored(shades, "a").write_bytes(b"no picture any more")
    made = ask(shades)
    work_off(shades)
    after = product(shades, "a")
    assert (after.status, after.category, after.prediction_id, after.failure_code) == (
        Status.TAGGED,
        "Light",
        before.prediction_id,
        None,
    )
    assert models_of(shades)["b"] == "shades:2"
    assert told(shades, made).complete


def test_what_people_decided_stays(shades: Services, tmp_path: Path) -> None:
    say(shades, "a", Verdict.CORRECTED, "Dark")
    say(shades, "p", Verdict.NOT_A_PRODUCT)
    say(shades, "b", Verdict.UNSURE)
    say(shades, "c", Verdict.CORRECTED, "Dark")
    (tmp_path / "in" / "c.png").write_bytes(picture(128))
    deliver(shades, tmp_path / "in")
    shades.tag_all()
    before = {sku: product(shades, sku) for sku in "apbc"}
    put_in_charge(shades, fallback=0.1)
    made = ask(shades)
    work_off(shades)
    line = told(shades, made)
    assert (line.reviewed, line.queued) == (2, 8)
    for sku in "ap":
        assert vars_of(product(shades, sku)) == vars_of(before[sku])
    # Who is unsure withdrew the tag; whose photo changed, has a category that a person chose.
    for sku, reason, category in (
        ("b", ReviewReason.REQUESTED, None),
        ("c", ReviewReason.PHOTO_CHANGED, "Dark"),
    ):
        after = product(shades, sku)
        assert (after.status, after.review_reason, after.category) == (
            Status.NEEDS_REVIEW,
            reason,
            category,
        )
        assert after.prediction_id != before[sku].prediction_id
        assert not after.audit


def vars_of(one: Product) -> dict[str, Any]:
    return {column.name: getattr(one, column.name) for column in Product.__table__.columns}


def test_every_product_that_was_seen_is_counted_once(shades: Services, tmp_path: Path) -> None:
    say(shades, "a", Verdict.CONFIRMED)
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "in" / "b.png").write_bytes(picture(3))
    deliver(shades, tmp_path / "in")
    first = shades.bell.messages.pop(0)
    shades.tagger.tag_batch(first)
    deliver(shades, write_folder(tmp_path / "more", {"new.png": 9}))
    with shades.database.write("test") as session:
        gone = session.scalars(sa.select(Product).where(Product.sku == "d")).one()
        gone.delisted_at = shades.clock.now()
        session.commit()
    made = ask(shades)
    shades.retagging.step(most_s=1.0)
    line = told(shades, made)
    assert (line.queued, line.reviewed, line.failed, line.in_work, line.delisted) == (8, 1, 1, 1, 1)
    assert line.looked_at == 12


@pytest.mark.parametrize("moment", ["looked", "page.commit", "page.committed"])
def test_cut_off_anywhere_it_goes_on_where_it_stopped(
    shades: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setattr("tagging.retag.PAGE", 4)
    put_in_charge(shades)
    made = ask(shades)
    monkeypatch.setattr(failpoints, "_folder", tmp_path)
    shades.retagging.advance(made)
    (tmp_path / f"retag.{moment}").write_text("raise")
    with pytest.raises(FailpointError):
        shades.retagging.advance(made)
    # Another process's sweeper goes on; what was not announced, it announces.
    for _ in range(20):
        shades.clock.seconds += 4
        shades.sweeper.step()
        shades.tag_all()
    assert told(shades, made).complete
    assert set(models_of(shades).values()) == {"shades:2"}
    with shades.database.read() as session:
        in_batches = session.scalars(
            sa.select(BatchItem.product_id)
            .join(Batch, Batch.id == BatchItem.batch_id)
            .where(Batch.retag_id == made)
            .order_by(BatchItem.product_id)
        ).all()
    assert list(in_batches) == list(range(1, 11))


def test_two_who_work_at_one_request_do_it_once(
    shades: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagging.retag.PAGE", 4)
    put_in_charge(shades)
    made = ask(shades)
    others: list[str] = []

    def another(name: str) -> None:
        if not others:
            others.append(name)
            shades.retagging.advance(made)

    monkeypatch.setattr("tagging.retag.failpoint", another)
    shades.retagging.advance(made)
    at_once([lambda: shades.retagging.advance(made)] * 4)
    while shades.retagging.step(most_s=1.0):
        pass
    line = told(shades, made)
    assert (line.queued, line.looked_at, line.batches["queued"]) == (10, 10, 3)


def test_a_cancelled_request_makes_no_more_batches(
    shades: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagging.retag.PAGE", 4)
    put_in_charge(shades)
    made = ask(shades)
    shades.retagging.advance(made)
    assert shades.retagging.cancel(made, by="Bob")
    assert not shades.retagging.cancel(made, by="Bob")
    assert not shades.retagging.step(most_s=1.0)
    shades.retagging.advance(made)
    shades.tag_all()
    line = told(shades, made)
    assert (line.state, line.cancelled_by, line.queued) == (RetagState.CANCELLED, "Bob", 4)
    assert line.complete
    assert list(models_of(shades).values()).count("shades:2") == 4


def test_cancelled_while_it_looks_it_queues_nothing(
    shades: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ask(shades)
    monkeypatch.setattr(
        "tagging.retag.failpoint", lambda _: shades.retagging.cancel(made, by="Bob")
    )
    shades.retagging.advance(made)
    assert (told(shades, made).queued, shades.bell.messages) == (0, [])


def test_it_is_about_the_products_that_there_were(shades: Services, tmp_path: Path) -> None:
    made = ask(shades)
    deliver(shades, write_folder(tmp_path / "more", {"new.png": 9}))
    shades.tag_all()
    work_off(shades)
    assert told(shades, made).looked_at == 10


def test_what_is_delivered_meanwhile_need_not_wait_for_everything(
    shades: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagging.retag.AHEAD", 2)
    monkeypatch.setattr("tagging.retag.PAGE", 4)
    put_in_charge(shades)
    made = ask(shades)
    while shades.retagging.step(most_s=1.0):
        pass
    assert told(shades, made).batches["queued"] == 2
    assert told(shades, made).state is RetagState.OPEN
    work_off(shades)
    assert told(shades, made).complete
    assert told(shades, made).queued == 10


def test_whose_batches_cannot_be_done_keeps_nobody_else_waiting(
    shades: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tagging.retag.AHEAD", 2)
    monkeypatch.setattr("tagging.retag.PAGE", 4)
    with shades.database.write("test") as session:
        other = models.add_retailer(
            session, "other", model_id=shades.model_id, now=shades.clock.now()
        )
        session.commit()
    elsewhere = dataclasses.replace(shades, retailer_id=other)
    names = {f"{n}.png": n for n in range(3 * shades.ingest.batch_images)}
    deliver(elsewhere, write_folder(tmp_path / "other", names))
    shades.tag_all()
    theirs, ours = shades.retagging.request(ALL, ["other", "default"], by="Eve")
    shades.retagging.step(most_s=1.0)
    assert told(shades, theirs).batches["queued"] == 2
    assert told(shades, ours).looked_at == 0  # what waits may be done at any moment
    with shades.database.connect_to_write() as connection:
        connection.execute(
            sa.text("UPDATE batches SET last_error = 'no bundle' WHERE state = 'queued'")
        )
    while shades.retagging.step(most_s=1.0):
        pass
    assert told(shades, ours).batches["queued"] == 2
    assert told(shades, theirs).batches["queued"] == 2
    assert told(shades, theirs).state is RetagState.OPEN


def test_everybodys_products(shades: Services, tmp_path: Path) -> None:
    with shades.database.write("test") as session:
        other = models.add_retailer(
            session, "other", model_id=shades.model_id, now=shades.clock.now()
        )
        session.commit()
    elsewhere = dataclasses.replace(shades, retailer_id=other)
    deliver(elsewhere, write_folder(tmp_path / "other", {"x.png": 0}))
    shades.tag_all()
    made = shades.retagging.request(ALL, None, by="Eve")
    work_off(shades)
    assert [(told(shades, one).retailer, told(shades, one).queued) for one in made] == [
        ("default", 10),
        ("other", 1),
    ]


def test_what_becomes_of_a_retag_that_brings_down_workers(shades: Services) -> None:
    """Its product keeps its tag: a crash says nothing of it."""
    put_in_charge(shades)
    ask(shades, Asked(scope=RetagScope.SKU, skus=("a",)))
    shades.retagging.step(most_s=1.0)
    (batch_id,) = shades.bell.messages
    shades.bell.messages.clear()
    for _ in range(3):
        lease(shades, batch_id, alone=True)
        pass_time(shades, 14)
    assert batch_of(shades, batch_id).state is BatchState.DONE
    assert (product(shades, "a").status, product(shades, "a").category) == (Status.TAGGED, "Light")


def test_what_is_wrong_with_a_retag_is_told_of_it_alone(services: Services, tmp_path: Path) -> None:
    upload = deliver(services, write_folder(tmp_path / "in", {"a.png": 255})).upload_id
    services.tag_all()
    put_in_charge(services)
    made = ask(services)
    services.retagging.step(most_s=1.0)

    def away(_: object) -> None:
        raise StoreAwayError("the image store is away")

    services.decoders.before = away
    with pytest.raises(StoreAwayError):
        services.tag_all()
    with services.database.read() as session:
        assert backlog.retag_errors(session, [made]) == ["the image store is away"]
        assert backlog.last_errors(session) == ["the image store is away"]
        assert backlog.last_errors(session, upload) == []


def test_parts_of_a_split_batch_are_the_retags(shades: Services) -> None:
    put_in_charge(shades)
    made = ask(shades)
    shades.retagging.step(most_s=1.0)
    first = shades.bell.messages.pop(0)
    for _ in range(2):
        lease(shades, first)
        pass_time(shades, 14)
    assert told(shades, made).batches == {"queued": 6, "leased": 0, "done": 0, "split": 1}
    pass_time(shades, 20)
    shades.tag_all()
    assert told(shades, made).classified == 10


def test_what_comes_to_people_again_has_the_priority_of_now(
    services: Services, tmp_path: Path
) -> None:
    delivered(services, tmp_path / "in", {"p": "3", "q": "7"}, shade=250)
    put(services, "priority: margin")
    assert product(services, "p").status is Status.TAGGED
    put_in_charge(services, fallback=2.0)
    ask(services)
    work_off(services)
    assert [product(services, sku).priority for sku in "pq"] == [3.0, 7.0]


# Evidence: a tag that is accepted anew is a new tag of the model that accepts it.


def test_the_audit_is_of_the_model_that_accepts_it_now(services: Services, tmp_path: Path) -> None:
    audit_all(services)
    tagged(services, tmp_path / "in", SURE)
    first = services.model_id
    assert say(services, "a", Verdict.CONFIRMED).status is Status.REVIEWED
    assert weighed(services).verdicts == 1
    second = put_in_charge(services)
    ask(services)
    work_off(services)
    for sku in "bcd":
        assert product(services, sku).audit
    assert not product(services, "a").audit or product(services, "a").status is Status.REVIEWED
    assert say(services, "b", Verdict.CORRECTED, "Middle").status is Status.REVIEWED
    assert weighed(services).verdicts == 1, "the first model's evidence is what it was"
    newer = weighed(dataclasses.replace(services, model_id=second))
    assert (newer.verdicts, newer.errors) == (1, 1)
    assert first != second


def test_a_model_that_audits_nobody_asks_for_no_verdict_on_what_another_accepted(
    services: Services, tmp_path: Path
) -> None:
    audit_all(services)
    tagged(services, tmp_path / "in", SURE)
    say(services, "b", Verdict.UNSURE)
    services.tagger = dataclasses.replace(services.tagger, audit_share=0.0)
    second = put_in_charge(services)
    ask(services)
    work_off(services)
    for sku in SURE:
        found = product(services, sku.removesuffix(".png"))
        assert (found.audit, found.audit_share) == (False, None)
    # The second model accepted nothing there: what is said of it is no evidence on its tags.
    say(services, "b", Verdict.CORRECTED, "Middle")
    assert weighed(dataclasses.replace(services, model_id=second)).verdicts == 0


def test_a_tag_that_somebody_withdrew_is_no_tag_of_the_next_model(
    services: Services, tmp_path: Path
) -> None:
    audit_all(services)
    tagged(services, tmp_path / "in", SURE)
    say(services, "b", Verdict.UNSURE)
    second = put_in_charge(services)
    ask(services)
    work_off(services)
    assert not product(services, "b").audit
    say(services, "b", Verdict.CORRECTED, "Middle")
    assert weighed(dataclasses.replace(services, model_id=second)).verdicts == 0


def test_the_same_model_again_leaves_what_somebody_was_unsure_of_to_its_audit(
    services: Services, tmp_path: Path
) -> None:
    audit_all(services)
    tagged(services, tmp_path / "in", SURE)
    say(services, "b", Verdict.UNSURE)
    before = product(services, "b")
    ask(services)
    work_off(services)
    assert vars_of(product(services, "b")) == vars_of(before)
    say(services, "b", Verdict.CORRECTED, "Middle", reviewer="Bob")
    assert (weighed(services).verdicts, weighed(services).errors) == (1, 1)


def test_nothing_is_taken_back_from_before_a_retag(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", SURE)
    unsure = say(services, "b", Verdict.UNSURE).review_id
    decided = say(services, "a", Verdict.CORRECTED, "Dark").review_id
    put_in_charge(services)
    ask(services)
    work_off(services)
    (refused,) = undo(services, unsure)
    assert isinstance(refused, ReviewError)
    # No machine touched what was decided, so that can be taken back as ever.
    (done,) = undo(services, decided)
    assert isinstance(done, Recorded)
    assert product(services, "a").category == "Light"
    assert models_of(services)["a"] == "shades:1"
