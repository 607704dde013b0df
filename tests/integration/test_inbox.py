"""The drop folder: each thing is ingested once, and the sender learns what became of it."""

from __future__ import annotations

import itertools
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tagging.database.session import Database
from tagging.database.tables import Product, Upload
from tagging.domain import FailureCode
from tagging.errors import DeliveryError
from tagging.held_folder import HeldFolder
from tagging.inbox import REPORT, Inbox
from tests.stand_in import Services, make_services, picture


@pytest.fixture
def services(sqlite: Database, tmp_path: Path) -> Services:
    """On SQLite alone: the drop folder adds nothing that depends on the database."""
    return make_services(sqlite, tmp_path)


@pytest.fixture
def inbox(services: Services, tmp_path: Path) -> Iterator[Inbox]:
    drop = services.drop_folder(tmp_path / "inbox")
    drop.prepare()
    yield drop
    drop.close()


def settle(inbox: Inbox, services: Services, seconds: float = 2.0) -> list[dict[str, Any]]:
    """Look, let time pass, look again."""
    reports = list(inbox.step())
    services.clock.seconds += seconds
    return reports + list(inbox.step())


def skus(services: Services) -> list[str]:
    with services.database.read() as session:
        return sorted(session.scalars(sa.select(Product.sku)))


def upload_count(services: Services) -> int:
    with services.database.read() as session:
        return len(session.scalars(sa.select(Upload.id)).all())


def test_loose_images_are_taken_together_once_they_settled(
    inbox: Inbox, services: Services
) -> None:
    for number in range(3):
        (inbox.root / f"{number}.png").write_bytes(picture(number))
    assert list(inbox.step()) == []
    services.clock.seconds += 1
    assert list(inbox.step()) == []
    services.clock.seconds += 1
    (report,) = inbox.step()
    assert (report["outcome"], report["products"]) == ("done", 3)
    assert skus(services) == ["0", "1", "2"]
    done = inbox.root / "done" / report["upload"]
    assert sorted(p.name for p in done.iterdir()) == ["0.png", "1.png", "2.png", REPORT]
    assert inbox.empty()


def test_what_still_grows_is_left_alone(inbox: Inbox, services: Services) -> None:
    file = inbox.root / "a.png"
    for length in (10, 20, 30):
        file.write_bytes(picture(0)[:length])
        assert list(inbox.step()) == []
        services.clock.seconds += 1.5
    file.write_bytes(picture(0))
    assert [r["products"] for r in settle(inbox, services)] == [1]


def test_unfinished_downloads_are_left_alone(inbox: Inbox, services: Services) -> None:
    (inbox.root / "a.png.part").write_bytes(picture(0))
    assert settle(inbox, services) == []
    assert inbox.empty()


def test_a_folder_with_a_manifest_is_read_as_that_manifest(
    inbox: Inbox, services: Services
) -> None:
    folder = inbox.root / "autumn"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "x.png").write_bytes(picture(0))
    (folder / "products.csv").write_text("sku,image,title\nA-1,images/x.png,Coat\n")
    (report,) = settle(inbox, services)
    assert report["products"] == 1
    assert skus(services) == ["A-1"]
    assert (inbox.root / "done" / report["upload"] / "autumn" / "products.csv").exists()


def test_a_manifest_waits_for_its_images_and_takes_them_with_it(
    inbox: Inbox, services: Services
) -> None:
    (inbox.root / "list.csv").write_text("sku,image\nA,photos/a.png\nB,b.png\n")
    assert settle(inbox, services) == []
    (inbox.root / "photos").mkdir()
    (inbox.root / "photos" / "a.png").write_bytes(picture(0))
    (inbox.root / "b.png").write_bytes(picture(9))
    (report,) = settle(inbox, services)
    assert (report["products"], report["rejected"]) == (2, [])
    assert skus(services) == ["A", "B"]
    assert inbox.empty()


def test_a_manifest_whose_images_never_come_is_taken_with_what_there_is(
    inbox: Inbox, services: Services
) -> None:
    (inbox.root / "list.csv").write_text("sku,image\nA,a.png\nB,gone.png\n")
    (inbox.root / "a.png").write_bytes(picture(0))
    assert settle(inbox, services) == []
    (report,) = settle(inbox, services, 20.0)
    assert report["products"] == 1
    assert [(row["line"], row["code"]) for row in report["rejected"]] == [(3, FailureCode.MISSING)]


def test_a_zip_is_one_delivery(inbox: Inbox, services: Services) -> None:
    with zipfile.ZipFile(inbox.root / "z.zip", "w") as archive:
        archive.writestr("p/1.png", picture(1))
        archive.writestr("p/2.png", picture(2))
    (report,) = settle(inbox, services)
    assert report["products"] == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [("broken.zip", b"PK\x03\x04 no more"), ("notes.txt", b"hello"), ("list.csv", b"a,b\n1,2\n")],
)
def test_what_cannot_be_taken_is_moved_aside_with_a_reason(
    inbox: Inbox, services: Services, name: str, content: bytes
) -> None:
    (inbox.root / name).write_bytes(content)
    (report,) = settle(inbox, services, 100)
    assert report["outcome"] == "rejected"
    assert (inbox.root / "rejected" / name).read_bytes() == content
    written = json.loads((inbox.root / "rejected" / f"{name}.report.json").read_text())
    assert written["error"] == report["error"]
    assert inbox.empty()
    (inbox.root / name).write_bytes(content)
    settle(inbox, services, 100)
    assert len(list((inbox.root / "rejected").glob("*"))) == 4


class KilledError(BaseException):
    """Not an Exception: nothing may catch it, like a kill."""


def die(*_: Any) -> None:
    raise KilledError


@pytest.mark.parametrize("at", range(24))
def test_killed_at_any_step_each_thing_is_ingested_once(
    inbox: Inbox, services: Services, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """A kill at the n-th rename, write or commit; then a new process takes over."""
    with zipfile.ZipFile(inbox.root / "z.zip", "w") as archive:
        archive.writestr("1.png", picture(1))
    for name in ("a.png", "b.png"):
        (inbox.root / name).write_bytes(picture(7))
    list(inbox.step())
    services.clock.seconds += 2
    left = [at]

    def dying(real: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if left[0] == 0:
                raise KilledError
            left[0] -= 1
            return real(*arguments, **keywords)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(HeldFolder, "move", dying(HeldFolder.move))
        patch.setattr(HeldFolder, "remove", dying(HeldFolder.remove))
        patch.setattr("tagging.inbox._write_durably", dying(_real("_write_durably")))
        patch.setattr(Inbox, "_take_in", dying(Inbox._take_in))
        try:
            list(inbox.step())
            died = False
        except KilledError:
            died = True
    inbox.close()
    fresh = services.drop_folder(inbox.root)
    fresh.prepare()
    settle(fresh, services)
    assert fresh.empty()
    fresh.close()
    assert skus(services) == ["1", "a", "b"]
    assert upload_count(services) in ((2, 3) if died else (2,))
    taken = [p.name for p in (inbox.root / "done").glob("*/*") if p.name != REPORT]
    assert sorted(taken) == ["a.png", "b.png", "z.zip"]


def test_two_processes_do_not_watch_one_inbox(inbox: Inbox, services: Services) -> None:
    second = services.drop_folder(inbox.root)
    with pytest.raises(DeliveryError, match="another process"):
        second.prepare()
    second.close()


def test_what_cannot_be_moved_does_not_hold_up_the_others(
    inbox: Inbox, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("foreign", "own"):
        (inbox.root / name).mkdir()
        (inbox.root / name / f"{name}.png").write_bytes(picture(5))
    move = HeldFolder.move

    def refuse(self: HeldFolder, name: str, to: HeldFolder, new: str | None = None) -> None:
        if name == "foreign":
            raise PermissionError("not yours")
        move(self, name, to, new)

    with monkeypatch.context() as patch:
        patch.setattr(HeldFolder, "move", refuse)
        assert [r["products"] for r in settle(inbox, services)] == [1]
    assert skus(services) == ["own"]
    settle(inbox, services)
    assert skus(services) == ["foreign", "own"]


def test_what_cannot_be_moved_is_planned_once_and_tried_less_and_less_often(
    inbox: Inbox, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox.root / "foreign").mkdir()
    (inbox.root / "foreign" / "a.png").write_bytes(picture(5))
    tries = []

    def refuse(self: HeldFolder, name: str, to: HeldFolder, new: str | None = None) -> None:
        if name == "foreign":
            tries.append(services.clock.monotonic())
            raise PermissionError("not yours")
        move(self, name, to, new)

    move = HeldFolder.move
    with monkeypatch.context() as patch:
        patch.setattr(HeldFolder, "move", refuse)
        list(inbox.step())
        assert not inbox.only_waits()  # it has not been tried
        for _ in range(500):
            services.clock.seconds += 0.5
            assert list(inbox.step()) == []
        assert len(list((inbox.root / ".atelier" / "plans").iterdir())) == 1
        assert inbox.only_waits()
        assert not inbox.empty()
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    assert pauses == sorted(pauses)
    assert max(pauses) == 60
    assert len(tries) < 12
    services.clock.seconds += 60
    (report,) = inbox.step()
    assert (report["outcome"], report["products"]) == ("done", 1)
    assert inbox.empty()
    assert list((inbox.root / "rejected").iterdir()) == []


def test_a_corrected_file_is_read_even_after_a_kill_in_the_middle_of_the_rejection(
    inbox: Inbox, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox.root / "list.csv").write_text("a,b\n1,2\n")
    list(inbox.step())
    services.clock.seconds += 100

    with monkeypatch.context() as patch:
        patch.setattr(HeldFolder, "remove_folder", die)
        with pytest.raises(KilledError):
            list(inbox.step())
    (inbox.root / "list.csv").write_text("sku,image\nA,a.png\n")
    (inbox.root / "a.png").write_bytes(picture(3))
    settle(inbox, services)
    settle(inbox, services)
    assert skus(services) == ["A"]
    assert (inbox.root / "rejected" / "list.csv").read_text() == "a,b\n1,2\n"


def test_a_plan_that_outlived_its_delivery_takes_no_other(
    inbox: Inbox, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the plan's end, and `done` is tidied: what is dropped then is another one."""
    (inbox.root / "a.png").write_bytes(picture(1))
    list(inbox.step())
    services.clock.seconds += 2

    with monkeypatch.context() as patch:
        patch.setattr(HeldFolder, "remove", die)
        with pytest.raises(KilledError):
            list(inbox.step())
    (taken,) = (inbox.root / "done").iterdir()
    shutil.rmtree(taken)
    (inbox.root / "a.png").write_bytes(picture(2))
    again = inbox.step()
    assert next(again) == {"upload": taken.name, "outcome": "done"}
    assert (inbox.root / "a.png").exists()
    reports = [*again, *settle(inbox, services)]
    assert [(report["outcome"], report["changed"]) for report in reports] == [("done", 1)]
    assert inbox.empty()


def test_what_lands_after_a_delivery_was_received_is_no_part_of_it(
    inbox: Inbox, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it has the name of something that was gone again before it was claimed."""
    for name in ("a.png", "b.png"):
        (inbox.root / name).write_bytes(picture(1))
    list(inbox.step())
    services.clock.seconds += 2

    for boundary in ("inbox.planned", "inbox.taken_in"):

        def die_there(name: str, boundary: str = boundary) -> None:
            if name == boundary:
                die()

        with monkeypatch.context() as patch:
            patch.setattr("tagging.inbox.failpoint", die_there)
            with pytest.raises(KilledError):
                list(inbox.step())
        (inbox.root / "b.png").unlink(missing_ok=True)
    assert skus(services) == ["a"]
    (inbox.root / "b.png").write_bytes(picture(2))
    settle(inbox, services)
    settle(inbox, services)
    assert skus(services) == ["a", "b"]
    assert inbox.empty()


def test_what_grows_while_something_else_is_ingested_is_left_alone(
    inbox: Inbox, services: Services
) -> None:
    """For as long as it has been as it is now, however long that took."""
    with zipfile.ZipFile(inbox.root / "z.zip", "w") as archive:
        archive.writestr("1.png", picture(1))
    for name in ("a.png", "b.png"):
        (inbox.root / name).write_bytes(picture(2))
    list(inbox.step())
    services.clock.seconds += 2
    step = inbox.step()
    assert next(step)["products"] == 1
    services.clock.seconds += 3600
    (inbox.root / "a.png").write_bytes(picture(3)[:10])
    assert [report["products"] for report in step] == [1]
    assert skus(services) == ["1", "b"]
    services.clock.seconds += 0.5
    assert list(inbox.step()) == []
    (inbox.root / "a.png").write_bytes(picture(3))
    assert [report["outcome"] for report in settle(inbox, services)] == ["done"]
    assert skus(services) == ["1", "a", "b"]


def _real(name: str) -> Any:
    import tagging.inbox

    return getattr(tagging.inbox, name)
