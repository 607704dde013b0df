"""the newest opinions of a person

Revision: 0011, after 0010.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_opinions_reviewer_id", "opinions", ["reviewer", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_opinions_reviewer_id", table_name="opinions")
