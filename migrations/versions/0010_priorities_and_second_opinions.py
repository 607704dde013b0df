"""a retailer's priorities, second opinions and known answers

Revision: 0010, after 0009.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


BIG_ID = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")
TIME = sa.DateTime(timezone=True)
KNOWN = sa.text("withdrawn_at IS NULL")
WAITING = sa.text("status = 'needs_review'")
PRIORITY_INDEX = "ix_products_waiting_retailer_id_priority_id"


def upgrade() -> None:
    op.add_column(
        "products",
        sa.Column(
            "priority",
            sa.Double(),
            nullable=True,
            comment="The higher the sooner; NULL where the retailer gave no number.",
        ),
    )
    # SQLite puts NULLs last in this order by itself and cannot be told to.
    last = " NULLS LAST" if op.get_bind().dialect.name == "postgresql" else ""
    op.create_index(
        PRIORITY_INDEX,
        "products",
        ["retailer_id", sa.text(f"priority DESC{last}"), "id"],
        unique=False,
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )

    op.create_table(
        "opinions",
        sa.Column("id", BIG_ID, nullable=False, comment="Key."),
        sa.Column("product_id", BIG_ID, nullable=False, comment="The product."),
        sa.Column(
            "about_review_id", BIG_ID, nullable=False, comment="The decision that it is beside."
        ),
        sa.Column(
            "kind",
            _texts("opinion_kind", "second", "known"),
            nullable=False,
            comment="second: compared with that decision; known: with the known answer.",
        ),
        sa.Column(
            "image_set", sa.String(length=64), nullable=False, comment="The photos they saw."
        ),
        sa.Column("reviewer", sa.String(length=100), nullable=False, comment="Who."),
        sa.Column(
            "verdict",
            _texts("verdict", "confirmed", "corrected", "unsure", "not_a_product"),
            nullable=False,
            comment="confirmed, corrected, unsure or not_a_product.",
        ),
        sa.Column(
            "category", sa.String(length=200), nullable=True, comment="What they said it is."
        ),
        sa.Column(
            "undoes_id", BIG_ID, nullable=True, comment="The opinion that this row takes back."
        ),
        sa.Column(
            "action",
            sa.String(length=36),
            nullable=False,
            comment="What was said in one act has one name, made by who sent it.",
        ),
        sa.Column("created_at", TIME, nullable=False, comment="When."),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_opinions_product_id")
        ),
        sa.ForeignKeyConstraint(
            ["about_review_id"], ["reviews.id"], name=op.f("fk_opinions_about_review_id")
        ),
        sa.ForeignKeyConstraint(["undoes_id"], ["opinions.id"], name=op.f("fk_opinions_undoes_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opinions")),
        comment="What people said of products that others had decided on, and which moved "
        "nothing; only ever appended, undone by a further row.",
    )
    op.create_index(
        "ix_opinions_about_review_id_reviewer", "opinions", ["about_review_id", "reviewer"]
    )
    op.create_index("ix_opinions_undoes_id", "opinions", ["undoes_id"])
    op.create_index(
        "ix_opinions_action_product_id", "opinions", ["action", "product_id"], unique=True
    )
    op.create_table(
        "wanted_opinions",
        sa.Column("review_id", BIG_ID, nullable=False, comment="The decision."),
        sa.Column("retailer_id", BIG_ID, nullable=False, comment="Whose."),
        sa.Column("product_id", BIG_ID, nullable=False, comment="The product."),
        sa.ForeignKeyConstraint(
            ["review_id"], ["reviews.id"], name=op.f("fk_wanted_opinions_review_id")
        ),
        sa.ForeignKeyConstraint(
            ["retailer_id"], ["retailers.id"], name=op.f("fk_wanted_opinions_retailer_id")
        ),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_wanted_opinions_product_id")
        ),
        sa.PrimaryKeyConstraint("review_id", name=op.f("pk_wanted_opinions")),
        comment="Decisions on which another person is still to be asked; a list of work.",
    )
    op.create_index(
        "ix_wanted_opinions_retailer_id_review_id", "wanted_opinions", ["retailer_id", "review_id"]
    )
    op.create_table(
        "known_answers",
        sa.Column("id", BIG_ID, nullable=False, comment="Key."),
        sa.Column("retailer_id", BIG_ID, nullable=False, comment="Whose."),
        sa.Column("product_id", BIG_ID, nullable=False, comment="The product."),
        sa.Column(
            "review_id",
            BIG_ID,
            nullable=False,
            comment="The decision that is known to be right.",
        ),
        sa.Column(
            "image_set",
            sa.String(length=64),
            nullable=False,
            comment="Of which photos it is known.",
        ),
        sa.Column(
            "category",
            sa.String(length=200),
            nullable=True,
            comment="What it is; NULL where it is not a product.",
        ),
        sa.Column("added_by", sa.String(length=100), nullable=False, comment="Who vouches for it."),
        sa.Column("created_at", TIME, nullable=False, comment="When."),
        sa.Column(
            "withdrawn_by",
            sa.String(length=100),
            nullable=True,
            comment="Who withdrew it; NULL while it is known.",
        ),
        sa.Column(
            "withdrawn_at",
            TIME,
            nullable=True,
            comment="When; answers to it then say nothing of people.",
        ),
        sa.ForeignKeyConstraint(
            ["retailer_id"], ["retailers.id"], name=op.f("fk_known_answers_retailer_id")
        ),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_known_answers_product_id")
        ),
        sa.ForeignKeyConstraint(
            ["review_id"], ["reviews.id"], name=op.f("fk_known_answers_review_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_known_answers")),
        comment="Products whose category an administrator vouches for, to score people.",
    )
    op.create_index(
        "ix_known_answers_product_id",
        "known_answers",
        ["product_id"],
        unique=True,
        sqlite_where=KNOWN,
        postgresql_where=KNOWN,
    )
    op.create_index("ix_known_answers_retailer_id_id", "known_answers", ["retailer_id", "id"])


def _texts(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)


def downgrade() -> None:
    op.drop_index("ix_known_answers_retailer_id_id", "known_answers")
    op.drop_index("ix_known_answers_product_id", "known_answers")
    op.drop_index("ix_wanted_opinions_retailer_id_review_id", "wanted_opinions")
    for name in ("action_product_id", "undoes_id", "about_review_id_reviewer"):
        op.drop_index(f"ix_opinions_{name}", "opinions")
    for table in ("known_answers", "wanted_opinions", "opinions"):
        op.drop_table(table)
    op.drop_index(PRIORITY_INDEX, "products")
    op.drop_column("products", "priority")
