"""What is installed has none of the holes that docs/security.md lists."""

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
FLOORS = {name: Version(floor) for name, floor, _ in LISTED}
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
    assert len(FLOORS) == len(LISTED)
    for name, _, reason in LISTED:
        assert re.search(r"CVE-\d{4}-\d{4,}", reason), name


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_has_a_release_with_a_known_hole(lock: str) -> None:
    found = pins(lock)
    assert len(found) > 50
    assert [one for one in found if one[0] in FLOORS and one[1] < FLOORS[one[0]]] == []


def test_no_floor_is_of_what_is_not_used() -> None:
    used = {name for lock in LOCKS for name, _ in pins(lock)}
    assert FLOORS.keys() - used == set()


def test_no_release_with_a_known_hole_may_be_installed() -> None:
    """For who installs without a lock: what is asked for by name excludes what lies below."""
    asked = {one.name.lower(): one.specifier for one in direct()}
    held = asked.keys() & FLOORS.keys()
    assert held >= READS_WHAT_STRANGERS_SENT - {"h11"}
    for name in held:
        lowest = [Version(one.version) for one in asked[name] if one.operator == ">="]
        assert lowest, name
        assert max(lowest) >= FLOORS[name], name
