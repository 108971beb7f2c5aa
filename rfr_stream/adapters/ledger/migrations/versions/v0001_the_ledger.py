"""The ledger: cases, decisions, inbox, outbox, references, reviewers, and the constraint that guards the outbox."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from rfr_stream.adapters.ledger.migrations.guards import guard

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_UNLESS_TWO_PEOPLE: Final = """
    NEW.type LIKE 'rfr.identification-confirmed.%'
    AND NOT (
        EXISTS (SELECT 1 FROM cases WHERE submission_id = NEW.submission_id AND state = 'confirmed')
        AND EXISTS (
            SELECT person_id FROM decisions
            WHERE submission_id = NEW.submission_id AND person_id IS NOT NULL
            GROUP BY person_id HAVING count(DISTINCT reviewer_id) >= 2
        )
    )
"""
_GUARDS: Final = {
    "outbox_needs_two_people": (
        "BEFORE INSERT ON outbox",
        _UNLESS_TWO_PEOPLE,
        "an identification needs a confirmed case and two reviewers who name the same person",
    ),
    "outbox_says_what_was_promised": (
        "BEFORE UPDATE OF sequence, event_id, submission_id, type, body ON outbox",
        "1 = 1",
        "what was promised is never changed",
    ),
    "decisions_stand": ("BEFORE UPDATE ON decisions", "1 = 1", "a decision is never changed"),
    "decisions_are_kept": ("BEFORE DELETE ON decisions", "1 = 1", "a decision is never deleted"),
    "outbox_keeps_its_promises": (
        "BEFORE DELETE ON outbox",
        "NOT OLD.published OR OLD.type LIKE 'rfr.identification-%'",
        "what was promised is never deleted before it is said, and what was said of a person never",
    ),
}


def upgrade() -> None:
    """Make the tables, then their guards."""
    _cases()
    _boxes()
    _registers()
    for name, (when, forbidden, why) in _GUARDS.items():
        guard(name, when, forbidden, why)


def _cases() -> None:
    op.create_table(
        "cases",
        sa.Column("submission_id", sa.Uuid, primary_key=True),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.String(32)),
        sa.Column("demo", sa.Boolean, nullable=False),
        sa.Column("candidates", sa.Text),
        sa.Column("parked", sa.Text, nullable=False),
    )
    op.create_index("cases_by_state", "cases", ["state", "opened_at"])
    op.create_table(
        "decisions",
        sa.Column("submission_id", sa.Uuid, sa.ForeignKey("cases.submission_id"), primary_key=True),
        sa.Column("reviewer_id", sa.String(128), primary_key=True),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("person_id", sa.String(128)),
        sa.Column("body", sa.Text, nullable=False),
    )


def _boxes() -> None:
    op.create_table(
        "inbox",
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("submission_id", sa.Uuid, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outbox",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("submission_id", sa.Uuid, nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("refusal", sa.String(32)),
        sa.Column("refusal_message", sa.Text),
        sa.Column("published", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    unpublished = sa.column("published") == sa.false()
    op.create_index(
        "outbox_unpublished", "outbox", ["sequence"], sqlite_where=unpublished, postgresql_where=unpublished
    )


def _registers() -> None:
    op.create_table(
        "held_references",
        sa.Column("reference_id", sa.Uuid, primary_key=True),
        sa.Column("person_id", sa.String(128), nullable=False),
        sa.Column("gallery", sa.String(32), nullable=False),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("legal_basis", sa.Text),
        sa.Column("source", sa.String(128)),
        sa.Column("captured_at", sa.BigInteger),
        sa.Column("review_due", sa.BigInteger),
        sa.Column("restricted", sa.Boolean),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
    )
    op.create_table("erased_references", sa.Column("reference_id", sa.Uuid, primary_key=True))
    op.create_table(
        "reviewers",
        sa.Column("reviewer_id", sa.String(128), primary_key=True),
        sa.Column("public_key", sa.String(64), nullable=False, unique=True),
        sa.Column("competent_until", sa.BigInteger, nullable=False),
    )
