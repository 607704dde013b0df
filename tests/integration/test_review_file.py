"""The queue as a CSV, out and back, over real databases."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tagging.database import reviews
from tagging.domain import Autopilot, Status
from tagging.errors import DeliveryError
from tagging.review_file import Imported, import_reviews, write_queue
from tests.integration.test_ingest_and_tag import deliver, listed, write_folder, write_manifest
from tests.people import SURE, audit_all, product, tagged, weighed
from tests.stand_in import Services


@pytest.fixture
def audited(services: Services) -> Services:
    return audit_all(services)


def filled(services: Services, path: Path, answers: dict[str, tuple[str, str]]) -> Path:
    """The queue and the audit sample as they are written, with these answers filled in."""
    stream = io.StringIO()
    for audit in (False, True):
        lines = reviews.queue(services.database, services.retailer_id, audit=audit)
        write_queue(lines, stream, services.store.path)
    rows = list(csv.reader(io.StringIO(stream.getvalue())))
    header = rows[0]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in (one for one in rows if one != header):
            cells = dict(zip(header, row, strict=True))
            cells["verdict"], cells["category"] = answers.get(cells["sku"], ("", ""))
            writer.writerow(cells.values())
    return path


def imported(services: Services, path: Path) -> Imported:
    return import_reviews(
        services.database,
        path,
        retailer_id=services.retailer_id,
        reviewer="Ann",
        now=services.clock.now,
    )


def test_the_queue_goes_out_as_a_file_and_comes_back_with_answers(
    audited: Services, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    write_folder(folder, {"a.png": 255, "b.png": 64})
    rows = "=1+1,a.png\nwaits,b.png\n'x,a.png\nleft,a.png\n"
    deliver(audited, write_manifest(folder, "sku,image\n" + rows))
    audited.tag_all()
    answers = {"'=1+1": ("", "Light"), "waits": ("corrected", "Light"), "'x": ("NOT_A_PRODUCT", "")}
    path = filled(audited, tmp_path / "answers.csv", answers)
    photo = listed(audited)["waits"].images[0]
    assert str(audited.store.path(photo)) in path.read_text()

    def run() -> tuple[int, int, int]:
        done = imported(audited, path)
        assert (done.errors, done.warnings) == ([], [])
        return done.recorded, done.repeated, done.unanswered

    assert run() == (3, 0, 1)
    found = listed(audited)
    assert (found["=1+1"].status, found["=1+1"].category) == (Status.REVIEWED, "Light")
    assert (found["waits"].category, found["'x"].category) == ("Light", None)
    assert found["left"].status is Status.TAGGED
    assert run() == (0, 3, 1)
    assert (weighed(audited).verdicts, weighed(audited).errors) == (2, 1)


def test_a_file_is_imported_twice_and_changes_nothing_the_second_time_whatever_it_says(
    audited: Services, tmp_path: Path
) -> None:
    tagged(audited, tmp_path / "in", {f"p{i}.png": 255 for i in range(4)})
    said = {
        "p0": ("unsure", ""),
        "p1": ("not_a_product", ""),
        "p2": ("corrected", "Dark"),
        "p3": ("confirmed", "Light"),
    }
    path = filled(audited, tmp_path / "answers.csv", said)
    first = imported(audited, path)
    assert (first.recorded, first.repeated, first.errors) == (4, 0, [])
    assert [move.state for move in first.moves] == [Autopilot.OFF]
    again = imported(audited, path)
    assert (again.recorded, again.repeated, again.errors, again.moves) == (0, 4, [], [])
    assert (weighed(audited).verdicts, weighed(audited).errors) == (3, 2)


def test_a_line_is_about_the_photos_that_it_names(services: Services, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255, "b.png": 255})
    old = product(services, "a")
    path = tmp_path / "answers.csv"
    path.write_text(
        "sku,image_set,prediction,verdict\n"
        f"a,{old.image_set},{old.prediction_id},confirmed\n"
        f"b,,{old.prediction_id},confirmed\n"
        f"b,{product(services, 'b').image_set},x1,confirmed\n"
        f"b,{product(services, 'b').image_set},{old.prediction_id},confirmed\n"
    )
    tagged(services, tmp_path / "in", {"a.png": 254})
    done = imported(services, path)
    told = [error.error for error in done.errors]
    assert (done.recorded, len(told)) == (0, 4)
    for text, word in zip(told, ("changed", "empty", "'x1'", "classified again"), strict=True):
        assert word in text


@pytest.mark.parametrize("number", ["9" * 4301, "9" * 20, str(1 << 63), "\u0661", "+1", "1_0"])
def test_a_number_that_no_prediction_can_have_stops_no_other_line(
    services: Services, tmp_path: Path, number: str
) -> None:
    tagged(services, tmp_path / "in", {"a.png": 255, "b.png": 255, "c.png": 255})
    path = tmp_path / "answers.csv"
    found = {sku: product(services, sku) for sku in "abc"}
    lines = [
        f"{sku},{one.image_set},{number if sku == 'b' else one.prediction_id},confirmed\n"
        for sku, one in found.items()
    ]
    path.write_text("sku,image_set,prediction,verdict\n" + "".join(lines), encoding="utf-8")
    done = imported(services, path)
    assert (done.recorded, [error.sku for error in done.errors]) == (2, ["b"])
    assert "no number of a prediction" in done.errors[0].error


def test_every_bad_line_is_told_and_its_neighbours_are_recorded(
    services: Services, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {**SURE, "e.png": 253})
    path = tmp_path / "answers.csv"
    path.write_bytes(
        b"SKU;Verdict;Category\n"
        b"a;;Dark\n"
        b"zz;confirmed;\n"
        b"b;perhaps;\n"
        b"\n"
        b"c;;Shoe\n"
        b"d;confirmed;Dark\n"
        b"e;confirmed;;;more\n"
        b"e\xff;confirmed;\n"
        b"d;;Light\n"
    )
    done = imported(services, path)
    assert done.recorded == 2
    told = {error.line: error.error for error in done.errors}
    assert sorted(told) == [3, 4, 6, 7, 8, 9]
    for line, word in ((3, "no product"), (4, "not_a_product"), (6, "it has"), (7, "corrected")):
        assert word in told[line]
    assert any("image_set" in warning for warning in done.warnings)
    assert {sku: one.category for sku, one in listed(services).items()}["a"] == "Dark"


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "nothing"), ("sku,title\n", "sku, title"), ("sku,sku,verdict\n", "twice")],
)
def test_a_file_that_cannot_hold_answers_is_refused(
    services: Services, tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(text)
    with pytest.raises(DeliveryError, match=told):
        imported(services, path)


def test_a_title_says_nothing_of_another_product(services: Services, tmp_path: Path) -> None:
    """A carriage return in a title is no row of the file, to us or to a spreadsheet."""
    folder = tmp_path / "in"
    write_folder(folder, {"a.png": 64, "b.png": 64})
    title = json.dumps("x\rwaits")
    lines = f'{{"sku": "mean", "image": "a.png", "title": {title}}}\n'
    (folder / "m.jsonl").write_text(lines + '{"sku": "waits", "image": "b.png"}\n')
    deliver(services, folder / "m.jsonl")
    services.tag_all()
    stream = io.StringIO()
    queue = reviews.queue(services.database, services.retailer_id, audit=False)
    write_queue(queue, stream, services.store.path)
    (tmp_path / "queue.csv").write_text(stream.getvalue(), newline="")
    done = imported(services, tmp_path / "queue.csv")
    assert (done.recorded, done.unanswered, done.errors) == (0, 2, [])
    assert listed(services)["waits"].status is Status.NEEDS_REVIEW
