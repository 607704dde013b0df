"""A model's row that another version wrote: commands say so, and none gives up over it."""

from __future__ import annotations

from pathlib import Path

from tagging.settings import Settings
from tests.integration.test_preload import in_charge, make_foreign
from tests.processes import Place
from worker.bootstrap import open_runtime


def test_commands_pass_over_a_model_that_this_version_cannot_read(embedded: Place) -> None:
    with open_runtime(Settings(home=embedded.home)) as runtime:
        shipped = runtime.default_model()
        in_charge(runtime, "1")
        make_foreign(runtime, "1")
    assert "shades:1 (of r1)" in embedded.run("check", expect=1)
    assert embedded.run_json("status")["autopilots"] == []
    known = {line["model"]: line for line in embedded.run_json("models", "list")}
    assert "another version of Atelier" in known["shades:1"]["error"]
    sound = next(name for name, line in known.items() if line["error"] is None)
    # What its error says can be done.
    embedded.environment["ATELIER_MODEL_BUNDLE"] = str(Path("/nowhere"))
    assert embedded.run_json("retailers", "add", "r1", "--model", sound)["model"] == sound
    assert embedded.scalar("SELECT model_id FROM models_in_charge") == shipped
