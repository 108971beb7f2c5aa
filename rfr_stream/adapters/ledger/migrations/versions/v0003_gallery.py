"""The gallery's life: where images come from, what became of their cases, and one face under two persons."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Extend hold records; those that are there came through the officers' door, the only one there was."""
    for column in (
        sa.Column("age_at_capture", sa.Integer),
        sa.Column("case_ref", sa.String(128)),
        sa.Column("disposal", sa.String(32)),
        sa.Column("door", sa.String(32), server_default="officer"),
        sa.Column("disposed", sa.Text, nullable=False, server_default="[]"),
        sa.Column("image_sha256", sa.String(64), nullable=False, server_default=""),
    ):
        op.add_column("held_references", column)
    _know_the_images()
    op.create_index("ix_held_references_image_sha256", "held_references", ["image_sha256"])
    op.create_index("held_references_by_person", "held_references", ["person_id"])
    op.create_table(
        "disposals",
        sa.Column("case_id", sa.Uuid, primary_key=True),
        sa.Column("person_id", sa.String(128), nullable=False, index=True),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
    )
    op.create_table(
        "conflicts",
        sa.Column("reference_id", sa.Uuid, primary_key=True),
        sa.Column("other_id", sa.Uuid, primary_key=True, index=True),
        sa.Column("gallery", sa.String(32), nullable=False),
        sa.Column("likeness", sa.String(16), nullable=False),
        sa.Column("similarity", sa.Double, nullable=False, index=True),
    )


def _know_the_images() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    digest = "json_extract(image, '$.sha256')" if is_sqlite else "image::json ->> 'sha256'"
    op.execute(f"UPDATE held_references SET image_sha256 = {digest}")  # noqa: S608 - one of the two above
