"""What is installed has none of the holes that docs/security.md lists, and each floor a reason."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/security.md").read_text(encoding="utf-8")
LISTED = re.findall(r"^- `([a-z0-9-]+)` ≥ ([0-9.]+): ((?:.|\n  )+)", TEXT, re.MULTILINE)
FLOORS = {name: Version(floor) for name, floor, reason in LISTED if "CVE-" in reason}
OTHER_FLOORS = {name: Version(floor) for name, floor, reason in LISTED if "CVE-" not in reason}
LOCKS = sorted(path.name for path in ROOT.glob("requirements*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
READS_WHAT_STRANGERS_SENT = {
    *("h11", "jinja2", "keras", "pillow", "python-multipart", "pyyaml", "starlette")
}


def pins(lock: str) -> list[tuple[str, Version]]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    return [
        (name.lower(), Version(release))
        for name, release in re.findall(
            r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE
        )
    ]


def direct() -> list[Requirement]:
    groups = [
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        PROJECT["build-system"]["requires"],
    ]
    return [Requirement(one) for group in groups for one in group]


def test_each_floor_has_its_reason() -> None:
    assert FLOORS.keys() >= READS_WHAT_STRANGERS_SENT
    assert len(FLOORS) + len(OTHER_FLOORS) == len(LISTED)
    for name, _, reason in LISTED:
        if name in FLOORS:
            assert re.search(r"CVE-\d{4}-\d{4,}", reason), name


def test_every_direct_dependency_has_a_floor_with_a_reason() -> None:
    """Listed with it, or the oldest release that is locked."""
    locked = [pin for lock in LOCKS for pin in pins(lock)]
    without = []
    for one in direct():
        name = one.name.lower()
        floors = [Version(part.version) for part in one.specifier if part.operator == ">="]
        reasons = {FLOORS.get(name), OTHER_FLOORS.get(name)}
        reasons.add(min((release for pinned, release in locked if pinned == name), default=None))
        if name != PROJECT["project"]["name"] and not reasons & set(floors):
            without.append(str(one))
    assert without == []


@pytest.mark.parametrize("lock", LOCKS)
def test_each_lock_has_what_is_asked_for(lock: str) -> None:
    asked = {one.name.lower(): one.specifier for one in direct()}
    assert [pin for pin in pins(lock) if pin[0] in asked and pin[1] not in asked[pin[0]]] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_has_a_release_with_a_known_hole(lock: str) -> None:
    found = pins(lock)
    assert len(found) > 50
    assert [one for one in found if one[0] in FLOORS and one[1] < FLOORS[one[0]]] == []


def test_no_floor_is_of_what_is_not_used() -> None:
    used = {name for lock in LOCKS for name, _ in pins(lock)} | {one.name for one in direct()}
    assert (FLOORS.keys() | OTHER_FLOORS.keys()) - used == set()


def test_no_release_with_a_known_hole_may_be_installed() -> None:
    """For who installs without a lock: what is asked for by name excludes what lies below."""
    asked = {one.name.lower(): one.specifier for one in direct()}
    held = asked.keys() & FLOORS.keys()
    assert held >= READS_WHAT_STRANGERS_SENT - {"h11"}
    for name in held:
        lowest = [Version(one.version) for one in asked[name] if one.operator == ">="]
        assert lowest, name
        assert max(lowest) >= FLOORS[name], name
