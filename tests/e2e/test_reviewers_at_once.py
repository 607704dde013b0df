"""Several people review through a real server while a catalogue is delivered and tagged.

    make review-load

does the same with twenty people, a real worker and two minutes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tagging.database import schema
from tagging.database.session import Database
from tests.integration.test_ingest_and_tag import deliver, write_folder
from tests.processes import Place
from tests.reviewers import wait_for_server
from tests.reviewing import Habits, judge, review_at_once
from tests.servers import free_port
from tests.stand_in import make_services
from worker.bootstrap import utc_now

PEOPLE = ("Ann", "Bob", "Cleo", "Dan")
SECONDS = 5.0
PORTION = 24
SHADES = (*range(56, 74), 255, 0, 128, 254, 1, 129)
"""Pictures of a portion: the stand-in model is unsure of most."""


@pytest.mark.timeout(120)
def test_nothing_is_lost_doubled_or_shown_to_two(place: Place, tmp_path: Path) -> None:
    database = Database(place.database_url)
    place.home.mkdir(exist_ok=True)
    schema.upgrade(database)
    services = make_services(database, place.home)
    services.tagger = dataclasses.replace(services.tagger, audit_share=1.0, now=utc_now)

    def delivered(portion: int) -> int:
        """Each portion is one of new products, and a few of the one before with other photos."""
        shades = {f"{portion}-{number}.png": SHADES[number] for number in range(PORTION)}
        if portion:
            shades |= {f"{portion - 1}-{number}.png": 75 + number for number in range(4)}
        deliver(services, write_folder(tmp_path / f"portion-{portion}", shades))
        services.tag_all()
        return len(shades)

    first = sum(delivered(portion) for portion in range(3))
    url = f"http://127.0.0.1:{(port := free_port())}"
    with place.started("web", "--port", str(port)):
        wait_for_server(url)
        account = review_at_once(
            url,
            database,
            PEOPLE,
            seconds=SECONDS,
            deliver=lambda portion: delivered(portion + 3),
            habits=Habits(pause_s=0.05, grid_pause_s=0.5, undone=0.2, answer_lost=0.2, late=0.1),
        )
    account.delivered += first
    broken = judge(database, account)
    database.close()
    assert broken == []
    assert account.did["verdicts"] > 0
    assert account.did["answers lost"] > 0
