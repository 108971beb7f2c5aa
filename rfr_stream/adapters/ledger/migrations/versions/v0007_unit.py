"""What the unit says of the images that it gives us to hold, and where clients are told what became of theirs."""

import sqlalchemy as sa
from alembic import op

revision = "0007_unit"
down_revision = "0007_models"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Extend hold records and clients; nobody asked for any of it before."""
    op.add_column("held_references", sa.Column("regime", sa.String(32)))
    op.add_column("held_references", sa.Column("found", sa.Text))
    op.add_column("clients", sa.Column("callback", sa.String(2048)))
