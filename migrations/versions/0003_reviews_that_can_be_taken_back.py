"""reviews that can be taken back

Revision: 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column(
        "reviews",
        sa.Column(
            "action",
            sa.String(length=36),
            nullable=True,
            comment="What was said in one act has one name, made by who sent it.",
        ),
    )
    op.add_column(
        "reviews",
        sa.Column(
            "before",
            JSON,
            nullable=True,
            comment="status, category, decided_by and review_reason until then; NULL in old rows.",
        ),
    )
    op.create_index(
        "ix_reviews_action_product_id", "reviews", ["action", "product_id"], unique=True
    )
    op.create_index("ix_reviews_reviewer_id", "reviews", ["reviewer", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_reviews_reviewer_id", "reviews")
    op.drop_index("ix_reviews_action_product_id", "reviews")
    op.drop_column("reviews", "before")
    op.drop_column("reviews", "action")
