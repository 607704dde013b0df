"""Web addresses without what may be secret, for reports and logs."""

from __future__ import annotations

import re
from typing import Final

_ADDRESS: Final = re.compile(
    # A scheme of bounded length, or a long word would be read again from each of its letters; of
    # two letters or more, for a single one is a drive.
    r"(?P<start>[A-Za-z][A-Za-z0-9+.-]{1,19}:[/\\]{1,2})"
    r"(?P<user>[^\s/\\?#|]*@)?"
    r"(?P<rest>[^\s?#|]*)"
    r"(?P<query>[?#](?!…(?:['\s|,]|$))[^\s|]*)?"  # not again what was cut out before
)


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
