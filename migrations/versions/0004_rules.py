"""rules of the retailers, in versions

Revision: 0004, after 0003.
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
# SQLite numbers rows by itself only in a column that is exactly INTEGER PRIMARY KEY.
BIG_ID = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")

RETAILERS = sa.table(
    "retailers",
    sa.column("id", BIG_ID),
    sa.column("target_precision", sa.Double()),
    sa.column("accept_parent", sa.Boolean()),
    sa.column("created_at", sa.DateTime(timezone=True)),
)
VERSIONS = sa.table(
    "rule_versions",
    sa.column("retailer_id", BIG_ID),
    sa.column("number", sa.Integer()),
    sa.column("text", sa.Text()),
    sa.column("rules", JSON),
    sa.column("created_by", sa.String()),
    sa.column("created_at", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    op.create_table(
        "rule_versions",
        sa.Column("id", BIG_ID, nullable=False, comment="Key."),
        sa.Column("retailer_id", BIG_ID, nullable=False, comment="Whose."),
        sa.Column("number", sa.Integer(), nullable=False, comment="1, 2, 3 ..."),
        sa.Column("text", sa.Text(), nullable=False, comment="The rule file as a person wrote it."),
        sa.Column("rules", JSON, nullable=False, comment="The same, read and checked."),
        sa.Column(
            "created_by",
            sa.String(length=100),
            nullable=False,
            comment="Who put it in force.",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When."),
        sa.ForeignKeyConstraint(
            ["retailer_id"], ["retailers.id"], name=op.f("fk_rule_versions_retailer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rule_versions")),
        sa.UniqueConstraint(
            "retailer_id", "number", name=op.f("uq_rule_versions_retailer_id_number")
        ),
        comment="Every version of a retailer's rules; the highest number is in force.",
    )
    asked = op.get_bind().execute(
        sa.select(RETAILERS).where(
            sa.or_(RETAILERS.c.target_precision.is_not(None), RETAILERS.c.accept_parent)
        )
    )
    for row in asked.all():
        rules: dict[str, object] = {"accept_parent": bool(row.accept_parent)}
        if row.target_precision is not None:
            rules["target_precision"] = row.target_precision
        op.get_bind().execute(
            sa.insert(VERSIONS).values(
                retailer_id=row.id,
                number=1,
                text=json.dumps(rules, indent=2),
                rules=rules,
                created_by="migration",
                created_at=row.created_at,
            )
        )
    op.drop_column("retailers", "accept_parent")
    op.drop_column("retailers", "target_precision")


def downgrade() -> None:
    op.add_column(
        "retailers",
        sa.Column(
            "target_precision",
            sa.Double(),
            nullable=True,
            comment="How much of what is accepted must be right, 0 to 1; NULL for the model's own.",
        ),
    )
    op.add_column(
        "retailers",
        sa.Column(
            "accept_parent",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="Whether a parent category is accepted where only the parent is sure enough.",
        ),
    )
    newest = sa.select(VERSIONS).order_by(VERSIONS.c.number)
    for row in op.get_bind().execute(newest).all():
        op.get_bind().execute(
            sa.update(RETAILERS)
            .where(RETAILERS.c.id == row.retailer_id)
            .values(
                target_precision=row.rules.get("target_precision"),
                accept_parent=bool(row.rules.get("accept_parent", False)),
            )
        )
    op.drop_table("rule_versions")
