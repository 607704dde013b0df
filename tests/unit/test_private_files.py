"""Files of the data folder are for its own account alone, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagging.images.store import FolderImageStore
from tagging.private_files import (
    close_to_others,
    make_private_folder,
    open_private,
    opened_to_others,
)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    found = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}
    return found | {".": stat.S_IMODE(folder.lstat().st_mode)}


@pytest.mark.usefixtures("umask")
def test_what_is_made_is_private_from_the_first(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_private_folder(home / "deep" / "deeper")
    os.close(open_private(home / "file", os.O_WRONLY))
    assert modes(home) == {".": 0o700, "deep": 0o700, "deeper": 0o700, "file": 0o600}
    make_private_folder(home)


@pytest.mark.usefixtures("umask")
def test_a_store_in_the_data_folder_is_private(tmp_path: Path) -> None:
    store = FolderImageStore(tmp_path / "images", private=True)
    sha256, _ = store.put(b"a photo", max_bytes=100)
    found = modes(tmp_path / "images")
    assert found.pop(sha256) == 0o600
    assert set(found.values()) == {0o700}


def test_a_shared_store_has_the_modes_that_its_administrator_chose(tmp_path: Path) -> None:
    """A group of its own, that new folders pass on, and a umask that lets it write."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2770)
    before = os.umask(0o007)
    try:
        store = FolderImageStore(shared)
        sha256, _ = store.put(b"a photo", max_bytes=100)
    finally:
        os.umask(before)
    found = modes(shared)
    assert found.pop(sha256) == 0o660
    assert set(found.values()) == {0o2770}


@pytest.fixture
def old_home(tmp_path: Path) -> Path:
    """As an older version left it."""
    home = tmp_path / "home"
    (home / "images" / "ab").mkdir(parents=True)
    for name in ("atelier.db", "atelier.db-journal", "broker.db", "worker.log", "images/ab/photo"):
        (home / name).write_text("")
        (home / name).chmod(0o644)
    for folder in (home / "images" / "ab", home / "images", home):
        folder.chmod(0o755)
    return home


def test_what_was_open_is_seen_and_closed(old_home: Path) -> None:
    opened = {path.name for path in opened_to_others(old_home)}
    assert opened == {
        *("home", "images", "atelier.db", "atelier.db-journal", "broker.db", "worker.log")
    }
    assert close_to_others(old_home) == []
    assert opened_to_others(old_home) == []
    assert set(modes(old_home).values()) == {0o700, 0o600}


def test_what_else_is_in_the_folder_is_left_alone(old_home: Path) -> None:
    """Somebody may have named a folder that they use for more than this."""
    (old_home / "notes.txt").write_text("mine")
    (old_home / "notes.txt").chmod(0o644)
    (old_home / "src").mkdir(mode=0o755)
    (old_home / "src" / "code.py").write_text("mine")
    assert close_to_others(old_home) == []
    found = modes(old_home)
    assert (found["."], found["notes.txt"]) == (0o755, 0o644)
    assert found["src"] & 0o055
    assert found["atelier.db"] == found["photo"] == 0o600
    assert opened_to_others(old_home) == []


def test_links_are_not_followed(old_home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o755)
    (old_home / "models").symlink_to(elsewhere)
    (old_home / "images" / "link").symlink_to(elsewhere)
    close_to_others(old_home)
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755


def test_a_store_that_an_administrator_put_there_keeps_its_modes(old_home: Path) -> None:
    close_to_others(old_home, but=old_home / "images")
    found = modes(old_home)
    assert (found["images"], found["ab"], found["photo"]) == (0o755, 0o755, 0o644)
    assert found["."] == 0o700


def test_a_missing_folder_is_closed(tmp_path: Path) -> None:
    assert close_to_others(tmp_path / "none") == []
    assert opened_to_others(tmp_path / "none") == []
