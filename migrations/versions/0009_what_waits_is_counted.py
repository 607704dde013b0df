"""what waits is counted from indexes alone

Revision: 0009, after 0008.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


WAITING = sa.text("status = 'needs_review'")
UNDECIDED = "status NOT IN ('queued', 'failed', 'reviewed')"


def upgrade() -> None:
    op.create_index(
        "ix_products_waiting_retailer_id_review_reason_suggestion",
        "products",
        ["retailer_id", "review_reason", "suggestion"],
        unique=False,
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
    op.create_index(
        "ix_products_audit_retailer_id_id_prediction_id_tagged_at",
        "products",
        ["retailer_id", "id", "prediction_id", "tagged_at"],
        unique=False,
        sqlite_where=sa.text(f"audit = 1 AND {UNDECIDED}"),
        postgresql_where=sa.text(f"audit AND {UNDECIDED}"),
    )
    op.drop_index("ix_products_audit_retailer_id_id", "products")


def downgrade() -> None:
    op.create_index(
        "ix_products_audit_retailer_id_id",
        "products",
        ["retailer_id", "id"],
        unique=False,
        sqlite_where=sa.text("audit = 1"),
        postgresql_where=sa.text("audit"),
    )
    op.drop_index("ix_products_audit_retailer_id_id_prediction_id_tagged_at", "products")
    op.drop_index("ix_products_waiting_retailer_id_review_reason_suggestion", "products")
