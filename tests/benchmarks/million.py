"""A catalogue of a million products in PostgreSQL, with photos that exist when they are asked for.

Rows are written in bulk, as a worker and people would have left them, for a delivery of a million
photos takes hours: 15 % wait; 10 % were decided on; of the accepted ones 5 % are audited, and the
older half of those was decided on, as the audit sample comes in the order of delivery. Each product
has one photo of its own: a few hundred JPEGs of 800x1000 pixels are drawn, and the photo of a
product is one of them with the product's number behind its end, so that every photo has bytes, a
sha256 and, in browsers, an address of its own. Files are put into the store for those products only
that will be shown.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psycopg
import sqlalchemy as sa
from PIL import Image, ImageOps

from tagging.database import counts, models
from tagging.database.session import Database
from tagging.filing import image_set_of
from tagging.images.model_input import PREPROCESSING_VERSION
from tagging.images.store import FolderImageStore
from tagging.model_card import read_card
from worker.bootstrap import DEFAULT_BUNDLE, utc_now

SHOP_SIZE: Final = (800, 1000)
DRAWN: Final = 300
BATCH: Final = 256
SAMPLE: Final = Path(__file__).parents[2] / "sample_catalog" / "images"


def draw(count: int = DRAWN, *, seed: int = 5, size: tuple[int, int] = SHOP_SIZE) -> list[bytes]:
    """JPEGs of this width and height: the sample catalogue's drawings, turned and tinted."""
    rng = np.random.default_rng(seed)
    # One file is broken on purpose.
    sources = [path for path in sorted(SAMPLE.iterdir()) if path.stem != "AT-1042"]
    made = []
    for number in range(count):
        with Image.open(sources[number % len(sources)]) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        if rng.random() < 0.5:
            picture = ImageOps.mirror(picture)
        picture = picture.rotate(float(rng.uniform(-8, 8)), fillcolor="white", expand=True)
        picture = ImageOps.pad(picture, size, color="white")
        tint = rng.uniform(0.75, 1.0, 3)
        grain = rng.normal(0, 3, (size[1], size[0], 1))
        pixels = np.clip(np.asarray(picture) * tint + grain, 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=88)
        made.append(stream.getvalue())
    return made


@dataclass(frozen=True, kw_only=True)
class Photos:
    """The photo of every product, by the product's key."""

    drawn: Sequence[bytes]

    def photo(self, product_id: int) -> bytes:
        """A decoder stops at the end of the picture; the number behind it makes the file unique."""
        return self.drawn[product_id % len(self.drawn)] + b"%d" % product_id

    def sha256s(self, count: int) -> Iterator[str]:
        """Of the photos of products 1 to `count`."""
        begun = [hashlib.sha256(one) for one in self.drawn]
        for product_id in range(1, count + 1):
            digest = begun[product_id % len(begun)].copy()
            digest.update(b"%d" % product_id)
            yield digest.hexdigest()

    def put(self, store: FolderImageStore, product_ids: Collection[int]) -> None:
        """Put the photos of these products into the store."""
        with store.session() as session:
            for product_id in product_ids:
                session.put(self.photo(product_id), 1 << 24)
            session.flush()


def fill(database: Database, photos: Photos, count: int) -> None:
    """Write `count` products of one retailer, `default`, and all that stands behind them."""
    with database.write("test") as session:
        model_id = models.register(
            session, read_card(DEFAULT_BUNDLE), DEFAULT_BUNDLE, now=utc_now()
        )
        retailer_id = models.add_retailer(session, "default", model_id=model_id, now=utc_now())
        session.commit()
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        # The rows are consistent by the way in which they are made: foreign keys would be looked
        # up ten million times.
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET work_mem = '256MB'")
        _copy_photos(connection, photos, count)
        for statement in _STATEMENTS:
            values = {
                "retailer": retailer_id,
                "model": model_id,
                "preprocessing": PREPROCESSING_VERSION,
                "batch": BATCH,
            }
            connection.execute(statement, values)
        connection.execute("VACUUM ANALYZE")
    with database.write("test") as session:
        # Triggers sleep while foreign keys do.
        counts.recount(session)
        session.commit()


def first_in(
    database: Database, order: str, count: int, *, suggestion: str | None = None
) -> list[int]:
    """Keys of the waiting products that come first in an order (SQL)."""
    only = "" if suggestion is None else "AND suggestion = :suggestion"
    query = sa.text(
        f"SELECT id FROM products WHERE status = 'needs_review' {only} "
        f"ORDER BY {order} LIMIT {count}"
    )
    with database.read() as session:
        return list(session.execute(query, {"suggestion": suggestion} if only else {}).scalars())


def newest_accepted(database: Database, count: int) -> list[int]:
    """Keys of the newest products in force of every category, `count` of each."""
    query = sa.text(
        "SELECT id FROM categories, LATERAL (SELECT id FROM products WHERE retailer_id = "
        "categories.retailer_id AND category = categories.name AND status IN ('tagged', 'reviewed')"
        f" ORDER BY id DESC LIMIT {count}) newest"
    )
    with database.read() as session:
        return list(session.execute(query).scalars())


def _copy_photos(connection: psycopg.Connection, photos: Photos, count: int) -> None:
    connection.execute("CREATE TEMP TABLE photos (id bigint, sha256 text, image_set text)")
    with connection.cursor().copy("COPY photos FROM STDIN") as copy:
        for product_id, sha256 in enumerate(photos.sha256s(count), start=1):
            copy.write_row((product_id, sha256, image_set_of([sha256])))


_STATEMENTS: Final = (
    # What each product is: u decides where it stands, the rest follows.
    """
    CREATE TEMP TABLE facts AS
    SELECT id, sha256, image_set, u,
           CASE WHEN u < 0.15 THEN 'needs_review' WHEN u < 0.25 THEN 'reviewed'
                WHEN u < 0.2875 AND 2 * id < (SELECT max(id) FROM photos) THEN 'reviewed'
                ELSE 'tagged' END AS status,
           u BETWEEN 0.25 AND 0.2875 AS audit,
           CASE WHEN u < 0.25 THEN 0.35 + 0.6 * v ELSE 0.97 + 0.03 * v END AS confidence,
           names[1 + mod(floor(10 * w * w)::int, 10)] AS first,
           names[1 + mod(floor(10 * w * w)::int + 1, 10)] AS second,
           now() - interval '90 days' + id * interval '5 seconds' AS at
    FROM (SELECT photos.*, random() AS u, random() AS v, random() AS w FROM photos) drawn,
         (SELECT array_agg(c ->> 'name') AS names
          FROM models, jsonb_array_elements(card -> 'categories') c WHERE id = %(model)s) model
    """,
    "ANALYZE facts",
    """
    INSERT INTO uploads (id, retailer_id, source, kind, state, warnings, receiver, created_at,
                         beat_at, filed_at)
    VALUES ('million', %(retailer)s, 'benchmark', 'folder', 'filed', '[]', 'benchmark', now(),
            now(), now())
    """,
    """
    INSERT INTO images (sha256, size_bytes, created_at) SELECT sha256, 100000, at FROM facts
    """,
    """
    INSERT INTO image_set_images (image_set, position, sha256)
    SELECT image_set, 0, sha256 FROM facts
    """,
    """
    INSERT INTO batches (retailer_id, upload_id, state, products, images, attempts, crashes,
                         lease_alone, beat, created_at, finished_at)
    SELECT %(retailer)s, 'million', 'done', %(batch)s, %(batch)s, 1, 0, false, 1, now(), now()
    FROM generate_series(0, (SELECT max(id) FROM facts) / %(batch)s)
    """,
    """
    INSERT INTO predictions (id, product_id, image_set, model_id, preprocessing_version,
        suggestion, confidence, top_k, ood_score, out_of_distribution, disagreeing,
        image_failures, batch_id, created_at)
    SELECT id, id, image_set, %(model)s, %(preprocessing)s, first, confidence,
           jsonb_build_array(
               jsonb_build_object('category', first, 'confidence', confidence),
               jsonb_build_object('category', second, 'confidence', (1 - confidence) / 2)),
           -1, false, '[]', '[]', 1 + id / %(batch)s, at
    FROM facts
    """,
    """
    INSERT INTO image_predictions (sha256, model_id, preprocessing_version, logits, ood_score,
                                   features, created_at)
    SELECT sha256, %(model)s, %(preprocessing)s, decode(repeat(left(sha256, 8), 10), 'hex'), -1,
           decode(sha256 || image_set, 'hex'), at
    FROM facts
    """,
    """
    INSERT INTO products (id, retailer_id, sku, title, attributes, image_set, upload_id, status,
        category, decided_by, suggestion, confidence, margin, top_confidence, review_reason,
        prediction_id, audit, tagged_at, created_at, updated_at)
    SELECT id, %(retailer)s, 'SKU-' || lpad(id::text, 8, '0'), first || ' no. ' || id,
           jsonb_build_object('colour', 'navy', 'brand', 'Petit Port', 'price', mod(id, 300)),
           image_set, 'million', status,
           CASE WHEN u < 0.15 THEN NULL ELSE first END,
           CASE status WHEN 'reviewed' THEN 'person' WHEN 'tagged' THEN 'model' END,
           first, confidence, confidence - (1 - confidence) / 2, confidence,
           CASE WHEN u < 0.12 THEN 'low_confidence' WHEN u < 0.15 THEN 'out_of_distribution' END,
           id, audit, at, at, at
    FROM facts
    """,
    """
    INSERT INTO reviews (product_id, image_set, prediction_id, reviewer, verdict, category, action,
                         before, created_at)
    SELECT id, image_set, id, 'Person ' || mod(id, 20), 'confirmed', first, gen_random_uuid(),
           CASE WHEN audit
                THEN jsonb_build_object('status', 'tagged', 'category', first,
                                        'decided_by', 'model', 'review_reason', NULL)
                ELSE jsonb_build_object('status', 'needs_review', 'category', NULL,
                                        'decided_by', NULL, 'review_reason', 'low_confidence')
                END, at
    FROM facts WHERE status = 'reviewed' ORDER BY id
    """,
    # The audit's verdicts: one wrong in 300.
    """
    INSERT INTO audit_verdicts (review_id, retailer_id, model_id, accepted, wrong)
    SELECT reviews.id, %(retailer)s, %(model)s, category, mod(reviews.id, 300) = 0
    FROM reviews JOIN facts ON facts.id = product_id AND audit
    """,
    "SELECT setval(pg_get_serial_sequence('products', 'id'), (SELECT max(id) FROM products))",
    "SELECT setval(pg_get_serial_sequence('predictions', 'id'), (SELECT max(id) FROM predictions))",
)
