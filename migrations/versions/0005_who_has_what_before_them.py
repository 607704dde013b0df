"""who has what before them, and in which orders

Revision: 0005, after 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


BIG_ID = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")
WAITING = sa.text("status = 'needs_review'")
ORDERS = (
    ("retailer_id", "confidence", "id"),
    ("retailer_id", "suggestion", "confidence", "id"),
    ("retailer_id", "margin", "id"),
)


def upgrade() -> None:
    op.create_table(
        "reservations",
        sa.Column("product_id", BIG_ID, nullable=False, comment="The product."),
        sa.Column(
            "reviewer", sa.String(length=100), nullable=False, comment="Who has it before them."
        ),
        sa.Column(
            "until",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Until when nobody else is shown it.",
        ),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name=op.f("fk_reservations_product_id")
        ),
        sa.PrimaryKeyConstraint("product_id", name=op.f("pk_reservations")),
        comment="Which waiting product is on whose screen; a row that ran out says nothing.",
    )
    op.create_index("ix_reservations_reviewer", "reservations", ["reviewer"], unique=False)
    op.add_column(
        "products",
        sa.Column(
            "margin",
            sa.Double(),
            nullable=True,
            comment="Confidence of the model's best category less its second best's.",
        ),
    )
    for columns in ORDERS:
        op.create_index(
            f"ix_products_waiting_{'_'.join(columns)}",
            "products",
            list(columns),
            unique=False,
            sqlite_where=WAITING,
            postgresql_where=WAITING,
        )


def downgrade() -> None:
    for columns in ORDERS:
        op.drop_index(f"ix_products_waiting_{'_'.join(columns)}", "products")
    op.drop_column("products", "margin")
    op.drop_index("ix_reservations_reviewer", "reservations")
    op.drop_table("reservations")
