"""a retailer's priorities, second opinions and known answers

Revision: 0008, after 0007.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


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


def downgrade() -> None:
    op.drop_index(PRIORITY_INDEX, "products")
    op.drop_column("products", "priority")
