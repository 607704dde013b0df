"""Every table, typed, each column with its comment. Migrations in `migrations/` build the same.

Naming follows docs/design.md. Times are UTC with a time zone; sha256s are 64 hex digits.
"""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tagging.domain import (
    PRODUCT_FAILURES,
    Autopilot,
    FailureCode,
    ItemOutcome,
    OpinionKind,
    ReviewReason,
    Role,
    Status,
    Verdict,
)


class UtcDateTime(sa.types.TypeDecorator[dt.datetime]):
    """A timezone-aware datetime, stored as UTC. SQLite keeps no zone, so it is put back on read."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self, value: dt.datetime | None, dialect: sa.Dialect
    ) -> dt.datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"a time without a zone was given: {value!r}; use datetime.now(UTC)")
        return value if value is None else value.astimezone(dt.UTC)

    def process_result_value(
        self, value: dt.datetime | None, dialect: sa.Dialect
    ) -> dt.datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


BigId = sa.BigInteger().with_variant(sqlite.INTEGER(), "sqlite")
Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


class BatchState(enum.StrEnum):
    """Where a batch stands."""

    QUEUED = "queued"
    """Waits for a worker."""
    LEASED = "leased"
    """A worker has it in hand and bumps its `beat` while it makes progress."""
    DONE = "done"
    """Every product of it was written."""
    SPLIT = "split"
    """It crashed its worker twice; smaller batches carry its products now."""


class UploadState(enum.StrEnum):
    """Where an upload stands."""

    RECEIVING = "receiving"
    """Its lines are being read into the ledger; a cut-off one is delivered again."""
    RECEIVED = "received"
    """The whole delivery is in the ledger and the store; its lines are being filed."""
    FILED = "filed"
    """Every line has its outcome, and every product to classify is in a batch."""


class RetagScope(enum.StrEnum):
    """Which products a retag is about. Who decided on one is asked by none of them."""

    MISSING = "missing"
    """What was not classified by the model in charge, as it reads pictures now. What failed is at
    its end, and not missing."""
    ALL = "all"
    """Everything that was classified."""
    MODEL = "model"
    """What a named model classified last."""
    SKU = "sku"
    """Products by their names, the failed ones among them too."""
    FAILED = "failed"
    """What failed, and what waits for a person without a suggestion because its new photos did."""


class RetagState(enum.StrEnum):
    """Where a retag stands."""

    OPEN = "open"
    """Not all products were seen yet."""
    DONE = "done"
    """Every product that it is about is in a batch, or was."""
    CANCELLED = "cancelled"
    """Somebody stopped it; batches that were made by then are worked off."""


def _enum(kind: type[enum.StrEnum], name: str, *, checked: bool = True) -> sa.Enum:
    # Text, if `checked` with a CHECK, and no native enum: adding a value is then the same migration
    # everywhere.
    return sa.Enum(
        kind,
        name=name,
        native_enum=False,
        create_constraint=checked,
        length=32,
        values_callable=lambda e: [m.value for m in e],
    )


class Base(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        dt.datetime: UtcDateTime(),
        dict[str, Any]: Json,
        list[Any]: Json,
    }


class Retailer(Base):
    __tablename__ = "retailers"
    __table_args__ = {"comment": "Who delivers catalogues."}

    id: Mapped[int] = mapped_column(BigId, primary_key=True, comment="Key.")
    name: Mapped[str] = mapped_column(sa.String(100), unique=True, comment="Name in commands.")
    created_at: Mapped[dt.datetime] = mapped_column(comment="When the retailer was added.")


class RuleVersion(Base):
    __tablename__ = "rule_versions"
    __table_args__ = (
        sa.UniqueConstraint("retailer_id", "number"),
        {"comment": "Every version of a retailer's rules; the highest number is in force."},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, comment="Key.")
    retailer_id: Mapped[int] = mapped_column(sa.ForeignKey("retailers.id"), comment="Whose.")
    number: Mapped[int] = mapped_column(comment="1, 2, 3 ...")
    text: Mapped[str] = mapped_column(sa.Text, comment="The rule file as a person wrote it.")
    rules: Mapped[dict[str, Any]] = mapped_column(Json, comment="The same, read and checked.")
    created_by: Mapped[str] = mapped_column(sa.String(100), comment="Who put it in force.")
    created_at: Mapped[dt.datetime] = mapped_column(comment="When.")


class Model(Base):
    __tablename__ = "models"
    __table_args__ = (
        sa.UniqueConstraint("name", "version"),
        {"comment": "Model bundles that this database knows."},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, comment="Key.")
    name: Mapped[str] = mapped_column(sa.String(64), comment="The card's name.")
    version: Mapped[str] = mapped_column(sa.String(32), comment="The card's version.")
    fingerprint: Mapped[str] = mapped_column(
        sa.String(64), comment="sha256 of the card; a bundle whose card differs is another model."
    )
    path: Mapped[str] = mapped_column(sa.Text, comment="Folder of the bundle.")
    card: Mapped[dict[str, Any]] = mapped_column(Json, comment="card.json as it was registered.")
    created_at: Mapped[dt.datetime] = mapped_column(comment="When it was registered.")


class ModelInCharge(Base):
    __tablename__ = "models_in_charge"
    __table_args__ = {"comment": "Which model classifies a retailer's products now."}

    retailer_id: Mapped[int] = mapped_column(
        sa.ForeignKey("retailers.id"), primary_key=True, comment="The retailer."
    )
    model_id: Mapped[int] = mapped_column(sa.ForeignKey("models.id"), comment="Its model.")
    since: Mapped[dt.datetime] = mapped_column(comment="Since when.")


class AutopilotState(Base):
    __tablename__ = "autopilots"
    __table_args__ = {"comment": "What a model may accept without a person, per retailer."}

    retailer_id: Mapped[int] = mapped_column(
        sa.ForeignKey("retailers.id"), primary_key=True, comment="The retailer."
    )
    model_id: Mapped[int] = mapped_column(
        sa.ForeignKey("models.id"), primary_key=True, comment="The model."
    )
    state: Mapped[Autopilot] = mapped_column(
        _enum(Autopilot, "autopilot"), comment="provisional, certified or off."
    )
    since: Mapped[dt.datetime] = mapped_column(comment="Since when it is in this state.")


class AutopilotChange(Base):
    __tablename__ = "autopilot_changes"
    __table_args__ = (
        sa.Index("ix_autopilot_changes_retailer_id_model_id_id", "retailer_id", "model_id", "id"),
        {"comment": "Every move of an autopilot; only ever appended."},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, comment="Key.")
    retailer_id: Mapped[int] = mapped_column(sa.ForeignKey("retailers.id"), comment="Whose.")
    model_id: Mapped[int] = mapped_column(sa.ForeignKey("models.id"), comment="Of which model.")
    before: Mapped[Autopilot] = mapped_column(
        _enum(Autopilot, "autopilot_before"), comment="The state that it left."
    )
    state: Mapped[Autopilot] = mapped_column(
        _enum(Autopilot, "autopilot"), comment="The state that it went to."
    )
    reason: Mapped[str] = mapped_column(sa.Text, comment="Why, in a sentence.")
    changed_by: Mapped[str | None] = mapped_column(
        sa.String(100), comment="The person who did it; NULL where verdicts did."
    )
    review_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("reviews.id"), comment="The newest audit verdict at that moment."
    )
    created_at: Mapped[dt.datetime] = mapped_column(comment="When.")


class AuditKey(Base):
    __tablename__ = "audit_keys"
    __table_args__ = {"comment": "The secrets that pick the audit samples; made once, kept."}

    retailer_id: Mapped[int] = mapped_column(
        sa.ForeignKey("retailers.id"), primary_key=True, comment="The retailer."
    )
    key: Mapped[str] = mapped_column(sa.String(64), comment="256 random bits, hex.")
    created_at: Mapped[dt.datetime] = mapped_column(comment="When it was made.")


class Reservation(Base):
    __tablename__ = "reservations"
    __table_args__ = (
        sa.Index("ix_reservations_reviewer", "reviewer"),
        {"comment": "Which waiting product is on whose screen; a row that ran out says nothing."},
    )

    product_id: Mapped[int] = mapped_column(
        sa.ForeignKey("products.id"), primary_key=True, comment="The product."
    )
    reviewer: Mapped[str] = mapped_column(sa.String(100), comment="Who has it before them.")
    until: Mapped[dt.datetime] = mapped_column(comment="Until when nobody else is shown it.")


class Category(Base):
    __tablename__ = "categories"
    __table_args__ = {"comment": "A retailer's taxonomy."}

    retailer_id: Mapped[int] = mapped_column(
        sa.ForeignKey("retailers.id"), primary_key=True, comment="Whose taxonomy."
    )
    name: Mapped[str] = mapped_column(sa.String(200), primary_key=True, comment="Category name.")
    parent: Mapped[str | None] = mapped_column(
        sa.String(200), comment="Name of the parent category; NULL at the top."
    )


class Upload(Base):
    __tablename__ = "uploads"
    __table_args__ = (
        # The sweeper looks for uploads whose filing was cut off: a handful among many filed ones.
        sa.Index("ix_uploads_state", "state"),
        {"comment": "One delivery of a catalogue."},
    )

    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True, comment="Shown to people.")
    retailer_id: Mapped[int] = mapped_column(sa.ForeignKey("retailers.id"), comment="Whose.")
    source: Mapped[str] = mapped_column(sa.Text, comment="Where it came from.")
    kind: Mapped[str] = mapped_column(sa.String(16), comment="folder, manifest, archive or stdin.")
    state: Mapped[UploadState] = mapped_column(
        _enum(UploadState, "upload_state"), comment="receiving, received or filed."
    )
    warnings: Mapped[list[Any]] = mapped_column(Json, comment="Remarks on the delivery.")
    receiver: Mapped[str] = mapped_column(
        sa.String(32), comment="Token of the process that receives it; others are refused."
    )
    created_at: Mapped[dt.datetime] = mapped_column(comment="When it began.")
    beat_at: Mapped[dt.datetime] = mapped_column(comment="Last progress of receiving or filing.")
    filed_at: Mapped[dt.datetime | None] = mapped_column(comment="When every line had an outcome.")


class Image(Base):
    __tablename__ = "images"
    __table_args__ = {"comment": "Image files, named by the sha256 of their bytes."}

    sha256: Mapped[str] = mapped_column(sa.String(64), primary_key=True, comment="sha256, hex.")
    size_bytes: Mapped[int] = mapped_column(BigId, comment="Length of the file.")
    created_at: Mapped[dt.datetime] = mapped_column(comment="When it was first stored.")


class ImageSetImage(Base):
    __tablename__ = "image_set_images"
    __table_args__ = {"comment": "The ordered images behind an image set's hash; never changed."}

    image_set: Mapped[str] = mapped_column(
        sa.String(64), primary_key=True, comment="sha256 of the ordered image sha256s."
    )
    position: Mapped[int] = mapped_column(primary_key=True, comment="0 is the main photo.")
    sha256: Mapped[str] = mapped_column(sa.ForeignKey("images.sha256"), comment="The image.")


WAITING_ORDERS = (
    ("retailer_id", "confidence", "id"),
    ("retailer_id", "suggestion", "confidence", "id"),
    ("retailer_id", "margin", "id"),
    ("retailer_id", "top_confidence", "id"),
)

NOT_TO_DECIDE = (Status.QUEUED, Status.FAILED, Status.REVIEWED)
"""Where nobody is asked. This way round: SQLite would take the index on the status for an IN."""
_TO_DECIDE = f"status NOT IN ({', '.join(repr(status.value) for status in NOT_TO_DECIDE)})"


class Product(Base):
    __tablename__ = "products"
    __table_args__ = (
        sa.UniqueConstraint("retailer_id", "sku"),
        sa.ForeignKeyConstraint(
            ["retailer_id", "category"], ["categories.retailer_id", "categories.name"]
        ),
        sa.ForeignKeyConstraint(
            ["retailer_id", "suggestion"],
            ["categories.retailer_id", "categories.name"],
            name="fk_products_suggestion",
        ),
        # `products list/export` and the review queue filter by these and page by id.
        sa.Index("ix_products_retailer_id_status_id", "retailer_id", "status", "id"),
        sa.Index("ix_products_retailer_id_category_id", "retailer_id", "category", "id"),
        sa.Index("ix_products_upload_id_id", "upload_id", "id"),
        # One retailer's listing, and retags, page by id. Not on SQLite, which would take it before
        # the partial ones below, and where there is hardly ever more than one retailer.
        sa.Index(
            "ix_products_retailer_id_id", "retailer_id", "id", info={"only": "postgresql"}
        ).ddl_if(dialect="postgresql"),
        sa.Index("ix_products_status_id", "status", "id"),
        # An upload's products are counted by status without their rows, which SQLite has by id.
        sa.Index("ix_products_id_status", "id", "status", info={"only": "postgresql"}).ddl_if(
            dialect="postgresql"
        ),
        # What waits with the surest first, and, as there are five statuses only, the few that are
        # very unsure in any. SQLite, which does not know how few, would sort all others by it, too.
        sa.Index(
            "ix_products_status_confidence", "status", "confidence", info={"only": "postgresql"}
        ).ddl_if(dialect="postgresql"),
        # What waits for a person, in the orders in which people may take it.
        *(
            sa.Index(
                f"ix_products_waiting_{'_'.join(columns)}",
                *columns,
                sqlite_where=sa.text("status = 'needs_review'"),
                postgresql_where=sa.text("status = 'needs_review'"),
            )
            for columns in WAITING_ORDERS
        ),
        # What could not be classified, asked for by `retag --failed`.
        sa.Index(
            "ix_products_failure_retailer_id_id",
            "retailer_id",
            "id",
            sqlite_where=sa.text("failure_code IS NOT NULL"),
            postgresql_where=sa.text("failure_code IS NOT NULL"),
        ),
        # How many wait, and why, is counted from this alone.
        sa.Index(
            "ix_products_waiting_retailer_id_review_reason_suggestion",
            "retailer_id",
            "review_reason",
            "suggestion",
            sqlite_where=sa.text("status = 'needs_review'"),
            postgresql_where=sa.text("status = 'needs_review'"),
        ),
        # What of the audit sample waits for a verdict is listed and counted. Not what was decided:
        # it is taken in the order of delivery, so all of that would stand before it.
        sa.Index(
            "ix_products_audit_retailer_id_id_prediction_id_tagged_at",
            "retailer_id",
            "id",
            "prediction_id",
            "tagged_at",
            sqlite_where=sa.text(f"audit = 1 AND {_TO_DECIDE}"),
            postgresql_where=sa.text(f"audit AND {_TO_DECIDE}"),
        ),
        # Not all codes there are: most are of lines of which no product was made.
        sa.CheckConstraint(
            f"failure_code IN {tuple(code.value for code in PRODUCT_FAILURES)}",
            name="failure_code",
        ),
        {"comment": "One row per (retailer, sku): the tagged catalogue."},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, comment="Key.")
    retailer_id: Mapped[int] = mapped_column(sa.ForeignKey("retailers.id"), comment="Whose.")
    sku: Mapped[str] = mapped_column(sa.String(500), comment="The retailer's own name for it.")
    title: Mapped[str | None] = mapped_column(sa.Text, comment="As delivered.")
    attributes: Mapped[dict[str, Any]] = mapped_column(
        Json, comment="Further columns as delivered."
    )
    image_set: Mapped[str] = mapped_column(
        sa.String(64), comment="Which ordered images it has; see image_set_images."
    )
    upload_id: Mapped[str] = mapped_column(
        sa.ForeignKey("uploads.id"), comment="The upload that last created or changed it."
    )
    status: Mapped[Status] = mapped_column(
        _enum(Status, "status"), comment="queued, tagged, needs_review, reviewed or failed."
    )
    category: Mapped[str | None] = mapped_column(
        sa.String(200), comment="The category in force; NULL until accepted or decided."
    )
    decided_by: Mapped[str | None] = mapped_column(
        sa.String(16), comment="model or person: who put the category in force."
    )
    suggestion: Mapped[str | None] = mapped_column(
        sa.String(200), comment="The model's best answer; NULL until classified."
    )
    confidence: Mapped[float | None] = mapped_column(
        sa.Double, comment="Calibrated probability (0 to 1) of the suggestion."
    )
    margin: Mapped[float | None] = mapped_column(
        sa.Double, comment="Confidence of the model's best category less its second best's."
    )
    top_confidence: Mapped[float | None] = mapped_column(
        sa.Double,
        comment="Confidence of the model's best category; the suggestion may be its parent.",
    )
    priority: Mapped[float | None] = mapped_column(
        sa.Double, comment="The higher the sooner; NULL where the retailer gave no number."
    )
    review_reason: Mapped[ReviewReason | None] = mapped_column(
        _enum(ReviewReason, "review_reason"), comment="Why a person must look."
    )
    failure_code: Mapped[FailureCode | None] = mapped_column(
        _enum(FailureCode, "failure_code", checked=False), comment="Why it failed."
    )
    failure_detail: Mapped[str | None] = mapped_column(
        sa.Text, comment="The same in a sentence, with what to do."
    )
    prediction_id: Mapped[int | None] = mapped_column(
        # No foreign key: predictions name products already, and SQLite cannot add a key later.
        BigId,
        comment="The row in predictions behind suggestion and confidence.",
    )
    audit: Mapped[bool] = mapped_column(comment="In the audit sample of accepted products.")
    audit_share: Mapped[float | None] = mapped_column(
        sa.Double,
        comment="Chance (0 to 1) with which it came into the audit sample; NULL outside.",
    )
    delisted_at: Mapped[dt.datetime | None] = mapped_column(comment="When it left the catalogue.")
    tagged_at: Mapped[dt.datetime | None] = mapped_column(
        comment="When a worker last wrote its outcome."
    )
    created_at: Mapped[dt.datetime] = mapped_column(comment="When it was first delivered.")
    updated_at: Mapped[dt.datetime] = mapped_column(comment="When anything of it last changed.")


# One more order of what waits, with a direction of its own for each column.
sa.Index(
    "ix_products_waiting_retailer_id_priority_id",
    Product.retailer_id,
    Product.priority.desc().nulls_last(),
    Product.id,
    sqlite_where=sa.text("status = 'needs_review'"),
    postgresql_where=sa.text("status = 'needs_review'"),
)


class ProductCount(Base):
    __tablename__ = "product_counts"
    __table_args__ = {
        "comment": "How many products stand where: the sum of the rows. Triggers on products "
        "append them, the sweeper puts them together."
    }

    id: Mapped[int] = mapped_column(BigId, primary_key=True, comment="Key.")
    # No foreign key: it would be looked up for each product that moves.
    retailer_id: Mapped[int] = mapped_column(BigId, comment="Whose products.")
    status: Mapped[str] = mapped_column(sa.String(32), comment="Where they stand.")
    products: Mapped[int] = mapped_column(BigId, comment="How many more, or fewer if negative.")


class UploadItem(Base):
    __tablename__ = "upload_items"
    __table_args__ = (
        # Filing reads an upload's pending lines grouped by sku, in pages.
        sa.Index("ix_upload_items_upload_id_sku_seq", "upload_id", "sku", "seq"),
        sa.Index("ix_upload_items_upload_id_outcome_seq", "upload_id", "outcome", "seq"),
        # Which products an upload has, in their order, so that they are joined without sorting.
        sa.Index(
            "ix_upload_items_upload_id_product_id_outcome", "upload_id", "product_id", "outcome"
        ),
        {"comment": "The ledger of an upload: one row per delivered line."},
    )

    upload_id: Mapped[str] = mapped_column(
        sa.ForeignKey("uploads.id"), primary_key=True, comment="The upload."
    )
    seq: Mapped[int] = mapped_column(primary_key=True, comment="Running number, from 1.")
    line: Mapped[int] = mapped_column(comment="Line of the manifest, or ordinal of the file.")
    sku: Mapped[str | None] = mapped_column(sa.String(500), comment="NULL if unreadable.")
    images: Mapped[list[Any]] = mapped_column(Json, comment="sha256s that the line delivered.")
    title: Mapped[str | None] = mapped_column(sa.Text, comment="As delivered.")
    attributes: Mapped[dict[str, Any]] = mapped_column(Json, comment="As delivered.")
    outcome: Mapped[ItemOutcome] = mapped_column(
        _enum(ItemOutcome, "item_outcome"), comment="What became of the line."
    )
    code: Mapped[FailureCode | None] = mapped_column(
        # Unchecked: a CHECK would have had to read a ledger of millions when it was added.
        _enum(FailureCode, "code", checked=False),
        comment="Why rejected or skipped; NULL in old rows.",
    )
    value: Mapped[str | None] = mapped_column(sa.Text, comment="What was received, if rejected.")
    error: Mapped[str | None] = mapped_column(sa.Text, comment="Why rejected, and what to do.")
    product_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("products.id"), comment="The product it was filed under."
    )

    @property
    def chars(self) -> int:
        """How many characters the texts of the line have."""
        return len(self.title or "") + sum(len(k) + len(v) for k, v in self.attributes.items())


class Batch(Base):
    __tablename__ = "batches"
    __table_args__ = (
        # The sweeper reads all queued and leased ones; the done ones are the many.
        sa.Index("ix_batches_state_id", "state", "id"),
        sa.Index("ix_batches_upload_id_state", "upload_id", "state"),
        sa.Index("ix_batches_retag_id_state", "retag_id", "state"),
        # The rate is told of those that were done in the last minute.
        sa.Index("ix_batches_finished_at", "finished_at"),
        {"comment": "Products that travel together as one Celery task."},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, comment="What the message carries.")
    retailer_id: Mapped[int] = mapped_column(sa.ForeignKey("retailers.id"), comment="Whose.")
    upload_id: Mapped[str | None] = mapped_column(
        sa.ForeignKey("uploads.id"), comment="Of which upload; NULL in retags'."
    )
    retag_id: Mapped[int | None] = mapped_column(
        # No foreign key: SQLite cannot add one later.
        BigId,
        comment="Of which retag; NULL in uploads'.",
    )
    parent_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("batches.id"), comment="The batch it was split from."
    )
    state: Mapped[BatchState] = mapped_column(
        _enum(BatchState, "batch_state"), comment="queued, leased, done or split."
    )
    products: Mapped[int] = mapped_column(comment="How many products.")
    images: Mapped[int] = mapped_column(comment="How many images, all products together.")
    attempts: Mapped[int] = mapped_column(
        comment="Leases that were not given back; fresh after a split."
    )
    crashes: Mapped[int] = mapped_column(
        comment="Leases that ended in silence (of a single product: as sole work only)."
    )
    lease_token: Mapped[str | None] = mapped_column(
        sa.String(32), comment="Who may write; NULL when not leased."
    )
    lease_model_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("models.id"), comment="The model in charge when it was leased."
    )
    lease_worker: Mapped[str | None] = mapped_column(sa.String(200), comment="host:pid, to read.")
    lease_alone: Mapped[bool] = mapped_column(comment="Leased as the sole work in hand.")
    beat: Mapped[int] = mapped_column(BigId, comment="Bumped while the worker makes progress.")
    last_error: Mapped[str | None] = mapped_column(
        sa.Text, comment="Why the last attempt gave it back, if it could not be done."
    )
    hindered: Mapped[int] = mapped_column(
        server_default="0", comment="How often in a row it could not be done."
    )
    not_before: Mapped[dt.datetime | None] = mapped_column(
        comment="When it is tried again, if it could not be done."
    )
    announced_at: Mapped[dt.datetime | None] = mapped_column(comment="Last message sent for it.")
    created_at: Mapped[dt.datetime] = mapped_column(comment="When it was made.")
    finished_at: Mapped[dt.datetime | None] = mapped_column(comment="When it was done or split.")


class Retag(Base):
    __tablename__ = "retags"
    __table_args__ = (
        # The sweeper looks for open ones: a handful among all that there ever were.
        sa.Index("ix_retags_state_id", "state", "id"),
        {"comment": "Requests to classify products again; kept."},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, comment="Key.")
    retailer_id: Mapped[int] = mapped_column(
        sa.ForeignKey("retailers.id"), comment="Whose products."
    )
    scope: Mapped[RetagScope] = mapped_column(
        _enum(RetagScope, "retag_scope"),
        comment="Which of them: missing, all, model, sku or failed.",
    )
    model_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("models.id"), comment="Those that this model classified last."
    )
    skus: Mapped[list[Any] | None] = mapped_column(Json, comment="Those of these names.")
    state: Mapped[RetagState] = mapped_column(
        _enum(RetagState, "retag_state"), comment="open, done or cancelled."
    )
    after_id: Mapped[int] = mapped_column(BigId, comment="Products up to here were seen.")
    until_id: Mapped[int] = mapped_column(
        BigId, comment="The newest product when it was asked for."
    )
    queued: Mapped[int] = mapped_column(BigId, comment="How many were put into batches.")
    not_asked: Mapped[int] = mapped_column(BigId, comment="How many are not among those asked for.")
    in_work: Mapped[int] = mapped_column(BigId, comment="How many were being classified.")
    reviewed: Mapped[int] = mapped_column(BigId, comment="How many a person decided on.")
    failed: Mapped[int] = mapped_column(BigId, comment="How many had failed, and stay so.")
    delisted: Mapped[int] = mapped_column(BigId, comment="How many left the catalogue.")
    requested_by: Mapped[str] = mapped_column(sa.String(100), comment="Who asked.")
    created_at: Mapped[dt.datetime] = mapped_column(comment="When.")
    moved_at: Mapped[dt.datetime] = mapped_column(comment="Last progress.")
    finished_at: Mapped[dt.datetime | None] = mapped_column(
        comment="When it was done or cancelled."
    )
    cancelled_by: Mapped[str | None] = mapped_column(sa.String(100), comment="Who, if so.")


class BatchItem(Base):
    __tablename__ = "batch_items"
    __table_args__ = (
        sa.Index("ix_batch_items_product_id", "product_id"),
        {"comment": "Which product, with which photos, a batch carries."},
    )

    batch_id: Mapped[int] = mapped_column(
        sa.ForeignKey("batches.id"), primary_key=True, comment="The batch."
    )
    product_id: Mapped[int] = mapped_column(
        sa.ForeignKey("products.id"), primary_key=True, comment="The product."
    )
    image_set: Mapped[str] = mapped_column(sa.String(64), comment="The photos to classify.")


class ImagePrediction(Base):
    __tablename__ = "image_predictions"
    __table_args__ = (
        sa.UniqueConstraint("sha256", "model_id", "preprocessing_version"),
        {"comment": "What a model said of one image; only ever appended."},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, comment="Key.")
    sha256: Mapped[str] = mapped_column(sa.ForeignKey("images.sha256"), comment="The image.")
    model_id: Mapped[int] = mapped_column(sa.ForeignKey("models.id"), comment="The model.")
    preprocessing_version: Mapped[str] = mapped_column(
        sa.String(16), comment="Version of the steps from bytes to model input."
    )
    logits: Mapped[bytes] = mapped_column(
        comment="float32 little-endian, one per category in the card's order."
    )
    ood_score: Mapped[float] = mapped_column(sa.Double, comment="Higher is stranger.")
    features: Mapped[bytes | None] = mapped_column(
        comment="int8, what the model saw, for likeness; NULL in rows older than the column."
    )
    created_at: Mapped[dt.datetime] = mapped_column(comment="When.")


class Prediction(Base):
    __tablename__ = "predictions"
    __table_args__ = (
        sa.UniqueConstraint("product_id", "image_set", "model_id", "preprocessing_version"),
        {"comment": "What a model said of one product's image set; only ever appended."},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, comment="Key.")
    product_id: Mapped[int] = mapped_column(sa.ForeignKey("products.id"), comment="The product.")
    image_set: Mapped[str] = mapped_column(sa.String(64), comment="The photos it looked at.")
    model_id: Mapped[int] = mapped_column(sa.ForeignKey("models.id"), comment="The model.")
    preprocessing_version: Mapped[str] = mapped_column(
        sa.String(16), comment="Version of the steps from bytes to model input."
    )
    suggestion: Mapped[str] = mapped_column(sa.String(200), comment="Best category.")
    confidence: Mapped[float] = mapped_column(sa.Double, comment="Its calibrated probability.")
    top_k: Mapped[list[Any]] = mapped_column(
        Json, comment='Best first: [{"category": ..., "confidence": ...}].'
    )
    ood_score: Mapped[float] = mapped_column(sa.Double, comment="Higher is stranger.")
    out_of_distribution: Mapped[bool] = mapped_column(comment="No image looked familiar.")
    disagreeing: Mapped[list[Any]] = mapped_column(
        Json, comment="Categories that single images confidently point to, if several."
    )
    image_failures: Mapped[list[Any]] = mapped_column(
        Json, comment="Images that could not be used: sha256, code, detail."
    )
    batch_id: Mapped[int] = mapped_column(sa.ForeignKey("batches.id"), comment="Made in.")
    created_at: Mapped[dt.datetime] = mapped_column(comment="When.")


class Review(Base):
    __tablename__ = "reviews"
    __table_args__ = (
        sa.Index("ix_reviews_product_id_id", "product_id", "id"),
        # Whether a verdict was taken back is asked of every one that counts as evidence.
        sa.Index("ix_reviews_undoes_id", "undoes_id"),
        # A page that sends an act again is answered with what came of it; one person's newest are
        # what they may take back.
        sa.Index("ix_reviews_action_product_id", "action", "product_id", unique=True),
        sa.Index("ix_reviews_reviewer_id", "reviewer", "id"),
        {"comment": "What people decided; only ever appended, undone by a further row."},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, comment="Key.")
    product_id: Mapped[int] = mapped_column(sa.ForeignKey("products.id"), comment="The product.")
    image_set: Mapped[str] = mapped_column(sa.String(64), comment="The photos they saw.")
    prediction_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("predictions.id"), comment="The prediction they saw."
    )
    reviewer: Mapped[str] = mapped_column(sa.String(100), comment="Who.")
    verdict: Mapped[Verdict] = mapped_column(
        _enum(Verdict, "verdict"), comment="confirmed, corrected, unsure or not_a_product."
    )
    category: Mapped[str | None] = mapped_column(sa.String(200), comment="What they decided.")
    undoes_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("reviews.id"), comment="The review that this row takes back."
    )
    action: Mapped[str | None] = mapped_column(
        sa.String(36), comment="What was said in one act has one name, made by who sent it."
    )
    before: Mapped[dict[str, Any] | None] = mapped_column(
        Json,
        comment="status, category, decided_by and review_reason until then; NULL in old rows.",
    )
    created_at: Mapped[dt.datetime] = mapped_column(comment="When.")


class Opinion(Base):
    __tablename__ = "opinions"
    __table_args__ = (
        sa.Index("ix_opinions_about_review_id_reviewer", "about_review_id", "reviewer"),
        sa.Index("ix_opinions_undoes_id", "undoes_id"),
        sa.Index("ix_opinions_action_product_id", "action", "product_id", unique=True),
        # One person's newest are what they may take back.
        sa.Index("ix_opinions_reviewer_id", "reviewer", "id"),
        {
            "comment": "What people said of products that others had decided on, and which moved "
            "nothing; only ever appended, undone by a further row."
        },
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, comment="Key.")
    product_id: Mapped[int] = mapped_column(sa.ForeignKey("products.id"), comment="The product.")
    about_review_id: Mapped[int] = mapped_column(
        sa.ForeignKey("reviews.id"), comment="The decision that it is beside."
    )
    kind: Mapped[OpinionKind] = mapped_column(
        _enum(OpinionKind, "opinion_kind"),
        comment="second: compared with that decision; known: with the known answer.",
    )
    image_set: Mapped[str] = mapped_column(sa.String(64), comment="The photos they saw.")
    reviewer: Mapped[str] = mapped_column(sa.String(100), comment="Who.")
    verdict: Mapped[Verdict] = mapped_column(
        _enum(Verdict, "verdict"), comment="confirmed, corrected, unsure or not_a_product."
    )
    category: Mapped[str | None] = mapped_column(sa.String(200), comment="What they said it is.")
    undoes_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("opinions.id"), comment="The opinion that this row takes back."
    )
    action: Mapped[str] = mapped_column(
        sa.String(36), comment="What was said in one act has one name, made by who sent it."
    )
    created_at: Mapped[dt.datetime] = mapped_column(comment="When.")


class WantedOpinion(Base):
    __tablename__ = "wanted_opinions"
    __table_args__ = (
        sa.Index("ix_wanted_opinions_retailer_id_review_id", "retailer_id", "review_id"),
        {"comment": "Decisions on which another person is still to be asked; a list of work."},
    )

    review_id: Mapped[int] = mapped_column(
        sa.ForeignKey("reviews.id"), primary_key=True, comment="The decision."
    )
    retailer_id: Mapped[int] = mapped_column(sa.ForeignKey("retailers.id"), comment="Whose.")
    product_id: Mapped[int] = mapped_column(sa.ForeignKey("products.id"), comment="The product.")


class KnownAnswer(Base):
    __tablename__ = "known_answers"
    __table_args__ = (
        sa.Index(
            "ix_known_answers_product_id",
            "product_id",
            unique=True,
            sqlite_where=sa.text("withdrawn_at IS NULL"),
            postgresql_where=sa.text("withdrawn_at IS NULL"),
        ),
        sa.Index("ix_known_answers_retailer_id_id", "retailer_id", "id"),
        {"comment": "Products whose category an administrator vouches for, to score people."},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, comment="Key.")
    retailer_id: Mapped[int] = mapped_column(sa.ForeignKey("retailers.id"), comment="Whose.")
    product_id: Mapped[int] = mapped_column(sa.ForeignKey("products.id"), comment="The product.")
    review_id: Mapped[int] = mapped_column(
        sa.ForeignKey("reviews.id"), comment="The decision that is known to be right."
    )
    image_set: Mapped[str] = mapped_column(sa.String(64), comment="Of which photos it is known.")
    category: Mapped[str | None] = mapped_column(
        sa.String(200), comment="What it is; NULL where it is not a product."
    )
    added_by: Mapped[str] = mapped_column(sa.String(100), comment="Who vouches for it.")
    created_at: Mapped[dt.datetime] = mapped_column(comment="When.")
    withdrawn_by: Mapped[str | None] = mapped_column(
        sa.String(100), comment="Who withdrew it; NULL while it is known."
    )
    withdrawn_at: Mapped[dt.datetime | None] = mapped_column(
        comment="When; answers to it then say nothing of people."
    )


class AuditVerdict(Base):
    __tablename__ = "audit_verdicts"
    __table_args__ = (
        sa.Index(
            "ix_audit_verdicts_retailer_id_model_id_review_id",
            "retailer_id",
            "model_id",
            "review_id",
        ),
        {"comment": "Reviews that say whether an accepted tag of the audit sample was wrong."},
    )

    review_id: Mapped[int] = mapped_column(
        sa.ForeignKey("reviews.id"), primary_key=True, comment="The review."
    )
    retailer_id: Mapped[int] = mapped_column(sa.ForeignKey("retailers.id"), comment="Whose.")
    model_id: Mapped[int] = mapped_column(
        sa.ForeignKey("models.id"), comment="The model that accepted the tag."
    )
    accepted: Mapped[str] = mapped_column(sa.String(200), comment="The category it accepted.")
    wrong: Mapped[bool] = mapped_column(comment="Whether the person's category is not under it.")
    share: Mapped[float | None] = mapped_column(
        sa.Double, comment="Chance with which the tag came into the sample; NULL in old rows."
    )
    accepted_at: Mapped[dt.datetime | None] = mapped_column(
        comment="When the tag was accepted; NULL in old rows."
    )


class Leader(Base):
    __tablename__ = "leaders"
    __table_args__ = {"comment": "Which process holds a role that only one may hold."}

    role: Mapped[str] = mapped_column(sa.String(32), primary_key=True, comment="sweeper.")
    holder: Mapped[str] = mapped_column(sa.String(200), comment="Token of the process.")
    beat: Mapped[int] = mapped_column(BigId, comment="Bumped by the holder while it lives.")


class User(Base):
    __tablename__ = "users"
    __table_args__ = {"comment": "People who log in to the pages."}

    id: Mapped[int] = mapped_column(BigId, primary_key=True, comment="Key.")
    name: Mapped[str] = mapped_column(
        sa.String(100), unique=True, comment="How they log in and sign reviews."
    )
    role: Mapped[Role] = mapped_column(_enum(Role, "role"), comment="viewer, reviewer or admin.")
    password_hash: Mapped[str | None] = mapped_column(
        sa.String(200), comment="argon2id; NULL for who comes by a link only."
    )
    failures: Mapped[int] = mapped_column(comment="Wrong passwords since the last right one.")
    locked_until: Mapped[dt.datetime | None] = mapped_column(
        comment="No password is looked at until then."
    )
    disabled_at: Mapped[dt.datetime | None] = mapped_column(comment="Since when they are kept out.")
    created_at: Mapped[dt.datetime] = mapped_column(comment="When the account was made.")


class LoginLink(Base):
    __tablename__ = "login_links"
    __table_args__ = {"comment": "Links that let somebody in once."}

    token_hash: Mapped[str] = mapped_column(
        sa.String(64), primary_key=True, comment="sha256 of the link's secret."
    )
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), comment="Whom.")
    expires_at: Mapped[dt.datetime] = mapped_column(comment="Until when it works.")


class WebSession(Base):
    __tablename__ = "web_sessions"
    __table_args__ = (
        sa.Index("ix_web_sessions_user_id", "user_id"),
        {"comment": "Browsers that are logged in."},
    )

    token_hash: Mapped[str] = mapped_column(
        sa.String(64), primary_key=True, comment="sha256 of the cookie."
    )
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), comment="Who.")
    csrf: Mapped[str] = mapped_column(
        sa.String(64), comment="What every changing request must name."
    )
    created_at: Mapped[dt.datetime] = mapped_column(comment="When they logged in.")
    expires_at: Mapped[dt.datetime] = mapped_column(comment="Until when; use prolongs it.")
