"""Which model serves: one row, once a model was changed."""

import sqlalchemy as sa
from alembic import op

revision = "0007_models"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "serving",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("models", sa.Text, nullable=False),
    )
