"""Stuck is dead: whatever hangs, the worker ends with its stacks, another goes on, nothing is lost.

With the real network, and the supervisor that the embedded default has.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.processes import Place
from tests.stand_in import picture


@pytest.fixture
def hasty(embedded: Place, tmp_path: Path) -> Place:
    """An installation that loses its patience sooner, and obeys orders to fail."""
    (tmp_path / "orders").mkdir()
    embedded.environment |= {
        "ATELIER_FAILPOINTS": str(tmp_path / "orders"),
        "ATELIER_STUCK_S": "12",
        "ATELIER_STALE_S": "4",
        "ATELIER_BEAT_S": "0.5",
        "ATELIER_SWEEP_S": "0.5",
        "ATELIER_LOAD_S": "90",
        "ATELIER_CLASSIFY_SHAPES": "[16]",
        "ATELIER_DECODERS": "1",
        "ATELIER_CONCURRENCY": "1",  # so that no other thread can do what one hangs in
    }
    return embedded


def photos(folder: Path, count: int = 12) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.png").write_bytes(picture(20 * number))
    return folder


def tagged(place: Place, folder: Path) -> tuple[dict[str, int], str]:
    """What `atelier tag` came to, and what its worker said."""
    found = place.run_json("tag", str(folder))
    return found["by_status"], (place.home / "worker.log").read_text(errors="replace")


@pytest.mark.parametrize("where", ["tag.classify", "batch.write.commit"])
def test_work_that_hangs_ends_the_worker_and_is_done_by_the_next(
    hasty: Place, tmp_path: Path, where: str
) -> None:
    (tmp_path / "orders" / where).write_text("hang")
    counts, said = tagged(hasty, photos(tmp_path / "in"))
    assert counts["failed"] == counts["queued"] == 0
    assert sum(counts.values()) == 12
    assert "stuck" in said
    assert "most recent call first" in said
    assert said.count(" ready ") >= 2
    assert hasty.scalar("SELECT count(*) FROM predictions") == 12


def test_a_model_that_never_loads_ends_the_worker(hasty: Place, tmp_path: Path) -> None:
    (tmp_path / "orders" / "model.load").write_text("hang")
    hasty.environment["ATELIER_LOAD_S"] = "40"
    counts, said = tagged(hasty, photos(tmp_path / "in"))
    assert counts["failed"] == counts["queued"] == 0
    assert " stuck " in said
    assert " in preload" in said  # the stacks
    assert said.count(" ready ") == 1


def test_a_sweeper_that_hangs_ends_the_worker(hasty: Place, tmp_path: Path) -> None:
    """It holds SQLite's only write lock meanwhile, so nothing else could go on."""
    hasty.environment["ATELIER_SWEEP_S"] = "0.02"  # before any message can come
    (tmp_path / "orders" / "sweep.take_chair.commit").write_text("hang")
    counts, said = tagged(hasty, photos(tmp_path / "in"))
    assert counts["failed"] == counts["queued"] == 0
    assert sum(counts.values()) == 12
    assert "stuck" in said
    assert said.count(" ready ") >= 2


def test_a_decoder_that_hangs_costs_its_picture(hasty: Place, tmp_path: Path) -> None:
    """The pool is faster than the watchdog: the child is ended, the worker is not."""
    hasty.environment |= {"ATELIER_IMAGE_MAX_SECONDS": "1", "ATELIER_STUCK_S": "34"}
    folder = photos(tmp_path / "in")
    bad = hashlib.sha256((folder / "3.png").read_bytes()).hexdigest()
    (tmp_path / "orders" / "decoder.image").write_text(f"hang key={bad} always")
    counts, said = tagged(hasty, folder)
    rows = hasty.export()
    assert counts["failed"] == 1
    assert rows["3"]["failure_code"] == "decode_timeout"
    assert all(rows[sku]["status"] != "failed" for sku in rows if sku != "3")
    assert said.count(" ready ") == 1
