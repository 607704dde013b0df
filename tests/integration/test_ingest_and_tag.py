"""A delivery goes in, tagged rows come out: the services over real databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.catalog.opening import open_delivery
from tagging.database import backlog, models, products, uploads
from tagging.database.products import ProductFilter, ProductLine
from tagging.database.tables import (
    Batch,
    BatchState,
    ImagePrediction,
    Prediction,
    Product,
    RetagScope,
)
from tagging.domain import FailureCode, ReviewReason, Status
from tagging.errors import DeliveryError, StoreAwayError
from tagging.filing import MAX_PRODUCT_IMAGES
from tagging.ingest import UploadSummary
from tagging.retag import Asked
from tagging.tag import Answers
from tests.faults.promises import ledger
from tests.stand_in import Services, ShadeClassifier, picture, stand_in_card


def deliver(services: Services, source: Path, upload_id: str | None = None) -> UploadSummary:
    with open_delivery(source) as delivery:
        return services.ingest.accept_upload(
            delivery, retailer_id=services.retailer_id, upload_id=upload_id
        )


def listed(services: Services) -> dict[str, ProductLine]:
    return {line.sku: line for line in products.listing(services.database, ProductFilter())}


def write_folder(folder: Path, shades: dict[str, int]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, shade in shades.items():
        (folder / name).write_bytes(picture(shade))
    return folder


def write_manifest(folder: Path, text: str) -> Path:
    (folder / "products.csv").write_text(text, encoding="utf-8")
    return folder / "products.csv"


def test_an_upload_counts_its_own_products_by_status(services: Services, tmp_path: Path) -> None:
    """Though those of others stand between its first and its last, and before and behind them."""
    for upload, skus in (("first", "amz"), ("other", "bc"), ("last", "mnc"), ("alone", "x")):
        folder = write_folder(tmp_path / upload, {f"{sku}.png": 255 for sku in skus})
        deliver(services, folder, upload)
        if upload == "other":
            services.tag_all()
    broken = tmp_path / "broken"
    broken.mkdir()
    deliver(services, write_manifest(broken, "sku,image\nq,none.png\n"), "nothing")
    with services.database.read() as session:
        found = {
            name: {status: count for status, count in counted.items() if count}
            for name in ("first", "other", "last", "alone", "nothing")
            for counted in [uploads.status_counts(session, name)]
        }
    assert found == {
        "first": {Status.TAGGED: 3},
        "other": {Status.TAGGED: 2},
        "last": {Status.TAGGED: 2, Status.QUEUED: 1},  # m and c were known, n is new
        "alone": {Status.QUEUED: 1},
        "nothing": {},
    }


def test_a_folder_becomes_tagged_rows(services: Services, tmp_path: Path) -> None:
    shades = {f"p{i:02}.png": (0, 128, 255)[i % 3] for i in range(11)}
    source = write_folder(tmp_path / "in", shades)
    summary = deliver(services, source)
    assert (summary.products, summary.created, summary.unchanged) == (11, 11, 0)
    assert {line.status for line in listed(services).values()} == {Status.QUEUED}
    services.tag_all()
    found = listed(services)
    assert [found[f"p{i:02}"].category for i in range(3)] == ["Dark", "Middle", "Light"]
    assert {line.status for line in found.values()} == {Status.TAGGED}
    assert all(line.confidence is not None and line.confidence > 0.9 for line in found.values())
    assert all(line.suggestion == line.category for line in found.values())
    with services.database.read() as session:
        assert backlog.counts(session) == {"queued": 0, "leased": 0, "done": 3, "split": 0}
        assert session.scalar(sa.select(sa.func.count()).select_from(Prediction)) == 11


def test_batches_are_full_but_the_last(services: Services, tmp_path: Path) -> None:
    deliver(services, write_folder(tmp_path / "in", {f"{i}.png": i for i in range(10)}))
    with services.database.read() as session:
        assert list(session.scalars(sa.select(Batch.images).order_by(Batch.id))) == [4, 4, 2]


def test_unsure_products_wait_for_a_person_without_a_category(
    services: Services, tmp_path: Path
) -> None:
    deliver(services, write_folder(tmp_path / "in", {"between.png": 64}))
    services.tag_all()
    (line,) = listed(services).values()
    assert line.status is Status.NEEDS_REVIEW
    assert line.review_reason == ReviewReason.LOW_CONFIDENCE
    assert line.category is None
    assert line.suggestion in ("Dark", "Middle")


def test_the_same_delivery_twice_changes_and_classifies_nothing(
    services: Services, tmp_path: Path
) -> None:
    source = write_folder(tmp_path / "in", {f"{i}.png": 255 for i in range(6)})
    deliver(services, source)
    services.tag_all()
    before, calls = listed(services), services.shelf.calls
    again = deliver(services, source)
    assert (again.products, again.unchanged, again.enqueued) == (6, 6, 0)
    assert services.bell.messages == []
    assert listed(services) == before
    assert services.shelf.calls == calls


def test_a_changed_photo_is_tagged_again_and_a_known_picture_is_not_classified_again(
    services: Services, tmp_path: Path
) -> None:
    source = write_folder(tmp_path / "in", {"a.png": 0, "b.png": 255})
    deliver(services, source)
    services.tag_all()
    calls = services.shelf.calls
    (source / "a.png").write_bytes(picture(255))
    summary = deliver(services, source)
    assert (summary.changed, summary.unchanged) == (1, 1)
    assert listed(services)["a"].status is Status.QUEUED
    assert listed(services)["a"].category is None
    services.tag_all()
    assert listed(services)["a"].category == "Light"
    assert services.shelf.calls == calls  # the very bytes of b.png were classified before


def test_a_changed_title_updates_the_row_and_classifies_nothing(
    services: Services, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "in", {"a.png": 0})
    deliver(services, write_manifest(folder, "sku,image,title,colour\nA,a.png,Old,red\n"))
    services.tag_all()
    calls = services.shelf.calls
    summary = deliver(
        services, write_manifest(folder, "sku,image,title,colour\nA,a.png,New,blue\n")
    )
    assert (summary.updated, summary.enqueued) == (1, 0)
    line = listed(services)["A"]
    assert (line.title, line.attributes, line.status) == ("New", {"colour": "blue"}, Status.TAGGED)
    assert services.shelf.calls == calls


def test_rows_of_one_sku_are_one_product_wherever_they_stand(
    services: Services, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "in", {"a.png": 0, "b.png": 10, "c.png": 255})
    text = "sku,image,title\nA,a.png,First\nC,c.png,\nA,b.png,\n"
    summary = deliver(services, write_manifest(folder, text))
    assert summary.products == 2
    found = listed(services)
    assert len(found["A"].images) == 2
    assert found["A"].title == "First"
    assert deliver(services, folder / "products.csv").unchanged == 2


def test_bad_rows_are_reported_and_their_neighbours_go_on(
    services: Services, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "in", {"a.png": 0})
    text = "sku,image\nA,a.png\nB,gone.png\n,a.png\nD,../etc/passwd\n"
    summary = deliver(services, write_manifest(folder, text))
    assert (summary.products, summary.rejected) == (1, 3)
    lines = list(uploads.rejected_lines(services.database, summary.upload_id))
    assert [line.line for line in lines] == [3, 4, 5]
    assert [line.code for line in lines] == [
        FailureCode.MISSING,
        FailureCode.BAD_SKU,
        FailureCode.REFUSED_PATH,
    ]
    assert "gone.png" in lines[0].value
    assert all(line.error for line in lines)
    services.tag_all()
    assert listed(services)["A"].status is Status.TAGGED


def test_a_broken_picture_fails_its_product_alone(services: Services, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", {"good.png": 255})
    (source / "bad.png").write_bytes(picture(1)[:50])
    (source / "text.jpg").write_bytes(b"no picture at all")
    deliver(services, source)
    services.tag_all()
    found = listed(services)
    assert found["good"].status is Status.TAGGED
    assert (found["bad"].status, found["bad"].failure_code) == (
        Status.FAILED,
        FailureCode.UNREADABLE,
    )
    assert found["text"].failure_code == FailureCode.UNSUPPORTED_FORMAT
    assert all(found[sku].failure_detail for sku in ("bad", "text"))


def test_one_readable_image_of_several_is_enough(services: Services, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", {"a.png": 255})
    (folder / "b.png").write_bytes(b"broken")
    deliver(services, write_manifest(folder, "sku,image\nA,b.png|a.png\n"))
    services.tag_all()
    assert listed(services)["A"].category == "Light"
    with services.database.read() as session:
        (prediction,) = session.scalars(sa.select(Prediction))
        assert [f["code"] for f in prediction.image_failures] == ["unsupported_format"]


def test_images_that_disagree_go_to_a_person(services: Services, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", {"a.png": 255, "b.png": 0})
    deliver(services, write_manifest(folder, "sku,image\nA,a.png|b.png\n"))
    services.tag_all()
    assert listed(services)["A"].review_reason == ReviewReason.IMAGES_DISAGREE


def test_too_many_images_of_a_product_are_reported(services: Services, tmp_path: Path) -> None:
    count = MAX_PRODUCT_IMAGES + 2
    folder = write_folder(tmp_path / "in", {f"{i}.png": i for i in range(count)})
    rows = "".join(f"A,{i}.png\n" for i in range(count))
    summary = deliver(services, write_manifest(folder, "sku,image\n" + rows))
    assert (summary.products, summary.rejected) == (1, 2)
    assert len(listed(services)["A"].images) == MAX_PRODUCT_IMAGES


def test_an_upload_cut_off_while_received_starts_again_under_its_id(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagging.ingest.RECEIVE_ROWS", 3)
    source = write_folder(tmp_path / "in", {f"{i}.png": i for i in range(8)})

    class PowerCutError(Exception):
        pass

    def cut(_: int) -> None:
        raise PowerCutError

    with open_delivery(source) as delivery, pytest.raises(PowerCutError):
        services.ingest.accept_upload(
            delivery, retailer_id=services.retailer_id, upload_id="u1", on_rows=cut
        )
    assert listed(services) == {}
    assert deliver(services, source, "u1").created == 8
    assert deliver(services, source, "u1").created == 8  # filed: left alone
    with services.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Product)) == 8
        assert sum(backlog.counts(session).values()) == 2


@pytest.mark.parametrize("page", [1, 2, 3, 7])
def test_filing_in_small_pages_gives_every_line_its_outcome_once(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr("tagging.filing.FILE_LINES", page)
    folder = write_folder(tmp_path / "in", {f"{i}.png": i for i in range(12)})
    rows = "".join(f"S{i % 5},{i}.png\n" for i in range(12))
    summary = deliver(services, write_manifest(folder, "sku,image\n" + rows))
    assert (summary.products, summary.rejected) == (5, 0)
    assert sorted(len(line.images) for line in listed(services).values()) == [2, 2, 2, 3, 3]
    services.tag_all()
    assert all(line.status is not Status.QUEUED for line in listed(services).values())


def test_a_person_is_never_overwritten(services: Services, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", {"a.png": 0})
    deliver(services, source)
    services.tag_all()
    with services.database.write("test") as session:
        product = session.scalars(sa.select(Product)).one()
        product.status, product.category, product.decided_by = Status.REVIEWED, "Light", "person"
        session.commit()
    (source / "a.png").write_bytes(picture(128))
    deliver(services, source)
    services.tag_all()
    line = listed(services)["a"]
    assert (line.status, line.review_reason) == (Status.NEEDS_REVIEW, ReviewReason.PHOTO_CHANGED)
    assert (line.category, line.suggestion) == ("Light", "Middle")


def test_a_write_with_a_lost_lease_changes_no_row(services: Services, tmp_path: Path) -> None:
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    (batch_id,) = services.bell.messages

    def steal(_: object) -> None:
        with services.database.write("test") as session:
            session.execute(sa.update(Batch).values(lease_token="somebody else"))
            session.commit()

    services.decoders.before = steal
    assert services.tagger.tag_batch(batch_id) is None
    assert listed(services)["a"].status is Status.QUEUED
    with services.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Prediction)) == 0
        assert session.scalar(sa.select(sa.func.count()).select_from(ImagePrediction)) == 0


def test_a_photo_that_changes_while_its_batch_is_in_hand_keeps_the_new_batch_in_charge(
    services: Services, tmp_path: Path
) -> None:
    source = write_folder(tmp_path / "in", {"a.png": 255})
    deliver(services, source)
    first = services.bell.messages.pop()

    def change(_: object) -> None:
        services.decoders.before = lambda _: None
        (source / "a.png").write_bytes(picture(0))
        deliver(services, source)

    services.decoders.before = change
    services.tagger.tag_batch(first)
    assert listed(services)["a"].status is Status.QUEUED
    services.tag_all()
    assert listed(services)["a"].category == "Dark"


def test_a_broken_photo_that_is_replaced_while_its_batch_is_in_hand_fails_nothing(
    services: Services, tmp_path: Path
) -> None:
    source = write_folder(tmp_path / "in", {})
    (source / "a.png").write_bytes(picture(255)[:50])
    deliver(services, source)
    first = services.bell.messages.pop()

    def change(_: object) -> None:
        services.decoders.before = lambda _: None
        (source / "a.png").write_bytes(picture(0))
        deliver(services, source)

    services.decoders.before = change
    report = services.tagger.tag_batch(first)
    assert report is not None
    assert report.failed == 1, "of the photo that it was"
    assert listed(services)["a"].status is Status.QUEUED
    services.tag_all()
    assert listed(services)["a"].category == "Dark"


def test_a_message_delivered_five_times_does_its_work_once(
    services: Services, tmp_path: Path
) -> None:
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    services.bell.messages *= 5
    services.tag_all()
    assert len(services.reports) == 1
    assert services.shelf.calls == 1
    assert said(services) == (1, 1)


def said(services: Services) -> tuple[int, int]:
    """How many predictions of products there are, and of images."""
    with services.database.read() as session:
        found = [
            session.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for table in (Prediction, ImagePrediction)
        ]
    return found[0], found[1]


def test_the_same_model_asked_again_says_nothing_twice(services: Services, tmp_path: Path) -> None:
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255, "b.png": 64}))
    services.tag_all()
    before = {line.sku: line.model for line in listed(services).values()}
    for _ in range(2):
        services.retagging.request(Asked(scope=RetagScope.ALL), ["default"], by="Eve")
        while services.retagging.step(most_s=1.0) or services.bell.messages:
            services.tag_all()
    assert len(services.reports) == 3
    assert said(services) == (2, 2)
    assert {line.sku: line.model for line in listed(services).values()} == before


def test_two_who_look_at_one_picture_at_once_append_what_they_see_once(
    services: Services, tmp_path: Path
) -> None:
    """Two products have the very same photo, and neither worker finds it known."""
    for sku in "ab":
        deliver(services, write_folder(tmp_path / sku, {f"{sku}.png": 255}))
    first, second = services.bell.messages
    services.bell.messages.clear()
    with services.database.read() as session:  # whoever loads a model has nothing else in hand
        services.shelf.get(models.in_charge(session, services.retailer_id))

    def meanwhile(_: object) -> None:
        services.decoders.before = lambda _: None
        services.tagger.tag_batch(second)

    services.decoders.before = meanwhile
    services.tagger.tag_batch(first)
    assert services.shelf.calls == 2
    assert said(services) == (2, 1)
    assert {line.category for line in listed(services).values()} == {"Light"}


def test_the_ledger_adds_up_at_every_commit(services: Services, tmp_path: Path) -> None:
    found: list[list[str]] = []

    looking = False

    def look(_: object) -> None:
        nonlocal looking
        if looking:  # a look ends in a commit of its own
            return
        looking = True
        with services.database.read() as session:
            found.append(list(ledger(session)))
        looking = False

    sa.event.listen(Session, "after_commit", look)
    try:
        deliver(services, write_folder(tmp_path / "in", {f"{i}.png": i * 20 for i in range(12)}))
        services.tag_all()
    finally:
        sa.event.remove(Session, "after_commit", look)
    assert len(found) > 5
    assert not any(found)


def test_a_broken_store_gives_the_batch_back_and_fails_nobody(
    services: Services, tmp_path: Path
) -> None:
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))

    def away(_: object) -> None:
        raise StoreAwayError("the image store is away")

    services.decoders.before = away
    with pytest.raises(StoreAwayError):
        services.tag_all()
    with services.database.read() as session:
        (batch,) = session.scalars(sa.select(Batch))
        assert (batch.state, batch.attempts) == (BatchState.QUEUED, 0)
        assert batch.last_error == "the image store is away"
    services.decoders.before = lambda _: None
    services.clock.seconds += 5
    services.bell.announce([batch.id])
    services.tag_all()
    assert listed(services)["a"].status is Status.TAGGED


def test_an_older_upload_that_was_cut_off_does_not_put_its_photos_over_a_younger_one(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_folder(tmp_path / "in", {"a.png": 255})
    with monkeypatch.context() as patch:
        patch.setattr(type(services.ingest), "file_upload", lambda *_: None)
        deliver(services, source, "20260101-000000-older")
    services.clock.seconds += 60
    (source / "a.png").write_bytes(picture(0))
    deliver(services, source)
    services.ingest.file_upload("20260101-000000-older")
    services.tag_all()
    assert listed(services)["a"].category == "Dark"


def test_a_second_receiver_of_an_upload_takes_over_and_the_first_is_refused(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagging.ingest.RECEIVE_ROWS", 2)
    source = write_folder(tmp_path / "in", {f"{i}.png": i for i in range(6)})
    again: list[UploadSummary] = []

    def second(_: int) -> None:
        if not again:
            again.append(deliver(services, source, "u1"))

    with open_delivery(source) as delivery, pytest.raises(DeliveryError, match="another process"):
        services.ingest.accept_upload(
            delivery, retailer_id=services.retailer_id, upload_id="u1", on_rows=second
        )
    assert again[0].created == 6
    assert services.ingest.summary("u1").products == 6


def test_the_first_receiver_is_refused_while_the_second_is_in_the_middle(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagging.ingest.RECEIVE_ROWS", 2)
    source = write_folder(tmp_path / "in", {f"{i}.png": i for i in range(6)})
    began, go_on = threading.Event(), threading.Event()
    second: list[Future[UploadSummary]] = []

    def receive(on_rows: Callable[[int], None]) -> UploadSummary:
        with open_delivery(source) as delivery:
            return services.ingest.accept_upload(
                delivery, retailer_id=services.retailer_id, upload_id="u1", on_rows=on_rows
            )

    def wait(_: int) -> None:
        began.set()
        assert go_on.wait(60)

    def take_over(_: int) -> None:
        if not second:
            second.append(pool.submit(receive, wait))
        assert began.wait(60)

    with ThreadPoolExecutor(1) as pool:
        try:
            with pytest.raises(DeliveryError, match="another process"):
                receive(take_over)
        finally:
            go_on.set()
    assert second[0].result().created == 6
    with services.database.read() as session:
        assert list(ledger(session)) == []


def test_a_model_that_says_nothing_of_a_picture_accepts_nothing(
    services: Services, tmp_path: Path
) -> None:
    deliver(services, write_folder(tmp_path / "in", {"a.png": 255}))
    classifier = services.shelf.classifiers.setdefault(
        services.model_id, ShadeClassifier(stand_in_card())
    )
    classifier.classify = lambda images, _: Answers(  # type: ignore[method-assign]
        logits=np.full((len(images), 3), np.nan, np.float32),
        ood_scores=-np.ones(len(images)),
        features=np.zeros((len(images), 2), np.int8),
    )
    services.tag_all()
    line = listed(services)["a"]
    assert (line.category, line.review_reason) == (None, ReviewReason.OUT_OF_DISTRIBUTION)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), IndexError("no")])
def test_an_error_of_ours_is_no_crash_of_a_product(
    services: Services, tmp_path: Path, error: Exception
) -> None:
    source = write_folder(tmp_path / "in", {"a.png": 255})
    upload = deliver(services, source).upload_id

    def fail(_: object) -> None:
        raise error

    services.decoders.before = fail
    with pytest.raises(type(error)):
        services.tag_all()
    again = deliver(services, source).upload_id  # unchanged: its product waits in the old batch
    with services.database.read() as session:
        (batch,) = session.scalars(sa.select(Batch))
        assert (batch.state, batch.attempts, batch.crashes) == (BatchState.QUEUED, 0, 0)
        for asked in (upload, again):
            assert backlog.last_errors(session, asked) == [f"{type(error).__name__}: {error}"]


def test_a_lost_image_is_mended_by_delivering_it_again(services: Services, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", {"a.png": 255, "b.png": 0})
    deliver(services, source)
    with services.database.write("test") as session:
        session.execute(
            sa.update(Product)
            .where(Product.sku == "a")
            .values(
                status=Status.FAILED, failure_code=FailureCode.MISSING, failure_detail="it is gone"
            )
        )
        session.commit()
    services.bell.messages.clear()
    assert deliver(services, source).enqueued == 1
    services.tag_all()
    assert listed(services)["a"].category == "Light"


def test_two_uploads_with_the_same_new_images_in_opposite_order_do_not_deadlock(
    services: Services, tmp_path: Path
) -> None:
    for turn in range(5):
        images = {f"{turn}-{i}": picture(i, size=(9 + turn, 9)) for i in range(40)}
        folder = tmp_path / f"in{turn}"
        folder.mkdir()
        for name, content in images.items():
            (folder / f"{name}.png").write_bytes(content)
        errors: list[Exception] = []

        def run(names: list[str], folder: Path, errors: list[Exception]) -> None:
            rows = "".join(f"{name},{name}.png\n" for name in names)
            manifest = folder / f"{names[0]}.csv"
            manifest.write_text("sku,image\n" + rows)
            try:
                deliver(services, manifest)
            except Exception as error:  # handed to the test's own thread
                errors.append(error)

        threads = [
            threading.Thread(target=run, args=(order, folder, errors))
            for order in (list(images), list(reversed(images)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
    assert len(listed(services)) == 200


def test_a_batch_keeps_the_model_it_was_leased_with_and_retailers_have_their_own(
    services: Services, tmp_path: Path
) -> None:
    source = write_folder(tmp_path / "in", {"a.png": 255})
    now = services.clock.now()
    with services.database.write("test") as session:
        second = models.register(session, stand_in_card(version="2"), tmp_path / "b2", now=now)
        other = models.add_retailer(session, "other", model_id=second, now=now)
        session.commit()
    deliver(services, source)
    with open_delivery(source) as delivery:
        services.ingest.accept_upload(delivery, retailer_id=other)

    def promote(_: object) -> None:
        with services.database.write("test") as session:
            models.put_in_charge(session, services.retailer_id, second, now=now)
            session.commit()

    services.decoders.before = promote
    services.tag_all()
    found = {
        line.retailer: line.model for line in products.listing(services.database, ProductFilter())
    }
    assert found == {"default": "shades:1", "other": "shades:2"}
