"""Zips made to harm, each with what must become of it.

    for case in archive_cases(outside):
        case.path_in(folder)

Every one of them holds `good.jpg`, unless it is refused as a whole.
"""

from __future__ import annotations

import functools
import os
import stat
import struct
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tagging.domain import FailureCode
from tests.hostile.zips import (
    END,
    FILE,
    Fields,
    Packed,
    deflated,
    extra_field,
    pack,
    unicode_path,
    zip64,
    zip_of,
)

GOOD: Final = Packed(b"good.jpg")
CODES: Final = {
    "leads out": FailureCode.REFUSED_PATH,
    "it is a link": FailureCode.REFUSED_PATH,
    "device, pipe": FailureCode.CANNOT_OPEN,
    "times its size": FailureCode.TOO_LARGE,
    "more than 1000 times": FailureCode.TOO_LARGE,
    "unpacks to": FailureCode.TOO_LARGE,
    "control characters": FailureCode.BAD_SKU,
    "sku is empty": FailureCode.BAD_SKU,
    "300 characters": FailureCode.BAD_SKU,
    "4001 characters": FailureCode.BAD_SKU,
}
"""Of what says so; all else is a bad entry or, as a whole, a bad delivery."""
BIG: Final = 60_000_000


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file, and what must become of it: refused as a whole, or these skus and these errors.

    `refused`: what the error of the whole says. `skus`: what is taken in beside `good`. `errors`:
    what the errors of rows say, one for each rejected row. `skipped`: files that are listed as no
    pictures.
    """

    name: str
    build: Callable[[], bytes]
    refused: str | None = None
    good: tuple[str, ...] = ("good",)
    skus: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    file: str = "upload.zip"


def code_of(error: str, otherwise: FailureCode) -> FailureCode:
    """The code of an error that says so; `otherwise` of one that has no other."""
    return next((code for says, code in CODES.items() if says in error), otherwise)


def archive_cases(outside: Path) -> Iterator[Case]:
    """All cases; `outside` is a folder that some of them try to reach."""
    yield from _slips(outside)
    yield from _plain_names()
    yield from _kinds(outside)
    yield from _bombs()
    yield from _lies()
    yield from _twins()
    yield from _encodings()
    yield from _locked_and_unknown()
    yield from _mismatches()
    yield from _framing()
    yield from _truncated()
    yield from _nested_and_foreign()


def _one(name: str, entry: Packed, *errors: str, skus: tuple[str, ...] = ()) -> Case:
    return Case(name=name, build=lambda: pack(GOOD, entry), errors=errors, skus=skus)


def _whole(name: str, data: Callable[[], bytes], says: str, file: str = "upload.zip") -> Case:
    return Case(name=name, build=data, refused=says, good=(), file=file)


def _slips(outside: Path) -> Iterator[Case]:
    steps = "../" * 12
    names = [
        "../a.jpg", "../../a.jpg", "x/../../a.jpg", "./../a.jpg", "x/./.././../a.jpg", "..//a.jpg",
        "..\\a.jpg", "x\\..\\..\\a.jpg", "x/..\\../a.jpg", ".\\..\\a.jpg", "..", "../", "x/../..",
        "/a.jpg", "//a.jpg", "///etc/a.jpg", "/../a.jpg", "\\a.jpg", "\\\\server\\share\\a.jpg",
        "//server/share/a.jpg", "\\\\?\\C:\\a.jpg", "\\\\.\\C:\\a.jpg", "\\??\\C:\\a.jpg",
        "C:\\a.jpg", "C:/a.jpg", "c:a.jpg", "C:", "C:..\\a.jpg", "file:///etc/a.jpg",
        "http://example.com/a.jpg", "a.jpg\0.png", "\0a.jpg", "../a.jpg\0", "x" * 5000 + ".jpg",
        "../../root/.ssh/authorized_keys", "../atelier.db", "../images/incoming/a.jpg",
        f"{outside}/a.png", f"{steps}{str(outside).lstrip('/')}/a.png",
        f"x/..\\{steps}{str(outside).lstrip('/')}/a.png",
    ]  # fmt: skip
    for at, name in enumerate(names):
        shown = name if len(name) < 40 and str(outside) not in name else f"number {at}"
        yield _one(f"slip {shown!r}", Packed(name.encode()), "leads out")


def _plain_names() -> Iterator[Case]:
    """Names that are dangerous to some systems, and letters to this one: nothing is written."""
    for name in (
        "%2e%2e/a.jpg", "x..%2fa.jpg", "%2Fetc%2Fa.jpg", "x..%5c..%5ca.jpg", "\uff0e\uff0e/a.jpg",
        "\u2025/a.jpg", "x\u2215a.jpg", "x\uff0fa.jpg", "x\u2044a.jpg", "~/a.jpg", "~root/a.jpg",
        "$HOME/a.jpg",
        "${IFS}.jpg", "`id`.jpg", "CON.jpg", "NUL/a.jpg", "COM1.jpg", "a.jpg:stream.jpg",
        "a. /b.jpg", "a./b.jpg", "-rf.jpg",
        "a\u202egpj.jpg", "=1+1.jpg", "*.jpg", "a?b.jpg",
        "<script>.jpg", "a'b\".jpg",
    ):  # fmt: skip
        sku = unicodedata.normalize("NFC", name.rpartition(".")[0])
        yield _one(f"letters {name!r}", Packed(name.encode()), skus=(sku,))
    yield _one("inner dots", Packed(b"x/../y/./a.jpg"), skus=("y/a",))
    yield _one("backslashes", Packed(b"x\\y\\a.jpg"), skus=("x/y/a",))
    yield _one("line feed", Packed(b"a\nb.jpg"), "control characters")
    yield _one("escape sequence", Packed(b"a\x1b[2Jb.jpg"), "control characters")
    yield _one("only spaces", Packed(b"   .jpg"), "sku is empty")
    yield _one("long sku", Packed(b"y" * 300 + b".jpg"), "300 characters")
    yield _one("two thousand folders", Packed(b"d/" * 2000 + b"a.jpg"), "4001 characters")


def _kinds(outside: Path) -> Iterator[Case]:
    target = os.fsencode(outside / "a.png")
    link = stat.S_IFLNK | 0o777
    for name, entry, says in (
        ("link", Packed(b"l.jpg", target, mode=link), "it is a link"),
        ("relative link", Packed(b"l.jpg", b"../outside/a.png", mode=link), "it is a link"),
        ("link to a folder", Packed(b"l", os.fsencode(outside), mode=link), "it is a link"),
        ("link without a mode", Packed(b"l.jpg", target, mode=stat.S_IFLNK), "it is a link"),
        ("fifo", Packed(b"p.jpg", mode=stat.S_IFIFO | 0o644), "device, pipe"),
        ("socket", Packed(b"s.jpg", mode=stat.S_IFSOCK | 0o644), "device, pipe"),
        ("block device", Packed(b"d.jpg", mode=stat.S_IFBLK | 0o644), "device, pipe"),
        ("character device", Packed(b"d.jpg", mode=stat.S_IFCHR | 0o644), "device, pipe"),
        ("no kind of file", Packed(b"d.jpg", mode=0o170000), "device, pipe"),
        ("folder with bytes", Packed(b"f.jpg/"), "named as a folder but has bytes"),
        ("folder by mode", Packed(b"f.jpg", mode=stat.S_IFDIR | 0o755), "named as a folder"),
        ("a dot with bytes", Packed(b"./"), "named as a folder"),
    ):
        yield _one(name, entry, says)
    followed = pack(GOOD, Packed(b"l", os.fsencode(outside), mode=link), Packed(b"l/a.png"))
    yield Case(
        name="link, then a file through it",
        build=lambda: followed,
        skus=("l/a",),
        errors=("it is a link",),
    )
    hard = extra_field(0x000D, struct.pack("<LLHH", 0, 0, 0, 0) + target)
    yield _one("hard link in an extra field", Packed(b"h.jpg", extra=hard), skus=("h",))
    yield _one("setuid", Packed(b"s.jpg", mode=stat.S_IFREG | 0o6755), skus=("s",))
    yield _one("no mode", Packed(b"n.jpg", mode=0), skus=("n",))
    yield _one("DOS folder, system, hidden", Packed(b"d.jpg", attributes=0x16), skus=("d",))
    yield _one("a folder", Packed(b"f.jpg/", b"", method=0))
    both = pack(GOOD, Packed(b"x.jpg"), Packed(b"x.jpg/y.jpg"))
    yield Case(name="a file that is a folder", build=lambda: both, skus=("x", "x.jpg/y"))


def _bombs() -> Iterator[Case]:
    zeros, checksum = _zeros()
    bomb = Packed(b"b.jpg", b"", raw=zeros, size=BIG, crc=checksum)
    yield _one("ratio", bomb, "more than 1000 times")
    small = Packed(b"b.jpg", b"", raw=zeros, size=900_000, crc=checksum)
    yield _one("ratio that says to be small", small, "damaged in the archive")
    under = Packed(b"b.jpg", b"", raw=zeros, size=20_000_000, crc=checksum)
    yield _one("ratio that says less", under, "damaged in the archive")

    def many() -> bytes:
        raw, crc = deflated(bytes(1_000_000)), zlib.crc32(bytes(1_000_000))
        return pack(*(Packed(b"%d.jpg" % n, b"", raw=raw, size=1_000_000, crc=crc)
                      for n in range(2100)))  # fmt: skip

    yield _whole("many small ratios", many, "more than 100 times its size")
    for place, at in (("whole", 0), ("header", 5), ("name", 33), ("data", 40)):
        twins = pack(GOOD, Packed(b"o.jpg", at=at, local_name=b"good.jpg"), Packed(b"c.jpg"))
        yield Case(
            name=f"overlap with the {place}",
            build=lambda twins=twins: twins,
            good=(),
            skus=("c",),
            errors=("'good.jpg': its bytes overlap", "'o.jpg': its bytes overlap"),
        )
    names = pack(GOOD, *(Packed(b"%d.jpg" % n, at=0, local_name=b"good.jpg") for n in range(50)))
    yield Case(
        name="fifty names of the same bytes",
        build=lambda: names,
        good=(),
        errors=("its bytes overlap",) * 51,
    )
    yield Case(name="quoted headers", build=_quoted, errors=("its bytes overlap",) * 3)
    yield Case(
        name="headers quoted in extra fields", build=_quoted_in_extra,
        errors=("its bytes overlap",) * 2,
    )  # fmt: skip


@functools.cache
def _zeros() -> tuple[bytes, int]:
    return deflated(bytes(BIG)), zlib.crc32(bytes(BIG))


def _quoted() -> bytes:
    """D. Fifield's quoted overlap: each entry's data holds the next one's header and data."""
    kernel = deflated(bytes(1000))
    inner = pack(Packed(b"c.jpg", b"", raw=kernel, size=1000))[: 30 + 5 + len(kernel)]
    quote = b"\0" + struct.pack("<HH", len(inner) & 0xFFFF, len(inner) ^ 0xFFFF) + inner
    middle = pack(Packed(b"b.jpg", b"", raw=quote, size=len(inner)))[: 30 + 5 + len(quote)]
    outer = b"\0" + struct.pack("<HH", len(middle) & 0xFFFF, len(middle) ^ 0xFFFF) + middle
    begin = 30 + len(GOOD.name) + len(deflated(GOOD.data))
    at_b = begin + 30 + 5 + 5
    return pack(
        GOOD,
        Packed(b"a.jpg", b"", raw=outer, size=len(middle)),
        Packed(b"b.jpg", b"", raw=b"", packed=len(quote), size=len(inner), at=at_b),
        Packed(b"c.jpg", b"", raw=b"", packed=len(kernel), size=1000, at=at_b + 30 + 5 + 5),
    )


def _quoted_in_extra() -> bytes:
    kernel = deflated(bytes(1000))
    inner = pack(Packed(b"b.jpg", b"", raw=b""))[: 30 + 5]
    begin = 30 + len(GOOD.name) + len(deflated(GOOD.data))
    return pack(
        GOOD,
        Packed(b"a.jpg", b"", raw=kernel, size=1000, local_extra=extra_field(0xCAFE, inner)),
        Packed(b"b.jpg", b"", raw=b"", packed=len(kernel), size=1000, at=begin + 30 + 5 + 4),
    )


def _lies() -> Iterator[Case]:
    lie = Packed(b"a.jpg", b"", raw=b"\3\0", size=0xFFFF_FFF0)
    yield _whole("GiBs in 160 bytes", lambda: pack(lie), "more than 100 times its size")
    half = Packed(b"a.jpg", b"", raw=b"\3\0", size=1 << 30)
    yield _one("one GiB in two bytes", half, "more than 1000 times")
    stored = Packed(b"a.jpg", b"x", method=0, size=1 << 30, packed=1 << 30)
    yield _one("one GiB stored in a byte", stored, "overlap those of another entry or lie outside")
    for name, size in (("a TiB", 1 << 40), ("2^63", 1 << 63), ("all ones", (1 << 64) - 1)):
        large = Packed(b"a.jpg", size=0xFFFF_FFFF, extra=zip64(size))
        says = "unpacks to" if size > 200 * 1000**3 else "times its size"
        yield _whole(f"zip64 size of {name}", lambda large=large: pack(large), says)
    packed = Packed(b"a.jpg", packed=0xFFFF_FFFF, extra=zip64(1 << 40))
    yield _one("zip64 packed size of a TiB", packed, "lie outside of the archive")
    for name, offset in (("a TiB", 1 << 40), ("2^63", 1 << 63), ("all ones", (1 << 64) - 1)):
        far = Packed(b"a.jpg", at=0xFFFF_FFFF, extra=zip64(offset))
        yield _one(f"zip64 offset of {name}", far, "lie outside of the archive")
    yield _one("offset behind the end", Packed(b"a.jpg", at=0x7FFF_FFF0), "lie outside")
    cut = Packed(b"a.jpg", at=0xFFFF_FFFF, extra=extra_field(1, b"\1\2\3"))
    yield _one("zip64 field cut short", cut, "lie outside")
    none = Packed(b"a.jpg", at=0xFFFF_FFFF)
    yield _one("zip64 without its field", none, "lie outside")
    yield _one("two zip64 fields", Packed(b"a.jpg", extra=zip64(7, 7) + zip64()), skus=("a",))
    yield _one("extra field cut short", Packed(b"a.jpg", extra=b"\x55\x54\xff\xff\1"), skus=("a",))
    yield _one("extra field of a byte", Packed(b"a.jpg", extra=b"\x55"), skus=("a",))
    yield _one("version yet to come", Packed(b"a.jpg", version=255), skus=("a",))
    yield _one("size too small", Packed(b"a.jpg", b"x" * 200, size=100), "damaged in the archive")
    yield _one("size too large", Packed(b"a.jpg", b"x" * 100, size=200), "damaged in the archive")
    yield _one("size of none", Packed(b"a.jpg", b"x" * 100, size=0), "damaged in the archive")
    yield _one("checksum", Packed(b"a.jpg", crc=1), "damaged in the archive")
    yield _one("packed cut", Packed(b"a.jpg", bytes(range(99)), cut=5), "overlap")
    yield _one("no end of the stream", Packed(b"a.jpg", raw=deflated(bytes(range(256)) * 9)[:-50]),
               "damaged in the archive")  # fmt: skip
    yield _one("invalid stream", Packed(b"a.jpg", raw=b"\xff" * 50), "damaged in the archive")
    yield _one("no stream", Packed(b"a.jpg", raw=b""), "damaged in the archive")
    tail = deflated(b"pixels") + b"hidden" * 9
    yield _one("bytes behind the stream", Packed(b"a.jpg", raw=tail), skus=("a",))
    yield _one("no bytes", Packed(b"a.jpg", b""), skus=("a",))


def _twins() -> Iterator[Case]:
    same = "another entry has the same name"
    nfd = unicodedata.normalize("NFD", "ü.jpg").encode()
    for name, first, second, errors, skus in (
        ("the same", b"a.jpg", b"a.jpg", (same,), ("a",)),
        ("a dot before", b"a.jpg", b"./a.jpg", (same,), ("a",)),
        ("inner dots", b"a.jpg", b"x/../a.jpg", (same,), ("a",)),
        ("slashes", b"x/a.jpg", b"x//a.jpg", (same,), ("x/a",)),
        ("backslash", b"x/a.jpg", b"x\\a.jpg", (same,), ("x/a",)),
        ("normal form", "ü.jpg".encode(), nfd, (same,), ("ü",)),
        ("case", b"a.jpg", b"A.jpg", (), ("a", "A")),
        ("case of the ending", b"a.jpg", b"a.JPG", (), ("a.jpg", "a.JPG")),
        ("case of a folder", b"X/a.jpg", b"x/a.jpg", (), ("X/a", "x/a")),
        ("full width", "\uff41.jpg".encode(), b"a.jpg", (), ("\uff41", "a")),
        ("what is invisible", "a\u200b.jpg".encode(), b"a.jpg", (), ("a\u200b", "a")),
        ("another ending", b"a.jpg", b"a.png", (), ("a.jpg", "a.png")),
        ("a dot at the end", b"a..jpg", b"a.jpg", (), ("a.", "a")),
        ("a refused path", b"a.jpg", b"/a.jpg", ("leads out",), ("a",)),
    ):
        data = pack(GOOD, Packed(first), Packed(second))
        yield Case(name=f"twins: {name}", build=lambda data=data: data, errors=errors, skus=skus)
    data = pack(GOOD, *(Packed(b"a.jpg") for _ in range(10)))
    yield Case(name="ten of a name", build=lambda: data, errors=(same,) * 9, skus=("a",))
    stems = [b"s" + b".jpg" * n for n in range(1, 50)] + [b"s.png"]
    chain = pack(GOOD, *map(Packed, stems))
    wanted = tuple(stem.decode() for stem in stems)
    yield Case(name="a chain of stems", build=lambda: chain, skus=wanted)


def _encodings() -> Iterator[Case]:
    lie = "its name is not the UTF-8 that it says"
    for name, raw in (
        ("Latin-1", b"Gr\xf6\xdfe.jpg"),
        ("overlong dots", b"\xc0\xae\xc0\xae/a.jpg"),
        ("an encoded surrogate", b"a\xed\xa0\x80.jpg"),
        ("a cut character", b"a\xc3"),
        ("UTF-16", "a.jpg".encode("utf-16-be") + b"\xff"),
    ):
        shown = lie if b"\0" not in raw else "leads out"
        yield _one(f"says UTF-8: {name}", Packed(raw), shown)
    mac = unicodedata.normalize("NFD", "Größe.jpg").encode()
    yield _one("UTF-8 that is not said", Packed(mac, flags=0), skus=("Größe",))
    yield _one("code page 437", Packed("Größe.jpg".encode("cp437"), flags=0), skus=("Größe",))
    yield _one("overlong dots, not said", Packed(b"\xc0\xae\xc0\xae/a.jpg", flags=0),
               skus=("└«└«/a",))  # fmt: skip
    ascii_name = Packed(
        b"Gr__e.jpg", flags=0, extra=unicode_path(b"Gr__e.jpg", "Größe.jpg".encode())
    )
    yield _one("Unicode path", ascii_name, skus=("Größe",))
    out = Packed(b"a.jpg", extra=unicode_path(b"a.jpg", b"../../a.jpg"))
    yield _one("Unicode path that leads out", out, "leads out")
    absolute = Packed(b"a.jpg", extra=unicode_path(b"a.jpg", b"/etc/passwd"))
    yield _one("absolute Unicode path", absolute, "leads out")
    twin = pack(GOOD, Packed(b"a.jpg", extra=unicode_path(b"a.jpg", b"good.jpg")))
    yield Case(name="Unicode path of a twin", build=lambda: twin, errors=("same name",))
    for name, field in (
        ("for another name", unicode_path(b"a.jpg", b"b.jpg", crc=1)),
        ("of another version", unicode_path(b"a.jpg", b"b.jpg", version=2)),
        ("that is no UTF-8", unicode_path(b"a.jpg", b"\xff.jpg")),
        ("cut short", extra_field(0x7075, b"\1\0", size=40)),
        ("of two bytes", extra_field(0x7075, b"\1\0")),
    ):
        yield _one(f"Unicode path {name}", Packed(b"a.jpg", extra=field), skus=("a",))


def _locked_and_unknown() -> Iterator[Case]:
    for name, flags in (("", 0x801), (", strongly", 0x841), (", by its header", 0x840)):
        yield _one(f"encrypted{name}", Packed(b"a.jpg", flags=flags), "it is encrypted")
    yield _one("AES", Packed(b"a.jpg", flags=0x801, method=99), "it is encrypted")
    for method in (1, 2, 6, 9, 10, 12, 14, 18, 19, 93, 95, 96, 97, 98, 99, 0xFFFF):
        yield _one(
            f"method {method}", Packed(b"a.jpg", method=method), f"packed by method {method}"
        )
    yield _one("patched data", Packed(b"a.jpg", flags=0x820), "damaged in the archive")


def _mismatches() -> Iterator[Case]:
    """The directory says one thing and the header before the data another: the directory counts."""
    yield _one("another name", Packed(b"a.jpg", local_name=b"b.jpg"), "damaged in the archive")
    yield _one("a name that leads out", Packed(b"a.jpg", local_name=b"../a.jpg"),
               "damaged in the archive")  # fmt: skip
    yield _one("no name", Packed(b"a.jpg", local_name=b""), "overlap")
    for name, said, skus in (
        ("size", Fields(size=1 << 30, packed=1 << 30), ("a",)),
        ("no sizes", Fields(size=0, packed=0, crc=0), ("a",)),
        ("checksum", Fields(crc=1), ("a",)),
        ("method", Fields(method=0), ("a",)),
        ("encrypted", Fields(flags=0x801), ("a",)),
        ("signature", Fields(signature=b"PK\3\5"), ()),
        ("an entry of the directory", Fields(signature=b"PK\1\2"), ()),
    ):
        errors = () if skus else ("damaged in the archive",)
        yield _one(
            f"header says otherwise: {name}", Packed(b"a.jpg", local=said), *errors, skus=skus
        )
    yield _one("stored, said to be deflated", Packed(b"a.jpg", raw=b"pixels"), "damaged")
    lying = Packed(b"a.jpg", raw=deflated(b"pixels"), method=0, size=8, packed=8)
    yield _one("deflated, said to be stored", lying, "damaged in the archive")


def _framing() -> Iterator[Case]:
    plain = pack(GOOD)
    damaged = "damaged or incomplete"
    yield Case(name="a comment of 65,535", build=lambda: pack(GOOD, comment=b"c" * 65_535))
    yield Case(name="bytes in between", build=lambda: pack(GOOD, between=b"x" * 999))
    yield Case(name="a hundred bytes behind", build=lambda: plain + b"x" * 100)
    yield _whole("70,000 bytes behind", lambda: plain + b"x" * 70_000, damaged)
    yield _whole("a program before", lambda: pack(GOOD, prefix=b"MZ" + b"\0" * 99), "is none")
    yield _whole("a picture before", lambda: pack(GOOD, prefix=b"\xff\xd8\xff\xe0"), "is none")
    yield Case(
        name="another zip before", build=lambda: pack(Packed(b"x.jpg")) + pack(GOOD)
    )  # fmt: skip
    empty = END.pack(b"PK\5\6", 0, 0, 0, 0, 0, 0, 0)
    yield _whole("an empty end behind", lambda: plain + empty, damaged)
    yield _whole("an empty end in the comment", lambda: pack(GOOD, comment=empty), damaged)
    yield _whole("an entry fewer than there are", lambda: pack(GOOD, GOOD, count=1), damaged)
    yield _whole("an entry more than there are", lambda: pack(GOOD, count=2), damaged)
    yield _whole("a directory cut short", lambda: pack(GOOD, Packed(b"a.jpg"), directory_bytes=54),
                 damaged)  # fmt: skip
    yield _whole("a directory of 4 GiB", lambda: pack(GOOD, directory_bytes=0xFFFF_FFF0), damaged)
    yield _whole("a directory of no bytes", lambda: pack(GOOD, directory_bytes=0), damaged)
    for name, at in (("far behind", 0x7FFF_FFFF), ("at the beginning", 0)):
        yield Case(
            name=f"a directory that is said to be {name}",
            build=lambda at=at: pack(GOOD, directory_at=at),
            good=(),
            errors=("lie outside of the archive",),
        )
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1 << 40, 1 << 40, 1 << 40, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(plain) - END.size, 1)
    yield _whole(
        "a zip64 directory of a TiB",
        lambda: plain[: -END.size] + record + locator + plain[-END.size :],
        damaged,
    )
    nowhere = struct.pack("<4sLQL", b"PK\6\7", 0, 1 << 60, 1)
    yield Case(
        name="a zip64 end that is nowhere",
        build=lambda: plain[: -END.size] + nowhere + plain[-END.size :],
        refused=damaged,
        good=(),
    )
    parts = struct.pack("<4sLQL", b"PK\6\7", 1, 0, 3)
    yield _whole(
        "one of three disks", lambda: plain[: -END.size] + parts + plain[-END.size :], damaged
    )
    yield Case(name="no entry", build=lambda: pack(), good=())
    yield Case(name="folders alone", build=lambda: pack(Packed(b"a/", b""), Packed(b"b/", b"")),
               good=())  # fmt: skip
    noise = pack(*map(Packed, (b"__MACOSX/._a.jpg", b".DS_Store", b"x/Thumbs.db")))
    yield Case(name="what systems leave behind", build=lambda: noise, good=())
    yield _whole("no byte", lambda: b"", "is none")
    yield _whole("zeros", lambda: bytes(10_000), "is none")
    yield _whole("the first four bytes", lambda: b"PK\3\4", damaged)


def _truncated() -> Iterator[Case]:
    data = pack(GOOD, Packed(b"sub/a.png", bytes(range(256)) * 4), Packed(b"b.jpg", method=0))
    for cut in range(1, len(data), max(1, len(data) // 24)):
        says = "is none" if cut < 4 else "damaged or incomplete"
        yield _whole(f"cut after {cut} of {len(data)}", lambda cut=cut: data[:cut], says)


def _nested_and_foreign() -> Iterator[Case]:
    inner = zip_of({"a.jpg": "pixels", "../b.jpg": "pixels"})
    for _ in range(3):
        inner = zip_of({"deeper.zip": inner})
    data = pack(GOOD, Packed(b"inner.zip", inner))
    yield Case(name="a zip in it", build=lambda: data, skipped=("inner.zip",))
    yield _one("a zip called a picture", Packed(b"inner.jpg", inner), skus=("inner",))
    program = pack(GOOD, Packed(b"a.exe"), Packed(b"b.php"), Packed(b"c.jpg.sh"))
    yield Case(name="programs", build=lambda: program, skipped=("a.exe", "b.php", "c.jpg.sh"))
    for name, magic in (
        ("gzip", b"\x1f\x8b\x08"), ("7-Zip", b"7z\xbc\xaf\x27\x1c"), ("RAR", b"Rar!\x1a\x07\1"),
        ("bzip2", b"BZh9"), ("xz", b"\xfd7zXZ\0"), ("Zstandard", b"\x28\xb5\x2f\xfd"),
    ):  # fmt: skip
        yield _whole(f"{name} called a zip", lambda magic=magic: magic + bytes(99), name)
    tar = b"a.jpg".ljust(257, b"\0") + b"ustar\0"
    yield _whole("tar called a zip", lambda: tar.ljust(1024, b"\0"), "is none")


__all__ = ["BIG", "FILE", "Case", "archive_cases"]
