"""The review desk: versions of decisions, subjects to choose, known answers, acknowledgements, and people at work."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from rfr_stream.adapters.ledger.migrations.guards import guard, lift

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_UNLESS_TWO_PEOPLE: Final = """
    NEW.type LIKE 'rfr.identification-confirmed.%'
    AND NOT (
        EXISTS (
            SELECT 1 FROM cases WHERE submission_id = NEW.submission_id AND state = 'confirmed' AND NOT seeded
        )
        AND NOT EXISTS (SELECT 1 FROM seeds WHERE submission_id = NEW.submission_id)
        AND EXISTS (
            SELECT said.person_id FROM decisions said
            WHERE said.submission_id = NEW.submission_id AND said.person_id IS NOT NULL
            AND NOT EXISTS (
                SELECT 1 FROM decisions later
                WHERE later.submission_id = said.submission_id AND later.reviewer_id = said.reviewer_id
                AND later.version > said.version
            )
            GROUP BY said.person_id HAVING count(DISTINCT said.reviewer_id) >= 2
        )
    )
"""
_WAITING: Final = sa.text(
    "state IN ('awaiting_subject', 'awaiting_review', 'awaiting_second_review', 'awaiting_third_review')"
)
_OF_SUBMISSION: Final = ("source", "purpose", "submitted_by", "case_ref")
_STANDS: Final = "1 = 1"
_GUARDS: Final = {
    "outbox_needs_two_people": (
        "BEFORE INSERT ON outbox",
        _UNLESS_TWO_PEOPLE,
        "an identification needs a confirmed case and two reviewers who name the same person",
    ),
    "decisions_stand": ("BEFORE UPDATE ON decisions", _STANDS, "a decision is never changed"),
    "decisions_are_kept": ("BEFORE DELETE ON decisions", _STANDS, "a decision is never deleted"),
    "analyses_stand": ("BEFORE UPDATE ON analyses", _STANDS, "an analysis is never changed"),
    "analyses_are_kept": ("BEFORE DELETE ON analyses", _STANDS, "an analysis is never deleted"),
    "access_log_stands": ("BEFORE UPDATE ON access_log", _STANDS, "the log is never changed"),
    "access_log_is_kept": ("BEFORE DELETE ON access_log", _STANDS, "the log is never shortened"),
}


def upgrade() -> None:
    """Extend the ledger, then add the desk."""
    for name, table in (
        ("outbox_needs_two_people", "outbox"),
        ("decisions_stand", "decisions"),
        ("decisions_are_kept", "decisions"),
    ):
        lift(name, table)
    _cases()
    _decisions()
    _registers()
    _people()
    _at_work()
    _logs()
    for name, (when, forbidden, why) in _GUARDS.items():
        guard(name, when, forbidden, why)


def _cases() -> None:
    for column in (
        sa.Column("faces", sa.Text),
        sa.Column("choice", sa.Text),
        sa.Column("withdrawal", sa.Text),
        sa.Column("seeded", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("urgency", sa.Integer),
        sa.Column("source", sa.String(32)),
        sa.Column("purpose", sa.String(32)),
        sa.Column("submitted_by", sa.String(128)),
        sa.Column("case_ref", sa.String(128)),
    ):
        op.add_column("cases", column)
    _know_the_queue()
    op.create_index("cases_by_case_ref", "cases", ["case_ref"])
    op.create_index(
        "cases_waiting",
        "cases",
        ["urgency", "opened_at", "submission_id", "submitted_by", "source", "purpose", "state"],
        sqlite_where=_WAITING,
        postgresql_where=_WAITING,
    )
    op.add_column("outbox", sa.Column("published_at", sa.BigInteger))


def _know_the_queue() -> None:
    """Of the cases that are there, know what is known of new ones: nobody would be offered them, or find them again."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    of = "json_extract(candidates, '$.submission.{0}')" if is_sqlite else "candidates::json -> 'submission' ->> '{0}'"
    fields = ", ".join(f"{name} = {of.format(name)}" for name in _OF_SUBMISSION)
    op.execute(f"UPDATE cases SET {fields} WHERE candidates IS NOT NULL")  # noqa: S608 - names of columns
    urgency = "CASE purpose WHEN 'missing' THEN 2 WHEN 'victim' THEN 3 ELSE 4 END"  # nobody had said what harm there is
    op.execute(f"UPDATE cases SET urgency = {urgency} WHERE candidates IS NOT NULL")  # noqa: S608 - the line above


def _decisions() -> None:
    """One row for each version; a key cannot be changed in place on SQLite."""
    op.rename_table("decisions", "decisions_0001")
    op.create_table(
        "decisions",
        sa.Column("submission_id", sa.Uuid, sa.ForeignKey("cases.submission_id"), primary_key=True),
        sa.Column("reviewer_id", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("person_id", sa.String(128)),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.execute(
        "INSERT INTO decisions (submission_id, reviewer_id, version, ordinal, person_id, body) "
        "SELECT submission_id, reviewer_id, 1, ordinal, person_id, body FROM decisions_0001"
    )
    op.drop_table("decisions_0001")
    op.create_index("decisions_by_reviewer", "decisions", ["reviewer_id", "submission_id"])


def _registers() -> None:
    op.add_column("reviewers", sa.Column("duty", sa.String(16), nullable=False, server_default="review"))
    op.add_column("reviewers", sa.Column("recorded_at", sa.BigInteger, nullable=False, server_default="0"))
    if op.get_bind().dialect.name != "sqlite":  # which keeps no lengths
        op.alter_column("reviewers", "public_key", type_=sa.String(2048))
    op.create_table(
        "seeds",
        sa.Column("submission_id", sa.Uuid, primary_key=True),
        sa.Column("person_id", sa.String(128)),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("sown", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "acknowledgements",
        sa.Column("acknowledged", sa.Uuid, primary_key=True),
        sa.Column("subscriber", sa.String(128), primary_key=True),
        sa.Column("submission_id", sa.Uuid, nullable=False, index=True),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "subscribers",
        sa.Column("subscriber", sa.String(128), primary_key=True),
        sa.Column("since", sa.BigInteger, nullable=False),
    )


def _people() -> None:
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.String(128), primary_key=True),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text),
        sa.Column("subject", sa.String(1024), unique=True),
        sa.Column("invitation_sha256", sa.String(64), unique=True),
        sa.Column("invited_until", sa.BigInteger),
        sa.Column("public_key", sa.String(2048)),
        sa.Column("wrapped_key", sa.Text),
        sa.Column("credential_id", sa.String(2048)),
        sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("token_sha256", sa.String(64), primary_key=True),
        sa.Column("account_id", sa.String(128), nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
    )


def _at_work() -> None:
    op.create_table(
        "claims",
        sa.Column("submission_id", sa.Uuid, primary_key=True),
        sa.Column("account_id", sa.String(128), nullable=False, index=True),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "analyses",
        sa.Column("submission_id", sa.Uuid, primary_key=True),
        sa.Column("account_id", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "examinations",
        sa.Column("submission_id", sa.Uuid, primary_key=True),
        sa.Column("account_id", sa.String(128), primary_key=True),
        sa.Column("order_seed", sa.String(64)),
        sa.Column("shown_at", sa.BigInteger),
        sa.Column("looks", sa.Text, nullable=False),
        sa.Column("draft", sa.Text),
        sa.Column("sent_at", sa.BigInteger),
        sa.Column("revealed_at", sa.BigInteger),
    )
    op.create_index("examinations_by_account", "examinations", ["account_id", "sent_at", "submission_id"])


def _logs() -> None:
    op.create_table(
        "access_log",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("account_id", sa.String(128), nullable=False),
        sa.Column("operation", sa.String(32), nullable=False),
        sa.Column("about", sa.String(256), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    op.create_index("access_log_about", "access_log", ["about", "sequence"])
    op.create_table(
        "alerts",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("account_id", sa.String(128), nullable=False),
        sa.Column("submission_id", sa.Uuid),
        sa.Column("detail", sa.Text, nullable=False),
    )
