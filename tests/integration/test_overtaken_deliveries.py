"""A delivery that takes long to be received, and a younger one that is filed meanwhile."""

from __future__ import annotations

import io
from functools import partialmethod
from pathlib import Path
from typing import Any, Protocol

import pytest
import sqlalchemy as sa
from rich.console import Console

from tagging.catalog.delivery import Delivery
from tagging.catalog.opening import open_delivery
from tagging.database import models, uploads
from tagging.database.tables import Product
from tagging.domain import FailureCode, ItemOutcome, Status, Verdict
from tagging.ingest import Ingest, UploadSummary
from tagging.review import record_review
from tests.faults.promises import ledger
from tests.integration.test_ingest_and_tag import deliver, listed, write_folder, write_manifest
from tests.people import answer, tagged
from tests.stand_in import Services, picture
from worker.console import print_summary


class Overtaken(Protocol):
    def __call__(
        self, *texts: str, whose: int = ..., last_pages: int | None = ...
    ) -> list[str]: ...


@pytest.fixture
def overtaken(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Overtaken:
    """Deliver manifests, of which each begins, and ends, once a line of the one before it is
    received; their ids, the oldest first.

    `whose`: the retailer of the last one. `last_pages`: how many pages of the last one are filed at
    once; the rest in the end.
    """
    monkeypatch.setattr("tagging.ingest.RECEIVE_ROWS", 1)
    folder = tmp_path / "in"
    folder.mkdir()
    for shade in (0, 40, 220, 255):
        (folder / f"{shade}.png").write_bytes(picture(shade))

    def deliver_all(
        *texts: str, whose: int = services.retailer_id, last_pages: int | None = None
    ) -> list[str]:
        begun: list[str] = []
        file_upload = Ingest.file_upload

        def bring(number: int) -> None:
            last = number == len(texts) - 1
            manifest = folder / f"{len(list(folder.iterdir()))}.csv"
            manifest.write_text(texts[number], encoding="utf-8")
            upload = f"{'zyx'[number]}{len(list(folder.iterdir()))}"
            begun.append(upload)
            services.clock.seconds += 60

            def next_one(_: int) -> None:
                if not last and len(begun) == number + 1:
                    bring(number + 1)

            pages = iter(range(last_pages or 0))
            with open_delivery(manifest) as delivery, monkeypatch.context() as patch:
                if last and last_pages is not None:
                    some = partialmethod(file_upload, go_on=lambda: next(pages, None) is not None)
                    patch.setattr(Ingest, "file_upload", some)
                services.ingest.accept_upload(
                    delivery,
                    retailer_id=whose if last else services.retailer_id,
                    upload_id=upload,
                    on_rows=next_one,
                )

        bring(0)
        assert len(begun) == len(texts)
        services.ingest.file_upload(begun[-1])
        services.tag_all()
        return begun

    return deliver_all


def outcomes(services: Services, upload: str) -> dict[ItemOutcome, int]:
    with services.database.read() as session:
        assert list(ledger(session)) == []
        counts = uploads.outcome_counts(session, upload)
    return {outcome: number for outcome, number in counts.items() if number}


def test_photos_that_a_younger_delivery_replaced_stay_replaced(
    services: Services, overtaken: Overtaken
) -> None:
    """And what of the older one came to nothing is told; all else of it is filed."""
    older, younger = overtaken(
        "sku,image\nP,0.png\nP,40.png\nQ,0.png\nR,0.png\n", "sku,image\nP,255.png\nR,0.png\n"
    )
    products = listed(services)
    assert {sku: line.category for sku, line in products.items()} == {
        "P": "Light",
        "Q": "Dark",
        "R": "Dark",
    }
    assert {line.status for line in products.values()} == {Status.TAGGED}
    assert outcomes(services, older) == {
        ItemOutcome.CREATED: 1,
        ItemOutcome.UNCHANGED: 1,
        ItemOutcome.SKIPPED: 2,
    }
    told = list(uploads.skipped_lines(services.database, older))
    assert [(line.line, line.code, line.value) for line in told] == [
        (2, FailureCode.SUPERSEDED, "P"),
        (3, FailureCode.SUPERSEDED, "P"),
    ]
    assert {line.error for line in told} == {
        f"delivery {younger}, which began later, had other photos of 'P', and they stay. If these "
        "are the right ones, deliver them again"
    }
    summary = services.ingest.summary(older)
    assert (summary.products, summary.superseded, summary.skipped) == (2, 2, 0)
    console = Console(file=io.StringIO(), width=200)
    print_summary(summary, dict.fromkeys(Status, 0), console)
    assert "2 lines superseded by a younger delivery" in console.file.getvalue()


def test_photos_that_a_younger_delivery_left_as_they_were_stay_so(
    services: Services, overtaken: Overtaken, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    first.mkdir()
    (first / "255.png").write_bytes(picture(255))
    deliver(services, write_manifest(first, "sku,image\nP,255.png\n"))
    services.tag_all()
    services.clock.seconds += 60
    older, _ = overtaken("sku,image\nP,0.png\n", "sku,image\nP,255.png\n")
    assert listed(services)["P"].category == "Light"
    assert outcomes(services, older) == {ItemOutcome.SKIPPED: 1}


@pytest.mark.parametrize("image", ["0.png", "255.png"], ids=["other photos", "the same"])
@pytest.mark.parametrize(
    ("younger", "title", "attributes"),
    [
        ("sku,image\nP,255.png\n", "Old", {"colour": "red"}),
        ("sku,image,title\nP,255.png,New\n", "New", {"colour": "red"}),
        ("sku,image,cut\nP,255.png,slim\n", "Old", {"cut": "slim"}),
        ("sku,image,title,cut\nP,255.png,New,slim\n", "New", {"cut": "slim"}),
    ],
)
def test_texts_of_which_the_younger_one_said_nothing_are_the_older_ones(
    services: Services,
    overtaken: Overtaken,
    image: str,
    younger: str,
    title: str,
    attributes: dict[str, str],
) -> None:
    """As if the two had come one after the other."""
    overtaken(f"sku,image,title,colour\nP,{image},Old,red\n", younger)
    with services.database.read() as session:
        (product,) = session.query(Product).all()
        assert (product.title, product.attributes) == (title, attributes)
        assert product.category == "Light"


def test_another_retailers_younger_delivery_is_of_other_products(
    services: Services, overtaken: Overtaken
) -> None:
    with services.database.write("test") as session:
        other = models.add_retailer(
            session, "other", model_id=services.model_id, now=services.clock.now()
        )
        session.commit()
    overtaken("sku,image\nP,255.png\n", "sku,image\nP,255.png\n", whose=other)
    older, _ = overtaken("sku,image\nP,0.png\n", "sku,image\nP,255.png\n", whose=other)
    assert outcomes(services, older) == {ItemOutcome.CHANGED: 1}


def test_of_three_each_has_what_no_younger_one_said(
    services: Services, overtaken: Overtaken
) -> None:
    """The youngest said no title, and the one before it did, on its second line."""
    overtaken(
        "sku,image,title,cut\nP,0.png,First,wide\n",
        "sku,image,title,cut\nP,40.png,,\nP,0.png,Second,\n",
        "sku,image\nP,255.png\n",
    )
    with services.database.read() as session:
        (product,) = session.query(Product).all()
        assert (product.title, product.attributes) == ("Second", {"cut": "wide"})
        assert product.category == "Light"


def test_what_was_overtaken_is_filed_page_by_page(
    services: Services, overtaken: Overtaken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By two, of which each has other products of every page."""
    monkeypatch.setattr("tagging.filing.FILE_LINES", 3)
    lines = [f"P{number:02}" for number in range(12)]

    def manifest(image: str, step: int) -> str:
        return "sku,image\n" + "".join(f"{sku},{image}.png\n" for sku in lines[::step])

    older, middle, _ = overtaken(manifest("0", 1), manifest("220", 2), manifest("255", 3))
    assert {sku: line.category for sku, line in listed(services).items()} == {
        sku: "Dark" if number % 2 and number % 3 else "Light" for number, sku in enumerate(lines)
    }
    assert outcomes(services, older) == {ItemOutcome.CREATED: 4, ItemOutcome.SKIPPED: 8}
    assert outcomes(services, middle) == {ItemOutcome.CREATED: 4, ItemOutcome.SKIPPED: 2}


@pytest.mark.parametrize("pages", [0, 1, 2])
def test_a_younger_one_that_is_half_filed_is_filed_on_behind_it(
    services: Services, overtaken: Overtaken, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    monkeypatch.setattr("tagging.filing.FILE_LINES", 2)
    skus = "ABCDE"
    overtaken(
        "sku,image\n" + "".join(f"{sku},0.png\n" for sku in skus),
        "sku,image\n" + "".join(f"{sku},255.png\n" for sku in skus),
        last_pages=pages,
    )
    assert {line.category for line in listed(services).values()} == {"Light"}
    assert len(listed(services)) == len(skus)


def test_lines_that_are_too_much_of_a_superseded_product_are_rejected_as_ever(
    services: Services, overtaken: Overtaken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagging.filing.MAX_PRODUCT_IMAGES", 1)
    older, _ = overtaken("sku,image\nP,0.png\nP,40.png\n", "sku,image\nP,255.png\n")
    assert outcomes(services, older) == {ItemOutcome.SKIPPED: 1, ItemOutcome.REJECTED: 1}


def test_what_a_person_decided_is_not_asked_again_for_superseded_photos(
    services: Services, overtaken: Overtaken, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "first", {"P.png": 255})
    record_review(
        services.database, answer(services, "P", Verdict.CONFIRMED), now=services.clock.now()
    )
    overtaken("sku,image\nP,0.png\n", "sku,image\nP,255.png\n")
    assert listed(services)["P"].status is Status.REVIEWED


def test_sqlite_finds_the_younger_ones_lines_by_their_skus(
    services: Services, overtaken: Overtaken
) -> None:
    """Also where there are several, and though nothing was ever counted for its plans."""
    if services.database.engine.dialect.name != "sqlite":
        pytest.skip("tests/integration/test_query_plans.py asks PostgreSQL")
    asked: list[tuple[str, Any]] = []

    def note(*executed: Any) -> None:
        _, _, statement, parameters, _, _ = executed
        if "upload_items.sku BETWEEN" in statement:
            asked.append((statement, parameters))

    sa.event.listen(services.database.engine, "before_cursor_execute", note)
    overtaken("sku,image\nP,0.png\n", "sku,image\nP,40.png\n", "sku,image\nP,255.png\n")
    (statement, parameters), *_ = asked
    with services.database.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert any(
        "ix_upload_items_upload_id_sku_seq (upload_id=? AND sku>? AND sku<?)" in str(step)
        for step in plan
    ), plan


def test_a_dropped_delivery_that_was_overtaken_as_a_whole_is_done(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing wrong with it; its report says what became of its photos."""
    accept_upload = Ingest.accept_upload
    folder = write_folder(tmp_path / "correction", {"P.png": 255})

    def overtaken(self: Ingest, delivery: Delivery, **how: Any) -> UploadSummary:
        def correct(_: int) -> None:
            services.clock.seconds += 60
            with monkeypatch.context() as patch:
                patch.setattr(Ingest, "accept_upload", accept_upload)
                deliver(services, folder)

        return accept_upload(self, delivery, **how, on_rows=correct)

    inbox = services.drop_folder(tmp_path / "inbox")
    inbox.prepare()
    (inbox.root / "P.png").write_bytes(picture(0))
    assert list(inbox.step()) == []
    services.clock.seconds += 2
    monkeypatch.setattr(Ingest, "accept_upload", overtaken)
    (report,) = inbox.step()
    inbox.close()
    assert (report["outcome"], report["products"], report["skipped_lines"]) == ("done", 0, 1)
    assert report["skipped"][0]["code"] is FailureCode.SUPERSEDED
    services.tag_all()
    assert listed(services)["P"].category == "Light"
