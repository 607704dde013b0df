"""CSV records and JSON lines are cut with bounded memory, whatever the bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagging.catalog import records
from tagging.catalog.delivery import DeliveryLimits
from tagging.catalog.encoding import scan, text_of
from tagging.catalog.records import Record, csv_records, json_lines
from tagging.errors import DeliveryError

SMALL = DeliveryLimits(max_cell_chars=20, max_row_chars=50, max_columns=5)


def read_csv(text: str, limits: DeliveryLimits = SMALL, delimiter: str = ",") -> list[Record]:
    return list(csv_records(io.StringIO(text, newline=""), delimiter, limits))


def cells(text: str) -> list[list[str]]:
    found = read_csv(text)
    assert [r.problem for r in found] == [None] * len(found)
    return [r.cells for r in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a", [["a"]]),
        ("a,b\n", [["a", "b"]]),
        ("a,b\nc,d", [["a", "b"], ["c", "d"]]),
        ("a\r\nb\rc\nd", [["a"], ["b"], ["c"], ["d"]]),
        ("a,\n", [["a", ""]]),
        ("a,", [["a", ""]]),
        (",", [["", ""]]),
        ("\n\n", [[""], [""]]),
        ('"a","b"\n', [["a", "b"]]),
        ('"a,b",c', [["a,b", "c"]]),
        ('"a\nb",c', [["a\nb", "c"]]),
        ('"a\r\nb",c', [["a\r\nb", "c"]]),
        ('"a""b"', [['a"b']]),
        ('""', [[""]]),
        ('"",""', [["", ""]]),
        ('""""', [['"']]),
        ('a"b,c', [['a"b', "c"]]),
        ('5" heel,x\nb,c', [['5" heel', "x"], ["b", "c"]]),
        ('"a" ,b', [["a", "b"]]),
        ('x,"y"', [["x", "y"]]),
    ],
)
def test_cells(text: str, expected: list[list[str]]) -> None:
    assert cells(text) == expected


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('a\nb,"c\nd\ne', 2, "a quote opened on line 2 is never closed, so lines 2 to 4"),
        ('a\n"x",y\nb\nc,"', 4, "opened on line 4"),
        ('a\n"b\nc","d\ne', 2, "a quote opened on line 3 is never closed, so lines 2 to 4"),
        ('a\n"b"c,d\ne', 2, "text after a closing quote"),
        (f"a\n{'x' * 21},b\ne", 2, "more than 20 characters"),
        (f'a\n"{"x" * 21}",b\ne', 2, "more than 20 characters"),
        (f"a\n{'x' * 20},{'x' * 20},{'x' * 20}\ne", 2, "more than 50 characters"),
        ("a\n1,2,3,4,5,6\ne", 2, "more than 5 cells"),
        ('a\n"1",2,3,4,5,6\ne', 2, "more than 5 cells"),
    ],
)
def test_problems_name_their_line(text: str, line: int, says: str) -> None:
    found = read_csv(text)
    (bad,) = [r for r in found if r.problem is not None]
    assert bad.line == line
    assert bad.problem is not None
    assert says in bad.problem
    if "opened on" not in says:
        assert [r.cells for r in found if r.problem is None] == [["a"], ["e"]]


def test_lines_are_physical_ones() -> None:
    found = read_csv('h\n"a\nb\r\nc",1\n\nd\r"e\n",2\nf\n')
    assert [(r.line, r.cells[0]) for r in found] == [
        (1, "h"),
        (2, "a\nb\r\nc"),
        (5, ""),
        (6, "d"),
        (7, "e\n"),
        (9, "f"),
    ]


def test_reading_goes_on_after_a_huge_quoted_cell_of_many_lines() -> None:
    huge = "evil,evil.jpg\n" * 1000
    found = read_csv(f'h\n1,"{huge}"\n2,b.jpg\n')
    assert [(r.line, r.cells, bool(r.problem)) for r in found] == [
        (1, ["h"], False),
        (2, [], True),
        (1003, ["2", "b.jpg"], False),
    ]


CELLS = st.text(alphabet='ab,;"\n\r\t \u00e9', max_size=12)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1 << 16])
@settings(deadline=None)
@given(rows=st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=6))
def test_what_csv_writes_is_read_back(piece: int, rows: list[list[str]]) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\r\n").writerows(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "PIECE_CHARS", piece)
        found = read_csv(written.getvalue(), DeliveryLimits())
    assert [r.cells for r in found] == rows


@settings(deadline=None)
@given(text=st.text(alphabet='ab,"\n\r', max_size=60), piece=st.integers(1, 9))
def test_pieces_do_not_change_what_is_read(text: str, piece: int) -> None:
    whole = read_csv(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "PIECE_CHARS", piece)
        cut = read_csv(text)
    simplified = [[(r.cells, bool(r.problem)) for r in found] for found in (whole, cut)]
    if "\r\r\n" not in text:  # at a cut this may count one more blank line
        assert simplified[0] == simplified[1]
        assert [r.line for r in whole] == [r.line for r in cut]


def test_json_lines() -> None:
    text = io.StringIO('{"a":1}\n\n  \r\n[2]\r{}\n' + "x" * 51 + "\nlast", newline="")
    found = list(json_lines(text, SMALL))
    assert [(r.line, r.cells, bool(r.problem)) for r in found] == [
        (1, ['{"a":1}'], False),
        (4, ["[2]"], False),
        (5, ["{}"], False),
        (6, [], True),
        (7, ["last"], False),
    ]


@pytest.mark.parametrize(
    ("data", "encoding", "lines", "warns"),
    [
        (b"", "utf-8", 1, None),
        (b"a\nb\n", "utf-8", 2, None),
        (b"a\nb", "utf-8", 2, None),
        (b"a\rb\r", "utf-8", 2, None),
        (b"a\r\nb\r\n", "utf-8", 2, None),
        ("é\n".encode(), "utf-8", 1, None),
        ("é\n".encode("utf-8-sig"), "utf-8-sig", 1, None),
        ("é\n".encode("utf-16"), "utf-16", 1, None),
        (b"\xfe\xff" + "é\n".encode("utf-16-be"), "utf-16", 1, None),
        ("é\n".encode("cp1252"), "cp1252", 1, "Windows-1252"),
        (b"x" * (3 << 20) + b"\xe9", "cp1252", 1, "Windows-1252"),
        (b"x" * ((1 << 20) - 1) + "é".encode() + b"x", "utf-8", 1, None),
        ("éàü".encode() + b"\xe9", "utf-8", 1, "1 stray bytes"),
        ("é".encode("utf-8-sig") + b"\xe9\xe8", "utf-8-sig", 1, "2 stray bytes"),
        ("éü".encode()[:-1], "cp1252", 1, "Windows-1252"),
    ],
)
def test_scan(data: bytes, encoding: str, lines: int, warns: str | None) -> None:
    found = scan(io.BytesIO(data), "p.csv")
    assert (found.encoding, found.lines) == (encoding, lines)
    if warns is None:
        assert found.warning is None
    else:
        assert warns in (found.warning or "")


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"\xff\xfea\x00\n", "damaged"), ("sku".encode("utf-32"), "UTF-32")],
)
def test_scan_refuses(data: bytes, says: str) -> None:
    with pytest.raises(DeliveryError, match=says):
        scan(io.BytesIO(data), "p.csv")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_can_be_scanned_and_read(data: bytes) -> None:
    try:
        found = scan(io.BytesIO(data), "p.csv")
    except DeliveryError:
        return
    with text_of(io.BytesIO(data), found.encoding) as text:
        list(csv_records(text, ",", SMALL))


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("read", [lambda text, limits: csv_records(text, ",", limits), json_lines])
def test_no_more_lines_than_the_ledger_counts(
    end: str, read: Callable[[io.StringIO, DeliveryLimits], Iterator[Record]]
) -> None:
    limits = DeliveryLimits(max_lines=3)
    for text in ("a", f"a{end}", f"a{end}{end}c", f"a{end}{end}c{end}"):
        assert list(read(io.StringIO(text, newline=""), limits))[-1].line in (1, 3)
    for text in (f"a{end}{end}{end}d", f"a{end}{end}{end}{end}"):
        with pytest.raises(DeliveryError, match="more than 3 lines"):
            list(read(io.StringIO(text, newline=""), limits))


def test_a_line_number_is_one_that_every_database_holds() -> None:
    assert DeliveryLimits().max_lines == 2**31 - 1
