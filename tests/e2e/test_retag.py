"""`atelier retag`, through real processes."""

from __future__ import annotations

from pathlib import Path

from tests.processes import Place
from tests.stand_in import picture


def test_a_request_is_recorded_told_and_worked_off(embedded: Place, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(200))
    embedded.run("tag", str(tmp_path / "a.png"))
    before = embedded.export()["a"]
    (nothing,) = embedded.run_json("retag", "--missing", "--by", "Eve", "--here")
    assert (nothing["complete"], nothing["queued"], nothing["not_asked"]) == (True, 0, 1)
    (made,) = embedded.run_json("retag", "--sku", "a", "--retailer", "default", "--by", "Eve")
    assert (made["complete"], made["state"], made["requested_by"]) == (False, "open", "Eve")
    assert embedded.run_json("status")["retags"][0]["id"] == made["id"]
    # No worker runs: what another command asks for, this one works off, too.
    (done,) = embedded.run_json("retag", "--all", "--by", "Eve", "--here")
    assert (done["complete"], done["classified"]) == (True, 1)
    told = embedded.run_json("retag", "status")
    assert [(one["id"], one["scope"], one["complete"]) for one in told] == [
        (3, "all", True),
        (2, "sku", True),
        (1, "missing", True),
    ]
    assert embedded.export()["a"] == before
    (late,) = embedded.run_json("retag", "cancel", "2", "--by", "Bob")
    assert (late["state"], late["cancelled_by"]) == ("done", None)


def test_what_makes_no_sense_is_wrong_use(embedded: Place) -> None:
    embedded.run("retag", "--all", expect=2)
    embedded.run("retag", "--by", "Eve", expect=2)
    embedded.run("retag", "--all", "--missing", "--by", "Eve", expect=2)
    embedded.run("retag", "--all", "status", expect=2)
    embedded.run("retag", "cancel", "7", "--by", "Eve", expect=1)
