"""Texts of others, made fit to be shown and stored."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with everything that is not printable escaped: line breaks, NUL, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
