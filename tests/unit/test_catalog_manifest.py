"""Manifests: what each row becomes, and which manifests are refused as a whole."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagging.catalog.delivery import (
    DeliveredRow,
    DeliveryLimits,
    RejectedRow,
    Row,
)
from tagging.catalog.formula import guard
from tagging.catalog.opening import open_delivery
from tagging.domain import FailureCode
from tagging.errors import DeliveryError
from tests.coded import coded

SMALL = DeliveryLimits(max_cell_chars=1000, max_row_chars=3000, max_images_per_row=3)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg", "images/c.jpg", "Größe.jpg", "=1.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def read(
    shop: Path, data: str | bytes, *, name: str = "p.csv", limits: DeliveryLimits = SMALL
) -> tuple[list[Row], list[str]]:
    (shop / name).write_bytes(data.encode() if isinstance(data, str) else data)
    with open_delivery(shop / name, limits=limits) as delivery:
        assert (delivery.kind, delivery.name) == ("manifest", name)
        return list(delivery.rows()), delivery.warnings


def rows(shop: Path, data: str | bytes, *, name: str = "p.csv") -> list[Row]:
    found, warnings = read(shop, data, name=name)
    assert warnings == []
    return found


def delivered(row: Row) -> tuple[int, str, list[str], str | None, Mapping[str, str]]:
    assert isinstance(row, DeliveredRow), row
    return row.line, row.sku, [i.name for i in row.images], row.title, row.attributes


def rejected(row: Row, code: FailureCode | None = None) -> RejectedRow:
    assert isinstance(row, RejectedRow), row
    assert row.error.startswith(f"line {row.line}: ")
    assert code is None or row.code is code
    return row


CODES = {
    "no file": FailureCode.MISSING,
    "there is 'a.jpg'": FailureCode.MISSING,
    "leaves the manifest's folder": FailureCode.REFUSED_PATH,
    "is absolute": FailureCode.REFUSED_PATH,
    "is a folder": FailureCode.CANNOT_OPEN,
    "sku is empty": FailureCode.BAD_SKU,
    "control": FailureCode.BAD_SKU,
    "201 characters": FailureCode.BAD_SKU,
    "4 images": FailureCode.TOO_MANY_IMAGES,
}
"""Of rows that say so; all others are bad rows."""


def code_of(says: str) -> FailureCode:
    return next((c for text, c in CODES.items() if says.startswith(text)), FailureCode.BAD_ROW)


def test_a_plain_manifest(shop: Path) -> None:
    found = rows(shop, "sku,image,title,Colour\n1,a.jpg,A dress,red\n2,images/c.jpg,,\n")
    assert [delivered(r) for r in found] == [
        (2, "1", ["a.jpg"], "A dress", {"colour": "red"}),
        (3, "2", ["images/c.jpg"], None, {}),
    ]
    assert isinstance(found[1], DeliveredRow)
    with found[1].images[0].open() as file:
        assert file.read() == b"images/c.jpg"


@pytest.mark.parametrize(
    "data",
    [
        "sku,image\n1,a.jpg\n",
        "sku;image\n1;a.jpg\n",
        "sku\timage\n1\ta.jpg\n",
        "SKU, Image \n1,a.jpg\n",
        '"sku","image"\n"1","a.jpg"\n',
        "image,sku\na.jpg,1\n",
        "sku,image\r\n1,a.jpg\r\n",
        "sku,image\r1,a.jpg\r",
        "sku,image\n1,a.jpg",
        "sku,image\n 1 , a.jpg \n",
        "\n\nsku,image\n1,a.jpg\n",
        "sep=;\nsku;image\n1;a.jpg\n",
        "sep=,\nsku,image\n1,a.jpg\n",
        '"sep=;"\r\nsku;image\r\n1;a.jpg\r\n',
        b"\xef\xbb\xbfsku,image\n1,a.jpg\n",
        b'\xef\xbb\xbf"sku","image"\n1,a.jpg\n',
        b"\xef\xbb\xbf\xef\xbb\xbfsku,image\n1,a.jpg\n",
        "sku,image\n1,a.jpg\n".encode("utf-16"),
        b"\xfe\xff" + "sku\timage\n1\ta.jpg\n".encode("utf-16-be"),
        "sku,image\n\n1,a.jpg\n\n,\n , \n\n",
    ],
)
@pytest.mark.parametrize("name", ["p.csv", "p.TSV", "p.txt"])
def test_the_same_product_in_many_dialects(shop: Path, data: str | bytes, name: str) -> None:
    (row,) = rows(shop, data, name=name)
    assert delivered(row)[1:] == ("1", ["a.jpg"], None, {})


def test_the_delimiter_is_found_by_the_header_alone(shop: Path) -> None:
    (row,) = rows(shop, "sku;image;text, long\n1;a.jpg;a,b,c,d,e\n")
    assert delivered(row)[4] == {"text, long": "a,b,c,d,e"}
    (row,) = rows(shop, 'sku,image,"a;b;c"\n1,a.jpg,1;2;3;4\n')
    assert delivered(row)[4] == {"a;b;c": "1;2;3;4"}


def test_several_images_in_a_cell(shop: Path) -> None:
    (row,) = rows(shop, "sku,image\n1,a.jpg | images\\c.jpg||b.jpg|\n")
    assert delivered(row)[2] == ["a.jpg", "images\\c.jpg", "b.jpg"]


def test_rows_of_one_sku_stay_apart(shop: Path) -> None:
    found = rows(shop, "sku,image\n1,a.jpg\n1,b.jpg\n")
    assert [delivered(r)[1:3] for r in found] == [("1", ["a.jpg"]), ("1", ["b.jpg"])]


def test_line_is_where_the_row_starts(shop: Path) -> None:
    found = rows(shop, 'sku,image,text\n1,a.jpg,"x\ny"\n\n2,b.jpg,\n')
    assert [delivered(r)[0] for r in found] == [2, 5]


def test_skus_are_in_normal_form_c(shop: Path) -> None:
    (row,) = rows(shop, "sku,image\nGro\u0308ße,Gro\u0308ße.jpg\n")
    assert delivered(row)[1] == "Größe"


def test_an_image_that_is_named_twice_counts_once(shop: Path) -> None:
    (row,) = rows(shop, "sku,image\n1,a.jpg| a.jpg |b.jpg|a.jpg|a.jpg\n")
    assert isinstance(row, DeliveredRow)
    assert [image.name for image in row.images] == ["a.jpg", "b.jpg"]


def test_columns_without_a_name(shop: Path) -> None:
    (row,) = rows(shop, "sku,image,,\n1,a.jpg,,x\n")
    assert delivered(row)[4] == {"column_4": "x"}


@pytest.mark.parametrize(
    ("line", "value", "says"),
    [
        ("1", "1", "1 cells where the header has 3"),
        ("1,a.jpg", "1,a.jpg", "2 cells where the header has 3"),
        ("1,a.jpg,x,y", "1,a.jpg,x,y", "4 cells where the header has 3"),
        (",a.jpg,", ",a.jpg,", "sku is empty"),
        ("  ,a.jpg,", "  ,a.jpg,", "sku is empty"),
        (f"{'x' * 201},a.jpg,", "x" * 199 + "…", "201 characters"),
        ('"1\n2",a.jpg,', '"1', "control characters"),
        ("1\x07,a.jpg,", "1\\x07,a.jpg,", "control characters"),
        ("1,,", "1,,", "image is empty"),
        ("1, | ,", "1, | ,", "image is empty"),
        ("1,a.jpg|b.jpg|c.jpg|d.jpg,", "1,a.jpg|b.jpg|c.jpg|d.jpg,", "4 images"),
        ("1,x.jpg,", "x.jpg", "no file 'x.jpg' beside the manifest; "),
        ("1,a.jpg|x.jpg,", "x.jpg", "no file 'x.jpg'"),
        ("1,../a.jpg,", "../a.jpg", "leaves the manifest's folder"),
        ("1,/etc/passwd,", "/etc/passwd", "is absolute"),
        ("1,images,", "images", "is a folder"),
        ("1,A.JPG,", "A.JPG", "there is 'a.jpg'"),
        ("1,a.jpg,x\0", "1,a.jpg,x\\x00", "NUL"),
        ("1\0,a.jpg,", "1\\x00,a.jpg,", "NUL"),
        ("1,a.jpg\0,", "1,a.jpg\\x00,", "NUL"),
        ('"1"x,a.jpg,', '"1"x,a.jpg,', "text after a closing quote"),
        (f"1,a.jpg,{'x' * 1001}", ("1,a.jpg," + "x" * 200)[:199] + "…", "more than 1000"),
        ("'=x,x.jpg,", "x.jpg", "no file"),
    ],
)
def test_a_bad_row_is_rejected_and_its_neighbours_go_on(
    shop: Path, line: str, value: str, says: str
) -> None:
    first, bad, last = rows(shop, f"sku,image,text\n7,a.jpg,\n{line}\n8,b.jpg,\n")
    assert delivered(first)[1] == "7"
    assert delivered(last)[1] == "8"
    row = rejected(bad, code_of(says))
    assert (row.line, row.value) == (3, value)
    assert says in row.error


def test_the_sku_of_a_rejected_row_is_given_where_it_is_known(shop: Path) -> None:
    found = rows(shop, "sku,image\n1,x.jpg\n2,\n3\n")
    assert [rejected(r).sku for r in found] == ["1", "2", None]
    assert [rejected(r).code for r in found] == [
        FailureCode.MISSING,
        FailureCode.BAD_ROW,
        FailureCode.BAD_ROW,
    ]


def test_an_unclosed_quote_names_its_line(shop: Path) -> None:
    found = rows(shop, 'sku,image\n1,a.jpg\n2,"b.jpg\n3,a.jpg\n')
    assert delivered(found[0])[1] == "1"
    bad = rejected(found[1], FailureCode.BAD_ROW)
    assert bad.line == 3
    assert "a quote opened on line 3 is never closed" in bad.error
    assert len(found) == 2


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_cell_of_over_ten_megabytes_takes_little_memory(shop: Path, quote: str) -> None:
    with (shop / "p.csv").open("w") as file:
        file.write(f"sku,image\n1,{quote}")
        for _ in range(20):
            file.write("x" * 1_000_000)
        file.write(f"{quote}\n2,b.jpg\n")
    tracemalloc.start()
    try:
        with open_delivery(shop / "p.csv") as delivery:
            bad, good = delivery.rows()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "more than 100000 characters" in rejected(bad).error
    assert delivered(good)[:2] == (3, "2")
    assert peak < 8_000_000


@pytest.mark.parametrize(
    ("name", "start", "end", "problem"),
    [
        ("p.jsonl", '{"sku": "1", "image": "a.jpg", "t": "', '"}\n', "characters"),
        ("p.csv", "sku,image\n", "\n", "more than 100000 characters"),
        ("p.csv", "sku,image\n" + "," * 5000, "\n", "more than 1000 cells"),
    ],
)
def test_a_line_of_ten_megabytes_takes_little_memory(
    shop: Path, name: str, start: str, end: str, problem: str
) -> None:
    (shop / name).write_text(start + "x" * 10_000_000 + end)
    tracemalloc.start()
    try:
        with open_delivery(shop / name) as delivery:
            (bad,) = delivery.rows()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert problem in rejected(bad, FailureCode.BAD_ROW).error
    assert len(bad.value) <= 200 if isinstance(bad, RejectedRow) else False
    assert peak < 12_000_000


def test_formula_guards_are_undone(shop: Path) -> None:
    (row,) = rows(shop, "sku,image,text,more\n'-1,'=1.jpg,''=x,'80s\n")
    assert delivered(row) == (2, "-1", ["=1.jpg"], None, {"text": "'=x", "more": "'80s"})


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50
)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20))
def test_an_exported_cell_comes_back(shop: Path, text: str) -> None:
    text = text.strip()
    cell = guard(text).replace('"', '""')
    (row,) = rows(shop, f'sku,image,text\n1,a.jpg,"{cell}"\n')
    assert delivered(row)[4] == ({"text": text} if text else {})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        ("sku,picture\n1,a.jpg\n", "no column image.*found: 'sku', 'picture'"),
        ("a,b,c\n1,2,3\n", "no column sku and no column image.*'a', 'b', 'c'"),
        ("sku|image\n1|a.jpg\n", "comma,.*semicolon or tab.*'sku|image'"),
        ("1,a.jpg\n", "no column sku"),
        ("sku,image,image\n", "'image' more than once"),
        ("sku,SKU,image\n", "'sku' more than once"),
        ("sku,image,a,A\n", "'a' more than once"),
        ('sku,"image\n1,a.jpg\n', "never closed"),
        ("sku,image,x\0\n", "no valid text"),
        ("sku,image\n1,a.jpg\n".encode("utf-16-le"), "UTF-16 without its byte order mark"),
        ("sku,image\n".encode("utf-32"), "UTF-32"),
        (b"\xff\xfes\x00k\x00u", "UTF-16 but is damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 10, "no column sku"),
    ],
)
def test_a_manifest_that_cannot_be_read_at_all(shop: Path, data: str | bytes, says: str) -> None:
    with pytest.raises(DeliveryError, match=says, check=coded(FailureCode.BAD_DELIVERY)):
        read(shop, data)


@pytest.mark.parametrize("data", ["sku,image", "sku,image\n", "sku;image;x\n\n\n"])
def test_a_header_alone_is_a_delivery_of_nothing(shop: Path, data: str) -> None:
    assert rows(shop, data) == []


def test_windows_1252_is_read_with_a_warning(shop: Path) -> None:
    head = "sku,image,text\n" + "1,a.jpg,x\n" * 150_000
    data = head.encode() + "Größe,Größe.jpg,10 €\n".encode("cp1252")
    found, warnings = read(shop, data)
    assert delivered(found[-1])[1:] == ("Größe", ["Größe.jpg"], None, {"text": "10 €"})
    assert len(warnings) == 1
    assert "Windows-1252" in warnings[0]


def test_bytes_that_windows_1252_lacks_reject_their_row(shop: Path) -> None:
    found, warnings = read(shop, b"sku,image\nG\xf6,a.jpg\n\x81,a.jpg\n")
    assert delivered(found[0])[1] == "Gö"
    assert "no valid text" in rejected(found[1]).error
    assert rejected(found[1]).value == "\\udc81,a.jpg"
    assert warnings


def test_damaged_utf8_rejects_only_the_damaged_rows(shop: Path) -> None:
    data = "sku,image\nGröße,a.jpg\nÄÖÜ,a.jpg\n".encode() + b"\xe9,a.jpg\n"
    found, warnings = read(shop, data)
    assert [delivered(r)[1] for r in found[:2]] == ["Größe", "ÄÖÜ"]
    assert "save the file as UTF-8" in rejected(found[2]).error
    assert "1 stray bytes" in warnings[0]


def json_rows(shop: Path, *lines: object) -> list[Row]:
    text = "".join((li if isinstance(li, str) else json.dumps(li)) + "\n" for li in lines)
    return rows(shop, text, name="p.jsonl")


def test_json_lines(shop: Path) -> None:
    found = json_rows(
        shop,
        {"sku": "1", "image": "a.jpg", "title": "T", "colour": "red"},
        "",
        {"SKU": 2, "Image": ["a.jpg", "images/c.jpg"], "price": 1.5, "new": True, "old": None},
        {"sku": "3", "image": "a.jpg|b.jpg", "sizes": [38, "ö"], "dims": {"w": 1}, "x": "  "},
        {"sku": "4", "image": "a.jpg", "title": None, "text": "'=kept"},
    )
    assert [delivered(r) for r in found] == [
        (1, "1", ["a.jpg"], "T", {"colour": "red"}),
        (3, "2", ["a.jpg", "images/c.jpg"], None, {"price": "1.5", "new": "true"}),
        (4, "3", ["a.jpg", "b.jpg"], None, {"sizes": '[38, "ö"]', "dims": '{"w": 1}'}),
        (5, "4", ["a.jpg"], None, {"text": "'=kept"}),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not usable JSON"),
        ("not json", "not usable JSON"),
        ("[1]", "no JSON object"),
        ('"x"', "no JSON object"),
        ("null", "no JSON object"),
        ('{"sku": "1"}', "no image; found: 'sku'"),
        ("{}", "no sku and no image"),
        ('{"sku": null, "image": "a.jpg"}', "no sku"),
        ('{"sku": 1.5, "image": "a.jpg"}', "sku is neither"),
        ('{"sku": true, "image": "a.jpg"}', "sku is neither"),
        ('{"sku": ["1"], "image": "a.jpg"}', "sku is neither"),
        ('{"sku": "", "image": "a.jpg"}', "sku is empty"),
        ('{"sku": "1", "image": 7}', "neither a path"),
        ('{"sku": "1", "image": {"a": 1}}', "neither a path"),
        ('{"sku": "1", "image": ["a.jpg", 7]}', "neither a path"),
        ('{"sku": "1", "image": []}', "image is empty"),
        ('{"sku": "1", "image": ""}', "image is empty"),
        ('{"sku": "1", "image": ["../x"]}', "leaves the manifest's folder"),
        ('{"sku": "1", "image": ["a.jpg|b.jpg"]}', "no file"),
        ('{"sku": "1", "sku": "2", "image": "a.jpg"}', "there twice"),
        ('{"sku": "1", "SKU": "2", "image": "a.jpg"}', "'sku' is there twice"),
        ('{"sku": "1", "image": "a.jpg", "x": NaN}', "NaN"),
        ('{"sku": "1", "image": "a.jpg", "x": 1e999}', "not usable JSON"),
        ('{"sku": "1", "image": "a.jpg", "x": "\\u0000"}', "NUL"),
        ('{"sku": "1", "image": "a.jpg", "x": "\\ud800"}', "no valid text"),
        ('{"sku": "1", "image": "a.jpg", "x": {"y": "\\ud800"}}', "no valid text"),
        ('{"sku": "1", "image": "a.jpg", "\\u0000": "x"}', "NUL"),
        ('{"sku": "1\\n", "image": "a\\u0000.jpg"}', "NUL"),
        ('{"sku": "\\u0007", "image": "a.jpg"}', "control"),
        ('{"sku": "1", "image": "a.jpg", "x": "' + "y" * 1001 + '"}', "1001 characters"),
        ('{"sku": "1", "image": "a.jpg", "x": "' + "y" * 3001 + '"}', "more than the 3000"),
        ('{"sku": "1", "image": "a.jpg", "x": ' + "9" * 2900 + "9}", "characters"),
        ('{"sku": ' + "[" * 1400 + "]" * 1400 + ', "image": "a.jpg"}', "line 2"),
        ("[" * 2900, "not usable JSON"),
    ],
)
def test_a_bad_json_line_is_rejected(shop: Path, line: str, says: str) -> None:
    good = {"sku": "1", "image": "a.jpg"}
    first, bad, last = json_rows(shop, good, line, good)
    assert delivered(first)[1] == delivered(last)[1] == "1"
    assert says in rejected(bad, code_of(says)).error
    assert rejected(bad).line == 2
    assert len(rejected(bad).value) <= 200


def test_deeply_nested_json_is_rejected(shop: Path) -> None:
    (shop / "p.jsonl").write_text("[" * 199_000 + "\n")
    with open_delivery(shop / "p.jsonl") as delivery:
        (bad,) = delivery.rows()
    assert "not usable JSON" in rejected(bad).error


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_an_empty_json_manifest_is_refused(shop: Path, data: bytes) -> None:
    with pytest.raises(DeliveryError, match="is empty"):
        read(shop, data, name="p.ndjson")


def test_json_lines_in_other_encodings(shop: Path) -> None:
    line = '{"sku": "ö", "image": "a.jpg"}\n'
    for encoding in ("utf-8-sig", "utf-16"):
        (row,) = rows(shop, line.encode(encoding), name="p.jsonl")
        assert delivered(row)[1] == "ö"
    (row,), warnings = read(shop, line.encode("cp1252"), name="p.jsonl")
    assert delivered(row)[1] == "ö"
    assert warnings


def test_standard_input(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)
    stdin = io.BytesIO(
        b'\xef\xbb\xbf{"sku": "1", "image": "images/c.jpg"}\n'
        b'{"sku": "\xe9", "image": "a.jpg"}\n\n'
        b'{"sku": "3", "image": "../x.jpg"}\n{"sku": "4", "image": "a.jpg"}'
    )
    with open_delivery("-", stdin=stdin) as delivery:
        assert (delivery.kind, delivery.name, delivery.estimated_rows()) == ("stdin", "-", None)
        found = list(delivery.rows())
    assert delivered(found[0])[:3] == (1, "1", ["images/c.jpg"])
    assert "not valid UTF-8" in rejected(found[1], FailureCode.BAD_ROW).error
    assert "leaves" in rejected(found[2], FailureCode.REFUSED_PATH).error
    assert delivered(found[3])[:2] == (5, "4")
    assert not stdin.closed


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200
)
@given(st.binary(max_size=120), st.sampled_from(["p.csv", "p.jsonl"]))
def test_any_bytes_end_in_rows_or_a_delivery_error(shop: Path, data: bytes, name: str) -> None:
    start = b"sku,image\n" if name == "p.csv" else b""
    try:
        found, _ = read(shop, start + data, name=name)
    except DeliveryError:
        return
    assert all(isinstance(row, DeliveredRow | RejectedRow) for row in found)
    lines = [row.line for row in found if isinstance(row, DeliveredRow | RejectedRow)]
    assert lines == sorted(set(lines))


def test_a_manifest_can_be_read_twice_and_is_estimated(shop: Path) -> None:
    (shop / "p.csv").write_text("sku,image\n1,a.jpg\n2,b.jpg")
    with open_delivery(shop / "p.csv") as delivery:
        assert delivery.estimated_rows() == 2
        assert list(delivery.rows()) == list(delivery.rows())


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
def test_too_many_lines_are_counted_before_they_are_read(shop: Path, name: str) -> None:
    (shop / name).write_text("sku,image\n" + "\n" * 5)
    with pytest.raises(DeliveryError, match="more than 5 lines"):
        open_delivery(shop / name, limits=DeliveryLimits(max_lines=5))
