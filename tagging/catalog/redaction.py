"""Web addresses without what may be secret, for reports and logs."""

from __future__ import annotations

import re
from typing import Final

_START: Final = r"[A-Za-z][A-Za-z0-9+.-]{1,19}:[/\\]{1,2}"
"""A scheme of bounded length, or a long word would be read again from each of its letters; of two
letters or more, for a single one is a drive."""
_ADDRESS: Final = re.compile(
    rf"(?P<start>{_START})"
    r"(?P<user>[^\s/\\?#|]*@)?"
    r"(?P<rest>[^\s?#|]*)"
    r"(?P<query>[?#](?!…(?:['\s|,]|$))[^\s|]*)?"  # not again what was cut out before
)
_WHOLE: Final = re.compile(rf"(?P<start>\s*{_START})(?P<rest>.*)", re.DOTALL)
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]++\]|(?P<name>[^\s\[\]:@/\\?#]++))(?=[/\\])")
"""What may be a host, and the beginning of a path. What is read is never given back and read again
otherwise: of a long cell, that takes hours."""
_CELL: Final = re.compile(r"[^,;\t|\"\r\n]+")


def address_without_secrets(text: str) -> str:
    """`text`, where it is a web address as a whole, however malformed, with `…` for its user,
    password, query and fragment; any other text as it is.

    Blanks and slashes in a password make it no address for a program, but a password it stays: what
    stands before the last `@` is hidden, unless it is plain that the host came before.
    """
    found = _WHOLE.fullmatch(text)
    if found is None:
        return text
    rest = found["rest"]
    user = ""
    if not _begins_with_host(rest):
        _, at, rest = rest.rpartition("@")
        user = "…@" if at else ""
    query = re.search(r"[?#]", rest)
    if query is not None:
        rest = f"{rest[: query.start()]}{query[0]}…"
    return f"{found['start']}{user}{rest}"


def _begins_with_host(rest: str) -> bool:
    """Whether a host with a dot, or in brackets, and a path come first: behind these an `@` is a
    letter like any other."""
    found = _HOST.match(rest)
    return found is not None and (found["name"] is None or "." in found["name"][1:-1])


def row_without_secrets(text: str, *, cut: bool) -> str:
    """The beginning of a row, each of its cells as `address_without_secrets` has it.

    `cut`: it ends anywhere, perhaps before the `@` of an address.
    """
    cells = list(_CELL.finditer(text))
    last = cells[-1].start() if cells and cut else -1

    def shown(cell: re.Match[str]) -> str:
        whole = _WHOLE.fullmatch(cell[0])
        if whole is not None and cell.start() == last and not _begins_with_host(whole["rest"]):
            return f"{whole['start']}…"
        return address_without_secrets(cell[0])

    return _CELL.sub(shown, text)


def without_secrets(text: str) -> str:
    """`text` with `…` for the user, password, query and fragment of every web address in it.

    Queries hold signed tokens as often as not. The path stays: without it nobody could tell which
    image is meant.
    """
    return _ADDRESS.sub(_redacted, text) if ":" in text else text


def _redacted(found: re.Match[str]) -> str:
    user = "…@" if found["user"] else ""
    query = f"{found['query'][0]}…" if found["query"] else ""
    return f"{found['start']}{user}{found['rest']}{query}"
