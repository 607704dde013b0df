"""The fuzz targets hold for what they begin with, and can fail; `make fuzz` looks for more."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tagging.domain import FailureCode
from tagging.images.rejection import ImageRejected
from tests.fuzz import images, manifests
from tests.fuzz.engine import TARGETS, keep_smallest, load

MOST_SEED_BYTES = 256 * 1024


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_of_every_target_pass(name: str) -> None:
    target = load(name)
    seeds = target.seeds()
    assert len(seeds) > 8
    for data in seeds.values():
        assert len(data) <= target.MAX_BYTES
        target.try_one(data)
        target.try_one(data[: len(data) // 2])


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_few_small_and_the_same_each_time(name: str) -> None:
    seeds = load(name).seeds()
    assert len(seeds) < 200
    assert sum(map(len, seeds.values())) < MOST_SEED_BYTES
    assert load(name).seeds() == seeds


def test_only_the_smallest_inputs_are_kept(tmp_path: Path) -> None:
    for size in (3, 1, 2):
        (tmp_path / f"{size}").write_bytes(b"x" * size)
    assert keep_smallest(tmp_path, 2) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}
    assert keep_smallest(tmp_path, 5) == 2


def test_every_module_of_the_folder_is_a_target() -> None:
    found = {path.stem for path in Path(images.__file__).parent.glob("*.py")}
    assert found - {"__init__", "engine"} == set(TARGETS)


def test_the_image_target_sees_a_sound_picture_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Image.Image:
        raise ImageRejected(FailureCode.UNREADABLE, "It does not decode.")

    monkeypatch.setattr(images, "decode_image", refuse)
    with pytest.raises(AssertionError, match="refused, but Pillow loads it"):
        images.try_one(images.seeds()["PNG-RGB"])


def test_the_manifest_target_sees_what_lies_outside() -> None:
    (row,) = manifests._read(b"csku,image\n1,a.jpg\n")[1]
    (manifests._folder() / "a.jpg").write_bytes(manifests.OUTSIDE)
    try:
        with pytest.raises(AssertionError):
            manifests._checked(row)
    finally:
        (manifests._folder() / "a.jpg").write_bytes(manifests.INSIDE)
