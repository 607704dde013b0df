"""The formula guard is undone exactly."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagging.catalog.formula import guard, unguard

NEAR_THE_RULE = st.text(alphabet="'=+-@\t\rx ", max_size=8)


@settings(deadline=None)
@given(st.text() | NEAR_THE_RULE)
def test_unguard_undoes_guard(cell: str) -> None:
    assert unguard(guard(cell)) == cell


@settings(deadline=None)
@given(st.text() | NEAR_THE_RULE)
def test_a_guarded_cell_starts_no_formula(cell: str) -> None:
    assert not guard(cell).startswith(("=", "+", "-", "@", "\t", "\r"))


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
    ],
)
def test_what_is_guarded(cell: str, guarded: str) -> None:
    assert guard(cell) == guarded
    assert unguard(guarded) == cell


@pytest.mark.parametrize("cell", ["=1", "x", "'x", "''x", ""])
def test_what_was_never_guarded_stays(cell: str) -> None:
    assert unguard(cell) == cell
