"""the audit of accepted products

Revision: 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


# SQLite numbers rows by itself only in a column that is exactly INTEGER PRIMARY KEY.
BIG_ID = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")


def state(name: str) -> sa.Enum:
    return sa.Enum(
        "provisional",
        "certified",
        "off",
        name=name,
        native_enum=False,
        create_constraint=True,
        length=32,
    )


def upgrade() -> None:
    op.add_column(
        "retailers",
        sa.Column(
            "target_precision",
            sa.Double(),
            nullable=True,
            comment="How much of what is accepted must be right, 0 to 1; NULL for the model's own.",
        ),
    )
    op.add_column(
        "retailers",
        sa.Column(
            "accept_parent",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="Whether a parent category is accepted where only the parent is sure enough.",
        ),
    )
    op.create_table(
        "audit_keys",
        sa.Column("retailer_id", BIG_ID, nullable=False, comment="The retailer."),
        sa.Column("key", sa.String(length=64), nullable=False, comment="256 random bits, hex."),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was made."
        ),
        sa.ForeignKeyConstraint(
            ["retailer_id"], ["retailers.id"], name=op.f("fk_audit_keys_retailer_id")
        ),
        sa.PrimaryKeyConstraint("retailer_id", name=op.f("pk_audit_keys")),
        comment="The secrets that pick the audit samples; made once, kept.",
    )
    op.create_table(
        "audit_verdicts",
        sa.Column("review_id", BIG_ID, nullable=False, comment="The review."),
        sa.Column("retailer_id", BIG_ID, nullable=False, comment="Whose."),
        sa.Column("model_id", BIG_ID, nullable=False, comment="The model that accepted the tag."),
        sa.Column(
            "accepted", sa.String(length=200), nullable=False, comment="The category it accepted."
        ),
        sa.Column(
            "wrong",
            sa.Boolean(),
            nullable=False,
            comment="Whether the person's category is not under it.",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_audit_verdicts_model_id")
        ),
        sa.ForeignKeyConstraint(
            ["retailer_id"], ["retailers.id"], name=op.f("fk_audit_verdicts_retailer_id")
        ),
        sa.ForeignKeyConstraint(
            ["review_id"], ["reviews.id"], name=op.f("fk_audit_verdicts_review_id")
        ),
        sa.PrimaryKeyConstraint("review_id", name=op.f("pk_audit_verdicts")),
        comment="Reviews that say whether an accepted tag of the audit sample was wrong.",
    )
    op.create_index(
        "ix_audit_verdicts_retailer_id_model_id_review_id",
        "audit_verdicts",
        ["retailer_id", "model_id", "review_id"],
        unique=False,
    )
    op.create_table(
        "autopilot_changes",
        sa.Column("id", BIG_ID, nullable=False, comment="Key."),
        sa.Column("retailer_id", BIG_ID, nullable=False, comment="Whose."),
        sa.Column("model_id", BIG_ID, nullable=False, comment="Of which model."),
        sa.Column(
            "before", state("autopilot_before"), nullable=False, comment="The state that it left."
        ),
        sa.Column(
            "state", state("autopilot"), nullable=False, comment="The state that it went to."
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why, in a sentence."),
        sa.Column(
            "changed_by",
            sa.String(length=100),
            nullable=True,
            comment="The person who did it; NULL where verdicts did.",
        ),
        sa.Column(
            "review_id",
            BIG_ID,
            nullable=True,
            comment="The newest audit verdict at that moment.",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When."),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_autopilot_changes_model_id")
        ),
        sa.ForeignKeyConstraint(
            ["retailer_id"], ["retailers.id"], name=op.f("fk_autopilot_changes_retailer_id")
        ),
        sa.ForeignKeyConstraint(
            ["review_id"], ["reviews.id"], name=op.f("fk_autopilot_changes_review_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_autopilot_changes")),
        comment="Every move of an autopilot; only ever appended.",
    )
    op.create_index(
        "ix_autopilot_changes_retailer_id_model_id_id",
        "autopilot_changes",
        ["retailer_id", "model_id", "id"],
        unique=False,
    )
    op.create_index(
        "ix_products_audit_retailer_id_id",
        "products",
        ["retailer_id", "id"],
        unique=False,
        sqlite_where=sa.text("audit = 1"),
        postgresql_where=sa.text("audit"),
    )
    op.create_index("ix_reviews_undoes_id", "reviews", ["undoes_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_reviews_undoes_id", "reviews")
    op.drop_index("ix_products_audit_retailer_id_id", "products")
    for table in ("autopilot_changes", "audit_verdicts", "audit_keys"):
        op.drop_table(table)
    op.drop_column("retailers", "accept_parent")
    op.drop_column("retailers", "target_precision")
