"""why a line of a delivery was refused

Revision: 0016, after 0015.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Only the schema changes, however long the ledger is: no default, and no CHECK, for which
    # either database would read every row. Old rows keep NULL: what they have is a sentence.
    op.add_column(
        "upload_items",
        sa.Column(
            "code",
            sa.String(length=32),
            nullable=True,
            comment="Why rejected or skipped; NULL in old rows.",
        ),
    )


def downgrade() -> None:
    op.drop_column("upload_items", "code")
