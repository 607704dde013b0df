"""how sure the model is of its best category

Revision: 0012, after 0011.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


WAITING = sa.text("status = 'needs_review'")
INDEX = "ix_products_waiting_retailer_id_top_confidence_id"


def upgrade() -> None:
    op.add_column(
        "products",
        sa.Column(
            "top_confidence",
            sa.Double(),
            nullable=True,
            comment="Confidence of the model's best category; the suggestion may be its parent.",
        ),
    )
    best = (
        "CAST(predictions.top_k -> 0 ->> 'confidence' AS DOUBLE PRECISION)"
        if op.get_bind().dialect.name == "postgresql"
        else "json_extract(predictions.top_k, '$[0].confidence')"
    )
    # What waits is put in order by it; what is tagged from now on brings its own.
    op.execute(
        f"UPDATE products SET top_confidence = (SELECT {best} FROM predictions "
        "WHERE predictions.id = products.prediction_id) WHERE status = 'needs_review'"
    )
    op.create_index(
        INDEX,
        "products",
        ["retailer_id", "top_confidence", "id"],
        unique=False,
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )


def downgrade() -> None:
    op.drop_index(INDEX, table_name="products")
    op.drop_column("products", "top_confidence")
