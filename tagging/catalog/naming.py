"""What the names of delivered files say: which are pictures, which are noise, which sku they give.

Names only. Whether a file is a picture its bytes decide, later.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

from tagging.domain import FailureCode

IMAGE_ENDINGS: Final = frozenset(
    {"jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif"}
)
CSV_ENDINGS: Final = frozenset({"csv", "tsv", "txt"})
JSONL_ENDINGS: Final = frozenset({"jsonl", "ndjson"})
MANIFEST_ENDINGS: Final = CSV_ENDINGS | JSONL_ENDINGS
FOUND_MANIFEST_ENDINGS: Final = MANIFEST_ENDINGS - {"txt"}
"""What makes a file a manifest when nobody pointed at it; a .txt is more often a readme."""

MAX_SKU_CHARS: Final = 200
MAX_MARKS: Final = 30
_JOINER: Final = "\u034f"
"""COMBINING GRAPHEME JOINER: it is not shown, and no mark is sorted past it."""

_NOISE: Final = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
_UNSTORABLE_CATEGORIES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories no sku may hold: controls, lone surrogates, line and paragraph separators."""


def nfc(text: str) -> str:
    """`text` in Unicode normal form C. macOS delivers names decomposed; products are compared."""
    return unicodedata.normalize("NFC", _stream_safe(text))


def nfd(text: str) -> str:
    """`text` in Unicode normal form D, as macOS has names of files."""
    return unicodedata.normalize("NFD", _stream_safe(text))


def _stream_safe(text: str) -> str:
    """`text` with no more than 30 combining marks in a row: another character parts longer runs.

    That is the Stream-Safe Text Format (Unicode Standard Annex #15, section 13). No language has
    such runs, and Python sorts one of 200,000 marks for a minute (python/cpython#149079).
    """
    if text.isascii() or len(text) <= MAX_MARKS:
        return text
    found: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > MAX_MARKS:
            found.append(_JOINER)
            marks = 1
        found.append(character)
    return text if len(found) == len(text) else "".join(found)


def is_utf8(text: str) -> bool:
    """False for a name whose bytes were not UTF-8 (Python shows them as lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def ending(name: str) -> str:
    """What follows the last dot, in lower case; '' if there is no dot."""
    _, dot, last = name.rpartition(".")
    return last.lower() if dot else ""


def is_image_name(name: str) -> bool:
    return ending(name) in IMAGE_ENDINGS


def is_product_name(name: str) -> bool:
    """Whether a file (its name or whole path) that no manifest names is a product."""
    return is_image_name(name) and not is_hidden_picture(name.rpartition("/")[2])


def is_found_manifest(name: str) -> bool:
    return ending(name) in FOUND_MANIFEST_ENDINGS


def is_noise(name: str) -> bool:
    """Whether a file or folder is left by an operating system and not worth a word."""
    hidden = name.startswith(".") and not is_hidden_picture(name)
    return hidden or name.lower() in _NOISE


def is_hidden_picture(name: str) -> bool:
    """Whether a file is called like an image and hidden by a dot: perhaps a photo all the same.

    Not those that macOS puts beside each file, `._a.jpg`.
    """
    return name.startswith(".") and not name.startswith("._") and is_image_name(name)


def skip_reason(name: str, *, in_archive: bool = False) -> tuple[FailureCode, str]:
    """Why a file that is not called like an image is left out, and what to do if it matters."""
    last = ending(name)
    if is_hidden_picture(name.rpartition("/")[2]):
        return (
            FailureCode.NOT_AN_IMAGE,
            "its name begins with a dot, which hides it; if it is a photo, rename it",
        )
    if last in FOUND_MANIFEST_ENDINGS:
        listed = "a manifest, not a picture; to read the products that it lists, "
        if in_archive:
            return (
                FailureCode.NESTED,
                f"{listed}move it to the top of the archive, as the only one there",
            )
        return (
            FailureCode.NESTED,
            f"{listed}give this file itself as the source: atelier ingest '{name}'",
        )
    if last == "zip":
        return FailureCode.NESTED, "a zip inside a delivery is not opened; deliver it by itself"
    kind = f"a .{last} file" if last else "a file without an ending"
    return (
        FailureCode.NOT_AN_IMAGE,
        f"{kind} is not taken for a picture; if it is one, give it its ending (.jpg, .png, ...)",
    )


def sku_problem(sku: str) -> str | None:
    """What is wrong with `sku` and what to do, or None."""
    if not sku.strip():
        return "the sku is empty; give every product its sku"
    if len(sku) > MAX_SKU_CHARS:
        return f"the sku has {len(sku)} characters; shorten it to {MAX_SKU_CHARS} or fewer"
    if not sku.isprintable() and any(
        unicodedata.category(c) in _UNSTORABLE_CATEGORIES for c in sku
    ):
        return "the sku has control characters in it (a line break, a tab, ...); remove them"
    return None


def product_names(names: Iterable[str]) -> dict[str, str | None]:
    """The last part of the sku of each image file of one folder, by file name.

    It is the name in normal form C without its ending. Where that would be shared, each of those
    files keeps its ending, and so on until all differ: of `a.jpg`, `a.png` and `a.jpg.gif` none is
    `a.jpg` twice. Depends only on which files the folder holds. None: a file whose whole name
    differs from another's in Unicode normal form alone, so that nothing tells them apart.
    """
    chosen: dict[str, str | None] = {}
    users: dict[str, list[str]] = {}
    whole: set[str] = set()
    for name in names:
        normal = nfc(name)
        part = None if normal in whole else normal.rpartition(".")[0] or normal
        chosen[name] = part
        whole.add(normal)
        if part is not None:
            users.setdefault(part, []).append(name)
    # Ends, after one step for each name at most: a file moves to its whole name once, for good, and
    # whole names are unique.
    shared = [part for part, named in users.items() if len(named) > 1]
    while shared:
        part = shared.pop()
        for name in users.pop(part):
            normal = nfc(name)
            chosen[name] = normal
            named = users.setdefault(normal, [])
            named.append(name)
            if len(named) == 2:
                shared.append(normal)
    return chosen
