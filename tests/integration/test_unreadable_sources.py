"""What delivers an image that cannot be read loses that row; what cannot store one, the upload."""

from __future__ import annotations

import errno
import io
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from tagging.catalog.delivery import DeliveredRow, Delivery, Row
from tagging.catalog.folder import _kind
from tagging.catalog.opening import open_delivery
from tagging.database import uploads
from tagging.database.products import ProductFilter, listing
from tagging.domain import FailureCode
from tagging.errors import MachineError, StoreAwayError
from tagging.images.store import FolderImageStore
from tagging.ingest import UploadSummary
from tests.stand_in import Services, picture


class FailingStream(io.RawIOBase):
    """Some bytes, and then what a bad sector gives, or a server that went away."""

    def __init__(self, error: OSError) -> None:
        self._error = error
        self._begun = False

    def read(self, size: int = -1) -> bytes:
        if self._begun:
            raise self._error
        self._begun = True
        return picture(9)[: min(20, size)]


@dataclass(frozen=True, kw_only=True)
class Photo:
    """An image whose `open` or `read` may fail."""

    name: str
    on_open: OSError | None = None
    on_read: OSError | None = None

    def identity(self, stream: BinaryIO, /) -> None:
        """Each is read by itself."""

    def open(self) -> BinaryIO:
        if self.on_open is not None:
            raise self.on_open
        if self.on_read is not None:
            return FailingStream(self.on_read)  # type: ignore[return-value]
        return io.BytesIO(picture(len(self.name)))


class Photos(Delivery):
    """A product of each."""

    def __init__(self, *photos: Photo) -> None:
        super().__init__(kind="folder", name="photos")
        self._photos = photos

    def rows(self) -> Iterator[Row]:
        for line, photo in enumerate(self._photos, start=1):
            yield DeliveredRow(
                line=line, sku=photo.name, images=(photo,), title=None, attributes={}
            )

    def estimated_rows(self) -> int:
        return len(self._photos)


def deliver(services: Services, delivery: Delivery) -> UploadSummary:
    with delivery:
        return services.ingest.accept_upload(delivery, retailer_id=services.retailer_id)


def skus(services: Services) -> list[str]:
    return sorted(line.sku for line in listing(services.database, ProductFilter()))


@pytest.mark.parametrize("number", [errno.EIO, errno.EBUSY, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("moment", ["on_open", "on_read"])
def test_an_image_that_cannot_be_read_costs_its_row(
    services: Services, number: int, moment: str
) -> None:
    error = OSError(number, os.strerror(number), "/mnt/a/secret/place.png")
    bad = Photo(name="bad", **{moment: error})
    summary = deliver(services, Photos(Photo(name="a"), bad, Photo(name="ccc")))
    assert (summary.created, summary.rejected) == (2, 1)
    assert skus(services) == ["a", "ccc"]
    (line,) = uploads.rejected_lines(services.database, summary.upload_id)
    assert (line.line, line.value, line.code) == (2, "bad", FailureCode.CANNOT_OPEN)
    assert line.error == f"cannot be read: {os.strerror(number)}. Deliver the file again."
    assert not list((services.store.root / "incoming").iterdir())


def test_a_machine_without_room_ends_the_upload_and_says_so(services: Services) -> None:
    """What is fetched from the web waits on a disk of this machine until it is stored."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(MachineError, match=r"No space left.*deliver again"):
        deliver(services, Photos(Photo(name="a"), Photo(name="bad", on_open=full)))


def blocked(store: FolderImageStore) -> Path:
    """Something stands where the store wants to write; remove it to mend the store."""
    store.root.mkdir()
    (store.root / "incoming").write_bytes(b"")
    return store.root / "incoming"


def test_a_store_that_takes_nothing_ends_the_upload(services: Services) -> None:
    blocked(services.store)
    with pytest.raises(StoreAwayError, match=r"image store at .*ATELIER_IMAGES_DIR"):
        deliver(services, Photos(Photo(name="a")))
    assert skus(services) == []


def test_what_lacks_room_is_told_from_what_cannot_be_read(tmp_path: Path) -> None:
    """By a bound on the size of files, which the kernel meets as it meets a full disk."""
    store = FolderImageStore(tmp_path / "images")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with store.session() as puts:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        try:
            with pytest.raises(StoreAwayError, match="File too large"):
                puts.put(io.BytesIO(bytes(3 << 20)), max_bytes=4 << 20)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((store.root / "incoming").iterdir())


def test_a_drop_folder_waits_for_the_store(services: Services, tmp_path: Path) -> None:
    drop = services.drop_folder(tmp_path / "inbox")
    drop.prepare()
    (drop.root / "a.png").write_bytes(picture(5))
    in_the_way = blocked(services.store)
    for _ in range(3):
        assert list(drop.step()) == []
        services.clock.seconds += 100
    assert not list((drop.root / "rejected").iterdir())
    in_the_way.unlink()
    services.clock.seconds += 100
    assert [report["products"] for report in drop.step()] == [1]
    drop.close()
    assert skus(services) == ["a"]


def test_a_link_whose_end_cannot_be_asked_about_costs_its_row(
    services: Services, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(5))
    (folder / "b.png").symlink_to("x" * 300)  # the kernel takes no such name
    summary = deliver(services, open_delivery(folder))
    assert (summary.created, summary.rejected) == (1, 1)


def test_an_entry_of_which_nothing_is_told_is_a_file_until_it_is_read() -> None:
    """On file systems that list no kinds; one bad entry must not cost its folder."""

    class Entry:
        name = "a.png"

        def is_dir(self, *, follow_symlinks: bool) -> bool:  # noqa: ARG002 - as DirEntry has it
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    assert _kind(Entry()) == (False, True, False)  # type: ignore[arg-type]
