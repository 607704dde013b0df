"""The quote that keeps spreadsheets from running a cell as a formula, and its removal.

A cell that begins with = + - @, a tab or a carriage return is executed or swallowed by spreadsheet
programs (OWASP, "CSV Injection"). Exports therefore put a `'` in front of it.

The rule: a cell is guarded when it consists of **any number of quotes and then one of the six
characters**. `guard` adds one quote to such a cell, `unguard` takes one away if there is one.
Cells like `'80s dress` or `''quoted''` are never touched, in either direction. So
`unguard(guard(cell)) == cell` for every string: if `cell` is of that form, `guard` adds a quote
that `unguard` takes away again; if not, neither changes it. In a file that was not written by us,
the one kind of cell that reads differently is one that begins with a quote and such a character.
"""

from __future__ import annotations

import re
from typing import Final

_GUARDABLE: Final = re.compile(r"'*[=+\-@\t\r]")
_GUARDED: Final = re.compile(r"'+[=+\-@\t\r]")


def guard(cell: str) -> str:
    """`cell` as it can safely be written into a CSV that people open in a spreadsheet."""
    return f"'{cell}" if _GUARDABLE.match(cell) else cell


def unguard(cell: str) -> str:
    """The cell that `guard` was given."""
    return cell[1:] if _GUARDED.match(cell) else cell
