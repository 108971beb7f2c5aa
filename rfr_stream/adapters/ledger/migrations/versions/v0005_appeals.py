"""What the public sent in to appeals, and what officers said of it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "contributions",
        sa.Column("contribution_id", sa.Uuid, primary_key=True),
        sa.Column("appeal_ref", sa.String(64), nullable=False),
        sa.Column("portal", sa.String(128), nullable=False),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("pixels", sa.BigInteger, nullable=False),
        sa.Column("flaw", sa.Text),
        sa.Column("group_id", sa.Uuid),
        sa.Column("demo", sa.Boolean, nullable=False),
    )
    op.create_index("contributions_by_group", "contributions", ["group_id", "pixels"])
    op.create_index("contributions_by_appeal", "contributions", ["appeal_ref", "received_at"])
    op.create_table(
        "appeal_groups",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("group_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("appeal_ref", sa.String(64), nullable=False),
        sa.Column("appeal_began_at", sa.BigInteger, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("demo", sa.Boolean, nullable=False),
        sa.Column("waits", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("decided_by", sa.String(128)),
        sa.Column("decided_at", sa.BigInteger),
        sa.Column("request", sa.Text),
        sa.Column("contribution_id", sa.Uuid),
        sa.Column("reason", sa.Text),
    )
    op.create_index("appeal_groups_by_appeal", "appeal_groups", ["appeal_ref", "sequence"])
    op.create_index("appeal_groups_waiting", "appeal_groups", ["waits", "appeal_began_at", "sequence"])
