"""how many products stand where, and how sure the model is

Revision: 0014, after 0013.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


BIG_ID = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")
ADD = "INSERT INTO product_counts (retailer_id, status, products)"

# A row for each statement that inserts, however many products; for each product that moves, two.
POSTGRESQL = (
    f"""
    CREATE FUNCTION count_new_products() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        {ADD} SELECT retailer_id, status, count(*) FROM fresh GROUP BY retailer_id, status;
        RETURN NULL;
    END $$
    """,
    f"""
    CREATE FUNCTION count_moved_products() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        {ADD} VALUES (OLD.retailer_id, OLD.status, -1);
        IF TG_OP = 'UPDATE' THEN
            {ADD} VALUES (NEW.retailer_id, NEW.status, 1);
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER products_inserted AFTER INSERT ON products REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION count_new_products()
    """,
    """
    CREATE TRIGGER products_moved AFTER UPDATE OF status ON products FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION count_moved_products()
    """,
    """
    CREATE TRIGGER products_deleted AFTER DELETE ON products FOR EACH ROW
    EXECUTE FUNCTION count_moved_products()
    """,
)
SQLITE = (
    f"""
    CREATE TRIGGER products_inserted AFTER INSERT ON products BEGIN
        {ADD} VALUES (NEW.retailer_id, NEW.status, 1);
    END
    """,
    f"""
    CREATE TRIGGER products_moved AFTER UPDATE OF status ON products
    WHEN OLD.status <> NEW.status BEGIN
        {ADD} VALUES (OLD.retailer_id, OLD.status, -1), (NEW.retailer_id, NEW.status, 1);
    END
    """,
    f"""
    CREATE TRIGGER products_deleted AFTER DELETE ON products BEGIN
        {ADD} VALUES (OLD.retailer_id, OLD.status, -1);
    END
    """,
)


def upgrade() -> None:
    op.create_table(
        "product_counts",
        sa.Column("id", BIG_ID, nullable=False, comment="Key."),
        sa.Column("retailer_id", BIG_ID, nullable=False, comment="Whose products."),
        sa.Column("status", sa.String(length=32), nullable=False, comment="Where they stand."),
        sa.Column(
            "products", BIG_ID, nullable=False, comment="How many more, or fewer if negative."
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_product_counts")),
        comment="How many products stand where: the sum of the rows. Triggers on products append "
        "them, the sweeper puts them together.",
    )
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    if is_postgresql:
        # Nobody inserts or moves a product between the count and the triggers.
        op.execute("LOCK TABLE products IN SHARE ROW EXCLUSIVE MODE")
    op.execute(
        f"{ADD} SELECT retailer_id, status, count(*) FROM products GROUP BY retailer_id, status"
    )
    for statement in POSTGRESQL if is_postgresql else SQLITE:
        op.execute(sa.text(statement))
    if is_postgresql:
        op.create_index(
            "ix_products_status_confidence", "products", ["status", "confidence"], unique=False
        )
    op.create_index("ix_batches_finished_at", "batches", ["finished_at"], unique=False)


def downgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    op.drop_index("ix_batches_finished_at", table_name="batches")
    for name in ("products_inserted", "products_moved", "products_deleted"):
        op.execute(f"DROP TRIGGER {name}" + (" ON products" if is_postgresql else ""))
    if is_postgresql:
        op.drop_index("ix_products_status_confidence", table_name="products")
        op.execute("DROP FUNCTION count_new_products()")
        op.execute("DROP FUNCTION count_moved_products()")
    op.drop_table("product_counts")
