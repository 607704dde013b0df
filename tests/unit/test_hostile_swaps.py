"""Folders and files that become links while they are read: nothing outside is opened or listed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagging.catalog.delivery import DeliveredRow, DeliveryRowError, RejectedRow
from tagging.catalog.opening import open_delivery
from tagging.catalog.paths import ImageFolder, scan_inside
from tagging.domain import FailureCode
from tagging.errors import DeliveryError
from tests.coded import coded
from tests.hostile.canaries import Canaries
from tests.stand_in import picture


@pytest.fixture
def canaries(tmp_path: Path) -> Iterator[Canaries]:
    with Canaries(tmp_path / "outside") as found:
        yield found


@pytest.fixture
def delivery(tmp_path: Path) -> Path:
    folder = tmp_path / "delivery"
    for name in ("a", "photos", "z"):
        (folder / name).mkdir(parents=True)
        (folder / name / "own.png").write_bytes(picture(1))
    return folder


def swap(folder: Path, target: Path) -> None:
    folder.rename(folder.with_name(f".{folder.name}"))
    folder.symlink_to(target)


def test_a_folder_that_became_a_link_is_not_listed(canaries: Canaries, delivery: Path) -> None:
    with open_delivery(delivery) as opened:
        rows = opened.rows()
        first = next(rows)
        swap(delivery / "photos", canaries.root / "photos")
        _, refused, last = first, *rows
    assert isinstance(refused, RejectedRow)
    assert refused.code is FailureCode.REFUSED_PATH
    assert refused.error.startswith("'photos' became a link")
    assert isinstance(last, DeliveredRow)
    assert last.sku == "z/own"
    assert canaries.touched() == []


def test_a_file_that_became_a_link_is_not_read(canaries: Canaries, delivery: Path) -> None:
    with open_delivery(delivery) as opened:
        first, *_ = opened.rows()
        assert isinstance(first, DeliveredRow)
        (delivery / "a" / "own.png").unlink()
        (delivery / "a" / "own.png").symlink_to(canaries.root / "a.png")
        with pytest.raises(
            DeliveryRowError, match="became a link", check=coded(FailureCode.REFUSED_PATH)
        ):
            first.images[0].open()
    assert canaries.touched() == []


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder"])
def test_a_file_that_became_something_else(
    delivery: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    image = ImageFolder(delivery, place="here").find("a/own.png")
    (delivery / "a" / "own.png").unlink()
    monkeypatch.chdir(delivery / "a")  # a socket's path must be short
    with contextlib.ExitStack() as stack:
        if kind == "fifo":
            os.mkfifo("own.png")
        elif kind == "folder":
            Path("own.png").mkdir()
        else:
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind("own.png")
        with pytest.raises(
            DeliveryRowError,
            match="no longer a regular file",
            check=coded(FailureCode.CANNOT_OPEN),
        ):
            image.open()


def test_no_name_from_outside_is_suggested(canaries: Canaries, delivery: Path) -> None:
    images = ImageFolder(delivery, place="beside the manifest")
    images.find("photos/own.png")
    swap(delivery / "photos", canaries.root / "photos")
    with pytest.raises(DeliveryRowError) as error:
        images.find("photos/B.PNG").open()
    assert "b.png" not in str(error.value)
    assert canaries.touched() == []


def test_a_delivery_that_became_a_link_is_not_opened(canaries: Canaries, delivery: Path) -> None:
    for name in ("products.csv", "photos.zip", "photos", "a.png"):
        (delivery / f"link-{name}").symlink_to(canaries.root / name)
        with pytest.raises(
            DeliveryError,
            match="is a link and is not followed",
            check=coded(FailureCode.REFUSED_PATH),
        ):
            open_delivery(delivery / f"link-{name}", follow_link=False)
    assert canaries.touched() == []


def test_a_manifest_found_in_a_folder_is_read_if_it_is_no_link(
    canaries: Canaries, delivery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (delivery / "p.csv").write_text("sku,image\nA,a/own.png\n")
    from tagging.catalog import opening

    listed = opening.manifests_at_top

    def then_swap(root: Path) -> list[str]:
        names = listed(root)
        (delivery / "p.csv").unlink()
        (delivery / "p.csv").symlink_to(canaries.root / "products.csv")
        return names

    monkeypatch.setattr(opening, "manifests_at_top", then_swap)
    with pytest.raises(DeliveryError, match="became a link", check=coded(FailureCode.REFUSED_PATH)):
        open_delivery(delivery, manifest_in_folder=True)
    assert canaries.touched() == []


def test_links_that_come_and_go_while_images_are_read(canaries: Canaries, delivery: Path) -> None:
    """A thread flips a folder between itself and a link; whatever is read is our own."""
    (delivery / "photos" / "b.png").write_bytes(picture(1))
    folder, kept = delivery / "photos", delivery / ".kept"
    own = hashlib.sha256(picture(1)).hexdigest()
    over = threading.Event()

    def flip() -> None:
        while not over.is_set():
            folder.rename(kept)
            folder.symlink_to(canaries.root / "photos")
            folder.unlink()
            kept.rename(folder)

    thread = threading.Thread(target=flip)
    thread.start()
    read = refused = 0
    try:
        while read < 20 or refused < 20:
            try:
                with ImageFolder(delivery, place="here").find("photos/b.png").open() as stream:
                    assert hashlib.sha256(stream.read()).hexdigest() == own
                with scan_inside(str(delivery), "photos") as entries:
                    assert "c.png" not in {entry.name for entry in entries}
                read += 1
            except (DeliveryRowError, OSError):
                refused += 1
    finally:
        over.set()
        thread.join()
    assert canaries.touched() == []
