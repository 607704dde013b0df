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

from tests.hostile.archives import Case, archive_cases
from tests.hostile.canaries import Canaries, scanned
from tests.hostile.pit import Pit

PEAK_MIB = 48
"""How far memory may grow. A million bytes of a picture and the database's pages are most of it."""
DISK_BYTES = 4_000_000
"""Of the data folder, the empty database included; no case delivers a picture of a million."""
NAMES = [case.name for case in archive_cases(Path("/outside"))]


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
    # All of them into a database with `make hostile`; else every fourth, and the others are read.
    read_only = not os.environ.get("ATELIER_HOSTILE") and NAMES.index(name) % 4 != 0
    _deliver(arena.cases[name], arena.pit, light_path, arena.canaries, read_only=read_only)


def _deliver(case: Case, pit: Pit, folder: Path, canaries: Canaries, *, read_only: bool) -> None:
    source = folder / "delivery" / case.file
    source.parent.mkdir()
    source.write_bytes(case.build())
    before = scanned(folder)
    canaries.touched()
    told = pit.take_in(source, folder / "home", read_only=read_only)
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
        assert (told.products, told.rejected) == ({}, [])
        return
    assert told.error is None
    assert sorted(told.products) == sorted((*case.good, *case.skus))
    assert told.skipped == list(case.skipped)
    errors = [error for _, _, error in told.rejected]
    assert len(errors) == len(case.errors)
    assert all(any(says in error for says in case.errors) for error in errors)
    assert all(says in "\n".join(errors) for says in case.errors)
    assert all(value and ": " in error for _, value, error in told.rejected)
