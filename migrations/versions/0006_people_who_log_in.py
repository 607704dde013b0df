"""people who log in

Revision: 0006, after 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


BIG_ID = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")
TIME = sa.DateTime(timezone=True)
ROLE = sa.Enum(
    "viewer",
    "reviewer",
    "admin",
    name="role",
    native_enum=False,
    create_constraint=True,
    length=32,
)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", BIG_ID, nullable=False, comment="Key."),
        sa.Column(
            "name",
            sa.String(length=100),
            nullable=False,
            comment="How they log in and sign reviews.",
        ),
        sa.Column("role", ROLE, nullable=False, comment="viewer, reviewer or admin."),
        sa.Column(
            "password_hash",
            sa.String(length=200),
            nullable=True,
            comment="argon2id; NULL for who comes by a link only.",
        ),
        sa.Column(
            "failures",
            sa.Integer(),
            nullable=False,
            comment="Wrong passwords since the last right one.",
        ),
        sa.Column(
            "locked_until", TIME, nullable=True, comment="No password is looked at until then."
        ),
        sa.Column("disabled_at", TIME, nullable=True, comment="Since when they are kept out."),
        sa.Column("created_at", TIME, nullable=False, comment="When the account was made."),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
        comment="People who log in to the pages.",
    )
    op.create_table(
        "login_links",
        sa.Column(
            "token_hash",
            sa.String(length=64),
            nullable=False,
            comment="sha256 of the link's secret.",
        ),
        sa.Column("user_id", BIG_ID, nullable=False, comment="Whom."),
        sa.Column("expires_at", TIME, nullable=False, comment="Until when it works."),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_login_links_user_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_login_links")),
        comment="Links that let somebody in once.",
    )
    op.create_table(
        "web_sessions",
        sa.Column(
            "token_hash", sa.String(length=64), nullable=False, comment="sha256 of the cookie."
        ),
        sa.Column("user_id", BIG_ID, nullable=False, comment="Who."),
        sa.Column(
            "csrf",
            sa.String(length=64),
            nullable=False,
            comment="What every changing request must name.",
        ),
        sa.Column("created_at", TIME, nullable=False, comment="When they logged in."),
        sa.Column("expires_at", TIME, nullable=False, comment="Until when; use prolongs it."),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_web_sessions_user_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_web_sessions")),
        comment="Browsers that are logged in.",
    )
    op.create_index("ix_web_sessions_user_id", "web_sessions", ["user_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_web_sessions_user_id", "web_sessions")
    for table in ("web_sessions", "login_links", "users"):
        op.drop_table(table)
