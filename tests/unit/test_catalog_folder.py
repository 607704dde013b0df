"""A folder of images becomes rows: sorted, without loops, and nothing in it goes unmentioned."""

from __future__ import annotations

import os
import tracemalloc
import unicodedata
from pathlib import Path

import pytest

from tagging.catalog import folder as folder_module
from tagging.catalog.delivery import (
    DeliveredRow,
    Delivery,
    RejectedRow,
    Row,
    SkippedFile,
)
from tagging.catalog.opening import open_delivery
from tagging.domain import FailureCode
from tagging.errors import DeliveryError
from tests.coded import coded


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode(errors="surrogateescape"))


def read(root: Path) -> list[Row]:
    with open_delivery(root) as delivery:
        assert delivery.kind == "folder"
        return list(delivery.rows())


def skus(found: list[Row]) -> list[tuple[int, str, str]]:
    return [(r.line, r.sku, r.images[0].name) for r in found if isinstance(r, DeliveredRow)]


def rejections(found: list[Row]) -> list[RejectedRow]:
    return [r for r in found if isinstance(r, RejectedRow)]


def skipped(found: list[Row]) -> dict[str, str]:
    return {r.name: r.why for r in found if isinstance(r, SkippedFile)}


def skip_codes(found: list[Row]) -> dict[str, FailureCode]:
    return {row.name: row.code for row in found if isinstance(row, SkippedFile)}


def test_images_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a.PNG", "sub/c.webp", "sub/deep/d.tiff", "z.gif")
    found = read(tmp_path)
    assert skus(found) == [
        (1, "a", "a.PNG"),
        (2, "b", "b.jpg"),
        (3, "sub/c", "sub/c.webp"),
        (4, "sub/deep/d", "sub/deep/d.tiff"),
        (5, "z", "z.gif"),
    ]
    assert len(found) == 5
    last = found[3]
    assert isinstance(last, DeliveredRow)
    assert (last.title, last.attributes) == (None, {})
    with last.images[0].open() as file:
        assert file.read() == b"sub/deep/d.tiff"


@pytest.mark.parametrize(
    "ending", ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif"]
)
def test_every_ending(tmp_path: Path, ending: str) -> None:
    touch(tmp_path, f"a.{ending}", f"b.{ending.upper()}")
    assert [sku for _, sku, _ in skus(read(tmp_path))] == ["a", "b"]


def test_shared_names_keep_their_endings(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png", "a.jpg.gif", "sub/a.jpg", "b.txt", "b.jpg")
    assert [sku for _, sku, _ in skus(read(tmp_path))] == [
        "a.jpg",
        "a.jpg.gif",
        "a.png",
        "b",
        "sub/a",
    ]


def test_noise_is_ignored_and_the_rest_is_listed(tmp_path: Path) -> None:
    touch(
        tmp_path,
        ".DS_Store",
        "._a.jpg",
        ".5-inch.jpg",
        ".hidden/a.jpg",
        "__MACOSX/a.jpg",
        "Thumbs.db",
        "a.jpg",
        "readme.txt",
        "sub/products.csv",
        "sub/more.JSONL",
        "more.zip",
        "noending",
        "a.svg",
    )
    (tmp_path / "empty").mkdir()
    found = read(tmp_path)
    assert [sku for _, sku, _ in skus(found)] == ["a"]
    nested = {"more.zip", "sub/more.JSONL", "sub/products.csv"}
    assert skip_codes(found) == {
        name: FailureCode.NESTED if name in nested else FailureCode.NOT_AN_IMAGE
        for name in skipped(found)
    }
    listed = skipped(found)
    assert list(listed) == [
        ".5-inch.jpg",
        "a.svg",
        "more.zip",
        "noending",
        "readme.txt",
        "sub/more.JSONL",
        "sub/products.csv",
    ]
    assert "atelier ingest 'sub/products.csv'" in listed["sub/products.csv"]
    assert "manifest" in listed["sub/more.JSONL"]
    assert "by itself" in listed["more.zip"]


def test_names_from_a_mac_are_composed(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "Größe/blau-ü.jpg")
    touch(tmp_path, name)
    ((_, sku, image),) = skus(read(tmp_path))
    assert sku == "Größe/blau-ü"
    assert image == name


def test_twins_in_another_normal_form_are_rejected(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        touch(tmp_path, unicodedata.normalize(form, "ü.jpg"))
        touch(tmp_path, unicodedata.normalize(form, "dir-ü") + "/a.jpg")
    found = read(tmp_path)
    assert [sku for _, sku, _ in skus(found)] == ["dir-ü/a", "ü"]
    assert [r.line for r in rejections(found)] == [2, 4]
    assert all("normal form; rename one" in r.error for r in rejections(found))
    assert {r.code for r in rejections(found)} == {FailureCode.BAD_SKU}


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    for name in (b"\xff.jpg", b"\xff.txt", b"caf\xe9/"):
        path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118  pathlib takes no bytes
        if name.endswith(b"/"):
            os.mkdir(path)  # noqa: PTH102
        else:
            Path(os.fsdecode(path)).touch()
    found = read(tmp_path)
    assert [sku for _, sku, _ in skus(found)] == ["a"]
    assert [(r.line, r.value) for r in rejections(found)] == [(2, "caf\\udce9"), (3, "\\udcff.jpg")]
    assert all("not valid UTF-8; rename" in r.error for r in rejections(found))
    assert {r.code for r in rejections(found)} == {FailureCode.BAD_SKU}
    assert skip_codes(found) == {"\\udcff.txt": FailureCode.NOT_AN_IMAGE}


def test_bad_skus_are_rejected(tmp_path: Path) -> None:
    touch(tmp_path, "a\n.jpg", f"{'x' * 210}.jpg", " .jpg", "ok.jpg")
    found = read(tmp_path)
    assert [sku for _, sku, _ in skus(found)] == ["ok"]
    errors = [r.error for r in rejections(found)]
    assert len(errors) == 3
    assert {r.code for r in rejections(found)} == {FailureCode.BAD_SKU}
    assert all(
        says in error
        for says, error in zip(["control", "empty", "210"], sorted(errors, key=len), strict=True)
    ) or {"control" in e or "empty" in e or "210 characters" in e for e in errors} == {True}
    assert sorted(r.line for r in found if not isinstance(r, SkippedFile)) == [1, 2, 3, 4]


def test_links(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(tmp_path, "secret.jpg", "elsewhere/x.jpg")
    touch(root, "a.jpg", "sub/b.jpg", "notes.txt")
    for name, target in {
        "in.jpg": "sub/b.jpg",
        "out.jpg": "../secret.jpg",
        "out_by_two.jpg": "out.jpg",
        "out_folder": "../elsewhere",
        "out.txt": "/etc/passwd",
        "broken.jpg": "nowhere",
        "loop.jpg": "loop.jpg",
        "sub/up": "..",
        "sub/self": ".",
        "to_sub": "sub",
        "notes_link.txt": "notes.txt",
        "to_null.jpg": "/dev/null",
    }.items():
        (root / name).symlink_to(target)
    found = read(root)
    assert [sku for _, sku, _ in skus(found)] == ["a", "in", "sub/b"]
    refused = {r.value for r in rejections(found) if r.code is FailureCode.REFUSED_PATH}
    assert refused == {"out.jpg", "out_by_two.jpg", "out_folder", "out.txt", "to_null.jpg"}
    broken = {r.value for r in rejections(found) if "leads to no file" in r.error}
    assert broken == {"broken.jpg", "loop.jpg"}
    assert {r.value for r in rejections(found) if r.code is FailureCode.MISSING} == broken
    assert skip_codes(found) == {
        "sub/up": FailureCode.REFUSED_PATH,
        "sub/self": FailureCode.REFUSED_PATH,
        "to_sub": FailureCode.REFUSED_PATH,
        "notes_link.txt": FailureCode.NOT_AN_IMAGE,
        "notes.txt": FailureCode.NOT_AN_IMAGE,
    }
    (linked,) = (r for r in found if isinstance(r, DeliveredRow) and r.sku == "in")
    with linked.images[0].open() as file:
        assert file.read() == b"sub/b.jpg"


def test_special_files_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    found = read(tmp_path)
    assert "is not opened" in rejections(found)[0].error
    assert [r.code for r in rejections(found)] == [FailureCode.CANNOT_OPEN]
    assert list(skipped(found)) == ["pipe"]


def test_a_folder_called_like_an_image(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg/b.jpg", "a.png")
    assert [sku for _, sku, _ in skus(read(tmp_path))] == ["a.jpg/b", "a"]


def test_a_folder_that_goes_away_is_one_rejected_row(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "gone/x.jpg", "z.jpg")
    with open_delivery(tmp_path) as delivery:
        rows = delivery.rows()
        first = next(rows)
        (tmp_path / "gone" / "x.jpg").unlink()
        (tmp_path / "gone").rmdir()
        found = [first, *rows]
    assert skus(found) == [(1, "a", "a.jpg"), (3, "z", "z.jpg")]
    (bad,) = rejections(found)
    assert (bad.line, bad.value) == (2, "gone")
    assert "cannot be listed" in bad.error
    assert bad.code is FailureCode.MISSING


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_without_permission_is_one_rejected_row(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "locked/x.jpg")
    (tmp_path / "locked").chmod(0)
    try:
        (bad,) = rejections(read(tmp_path))
    finally:
        (tmp_path / "locked").chmod(0o700)
    assert "permissions" in bad.error
    assert bad.code is FailureCode.CANNOT_OPEN


def test_very_deep_folders(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(300):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "a.jpg").touch()
    found = read(tmp_path)
    assert "601 characters" in rejections(found)[0].error


def test_a_folder_gone_before_reading_is_a_delivery_error(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    delivery = open_delivery(tmp_path / "shop")
    (tmp_path / "shop").rmdir()
    with pytest.raises(DeliveryError, match="cannot be listed", check=coded(FailureCode.MISSING)):
        list(delivery.rows())


def test_the_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.jpg", "sub/b.jpg", "c.txt", ".hidden/d.jpg")
    delivery: Delivery = open_delivery(tmp_path)
    assert delivery.estimated_rows() == 2
    monkeypatch.setattr(folder_module, "MAX_COUNTED", 3)
    assert delivery.estimated_rows() is None


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{n}/{n}{m}.jpg" for n in "cab" for m in "zyx"))
    assert read(tmp_path) == read(tmp_path)


def test_memory_grows_with_the_largest_folder_only(tmp_path: Path) -> None:
    for at in range(200):
        (tmp_path / f"{at}").mkdir()
        for name in range(20):
            (tmp_path / f"{at}" / f"{name}.jpg").touch()
    with open_delivery(tmp_path) as delivery:
        tracemalloc.start()
        try:
            assert sum(1 for _ in delivery.rows()) == 4000
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 300_000
