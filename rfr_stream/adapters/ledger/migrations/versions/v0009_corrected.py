"""How often a reference was written again, so that no change of model slips past a correction."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column: counting begins here."""
    op.add_column("held_references", sa.Column("rewritten", sa.Integer, nullable=False, server_default="0"))
