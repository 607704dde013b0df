"""Paths in manifests that try to leave their folder, and a folder and a zip with traps for them.

Each is a text and what its row must say; the proof that nothing was read outside is in the canaries
and the store, not in the words.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tagging.domain import FailureCode
from tests.hostile.zips import Packed
from tests.stand_in import picture

REFUSED: Final = (
    "leaves the manifest's folder", "is absolute", "is an address", "ATELIER_ALLOW_URLS",
    "is longer than",
)  # fmt: skip
MISSING: Final = ("no file",)
EITHER: Final = (*REFUSED, "no file", "is a folder", "cannot be read", "is empty")

CODES: Final = {
    "leaves the manifest's folder": FailureCode.REFUSED_PATH,
    "is absolute": FailureCode.REFUSED_PATH,
    "ATELIER_ALLOW_URLS": FailureCode.URLS_OFF,
    "is an address": FailureCode.REFUSED_PATH,
    "is longer than": FailureCode.REFUSED_PATH,
    "is a link that leaves": FailureCode.REFUSED_PATH,
    "it is a link": FailureCode.REFUSED_PATH,
    "leads nowhere": FailureCode.MISSING,
    "no file": FailureCode.MISSING,
    "is a folder": FailureCode.CANNOT_OPEN,
    "device, pipe": FailureCode.CANNOT_OPEN,
    "cannot be read": FailureCode.CANNOT_OPEN,
    "is empty": FailureCode.BAD_ROW,
    "NUL": FailureCode.BAD_ROW,
    "valid": FailureCode.BAD_ROW,
}
"""Of a row whose error says so, whichever of these comes first."""


def code_of(error: str) -> FailureCode:
    """The code that a row with this error must have."""
    return next(code for says, code in CODES.items() if says in error)


DOTS: Final = (
    "..", "%2e%2e", "%2E%2E", ".%2e", "%252e%252e", "%c0%ae%c0%ae", "%u002e%u002e", "\uff0e\uff0e",
    "\u2024\u2024", "\u2025", ".\u200b.", "..;", ". .", ".. ", "...", "....", "&#46;&#46;",
    "\\x2e\\x2e", "\u3002\u3002", "..\u202e", "\u202e..", "\u1427\u1427", "\ufe52\ufe52",
)  # fmt: skip
SLASHES: Final = (
    "/", "\\", "//", "\\\\", "/./", "\\/", "%2f", "%5c", "%252f", "%c0%af", "\uff0f", "\u2215",
    "\u2044",
    "\uff3c", "\u29f5", ";/", "\u2571",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PathCase:
    """`says`: what the error of its row says, one of these; None: it is read, from inside."""

    text: str
    says: tuple[str, ...] | None


def path_cases(outside: Path) -> list[PathCase]:
    """All of them, without repetition; `outside` has `a.png`, and lies beside the delivery."""
    found: dict[str, PathCase] = {}
    for text, says in _texts(outside):
        found.setdefault(text, PathCase(text=text, says=says))
    return list(found.values())


def _texts(outside: Path) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    yield from _upwards()
    yield from _absolute(outside)
    yield from _links()
    yield from _characters()
    yield from _plain()


def _upwards() -> Iterator[tuple[str, tuple[str, ...]]]:
    for dots in DOTS:
        for slash in SLASHES:
            sure = dots == ".." and slash in ("/", "\\", "//", "\\\\", "/./", "\\/")
            says = REFUSED if sure else EITHER
            yield f"{dots}{slash}outside{slash}a.png", says
            if slash in ("/", "\\", "%2f", "\uff0f"):
                yield f"images{slash}{dots}{slash}{dots}{slash}outside{slash}a.png", says
    for text in (
        "..", "../", "..\\", "../..", "./..", "images/../..", "images/../../outside/a.png",
        "./../outside/a.png", "nowhere/../../outside/a.png", "a.png/../../outside/a.png",
        "images\\..\\..\\outside\\a.png", "images/..\\../outside/a.png", "../delivery/a.png",
        "../" * 40 + "etc/passwd", "../delivery-evil/a.png", " ../outside/a.png", "..//..//etc",
    ):  # fmt: skip
        yield text, REFUSED


def _absolute(outside: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    target = f"{outside}/a.png"
    for text in (
        target, f"/{target}", f"//{target}", f"/.{target}", f"/proc/self/root{target}",
        f"/proc/self/cwd{target}", target.replace("/", "\\"), f"\\\\?{target}", f"file://{target}",
        f"file:{target}", f"FILE:/{target}", f"file://localhost{target}", f"C:{target}",
        "/", "//", "\\", "/etc/passwd", "//etc/passwd", "/dev/zero", "/dev/stdin", "/dev/fd/0",
        "/proc/self/environ", "/a.png", "\\a.png", "C:\\a.png", "c:a.png", "C:", "Z:/a.png",
        "C:../a.png", "\\\\server\\share\\a.png", "//server/share/a.png", "\\\\?\\C:\\a.png",
        "\\\\.\\C:\\a.png", "\\\\.\\PhysicalDrive0", "\\\\.\\pipe\\x", "\\??\\C:\\a.png",
        "\\\\?\\UNC\\server\\share\\a.png", "http://127.0.0.1/a.png", "https://example.com/a.png",
        "ftp://example.com/a.png", "s3://bucket/a.png", "gopher://x/_a",
        "data:image/png;base64,AAAA", "php://filter/a", "\\\\127.0.0.1@80\\a.png",
    ):  # fmt: skip
        yield text, REFUSED
    for text in (
        "~/a.png", "~root/a.png", "$HOME/a.png", "${HOME}/a.png", "%HOME%/a.png",
        "%SystemRoot%/a",
                 "jar:file:///a!/b.png", "`pwd`/a.png", "$(pwd)/a.png", "%2Fetc%2Fpasswd",
                 "%5c%5cserver%5cshare" ):  # fmt: skip
        yield text, MISSING
    yield f"~{target}", MISSING


def _links() -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """By the traps of `set_traps` (a folder) or `trapped_entries` (a zip)."""
    outwards = ("is a link that leaves", "it is a link", "no file", "is a folder")
    for text in (
        "out.png", "out_relative.png", "out_by_two.png", "out_by_three.png", "out_up/outside/a.png",
        "out_folder/a.png", "out_folder/photos/b.png", "out_folder_by_two/a.png",
        "out_root/etc/passwd",
        "in_folder/../out.png", "in_folder/up/outside/a.png", "self/out.png",
        "self/self/out_folder/a.png",
        "out_proc/root/etc/passwd", "out_null.png", "out_zero.png", "images/out.png",
        "out_manifest.png",
        "out_folder\\a.png", "self\\out.png", "out_dots.png", "out_evil/a.png",
    ):  # fmt: skip
        yield text, outwards
    for text in (
        "broken.png",
        "loop.png",
        "loop_a/a.png",
        "broken_folder/a.png",
        "to_pipe.png",
        "pipe.png",
    ):
        yield text, ("leads nowhere", "device, pipe", "it is a link", "no file")


def _characters() -> Iterator[tuple[str, tuple[str, ...] | None]]:
    for text in ("a.png\0", "\0", "\0a.png", "a.png\0.jpg", "../outside/a.png\0", "images/\0/a.png",
                 "a\0/../../outside/a.png"):  # fmt: skip
        yield text, ("NUL",)
    for text in ("a\ud800.png", "\udcff.png", "images/\udc80\udcff.png", "../\udcff/a.png"):
        yield text, ("valid",)
    for text in (
        "a\n.png", "a\r.png", "a\r\n.png", "a\t.png", "images\n/b.png", "x\x1b[2J.png", "x\x7f.png",
        "x\x07.png", "\u202egnp.a", "a\u202e.png", "a\u200b.png", "\u2066a.png", "a\u2028.png",
        "a\xa0.png", "\xada.png", "a.png\u3000x", "a\ufe0f.png", "\U000e0061.png", "a.p\u0301ng",
    ):  # fmt: skip
        yield text, MISSING
    yield "../out\nside/a.png", REFUSED
    yield "..\n/outside/a.png", MISSING
    yield "x" * 300, ("check its name", "no file")
    yield "x/" * 2000 + "a.png", ("no file", "check its name")
    yield "x" * 5000, REFUSED
    yield "../" * 2000 + "a.png", REFUSED
    yield "./" * 3000 + "a.png", REFUSED
    yield "self/" * 900 + "a.png", REFUSED


def _plain() -> Iterator[tuple[str, tuple[str, ...] | None]]:
    for text in (
        "A.PNG", "a.PNG", "Images/b.png", "IMAGES/B.PNG", "\uff41.png", "a.png.", "a.png. .",
        "a.png:ads",
        "a.png::$DATA", "images /b.png", "images./b.png", "CON", "CON.png", "NUL", "COM1.png",
        "LPT1",
        "AUX/a.png", "a.png/", "a.png/.", "a.png/x", "*.png", "?.png", "[a].png", "a.pn?",
        "{a,b}.png", "STRASSE.png",
        "Straße.png", "\ufb01.png", "\u0130.png", "\u0131.png", "\u212bngstrom.png", "'a.png'",
        '"a.png"', "a.png#x", "a.png?x=1",
        "a.png;v=1", "a,b.png", "%61.png", "a%2epng", "&lt;.png", "images%2fb.png", "<script>.png",
    ):  # fmt: skip
        says = None if text in ("a.png/", "a.png/.") else MISSING
        yield text, says
    for text in ("images", "images/", ".", "./", "images/..", "images/.", "self", "images\\"):
        yield text, ("is a folder", "no file", "it is a link")
    for text in (
        "a.png", "./a.png", "images/b.png", "images//b.png", "images\\b.png", "images/./b.png",
        "images/../a.png", "nowhere/../a.png", ".\\images\\..\\a.png", "%2e%2e.png", "..a.png",
        "100%.png", "with space.png", " a.png ", "$HOME.png",
        unicodedata.normalize("NFC", "Größe.png"),
        unicodedata.normalize("NFD", "Größe.png"),
    ):  # fmt: skip
        yield text, None


INSIDE: Final = (
    "a.png", "images/b.png", "%2e%2e.png", "..a.png", "100%.png", "with space.png", "$HOME.png",
    unicodedata.normalize("NFD", "Größe.png"),
)  # fmt: skip


def inside_pictures() -> dict[str, bytes]:
    """The pictures that a delivery really has, by their path."""
    return {name: picture(at) for at, name in enumerate(INSIDE)}


LINKS: Final = {
    "out_relative.png": "../outside/a.png",
    "out_by_two.png": "out.png",
    "out_by_three.png": "images/../out_by_two.png",
    "out_up": "..",
    "out_folder_by_two": "out_folder",
    "out_root": "/",
    "out_proc": "/proc/self",
    "out_null.png": "/dev/null",
    "out_zero.png": "/dev/zero",
    "out_dots.png": "images/../../outside/./a.png",
    "out_evil": "../delivery-evil",
    "images/up": "../..",
    "in_folder": "images",
    "self": ".",
    "broken.png": "nowhere.png",
    "broken_folder": "nowhere",
    "loop.png": "loop.png",
    "loop_a": "loop_b",
    "loop_b": "loop_a",
    "to_pipe.png": "pipe.png",
}
"""Each link of the delivery and where it leads; three more lead to `outside` by its whole path."""


def _links_to(outside: Path) -> dict[str, str]:
    return LINKS | {
        "out.png": f"{outside}/a.png",
        "out_folder": str(outside),
        "images/out.png": f"{outside}/a.png",
        "out_manifest.png": f"{outside}/products.csv",
    }


def set_traps(folder: Path, outside: Path) -> None:
    ""
    "Make `folder` with its pictures, links and a pipe, and a neighbour whose name begins alike."
    ""
    for name, data in inside_pictures().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for name, target in _links_to(outside).items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe.png")
    evil = folder.parent / "delivery-evil"
    evil.mkdir()
    (evil / "a.png").write_bytes(picture(77))


def trapped_entries(outside: Path) -> list[Packed]:
    """The same as entries of a zip, and some whose names lead out."""
    entries = [Packed(name.encode(), data, method=0) for name, data in inside_pictures().items()]
    link = stat.S_IFLNK | 0o777
    entries += [
        Packed(name.encode(), target.encode(), mode=link)
        for name, target in _links_to(outside).items()
    ]
    entries.append(Packed(b"pipe.png", mode=stat.S_IFIFO | 0o644))
    entries += [Packed(name) for name in (b"../outside/a.png", b"/etc/passwd")]
    return entries
