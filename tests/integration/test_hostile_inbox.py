"""A drop folder into which somebody puts what they should not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from tagging import inbox as inbox_module
from tagging.catalog.delivery import Delivery
from tagging.catalog.opening import open_delivery
from tagging.domain import FailureCode
from tagging.errors import DeliveryError
from tagging.inbox import MAX_TRIES, REPORT, Inbox
from tagging.inbox_plan import Plan
from tagging.ingest import Ingest, UploadSummary
from tests.hostile.canaries import Canaries
from tests.integration.test_inbox import KilledError, inbox, services, settle, skus
from tests.stand_in import Services, picture

__all__ = ["inbox", "services"]


@pytest.fixture
def canaries(tmp_path: Path) -> Iterator[Canaries]:
    with Canaries(tmp_path / "outside") as found:
        yield found


def settled(inbox: Inbox, services: Services) -> list[dict[str, Any]]:
    """All reports until nothing changes any more, manifests waited for."""
    return [report for _ in range(3) for report in settle(inbox, services, 100)]


@pytest.mark.parametrize("target", ["products.csv", "photos.zip", "photos", "a.png"])
def test_a_link_that_is_dropped_is_not_followed(
    inbox: Inbox, services: Services, canaries: Canaries, target: str
) -> None:
    (inbox.root / f"dropped-{target}").symlink_to(canaries.root / target)
    (inbox.root / "good").mkdir()
    (inbox.root / "good" / "b.png").write_bytes(picture(1))
    reports = settled(inbox, services)
    assert sorted(report["outcome"] for report in reports) == ["done", "rejected"]
    (said,) = [report for report in reports if report["outcome"] == "rejected"]
    assert "is a link" in json.dumps(said)
    assert said["code"] == FailureCode.REFUSED_PATH
    assert skus(services) == ["b"]
    assert canaries.touched() == []
    assert canaries.unchanged()


def test_a_folder_swapped_for_a_link_after_it_was_looked_at(
    inbox: Inbox, services: Services, canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = inbox.root / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(1))
    write_plan = Inbox._write_plan

    def swap_then_write(self: Inbox, plan: Plan) -> None:
        write_plan(self, plan)
        if folder.is_dir() and not folder.is_symlink():
            folder.rename(inbox.root.parent / "elsewhere")
            folder.symlink_to(canaries.root / "photos")

    monkeypatch.setattr(Inbox, "_write_plan", swap_then_write)
    (report,) = settle(inbox, services)
    assert report["outcome"] == "rejected"
    assert "is a link" in report["error"]
    assert report["code"] == FailureCode.REFUSED_PATH
    assert canaries.touched() == []


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("own", ["done", "rejected", ".atelier/claimed"])
def test_what_was_taken_in_before_is_no_part_of_a_delivery(
    inbox: Inbox, services: Services, own: str, link: bool
) -> None:
    before = inbox.root / own / "20260101-000000-abcdef" / "theirs.png"
    before.parent.mkdir()
    before.write_bytes(picture(200))
    path = f"{own}/20260101-000000-abcdef/theirs.png"
    if link:
        (inbox.root / "mine.png").symlink_to(path)
        path = "mine.png"
    (inbox.root / "a.png").write_bytes(picture(1))
    (inbox.root / "list.csv").write_text(f"sku,image\nA,a.png\nB,{path}\n")
    reports = settled(inbox, services)
    assert reports[0]["products"] == 1
    assert [(line["line"], line["code"]) for line in reports[0]["rejected"]] == [
        (3, FailureCode.MISSING)
    ]
    assert skus(services) == ["A"]
    assert before.read_bytes() == picture(200)


@pytest.mark.parametrize(
    "name",
    [b"\xff\xfe.png", b"\xff.csv", b"\xff.zip", b"\xff", b"a\nb.png", b"\x1b[31m.zip"],
    ids=repr,
)
def test_no_name_stops_the_others(inbox: Inbox, services: Services, name: bytes) -> None:
    (inbox.root / os.fsdecode(name)).write_bytes(picture(1))
    (inbox.root / "good").mkdir()
    (inbox.root / "good" / "b.png").write_bytes(picture(1))
    reports = settled(inbox, services)
    assert sorted(report["outcome"] for report in reports) in (["done", "rejected"], ["done"] * 2)
    assert "b" in skus(services)
    assert inbox.empty()
    for report in inbox.root.glob("rejected/*.report.json"):
        said = json.loads(report.read_text())
        assert said["outcome"] == "rejected"
        assert said["code"] in (FailureCode.NO_PRODUCT, FailureCode.BAD_DELIVERY)


@pytest.mark.parametrize("name", ["x" * 251 + ".zip", "x" * 247 + ".zip", "ö" * 120 + ".csv"])
def test_a_long_name_is_moved_aside_with_its_report(
    inbox: Inbox, services: Services, name: str
) -> None:
    for _ in range(2):
        (inbox.root / name).write_bytes(b"no zip, no manifest")
        (report,) = settled(inbox, services)
        assert (report["outcome"], report["code"]) == ("rejected", FailureCode.BAD_DELIVERY)
        assert inbox.empty()
    rejected = [path for path in (inbox.root / "rejected").rglob("*") if path.is_file()]
    assert sorted(path.suffix for path in rejected) == sorted([".json", name[-4:]] * 2)


@pytest.mark.parametrize("content", [b"not json", b"[1]", b"{}", b"\xff", None])
def test_what_lies_where_a_report_goes_is_left_alone(
    inbox: Inbox, services: Services, canaries: Canaries, content: bytes | None
) -> None:
    taken = inbox.root / "rejected" / "bad.zip.report.json"
    if content is None:
        taken.symlink_to(canaries.root / "a.png")
    else:
        taken.write_bytes(content)
    for suffix in (".tmp", ".partial"):
        taken.with_name(taken.name + suffix).symlink_to(canaries.root / "a.png")
    (inbox.root / "bad.zip").write_bytes(b"no zip")
    (report,) = settle(inbox, services)
    assert (report["outcome"], report["code"]) == ("rejected", FailureCode.BAD_DELIVERY)
    assert inbox.empty()
    assert taken.is_symlink() if content is None else taken.read_bytes() == content
    assert canaries.touched() == []
    assert canaries.unchanged()


@pytest.mark.parametrize("suffix", ["", ".tmp", ".partial"])
def test_no_report_is_written_through_a_link(
    inbox: Inbox, services: Services, canaries: Canaries, suffix: str
) -> None:
    for folder, name in (("rejected", "bad.zip.report.json"), ("", REPORT)):
        (inbox.root / folder / f"{name}{suffix}").symlink_to(canaries.root / "a.png")
    (inbox.root / "bad.zip").write_bytes(b"no zip")
    (inbox.root / "good.png").write_bytes(picture(1))
    settled(inbox, services)
    assert skus(services) == ["good"]
    assert canaries.touched() == []
    assert canaries.unchanged()


@pytest.mark.parametrize("name", [REPORT, f"{REPORT}.tmp", "list.csv.report.json"])
@pytest.mark.parametrize("good", [True, False])
def test_a_delivery_that_holds_a_file_called_like_the_report(
    inbox: Inbox, services: Services, name: str, good: bool
) -> None:
    (inbox.root / name).mkdir()
    (inbox.root / name / "a.png").write_bytes(picture(1))
    for number in range(65):  # more than a product has
        (inbox.root / name / f"{number}.png").write_bytes(picture(number))
    images = "|".join(f"{name}/{one}.png" for one in (["a"] if good else range(65)))
    (inbox.root / "list.csv").write_text(f"sku,image\nA,{images}\n")
    reports = settled(inbox, services)
    assert reports[0]["outcome"] == ("done" if good else "rejected")
    codes = [line["code"] for line in reports[0]["rejected"]]
    assert codes == ([] if good else [FailureCode.TOO_MANY_IMAGES])
    assert reports[0].get("code") == (None if good else FailureCode.NO_PRODUCT)
    assert inbox.empty()
    written = [path for path in inbox.root.rglob("*.json") if path.is_file()]
    assert any(json.loads(path.read_text())["upload"] == reports[0]["upload"] for path in written)
    assert len(list(inbox.root.rglob("a.png"))) == 1


def test_a_manifest_that_names_what_is_no_entry_of_the_inbox_holds_up_nobody(
    inbox: Inbox, services: Services
) -> None:
    (inbox.root / ".hidden").mkdir()
    (inbox.root / ".hidden" / "a.png").write_bytes(picture(1))
    (inbox.root / "list.csv").write_text("sku,image\nA,.hidden/a.png\n")
    (inbox.root / "b.png").write_bytes(picture(1))
    assert [report["products"] for report in settled(inbox, services)] == [1, 1]
    assert skus(services) == ["A", "b"]


def test_a_tree_deeper_than_a_path_can_say(inbox: Inbox, services: Services) -> None:
    top = inbox.root / "deep"
    top.mkdir()
    (top / "a.png").write_bytes(picture(1))
    at = os.open(top, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("x" * 250, dir_fd=at)
        deeper = os.open("x" * 250, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = deeper
    os.symlink("nowhere", "l.png", dir_fd=at)
    os.close(at)
    (report,) = settle(inbox, services)
    assert (report["products"], len(report["rejected"])) == (1, 1)
    assert "further up" in report["rejected"][0]["error"]
    assert report["rejected"][0]["code"] == FailureCode.CANNOT_OPEN


def test_a_report_of_many_lines_is_complete_on_disk(
    inbox: Inbox, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "MAX_LISTED", 2)
    (inbox.root / "list.csv").write_text("sku,image\n" + "A,../x.png\n" * 5)
    (report,) = settled(inbox, services)
    assert (report["rejected_lines"], len(report["rejected"])) == (5, 2)
    written = json.loads((inbox.root / "rejected" / "list.csv.report.json").read_text())
    assert [line["line"] for line in written["rejected"]] == [2, 3, 4, 5, 6]
    assert {line["code"] for line in written["rejected"]} == {"refused_path"}
    assert written["skipped"] == []
    assert written["code"] == FailureCode.NO_PRODUCT
    assert written["error"] == report["error"]


LEADS_NOWHERE = ("a" * 300, "nowhere", "x/y/z", "/proc/1/root/x", "/dev/null/x", "")
"""Targets of links; '' for the link itself. The first cannot even be looked for."""


def test_a_link_that_leads_nowhere_stops_nobody(inbox: Inbox, services: Services) -> None:
    for number, target in enumerate(LEADS_NOWHERE):
        for name in (f"x{number}", f"a{number}.png", f"list{number}.csv", f"z{number}.zip"):
            (inbox.root / name).symlink_to(target or name)
    (inbox.root / "good").mkdir()
    (inbox.root / "good" / "b.png").write_bytes(picture(1))
    reports = settled(inbox, services)
    outcomes = sorted(report["outcome"] for report in reports)
    assert outcomes == ["done"] + ["rejected"] * 4 * len(LEADS_NOWHERE)
    assert skus(services) == ["b"]
    assert inbox.empty()


def test_nor_does_one_in_a_folder(inbox: Inbox, services: Services) -> None:
    folder = inbox.root / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(1))
    for number, target in enumerate(LEADS_NOWHERE):
        (folder / f"l{number}.png").symlink_to(target or f"l{number}.png")
    (report,) = settle(inbox, services)
    assert (report["products"], len(report["rejected"])) == (1, len(LEADS_NOWHERE))
    assert inbox.empty()


def swap_for_link(folder: Path, target: Path) -> Path:
    """What whoever may write beside `folder` can do; where it is now."""
    moved = folder.with_name(f"x.{folder.name.strip('.')}.part")
    folder.rename(moved)
    folder.symlink_to(target)
    return moved


@pytest.mark.parametrize("own", ["done", "rejected"])
def test_where_things_go_is_no_link(
    inbox: Inbox, services: Services, canaries: Canaries, own: str
) -> None:
    moved = swap_for_link(inbox.root / own, canaries.root / "photos")
    (inbox.root / "bad.zip").write_bytes(b"no zip")
    (inbox.root / "good.png").write_bytes(picture(1))
    with pytest.raises(DeliveryError, match=f"{own} is a link"):
        settle(inbox, services)
    assert canaries.unchanged()
    assert sorted(path.name for path in inbox.root.glob("*.*")) != []
    (inbox.root / own).unlink()
    moved.rename(inbox.root / own)
    outcomes = sorted(report["outcome"] for report in settled(inbox, services))
    assert outcomes == ["done", "rejected"]


def test_another_process_starts_with_none_either(inbox: Inbox, canaries: Canaries) -> None:
    inbox.close()
    for own in ("done", "rejected", ".atelier"):
        moved = swap_for_link(inbox.root / own, canaries.root / "photos")
        with pytest.raises(DeliveryError, match="is a link"):
            inbox.prepare()
        inbox.close()
        (inbox.root / own).unlink()
        moved.rename(inbox.root / own)
    for own in ("claimed", "plans"):
        swap_for_link(inbox.root / ".atelier" / own, canaries.root / "photos")
        with pytest.raises(DeliveryError, match="is a link"):
            inbox.prepare()
        inbox.close()
    assert canaries.unchanged()


@pytest.mark.parametrize("own", ["done", "rejected", ".atelier"])
def test_a_folder_of_ours_becomes_a_link_in_the_middle(
    inbox: Inbox,
    services: Services,
    canaries: Canaries,
    monkeypatch: pytest.MonkeyPatch,
    own: str,
) -> None:
    """By then it is held open: what was begun ends in it, whatever it is called."""
    accept = Ingest.accept_upload
    moved: list[Path] = []

    def swap_then_accept(self: Ingest, delivery: Delivery, **about: Any) -> UploadSummary:
        if not moved:
            outside = canaries.root / "photos"
            if own == ".atelier":
                # Where the delivery was found a moment ago there is another's now.
                outside = inbox.root.parent / "elsewhere"
                (outside / "claimed").mkdir(parents=True)
                (outside / "claimed" / about["upload_id"]).symlink_to(canaries.root)
            moved.append(swap_for_link(inbox.root / own, outside))
        return accept(self, delivery, **about)

    monkeypatch.setattr(Ingest, "accept_upload", swap_then_accept)
    (inbox.root / "photos").mkdir()
    (inbox.root / "photos" / "mine.png").write_bytes(picture(1))
    (inbox.root / "bad.zip").write_bytes(b"no zip")
    reports = settle(inbox, services)
    assert sorted(report["outcome"] for report in reports) == ["done", "rejected"]
    assert skus(services) == ["mine"]
    assert canaries.touched() == []
    at = {own: moved[0]}
    assert list(at.get("done", inbox.root / "done").rglob("mine.png"))
    assert (at.get("rejected", inbox.root / "rejected") / "bad.zip").exists()


def test_what_was_tidied_away_is_made_anew(
    inbox: Inbox, services: Services, tmp_path: Path
) -> None:
    for own in ("done", "rejected"):
        (inbox.root / own).rename(tmp_path / own)
    (inbox.root / "bad.zip").write_bytes(b"no zip")
    (inbox.root / "good.png").write_bytes(picture(1))
    settle(inbox, services)
    assert list((inbox.root / "done").rglob("good.png"))
    assert (inbox.root / "rejected" / "bad.zip").exists()


def test_another_inbox_in_its_place_is_not_the_one_that_is_watched(inbox: Inbox) -> None:
    inbox.root.rename(inbox.root.parent / "before")
    with pytest.raises(FileNotFoundError):
        list(inbox.step())
    inbox.root.mkdir()
    with pytest.raises(DeliveryError, match="another folder than the one that is watched"):
        list(inbox.step())


def test_a_folder_of_another_account_is_none_of_ours(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.close()
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(DeliveryError, match=f"done belongs to user {me}, not to user {me + 1}"):
        inbox.prepare()
    inbox.close()


UPLOAD = "20260101-000000-abcdef"
FORGED: dict[str, Any] = {
    "absolute": {"entries": ["ABSOLUTE"]},
    "above": {"entries": ["../secret.db"]},
    "deeper": {"entries": ["good/b.png"]},
    "ours": {"entries": ["done"]},
    "itself": {"entries": ["."]},
    "parent": {"entries": [".."]},
    "empty name": {"entries": [""]},
    "nothing": {"entries": []},
    "text": {"entries": "good"},
    "number": {"entries": [1]},
    "upload": {},
    "upload above": {"upload": "../../x"},
    "other upload": {"upload": UPLOAD},
    "kind": {"kind": "x"},
    "main": {"main": "../secret.db"},
    "tries": {"tries": -(10**9)},
    "no number of tries": {"tries": "1"},
    "report": {"rejected": "x"},
    "more": {"more": 1},
}


def test_a_plan_leads_nowhere_but_to_what_was_dropped(inbox: Inbox, services: Services) -> None:
    secret = inbox.root.parent / "secret.db"
    secret.write_bytes(b"secret")
    (inbox.root / "done" / "before").mkdir()
    plans = inbox.root / ".atelier" / "plans"
    written = {}
    for number, (what, forged) in enumerate(FORGED.items()):
        # One is called like the folder itself, and so is its file, as it should be.
        upload = "." if what == "upload" else f"20260101-000000-{number:06x}"
        said = {"upload": upload, "kind": "file", "entries": ["good"], "main": None}
        text = json.dumps({**said, "rejected": None, **forged}).replace("ABSOLUTE", str(secret))
        (plans / f"{upload}.json").write_text(text)
        written[what] = (plans / f"{upload}.json.refused", text)
        # Folders of the dropper's, into which a path with more than one part would lead.
        (inbox.root / ".atelier" / "claimed" / upload / "good").mkdir(parents=True, exist_ok=True)
    (inbox.root / "good").mkdir()
    (inbox.root / "good" / "b.png").write_bytes(picture(1))
    (report,) = settle(inbox, services)
    assert report["outcome"] == "done"
    assert secret.read_bytes() == b"secret"
    assert (inbox.root / "done" / "before").exists()
    assert {what: path.read_text() for what, (path, _) in written.items()} == {
        what: text for what, (_, text) in written.items()
    }


def test_what_is_no_plan_stops_nobody(inbox: Inbox, services: Services) -> None:
    for number, content in enumerate((b"", b"not json", b"[1]", b"\xff", b"[" * 100_000)):
        path = inbox.root / ".atelier" / "plans" / f"20260101-000000-{number:06x}.json"
        path.write_bytes(content)
    (inbox.root / "b.png").write_bytes(picture(1))
    (report,) = settle(inbox, services)
    assert report["outcome"] == "done"
    assert inbox.empty()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_plan_of_another_account_is_none(inbox: Inbox, services: Services) -> None:
    said = {"upload": UPLOAD, "kind": "file", "entries": ["b.x"], "main": "b.x", "rejected": None}
    plan = inbox.root / ".atelier" / "plans" / f"{UPLOAD}.json"
    plan.write_text(json.dumps(said))
    os.chown(plan, 65534, 65534)
    assert settle(inbox, services) == []
    assert plan.with_name(f"{plan.name}.refused").exists()


def restarted(inbox: Inbox) -> Inbox:
    """As another process takes over."""
    inbox.close()
    fresh = Inbox(
        root=inbox.root,
        ingest=inbox.ingest,
        retailer_id=inbox.retailer_id,
        settle_s=inbox.settle_s,
        monotonic=inbox.monotonic,
    )
    fresh.prepare()
    return fresh


def failing(error: BaseException, name: str) -> Any:
    """accept_upload that fails for the delivery of that name."""
    accept = Ingest.accept_upload

    def accept_or_fail(self: Ingest, delivery: Delivery, **about: Any) -> UploadSummary:
        if delivery.name == name:
            raise error
        return accept(self, delivery, **about)

    return accept_or_fail


@pytest.mark.parametrize(
    "error", [KilledError(), ValueError("a bug"), IntegrityError("insert", {}, Exception("twice"))]
)
def test_what_ends_the_process_again_and_again_is_rejected(
    inbox: Inbox, services: Services, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(Ingest, "accept_upload", failing(error, "bad"))
    for name in ("bad", "good"):
        (inbox.root / name).mkdir()
        (inbox.root / name / f"{name}.png").write_bytes(picture(1))
    for _ in range(MAX_TRIES):
        with pytest.raises(type(error)):
            settle(inbox, services)
        inbox = restarted(inbox)
    reports = settle(inbox, services)
    inbox.close()
    assert [report["outcome"] for report in reports] == ["rejected", "done"]
    assert f"begun {MAX_TRIES} times" in reports[0]["error"]
    assert (inbox.root / "rejected" / "bad" / "bad.png").exists()
    assert skus(services) == ["good"]


@pytest.mark.parametrize("error", [KilledError(), ValueError("a bug")])
def test_so_is_a_manifest_whose_names_alone_end_the_process(
    inbox: Inbox, services: Services, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """It is read before there is a plan that could count, and before those that come after it."""
    monkeypatch.setattr("tagging.inbox.open_delivery", opening(error, "bad.csv"))
    for name in ("bad", "later"):
        (inbox.root / f"{name}.csv").write_text(f"sku,image\n{name},{name}.png\n")
        (inbox.root / f"{name}.png").write_bytes(picture(1))
    for _ in range(MAX_TRIES):
        with pytest.raises(type(error)):
            settle(inbox, services)
        inbox = restarted(inbox)
    reports = [*settle(inbox, services), *settle(inbox, services)]
    assert [report["outcome"] for report in reports] == ["rejected", "done", "done"]
    assert f"begun {MAX_TRIES} times" in reports[0]["error"]
    assert (inbox.root / "rejected" / "bad.csv").exists()
    assert skus(services) == ["bad", "later"]  # its picture is none of it any more
    assert not (inbox.root / ".atelier" / "looks.json").exists()
    inbox.close()


@pytest.mark.parametrize(
    "error", [SystemExit(143), KeyboardInterrupt(), OSError(5, "Input/output error")]
)
def test_who_ends_a_look_from_outside_is_no_fault_of_the_manifest(
    inbox: Inbox, services: Services, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    (inbox.root / "list.csv").write_text("sku,image\na,a.png\n")
    (inbox.root / "a.png").write_bytes(picture(1))
    with monkeypatch.context() as patch:
        patch.setattr("tagging.inbox.open_delivery", opening(error, "list.csv"))
        for _ in range(2 * MAX_TRIES):
            with pytest.raises(type(error)):
                settle(inbox, services)
            inbox = restarted(inbox)
    (report,) = settle(inbox, services)
    inbox.close()
    assert report["outcome"] == "done"
    assert skus(services) == ["a"]


def test_a_manifest_that_was_corrected_begins_anew(
    inbox: Inbox, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox.root / "a.png").write_bytes(picture(1))
    with monkeypatch.context() as patch:
        patch.setattr("tagging.inbox.open_delivery", opening(KilledError(), "list.csv"))
        for tries in range(2 * MAX_TRIES):
            (inbox.root / "list.csv").write_text("sku,image\n" + "a,a.png\n" * (1 + tries // 4))
            with pytest.raises(KilledError):
                settle(inbox, services)
            inbox = restarted(inbox)
    (inbox.root / ".atelier" / "looks.json").write_text('{"list.csv": 3')
    (report,) = settle(inbox, services)
    inbox.close()
    assert report["outcome"] == "done"


def opening(error: BaseException, name: str) -> Any:
    """`open_delivery`, which fails for a file of this name at the top of an inbox."""

    def opened(source: Any, **about: Any) -> Any:
        if Path(source).name == name and Path(source).parent.name == "inbox":
            raise error
        return open_delivery(source, **about)

    return opened


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("insert", {}, Exception("the server is away")),
        OSError(28, "No space left on device"),
        SystemExit(143),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_no_fault_of_the_delivery_counts_as_no_try(
    inbox: Inbox, services: Services, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    (inbox.root / "folder").mkdir()
    (inbox.root / "folder" / "a.png").write_bytes(picture(1))
    with monkeypatch.context() as patch:
        patch.setattr(Ingest, "accept_upload", failing(error, "folder"))
        for _ in range(2 * MAX_TRIES):
            try:
                assert settle(inbox, services) == []
            except type(error):
                pass
            inbox = restarted(inbox)
    (report,) = settle(inbox, services)
    inbox.close()
    assert report["outcome"] == "done"
    assert skus(services) == ["a"]


def test_what_the_database_cannot_hold_is_rejected(
    inbox: Inbox, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = DataError("insert", {}, Exception("integer out of range"))
    monkeypatch.setattr(Ingest, "accept_upload", failing(error, "bad"))
    for name in ("bad", "good"):
        (inbox.root / name).mkdir()
        (inbox.root / name / f"{name}.png").write_bytes(picture(1))
    reports = settle(inbox, services)
    assert [report["outcome"] for report in reports] == ["rejected", "done"]
    assert reports[0]["code"] == FailureCode.BAD_DELIVERY
    assert "integer out of range" in reports[0]["error"]
    assert inbox.empty()


def test_a_report_tells_nothing_of_where_a_delivery_was_kept(
    inbox: Inbox, services: Services
) -> None:
    (inbox.root / "notes.txt2").write_bytes(b"hello")
    (inbox.root / "l.zip").symlink_to("nowhere")
    for report in settle(inbox, services):
        assert report["error"].partition("'")[2].startswith(("notes.txt2'", "l.zip'"))
