"""Pages that say which test holds what name tests that exist. Each row of security.md does, and
whom it is against; its numbers are those of the code.
"""

from __future__ import annotations

import ast
import datetime as dt
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tagging import accounts, filing, inbox
from tagging.catalog import naming, paths
from tagging.catalog.delivery import DeliveryLimits
from tagging.fetch import address, ahead, patience
from tagging.fetch.fetcher import FetchLimits
from tagging.images import protocol
from tagging.settings import Settings
from tagging.web import previews, recent, security, site
from worker import bounded_http

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("security.md", "reliability.md", "design.md")
_CODE = re.compile(r"`([^`]+)`")
_TEST = re.compile(r"(?:.*?(tests/[\w/.*]*\w))?(?:::(\w+))?")


def text_of(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def named(text: str) -> Iterator[tuple[str, str | None]]:
    """(file, test) for each `FILE::TEST`, `FILE`, and `::TEST` of the file before it in its line.

    A file may be a folder or a pattern.
    """
    for line in text.splitlines():
        before = ""
        for code in _CODE.findall(line):
            found = _TEST.fullmatch(code)
            if found is not None and any(found.groups()):
                before = found.group(1) or before
                yield before, found.group(2)


@cache
def functions_of(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef))


@pytest.mark.parametrize(
    ("page", "file", "name"),
    sorted({(page, file, name or "") for page in PAGES for file, name in named(text_of(page))}),
)
def test_every_test_that_is_named_exists(page: str, file: str, name: str) -> None:
    found = list(ROOT.glob(file))
    assert found, f"{page} names {file}"
    if name:
        assert name in functions_of(found[0]), f"{page} names {file}::{name}"


@pytest.mark.parametrize(("page", "tests"), [("security.md", 100), ("reliability.md", 15)])
def test_the_names_are_found_on_the_pages(page: str, tests: int) -> None:
    assert len({one for one in named(text_of(page)) if one[1]}) >= tests


def test_a_name_alone_is_of_the_file_before_it() -> None:
    text = "| `tests/a.py::test_one`, `::test_two`, `make x` |\n| `A=1 pytest tests/b_*.py` | `c` |"
    assert list(named(text)) == [
        ("tests/a.py", "test_one"),
        ("tests/a.py", "test_two"),
        ("tests/b_*.py", None),
    ]


def rows_of(page: str) -> Iterator[list[str]]:
    """Cells of every row of the page's tables, their heads included."""
    for line in text_of(page).splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield line.strip("| ").split(" | ")


HEAD = ["who", "what they try", "what stops them", "held by"]
ROWS = [row for row in rows_of("security.md") if len(row) == 4 and row != HEAD]


def test_every_row_names_a_test_and_who_it_is_against() -> None:
    assert len(ROWS) > 70
    assert [row for row in rows_of("security.md") if len(row) not in (2, 4)] == []
    listed = {row[0].strip("*") for row in rows_of("security.md") if row[0].startswith("**")}
    named_there = [who for row in ROWS for who in row[0].split(", ")]
    assert set(named_there) == listed
    assert [row for row in ROWS if "`tests/" not in row[3] or "" in row] == []


TIMES = {"s": 1, "minutes": 60, "hours": 3600, "days": 24 * 3600}
SIZES = {"KiB": 1 << 10, "MiB": 1 << 20, "MB": 10**6, "GB": 10**9}
UNITS = TIMES | SIZES
OWNERS: dict[str, object] = {
    "DeliveryLimits": DeliveryLimits(),
    "FetchLimits": FetchLimits(),
    **{
        module.__name__.rpartition(".")[2]: module
        for module in (
            *(accounts, address, ahead, bounded_http, filing, inbox, naming, paths, patience),
            *(previews, protocol, recent, security, site),
        )
    },
}


def bound(name: str) -> float:
    """Of a setting, or of a constant of one of `OWNERS`; seconds or bytes, if it has a unit."""
    owner, dot, constant = name.rpartition(".")
    if dot:
        value = getattr(OWNERS[owner], constant)
    else:
        value = Settings.model_fields[name.removeprefix("ATELIER_").lower()].default
    return float(value.total_seconds() if isinstance(value, dt.timedelta) else value)


BOUNDS = re.findall(
    rf"`([\w.]+)` ([\d,]+)(?: ({'|'.join(UNITS)})\b)?", " ".join(row[2] for row in ROWS)
)


@pytest.mark.parametrize(("name", "number", "unit"), BOUNDS)
def test_every_number_is_that_of_the_code(name: str, number: str, unit: str) -> None:
    assert bound(name) == int(number.replace(",", "")) * UNITS.get(unit, 1)


def test_the_numbers_are_found() -> None:
    assert len(BOUNDS) > 35
    assert {name for name, _, _ in BOUNDS} >= {"DeliveryLimits.max_ratio", "ATELIER_URL_SECONDS"}
