"""An image store that stalls or gives errors: no product fails of it, no other waits for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging import failpoints
from tagging.catalog.opening import open_delivery
from tagging.database import backlog, retags
from tagging.database.products import ProductFilter, ProductLine, listing
from tagging.database.session import Database
from tagging.database.tables import Batch, BatchItem, BatchState, RetagScope
from tagging.domain import Status
from tagging.errors import StoreAwayError
from tagging.images import decoder_process
from tagging.images.decoders import Decoded, DecodeRequest, DecoderPool
from tagging.images.rejection import ImageLimits
from tagging.model_card import InputSpec
from tagging.retag import Asked
from tagging.tag import Decoders
from tagging.web.previews import Previews
from tests.faults.promises import ledger
from tests.integration.test_retag import put_in_charge
from tests.stand_in import InlineDecoders, Services, make_services, picture


class HalfRead(Decoders):
    """Decodes in this process, but for what the disk does not give."""

    def __init__(self) -> None:
        self.unread: set[str] = set()
        self._inner = InlineDecoders()

    def decode(
        self,
        items: Sequence[DecodeRequest],
        spec: InputSpec,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Decoded]:
        given = [item for item in items if item.sha256 not in self.unread]
        answers = {one.sha256: one for one in self._inner.decode(given, spec, on_progress)}
        for item in items:
            if item.sha256 in self.unread:
                said = f"{item.path}: Input/output error"
                answers[item.sha256] = Decoded(sha256=item.sha256, unread=said)
        return [answers[item.sha256] for item in items]


def sha256(shade: int) -> str:
    return hashlib.sha256(picture(shade)).hexdigest()


@pytest.fixture
def disk(services: Services, tmp_path: Path) -> HalfRead:
    """Three products in one batch, `two` with a dark and a light photo; nothing is unread yet."""
    folder = tmp_path / "in"
    folder.mkdir()
    for shade in (0, 5, 128, 255):
        (folder / f"{shade}.png").write_bytes(picture(shade))
    (folder / "list.csv").write_text(
        "sku,image\none,0.png\ntwo,5.png\ntwo,255.png\nthree,128.png\n", encoding="utf-8"
    )
    with open_delivery(folder / "list.csv") as delivery:
        services.ingest.accept_upload(delivery, retailer_id=services.retailer_id, upload_id="u")
    decoders = HalfRead()
    services.tagger = replace(services.tagger, decoders=decoders)
    return decoders


def listed(services: Services) -> dict[str, ProductLine]:
    return {line.sku: line for line in listing(services.database, ProductFilter())}


def statuses(services: Services) -> dict[str, Status]:
    return {sku: line.status for sku, line in listed(services).items()}


def batches_of(services: Services) -> list[Batch]:
    """All there are, each with the products that it counts, and a ledger that adds up."""
    with services.database.read() as session:
        found = list(session.scalars(sa.select(Batch).order_by(Batch.id)))
        for batch in found:
            items = sa.select(sa.func.count()).where(BatchItem.batch_id == batch.id)
            assert session.scalar(items) == batch.products
        assert list(ledger(session)) == []
    return found


def test_what_cannot_be_read_waits_and_the_others_do_not(
    services: Services, disk: HalfRead
) -> None:
    """Not judged by the photo that can be read either: nobody would know of the other."""
    disk.unread = {sha256(255)}
    services.tag_all()
    assert services.reports[-1].left == 1
    assert statuses(services) == {
        "one": Status.TAGGED,
        "two": Status.QUEUED,
        "three": Status.TAGGED,
    }
    done, rest = batches_of(services)
    assert (done.state, done.products, done.images) == (BatchState.DONE, 2, 2)
    assert (rest.state, rest.products, rest.images) == (BatchState.QUEUED, 1, 2)
    assert (rest.upload_id, rest.attempts, rest.crashes) == ("u", 0, 0)
    assert "Input/output error" in str(rest.last_error)
    with services.database.read() as session:
        assert backlog.last_errors(session, "u") == [rest.last_error]
        assert not backlog.goes_on(session, upload_id="u")


def test_it_is_tried_again_in_its_time_and_never_fails(services: Services, disk: HalfRead) -> None:
    disk.unread = {sha256(255)}
    services.tag_all()
    services.sweeper.step()
    assert services.bell.messages == []
    for _ in range(5):
        for _ in range(8):
            services.clock.seconds += 4
            services.sweeper.step()
        assert len(set(services.bell.messages)) == 1
        del services.bell.messages[1:]
        with pytest.raises(StoreAwayError, match="Input/output error"):
            services.tag_all()
    _, rest = batches_of(services)
    assert (rest.state, rest.attempts, rest.crashes) == (BatchState.QUEUED, 0, 0)
    disk.unread = set()
    services.clock.seconds += 15
    services.bell.announce([rest.id])
    services.tag_all()
    assert set(statuses(services).values()) <= {Status.TAGGED, Status.NEEDS_REVIEW}
    assert services.reports[-1].left == 0
    assert [batch.state for batch in batches_of(services)] == [BatchState.DONE] * 2


def test_a_store_that_gives_nothing_gives_the_batch_back(
    services: Services, disk: HalfRead
) -> None:
    disk.unread = {sha256(shade) for shade in (0, 5, 128, 255)}
    with pytest.raises(StoreAwayError, match=r"cannot be read .*and 3 more"):
        services.tag_all()
    (batch,) = batches_of(services)
    assert (batch.state, batch.products, batch.attempts) == (BatchState.QUEUED, 3, 0)
    assert set(statuses(services).values()) == {Status.QUEUED}


def test_while_others_of_an_upload_go_on_it_is_not_stuck(
    services: Services, disk: HalfRead, tmp_path: Path
) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    for shade in range(60, 66):
        (folder / f"{shade}.png").write_bytes(picture(shade))
    with open_delivery(folder) as delivery:
        services.ingest.accept_upload(delivery, retailer_id=services.retailer_id, upload_id="v")
    first, second = services.bell.messages[1:]
    disk.unread = {sha256(60)}
    services.bell.messages = [first]
    services.tag_all()
    with services.database.read() as session:
        assert len(backlog.last_errors(session, "v")) == 1
        assert backlog.goes_on(session, upload_id="v")
    services.bell.messages = [second]
    services.tag_all()
    with services.database.read() as session:
        assert not backlog.goes_on(session, upload_id="v")


def test_what_a_retag_cannot_read_stays_the_retags(services: Services, disk: HalfRead) -> None:
    services.tag_all()
    before = statuses(services)
    put_in_charge(services)
    (made,) = services.retagging.request(Asked(scope=RetagScope.ALL), ["default"], by="Eve")
    services.retagging.step(most_s=1.0)
    disk.unread = {sha256(255)}
    services.tag_all()
    assert statuses(services) == before
    rest = batches_of(services)[-1]
    with services.database.read() as session:
        (line,) = retags.lines(session, [made])
        assert (line.classified, line.complete) == (2, False)
        assert backlog.retag_errors(session, [made]) == [rest.last_error]
        assert not backlog.goes_on(session, retag_ids=[made])
    disk.unread = set()
    services.clock.seconds += 15
    services.bell.announce([rest.id])
    services.tag_all()
    with services.database.read() as session:
        (line,) = retags.lines(session, [made])
    assert (line.classified, line.complete) == (3, True)
    assert {line.model for line in listed(services).values()} == {"shades:2"}


def test_a_photo_that_cannot_be_read_now_is_not_shown_as_lost(
    services: Services, disk: HalfRead, tmp_path: Path
) -> None:
    previews = Previews(store=services.store, decoders=disk, folder=tmp_path / "previews")
    disk.unread = {sha256(255)}
    with pytest.raises(StoreAwayError, match="Input/output error"):
        previews.make(sha256(255), "thumb")
    disk.unread = set()
    assert previews.make(sha256(255), "thumb").startswith(b"RIFF")


HASTY = ImageLimits(max_seconds=0.1)


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where children look for orders to fail. A few seconds are enough to see that one hangs."""
    monkeypatch.setattr(decoder_process, "_GRACE_SECONDS", 1.0)
    folder = tmp_path / "orders"
    folder.mkdir()
    failpoints.switch_on(folder)
    yield folder
    failpoints.switch_on(None)


def test_a_store_that_stalls_fails_no_product_and_work_flows_when_it_is_back(
    sqlite: Database, tmp_path: Path, orders: Path
) -> None:
    services = make_services(sqlite, tmp_path)
    (tmp_path / "in").mkdir()
    for shade in range(4):
        (tmp_path / "in" / f"{shade}.png").write_bytes(picture(shade))
    with open_delivery(tmp_path / "in") as delivery:
        services.ingest.accept_upload(delivery, retailer_id=services.retailer_id)
    (orders / "decoder.read").write_text("hang always")
    with DecoderPool(1, HASTY) as pool:
        services.tagger = replace(services.tagger, decoders=pool)
        with pytest.raises(StoreAwayError, match="does not answer"):
            services.tag_all()
        assert set(statuses(services).values()) == {Status.QUEUED}
        (batch,) = batches_of(services)
        assert (batch.state, batch.attempts, batch.crashes) == (BatchState.QUEUED, 0, 0)
        (orders / "decoder.read").unlink()
        services.clock.seconds += 60
        services.bell.announce([batch.id])
        services.tag_all()
        assert len(pool.process_ids) == 1
    assert set(statuses(services).values()) == {Status.TAGGED}
