"""A manifest that names images by web addresses goes in, from a real server."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tagging.catalog.opening import open_delivery
from tagging.database import products, uploads
from tagging.database.products import ProductFilter, ProductLine
from tagging.domain import FailureCode, Status
from tagging.fetch.fetcher import FetchLimits, WebFetcher
from tagging.inbox import Inbox
from tagging.ingest import BEAT, Ingest, UploadSummary
from tagging.settings import Settings
from tests.hostile_server import SHOP, Asked, Connection, HostileServer, StandInNetwork
from tests.stand_in import Services, picture
from worker.bootstrap import web_fetcher

SHADES = (0, 128, 255)


@pytest.fixture
def shop() -> Iterator[HostileServer]:
    with HostileServer() as server:
        for at, shade in enumerate(SHADES):
            server.answers[f"/{at}.png"] = answer(picture(shade))
        server.answers["/login"] = answer(b"<html>Log in</html>")
        server.answers["/large.png"] = answer(bytes(3_000_000))
        yield server


@pytest.fixture
def inside() -> Iterator[HostileServer]:
    with HostileServer() as server:
        yield server
        assert server.connections == 0


@pytest.fixture
def ingest(
    services: Services, shop: HostileServer, inside: HostileServer, tmp_path: Path
) -> Ingest:
    """One that may fetch."""
    network = StandInNetwork(
        inside=inside, routes={(SHOP, 80): shop}, names={"shop.example": [[SHOP]]}
    )
    (tmp_path / "spool").mkdir()
    fetcher = WebFetcher(
        limits=FetchLimits(max_bytes=2_000_000, wait_s=0.01),
        network=network,
        spool_dir=tmp_path / "spool",
    )
    return dataclasses.replace(services.ingest, fetcher=fetcher)


def answer(body: bytes) -> Callable[[Connection, Asked], None]:
    return lambda connection, _: connection.image(body)


def deliver(
    ingest: Ingest, services: Services, source: Path | str, stdin: BinaryIO | None = None
) -> UploadSummary:
    with open_delivery(source, stdin=stdin, fetcher=ingest.fetcher) as delivery:
        return ingest.accept_upload(delivery, retailer_id=services.retailer_id)


def listed(services: Services) -> dict[str, ProductLine]:
    return {line.sku: line for line in products.listing(services.database, ProductFilter())}


def codes(services: Services, summary: UploadSummary) -> list[FailureCode | None]:
    return [line.code for line in uploads.rejected_lines(services.database, summary.upload_id)]


def rejected(services: Services, summary: UploadSummary) -> list[tuple[int, str, str]]:
    lines = uploads.rejected_lines(services.database, summary.upload_id)
    return [(line.line, line.value, line.error) for line in lines]


def write(folder: Path, *images: str) -> Path:
    lines = [f"p{at},{image}" for at, image in enumerate(images)]
    (folder / "products.csv").write_text("\n".join(["sku,image", *lines]), encoding="utf-8")
    return folder / "products.csv"


def test_images_from_the_web_become_tagged_rows(
    services: Services, ingest: Ingest, shop: HostileServer, tmp_path: Path
) -> None:
    (tmp_path / "local.png").write_bytes(picture(255))
    images = [f"http://shop.example/{at % 3}.png" for at in range(40)]
    summary = deliver(ingest, services, write(tmp_path, *images, "local.png"))
    assert (summary.created, summary.rejected) == (41, 0)
    services.tag_all()
    found = listed(services)
    assert [found[f"p{at}"].category for at in range(3)] == ["Dark", "Middle", "Light"]
    assert {line.status for line in found.values()} == {Status.TAGGED}
    assert shop.connections == 40
    assert list((tmp_path / "spool").iterdir()) == []


def test_files_and_addresses_may_stand_in_one_cell(
    services: Services, ingest: Ingest, shop: HostileServer, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    cell = "http://shop.example/0.png|a.png|http://shop.example/0.png?v=2"
    assert deliver(ingest, services, write(tmp_path, cell)).created == 1
    assert shop.connections == 2


def jsonl(folder: Path) -> Path:
    path = folder / "products.jsonl"
    path.write_text('{"sku": "p0", "image": ["http://shop.example/1.png"]}\n', encoding="utf-8")
    return path


def archive(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "products.zip", "w") as packed:
        packed.writestr("products.csv", "sku,image\np0,http://shop.example/1.png\n")
    return folder / "products.zip"


@pytest.mark.parametrize("make", [jsonl, archive])
def test_every_kind_of_manifest_may_name_them(
    services: Services, ingest: Ingest, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    assert deliver(ingest, services, make(tmp_path)).created == 1


def test_so_may_standard_input(services: Services, ingest: Ingest) -> None:
    line = json.dumps({"sku": "p0", "image": "http://shop.example/1.png"}).encode()
    assert deliver(ingest, services, "-", stdin=io.BytesIO(line)).created == 1


def test_where_it_is_off_such_rows_are_rejected_and_nothing_is_asked(
    services: Services, shop: HostileServer, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    source = write(
        tmp_path, "a.png", "http://shop.example/0.png?sig=SECRET", "https://me:SECRET@shop.example"
    )
    summary = deliver(services.ingest, services, source)
    assert (summary.created, summary.rejected) == (1, 2)
    lines = rejected(services, summary)
    assert [(line, value) for line, value, _ in lines] == [
        (3, "http://shop.example/0.png?…"),
        (4, "https://…@shop.example"),
    ]
    assert all("ATELIER_ALLOW_URLS" in error for _, _, error in lines)
    assert codes(services, summary) == [FailureCode.URLS_OFF] * 2
    assert "SECRET" not in str(lines)
    assert shop.connections == 0


def test_a_row_that_fails_says_why_and_its_neighbours_go_on(
    services: Services, ingest: Ingest, tmp_path: Path
) -> None:
    bad = {
        "http://shop.example/none.png?sig=SECRET": "answered with 404",
        "http://shop.example/login?sig=SECRET": "an HTML page",
        "http://shop.example/large.png?sig=SECRET": "more than the 2,000,000 bytes allowed",
        "http://169.254.169.254/latest/meta-data?SECRET": "no public address",
        "http://nowhere.example/a.png?SECRET": "no public address",
        "http://me:SECRET@shop.example/0.png": "user or password",
        "http://shop.example:6379/0.png?SECRET": "port 6379",
        "http://shop.example/0.png|http://shop.example/none.png": "answered with 404",
    }
    have = {
        "answered with 404": FailureCode.FETCH_FAILED,
        "an HTML page": FailureCode.UNSUPPORTED_FORMAT,
        "more than the 2,000,000 bytes allowed": FailureCode.TOO_LARGE,
    }
    images = [image for address in bad for image in ("http://shop.example/0.png", address)]
    summary = deliver(ingest, services, write(tmp_path, *images))
    assert (summary.created, summary.rejected) == (len(bad), len(bad))
    assert codes(services, summary) == [
        have.get(why, FailureCode.REFUSED_PATH) for why in bad.values()
    ]
    lines = rejected(services, summary)
    assert [line for line, _, _ in lines] == [3 + 2 * at for at in range(len(bad))]
    for (_, value, error), why in zip(lines, bad.values(), strict=True):
        assert why in error
        assert not error.startswith("cannot be read")  # what is said of files
        assert value.startswith("http://")
    assert "SECRET" not in str(lines)
    assert len(listed(services)) == len(bad)


def test_a_row_that_cannot_be_read_shows_no_secret(
    services: Services, ingest: Ingest, tmp_path: Path
) -> None:
    source = write(tmp_path, "http://me:SECRET@shop.example/0.png?sig=SECRET,one cell too many")
    summary = deliver(ingest, services, source)
    assert rejected(services, summary)[0][1].startswith("p0,http://…@shop.example/0.png?…")


def test_delivered_again_all_are_fetched_again(
    services: Services, ingest: Ingest, shop: HostileServer, tmp_path: Path
) -> None:
    source = write(tmp_path, "http://shop.example/0.png", "http://shop.example/1.png")
    assert deliver(ingest, services, source).created == 2
    services.tag_all()
    again = deliver(ingest, services, source)
    assert (again.unchanged, again.changed, shop.connections) == (2, 0, 4)
    shop.answers["/0.png"] = answer(picture(255))
    third = deliver(ingest, services, source)
    assert (third.unchanged, third.changed) == (1, 1)
    services.tag_all()
    assert listed(services)["p0"].category == "Light"


def test_an_upload_that_waits_for_an_image_shows_that_it_comes_in(
    services: Services, ingest: Ingest
) -> None:
    upload_id = "20260101-000000-abcdef"
    with services.database.write("upload.begin") as session:
        uploads.begin(
            session,
            upload_id=upload_id,
            retailer_id=services.retailer_id,
            source="x",
            kind="manifest",
            receiver="me",
            now=services.clock.now(),
        )
        session.commit()
    beat = ingest._beat(upload_id, "me")
    for seconds in (1.0, 5.0, BEAT.total_seconds(), 1.0):
        services.clock.seconds += seconds
        beat()
    with services.database.read() as session:
        shown = uploads.get(session, upload_id).beat_at
    assert (shown - services.clock.now()).total_seconds() == -1.0


def test_a_drop_folder_takes_them(
    services: Services, ingest: Ingest, shop: HostileServer, tmp_path: Path
) -> None:
    root = tmp_path / "inbox"
    root.mkdir()
    clock = services.clock
    inbox = Inbox(
        root=root,
        ingest=ingest,
        retailer_id=services.retailer_id,
        settle_s=1.0,
        monotonic=clock.monotonic,
    )
    inbox.prepare()
    write(root, "http://shop.example/0.png", "http://shop.example/1.png")
    assert list(inbox.step()) == []
    clock.seconds += 2.0
    (report,) = inbox.step()
    inbox.close()
    assert (report["outcome"], report["created"], report["rejected"]) == ("done", 2, [])
    assert shop.connections == 2  # looking what the manifest names fetches nothing


def test_it_is_off_unless_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert web_fetcher(Settings(home=tmp_path)) is None
    monkeypatch.setenv("ATELIER_ALLOW_URLS", "true")
    monkeypatch.setenv("ATELIER_URL_SECONDS", "12")
    monkeypatch.setenv("ATELIER_IMAGE_MAX_BYTES", "1000")
    fetcher = web_fetcher(Settings(home=tmp_path))
    assert fetcher is not None
    assert (fetcher.limits.total_s, fetcher.limits.max_bytes) == (12.0, 1000)
