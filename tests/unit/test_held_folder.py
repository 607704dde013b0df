"""A folder among strangers, as user 10001 has it while another account drops things beside it."""

from __future__ import annotations

import errno
import os
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tagging.errors import DeliveryError
from tagging.held_folder import HeldFolder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two accounts")

US, DROPPER = 10_001, 20_002


@contextmanager
def as_user(number: int) -> Iterator[None]:
    before = os.geteuid()
    os.seteuid(0)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.seteuid(before)


USER_OBJ, USER, GROUP_OBJ, MASK, OTHER = 1, 2, 4, 16, 32
NOBODY = 0xFFFF_FFFF


def acl(*entries: tuple[int, int, int]) -> bytes:
    """(tag, permissions, id) as Linux keeps them (linux/posix_acl_xattr.h)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def let_in(folder: Path) -> None:
    """setfacl -m u:US:rwx -m d:u:US:rwX -m d:u:DROPPER:rwX FOLDER, as docker-compose.yml says."""
    plain = (USER_OBJ, 7, NOBODY), (USER, 7, US)
    rest = (GROUP_OBJ, 5, NOBODY), (MASK, 7, NOBODY), (OTHER, 5, NOBODY)
    os.setxattr(folder, "system.posix_acl_access", acl(*plain, *rest))
    default = acl(*plain, (USER, 7, DROPPER), *rest)
    os.setxattr(folder, "system.posix_acl_default", default)


@pytest.fixture
def root() -> Iterator[Path]:
    """A dropper's folder, in which we may write."""
    with tempfile.TemporaryDirectory(prefix="atelier-inbox-") as folder:
        Path(folder).chmod(0o711)
        inbox = Path(folder) / "inbox"
        inbox.mkdir()
        os.chown(inbox, DROPPER, -1)
        try:
            let_in(inbox)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            pytest.skip("the file system of temporary files knows no ACLs")
        yield inbox


def test_what_another_account_dropped_is_taken_and_kept(root: Path) -> None:
    with as_user(DROPPER):
        (root / "photos").mkdir()
        for name in ("a.png", "photos/b.png"):
            (root / name).write_bytes(b"pixels")
    with as_user(US), HeldFolder.at(root) as inbox, inbox.own("done") as done:
        with inbox.own(".atelier", private=True) as state, state.own("claimed") as claimed:
            for name in ("a.png", "photos"):
                inbox.move(name, claimed)
            assert (claimed.way / "photos" / "b.png").read_bytes() == b"pixels"
            with state.new_text("writing") as stream:
                stream.write("said")
            assert state.read("writing") == b"said"
            state.move("writing", claimed, "report.json")
            state.move("claimed", done, "upload")
        assert done.names() == ["upload"]
    with as_user(DROPPER):
        assert sorted(path.name for path in (root / "done" / "upload").iterdir()) == [
            "a.png",
            "photos",
            "report.json",
        ]
        assert (root / "done" / "upload" / "report.json").read_text() == "said"


def test_nobody_else_gets_into_what_is_private(root: Path) -> None:
    with as_user(US), HeldFolder.at(root) as inbox:
        (root / ".atelier").mkdir()
        (root / ".atelier").chmod(0o777)
        inbox.own(".atelier", private=True).close()
    assert stat.S_IMODE((root / ".atelier").stat().st_mode) == 0o700
    with as_user(DROPPER), pytest.raises(PermissionError):
        list((root / ".atelier").iterdir())


def test_a_new_text_is_written_through_no_link(root: Path) -> None:
    (root / "outside").write_text("as it was")
    with as_user(US), HeldFolder.at(root) as inbox, inbox.own("done") as done:
        (root / "done" / "writing").symlink_to(root / "outside")
        with done.new_text("writing") as stream:
            stream.write("said")
        assert done.read("writing") == b"said"
        (root / "done" / "lock").symlink_to(root / "outside")
        with pytest.raises(OSError, match="symbolic links"):
            done.lock_file("lock")
    assert (root / "outside").read_text() == "as it was"


def test_a_dropper_may_rename_a_folder_but_not_replace_it(root: Path) -> None:
    with as_user(US), HeldFolder.at(root) as inbox, inbox.own("rejected") as rejected:
        with as_user(DROPPER):
            (root / "rejected").rename(root / "r")
            (root / "elsewhere").mkdir(mode=0o777)
            (root / "rejected").symlink_to("elsewhere")
            (root / "bad.zip").write_bytes(b"bad")
        assert not rejected.is_at(inbox)
        inbox.move("bad.zip", rejected)
        assert rejected.names() == ["bad.zip"]
        assert list((root / "elsewhere").iterdir()) == []
        with pytest.raises(DeliveryError, match="rejected is a link"):
            inbox.own("rejected")


@pytest.mark.parametrize("mode", [0o777, 0o700])
def test_a_folder_of_the_droppers_is_not_ours(root: Path, mode: int) -> None:
    with as_user(DROPPER):
        (root / ".atelier").mkdir()
        (root / ".atelier").chmod(mode)
    why = "belongs to user 20002" if mode == 0o777 else "closed to this process"
    with (
        as_user(US),
        HeldFolder.at(root) as inbox,
        pytest.raises(DeliveryError, match=why),
    ):
        inbox.own(".atelier", private=True)


def test_nor_is_a_file_in_ours(root: Path) -> None:
    with as_user(US), HeldFolder.at(root) as inbox, inbox.own("done") as done:
        done_path = root / "done"
        done_path.chmod(0o777)
        with as_user(DROPPER):
            (done_path / "plan.json").write_text("{}")
            os.mkfifo(done_path / "pipe.json")
            (done_path / "link.json").symlink_to("plan.json")
        for name in ("plan.json", "pipe.json"):
            with pytest.raises(ValueError, match="no file of user 10001"):
                done.read(name)
        with pytest.raises(OSError, match="symbolic links"):
            done.read("link.json")
