"""The fuzz targets hold for what they begin with, and can fail; `make fuzz` looks for more."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tagging.domain import FailureCode
from tagging.images.rejection import ImageRejected
from tests.fuzz import images, manifests
from tests.fuzz.engine import TARGETS, load


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_of_every_target_pass(name: str) -> None:
    target = load(name)
    seeds = target.seeds()
    assert len(seeds) > 8
    for data in seeds.values():
        assert len(data) <= target.MAX_BYTES
        target.try_one(data)
        target.try_one(data[: len(data) // 2])


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
