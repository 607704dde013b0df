"""Rows that ask for too much of a transaction, and skus that only look the same."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tagging.catalog.delivery import Row
from tagging.catalog.formula import guard
from tagging.catalog.opening import open_delivery
from tagging.database import uploads
from tagging.database.tables import Product, Upload, UploadItem
from tagging.domain import FailureCode, ItemOutcome
from tagging.images import store as store_module
from tests.integration.test_ingest_and_tag import deliver, listed, write_folder, write_manifest
from tests.stand_in import Services, picture


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


def read_and_written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all images that are read and written from now on."""
    found: list[int] = []
    write = store_module._write_hashed

    def counted(source: Any, target: Path, max_bytes: int, private: bool) -> tuple[str, int]:
        found.append(max_bytes)
        return write(source, target, max_bytes, private)

    monkeypatch.setattr(store_module, "_write_hashed", counted)
    return found


@pytest.mark.parametrize("packed", [False, True])
def test_an_image_that_every_row_names_is_read_once(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    """2,500 rows that name 64 images of 50 MB would be 8 TB read, written and hashed."""
    monkeypatch.setattr("tagging.ingest.RECEIVE_ROWS", 10)
    shades = {f"{number}.png": number for number in range(5)}
    folder = write_folder(tmp_path / "in", shades)
    (folder / "again").symlink_to("0.png")
    names = "|".join([*shades, *(["./0.png", "x/../1.png"] if packed else ["./0.png", "again"])])
    source = write_manifest(folder, "sku,image\n" + f"A,{names}\nB,{names}\n" * 20)
    if packed:
        source = tmp_path / "in.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for name in [*shades, "products.csv"]:
                archive.write(folder / name, name)
    written = read_and_written(monkeypatch)
    summary = deliver(services, source)
    assert (summary.products, summary.rejected) == (2, 0)
    assert len(written) == 5
    with services.database.read() as session:
        lines = session.scalars(sa.select(UploadItem.images)).all()
    assert {tuple(line) for line in lines} == {tuple(lines[0])}
    assert list(dict.fromkeys(lines[0])) == [
        hashlib.sha256(picture(shade)).hexdigest() for shade in shades.values()
    ]


@pytest.mark.parametrize("known", [1, 3])
def test_only_so_many_are_known(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    monkeypatch.setattr("tagging.ingest.KNOWN_IMAGES", known)
    folder = write_folder(tmp_path / "in", {f"{number}.png": number for number in range(3)})
    rows = "".join(f"S{row}{number},{number}.png\n" for row in range(2) for number in range(3))
    written = read_and_written(monkeypatch)
    assert deliver(services, write_manifest(folder, "sku,image\n" + rows)).products == 6
    assert len(written) == {1: 6, 3: 3}[known]


def test_one_that_is_refused_is_read_once_too(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "in", {"small.png": 1})
    (folder / "large.png").write_bytes(bytes(services.ingest.image_max_bytes + 1))
    rows = "A,small.png\n" + "".join(f"B{row},large.png\n" for row in range(20))
    written = read_and_written(monkeypatch)
    summary = deliver(services, write_manifest(folder, "sku,image\n" + rows))
    assert (summary.products, summary.rejected, len(written)) == (1, 20, 2)
    lines = list(uploads.rejected_lines(services.database, summary.upload_id))
    assert len({line.error for line in lines}) == 1
    assert "more than the" in lines[0].error


def test_a_file_that_was_written_to_since_is_another(services: Services, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", {"a.png": 1})
    path = write_manifest(folder, "sku,image\n" + "A,a.png\nB,a.png\n")
    with open_delivery(path) as delivery:
        rows = delivery.rows()

        def written_to_in_between() -> Iterator[Row]:
            yield next(rows)
            (folder / "a.png").write_bytes(picture(2))
            yield from rows

        monkey = pytest.MonkeyPatch()
        monkey.setattr(delivery, "rows", written_to_in_between)
        services.ingest.accept_upload(delivery, retailer_id=services.retailer_id)
        monkey.undo()
    with services.database.read() as session:
        images = session.scalars(sa.select(UploadItem.images).order_by(UploadItem.line)).all()
    assert images == [[hashlib.sha256(picture(shade)).hexdigest()] for shade in (1, 2)]


ODD_TEXTS = {
    "escaped": "\\u0000 \\x00 \\ud800 \\ \\\\ \\n %00 &#0;",
    "controls": "\x01\x07\x08\x1b[2J\x7f\x85\u2028\u2029",
    "no characters": "\ufffe\uffff\U0001fffe\U0010ffff\ufdd0\ue000",
    "beyond": "\U0001f9e5\U000e0061\u202e\u200b\ufeff\u0301",
    "quotes": "'; DROP TABLE products; -- \" $$ $1 %s %(sku)s :sku ?",
    "numbers": "1e999 -0 NaN Infinity 9223372036854775808",
    "json": '{"a": ["\\u0000"]}',
    "long": "\U0010ffff" * 90_000,
    "__proto__": "x",
    "$.a[0]": "x",
    "\\u0000": "x",
    "\U0010ffff" * 3000: "x",
}
"""What a line may say, by column; SQLite and PostgreSQL must keep all of it to the letter."""


def test_odd_texts_are_kept_to_the_letter(services: Services, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", {"a.png": 1})
    lines: list[dict[str, Any]] = [
        {"sku": f"{at}", "image": "a.png", "title": text, name: text}
        for at, (name, text) in enumerate(ODD_TEXTS.items())
    ]
    # A value that is no string is kept as JSON text, in which a NUL is six letters.
    lines.append({"sku": "nested", "image": "a.png", "list": ["\0", 1e308, -(10**40), None]})
    written = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "m.jsonl").write_text(written, encoding="utf-8")
    summary = deliver(services, folder / "m.jsonl")
    assert (summary.products, summary.rejected) == (len(lines), 0)
    with services.database.read() as session:
        rows = session.execute(sa.select(Product.sku, Product.title, Product.attributes)).all()
    kept = {sku: (title, attributes) for sku, title, attributes in rows}
    for at, (name, text) in enumerate(ODD_TEXTS.items()):
        assert kept[f"{at}"] == (text.strip(), {name: text.strip()}), name
    assert kept["nested"][1] == {"list": f'["\\u0000", 1e+308, -{10**40}, null]'}
    assert deliver(services, folder / "m.jsonl").unchanged == len(lines)


ODD_NAMES = (
    b"bell\x07", b"line\nfeed", b"\x1b[2J", b"latin-1 \xe9", b"cut \xc3", b"surrogate \xed\xa0\x80",
    b"\xf4\x8f\xbf\xbf", b"%00", b"\\u0000", b"x" * 250, b"\xef\xbf\xbf", b"\xe2\x80\xae",
)  # fmt: skip
"""Of files and folders, as bytes: no NUL can stand in one, all else can."""


@pytest.mark.parametrize("what", ["a folder of them", "each by itself", "none a picture"])
def test_names_that_are_no_text_are_said_in_letters(
    services: Services, tmp_path: Path, what: str
) -> None:
    """In the ledger's column of text, in the upload's source, in its warnings."""
    (tmp_path / "in").mkdir()
    ending = b".txt" if what == "none a picture" else b".png"
    for name in ODD_NAMES:
        (tmp_path / "in" / os.fsdecode(name + ending)).write_bytes(picture(1))
    bad = 7  # controls, bytes that are no UTF-8, and one too long
    if what == "each by itself":
        summaries = [deliver(services, path) for path in sorted((tmp_path / "in").iterdir())]
    else:
        odd = tmp_path / os.fsdecode(b"odd \xff\n\x1b")
        (tmp_path / "in").rename(odd)
        summaries = [deliver(services, odd)]
    found = [
        line
        for summary in summaries
        for refused in (uploads.rejected_lines, uploads.skipped_lines)
        for line in refused(services.database, summary.upload_id)
    ]
    assert sum(one.products for one in summaries) == (
        0 if what == "none a picture" else len(ODD_NAMES) - bad
    )
    assert len(found) == (len(ODD_NAMES) if what == "none a picture" else bad)
    assert {line.code for line in found} == {
        FailureCode.NOT_AN_IMAGE if what == "none a picture" else FailureCode.BAD_SKU
    }
    with services.database.read() as session:
        sources = session.scalars(sa.select(Upload.source)).all()
    assert all(text.isprintable() for text in [*sources, *(line.value for line in found)])
