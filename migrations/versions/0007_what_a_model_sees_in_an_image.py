"""what a model sees in an image

Revision: 0007, after 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "image_predictions",
        sa.Column(
            "features",
            sa.LargeBinary(),
            nullable=True,
            comment="int8, what the model saw, for likeness; NULL in rows older than the column.",
        ),
    )


def downgrade() -> None:
    op.drop_column("image_predictions", "features")
