"""Uploads that were cut off while they were received, through real processes."""

from __future__ import annotations

import signal
from pathlib import Path

import sqlalchemy as sa

from tagging.database.session import Database
from tests.processes import Place
from tests.stand_in import picture


def test_it_is_told_and_taken_up_again_or_forgotten(embedded: Place, tmp_path: Path) -> None:
    orders, photos = tmp_path / "orders", tmp_path / "photos"
    for folder in (orders, photos):
        folder.mkdir()
    for number in range(3):
        (photos / f"{number}.png").write_bytes(picture(number))
    (orders / "upload.receive.committed").write_text("kill")
    dying = Place(home=embedded.home, environment={"ATELIER_FAILPOINTS": str(orders)})
    dying.run("ingest", str(photos), expect=-signal.SIGKILL)
    upload = embedded.scalar("SELECT id FROM uploads")
    _a_day_passes(embedded)

    told = embedded.run_json("status")["cut_off"]
    assert [(one["upload"], one["retailer"], one["source"], one["lines"]) for one in told] == [
        (upload, "default", "photos", 3),
        ("unwanted", "default", "photos", 1),
    ]
    (found,) = [one for one in embedded.run_json("check") if one["what"] == "uploads"]
    assert found["ok"]
    assert f"--upload {upload}" in found["remedy"]
    taken = embedded.run_json("ingest", str(photos), "--upload", upload)
    assert (taken["upload"], taken["created"]) == (upload, 3)
    gone = embedded.run_json("uploads", "forget", "unwanted")
    assert gone == {"upload": "unwanted", "lines": 1}
    assert embedded.scalar("SELECT count(*) FROM uploads WHERE state <> 'filed'") == 0
    assert embedded.scalar("SELECT count(*) FROM upload_items") == 3


def _a_day_passes(place: Place) -> None:
    """Since the upload was cut off, and another, `unwanted`, that nobody delivers again."""
    database = Database(place.database_url)
    with database.write("test") as session:
        for statement in (
            "UPDATE uploads SET beat_at = '2025-12-31 10:00:00'",
            "CREATE TEMPORARY TABLE one AS SELECT * FROM uploads",
            "CREATE TEMPORARY TABLE line AS SELECT * FROM upload_items WHERE seq = 1",
            "UPDATE one SET id = 'unwanted'",
            "UPDATE line SET upload_id = 'unwanted'",
            "INSERT INTO uploads SELECT * FROM one",
            "INSERT INTO upload_items SELECT * FROM line",
        ):
            session.execute(sa.text(statement))
        session.commit()
    database.close()
