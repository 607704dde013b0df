"""The image store: one file per content, nothing half-written, durable when it says so."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tagging.domain import FailureCode
from tagging.images.rejection import ImageTooLarge
from tagging.images.store import FolderImageStore, ImageStore

PHOTO = b"a photo, or so they say" * 1000
SHA256 = hashlib.sha256(PHOTO).hexdigest()
LIMIT = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> FolderImageStore:
    return FolderImageStore(tmp_path / "images")


def files_of(store: FolderImageStore) -> list[str]:
    return sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file())


class BrokenStream(io.RawIOBase):
    """Gives some bytes, then fails, as a connection does."""

    def __init__(self) -> None:
        self._blocks = [b"first block"]

    def read(self, size: int = -1) -> bytes:  # noqa: ARG002 - the interface's own argument
        if self._blocks:
            return self._blocks.pop()
        raise ConnectionError("the client went away")


@pytest.mark.parametrize("wrap", [bytes, io.BytesIO])
def test_an_image_is_named_by_its_bytes(store: FolderImageStore, wrap: Any) -> None:
    assert not store.exists(SHA256)
    assert store.put(wrap(PHOTO), LIMIT) == (SHA256, len(PHOTO))
    assert files_of(store) == [f"{SHA256[:2]}/{SHA256[2:4]}/{SHA256}"]
    assert store.exists(SHA256)
    assert store.path(SHA256).read_bytes() == PHOTO
    with store.open(SHA256) as stream:
        assert stream.read() == PHOTO


@pytest.mark.parametrize("wrap", [bytes, io.BytesIO])
def test_the_same_bytes_are_not_written_twice(store: FolderImageStore, wrap: Any) -> None:
    store.put(PHOTO, LIMIT)
    before = store.path(SHA256).stat()
    assert store.put(wrap(PHOTO), LIMIT) == (SHA256, len(PHOTO))
    after = store.path(SHA256).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(files_of(store)) == 1


def test_a_truncated_image_is_mended_by_delivering_it_again(store: FolderImageStore) -> None:
    store.put(PHOTO, LIMIT)
    store.path(SHA256).write_bytes(PHOTO[:10])
    store.put(PHOTO, LIMIT)
    assert store.path(SHA256).read_bytes() == PHOTO


@pytest.mark.parametrize("wrap", [bytes, io.BytesIO])
def test_too_large_leaves_nothing(store: FolderImageStore, wrap: Any) -> None:
    with pytest.raises(ImageTooLarge, match="ATELIER_IMAGE_MAX_BYTES") as caught:
        store.put(wrap(PHOTO), len(PHOTO) - 1)
    assert caught.value.code is FailureCode.TOO_LARGE
    assert files_of(store) == []
    store.put(wrap(PHOTO), len(PHOTO))


def test_a_stream_that_breaks_leaves_nothing(store: FolderImageStore) -> None:
    with pytest.raises(ConnectionError):
        store.put(BrokenStream(), LIMIT)  # type: ignore[arg-type]
    assert files_of(store) == []


def test_nothing_is_visible_before_flush_and_everything_after(store: FolderImageStore) -> None:
    photos = [bytes([i]) * 100 for i in range(50)]
    with store.session() as session:
        names = [session.put(photo, LIMIT)[0] for photo in photos]
        session.put(photos[0], LIMIT)  # twice in one session
        assert not any(store.exists(name) for name in names)
        session.flush()
        assert all(store.path(n).read_bytes() == p for n, p in zip(names, photos, strict=True))
        session.flush()  # nothing left to do
    assert len(files_of(store)) == 50


def test_without_flush_everything_is_discarded(store: FolderImageStore) -> None:
    with store.session() as session:
        session.put(PHOTO, LIMIT)
    assert files_of(store) == []


def test_a_bad_image_does_not_spoil_the_session(store: FolderImageStore) -> None:
    with store.session() as session:
        session.put(PHOTO, LIMIT)
        with pytest.raises(ImageTooLarge):
            session.put(b"x" * 100, 99)
        session.flush()
    assert store.exists(SHA256)


@pytest.mark.skipif(sys.platform != "linux", reason="reads descriptors' names from /proc")
def test_names_appear_only_after_their_bytes_are_on_disk(
    store: FolderImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []  # what, and whether the image was visible by then
    real = os.fsync

    def spy(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        synced.append((name, store.exists(SHA256)))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    store.put(PHOTO, LIMIT)
    assert len(synced[0][0]) == 32  # the temporary file
    assert not synced[0][1]
    # Then, with the name in place, every folder that has a new entry.
    folders = {SHA256[2:4], SHA256[:2], "images", store.root.parent.name}
    assert {name for name, visible in synced if visible} == folders


def test_writers_at_once_do_not_disturb_each_other(store: FolderImageStore) -> None:
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for i in range(10):
                store.put(PHOTO + bytes([i % 3]), LIMIT)
                with store.session() as session:
                    session.put(PHOTO + bytes([seed, i]), LIMIT)
                    session.flush()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    stored = [store.root / name for name in files_of(store)]
    assert len(stored) == 43
    assert all(hashlib.sha256(p.read_bytes()).hexdigest() == p.name for p in stored)


def test_leftovers_of_the_dead_are_removed_after_a_day(store: FolderImageStore) -> None:
    assert store.remove_stale() == 0  # no folder yet
    store.put(PHOTO, LIMIT)
    old, young = store.root / "incoming" / "old", store.root / "incoming" / "young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    day_ago = time.time() - 25 * 3600
    os.utime(old, (day_ago, day_ago))
    with store.session():
        assert not old.exists()
        assert young.exists()


@pytest.mark.parametrize("name", ["", "../../etc/passwd", SHA256.upper(), SHA256[:-1]])
def test_only_sha256s_are_names(store: FolderImageStore, name: str) -> None:
    with pytest.raises(ValueError, match="64 lower-case hex digits"):
        store.path(name)


def test_a_missing_image(store: FolderImageStore) -> None:
    protocol: ImageStore = store
    assert not protocol.exists(SHA256)
    with pytest.raises(FileNotFoundError):
        protocol.open(SHA256)
