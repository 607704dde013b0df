"""Whatever is not taken in has one code: every kind of line, of every kind of delivery."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from tagging.database import uploads
from tagging.domain import FailureCode
from tests.hostile.zips import Packed, pack
from tests.integration.test_ingest_and_tag import deliver, write_folder, write_manifest
from tests.stand_in import Services, picture

ROWS = {
    "one cell": FailureCode.BAD_ROW,
    "A,": FailureCode.BAD_ROW,
    ",a.png": FailureCode.BAD_SKU,
    "A,b.png": FailureCode.MISSING,
    "A,../a.png": FailureCode.REFUSED_PATH,
    "A,photos": FailureCode.CANNOT_OPEN,
    "A,http://shop.example/a.png": FailureCode.URLS_OFF,
    f"A,{'|'.join(f'{number}.png' for number in range(65))}": FailureCode.TOO_MANY_IMAGES,
    f"A,{'|'.join(f'{number}.png' for number in range(201))}": FailureCode.TOO_MANY_IMAGES,
    "A,large.png": FailureCode.TOO_LARGE,
}


def codes(services: Services, source: Path) -> list[FailureCode | None]:
    """Of the lines that were rejected, in their order, then of the files that were skipped."""
    upload_id = deliver(services, source).upload_id
    return [
        line.code
        for lines in (uploads.rejected_lines, uploads.skipped_lines)
        for line in lines(services.database, upload_id)
    ]


@pytest.fixture
def strict(services: Services) -> Services:
    """Takes images of up to a thousand bytes."""
    ingest = dataclasses.replace(services.ingest, image_max_bytes=1000)
    return dataclasses.replace(services, ingest=ingest)


def test_each_line_that_is_not_taken_in_has_its_code(strict: Services, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", {"a.png": 255})
    (folder / "photos").mkdir()
    for number in range(65):
        os.link(folder / "a.png", folder / f"{number}.png")
    (folder / "large.png").write_bytes(bytes(2000))
    manifest = write_manifest(folder, "sku,image\n" + "\n".join(ROWS) + "\n")
    assert codes(strict, manifest) == list(ROWS.values())


def test_so_has_each_line_that_is_too_much_of_its_product(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagging.filing.MAX_PRODUCT_IMAGES", 2)
    monkeypatch.setattr("tagging.filing.MAX_PRODUCT_CHARS", 50)
    monkeypatch.setattr("tagging.filing.MAX_PRODUCT_LINES", 6)
    monkeypatch.setattr("tagging.filing.FILE_LINES", 4)
    folder = write_folder(tmp_path / "in", {f"{at}.png": at for at in range(3)})
    words = ["x" * 30 + ",", "," + "x" * 30, *[","] * 6]
    rows = "".join(f"A,{at % 3}.png,{word}\n" for at, word in enumerate(words))
    manifest = write_manifest(folder, f"sku,image,one,two\n{rows}")
    # The second line has too many words, the fifth a third image, and from the seventh on there are
    # too many lines.
    assert codes(services, manifest) == [
        FailureCode.TOO_MANY_LINES,
        FailureCode.TOO_MANY_IMAGES,
        FailureCode.TOO_MANY_LINES,
        FailureCode.TOO_MANY_LINES,
    ]


def test_so_has_each_file_of_a_folder(services: Services, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", {"a.png": 1})
    (folder / "b.png").symlink_to("nowhere.png")
    (folder / "c.png").symlink_to("/etc/passwd")
    (folder / " .png").write_bytes(picture(1))
    (folder / "m.csv").touch()
    (folder / "readme").touch()
    assert codes(services, folder) == [
        FailureCode.BAD_SKU,
        FailureCode.MISSING,
        FailureCode.REFUSED_PATH,
        FailureCode.NESTED,
        FailureCode.NOT_AN_IMAGE,
    ]


def test_so_has_each_entry_of_an_archive(services: Services, tmp_path: Path) -> None:
    archive = tmp_path / "upload.zip"
    archive.write_bytes(
        pack(
            Packed(b"a.png", picture(1)),
            Packed(b"../b.png"),
            Packed(b"c.png", flags=0x801),
            Packed(b"d.png", crc=1),
            Packed(b"e.png", bytes(20_000_000)),
            Packed(b"f/notes.txt"),
            Packed(b"g.zip"),
        )
    )
    assert codes(services, archive) == [
        FailureCode.BAD_ENTRY,
        FailureCode.BAD_ENTRY,
        FailureCode.TOO_LARGE,
        FailureCode.REFUSED_PATH,
        FailureCode.NESTED,
        FailureCode.NOT_AN_IMAGE,
    ]
