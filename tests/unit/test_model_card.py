"""A bundle is believed only when every file is the one that its card lists."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tagging.errors import BundleError
from tagging.model_card import CARD_NAME, card_fingerprint, read_bundle, read_card
from tests.stand_in import stand_in_card


def write(folder: Path, content: bytes = b"weights", **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    card = stand_in_card().model_dump(mode="json")
    card["files"] = {"none": hashlib.sha256(content).hexdigest()}
    (folder / "none").write_bytes(content)
    (folder / CARD_NAME).write_text(json.dumps(card | changes))
    return folder


def test_a_whole_bundle_is_read(tmp_path: Path) -> None:
    card = read_bundle(write(tmp_path / "b"))
    assert card.title == "shades:1"
    assert card.category_names == ["Dark", "Middle", "Light"]


def test_without_a_card_it_is_incomplete(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="written last"):
        read_card(tmp_path)


def test_altered_and_missing_files_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "b")
    (folder / "none").write_bytes(b"other")
    with pytest.raises(BundleError, match="altered"):
        read_bundle(folder)
    (folder / "none").unlink()
    with pytest.raises(BundleError, match="missing"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"../none": "0" * 64, "none": "0" * 64}},
        {"files": {}},
        {"temperature": 0},
        {"unknown": 1},
        {"format": 2},
        {"name": "../x"},
        {"categories": []},
    ],
)
def test_cards_that_cannot_be_meant_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        read_bundle(write(tmp_path / "b", **changes))


def test_the_fingerprint_tells_cards_apart() -> None:
    assert card_fingerprint(stand_in_card()) == card_fingerprint(stand_in_card())
    assert card_fingerprint(stand_in_card()) != card_fingerprint(stand_in_card(fallback=0.5))


def test_measuring_a_model_does_not_make_it_another() -> None:
    measured = stand_in_card().model_copy(update={"metrics": {"test": {"accuracy": 0.9}}})
    assert card_fingerprint(measured) == card_fingerprint(stand_in_card())
