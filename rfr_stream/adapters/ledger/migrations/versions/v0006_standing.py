"""Standing searches: the probes that later enrolments are compared with, and the references that met them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "standing_probes",
        sa.Column("submission_id", sa.Uuid, primary_key=True),
        sa.Column("embedder", sa.String(512), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("resolved", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("probe", sa.Text, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("ended_by", sa.String(128)),
        sa.Column("reason", sa.Text),
    )
    op.create_index(
        "standing_probes_now",
        "standing_probes",
        ["embedder", "until", "resolved", "submission_id"],
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "standing_meetings",
        sa.Column("submission_id", sa.Uuid, primary_key=True),
        sa.Column("reference_id", sa.Uuid, primary_key=True),
        sa.Column("person_id", sa.String(128), nullable=False),
        sa.Column("similarity", sa.Double, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("renewal", sa.Uuid),
    )
    op.create_index("ix_standing_meetings_reference_id", "standing_meetings", ["reference_id"])
    op.create_index(
        "standing_meetings_due",
        "standing_meetings",
        ["due_at", "submission_id"],
        sqlite_where=sa.text("renewal IS NULL"),
        postgresql_where=sa.text("renewal IS NULL"),
    )
