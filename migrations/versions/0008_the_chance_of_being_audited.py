"""the chance with which a tag came into the audit sample

Revision: 0008, after 0007.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "products",
        sa.Column(
            "audit_share",
            sa.Double(),
            nullable=True,
            comment="Chance (0 to 1) with which it came into the audit sample; NULL outside.",
        ),
    )
    op.add_column(
        "audit_verdicts",
        sa.Column(
            "share",
            sa.Double(),
            nullable=True,
            comment="Chance with which the tag came into the sample; NULL in old rows.",
        ),
    )
    op.add_column(
        "audit_verdicts",
        sa.Column(
            "accepted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the tag was accepted; NULL in old rows.",
        ),
    )


def downgrade() -> None:
    op.drop_column("audit_verdicts", "accepted_at")
    op.drop_column("audit_verdicts", "share")
    op.drop_column("products", "audit_share")
