"""Which model serves: one row, once a model was changed. And whose face a reference image is held for."""

import sqlalchemy as sa
from alembic import op

revision = "0007_models"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the column; of images that are there, nothing was kept."""
    op.create_table(
        "serving",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("models", sa.Text, nullable=False),
    )
    op.add_column("held_references", sa.Column("subject", sa.Text))
