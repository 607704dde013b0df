"""Hostile and clumsy image paths: nothing outside the folder is ever opened."""

from __future__ import annotations

import os
import socket
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagging.catalog import paths
from tagging.catalog.delivery import DeliveryRowError
from tagging.catalog.paths import ImageFolder, open_inside
from tagging.domain import FailureCode
from tests.coded import coded

NFD = unicodedata.normalize("NFD", "Größe.jpg")
NFC = "Größe.jpg"
MIXED = "Gro\u0308ße-ö.jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A delivery with traps, beside a secret."""
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "delivery-evil").mkdir()
    (tmp_path / "delivery-evil" / "x.jpg").write_bytes(b"secret")
    root = tmp_path / "delivery"
    (root / "images" / "deep").mkdir(parents=True)
    for name in (
        "a.jpg",
        "images/a.jpg",
        "images/deep/b.jpg",
        "images/Caps.JPG",
        "with space.jpg",
        "100%.jpg",
        "%2e%2e",
        "~root",
        "$HOME",
        "back\\slash.jpg",
        "...",
        "..a.jpg",
        NFD,
        MIXED,
    ):
        (root / name).write_bytes(name.encode())
    (root / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "out_relative.jpg").symlink_to("../secret.jpg")
    (root / "out_folder").symlink_to(tmp_path)
    (root / "out_evil").symlink_to(tmp_path / "delivery-evil")
    (root / "out_by_two.jpg").symlink_to("out.jpg")
    (root / "etc").symlink_to("/etc")
    (root / "in.jpg").symlink_to("images/a.jpg")
    (root / "in_folder").symlink_to("images")
    (root / "broken.jpg").symlink_to("nowhere.jpg")
    (root / "loop.jpg").symlink_to("loop.jpg")
    (root / "loop_a").symlink_to("loop_b")
    (root / "loop_b").symlink_to("loop_a")
    (root / "self").symlink_to(".")
    os.mkfifo(root / "pipe.jpg")
    (root / "to_pipe.jpg").symlink_to("pipe.jpg")
    (root / "to_null.jpg").symlink_to("/dev/null")
    return root


def find(folder: Path, text: str) -> bytes:
    with ImageFolder(folder, place="beside the manifest").find(text).open() as file:
        return file.read()


@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd",
        "//etc/passwd",
        "///a.jpg",
        "/",
        "\\etc\\passwd",
        "\\\\server\\share\\a.jpg",
        "//server/share/a.jpg",
        "\\\\?\\C:\\a.jpg",
        "\\\\.\\pipe\\x",
        "C:\\a.jpg",
        "C:/a.jpg",
        "c:a.jpg",
        "z:",
        "..",
        "../secret.jpg",
        "../",
        "../../../../etc/passwd",
        "images/../../secret.jpg",
        "images/../../delivery/a.jpg",
        "./../secret.jpg",
        "././../secret.jpg",
        "images//..//..//secret.jpg",
        "nowhere/../../secret.jpg",
        "..\\secret.jpg",
        "images\\..\\..\\secret.jpg",
        "images/..\\../../secret.jpg",
        "../delivery-evil/x.jpg",
        "a.jpg\0",
        "\0",
        "a.jpg\0/../../secret.jpg",
        "../\0",
        "http://example.com/a.jpg",
        "https://example.com/a.jpg",
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "s3://bucket/a.jpg",
        "data:image/png;base64,AAAA",
        "a\ud800.jpg",
        "images/\udcff.jpg",
        "out.jpg",
        "out_relative.jpg",
        "out_folder/secret.jpg",
        "out_evil/x.jpg",
        "out_by_two.jpg",
        "etc/passwd",
        "etc/../a/../etc/passwd",
        "self/out.jpg",
        "in_folder/../out_folder/secret.jpg",
        "self/self/self/etc/passwd",
        "to_null.jpg",
        "self/" * 900 + "a.jpg",
        "x" * 4097,
    ],
)
def test_what_leaves_the_folder_is_refused(folder: Path, text: str) -> None:
    with pytest.raises(DeliveryRowError, check=coded(FailureCode.REFUSED_PATH)):
        find(folder, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nowhere.jpg", "no file 'nowhere.jpg' beside the manifest"),
        ("%2e%2e/secret.jpg", "no file"),
        ("..%2fsecret.jpg", "no file"),
        ("%2e%2e%2fsecret.jpg", "no file"),
        ("..%5csecret.jpg", "no file"),
        ("%2Fetc%2Fpasswd", "no file"),
        ("..%c0%af..%c0%afsecret.jpg", "no file"),
        ("．．/secret.jpg", "no file"),  # noqa: RUF001  full-width dots are letters
        ("..\u2215secret.jpg", "no file"),
        ("....//secret.jpg", "no file"),
        ("~/a.jpg", "no file"),
        ("$HOME/a.jpg", "no file"),
        ("~root/.ssh/id", "no file"),
        ("a.jpg::$DATA", "no file"),
        ("a.jpg/x", "no file"),
        ("a.jpg.", "no file"),
        ("images/caps.jpg", "there is 'images/Caps.JPG': capitals count"),
        ("Images/Caps.JPG", "there is 'images': capitals count"),
        ("A.JPG", "there is 'a.jpg': capitals count"),
        ("GRÖSSE.jpg", "no file"),
        ("images", "is a folder"),
        ("images/", "is a folder"),
        (".", "is a folder"),
        ("images/..", "is a folder"),
        ("in_folder", "is a folder"),
        ("broken.jpg", "leads nowhere"),
        ("loop.jpg", "leads nowhere"),
        ("loop_a/x.jpg", "leads nowhere"),
        ("pipe.jpg", "is not opened"),
        ("to_pipe.jpg", "is not opened"),
        ("x" * 300, "check its name"),
        ("self/" * 500 + "A.jpg", "there is 'a.jpg'"),
        ("x/" * 2000, "no file"),
        ("a\njpg", "no file 'a\\njpg'"),
        ("a\x1b[31m.jpg", "no file 'a\\x1b[31m.jpg'"),
        ("CON", "no file"),
        ("images/deep/../../nowhere.jpg", "no file"),
    ],
)
def test_what_is_no_image_file_is_explained(folder: Path, text: str, says: str) -> None:
    with pytest.raises(DeliveryRowError) as error:
        find(folder, text)
    assert says in str(error.value)
    opens_nothing = {"is a folder", "is not opened", "check its name"}
    wanted = FailureCode.CANNOT_OPEN if says in opens_nothing else FailureCode.MISSING
    assert error.value.code is wanted
    assert "secret" not in str(error.value).replace("secret.jpg", "")


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("a.jpg", "a.jpg"),
        ("./a.jpg", "a.jpg"),
        ("images/a.jpg", "images/a.jpg"),
        ("images//a.jpg", "images/a.jpg"),
        ("images/./a.jpg", "images/a.jpg"),
        ("images/../a.jpg", "a.jpg"),
        ("nowhere/../a.jpg", "a.jpg"),
        ("images\\a.jpg", "images/a.jpg"),
        ("images\\deep/b.jpg", "images/deep/b.jpg"),
        (".\\images\\deep\\..\\a.jpg", "images/a.jpg"),
        ("back\\slash.jpg", "back\\slash.jpg"),
        ("with space.jpg", "with space.jpg"),
        ("100%.jpg", "100%.jpg"),
        ("%2e%2e", "%2e%2e"),
        ("~root", "~root"),
        ("$HOME", "$HOME"),
        ("...", "..."),
        ("..a.jpg", "..a.jpg"),
        (NFC, NFD),
        (NFD, NFD),
        (unicodedata.normalize("NFC", MIXED), MIXED),
        ("in.jpg", "images/a.jpg"),
        ("in_folder/a.jpg", "images/a.jpg"),
        ("self/self/a.jpg", "a.jpg"),
    ],
)
def test_what_stays_inside_is_read(folder: Path, text: str, file: str) -> None:
    assert find(folder, text) == file.encode()


def test_a_socket_is_not_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        with pytest.raises(
            DeliveryRowError, match="is not opened", check=coded(FailureCode.CANNOT_OPEN)
        ):
            find(folder, "socket.jpg")


def test_a_root_that_is_a_link_is_resolved(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert find(tmp_path / "link", "images/a.jpg") == b"images/a.jpg"


def test_the_root_of_the_file_system_can_be_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    assert find(Path("/"), str(tmp_path / "a.jpg").lstrip("/")) == b"a"


def test_a_file_swapped_for_a_link_is_not_followed(folder: Path) -> None:
    image = ImageFolder(folder, place="here").find("images/a.jpg")
    (folder / "images" / "a.jpg").unlink()
    (folder / "images" / "a.jpg").symlink_to("../../secret.jpg")
    with pytest.raises(
        DeliveryRowError, match="became a link", check=coded(FailureCode.REFUSED_PATH)
    ):
        image.open()


def test_a_folder_swapped_for_a_link_is_not_followed(folder: Path) -> None:
    image = ImageFolder(folder, place="here").find("images/a.jpg")
    (folder / "images").rename(folder / "moved")
    (folder / "images").symlink_to("moved")
    with pytest.raises(
        DeliveryRowError, match="became a link", check=coded(FailureCode.REFUSED_PATH)
    ):
        image.open()


def test_a_file_swapped_for_a_pipe_does_not_hang(folder: Path) -> None:
    image = ImageFolder(folder, place="here").find("a.jpg")
    (folder / "a.jpg").unlink()
    os.mkfifo(folder / "a.jpg")
    with pytest.raises(
        DeliveryRowError,
        match="no longer a regular file",
        check=coded(FailureCode.CANNOT_OPEN),
    ):
        image.open()


def test_a_file_gone_since_is_an_oserror(folder: Path) -> None:
    image = ImageFolder(folder, place="here").find("a.jpg")
    (folder / "a.jpg").unlink()
    with pytest.raises(FileNotFoundError):
        image.open()


def test_no_file_handle_is_left_open(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  not a path that pathlib reads well
    for text in ("a.jpg", "images/deep/b.jpg"):
        find(folder, text)
    with pytest.raises(OSError, match="No such file"):
        open_inside(str(folder), "images/nowhere.jpg")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_folders_and_names_kept_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MAX_KNOWN_FOLDERS", 3)
    monkeypatch.setattr(paths, "MAX_LISTED_FOLDERS", 3)
    images = ImageFolder(folder, place="here")
    for at in range(10):
        (folder / f"f{at}").mkdir()
        (folder / f"f{at}" / "x.jpg").touch()
        images.find(f"f{at}/x.jpg")
        with pytest.raises(DeliveryRowError, match="capitals"):
            images.find(f"f{at}/X.jpg")
    assert len(images._folders) <= 3
    assert len(images._listed) <= 3


def test_a_very_large_folder_gives_no_suggestion(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "MAX_LISTED_NAMES", 5)
    with pytest.raises(DeliveryRowError, match="add the file"):
        find(folder, "A.JPG")
    assert find(folder, NFC) == NFD.encode()


PIECES = st.sampled_from(
    ["..", ".", "/", "\\", "a.jpg", "images", "out_folder", "etc", "self", "in_folder",
     "secret.jpg", "passwd", "\0", "C:", "%2e", "~", " ", "ö"]
)  # fmt: skip


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300
)
@given(text=st.lists(PIECES | st.text(max_size=3), max_size=10).map("".join))
def test_no_text_leads_outside(folder: Path, text: str) -> None:
    try:
        image = ImageFolder(folder, place="here").find(text)
    except DeliveryRowError:
        return
    real = Path(image.root, image.relative)
    assert real.resolve() == real
    assert real.is_relative_to(folder.resolve())
    image.open().close()
