"""A drop folder into which somebody puts what they should not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tagging import inbox as inbox_module
from tagging.domain import FailureCode
from tagging.inbox import REPORT, Inbox
from tests.hostile.canaries import Canaries
from tests.integration.test_inbox import inbox, services, settle, skus
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
    if target == "a.png":  # loose images are taken as a folder of them
        assert said["code"] == FailureCode.NO_PRODUCT
        assert [line["code"] for line in said["rejected"]] == [FailureCode.REFUSED_PATH]
    else:
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

    def swap_then_write(self: Inbox, plan: inbox_module.Plan) -> None:
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
    images = "|".join([f"{name}/a.png"] * (1 if good else 65))  # 65: more than a product has
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
    assert (written["code"], written["error"]) == ("no_product", report["error"])
