"""No export starts a formula, and what was exported is read back exactly."""

from __future__ import annotations

import ast
import csv
import io
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagging.catalog.delivery import DeliveryLimits
from tagging.catalog.formula import guard, unguard, write_csv
from tagging.catalog.records import csv_records

STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
NEAR_THE_RULE = st.text(alphabet="'\"=+-@\t\r\n;,x \uff1d", max_size=8)
ROOT = Path(__file__).resolve().parents[2]


@settings(deadline=None)
@given(st.text() | NEAR_THE_RULE)
def test_unguard_undoes_guard(cell: str) -> None:
    assert unguard(guard(cell)) == cell


@settings(deadline=None)
@given(st.text() | NEAR_THE_RULE)
def test_a_guarded_cell_starts_no_formula(cell: str) -> None:
    guarded = guard(cell)
    assert not guarded.startswith((*STARTS, "\t", "\r", "\n"))
    assert not any(part.startswith(STARTS) for part in re.split("[;\t\r\n]", guarded))


@pytest.mark.parametrize(
    ("cell", "guarded"),
    [
        ("", ""),
        ("dress", "dress"),
        ("=1+1", "'=1+1"),
        ("+49", "'+49"),
        ("-5 %", "'-5 %"),
        ("@home", "'@home"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("'=1", "''=1"),
        ("''=1", "'''=1"),
        ("'80s dress", "'80s dress"),
        ("'", "'"),
        ("''", "''"),
        (" =1", " =1"),
        ("\n=1", "'\n'=1"),
        ("\uff1d1", "'\uff1d1"),
        ("a;=1", "a;'=1"),
        ("a;'=1", "a;''=1"),
        ('a;"=1', "a;'\"=1"),
        ("a\r=1", "a\r'=1"),
        ("a, -1", "a, -1"),
        ("a;b", "a;b"),
    ],
)
def test_what_is_guarded(cell: str, guarded: str) -> None:
    assert guard(cell) == guarded
    assert unguard(guarded) == cell


@pytest.mark.parametrize("cell", ["=1", "x", "'x", "''x", "", "a;=1", "a;'b"])
def test_what_was_never_guarded_stays(cell: str) -> None:
    assert unguard(cell) == cell


def nasty_rows(seed: int, count: int) -> list[list[str]]:
    """Rows of three cells, the first never empty, of what is near to some rule."""
    draw = random.Random(seed)
    bits = [*STARTS, "'", '"', ",", ";", "\t", "\r", "\n", "\r\n", " ", "x", "ö", "\x85", "\u2028",
            "cmd|' /C calc'!A0", "\ufeff", "sep=;", "|", "\0"]  # fmt: skip
    return [
        ["s" + "".join(draw.choices(bits, k=draw.randrange(6)))]
        + ["".join(draw.choices(bits, k=draw.randrange(8))) for _ in range(2)]
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_exported_is_read_back_and_starts_no_formula_in_any_country(seed: int) -> None:
    rows = nasty_rows(seed, 1000)
    stream = io.StringIO()
    assert write_csv(stream, ("sku", "title", "more"), rows) == 1000
    stream.seek(0)
    records = list(csv_records(stream, ",", DeliveryLimits()))
    assert [record.problem for record in records if record.problem] == []
    assert [[unguard(cell) for cell in record.cells] for record in records[1:]] == rows
    for delimiter in ",;\t":
        # A spreadsheet that cuts elsewhere, and one that takes a carriage return for a line end.
        for text in (stream.getvalue(), stream.getvalue().replace("\r", "\n")):
            cells = [
                cell
                for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
                for cell in row
            ]
            assert [cell for cell in cells if cell.lstrip("\t\r\n").startswith(STARTS)] == []


def test_numbers_stay_numbers() -> None:
    stream = io.StringIO()
    write_csv(stream, ("sku", "confidence", "prediction"), [("-1", -0.5, 7), ("=2", None, None)])
    assert stream.getvalue() == ('"sku","confidence","prediction"\n"\'-1",-0.5,7\n"\'=2","",""\n')


def test_every_export_goes_through_one_function() -> None:
    writers = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("tagging", "worker", "model_training")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("writer", "DictWriter", "to_csv")
    ]
    assert [one.partition(":")[0] for one in writers] == ["tagging/catalog/formula.py"]
