"""the first schema

Revision: 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
# SQLite numbers rows by itself only in a column that is exactly INTEGER PRIMARY KEY.
BIG_ID = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")

# For people who query with SQL: docs/design.md describes its columns.
TAGGED_CATALOG = """
CREATE VIEW tagged_catalog AS
SELECT
    r.name AS retailer,
    p.sku,
    p.title,
    p.category,
    c.parent AS parent_category,
    p.suggestion,
    p.confidence,
    p.status,
    p.review_reason,
    CASE WHEN m.id IS NULL THEN NULL ELSE m.name || ':' || m.version END AS model,
    p.tagged_at
FROM products p
JOIN retailers r ON r.id = p.retailer_id
LEFT JOIN categories c ON c.retailer_id = p.retailer_id AND c.name = p.category
LEFT JOIN predictions d ON d.id = p.prediction_id
LEFT JOIN models m ON m.id = d.model_id
WHERE p.delisted_at IS NULL
"""


def upgrade() -> None:
    op.create_table(
        "images",
        sa.Column("sha256", sa.String(length=64), nullable=False, comment="sha256, hex."),
        sa.Column("size_bytes", BIG_ID, nullable=False, comment="Length of the file."),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When it was first stored.",
        ),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_images")),
        comment="Image files, named by the sha256 of their bytes.",
    )
    op.create_table(
        "leaders",
        sa.Column("role", sa.String(length=32), nullable=False, comment="sweeper."),
        sa.Column("holder", sa.String(length=200), nullable=False, comment="Token of the process."),
        sa.Column("beat", BIG_ID, nullable=False, comment="Bumped by the holder while it lives."),
        sa.PrimaryKeyConstraint("role", name=op.f("pk_leaders")),
        comment="Which process holds a role that only one may hold.",
    )
    op.create_table(
        "models",
        sa.Column("id", BIG_ID, nullable=False, comment="Key."),
        sa.Column("name", sa.String(length=64), nullable=False, comment="The card's name."),
        sa.Column("version", sa.String(length=32), nullable=False, comment="The card's version."),
        sa.Column(
            "fingerprint",
            sa.String(length=64),
            nullable=False,
            comment="sha256 of the card; a bundle whose card differs is another model.",
        ),
        sa.Column("path", sa.Text(), nullable=False, comment="Folder of the bundle."),
        sa.Column("card", JSON, nullable=False, comment="card.json as it was registered."),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When it was registered.",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_models_name_version")),
        comment="Model bundles that this database knows.",
    )
    op.create_table(
        "retailers",
        sa.Column("id", BIG_ID, nullable=False, comment="Key."),
        sa.Column("name", sa.String(length=100), nullable=False, comment="Name in commands."),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the retailer was added.",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retailers")),
        sa.UniqueConstraint("name", name=op.f("uq_retailers_name")),
        comment="Who delivers catalogues.",
    )
    op.create_table(
        "autopilots",
        sa.Column("retailer_id", BIG_ID, nullable=False, comment="The retailer."),
        sa.Column("model_id", BIG_ID, nullable=False, comment="The model."),
        sa.Column(
            "state",
            sa.Enum(
                "provisional",
                "certified",
                "off",
                name="autopilot",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
            comment="provisional, certified or off.",
        ),
        sa.Column(
            "since",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Since when it is in this state.",
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_autopilots_model_id")),
        sa.ForeignKeyConstraint(
            ["retailer_id"], ["retailers.id"], name=op.f("fk_autopilots_retailer_id")
        ),
        sa.PrimaryKeyConstraint("retailer_id", "model_id", name=op.f("pk_autopilots")),
        comment="What a model may accept without a person, per retailer.",
    )
    op.create_table(
        "categories",
        sa.Column("retailer_id", BIG_ID, nullable=False, comment="Whose taxonomy."),
        sa.Column("name", sa.String(length=200), nullable=False, comment="Category name."),
        sa.Column(
            "parent",
            sa.String(length=200),
            nullable=True,
            comment="Name of the parent category; NULL at the top.",
        ),
        sa.ForeignKeyConstraint(
            ["retailer_id"], ["retailers.id"], name=op.f("fk_categories_retailer_id")
        ),
        sa.PrimaryKeyConstraint("retailer_id", "name", name=op.f("pk_categories")),
        comment="A retailer's taxonomy.",
    )
    op.create_table(
        "image_predictions",
        sa.Column("id", BIG_ID, nullable=False, comment="Key."),
        sa.Column("sha256", sa.String(length=64), nullable=False, comment="The image."),
        sa.Column("model_id", BIG_ID, nullable=False, comment="The model."),
        sa.Column(
            "preprocessing_version",
            sa.String(length=16),
            nullable=False,
            comment="Version of the steps from bytes to model input.",
        ),
        sa.Column(
            "logits",
            sa.LargeBinary(),
            nullable=False,
            comment="float32 little-endian, one per category in the card's order.",
        ),
        sa.Column("ood_score", sa.Double(), nullable=False, comment="Higher is stranger."),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When."),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_image_predictions_model_id")
        ),
        sa.ForeignKeyConstraint(
            ["sha256"], ["images.sha256"], name=op.f("fk_image_predictions_sha256")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image_predictions")),
        sa.UniqueConstraint(
            "sha256",
            "model_id",
            "preprocessing_version",
            name=op.f("uq_image_predictions_sha256_model_id_preprocessing_version"),
        ),
        comment="What a model said of one image; only ever appended.",
    )
    op.create_table(
        "image_set_images",
        sa.Column(
            "image_set",
            sa.String(length=64),
            nullable=False,
            comment="sha256 of the ordered image sha256s.",
        ),
        sa.Column("position", sa.Integer(), nullable=False, comment="0 is the main photo."),
        sa.Column("sha256", sa.String(length=64), nullable=False, comment="The image."),
        sa.ForeignKeyConstraint(
            ["sha256"], ["images.sha256"], name=op.f("fk_image_set_images_sha256")
        ),
        sa.PrimaryKeyConstraint("image_set", "position", name=op.f("pk_image_set_images")),
        comment="The ordered images behind an image set's hash; never changed.",
    )
    op.create_table(
        "models_in_charge",
        sa.Column("retailer_id", BIG_ID, nullable=False, comment="The retailer."),
        sa.Column("model_id", BIG_ID, nullable=False, comment="Its model."),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False, comment="Since when."),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_models_in_charge_model_id")
        ),
        sa.ForeignKeyConstraint(
            ["retailer_id"], ["retailers.id"], name=op.f("fk_models_in_charge_retailer_id")
        ),
        sa.PrimaryKeyConstraint("retailer_id", name=op.f("pk_models_in_charge")),
        comment="Which model classifies a retailer's products now.",
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=64), nullable=False, comment="Shown to people."),
        sa.Column("retailer_id", BIG_ID, nullable=False, comment="Whose."),
        sa.Column("source", sa.Text(), nullable=False, comment="Where it came from."),
        sa.Column(
            "kind",
            sa.String(length=16),
            nullable=False,
            comment="folder, manifest, archive or stdin.",
        ),
        sa.Column(
            "state",
            sa.Enum(
                "receiving",
                "received",
                "filed",
                name="upload_state",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
            comment="receiving, received or filed.",
        ),
        sa.Column("warnings", JSON, nullable=False, comment="Remarks on the delivery."),
        sa.Column(
            "receiver",
            sa.String(length=32),
            nullable=False,
            comment="Token of the process that receives it; others are refused.",
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, comment="When it began."
        ),
        sa.Column(
            "beat_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Last progress of receiving or filing.",
        ),
        sa.Column(
            "filed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When every line had an outcome.",
        ),
        sa.ForeignKeyConstraint(
            ["retailer_id"], ["retailers.id"], name=op.f("fk_uploads_retailer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        comment="One delivery of a catalogue.",
    )
    op.create_index("ix_uploads_state", "uploads", ["state"], unique=False)

    op.create_table(
        "batches",
        sa.Column("id", BIG_ID, nullable=False, comment="What the message carries."),
        sa.Column("retailer_id", BIG_ID, nullable=False, comment="Whose."),
        sa.Column("upload_id", sa.String(length=64), nullable=False, comment="Of which upload."),
        sa.Column("parent_id", BIG_ID, nullable=True, comment="The batch it was split from."),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "leased",
                "done",
                "split",
                name="batch_state",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
            comment="queued, leased, done or split.",
        ),
        sa.Column("products", sa.Integer(), nullable=False, comment="How many products."),
        sa.Column(
            "images",
            sa.Integer(),
            nullable=False,
            comment="How many images, all products together.",
        ),
        sa.Column(
            "attempts",
            sa.Integer(),
            nullable=False,
            comment="Leases that were not given back; fresh after a split.",
        ),
        sa.Column(
            "crashes",
            sa.Integer(),
            nullable=False,
            comment="Leases that ended in silence (of a single product: as sole work only).",
        ),
        sa.Column(
            "lease_token",
            sa.String(length=32),
            nullable=True,
            comment="Who may write; NULL when not leased.",
        ),
        sa.Column(
            "lease_model_id",
            BIG_ID,
            nullable=True,
            comment="The model in charge when it was leased.",
        ),
        sa.Column(
            "lease_worker", sa.String(length=200), nullable=True, comment="host:pid, to read."
        ),
        sa.Column(
            "lease_alone", sa.Boolean(), nullable=False, comment="Leased as the sole work in hand."
        ),
        sa.Column(
            "beat", BIG_ID, nullable=False, comment="Bumped while the worker makes progress."
        ),
        sa.Column(
            "last_error",
            sa.Text(),
            nullable=True,
            comment="Why the last attempt gave it back, if it could not be done.",
        ),
        sa.Column(
            "announced_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Last message sent for it.",
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was made."
        ),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was done or split.",
        ),
        sa.ForeignKeyConstraint(
            ["lease_model_id"], ["models.id"], name=op.f("fk_batches_lease_model_id")
        ),
        sa.ForeignKeyConstraint(["parent_id"], ["batches.id"], name=op.f("fk_batches_parent_id")),
        sa.ForeignKeyConstraint(
            ["retailer_id"], ["retailers.id"], name=op.f("fk_batches_retailer_id")
        ),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name=op.f("fk_batches_upload_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        comment="Products that travel together as one Celery task.",
    )
    op.create_index("ix_batches_state_id", "batches", ["state", "id"], unique=False)
    op.create_index("ix_batches_upload_id_state", "batches", ["upload_id", "state"], unique=False)

    op.create_table(
        "products",
        sa.Column("id", BIG_ID, nullable=False, comment="Key."),
        sa.Column("retailer_id", BIG_ID, nullable=False, comment="Whose."),
        sa.Column(
            "sku", sa.String(length=500), nullable=False, comment="The retailer's own name for it."
        ),
        sa.Column("title", sa.Text(), nullable=True, comment="As delivered."),
        sa.Column("attributes", JSON, nullable=False, comment="Further columns as delivered."),
        sa.Column(
            "image_set",
            sa.String(length=64),
            nullable=False,
            comment="Which ordered images it has; see image_set_images.",
        ),
        sa.Column(
            "upload_id",
            sa.String(length=64),
            nullable=False,
            comment="The upload that last created or changed it.",
        ),
        sa.Column(
            "status",
            sa.Enum(
                "queued",
                "tagged",
                "needs_review",
                "reviewed",
                "failed",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
            comment="queued, tagged, needs_review, reviewed or failed.",
        ),
        sa.Column(
            "category",
            sa.String(length=200),
            nullable=True,
            comment="The category in force; NULL until accepted or decided.",
        ),
        sa.Column(
            "decided_by",
            sa.String(length=16),
            nullable=True,
            comment="model or person: who put the category in force.",
        ),
        sa.Column(
            "suggestion",
            sa.String(length=200),
            nullable=True,
            comment="The model's best answer; NULL until classified.",
        ),
        sa.Column(
            "confidence",
            sa.Double(),
            nullable=True,
            comment="Calibrated probability (0 to 1) of the suggestion.",
        ),
        sa.Column(
            "review_reason",
            sa.Enum(
                "low_confidence",
                "out_of_distribution",
                "images_disagree",
                "photo_changed",
                "autopilot_off",
                "rule",
                "requested",
                name="review_reason",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
            comment="Why a person must look.",
        ),
        sa.Column(
            "failure_code",
            sa.Enum(
                "unreadable",
                "unsupported_format",
                "too_large",
                "too_many_pixels",
                "decode_timeout",
                "decode_memory",
                "decoder_crash",
                "missing",
                "worker_crash",
                name="failure_code",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
            comment="Why it failed.",
        ),
        sa.Column(
            "failure_detail",
            sa.Text(),
            nullable=True,
            comment="The same in a sentence, with what to do.",
        ),
        sa.Column(
            "prediction_id",
            BIG_ID,
            nullable=True,
            comment="The row in predictions behind suggestion and confidence.",
        ),
        sa.Column(
            "audit",
            sa.Boolean(),
            nullable=False,
            comment="In the audit sample of accepted products.",
        ),
        sa.Column(
            "delisted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it left the catalogue.",
        ),
        sa.Column(
            "tagged_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a worker last wrote its outcome.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When it was first delivered.",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When anything of it last changed.",
        ),
        sa.ForeignKeyConstraint(
            ["retailer_id", "category"],
            ["categories.retailer_id", "categories.name"],
            name=op.f("fk_products_retailer_id_category"),
        ),
        sa.ForeignKeyConstraint(
            ["retailer_id", "suggestion"],
            ["categories.retailer_id", "categories.name"],
            name="fk_products_suggestion",
        ),
        sa.ForeignKeyConstraint(
            ["retailer_id"], ["retailers.id"], name=op.f("fk_products_retailer_id")
        ),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name=op.f("fk_products_upload_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_products")),
        sa.UniqueConstraint("retailer_id", "sku", name=op.f("uq_products_retailer_id_sku")),
        comment="One row per (retailer, sku): the tagged catalogue.",
    )
    op.create_index(
        "ix_products_retailer_id_category_id",
        "products",
        ["retailer_id", "category", "id"],
        unique=False,
    )
    op.create_index(
        "ix_products_retailer_id_status_id",
        "products",
        ["retailer_id", "status", "id"],
        unique=False,
    )
    op.create_index("ix_products_status_id", "products", ["status", "id"], unique=False)
    op.create_index("ix_products_upload_id_id", "products", ["upload_id", "id"], unique=False)

    op.create_table(
        "batch_items",
        sa.Column("batch_id", BIG_ID, nullable=False, comment="The batch."),
        sa.Column("product_id", BIG_ID, nullable=False, comment="The product."),
        sa.Column(
            "image_set", sa.String(length=64), nullable=False, comment="The photos to classify."
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_batch_items_batch_id")),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_batch_items_product_id")
        ),
        sa.PrimaryKeyConstraint("batch_id", "product_id", name=op.f("pk_batch_items")),
        comment="Which product, with which photos, a batch carries.",
    )
    op.create_index("ix_batch_items_product_id", "batch_items", ["product_id"], unique=False)

    op.create_table(
        "predictions",
        sa.Column("id", BIG_ID, nullable=False, comment="Key."),
        sa.Column("product_id", BIG_ID, nullable=False, comment="The product."),
        sa.Column(
            "image_set", sa.String(length=64), nullable=False, comment="The photos it looked at."
        ),
        sa.Column("model_id", BIG_ID, nullable=False, comment="The model."),
        sa.Column(
            "preprocessing_version",
            sa.String(length=16),
            nullable=False,
            comment="Version of the steps from bytes to model input.",
        ),
        sa.Column("suggestion", sa.String(length=200), nullable=False, comment="Best category."),
        sa.Column("confidence", sa.Double(), nullable=False, comment="Its calibrated probability."),
        sa.Column(
            "top_k",
            JSON,
            nullable=False,
            comment='Best first: [{"category": ..., "confidence": ...}].',
        ),
        sa.Column("ood_score", sa.Double(), nullable=False, comment="Higher is stranger."),
        sa.Column(
            "out_of_distribution", sa.Boolean(), nullable=False, comment="No image looked familiar."
        ),
        sa.Column(
            "disagreeing",
            JSON,
            nullable=False,
            comment="Categories that single images confidently point to, if several.",
        ),
        sa.Column(
            "image_failures",
            JSON,
            nullable=False,
            comment="Images that could not be used: sha256, code, detail.",
        ),
        sa.Column("batch_id", BIG_ID, nullable=False, comment="Made in."),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When."),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_predictions_batch_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_predictions_model_id")),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_predictions_product_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_predictions")),
        sa.UniqueConstraint(
            "product_id",
            "image_set",
            "model_id",
            "preprocessing_version",
            name=op.f("uq_predictions_product_id_image_set_model_id_preprocessing_version"),
        ),
        comment="What a model said of one product's image set; only ever appended.",
    )
    op.create_table(
        "upload_items",
        sa.Column("upload_id", sa.String(length=64), nullable=False, comment="The upload."),
        sa.Column("seq", sa.Integer(), nullable=False, comment="Running number, from 1."),
        sa.Column(
            "line",
            sa.Integer(),
            nullable=False,
            comment="Line of the manifest, or ordinal of the file.",
        ),
        sa.Column("sku", sa.String(length=500), nullable=True, comment="NULL if unreadable."),
        sa.Column("images", JSON, nullable=False, comment="sha256s that the line delivered."),
        sa.Column("title", sa.Text(), nullable=True, comment="As delivered."),
        sa.Column("attributes", JSON, nullable=False, comment="As delivered."),
        sa.Column(
            "outcome",
            sa.Enum(
                "pending",
                "created",
                "changed",
                "updated",
                "unchanged",
                "merged",
                "rejected",
                "skipped",
                name="item_outcome",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
            comment="What became of the line.",
        ),
        sa.Column("value", sa.Text(), nullable=True, comment="What was received, if rejected."),
        sa.Column("error", sa.Text(), nullable=True, comment="Why rejected, and what to do."),
        sa.Column("product_id", BIG_ID, nullable=True, comment="The product it was filed under."),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_upload_items_product_id")
        ),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name=op.f("fk_upload_items_upload_id")
        ),
        sa.PrimaryKeyConstraint("upload_id", "seq", name=op.f("pk_upload_items")),
        comment="The ledger of an upload: one row per delivered line.",
    )
    op.create_index(
        "ix_upload_items_upload_id_outcome_seq",
        "upload_items",
        ["upload_id", "outcome", "seq"],
        unique=False,
    )
    op.create_index(
        "ix_upload_items_upload_id_sku_seq",
        "upload_items",
        ["upload_id", "sku", "seq"],
        unique=False,
    )

    op.create_table(
        "reviews",
        sa.Column("id", BIG_ID, nullable=False, comment="Key."),
        sa.Column("product_id", BIG_ID, nullable=False, comment="The product."),
        sa.Column(
            "image_set", sa.String(length=64), nullable=False, comment="The photos they saw."
        ),
        sa.Column("prediction_id", BIG_ID, nullable=True, comment="The prediction they saw."),
        sa.Column("reviewer", sa.String(length=100), nullable=False, comment="Who."),
        sa.Column(
            "verdict",
            sa.Enum(
                "confirmed",
                "corrected",
                "unsure",
                "not_a_product",
                name="verdict",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
            comment="confirmed, corrected, unsure or not_a_product.",
        ),
        sa.Column("category", sa.String(length=200), nullable=True, comment="What they decided."),
        sa.Column(
            "undoes_id", BIG_ID, nullable=True, comment="The review that this row takes back."
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When."),
        sa.ForeignKeyConstraint(
            ["prediction_id"], ["predictions.id"], name=op.f("fk_reviews_prediction_id")
        ),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_reviews_product_id")
        ),
        sa.ForeignKeyConstraint(["undoes_id"], ["reviews.id"], name=op.f("fk_reviews_undoes_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        comment="What people decided; only ever appended, undone by a further row.",
    )
    op.create_index("ix_reviews_product_id_id", "reviews", ["product_id", "id"], unique=False)
    op.execute(TAGGED_CATALOG)


def downgrade() -> None:
    op.execute("DROP VIEW tagged_catalog")
    for table in (
        "reviews",
        "upload_items",
        "predictions",
        "batch_items",
        "products",
        "batches",
        "uploads",
        "models_in_charge",
        "image_set_images",
        "image_predictions",
        "categories",
        "autopilots",
        "retailers",
        "models",
        "leaders",
        "images",
    ):
        op.drop_table(table)
