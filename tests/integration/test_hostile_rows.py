"""Rows that ask for too much of a transaction, and skus that only look the same."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging.catalog.formula import guard
from tagging.catalog.opening import open_delivery
from tagging.database import uploads
from tagging.database.tables import UploadItem
from tagging.domain import FailureCode, ItemOutcome
from tests.integration.test_ingest_and_tag import deliver, listed, write_folder, write_manifest
from tests.stand_in import Services


def outcomes(services: Services) -> dict[int, ItemOutcome]:
    with services.database.read() as session:
        return dict(session.execute(sa.select(UploadItem.line, UploadItem.outcome)).all())


def test_a_column_that_is_the_same_in_every_row_is_no_sku(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million lines of one sku are not held in memory together."""
    monkeypatch.setattr("tagging.filing.FILE_LINES", 10)
    monkeypatch.setattr("tagging.filing.MAX_PRODUCT_LINES", 12)
    folder = write_folder(tmp_path / "in", {"a.png": 1, "b.png": 2})
    rows = ["A,a.png", *["shop,b.png"] * 40, "z,a.png"]
    summary = deliver(services, write_manifest(folder, "sku,image\n" + "\n".join(rows) + "\n"))
    assert (summary.products, summary.rejected) == (3, 28)
    assert sorted(listed(services)) == ["A", "shop", "z"]
    lines = list(uploads.rejected_lines(services.database, summary.upload_id))
    assert [line.line for line in lines] == list(range(15, 43))
    assert {line.error.partition(", which")[0] for line in lines} == {
        "12 lines before this one name the product 'shop'"
    }
    assert {line.code for line in lines} == {FailureCode.TOO_MANY_LINES}
    services.tag_all()
    assert ItemOutcome.PENDING not in outcomes(services).values()


@pytest.mark.parametrize("budget", [1, 100, 1000])
def test_long_texts_are_received_and_filed_a_few_at_a_time(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    monkeypatch.setattr("tagging.filing.FILE_CHARS", budget)
    monkeypatch.setattr("tagging.ingest.RECEIVE_CHARS", budget)
    folder = write_folder(tmp_path / "in", {f"{i}.png": i for i in range(12)})
    rows = "".join(f"S{i % 7},{i}.png,{'x' * 20}\n" for i in range(12))
    received: list[int] = []
    path = write_manifest(folder, "sku,image,text\n" + rows)
    with open_delivery(path) as delivery:
        summary = services.ingest.accept_upload(
            delivery, retailer_id=services.retailer_id, on_rows=received.append
        )
    assert received == {1: [1] * 12, 100: [4] * 3, 1000: [12]}[budget]
    # With a budget of less than a line, the second line of a sku is one too many.
    assert (summary.products, summary.rejected) == (7, 5 if budget == 1 else 0)
    assert set(outcomes(services).values()) <= {
        ItemOutcome.CREATED,
        ItemOutcome.MERGED,
        ItemOutcome.REJECTED,
    }


def test_attributes_of_many_lines_are_bounded_together(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagging.filing.MAX_PRODUCT_CHARS", 50)
    folder = write_folder(tmp_path / "in", {"a.png": 1})
    lines = [{"sku": "A", "image": "a.png", f"k{i}": "x" * 20} for i in range(6)]
    lines += [{"sku": "A", "image": "a.png", "k0": "again"}]
    (folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    summary = deliver(services, folder / "m.jsonl")
    assert (summary.products, summary.rejected) == (1, 4)
    (first, *_) = uploads.rejected_lines(services.database, summary.upload_id)
    assert first.line == 3
    assert "more than 50 characters of attributes" in first.error
    assert first.code is FailureCode.TOO_MANY_LINES


TWINS = [
    "a1", "A1", "\uff41\uff11", "\u04301", "a\u200b1", "a\u202e1", "a 1", "a\u00a01", "%61%31",
    "Straße", "STRASSE", "\ufb01", "fi", "\u0130", "i\u0307", "\u0131", "I", "\u01c4", "dž",
    "a1.", "a1;", "..", "/a1", "CON", "-1", "'=1", "=1", "NULL", "null", "0", "00", "0.0", "1e3",
    "1E3", "true",
]  # fmt: skip
"""Different skus, however alike: by case, width, script, by what is invisible or taken kindly."""
SAME = [("Größe", "NFC", "NFD"), ("Å", "NFC", "NFD"), ("가", "NFC", "NFD")]
"""One sku in two normal forms, as two systems write it."""


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_skus_that_only_look_the_same_are_told_apart(
    services: Services, tmp_path: Path, form: str
) -> None:
    folder = write_folder(tmp_path / "in", {"a.png": 1, "b.png": 2})
    rows = [(sku, "a.png") for sku in TWINS]
    for text, one, other in SAME:
        rows += [(unicodedata.normalize(one, text), "a.png"),
                 (unicodedata.normalize(other, text), "b.png")]  # fmt: skip
    rows += [("\u212a", "a.png"), ("K", "b.png")]  # the sign of Kelvin is a K, says Unicode
    if form == "csv":
        text = "".join(f'"{guard(sku)}",{image}\n' for sku, image in rows)
        source = write_manifest(folder, "sku,image\n" + text)
    else:
        source = folder / "m.jsonl"
        source.write_text(
            "".join(json.dumps({"sku": sku, "image": image}) + "\n" for sku, image in rows)
        )
    summary = deliver(services, source)
    assert (summary.products, summary.rejected) == (len(TWINS) + 4, 0)
    found = listed(services)
    assert set(found) == {unicodedata.normalize("NFC", sku) for sku in TWINS} | set("Å가K") | {
        "Größe"
    }
    assert [len(found[sku].images) for sku in ("Größe", "Å", "가", "K")] == [2] * 4
    assert [len(found[sku].images) for sku in ("a1", "A1")] == [1] * 2
    again = deliver(services, source)
    assert (again.unchanged, again.created) == (len(TWINS) + 4, 0)
