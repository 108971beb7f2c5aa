"""By which door an image came that was searched with, or that the public sent in."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007_unit"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; of what came before, nothing was kept."""
    op.create_table(
        "entrusted_images",
        sa.Column("image_sha256", sa.String(64), primary_key=True),
        sa.Column("door", sa.String(32), primary_key=True),
    )
