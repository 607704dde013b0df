"""what could not be classified is found by an index

Revision: 0015, after 0014.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

INDEX = "ix_products_failure_retailer_id_id"
FAILED = sa.text("failure_code IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        INDEX,
        "products",
        ["retailer_id", "id"],
        unique=False,
        sqlite_where=FAILED,
        postgresql_where=FAILED,
    )


def downgrade() -> None:
    op.drop_index(INDEX, table_name="products")
