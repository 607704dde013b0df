"""An upload that was cut off while it was received: told, taken up again, or forgotten."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging import forgetting
from tagging.catalog.opening import open_delivery
from tagging.database import models, uploads
from tagging.database.tables import Image, Upload, UploadItem, UploadState
from tagging.errors import DeliveryError, NotFoundError
from tagging.forgetting import forget_upload
from tagging.integrity import DeepCheck
from tests.integration.test_ingest_and_tag import deliver, listed, write_folder
from tests.stand_in import Services
from worker.cut_off import cut_off_text


class Died(Exception):
    """The receiving process."""


def rows(services: Services, table: type, upload_id: str) -> int:
    key = UploadItem.upload_id if table is UploadItem else Upload.id
    with services.database.read() as session:
        query = sa.select(sa.func.count()).select_from(table).where(key == upload_id)
        return session.execute(query).scalar_one()


def cut_off_now(services: Services) -> list[str]:
    with services.database.read() as session:
        return [one.upload for one in uploads.cut_off(session, now=services.clock.now())]


def receive_some(services: Services, source: Path, upload_id: str) -> None:
    """Receive three pages, and die."""
    pages = iter(range(2))

    def die(_: int) -> None:
        if next(pages, None) is None:
            raise Died

    with open_delivery(source) as delivery, pytest.raises(Died):
        services.ingest.accept_upload(
            delivery, retailer_id=services.retailer_id, upload_id=upload_id, on_rows=die
        )


@pytest.fixture
def cut_off(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Services]:
    """`dead` was cut off six lines into a folder of eight, an hour ago."""
    monkeypatch.setattr("tagging.ingest.RECEIVE_ROWS", 2)
    receive_some(
        services, write_folder(tmp_path / "in", {f"{i}.png": 255 - i for i in range(8)}), "dead"
    )
    assert rows(services, UploadItem, "dead") == 6
    services.clock.seconds += 3600
    return services


def test_it_is_told_once_it_has_been_silent(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagging.ingest.RECEIVE_ROWS", 2)
    receive_some(services, write_folder(tmp_path / "in", {f"{i}.png": i for i in range(8)}), "x")
    services.clock.seconds += 59
    assert cut_off_now(services) == []
    services.clock.seconds += 2
    assert cut_off_now(services) == ["x"]
    services.clock.seconds -= 3600  # the clock was set back
    assert cut_off_now(services) == ["x"]


def test_where_it_came_from_and_what_to_do_is_told(cut_off: Services) -> None:
    with cut_off.database.read() as session:
        (one,) = uploads.cut_off(session, now=cut_off.clock.now())
    assert (one.retailer, one.source, one.lines) == ("default", "in", 6)
    what, remedy = cut_off_text(one)
    assert "dead of default was cut off at 2026-01-01 00:00 UTC, 6 lines into in" in what
    assert "--upload dead" in remedy
    assert "atelier uploads forget dead" in remedy


def test_delivered_again_it_is_whole(cut_off: Services, tmp_path: Path) -> None:
    assert deliver(cut_off, tmp_path / "in", "dead").created == 8
    assert cut_off_now(cut_off) == []
    cut_off.tag_all()
    assert len(listed(cut_off)) == 8


def test_another_retailers_delivery_does_not_take_it_up(cut_off: Services, tmp_path: Path) -> None:
    with cut_off.database.write("test") as session:
        other = models.add_retailer(
            session, "other", model_id=cut_off.model_id, now=cut_off.clock.now()
        )
        session.commit()
    with (
        open_delivery(tmp_path / "in") as delivery,
        pytest.raises(DeliveryError, match="--retailer"),
    ):
        cut_off.ingest.accept_upload(delivery, retailer_id=other, upload_id="dead")
    assert rows(cut_off, UploadItem, "dead") == 6


@pytest.mark.parametrize("together", [1, 4, 100])
def test_forgotten_nothing_of_it_is_left_but_its_images(
    cut_off: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    deliver(cut_off, write_folder(tmp_path / "other", {"z.png": 3}), "whole")
    monkeypatch.setattr(forgetting, "LINES", together)
    assert forget_upload(cut_off.database, "dead", now=cut_off.clock.now) == 6
    assert rows(cut_off, UploadItem, "dead") == rows(cut_off, Upload, "dead") == 0
    assert rows(cut_off, UploadItem, "whole") == rows(cut_off, Upload, "whole") == 1
    with cut_off.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Image)) == 7
    found = DeepCheck(database=cut_off.database, store=cut_off.store, now=cut_off.clock.now()).run()
    assert [one.damage for one in found if one.count] == []
    with pytest.raises(NotFoundError):
        forget_upload(cut_off.database, "dead", now=cut_off.clock.now)


def test_forgetting_that_was_cut_off_is_done_again(
    cut_off: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "LINES", 2)
    whole = uploads.remove_lines
    calls = iter(range(2))

    def die(*given: object, **options: object) -> int:
        if next(calls, None) is None:
            raise Died
        return whole(*given, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "remove_lines", die)
        with pytest.raises(Died):
            forget_upload(cut_off.database, "dead", now=cut_off.clock.now)
    assert rows(cut_off, UploadItem, "dead") == 2
    with pytest.raises(DeliveryError, match="a moment ago"):
        forget_upload(cut_off.database, "dead", now=cut_off.clock.now)
    cut_off.clock.seconds += 61
    assert forget_upload(cut_off.database, "dead", now=cut_off.clock.now) == 2
    assert rows(cut_off, Upload, "dead") == 0


def test_what_is_received_now_or_was_received_is_not_forgotten(
    services: Services, tmp_path: Path
) -> None:
    source = write_folder(tmp_path / "in", {f"{i}.png": i for i in range(3)})
    refused: list[str] = []

    def forget(_: int) -> None:
        with pytest.raises(DeliveryError) as error:
            forget_upload(services.database, "live", now=services.clock.now)
        refused.append(str(error.value))

    with open_delivery(source) as delivery:
        services.ingest.accept_upload(
            delivery, retailer_id=services.retailer_id, upload_id="live", on_rows=forget
        )
    services.clock.seconds += 3600
    for state in (UploadState.FILED, UploadState.RECEIVED):
        with services.database.write("test") as session:
            session.execute(sa.update(Upload).values(state=state))
            session.commit()
        forget(0)
    assert ["being received" in text for text in refused] == [True, False, False]
    assert rows(services, UploadItem, "live") == 3


def test_a_receiver_that_wakes_up_after_it_was_forgotten_writes_nothing(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagging.ingest.RECEIVE_ROWS", 2)
    source = write_folder(tmp_path / "in", {f"{i}.png": i for i in range(8)})

    def sleep(_: int) -> None:
        services.clock.seconds += 3600
        forget_upload(services.database, "live", now=services.clock.now)

    with open_delivery(source) as delivery, pytest.raises(DeliveryError, match="forgotten"):
        services.ingest.accept_upload(
            delivery, retailer_id=services.retailer_id, upload_id="live", on_rows=sleep
        )
    assert rows(services, UploadItem, "live") == rows(services, Upload, "live") == 0


def test_who_takes_it_up_while_it_is_forgotten_has_it(
    cut_off: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "LINES", 2)
    looks = iter(range(2))

    def now() -> dt.datetime:
        if next(looks, None) is None:  # between two pages
            assert deliver(cut_off, tmp_path / "in", "dead").created == 8
        return cut_off.clock.now()

    with pytest.raises(DeliveryError):
        forget_upload(cut_off.database, "dead", now=now)
    assert rows(cut_off, UploadItem, "dead") == 8
