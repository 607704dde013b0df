"""People's verdicts through real processes: a file out, a file back, and the autopilot's switch."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagging.database.session import Database
from tests.integration.test_ingest_and_tag import deliver, write_folder
from tests.processes import Place
from tests.stand_in import Services, make_services


@pytest.fixture
def worked(place: Place, tmp_path: Path) -> Iterator[Services]:
    """What a stand-in worker tagged in `place`: ten accepted products, all audited; two wait."""
    place.run("db", "upgrade")
    database = Database(place.database_url)
    services = make_services(database, place.home)
    services.tagger = dataclasses.replace(services.tagger, audit_share=1.0)
    sure = {f"p{i}.png": 255 - i for i in range(10)}
    deliver(services, write_folder(tmp_path / "in", {**sure, "w1.png": 64, "w2.png": 190}))
    services.tag_all()
    yield services
    database.close()


def audit_rows(place: Place) -> list[dict[str, str]]:
    text = place.run("review", "list", "--audit", "--csv")
    return list(csv.DictReader(io.StringIO(text)))


def write(path: Path, rows: list[dict[str, str]]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def test_wrong_tags_switch_the_autopilot_off_and_a_person_turns_it_on(
    place: Place, worked: Services, tmp_path: Path
) -> None:
    (before,) = place.run_json("status")["autopilots"]
    assert (before["autopilot"], before["rate_of"]) == ("provisional", "the bundle's own hold-out")
    assert (before["audit"]["waiting"], before["error_upper"]) == (10, 0.009)
    text = place.run("status")
    assert "hold-out" in text
    assert "357 more verdicts without an error certify it" in text

    rows = audit_rows(place)
    assert {row["sku"] for row in rows} == {f"p{i}" for i in range(10)}
    assert all(Path(row["image"]).is_file() for row in rows)
    for row in rows:
        wrong = row["sku"] in ("p0", "p1")
        row["verdict"], row["category"] = ("corrected", "Dark") if wrong else ("confirmed", "")
    path = write(tmp_path / "answers.csv", rows)
    done = place.run_json("review", "import", path, "--by", "Ann")
    assert (done["recorded"], done["errors"], done["unanswered"]) == (10, [], 0)
    assert [move["state"] for move in done["autopilot"]] == ["off"]
    assert "10 recorded before" in place.run("review", "import", path, "--by", "Ann")

    (off,) = place.run_json("status")["autopilots"]
    assert (off["autopilot"], off["rate_of"], off["error_upper"]) == ("off", None, None)
    assert (off["audit"]["verdicts"], off["audit"]["errors"]) == (10, 2)
    assert off["reason"].startswith("2 wrong of 2 audited")
    deliver(worked, write_folder(tmp_path / "more", {"late.png": 255}))
    worked.tag_all()
    late = place.export()["late"]
    assert (late["status"], late["review_reason"]) == ("needs_review", "autopilot_off")

    on = place.run_json("autopilot", "on", "default", "--by", "Eve")
    assert (on["autopilot"], on["changed_by"], on["audit"]["verdicts"]) == ("provisional", "Eve", 0)
    assert "autopilot off" in place.run("autopilot", "off", "default", "--by", "Eve")


def test_what_waits_is_listed_and_a_bad_line_is_told(
    place: Place, worked: Services, tmp_path: Path
) -> None:
    assert worked.reports
    listed = place.run("review", "list")
    assert "w1" in listed
    assert "p1" not in listed
    assert [row["sku"] for row in place.run_json("review", "list")] == ["w1", "w2"]
    out = tmp_path / "queue.csv"
    place.run("review", "list", "--csv", "-o", str(out))
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["reason"] for row in rows] == ["low_confidence", "low_confidence"]
    answers = [row | {"category": "Light"} for row in rows]
    answers.append(rows[0] | {"sku": "nobody", "verdict": "confirmed"})
    done = place.run_json("review", "import", write(tmp_path / "a.csv", answers), "--by", "Ann")
    assert done["recorded"] == 2
    (error,) = done["errors"]
    assert (error["line"], error["sku"]) == (4, "nobody")
    assert place.run_json("review", "list") == []


def test_wrong_use_is_told(place: Place, worked: Services, tmp_path: Path) -> None:
    assert worked.reports
    place.run("autopilot", "on", "default", expect=2)  # who decides must be said
    place.run("autopilot", "off", "nobody", "--by", "Eve", expect=1)
    place.run("review", "list", "--retailer", "nobody", expect=1)
    place.run("review", "list", "-o", str(tmp_path / "x"), expect=2)
    place.run("review", "import", str(tmp_path / "nowhere.csv"), "--by", "Ann", expect=1)
    place.environment["ATELIER_AUDIT_SHARE"] = "2"
    place.run("status", expect=2)


def test_a_model_shows_what_it_may_accept_for_whom(place: Place, worked: Services) -> None:
    assert worked.reports
    shown = place.run("models", "show", "shades:1")
    assert "default: autopilot provisional" in shown
    assert "10 wait for a person" in shown
    (standing,) = place.run_json("models", "show", "shades")["autopilots"]
    assert (standing["retailer"], standing["audit"]["waiting"]) == ("default", 10)
