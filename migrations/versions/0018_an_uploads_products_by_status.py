"""an upload's products by status, from indexes alone

Revision: 0018, after 0017.
"""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

OF_LEDGER = "ix_upload_items_upload_id_product_id_outcome"
OF_PRODUCTS = "ix_products_id_status"


def upgrade() -> None:
    op.create_index(OF_LEDGER, "upload_items", ["upload_id", "product_id", "outcome"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        op.create_index(OF_PRODUCTS, "products", ["id", "status"], unique=False)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index(OF_PRODUCTS, table_name="products")
    op.drop_index(OF_LEDGER, table_name="upload_items")
