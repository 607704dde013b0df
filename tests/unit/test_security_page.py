"""Pages that say which test holds what name tests that exist; security.md claims nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

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


def test_every_claim_names_one() -> None:
    claims = [
        line
        for line in text_of("security.md").splitlines()
        if line.startswith("|") and not line.startswith(("|---", "| claim"))
    ]
    assert len(claims) > 20
    assert [line for line in claims if "`tests/" not in line] == []
