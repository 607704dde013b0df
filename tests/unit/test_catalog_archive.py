"""Zips: read without unpacking, bounded, and never trusted."""

from __future__ import annotations

import stat
import tracemalloc
import unicodedata
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagging.catalog import zip_directory
from tagging.catalog.delivery import (
    DeliveredRow,
    DeliveryLimits,
    DeliveryRowError,
    RejectedRow,
    Row,
    SkippedFile,
)
from tagging.catalog.opening import open_delivery
from tagging.domain import FailureCode
from tagging.errors import DeliveryError
from tests.coded import coded
from tests.hostile.zips import Packed, pack, unicode_path, zip_of

SMALL = DeliveryLimits(max_entries=50, max_total_bytes=50_000_000, ratio_free_bytes=10_000)


def outcome(row: Row) -> tuple[str, str]:
    """A word for what became of an entry, and the text to check."""
    if isinstance(row, SkippedFile):
        return "skipped", f"{row.name}: {row.why}"
    if isinstance(row, RejectedRow):
        return "rejected", f"{row.code}: {row.error}"
    try:
        with row.images[0].open() as file:
            return "read", f"{row.sku}={file.read().decode(errors='replace')[:20]}"
    except DeliveryRowError as error:
        return "broken", f"{error.code}: {error}"


CODES = {
    "leads out": FailureCode.REFUSED_PATH,
    "is a link": FailureCode.REFUSED_PATH,
    "leaves the manifest's folder": FailureCode.REFUSED_PATH,
    "is absolute": FailureCode.REFUSED_PATH,
    "is an address": FailureCode.REFUSED_PATH,
    "ATELIER_ALLOW_URLS": FailureCode.URLS_OFF,
    "no file": FailureCode.MISSING,
    "capitals count": FailureCode.MISSING,
    "is a folder": FailureCode.CANNOT_OPEN,
    "device, pipe": FailureCode.CANNOT_OPEN,
    "more than 1000": FailureCode.TOO_LARGE,
    "control characters": FailureCode.BAD_SKU,
    "sku is empty": FailureCode.BAD_SKU,
    "300 characters": FailureCode.BAD_SKU,
}
"""Of entries that say so; all others are bad entries."""


def code_of(says: str) -> FailureCode:
    return next((code for text, code in CODES.items() if text in says), FailureCode.BAD_ENTRY)


def outcomes(path: Path, data: bytes, limits: DeliveryLimits = SMALL) -> list[tuple[str, str]]:
    path /= "upload.zip"
    path.write_bytes(data)
    with open_delivery(path, limits=limits) as delivery:
        assert (delivery.kind, delivery.name) == ("archive", "upload.zip")
        found = list(delivery.rows())
        lines = [row.line for row in found if not isinstance(row, SkippedFile)]
        assert lines == sorted(set(lines))
        return [outcome(row) for row in found]


def test_a_zip_of_images(tmp_path: Path) -> None:
    data = zip_of(
        {
            "b.jpg": "1",
            "a.JPG": "2",
            "sub/": "",
            "sub/c.png": "3",
            "sub/deep/d.webp": "4",
            "sub/c.jpg": "5",
            "readme.txt": "",
            "sub/more.zip": "",
            "sub/p.csv": "",
            "__MACOSX/._b.jpg": "",
            ".DS_Store": "",
            "sub/Thumbs.db": "",
            ".hidden/x.jpg": "",
            "sub/.5-inch.jpg": "6",
        }
    )
    found = outcomes(tmp_path, data)
    assert [text for word, text in found if word == "read"] == [
        "a=2",
        "b=1",
        "sub/c.jpg=5",
        "sub/c.png=3",
        "sub/deep/d=4",
    ]
    skipped = [text for word, text in found if word == "skipped"]
    assert [text.partition(":")[0] for text in skipped] == [
        "readme.txt",
        "sub/.5-inch.jpg",
        "sub/more.zip",
        "sub/p.csv",
    ]
    assert "if it is a photo, rename it" in skipped[1]
    assert "deliver it by itself" in skipped[2]
    assert "top of the archive" in skipped[3]
    assert len(found) == 9


def test_a_single_top_folder_stays_in_the_sku(tmp_path: Path) -> None:
    assert outcomes(tmp_path, zip_of({"shop/a.jpg": "1"})) == [("read", "shop/a=1")]


def test_an_empty_zip_is_a_delivery_of_nothing(tmp_path: Path) -> None:
    assert outcomes(tmp_path, zip_of({})) == []


@pytest.mark.parametrize("top", ["", "shop/"])
@pytest.mark.parametrize("manifest", ["products.csv", "P.TSV", "p.jsonl"])
def test_a_zip_with_a_manifest(tmp_path: Path, top: str, manifest: str) -> None:
    text = (
        '{"sku": "1", "image": "images/a.jpg", "size": 38}\n'
        if manifest == "p.jsonl"
        else "sku;image;size\n1;images\\a.jpg;38\n"
    )
    path = tmp_path / "upload.zip"
    path.write_bytes(
        zip_of({f"{top}images/a.jpg": "pixels", f"{top}{manifest}": text, f"{top}x.txt": ""})
    )
    with open_delivery(path) as delivery:
        assert (delivery.kind, delivery.name) == ("archive", "upload.zip")
        assert delivery.estimated_rows() == 1
        (row,) = delivery.rows()
        assert isinstance(row, DeliveredRow)
        assert (row.sku, row.attributes) == ("1", {"size": "38"})
        assert row.images[0].name == f"{top}images/a.jpg"
        assert outcome(row) == ("read", "1=pixels")


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["a.csv", "b.csv"], "warned"),
        (["a.csv", "b.jsonl", "x/a.jpg"], "warned"),
        (["x/a.csv", "y/a.jpg"], "images"),
        (["a.jpg", "x/a.csv"], "images"),
        (["x/y/a.csv", "x/y/a.jpg"], "images"),
        (["notes.txt", "a.jpg"], "images"),
    ],
)
def test_zips_without_one_clear_manifest(tmp_path: Path, names: list[str], kind: str) -> None:
    path = tmp_path / "upload.zip"
    path.write_bytes(zip_of(dict.fromkeys(names, "")))
    with open_delivery(path) as delivery:
        assert bool(delivery.warnings) == (kind == "warned")
        assert {type(row) for row in delivery.rows()} <= {DeliveredRow, SkippedFile}


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("a.jpg", None),
        ("./sub/../a.jpg", None),
        ("sub\\b.jpg", None),
        ("ü.jpg", None),
        ("x.jpg", "no file 'x.jpg' beside the manifest in the archive"),
        ("A.JPG", "there is 'a.jpg': capitals count"),
        ("Sub/b.jpg", "there is 'sub/b.jpg': capitals count"),
        ("sub", "is a folder"),
        (".", "no file"),
        ("../secret.jpg", "leaves the manifest's folder"),
        ("..\\secret.jpg", "leaves the manifest's folder"),
        ("/a.jpg", "is absolute"),
        ("C:\\a.jpg", "is absolute"),
        ("/etc/passwd", "is absolute"),
        ("ftp://x/a.jpg", "is an address"),
        ("https://x/a.jpg", "ATELIER_ALLOW_URLS"),
        ("locked.jpg", "encrypted"),
        ("link.jpg", "it is a link"),
        ("twin.jpg", "same name"),
    ],
)
def test_images_named_by_a_manifest_in_a_zip(tmp_path: Path, image: str, says: str | None) -> None:
    manifest = f"sku,image\n1,{image}\n".encode()
    data = pack(
        Packed(b"p.csv", manifest),
        Packed(b"a.jpg"),
        Packed(b"sub/b.jpg"),
        Packed(unicodedata.normalize("NFD", "ü.jpg").encode()),
        Packed(b"locked.jpg", flags=0x801),
        Packed(b"link.jpg", b"/etc/passwd", mode=stat.S_IFLNK | 0o777),
        Packed(b"twin.jpg"),
        Packed(b"twin.jpg"),
        Packed(b"../secret.jpg"),
        Packed(b"/etc/passwd"),
    )
    ((word, text),) = outcomes(tmp_path, data)
    if says is None:
        assert (word, text) == ("read", "1=pixels")
    else:
        assert word == "rejected"
        assert text.startswith(f"{code_of(says)}: line 2: ")
        assert says in text


GOOD = Packed(b"good.jpg")
ZEROS = bytes(20_000_000)


@pytest.mark.parametrize(
    ("entries", "word", "says"),
    [
        ([Packed(b"../a.jpg")], "rejected", "leads out"),
        ([Packed(b"x/../../a.jpg")], "rejected", "leads out"),
        ([Packed(b"..\\a.jpg")], "rejected", "leads out"),
        ([Packed(b"/etc/cron.d/a.jpg")], "rejected", "leads out"),
        ([Packed(b"\\\\server\\a.jpg")], "rejected", "leads out"),
        ([Packed(b"C:\\a.jpg")], "rejected", "leads out"),
        ([Packed(b"C:a.jpg")], "rejected", "leads out"),
        ([Packed(b"../../root/.ssh/authorized_keys")], "rejected", "leads out"),
        ([Packed(b"a.jpg\0.exe")], "rejected", "leads out"),
        ([Packed(b"x" * 5000 + b".jpg")], "rejected", "leads out"),
        ([Packed(b"l.jpg", b"/etc/passwd", mode=stat.S_IFLNK | 0o777)], "rejected", "is a link"),
        ([Packed(b"l", b"/", mode=stat.S_IFLNK | 0o777)], "rejected", "is a link"),
        ([Packed(b"p.jpg", mode=stat.S_IFIFO)], "rejected", "device, pipe"),
        ([Packed(b"d.jpg", mode=stat.S_IFBLK)], "rejected", "device, pipe"),
        ([Packed(b"e.jpg", flags=0x801)], "rejected", "encrypted"),
        ([Packed(b"e.jpg", flags=0x840)], "rejected", "encrypted"),
        ([Packed(b"lzma.jpg", method=14)], "rejected", "method 14"),
        ([Packed(b"bzip2.jpg", method=12)], "rejected", "method 12"),
        ([Packed(b"zstd.jpg", method=93)], "rejected", "method 93"),
        ([Packed(b"bomb.jpg", ZEROS)], "rejected", "more than 1000 times"),
        ([Packed(b"liar.jpg", b"x", method=0, size=40_000_000)], "rejected", "more than 1000"),
        ([Packed(b"a\n.jpg")], "rejected", "control characters"),
        ([Packed(b" .jpg")], "rejected", "sku is empty"),
        ([Packed(b"y" * 300 + b".jpg")], "rejected", "300 characters"),
        ([Packed(b"crc.jpg", crc=1)], "broken", "damaged in the archive"),
        ([Packed(b"short.jpg", b"x" * 100, size=200)], "broken", "damaged"),
        ([Packed(b"long.jpg", b"x" * 200, size=100)], "broken", "damaged"),
        ([Packed(b"bomb.jpg", ZEROS, size=9_000)], "broken", "damaged"),
        ([Packed(b"stored.jpg", b"x" * 100, method=0, size=50)], "broken", "damaged"),
        ([Packed(b"cut.jpg", b"0123456789", cut=3)], "rejected", "overlap"),
        ([Packed(b"noise.jpg", b"\xff" * 50, method=8, crc=0, size=50)], "broken", "damaged"),
        ([Packed(b"other.jpg", local_name=b"elses.jpg")], "broken", "damaged"),
        ([Packed(b"nowhere.jpg", at=0x7FFFFFF0)], "rejected", "overlap"),
        ([Packed(b"\xff\xfe.jpg")], "rejected", "not the UTF-8 that it says"),
        ([Packed(b"folder.jpg/", b"pixels")], "rejected", "named as a folder but has bytes"),
        ([Packed(b"good.jpg")], "rejected", "same name"),
        ([Packed(b"./good.jpg")], "rejected", "same name"),
        ([Packed(b"x//..//good.jpg")], "rejected", "same name"),
        ([Packed(b"nested.zip", zip_of({"a.jpg": "1"}))], "skipped", "not opened"),
        ([Packed(b"a.exe")], "skipped", "not taken for a picture"),
    ],
)  # fmt: skip
def test_hostile_entries_harm_only_themselves(
    tmp_path: Path, entries: list[Packed], word: str, says: str
) -> None:
    found = outcomes(tmp_path, pack(GOOD, *entries))
    assert found.count(("read", "good=pixels")) == 1
    ((got, text),) = [one for one in found if one != ("read", "good=pixels")]
    assert got == word
    assert says in text
    if word != "skipped":
        assert text.startswith(f"{code_of(says)}: ")


def test_twins_in_other_spellings_are_found(tmp_path: Path) -> None:
    data = pack(
        Packed("ü.jpg".encode()),
        Packed(unicodedata.normalize("NFD", "ü.jpg").encode()),
        Packed(b"s\\a.jpg"),
        Packed(b"s/a.jpg"),
        Packed(b"t.jpg"),
        Packed(b"/t.jpg"),
        Packed(b"t.jpg"),
    )
    assert [word for word, _ in outcomes(tmp_path, data)].count("read") == 3


def test_names_that_a_mac_packed(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "Größe.jpg").encode()
    assert outcomes(tmp_path, pack(Packed(name, flags=0))) == [("read", "Größe=pixels")]


def test_names_in_code_page_437(tmp_path: Path) -> None:
    data = pack(Packed("Gr\u00f6\u00dfe.jpg".encode("cp437"), flags=0))
    assert outcomes(tmp_path, data) == [("read", "Größe=pixels")]


@pytest.mark.parametrize("at", [0, 7, 40])
def test_overlapping_entries_are_all_rejected(tmp_path: Path, at: int) -> None:
    data = pack(GOOD, Packed(b"other.jpg", at=at, local_name=b"good.jpg"), Packed(b"third.jpg"))
    found = outcomes(tmp_path, data)
    assert [word for word, _ in found] == ["rejected", "rejected", "read"]
    assert found[0][1].startswith("bad_entry: 'good.jpg': its bytes overlap")


def test_overlapping_bomb(tmp_path: Path) -> None:
    """Many names for the same packed bytes, as in D. Fifield's overlapping bomb."""
    data = pack(GOOD, *(Packed(b"%d.jpg" % n, at=0, local_name=b"good.jpg") for n in range(20)))
    found = outcomes(tmp_path, data)
    assert [word for word, _ in found] == ["rejected"] * 21


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (zip_of({"a.jpg": "1" * 1000})[:-30], "damaged or incomplete"),
        (zip_of({"a.jpg": "1"})[:40], "damaged or incomplete"),
        (b"PK\x03\x04", "damaged or incomplete"),
        (b"PK\x05\x06", "damaged or incomplete"),
        (b"PK\x03\x04" + b"x" * 100_000, "damaged or incomplete"),
        (pack(GOOD)[:-10] + b"\xff" * 10, "damaged or incomplete|entries"),
        (pack(GOOD, GOOD, count=3), "states 3 entries, but there are 2"),
        (pack(*(Packed(b"%d.jpg" % n) for n in range(51))), "more than 50 entries"),
        (pack(*(Packed(b"%d.jpg" % n) for n in range(51)), count=1), "more than 50 entries"),
        (pack(*(Packed(b"%d.jpg" % n) for n in range(9)), count=1), "states 1 entries"),
        (pack(Packed(b"a.jpg", ZEROS), Packed(b"b.jpg", ZEROS), Packed(b"c.jpg", ZEROS)),
         "unpacks to 60000000 bytes"),
        (pack(Packed(b"a.jpg", size=0xFFFF_FFF0)), "unpacks to"),
        (zip_of({"p.csv": "a,b\n1,2\n", "a.jpg": ""}), "no column sku"),
        (zip_of({"p.csv": ""}), "'p.csv' is empty"),
        (pack(Packed(b"p.csv", b"sku,image\n", flags=0x801)), "encrypted"),
        (pack(Packed(b"p.csv", b"sku,image\n", crc=1)), "damaged in the archive"),
        (pack(Packed(b"p.csv", b"sku,image\n" + b" " * 11_000_000)), "more than 1000 times"),
    ],
    # Archives hold the time, and test processes must agree on the names of tests.
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)  # fmt: skip
def test_zips_that_cannot_be_read_at_all(tmp_path: Path, data: bytes, says: str) -> None:
    too_large = ("more than 50 entries", "unpacks to", "more than 1000 times")
    code = FailureCode.TOO_LARGE if says.startswith(too_large) else FailureCode.BAD_DELIVERY
    if says in ("encrypted", "damaged in the archive"):
        code = FailureCode.BAD_ENTRY
    with pytest.raises(DeliveryError, match=says, check=coded(code)):
        outcomes(tmp_path, data)


def test_a_lying_size_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "upload.zip").write_bytes(
        pack(
            Packed(b"bomb.jpg", bytes(50_000_000), size=100_000), Packed(b"b.jpg", ZEROS[:900_000])
        )
    )
    tracemalloc.start()
    try:
        with open_delivery(tmp_path / "upload.zip") as delivery:
            for row in delivery.rows():
                outcome(row)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def test_entries_can_be_read_side_by_side_and_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "upload.zip"
    big = bytes(range(256)) * 2000
    path.write_bytes(zip_of({"a.jpg": big, "b.jpg": big[::-1]}))
    with open_delivery(path) as delivery:
        one, two = (
            row.images[0].open() for row in delivery.rows() if isinstance(row, DeliveredRow)
        )
        with one, two:
            a, b = b"", b""
            while part := one.read(70_001):
                a += part
                b += two.read(70_001)
        assert (a, b + two.read() if not two.closed else b) == (big, big[::-1])


def test_nothing_is_written_beside_the_archive(tmp_path: Path) -> None:
    outcomes(tmp_path, pack(GOOD, Packed(b"../evil.jpg"), Packed(b"/tmp/evil.jpg")))
    assert [path.name for path in tmp_path.iterdir()] == ["upload.zip"]


def test_images_are_out_of_reach_after_closing(tmp_path: Path) -> None:
    (tmp_path / "upload.zip").write_bytes(zip_of({"a.jpg": "1"}))
    with open_delivery(tmp_path / "upload.zip") as delivery:
        (row,) = delivery.rows()
    assert isinstance(row, DeliveredRow)
    with pytest.raises(DeliveryRowError, match="closed"):
        row.images[0].open()


BASE = pack(GOOD, Packed(b"sub/a.png", b"x" * 400), Packed(b"stored.jpg", b"y" * 90, method=0))


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300
)
@given(
    changes=st.lists(
        st.tuples(st.integers(4, len(BASE) - 1), st.integers(0, 255)), min_size=1, max_size=6
    ),
    cut=st.integers(0, 3),
)
def test_any_damage_ends_in_an_error_of_ours(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(BASE)
    for at, value in changes:
        data[at] = value
    try:
        outcomes(tmp_path, bytes(data[: len(data) - cut]))
    except DeliveryError:
        return


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100
)
@given(st.binary(max_size=300))
def test_any_bytes_after_the_magic_end_in_an_error_of_ours(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DeliveryError):
        outcomes(tmp_path, b"PK\x03\x04" + data)


def test_of_a_long_name_the_checksum_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be 7,281 fields for each name of 65,535 bytes: minutes for each of them."""
    name = b"n" * 1000 + b".jpg"
    fields = unicode_path(name, b"wrong", crc=1) * 50 + unicode_path(name, b"true.jpg")
    data = pack(*(Packed(name, extra=fields) for _ in range(3)))
    directory = data[data.index(b"PK\x01\x02") :]
    crc32 = zlib.crc32
    computed: list[int] = []

    def counted(value: bytes) -> int:
        computed.append(len(value))
        return crc32(value)

    monkeypatch.setattr(zip_directory.zlib, "crc32", counted)
    _, found = zip_directory.put_in_order(directory)
    assert found.names == dict.fromkeys(range(3), "true.jpg")
    assert computed == [len(name)] * 3
