"""products that are to be tagged again

Revision: 0013, after 0012.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


BIG_ID = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)
MUST, MAY = "upload_id VARCHAR(64) NOT NULL", "upload_id VARCHAR(64)"


def upgrade() -> None:
    op.create_table(
        "retags",
        sa.Column("id", BIG_ID, nullable=False, comment="Key."),
        sa.Column("retailer_id", BIG_ID, nullable=False, comment="Whose products."),
        sa.Column(
            "scope",
            _texts("retag_scope", "missing", "all", "model", "sku", "failed"),
            nullable=False,
            comment="Which of them: missing, all, model, sku or failed.",
        ),
        sa.Column(
            "model_id", BIG_ID, nullable=True, comment="Those that this model classified last."
        ),
        sa.Column("skus", JSON, nullable=True, comment="Those of these names."),
        sa.Column(
            "state",
            _texts("retag_state", "open", "done", "cancelled"),
            nullable=False,
            comment="open, done or cancelled.",
        ),
        sa.Column("after_id", BIG_ID, nullable=False, comment="Products up to here were seen."),
        sa.Column(
            "until_id", BIG_ID, nullable=False, comment="The newest product when it was asked for."
        ),
        sa.Column("queued", BIG_ID, nullable=False, comment="How many were put into batches."),
        sa.Column(
            "not_asked", BIG_ID, nullable=False, comment="How many are not among those asked for."
        ),
        sa.Column("in_work", BIG_ID, nullable=False, comment="How many were being classified."),
        sa.Column("reviewed", BIG_ID, nullable=False, comment="How many a person decided on."),
        sa.Column("failed", BIG_ID, nullable=False, comment="How many had failed, and stay so."),
        sa.Column("delisted", BIG_ID, nullable=False, comment="How many left the catalogue."),
        sa.Column("requested_by", sa.String(length=100), nullable=False, comment="Who asked."),
        sa.Column("created_at", TIME, nullable=False, comment="When."),
        sa.Column("moved_at", TIME, nullable=False, comment="Last progress."),
        sa.Column("finished_at", TIME, nullable=True, comment="When it was done or cancelled."),
        sa.Column("cancelled_by", sa.String(length=100), nullable=True, comment="Who, if so."),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_retags_model_id")),
        sa.ForeignKeyConstraint(
            ["retailer_id"], ["retailers.id"], name=op.f("fk_retags_retailer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retags")),
        comment="Requests to classify products again; kept.",
    )
    op.create_index("ix_retags_state_id", "retags", ["state", "id"], unique=False)
    op.add_column(
        "batches",
        sa.Column("retag_id", BIG_ID, nullable=True, comment="Of which retag; NULL in uploads'."),
    )
    op.create_index("ix_batches_retag_id_state", "batches", ["retag_id", "state"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        op.create_index(
            "ix_products_retailer_id_id", "products", ["retailer_id", "id"], unique=False
        )
        op.alter_column(
            "batches",
            "upload_id",
            existing_type=sa.String(length=64),
            nullable=True,
            comment="Of which upload; NULL in retags'.",
            existing_comment="Of which upload.",
        )
    else:
        _rewrite_sqlite(MUST, MAY)


def downgrade() -> None:
    # Something must stand there: the retailer's newest upload.
    op.execute(
        "UPDATE batches SET upload_id = (SELECT max(id) FROM uploads "
        "WHERE uploads.retailer_id = batches.retailer_id) WHERE upload_id IS NULL"
    )
    op.drop_index("ix_batches_retag_id_state", table_name="batches")
    op.drop_column("batches", "retag_id")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_products_retailer_id_id", table_name="products")
        op.alter_column(
            "batches",
            "upload_id",
            existing_type=sa.String(length=64),
            nullable=False,
            comment="Of which upload.",
            existing_comment="Of which upload; NULL in retags'.",
        )
    else:
        _rewrite_sqlite(MAY, MUST)
    op.drop_table("retags")


def _rewrite_sqlite(before: str, after: str) -> None:
    """Change a column of `batches` where only its NOT NULL differs.

    As https://sqlite.org/lang_altertable.html says, section 7: to make the table anew, the foreign
    keys of all predictions would have to be switched off, which no transaction can. RESET: SQLite
    reads its schema anew, or a later migration would change the table as it knew it before.
    """
    connection = op.get_bind()
    found = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'batches'"
    ).scalar_one()
    if found.count(before) != 1:
        raise RuntimeError(f"the table batches is not as migration 0001 made it: {found}")
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    connection.exec_driver_sql(
        "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = 'batches'",
        (found.replace(before, after),),
    )
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = RESET")


def _texts(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)
