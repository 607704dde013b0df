"""Manifests made to harm: no path leads out, no row costs its neighbours, no file fills the memory.

`docs/reliability.md` has the counts.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tagging.domain import FailureCode
from tests.hostile.canaries import Canaries, scanned
from tests.hostile.paths import (
    PathCase,
    code_of,
    inside_pictures,
    path_cases,
    set_traps,
    trapped_entries,
)
from tests.hostile.pit import Pit, Told
from tests.hostile.zips import Packed, deflated, pack
from tests.servers import copied_database
from tests.stand_in import picture

FULL = bool(os.environ.get("ATELIER_HOSTILE"))
"""Whether the largest runs are made, as by `make hostile-archives`."""
CARRIERS = ("csv", "jsonl", "csv in a zip", "jsonl in a zip")
# Of the zips the rows are the same; only `make hostile-archives` delivers them to both.
TO_POSTGRESQL = CARRIERS if FULL else CARRIERS[:2]


@pytest.fixture(scope="module")
def pit(sqlite_template: Path) -> Iterator[Pit]:
    with Pit(sqlite_template) as found:
        yield found


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """A manifest of all path cases, good rows between them, and what became of it.

    `lines`: on which physical line each row stands, by its sku.
    """

    cases: dict[str, PathCase]
    lines: dict[str, int]
    good: int
    told: Told
    touched: list[str]
    unchanged: bool
    secrets: set[str]


NewDatabase = Callable[[], str | None]
"""Gives the pit a fresh database: the URL of one of PostgreSQL, or None for SQLite of its own."""
BOTH = ("sqlite", "postgresql")


@contextmanager
def databases(request: pytest.FixtureRequest, kind: str) -> Iterator[NewDatabase]:
    with ExitStack() as made:

        def new() -> str | None:
            if kind == "sqlite":
                return None
            server = request.getfixturevalue("postgresql_server")
            template = request.getfixturevalue("postgresql_template")
            return made.enter_context(copied_database(server, template))

        yield new


@pytest.fixture(params=BOTH)
def new_database(request: pytest.FixtureRequest) -> Iterator[NewDatabase]:
    with databases(request, request.param) as new:
        yield new


@pytest.fixture(params=BOTH if FULL else BOTH[:1])
def new_large_database(request: pytest.FixtureRequest) -> Iterator[NewDatabase]:
    """Minutes of work for PostgreSQL: only by `make hostile-archives`."""
    with databases(request, request.param) as new:
        yield new


@pytest.fixture(
    scope="module", params=[*CARRIERS, *(f"{carrier}, PostgreSQL" for carrier in TO_POSTGRESQL)]
)
def delivered(
    request: pytest.FixtureRequest, pit: Pit, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Delivered]:
    folder = tmp_path_factory.mktemp("paths")
    carrier, _, other = request.param.partition(", ")
    with (
        Canaries(folder / "outside") as canaries,
        databases(request, other.lower() or "sqlite") as new_database,
    ):
        cases = {f"c{at}": case for at, case in enumerate(path_cases(canaries.root))}
        rows: list[tuple[str, str]] = []
        for at, (sku, case) in enumerate(cases.items()):
            rows.append((sku, case.text))
            if at % 10 == 0:
                rows.append((f"g{at}", "images/b.png"))
        form, _, zipped = carrier.partition(" in a ")
        text, lines = _as_csv(rows) if form == "csv" else _as_json(rows)
        data = text.encode("utf-8", "surrogateescape")
        if zipped:
            (folder / "delivery").mkdir()
            source = folder / "delivery" / "upload.zip"
            source.write_bytes(
                pack(*trapped_entries(canaries.root), Packed(f"p.{form}".encode(), data))
            )
        else:
            set_traps(folder / "delivery", canaries.root)
            source = folder / "delivery" / f"p.{form}"
            source.write_bytes(data)
        before = scanned(folder)
        canaries.touched()
        told = pit.take_in(source, folder / "home", database_url=new_database())
        touched = canaries.touched()
        after = {path: what for path, what in scanned(folder).items() if "/home" not in path}
        yield Delivered(
            cases=cases,
            lines=lines,
            good=len(rows) - len(cases),
            told=told,
            touched=touched,
            unchanged=after == before,
            secrets=canaries.secrets,
        )


def _as_csv(rows: list[tuple[str, str]]) -> tuple[str, dict[str, int]]:
    stream, lines = io.StringIO(), {}
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    # Enough letters beyond ASCII for the stray bytes of some paths to be what they are.
    writer.writerow(("sku", "image", "größe"))
    for sku, text in rows:
        lines[sku] = len(re.findall("\r\n|\n|\r", stream.getvalue())) + 1
        # A lone surrogate that is no escaped byte cannot stand in a file: its escaped bytes do.
        text = text.replace("\ud800", "\udced\udca0\udc80")
        writer.writerow((sku, text, "ä"))
    return stream.getvalue(), lines


def _as_json(rows: list[tuple[str, str]]) -> tuple[str, dict[str, int]]:
    text = "".join(json.dumps({"sku": sku, "image": path}) + "\n" for sku, path in rows)
    return text, {sku: at for at, (sku, _) in enumerate(rows, start=1)}


def test_there_are_enough_paths() -> None:
    assert len(path_cases(Path("/outside"))) >= 600


def test_no_path_leads_out(delivered: Delivered) -> None:
    told = delivered.told
    assert (told.crash, told.error) == (None, None)
    assert delivered.touched == []
    assert delivered.unchanged
    assert told.opened == []
    assert delivered.secrets.isdisjoint(told.stored)
    assert set(told.stored.values()) <= {len(data) for data in inside_pictures().values()}
    assert told.peak_kib < 48 << 10


def test_each_path_has_one_clear_error_or_is_read_from_inside(delivered: Delivered) -> None:
    told = delivered.told
    errors: dict[int, list[str]] = {}
    for line, code, value, error in told.rejected:
        assert value
        assert code == code_of(error), error
        errors.setdefault(line, []).append(error)
    wrong = []
    for sku, case in delivered.cases.items():
        line = delivered.lines[sku]
        found = errors.pop(line, [])
        if case.says is None:
            right = sku in told.products and not found
        else:
            right = (
                sku not in told.products
                and len(found) == 1
                and found[0].startswith(f"line {line}: ")
                and any(says in found[0] for says in case.says)
            )
        if not right:
            wrong.append((case.text, found))
    assert wrong == []
    assert errors == {}
    assert sum(sku.startswith("g") for sku in told.products) == delivered.good


GOOD_ROW = "g%d,a.png,größer\n".encode()  # letters enough for a stray byte to be one
BAD_ROWS: dict[str, tuple[bytes, str]] = {
    **{
        f"{count} cells": (b",".join([b"x"] * count), f"{count} cells where the header has 3")
        for count in (1, 2, 4, 5, 50, 1000)
    },
    "1,001 cells": (b"x," * 1000, "more than 1000 cells"),
    "a million cells": (b"," * 1_000_000, "more than 1000 cells"),
    "ten million letters": (b"x,a.png," + b"x" * 10_000_000, "more than 100000 characters"),
    "ten million in quotes": (b'x,a.png,"' + b"x" * 10_000_000 + b'"', "more than 100000 "),
    "ten million in the sku": (b"x" * 10_000_000 + b",a.png,", "more than 100000 characters"),
    "ten million in the path": (b"x," + b"x" * 10_000_000 + b",", "more than 100000 characters"),
    "a hundred thousand lines": (b'x,a.png,"' + b"\n" * 100_001 + b'"', "more than 100000 "),
    "two hundred thousand quotes": (b'x,a.png,"' + b'""' * 100_001 + b'"', "more than 100000 "),
    "a row of long cells": (b",".join([b"x" * 99_999] * 3), "more than 200000"),
    "no sku": (b",a.png,", "sku is empty"),
    "a sku of spaces": (b'" \t ",a.png,', "sku is empty"),
    "a long sku": (b"x" * 201 + b",a.png,", "201 characters"),
    "a line break in the sku": (b'"x\ny",a.png,', "control characters"),
    "a bell in the sku": (b"x\x07,a.png,", "control characters"),
    "NUL in the sku": (b"x\0,a.png,", "NUL"),
    "NUL in the path": (b"x,a.png\0,", "NUL"),
    "NUL in a cell": (b"x,a.png,\0", "NUL"),
    "NULs alone": (b"\0" * 9, "1 cells where"),
    "no path": (b"x,,", "image is empty"),
    "bars": (b"x,|||,", "image is empty"),
    "201 paths": (b"x," + b"|".join(b"%d.png" % at for at in range(201)) + b",", "201 images"),
    "text behind a quote": (b'"x"y,a.png,', "text after a closing quote"),
    "a quote in a quote": (b'"x"y"z",a.png,', "text after a closing quote"),
    "a lone quote": (b'x,a.png," " "', "text after a closing quote"),
    "Latin-1": (b"x\xe9,a.png,", "no valid text"),
    "half a character": (b"x,a.png,\xc3", "no valid text"),
    "UTF-16 in it": ("\ufeffx".encode("utf-16-le") + b",a.png,", "NUL"),
    "an encoded surrogate": (b"x\xed\xa0\x80,a.png,", "no valid text"),
    "escape codes": (b"x,\x1b[2J\x1b]0;x\x07,", "no file"),
    "another delimiter": (b"x;a.png;", "1 cells where"),
    "JSON": (b'{"sku": "x"; "image": "a.png"}', "1 cells where"),
    "markup": (b"x,<img src=x onerror=alert(1)>,", "no file"),
}


ROW_CODES = {
    "sku is empty": FailureCode.BAD_SKU,
    "201 characters": FailureCode.BAD_SKU,
    "control characters": FailureCode.BAD_SKU,
    "201 images": FailureCode.TOO_MANY_IMAGES,
    "no file": FailureCode.MISSING,
    "NUL character in it; write": FailureCode.REFUSED_PATH,
    "ATELIER_ALLOW_URLS": FailureCode.URLS_OFF,
}
"""Of rows that say so; all others are bad rows."""


@pytest.fixture
def shop(light_path: Path, tmp_path: Path) -> Path:
    # A million rows are half a gigabyte of database: too much for a folder in memory.
    folder = (tmp_path if FULL else light_path) / "shop"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(1))
    return folder


def test_each_bad_row_costs_itself_alone(pit: Pit, shop: Path, new_database: NewDatabase) -> None:
    url = new_database()
    # Those of ten million letters take seconds to read, and write the same few words.
    large = FULL or url is None
    cases = {name: case for name, case in BAD_ROWS.items() if large or len(case[0]) < 1_000_000}
    body, wanted = bytearray(b"sku,image,text\n"), {}
    for at, (name, (row, says)) in enumerate(cases.items()):
        body += GOOD_ROW % at
        wanted[body.count(b"\n") + 1] = (name, says)
        body += row + b"\n"
    body += GOOD_ROW % len(cases)
    (shop / "p.csv").write_bytes(body)
    told = pit.take_in(shop / "p.csv", shop.parent / "home", database_url=url)
    assert (told.crash, told.error) == (None, None)
    assert sorted(told.products) == sorted(f"g{at}" for at in range(len(cases) + 1))
    assert [line for line, *_ in told.rejected] == list(wanted)
    for line, code, value, error in told.rejected:
        name, says = wanted[line]
        assert error.startswith(f"line {line}: ")
        assert says in error, name
        assert code == ROW_CODES.get(says, FailureCode.BAD_ROW), name
        assert len(value) <= 200
        assert value.isprintable()
    assert told.peak_kib < 64 << 10


BAD_LINES: dict[str, tuple[bytes, str]] = {
    "ten million letters": (b'{"sku":"x","t":"' + b"x" * 10_000_000 + b'"}', "characters"),
    "ten million brackets": (b"[" * 10_000_000, "characters"),
    "many brackets": (b"[" * 199_000, "usable JSON"),
    "objects in objects": (b'{"a":' * 30_000 + b"1" + b"}" * 30_000, "usable JSON"),
    "many names": (b"{" + b",".join(b'"%d":1' % at for at in range(20_000)) + b"}", "no sku"),
    "many digits": (b'{"sku":' + b"9" * 190_000 + b',"image":"a.png"}', "usable JSON"),
    "a large exponent": (b'{"sku":"x","image":"a.png","n":1e999999}', "usable JSON"),
    "not a number": (b'{"sku":"x","image":"a.png","n":NaN}', "NaN"),
    "a name twice": (b'{"sku":"x","sku":"y","image":"a.png"}', "there twice"),
    "NUL": (b'{"sku":"x\\u0000","image":"a.png"}', "NUL"),
    "NUL in a list": (b'{"sku":"x","image":["a.png\\u0000"]}', "NUL character in it; write"),
    "NUL in an address": (b'{"sku":"x","image":["http://a.b/\\u0000"]}', "ATELIER_ALLOW_URLS"),
    "NUL in a column": (b'{"sku":"x","image":"a.png","a\\u0000":"b"}', "NUL"),
    "half a surrogate in a list": (b'{"sku":"x","image":["\\udc80"]}', "no valid text"),
    "half a surrogate": (b'{"sku":"x\\ud800","image":"a.png"}', "no valid text"),
    "a raw NUL": (b'{"sku":"\0","image":"a.png"}', "usable JSON"),
    "two objects": (b'{"sku":"x","image":"a.png"}{"sku":"y","image":"a.png"}', "usable JSON"),
    "an array": (b'[{"sku":"x","image":"a.png"}]', "no JSON object"),
    "a path that is none": (b'{"sku":"x","image":{"path":"a.png"}}', "neither a path"),
    "CSV": (b"x,a.png", "usable JSON"),
    "Latin-1": (b'{"sku":"x\xe9","image":"a.png"}', "UTF-8"),
    "a comment": (b"// x", "usable JSON"),
    "__proto__": (b'{"__proto__":{"sku":"x"},"image":"a.png"}', "no sku"),
}  # fmt: skip


def test_each_bad_json_line_costs_itself_alone(
    pit: Pit, shop: Path, new_database: NewDatabase
) -> None:
    body = bytearray()
    for at, (line, _) in enumerate(BAD_LINES.values()):
        body += b'{"sku":"g%d","image":"a.png","s":"%s"}\n' % (at, "äöüß".encode())
        body += line + b"\n"
    (shop / "p.jsonl").write_bytes(body)
    told = pit.take_in(shop / "p.jsonl", shop.parent / "home", database_url=new_database())
    assert (told.crash, told.error) == (None, None)
    assert sorted(told.products) == sorted(f"g{at}" for at in range(len(BAD_LINES)))
    assert [line for line, *_ in told.rejected] == [2 * at for at in range(1, len(BAD_LINES) + 1)]
    for (name, (_, says)), (line, code, value, error) in zip(
        BAD_LINES.items(), told.rejected, strict=True
    ):
        assert error.startswith(f"line {line}: ")
        assert says in error, name
        assert code == ROW_CODES.get(says, FailureCode.BAD_ROW), name
        assert value.isprintable()
    assert told.peak_kib < 128 << 10


TEXT = "sku,image,größe\nä1,a.png,38\nä2,a.png,40 €\n"
WHOLE: dict[str, tuple[bytes, str | None]] = {
    "UTF-8": (TEXT.encode(), None),
    "UTF-8 with its mark": (TEXT.encode("utf-8-sig"), None),
    "two marks": (b"\xef\xbb\xbf" + TEXT.encode("utf-8-sig"), None),
    "UTF-16": (TEXT.encode("utf-16"), None),
    "UTF-16, big end first": (b"\xfe\xff" + TEXT.encode("utf-16-be"), None),
    "Windows-1252": (TEXT.encode("cp1252"), None),
    "UTF-16 without its mark": (TEXT.encode("utf-16-le"), "UTF-16 without its byte order mark"),
    "UTF-16-BE without its mark": (TEXT.encode("utf-16-be"), "UTF-16 without its byte order mark"),
    "UTF-16, half a letter": (TEXT.encode("utf-16")[:-1], "UTF-16 but is damaged"),
    "UTF-16, half a pair": ((TEXT + "\ud83d").encode("utf-16", "surrogatepass"), "damaged"),
    "UTF-16, half of it": (TEXT.encode("utf-16")[:41] + TEXT.encode()[20:], "damaged"),
    "UTF-32": (TEXT.encode("utf-32"), "UTF-32"),
    "UTF-32, big end first": (b"\0\0\xfe\xff" + TEXT.encode("utf-32-be"), "UTF-32"),
    "EBCDIC": ("sku,image\n1,a.png\n".encode("cp500"), "no column sku"),
    "nothing": (b"", "is empty"),
    "a mark alone": (b"\xef\xbb\xbf", "is empty"),
    "NULs": (bytes(100_000), "no column sku"),
    "a picture": (picture(3), "no column sku"),
    "one line of ten million": (b"x" * 10_000_000, "cannot be read"),
    "a quote that never closes": (b'"' + TEXT.encode() * 100_000, "cannot be read"),
    "a column twice": (b"sku,image,SKU\n", "more than once"),
    "carriage returns": (TEXT.replace("\n", "\r").encode(), None),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_in_some_encoding(pit: Pit, shop: Path, name: str) -> None:
    data, says = WHOLE[name]
    (shop / "p.csv").write_bytes(data)
    told = pit.take_in(shop / "p.csv", shop.parent / "home", read_only=True)
    assert (told.crash, told.rejected) == (None, [])
    if says is None:
        assert (told.error, sorted(told.products)) == (None, ["ä1", "ä2"])
        assert bool(told.warnings) == (name == "Windows-1252")
    else:
        assert told.error is not None
        assert says in told.error
        assert told.code == FailureCode.BAD_DELIVERY
    assert told.peak_kib < 48 << 10


def test_a_quote_that_never_closes_costs_what_is_behind_it(pit: Pit, shop: Path) -> None:
    with (shop / "p.csv").open("wb") as file:
        file.write(b"sku,image,text\n" + b"".join(GOOD_ROW % at for at in range(500)))
        file.write(b'x,a.png,"' + b"y,a.png,ok\n" * 300_000)
    told = pit.take_in(shop / "p.csv", shop.parent / "home", read_only=True)
    assert (told.delivered, told.refused) == (500, 1)
    ((line, code, _, error),) = told.rejected
    assert (line, code) == (502, FailureCode.BAD_ROW)
    assert "line 502" in error
    assert "close its quote" in error or "never closed" in error
    assert told.peak_kib < 32 << 10


def rows_of(count: int, form: str) -> Iterator[bytes]:
    """A manifest in which every tenth row is bad, in each of ten ways in turn."""
    bad = [b"x", b"x,y,z,w", b",a.png,", b"x,,", b"x,../a,", b"x,b.png,", b'"x"y,a.png,',
           b"x\0,a.png,", b"x" * 300 + b",a.png,", b'x,a.png," " "']  # fmt: skip
    if form == "csv":
        yield b"sku,image,text\n"
    for at in range(count):
        if form == "csv":
            yield bad[at // 10 % 10] + b"\n" if at % 10 == 9 else b"s%d,a.png,no. %d\n" % (at, at)
        elif at % 10 == 9:
            yield b"{%d\n" % at
        else:
            yield b'{"sku": "s%d", "image": "a.png", "text": "no. %d"}\n' % (at, at)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_memory_does_not_grow_with_the_rows(
    pit: Pit,
    shop: Path,
    form: str,
    new_large_database: NewDatabase,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With `make hostile-archives` a million go into databases; else 250,000 are read."""
    few, many = {
        ("csv", False): (50_000, 250_000),
        ("jsonl", False): (20_000, 100_000),
        ("csv", True): (200_000, 1_000_000),
        ("jsonl", True): (50_000, 250_000),
    }[form, FULL]
    peaks = []
    bad_codes = {FailureCode.BAD_ROW}
    if form == "csv":
        bad_codes |= {FailureCode.BAD_SKU, FailureCode.REFUSED_PATH, FailureCode.MISSING}
    for count in (few, many):
        with (shop / f"p.{form}").open("wb") as file:
            file.writelines(rows_of(count, form))
        told = pit.take_in(
            shop / f"p.{form}",
            shop.parent / f"home{count}",
            database_url=new_large_database(),
            read_only=not FULL,
            with_images=False,
            file_mb=4096,
            cpu_s=3600,
        )
        assert (told.crash, told.error) == (None, None)
        assert (told.delivered, told.refused) == (count * 9 // 10, count // 10)
        assert all(error.startswith(f"line {line}: ") for line, *_, error in told.rejected)
        assert {code for _, code, *_ in told.rejected} <= bad_codes
        peaks.append(told.peak_kib)
        if FULL:
            with capsys.disabled():
                sys.stdout.write(f"{form}: {count} rows, {told.peak_kib} KiB, {told.cpu_s} s\n")
    assert peaks[1] < peaks[0] + (8 << 10)


def test_a_manifest_of_books_takes_no_memory_for_each(
    pit: Pit, shop: Path, new_large_database: NewDatabase
) -> None:
    """All of it is 81 MB of texts: more than one transaction holds."""
    row = b",".join([b"x" * 60_000] * 3)
    with (shop / "p.csv").open("wb") as file:
        file.write(b"sku,image,a,b,c\n")
        file.writelines(b"s%d,a.png,%s\n" % (at, row) for at in range(450))
    told = pit.take_in(shop / "p.csv", shop.parent / "home", database_url=new_large_database())
    assert (told.crash, told.error) == (None, None)
    assert len(told.products) == 450
    assert told.peak_kib < 100 << 10


def test_a_manifest_of_a_gigabyte_of_line_ends_is_not_read(pit: Pit, shop: Path) -> None:
    # A little less than 1,000 times, which no entry may be.
    line_ends = deflated(b"\n" * 50_000_000) + bytes(5_000)
    entry = Packed(b"p.csv", b"", raw=line_ends, size=50_000_000, crc=0)
    (shop / "p.zip").write_bytes(pack(entry))
    with (shop / "holes.csv").open("wb") as file:
        file.write(b"sku,image\n")
        file.truncate(20 * 1000**3)
    for name, says in (("p.zip", "more than 100 times"), ("holes.csv", "deliver it in parts")):
        told = pit.take_in(shop / name, shop.parent / f"home-{name}", read_only=True, cpu_s=5)
        assert told.error is not None
        assert told.code == FailureCode.TOO_LARGE
        assert says in told.error
