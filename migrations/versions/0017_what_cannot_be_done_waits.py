"""what cannot be done waits before it is tried again

Revision: 0017, after 0016.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "batches",
        sa.Column(
            "hindered",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="How often in a row it could not be done.",
        ),
    )
    op.add_column(
        "batches",
        sa.Column(
            "not_before",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it is tried again, if it could not be done.",
        ),
    )


def downgrade() -> None:
    op.drop_column("batches", "not_before")
    op.drop_column("batches", "hindered")
