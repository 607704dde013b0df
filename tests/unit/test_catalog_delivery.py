"""`open_delivery` finds out what was handed over, or says what it takes."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagging.catalog.delivery import (
    DeliveredRow,
    DeliveryRowError,
    RejectedRow,
    SkippedFile,
    failure_of,
    printable,
    shown,
)
from tagging.catalog.opening import open_delivery
from tagging.domain import FailureCode
from tagging.errors import AtelierError, DeliveryError


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.pdf", b"%PDF", "nothing that can be ingested; give a folder of images, a manifest"),
        ("noending", b"hello", "nothing that can be ingested"),
        ("empty", b"", "nothing that can be ingested"),
        ("p.xlsx", b"PK\x03\x04", "spreadsheet; save it as CSV"),
        ("p.xls", b"\xd0\xcf", "spreadsheet"),
        ("p.json", b"[]", "write one object per line and call it .jsonl"),
        ("p.tar.gz", gzip.compress(b"x", mtime=0), "gzip archive"),
        ("p.csv.gz", gzip.compress(b"x", mtime=0), "gzip archive"),
        ("p.7z", b"7z\xbc\xaf\x27\x1c\0\0", "7-Zip archive"),
        ("p.rar", b"Rar!\x1a\x07\x00", "RAR archive"),
        ("p.zip", b"hello", "called .zip but is none"),
        ("p.zip", b"", "called .zip but is none"),
        ("a.svg", b"<svg/>", "nothing that can be ingested"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DeliveryError, match=says) as error:
        open_delivery(tmp_path / name)
    assert isinstance(error.value, AtelierError)
    assert error.value.code is FailureCode.BAD_DELIVERY


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("/nowhere/at/all", "there is no '/nowhere/at/all'"),
        ("", "the source is empty"),
        ("  ", "the source is empty"),
        ("a\0b", "cannot be read"),
        ("https://example.com/a.zip", "download it first"),
        ("s3://bucket/x", "download it first"),
        ("x" * 5000, "cannot be read"),
        ("-", "standard input, but none was handed over"),
        ("/dev/null", "neither a file nor a folder"),
    ],
)
def test_other_sources_are_refused(source: str, says: str) -> None:
    with pytest.raises(DeliveryError, match=says) as error:
        open_delivery(source)
    codes = {
        "there is no '/nowhere/at/all'": FailureCode.MISSING,
        "cannot be read": FailureCode.CANNOT_OPEN,
        "neither a file nor a folder": FailureCode.CANNOT_OPEN,
    }
    assert error.value.code is codes.get(says, FailureCode.BAD_DELIVERY)


def test_a_pipe_is_refused_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.csv")
    with pytest.raises(DeliveryError, match="neither a file nor a folder"):
        open_delivery(tmp_path / "p.csv")


def test_a_single_image(tmp_path: Path) -> None:
    (tmp_path / "Kleid.01.JPG").write_bytes(b"pixels")
    with open_delivery(str(tmp_path / "Kleid.01.JPG")) as delivery:
        assert (delivery.kind, delivery.name) == ("folder", "Kleid.01.JPG")
        assert delivery.estimated_rows() == 1
        (row,) = delivery.rows()
    assert isinstance(row, DeliveredRow)
    assert (row.line, row.sku) == (1, "Kleid.01")
    with row.images[0].open() as file:
        assert file.read() == b"pixels"


def test_a_zip_is_known_by_its_bytes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "upload.bin", "w") as archive:
        archive.writestr("a.jpg", b"a")
    with open_delivery(tmp_path / "upload.bin") as delivery:
        assert delivery.kind == "archive"


def test_a_drop_folder_is_read_by_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "readme.txt").touch()
    (tmp_path / "Products.CSV").write_text("sku,image\n1,a.jpg\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "other.csv").touch()
    with open_delivery(tmp_path, manifest_in_folder=True) as delivery:
        assert (delivery.kind, delivery.name) == ("manifest", "Products.CSV")
        (row,) = delivery.rows()
    assert isinstance(row, DeliveredRow)
    with open_delivery(tmp_path) as delivery:
        assert delivery.kind == "folder"


def test_a_drop_folder_without_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / ".hidden.csv").touch()
    (tmp_path / "link.csv").symlink_to("/etc/passwd")
    with open_delivery(tmp_path, manifest_in_folder=True) as delivery:
        assert delivery.kind == "folder"
        assert delivery.warnings == []


def test_a_drop_folder_with_two_manifests_warns(tmp_path: Path) -> None:
    for name in ("a.csv", "b.jsonl"):
        (tmp_path / name).touch()
    with open_delivery(tmp_path, manifest_in_folder=True) as delivery:
        assert delivery.kind == "folder"
        assert "2 manifests ('a.csv', 'b.jsonl')" in delivery.warnings[0]
        assert all(isinstance(row, SkippedFile) for row in delivery.rows())


def test_relative_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.csv").write_text("sku,image\n1,a.jpg\n")
    (tmp_path / "a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    for source in ("p.csv", ".", Path("a.jpg")):
        with open_delivery(source) as delivery:
            monkeypatch.chdir("/")  # where the process goes later does not matter
            assert any(isinstance(row, DeliveredRow) for row in delivery.rows())
        monkeypatch.chdir(tmp_path)


def test_standard_input_is_the_stream_handed_over() -> None:
    with open_delivery(Path("-"), stdin=io.BytesIO(b"")) as delivery:
        assert delivery.kind == "stdin"
        assert list(delivery.rows()) == []


def test_what_was_received_is_shortened_and_printable() -> None:
    row = RejectedRow(line=1, code=FailureCode.BAD_ROW, value="\x1b[31m" + "x" * 500, error="bad")
    assert len(row.value) == 200
    assert row.value.startswith("\\x1b[31mxxx")
    assert row.value.endswith("x…")


@settings(deadline=None)
@given(st.text() | st.text(st.characters(categories=["Cs", "Cc", "Cf", "Lo"])))
def test_shown_text_can_be_printed_and_stored(text: str) -> None:
    for safe in (printable(text), shown(text)):
        assert safe.isprintable()
        safe.encode()
    assert len(shown(text)) <= 200


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileNotFoundError(2, "No such file"), FailureCode.MISSING),
        (PermissionError(13, "Permission denied"), FailureCode.CANNOT_OPEN),
        (IsADirectoryError(21, "Is a directory"), FailureCode.CANNOT_OPEN),
        (OSError(36, "File name too long"), FailureCode.CANNOT_OPEN),
        (DeliveryRowError("damaged", code=FailureCode.BAD_ENTRY), FailureCode.BAD_ENTRY),
    ],
)
def test_an_error_of_the_system_has_a_code(
    error: OSError | DeliveryRowError, code: FailureCode
) -> None:
    assert failure_of(error) is code
