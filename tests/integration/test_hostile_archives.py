"""Zips made to harm: nothing leaves the data folder, and each ends in one clear error.

Every case is delivered in a child process with bounded memory, and its rows are read back from the
database. `docs/reliability.md` has the counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tagging.domain import FailureCode
from tests.hostile.archives import GOOD, Case, archive_cases, code_of
from tests.hostile.canaries import Canaries, scanned
from tests.hostile.pit import Pit
from tests.hostile.zips import Packed, pack

PEAK_MIB = 48
"""How far memory may grow. A million bytes of a picture and the database's pages are most of it."""
DISK_BYTES = 4_000_000
"""Of the data folder, the empty database included; no case delivers a picture of a million."""
NAMES = [case.name for case in archive_cases(Path("/outside"))]
FULL = bool(os.environ.get("ATELIER_HOSTILE"))
"""Whether all go into databases, as by `make hostile-archives`."""
IN_POSTGRESQL = (
    r"slip 'a.jpg\x00.png'",
    r"letters 'a\u202egpj.jpg'",
    "escape sequence",
    "two thousand folders",
    "twins: what is invisible",
    "twins: normal form",
    "says UTF-8: an encoded surrogate",
    "says UTF-8: UTF-16",
    "overlong dots, not said",
)
"""Those whose texts a database may take otherwise than SQLite does."""


@dataclass(frozen=True, kw_only=True)
class Arena:
    """What all cases share: the child process, and what none of them may touch."""

    pit: Pit
    canaries: Canaries
    cases: dict[str, Case]


@pytest.fixture(scope="module")
def arena(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    outside = tmp_path_factory.mktemp("arena") / "outside"
    with Pit(sqlite_template) as pit, Canaries(outside) as canaries:
        cases = {case.name: case for case in archive_cases(outside)}
        yield Arena(pit=pit, canaries=canaries, cases=cases)


def test_there_are_enough_of_them() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert len(NAMES) >= 200


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_archive(arena: Arena, light_path: Path, name: str) -> None:
    # By `make hostile-archives` all go into a database; else every fourth, and the others are read.
    read_only = not FULL and NAMES.index(name) % 4 != 0
    _deliver(arena, name, light_path, read_only=read_only)


@pytest.mark.parametrize("name", NAMES if FULL else IN_POSTGRESQL)
def test_a_hostile_archive_into_postgresql(
    arena: Arena, light_path: Path, postgresql_url: str, name: str
) -> None:
    _deliver(arena, name, light_path, database_url=postgresql_url)


def _deliver(
    arena: Arena,
    name: str,
    folder: Path,
    *,
    read_only: bool = False,
    database_url: str | None = None,
) -> None:
    case, canaries = arena.cases[name], arena.canaries
    source = folder / "delivery" / case.file
    source.parent.mkdir()
    source.write_bytes(case.build())
    before = scanned(folder)
    canaries.touched()
    told = arena.pit.take_in(
        source, folder / "home", read_only=read_only, database_url=database_url
    )
    assert told.crash is None
    # Nothing outside was read or written.
    assert canaries.touched() == []
    assert told.opened == []
    assert canaries.unchanged()
    after = scanned(folder)
    home = str(folder / "home")
    assert {path: what for path, what in after.items() if not path.startswith(home)} == before
    assert not any("home/images" in path and Path(path).is_symlink() for path in after)
    assert canaries.secrets.isdisjoint(told.stored)
    # Memory and disk are bounded.
    assert told.peak_kib < PEAK_MIB * 1024
    assert told.disk_bytes < DISK_BYTES
    # One clear error each, and the neighbours are there.
    if case.refused is not None:
        assert told.error is not None
        assert case.refused in told.error
        assert told.code == code_of(case.refused, FailureCode.BAD_DELIVERY)
        assert (told.products, told.rejected) == ({}, [])
        return
    assert told.error is None
    assert sorted(told.products) == sorted((*case.good, *case.skus))
    assert told.skipped == [
        [FailureCode.NESTED if name.endswith(".zip") else FailureCode.NOT_AN_IMAGE, name]
        for name in case.skipped
    ]
    errors = [error for *_, error in told.rejected]
    assert len(errors) == len(case.errors)
    assert all(any(says in error for says in case.errors) for error in errors)
    assert all(says in "\n".join(errors) for says in case.errors)
    assert all(value and ": " in error for _, _, value, error in told.rejected)
    for _, code, _, error in told.rejected:
        (wanted,) = {code_of(says, FailureCode.BAD_ENTRY) for says in case.errors if says in error}
        assert code == wanted, error


def test_what_is_touched_is_seen(arena: Arena, light_path: Path) -> None:
    """The watch itself: a delivery from outside is one that reads there."""
    told = arena.pit.take_in(arena.canaries.root / "photos", light_path / "home", read_only=True)
    assert sorted(told.products) == ["b", "c"]
    assert not arena.canaries.secrets.isdisjoint(told.stored)
    assert "b.png" in arena.canaries.touched()


def _holes(folder: Path) -> Path:
    """A zip with a directory of four gigabytes, in a file of holes."""
    source = folder / "holes.zip"
    data = pack(GOOD, directory_bytes=0xFFFF_0000, directory_at=0)
    with source.open("wb") as file:
        file.write(b"PK\3\4")
        file.truncate(0xFFFF_0000)
        file.seek(0, os.SEEK_END)
        file.write(data[-22:])
    return source


def test_what_takes_memory_is_stopped(arena: Arena, light_path: Path) -> None:
    """The bound itself: in a child with 64 megabytes the 200 of a directory cannot be read."""
    told = arena.pit.take_in(_holes(light_path), light_path / "home", read_only=True, memory_mb=64)
    assert told.crash is not None
    assert "MemoryError" in told.crash


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"] if FULL else ["sqlite"])
@pytest.mark.parametrize(("count", "most_mib"), [(200_000, 320)])
def test_very_many_entries(
    arena: Arena,
    light_path: Path,
    request: pytest.FixtureRequest,
    count: int,
    most_mib: int,
    kind: str,
) -> None:
    """About a kilobyte of memory each; by `make hostile-archives` they are ingested pictures."""
    name = b"shop/%06d.jpg" if FULL else b"shop/%06d.txt"
    source = light_path / "many.zip"
    source.write_bytes(
        pack(GOOD, *(Packed(name % at, b"%d" % at, method=0) for at in range(count)), count=0xFFFF)
    )
    told = arena.pit.take_in(
        source,
        light_path / "home",
        database_url=request.getfixturevalue("postgresql_url") if kind == "postgresql" else None,
        read_only=not FULL,
        memory_mb=most_mib + 128,
        file_mb=1024,
        cpu_s=900,
    )
    assert (told.crash, told.error) == (None, None)
    assert told.rows == count + 1
    assert told.delivered == (count + 1 if FULL else 1)
    assert told.peak_kib < most_mib << 10


def test_more_entries_than_are_read(arena: Arena, light_path: Path) -> None:
    """Of a directory of four gigabytes 200 megabytes are read."""
    told = arena.pit.take_in(_holes(light_path), light_path / "home", read_only=True)
    assert told.error is not None
    assert "more than 1000000 entries" in told.error
    assert told.code == FailureCode.TOO_LARGE
    assert told.peak_kib < 250 << 10


def test_paths_of_two_thousand_folders_take_no_memory_for_each(
    arena: Arena, light_path: Path
) -> None:
    """A manifest that names a missing file has its name compared with those that are there."""
    source = light_path / "deep.zip"
    deep = [Packed(b"%d/" % at + b"d/" * 2000 + b"a.jpg") for at in range(200)]
    manifest = Packed(b"p.csv", b"sku,image\nA,good.jpg\nB,GOOD.JPG\nC,0/D/d\nD,nowhere\n")
    source.write_bytes(pack(GOOD, manifest, *deep))
    told = arena.pit.take_in(source, light_path / "home", read_only=True)
    assert (told.crash, list(told.products)) == (None, ["A"])
    assert [(line, code) for line, code, *_ in told.rejected] == [
        (3, FailureCode.MISSING),
        (4, FailureCode.CANNOT_OPEN),
        (5, FailureCode.MISSING),
    ]
    assert "there is 'good.jpg'" in told.rejected[0][3]
    assert "is a folder" in told.rejected[1][3]
    assert told.peak_kib < PEAK_MIB << 10
