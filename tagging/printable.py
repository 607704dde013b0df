"""Texts of others, made fit to be shown and stored."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with everything that is not printable escaped: line breaks, NUL, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def storable(text: str) -> str:
    """`text` as every database takes it: NUL and lone surrogates, as in the name of a file that is
    no UTF-8, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
