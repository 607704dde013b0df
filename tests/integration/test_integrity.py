"""`atelier check --deep`: each kind of damage is found, and nothing else; a sound one has none."""

from __future__ import annotations

import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from tagging.answers import Answer
from tagging.catalog.opening import open_delivery
from tagging.database import schema
from tagging.database.session import Database
from tagging.database.tables import Product
from tagging.domain import Verdict
from tagging.errors import StoreAwayError
from tagging.images.store import FolderImageStore
from tagging.integrity import (
    KINDS,
    SETTLED_S,
    Damage,
    DeepCheck,
    DeepFinding,
    mend_counts,
    mend_queued_nowhere,
)
from tagging.review import record_review
from tests.servers import create_database, execute, with_name
from tests.stand_in import Services, make_services, picture


@dataclass(frozen=True, kw_only=True)
class Original:
    """A prepared installation, to be copied. `template`: its database on `server`, if any."""

    folder: Path
    server: str | None
    template: str


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def original(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Original]:
    folder = tmp_path_factory.mktemp("original") / "home"
    folder.mkdir()
    server, template = None, f"deep_{uuid.uuid4().hex[:12]}"
    if request.param == "sqlite":
        database = Database(f"sqlite:///{folder / 'atelier.db'}")
    else:
        server = request.getfixturevalue("postgresql_server")
        database = Database(create_database(server, template))
    schema.upgrade(database)
    fill(make_services(database, folder))
    database.close()
    yield Original(folder=folder, server=server, template=template)
    if server is not None:
        execute(server, f"DROP DATABASE {template} WITH (FORCE)")


@pytest.fixture
def services(original: Original, tmp_path: Path) -> Iterator[Services]:
    """A copy of it, to be damaged."""
    home = tmp_path / "home"
    shutil.copytree(original.folder, home)
    if original.server is None:
        database = Database(f"sqlite:///{home / 'atelier.db'}")
    else:
        name = f"deep_{uuid.uuid4().hex[:12]}"
        execute(original.server, f"CREATE DATABASE {name} TEMPLATE {original.template}")
        database = Database(with_name(original.server, name))
    try:
        yield make_services(database, home)
    finally:
        database.close()
        if original.server is not None:
            execute(original.server, f"DROP DATABASE {name} WITH (FORCE)")


def fill(services: Services) -> None:
    """Products in every status, of two uploads, with lines of every outcome."""
    photos = services.folder.parent / "photos"
    photos.mkdir()
    for shade in (0, 60, 128, 200, 255):
        (photos / f"{shade}.png").write_bytes(picture(shade))
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    deliver(
        services,
        photos / "one.csv",
        ("sku,image,title", "dark,0.png,Dark", "dark,128.png,", "light,255.png,Light"),
        ("unsure,60.png,", "broken,broken.png,", "gone,nowhere.png,", "person,0.png,"),
        ("person2,255.png,",),
    )
    services.tag_all()
    for sku in ("person", "person2"):
        decide(services, sku)
    deliver(
        services,
        photos / "two.csv",
        ("sku,image,title", "light,255.png,Lighter", "dark,0.png,Dark", "dark,128.png,"),
        ("person,128.png,", "waiting,200.png,", "waiting2,60.png,"),
    )
    services.bell.messages.clear()


def deliver(services: Services, manifest: Path, *lines: tuple[str, ...]) -> str:
    manifest.write_text("\n".join(line for some in lines for line in some))
    with open_delivery(manifest) as delivery:
        return services.ingest.accept_upload(
            delivery, retailer_id=services.retailer_id, upload_id=manifest.stem
        ).upload_id


def decide(services: Services, sku: str) -> None:
    with services.database.read() as session:
        product = session.execute(sa.select(Product).where(Product.sku == sku)).scalar_one()
    answer = Answer(
        retailer_id=services.retailer_id,
        sku=sku,
        verdict=Verdict.CONFIRMED,
        reviewer="ada",
        image_set=product.image_set,
        prediction_id=product.prediction_id,
    )
    record_review(services.database, answer, now=services.clock.now())


def look(services: Services, **options: int | None) -> dict[Damage, DeepFinding]:
    """What is found, by kind; only what was."""
    check = DeepCheck(
        database=services.database, store=services.store, now=services.clock.now(), **options
    )
    return {one.damage: one for one in check.run() if one.count}


def run(services: Services, *statements: str) -> None:
    """Statements as somebody would write them who knows nothing of Atelier: nothing is enforced."""
    with services.database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        if services.database.is_sqlite:
            driver.execute("PRAGMA foreign_keys=OFF")
            driver.execute("PRAGMA ignore_check_constraints=ON")
            for statement in statements:
                driver.execute(statement)
            driver.commit()
        else:
            driver.execute("SET session_replication_role = replica")
            for statement in statements:
                driver.execute(statement)
            driver.commit()
        connection.invalidate()


def an_image(services: Services) -> Path:
    with services.database.read() as session:
        sha256 = session.scalar(sa.text("SELECT min(sha256) FROM images"))
    assert sha256 is not None
    return services.store.path(sha256)


def make_old(path: Path) -> None:
    long_ago = time.time() - SETTLED_S - 60
    os.utime(path, (long_ago, long_ago))


# The healthy one


def test_a_healthy_installation_has_none(services: Services) -> None:
    with services.database.read() as session:
        by_status = dict(
            session.execute(sa.text("SELECT status, count(*) FROM products GROUP BY status")).all()
        )
        outcomes = set(session.scalars(sa.text("SELECT DISTINCT outcome FROM upload_items")))
    assert by_status == {"tagged": 1, "needs_review": 3, "reviewed": 1, "failed": 1, "queued": 2}
    assert outcomes == {"created", "changed", "updated", "unchanged", "merged", "rejected"}
    assert look(services) == {}


def test_everything_was_looked_at(services: Services) -> None:
    check = DeepCheck(database=services.database, store=services.store, now=services.clock.now())
    found = {one.damage: one.looked_at for one in check.run()}
    assert list(found) == list(Damage) == list(KINDS)
    assert found[Damage.UNLAWFUL_STATE] == 8
    assert found[Damage.LEDGER] == 14
    assert found[Damage.MISSING_IMAGE] == 6
    assert all(found.values())


def test_pages_change_nothing_of_it(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    from tagging.database import integrity, stored_images

    for name in ("products", "predictions", "image_predictions", "image_sets", "ledger_lines"):
        query = getattr(integrity, name)
        monkeypatch.setattr(
            integrity, name, lambda *a, _query=query, **k: _query(*a, **{**k, "limit": 2})
        )
    monkeypatch.setattr(integrity, "PAGE", 2)
    monkeypatch.setattr(stored_images, "PAGE", 2)
    test_everything_was_looked_at(services)
    assert look(services) == {}


def test_nothing_in_flight_is_taken_for_damage(services: Services, tmp_path: Path) -> None:
    """While deliveries come in and are tagged, one look after the other finds nothing."""
    ended = threading.Event()
    errors: list[BaseException] = []
    rounds = [0]
    photos = tmp_path / "more"
    photos.mkdir()

    def work() -> None:
        try:
            while not ended.is_set():
                for number in range(12):
                    shade = (rounds[0] * 12 + number) % 256
                    (photos / f"{number}.png").write_bytes(picture(shade, size=(12, 12 + number)))
                with open_delivery(photos) as delivery:
                    services.ingest.accept_upload(delivery, retailer_id=services.retailer_id)
                services.tag_all()
                rounds[0] += 1
        except BaseException as error:
            errors.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        looks = 0
        while (looks < 8 or rounds[0] < 4) and worker.is_alive():
            assert look(services) == {}
            looks += 1
    finally:
        ended.set()
        worker.join()
    assert errors == []


# Damage, each alone

Act = Callable[[Services], None]


def sql(*statements: str) -> Act:
    return lambda services: run(services, *statements)


def lose_image(services: Services) -> None:
    an_image(services).unlink()


def shorten_image(services: Services) -> None:
    path = an_image(services)
    path.write_bytes(path.read_bytes()[:-1])


def flip_image(services: Services) -> None:
    path = an_image(services)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def leave_half(services: Services) -> None:
    path = services.store.root / "incoming" / uuid.uuid4().hex
    path.write_bytes(b"half")
    make_old(path)


def add_orphan(services: Services) -> None:
    sha256, _ = services.store.put(b"of no row", max_bytes=100)
    make_old(services.store.path(sha256))


def add_stranger(services: Services) -> None:
    path = services.store.root / "notes.txt"
    path.write_bytes(b"what an administrator left")
    make_old(path)


def misplace(services: Services) -> None:
    """A copy in another folder than its name says."""
    path = services.store.root / "00" / "00" / an_image(services).name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"anything")
    make_old(path)


def double(table: str, columns: str) -> Act:
    """A second row, in a table that has lost its constraint, as after a restore by hand."""

    def act(services: Services) -> None:
        copy = (
            f"INSERT INTO {table} (id, {columns}) SELECT id + 1000, {columns} FROM {table} "
            f"WHERE id = (SELECT min(id) FROM {table})"
        )
        if services.database.is_sqlite:
            run(
                services,
                f"ALTER TABLE {table} RENAME TO old",
                f"CREATE TABLE {table} AS SELECT * FROM old",
                "DROP TABLE old",
                copy,
            )
        else:
            with services.database.read() as session:
                (constraint,) = session.scalars(
                    sa.text(
                        "SELECT conname FROM pg_constraint WHERE contype = 'u' AND "
                        f"conrelid = '{table}'::regclass"
                    )
                )
            run(services, f"ALTER TABLE {table} DROP CONSTRAINT {constraint}", copy)

    return act


ONE = "id = (SELECT min(id) FROM products WHERE status = '{}')"
PREDICTION = (
    "product_id, image_set, model_id, preprocessing_version, suggestion, confidence, top_k, "
    "ood_score, out_of_distribution, disagreeing, image_failures, batch_id, created_at"
)
IMAGE_PREDICTION = (
    "sha256, model_id, preprocessing_version, logits, ood_score, features, created_at"
)

DAMAGES: dict[str, tuple[Damage, Act]] = {
    "tagged without a category": (
        Damage.UNLAWFUL_STATE,
        sql(f"UPDATE products SET category = NULL WHERE {ONE.format('tagged')}"),
    ),
    "waiting for no reason": (
        Damage.UNLAWFUL_STATE,
        sql(f"UPDATE products SET review_reason = NULL WHERE {ONE.format('needs_review')}"),
    ),
    "failed without a code": (
        Damage.UNLAWFUL_STATE,
        sql(f"UPDATE products SET failure_code = NULL WHERE {ONE.format('failed')}"),
    ),
    "decided by nobody": (
        Damage.UNLAWFUL_STATE,
        sql(f"UPDATE products SET decided_by = NULL WHERE {ONE.format('reviewed')}"),
    ),
    "decided without a review": (
        Damage.UNLAWFUL_STATE,
        sql(
            "DELETE FROM reviews WHERE product_id IN "
            "(SELECT id FROM products WHERE status = 'reviewed')"
        ),
    ),
    "queued and published": (
        Damage.UNLAWFUL_STATE,
        sql(f"UPDATE products SET category = 'Dark' WHERE {ONE.format('queued')}"),
    ),
    "its batch is done": (
        Damage.QUEUED_NOWHERE,
        sql("UPDATE batches SET state = 'done' WHERE state = 'queued'"),
    ),
    "its batch lost it": (
        Damage.QUEUED_NOWHERE,
        sql(
            "DELETE FROM batch_items WHERE product_id IN "
            "(SELECT id FROM products WHERE status = 'queued')"
        ),
    ),
    "its batch is of other photos": (
        Damage.QUEUED_NOWHERE,
        sql(
            "UPDATE batch_items SET image_set = 'x' WHERE product_id IN "
            "(SELECT id FROM products WHERE status = 'queued')"
        ),
    ),
    "a prediction of another product": (
        Damage.FOREIGN_PREDICTION,
        sql(
            "UPDATE products SET prediction_id = (SELECT max(id) FROM predictions) "
            "WHERE sku = 'dark'"
        ),
    ),
    "a prediction of the same photos, of another product": (
        Damage.FOREIGN_PREDICTION,
        sql(
            "UPDATE products SET prediction_id = (SELECT prediction_id FROM products AS other "
            "WHERE other.sku = 'light') WHERE sku = 'person2'"
        ),
    ),
    "a prediction that is gone": (
        Damage.FOREIGN_PREDICTION,
        sql("UPDATE products SET prediction_id = 999999 WHERE sku = 'dark'"),
    ),
    "a prediction twice": (Damage.DOUBLED_PREDICTION, double("predictions", PREDICTION)),
    "an image prediction twice": (
        Damage.DOUBLED_IMAGE_PREDICTION,
        double("image_predictions", IMAGE_PREDICTION),
    ),
    "a product's images are forgotten": (
        Damage.UNKNOWN_IMAGES,
        sql(
            "DELETE FROM image_set_images WHERE image_set = "
            "(SELECT image_set FROM products WHERE sku = 'dark')"
        ),
    ),
    "a set in another order": (
        Damage.ALTERED_IMAGE_SET,
        sql(
            "UPDATE image_set_images SET position = position + 10 WHERE image_set = "
            "(SELECT image_set FROM products WHERE sku = 'dark')",
        ),
    ),
    "a set of another image": (
        Damage.ALTERED_IMAGE_SET,
        sql(
            "UPDATE image_set_images SET sha256 = (SELECT max(sha256) FROM images WHERE sha256 <> "
            "image_set_images.sha256) WHERE position = 1"
        ),
    ),
    "a lost image": (Damage.MISSING_IMAGE, lose_image),
    "a shortened image": (Damage.ALTERED_IMAGE, shorten_image),
    "an altered image": (Damage.ALTERED_IMAGE, flip_image),
    "a line that was never filed": (
        Damage.LEDGER,
        sql("UPDATE upload_items SET outcome = 'pending' WHERE upload_id = 'two' AND seq = 1"),
    ),
    "a line of another product": (
        Damage.LEDGER,
        sql(
            "UPDATE upload_items SET product_id = (SELECT id FROM products WHERE sku = 'dark') "
            "WHERE upload_id = 'two' AND sku = 'light'"
        ),
    ),
    "a product counted twice": (
        Damage.LEDGER,
        sql("UPDATE upload_items SET outcome = 'unchanged' WHERE outcome = 'merged'"),
    ),
    "a rejected line with a product": (
        Damage.LEDGER,
        sql(
            "UPDATE upload_items SET product_id = (SELECT min(id) FROM products) "
            "WHERE outcome = 'rejected'"
        ),
    ),
    "a filed line with the code of a rejected one": (
        Damage.LEDGER,
        sql("UPDATE upload_items SET code = 'bad_row' WHERE upload_id = 'two' AND sku = 'light'"),
    ),
    "a line that is gone": (
        Damage.LOST_LINE,
        sql("DELETE FROM upload_items WHERE upload_id = 'two' AND sku = 'light'"),
    ),
    "a product of no line": (
        Damage.NOT_IN_LEDGER,
        sql("UPDATE products SET upload_id = 'two' WHERE sku = 'dark'"),
    ),
    "a count that is wrong": (
        Damage.WRONG_COUNT,
        sql(
            "UPDATE product_counts SET products = products + 1 "
            "WHERE id = (SELECT min(id) FROM product_counts)"
        ),
    ),
    "counts that are gone": (Damage.WRONG_COUNT, sql("DELETE FROM product_counts")),
    "a cut-off upload": (
        Damage.UNFINISHED_UPLOAD,
        sql("UPDATE uploads SET state = 'receiving', beat_at = '2025-12-31' WHERE id = 'two'"),
    ),
    "a half-written file": (Damage.TEMPORARY_FILE, leave_half),
    "an image of no row": (Damage.ORPHAN, add_orphan),
    "a stranger in the store": (Damage.ORPHAN, add_stranger),
    "an image in another place": (Damage.ORPHAN, misplace),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_each_damage_is_found_and_nothing_else(services: Services, case: str) -> None:
    damage, act = DAMAGES[case]
    act(services)
    found = look(services)
    assert set(found) == {damage}
    assert len(found[damage].examples) == min(found[damage].count, 5) > 0
    assert found[damage].broken == (KINDS[damage].promise is not None)
    assert KINDS[damage].remedy


def test_every_kind_of_damage_has_a_test() -> None:
    assert {damage for damage, _ in DAMAGES.values()} == set(Damage)


def test_what_just_came_into_the_store_is_no_orphan(services: Services) -> None:
    services.store.put(b"its row is still to come", max_bytes=100)
    (services.store.root / "incoming" / "half").write_bytes(b"half")
    assert look(services) == {}


def test_a_store_that_is_away_is_not_told_as_lost_images(services: Services) -> None:
    services.store.root.rename(services.folder / "unmounted")
    services.store.root.mkdir()
    with pytest.raises(StoreAwayError):
        look(services)


def test_of_a_sample_only_so_many_are_read(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tagging import integrity

    read: list[Path] = []
    of = integrity._sha256_of
    monkeypatch.setattr(integrity, "_sha256_of", lambda path: read.append(path) or of(path))
    assert look(services, sample=2) == {}
    assert len(set(read)) == 2
    assert look(services, sample=0) == {}
    assert len(read) == 2
    # Name and size are compared of all, whatever the sample.
    shorten_image(services)
    assert set(look(services, sample=0)) == {Damage.ALTERED_IMAGE}


def test_samples_are_of_all_images(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    from tagging import integrity

    read: list[Path] = []
    of = integrity._sha256_of
    monkeypatch.setattr(integrity, "_sha256_of", lambda path: read.append(path) or of(path))
    for seed in range(30):
        look(services, sample=1, seed=seed)
    assert len(read) == 30
    assert len(set(read)) == 6


@pytest.mark.parametrize(
    "case", [case for case, (d, _) in DAMAGES.items() if d == "queued_nowhere"]
)
def test_what_is_queued_nowhere_is_mended(services: Services, case: str) -> None:
    DAMAGES[case][1](services)
    mended = mend_queued_nowhere(
        services.database, services.bell, batch_images=1, now=services.clock.now()
    )
    assert mended == 2
    assert len(services.bell.messages) == 2
    assert look(services) == {}
    services.tag_all()
    with services.database.read() as session:
        assert session.scalar(sa.text("SELECT count(*) FROM products WHERE status = 'queued'")) == 0
    again = mend_queued_nowhere(
        services.database, services.bell, batch_images=1, now=services.clock.now()
    )
    assert again == 0


@pytest.mark.parametrize("case", [case for case, (d, _) in DAMAGES.items() if d == "wrong_count"])
def test_wrong_counts_are_corrected(services: Services, case: str) -> None:
    DAMAGES[case][1](services)
    assert mend_counts(services.database) > 0
    assert look(services) == {}
    assert mend_counts(services.database) == 0


def test_a_store_is_walked_in_order_with_all_that_is_in_it(tmp_path: Path) -> None:
    store = FolderImageStore(tmp_path / "images")
    sha256s = sorted(store.put(bytes([n]) * 9, max_bytes=9)[0] for n in range(40))
    (store.root / "incoming" / "half").write_bytes(b"")
    (store.root / "lost+found").mkdir()
    (store.root / "a").mkdir()
    found = list(store.walk())
    assert [one.sha256 for one in found if one.sha256 is not None] == sha256s
    strangers = {one.path.name: one.is_temporary for one in found if one.sha256 is None}
    assert strangers == {"half": True, "a": False}
