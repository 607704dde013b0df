"""The main job through real processes, on both kinds of installation."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from tests.processes import Place
from tests.stand_in import picture

SAMPLE = Path(__file__).parents[2] / "sample_catalog" / "products.csv"


def test_the_sample_catalogue_is_tagged_and_a_second_time_nothing_is_done(place: Place) -> None:
    first = place.run_json("tag", str(SAMPLE), "--retailer", "sample")
    assert (first["products"], first["unchanged"], first["rejected"]) == (42, 0, [])
    assert first["by_status"]["queued"] == 0
    assert first["by_status"]["failed"] == 1
    rows = place.export()
    assert len(rows) == 42
    broken = rows["AT-1042"]
    assert (broken["status"], broken["failure_code"]) == ("failed", "unreadable")
    assert broken["failure_detail"]
    assert len(rows["AT-1033"]["images"]) == 2
    for row in rows.values():
        assert (row["category"] is not None) == (row["status"] == "tagged")
        if row["status"] != "failed":
            assert row["suggestion"] == row["top_k"][0]["category"]
            assert row["confidence"] == row["top_k"][0]["confidence"]
            assert row["model"] == "fashion-mnist:2"

    again = place.run_json("tag", str(SAMPLE), "--retailer", "sample")
    assert (again["products"], again["unchanged"], again["enqueued"]) == (42, 42, 0)
    assert place.export() == rows
    assert place.scalar("SELECT count(*) FROM batches") == 1

    status = place.run_json("status", first["upload"])
    assert status["products"] == 42
    assert sum(status["by_status"].values()) == 42
    assert status["batches"]["done"] == 1


def test_ingest_waits_for_a_worker_and_sigterm_ends_it_soon(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(30):
        (folder / f"p{number}.png").write_bytes(picture(number * 8, size=(60, 80)))
    with place.started("worker", "--concurrency", "2") as worker:
        done = place.run_json("ingest", str(folder), "--wait")
        assert done["by_status"]["queued"] == 0
        assert worker.terminate() < 12
        assert worker.process is not None
        assert worker.process.returncode == 0
        assert "Traceback" not in worker.text()
    assert place.scalar("SELECT count(*) FROM leaders") == 0


def test_work_in_hand_at_sigterm_is_given_back_without_an_attempt(
    embedded: Place, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(60):
        (folder / f"p{number}.png").write_bytes(picture(number * 4, size=(300, 300)))
    embedded.environment |= {"ATELIER_STOP_S": "0", "ATELIER_BATCH_IMAGES": "60"}
    # What was given back waits for the sweeper, and that for the chair of who is gone.
    embedded.environment |= {"ATELIER_SWEEP_S": "0.5", "ATELIER_STALE_S": "4"}
    embedded.run("ingest", str(folder))
    with embedded.started("worker") as worker:
        embedded.wait_until(
            lambda: bool(embedded.scalar("SELECT count(*) FROM batches WHERE attempts > 0")),
            timeout_s=240,
            what="a batch was leased",
        )
        worker.terminate()
    row = embedded.scalar("SELECT state || attempts FROM batches")
    assert row in ("queued0", "done1")
    with embedded.started("worker"):
        embedded.wait_until(
            lambda: embedded.scalar("SELECT count(*) FROM products WHERE status = 'queued'") == 0,
            timeout_s=240,
            what="everything is tagged",
        )


def test_a_worker_that_is_killed_is_followed_by_another(embedded: Place, tmp_path: Path) -> None:
    """Without servers, `atelier worker` is its own supervisor."""
    (tmp_path / "photos").mkdir()
    for number in range(30):
        (tmp_path / "photos" / f"p{number}.png").write_bytes(picture(number * 8))
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "tag.classify").write_text("kill")
    embedded.environment |= {"ATELIER_FAILPOINTS": str(tmp_path / "orders")}
    embedded.environment |= {
        "ATELIER_BEAT_S": "0.5",
        "ATELIER_SWEEP_S": "0.5",
        "ATELIER_STALE_S": "3",
    }
    embedded.run("ingest", str(tmp_path / "photos"))
    with embedded.started("worker", "--supervise") as worker:
        embedded.wait_until(
            lambda: embedded.scalar("SELECT count(*) FROM products WHERE status = 'queued'") == 0,
            timeout_s=120,
            what="the next worker tagged everything",
        )
        assert worker.terminate() < 20
        assert worker.process is not None
        assert worker.process.returncode == 0
        said = worker.text()
    assert said.count("worker_ended") == 1
    assert said.count(" ready ") == 2
    assert said.count(" stopped") == 1  # told to stop, it is not followed by a third
    assert embedded.scalar("SELECT count(*) FROM products WHERE status = 'failed'") == 0


def test_export_as_csv_is_safe_from_formulas_and_can_be_read_back(
    embedded: Place, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture(200))
    manifest = tmp_path / "products.csv"
    manifest.write_text('sku,image,title\n1,a.png,"=HYPERLINK(""x"")"\n2,a.png,-5 % off\n')
    embedded.run("tag", str(manifest))
    text = embedded.run("products", "export", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["title"] for row in rows] == ['\'=HYPERLINK("x")', "'-5 % off"]
    assert json.loads(rows[0]["top_k"])[0]["category"]
    assert [row["title"] for row in embedded.export().values()] == ['=HYPERLINK("x")', "-5 % off"]


def test_standard_input_takes_jsonl(embedded: Place, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(200))
    lines = f'{{"sku": "S1", "image": "{tmp_path.name}/a.png"}}\nnot json\n'.encode()
    done = embedded.run_json("ingest", "-", stdin=lines)
    # Paths are relative to where the command runs, which is not the parent of tmp_path here.
    assert done["products"] == 0
    assert [(row["line"], row["code"]) for row in done["rejected"]] == [
        (1, "missing"),
        (2, "bad_row"),
    ]


def test_what_is_not_taken_in_is_listed_with_its_code(embedded: Place, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(200))
    (folder / "out.png").symlink_to("/etc/passwd")
    (folder / "more.zip").touch()
    done = embedded.run_json("ingest", str(folder))
    for kind, value, code in (
        ("rejected", "out.png", "refused_path"),
        ("skipped", "more.zip", "nested"),
    ):
        (line,) = done[kind]
        assert (line["value"], line["code"]) == (value, code)
        assert line["error"]


def test_wrong_use_is_told_from_failure(embedded: Place, tmp_path: Path) -> None:
    embedded.run("tag", expect=2)
    embedded.run("products", "list", "--min-confidence", "7", expect=2)
    embedded.run("tag", str(tmp_path / "nowhere"), expect=1)
    embedded.run("status", "no-such-upload", expect=1)
    embedded.run("products", "list", "--retailer", "nobody", expect=1)
    embedded.environment["ATELIER_BATCH_IMAGES"] = "none"
    embedded.run("status", expect=2)


def test_an_argument_that_is_no_text_is_told(place: Place) -> None:
    """As a shell of another encoding hands it over."""
    for arguments in (
        ("products", "list", "--retailer", "x\udcff"),
        ("rules", "show", "--retailer=x\udcff"),
        ("status", "x\udcff"),
    ):
        said = place.failing(*arguments, expect=2)
        assert said == "error: 'x\\udcff' is no valid text; type it in UTF-8\n"


def test_a_data_folder_that_cannot_be_is_told_and_how_to_mend_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home, cause in (("file", "Not a directory"), ("file/under", "Not a directory")):
        place = Place(home=tmp_path / home)
        said = " ".join(place.failing("status").split())
        assert f"cannot be used: {cause}. Mend that, or let --home or ATELIER_HOME name" in said
        found = {one["what"]: one for one in json.loads(place.run("check", "--json", expect=1))}
        assert found["data folder"]["found"] == f"{tmp_path / 'file'} is no folder"
    deep = Place(home=tmp_path / "not" / "yet")
    found = {one["what"]: one for one in json.loads(deep.run("check", "--json"))}
    assert found["data folder"]["ok"]


def test_settings_that_do_not_go_together_are_told_by_name(embedded: Place) -> None:
    embedded.environment |= {"ATELIER_BEAT_S": "7"}
    said = embedded.failing("check", expect=2)
    assert said.startswith("error: ATELIER_BEAT_S (7) must be at most 5, a half of ATELIER_STALE_S")


def test_a_bundle_that_was_altered_is_refused_with_a_reason_and_nothing_is_lost(
    embedded: Place, tmp_path: Path
) -> None:
    import shutil

    from worker.bootstrap import DEFAULT_BUNDLE

    bundle = tmp_path / "bundle"
    shutil.copytree(DEFAULT_BUNDLE, bundle)
    weights = bundle / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    (tmp_path / "a.png").write_bytes(picture(200))
    embedded.environment["ATELIER_MODEL_BUNDLE"] = str(bundle)
    embedded.run("tag", str(tmp_path / "a.png"), expect=1)
    assert embedded.scalar("SELECT status FROM products") == "queued"
    shutil.copytree(DEFAULT_BUNDLE, bundle, dirs_exist_ok=True)
    embedded.run("tag", str(tmp_path / "a.png"))
    assert embedded.scalar("SELECT status FROM products") != "queued"


def test_a_retailer_asks_for_a_precision_of_its_own(embedded: Place) -> None:
    embedded.run("retailers", "add", "maison")
    asked = ("retailers", "set", "maison", "--by", "Ada")
    changed = embedded.run_json(*asked, "--target", "0.98", "--accept-parent")
    assert (changed["target_precision"], changed["accept_parent"]) == (0.98, True)
    # What is not named stays.
    assert embedded.run_json(*asked, "--no-accept-parent")["target_precision"] == 0.98
    (autopilot,) = embedded.run_json("status")["autopilots"]
    assert (autopilot["target_precision"], autopilot["changed_by"]) == (0.98, "Ada")
    embedded.run(*asked, "--target", "0.9999", expect=1)
    shown = embedded.run_json("rules", "show", "--retailer", "maison")
    assert (shown["version"], shown["rules"]["target_precision"]) == (2, 0.98)


def test_check_says_what_is_wrong(embedded: Place) -> None:
    assert all(finding["ok"] for finding in embedded.run_json("check"))
    embedded.environment["ATELIER_DATABASE_URL"] = "postgresql+psycopg://x@127.0.0.1:1/x"
    findings = json.loads(embedded.run("check", "--json", expect=1))
    (wrong,) = [finding for finding in findings if not finding["ok"]]
    assert wrong["what"] == "database"
    assert "ATELIER_DATABASE_URL" in wrong["remedy"]


def test_texts_with_brackets_are_shown_and_not_obeyed(embedded: Place, tmp_path: Path) -> None:
    folder = tmp_path / "b[red]"
    folder.mkdir()
    (folder / "a[bold]\\[red].png").write_bytes(picture(200))
    embedded.run("ingest", str(folder), "--retailer", "shop [/y]")
    assert "a[bold]\\[red]" in embedded.run("products", "list")
    assert "shop [/y]" in embedded.run("status")
    assert "shop [/y]" in embedded.run("retailers", "list")
    embedded.run("ingest", str(tmp_path / "nowhere[/x]"), expect=1)


def test_standard_output_is_data_even_when_the_broker_is_away(
    embedded: Place, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture(200))
    embedded.environment["ATELIER_BROKER_URL"] = "redis://127.0.0.1:1/0"
    done = embedded.run_json("ingest", str(tmp_path / "a.png"))
    assert done["products"] == 1
    del embedded.environment["ATELIER_BROKER_URL"]
    embedded.run("tag", str(tmp_path / "a.png"))
    assert embedded.scalar("SELECT status FROM products") != "queued"
