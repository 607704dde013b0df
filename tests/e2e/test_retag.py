"""`atelier retag`, through real processes."""

from __future__ import annotations

from pathlib import Path

from tests.processes import Place
from tests.stand_in import picture


def test_a_request_is_recorded_told_worked_off_and_cancelled(
    embedded: Place, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture(200))
    embedded.run("ingest", str(tmp_path / "a.png"))
    # What is being classified anyway is not asked for twice; no worker need be started to see that.
    (nothing,) = embedded.run_json("retag", "--missing", "--by", "Eve", "--here")
    assert (nothing["complete"], nothing["queued"], nothing["in_work"]) == (True, 0, 1)
    (made,) = embedded.run_json("retag", "--sku", "a", "--retailer", "default", "--by", "Eve")
    assert (made["complete"], made["state"], made["requested_by"]) == (False, "open", "Eve")
    assert [one["id"] for one in embedded.run_json("status")["retags"]] == [made["id"]]
    (ended,) = embedded.run_json("retag", "cancel", str(made["id"]), "--by", "Bob")
    assert (ended["state"], ended["cancelled_by"]) == ("cancelled", "Bob")
    told = embedded.run_json("retag", "status")
    assert [(one["id"], one["scope"], one["complete"]) for one in told] == [
        (2, "sku", True),
        (1, "missing", True),
    ]


def test_everything_is_classified_again_and_what_is_up_to_date_is_not(
    embedded: Place, tmp_path: Path
) -> None:
    """By a running worker, with the real network; each request says what it came to."""
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"p{number}.png").write_bytes(picture(40 * number))

    def asked(*words: str) -> tuple[int, int, bool, str]:
        (told,) = embedded.run_json("retag", *words, "--by", "Eve", "--wait")
        return told["queued"], told["classified"], told["complete"], told["requested_by"]

    def batches() -> int:
        return int(embedded.scalar("SELECT count(*) FROM batches WHERE state = 'done'"))

    with embedded.started("worker"):
        embedded.run("ingest", str(tmp_path / "in"), "--wait")
        before = embedded.export()
        assert batches() == 1
        assert asked("--missing") == (0, 0, True, "Eve")
        assert batches() == 1
        assert asked("--all") == (5, 5, True, "Eve")
        assert batches() == 2
        assert asked("--model", "fashion-mnist:2", "--retailer", "default") == (5, 5, True, "Eve")
        assert batches() == 3
    said = embedded.failing("retag", "--model", "fashion-mnist:9", "--by", "Eve")
    assert "fashion-mnist:9" in said
    after = embedded.export()
    for sku, row in after.items():
        assert (row["status"], row["category"]) == (before[sku]["status"], before[sku]["category"])
    assert [one["scope"] for one in embedded.run_json("retag", "status")] == [
        "model",
        "all",
        "missing",
    ]


def test_what_makes_no_sense_is_wrong_use(embedded: Place) -> None:
    embedded.run("retag", "--all", expect=2)
    embedded.run("retag", "--all", "--missing", "--by", "Eve", expect=2)
    embedded.run("retag", "cancel", "7", "--by", "Eve", expect=1)
