"""The review desk: versions of decisions, subjects to choose, known answers, acknowledgements, and people at work."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Final
from uuid import UUID

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
        AND NOT EXISTS (SELECT 1 FROM seeds WHERE submission_id = NEW.submission_id AND sown)
        AND EXISTS (
            SELECT said.person_id FROM decisions said
            WHERE said.submission_id = NEW.submission_id AND said.person_id = {named}
            AND NOT EXISTS (
                SELECT 1 FROM decisions later
                WHERE later.submission_id = said.submission_id AND later.reviewer_id = said.reviewer_id
                AND later.version > said.version
            )
            GROUP BY said.person_id HAVING count(DISTINCT said.reviewer_id) >= 2
        )
    )
"""
_WAITS: Final = "state IN ('awaiting_subject', 'awaiting_review', 'awaiting_second_review', 'awaiting_third_review')"
_OF_SUBMISSION: Final = ("source", "purpose", "submitted_by", "case_ref")
_STANDS: Final = "1 = 1"
_MODELS: Final = ("detector", "embedder")
_PARTS: Final = ("name", "version", "weights_sha256")
_GIVEN: Final = ", ".join(
    (
        *("submission_id", "lead_id", "confirmed_at", "case_ref", "person_id", "reference_id", "gallery", "threshold"),
        *(f"{role}_{part}" for role, part in product(_MODELS, _PARTS)),
    )
)
"""Of a lead, all but whether it was withdrawn."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OUTBOX: Final = sa.table(
    "outbox",
    sa.column("event_id", sa.Uuid),
    sa.column("submission_id", sa.Uuid),
    sa.column("type", sa.String),
    sa.column("body", sa.Text),
)
_CASES: Final = sa.table("cases", sa.column("submission_id", sa.Uuid), sa.column("candidates", sa.Text))
_GUARDS: Final = {
    "outbox_needs_two_people": (
        "BEFORE INSERT ON outbox",
        _UNLESS_TWO_PEOPLE,
        "an identification needs a confirmed case and two reviewers who name the person that it names",
    ),
    "decisions_stand": ("BEFORE UPDATE ON decisions", _STANDS, "a decision is never changed"),
    "decisions_are_kept": ("BEFORE DELETE ON decisions", _STANDS, "a decision is never deleted"),
    "leads_stand": (
        f"BEFORE UPDATE OF {_GIVEN} ON leads",
        _STANDS,
        "what a lead was given out on is never changed",
    ),
    "leads_are_kept": ("BEFORE DELETE ON leads", _STANDS, "a lead that was given out is never forgotten"),
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
    _leads()
    _people()
    _at_work()
    _logs()
    sqlite = op.get_bind().dialect.name == "sqlite"
    named = "json_extract(NEW.body, '$.person_id')" if sqlite else "NEW.body::json ->> 'person_id'"
    for name, (when, forbidden, why) in _GUARDS.items():
        guard(name, when, forbidden.format(named=named), why)


def _cases() -> None:
    for column in (
        sa.Column("faces", sa.Text),
        sa.Column("choice", sa.Text),
        sa.Column("withdrawal", sa.Text),
        sa.Column("seeded", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("waits", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("urgency", sa.Integer),
        sa.Column("source", sa.String(32)),
        sa.Column("purpose", sa.String(32)),
        sa.Column("submitted_by", sa.String(128)),
        sa.Column("case_ref", sa.String(128)),
    ):
        op.add_column("cases", column)
    _know_the_queue()
    op.create_index("cases_by_case_ref", "cases", ["case_ref"])
    op.execute(f"UPDATE cases SET waits = ({_WAITS})")  # noqa: S608 - our own states
    waits = sa.column("waits", sa.Boolean) == sa.true()
    op.create_index(
        "cases_waiting",
        "cases",
        ["urgency", "opened_at", "submission_id", "submitted_by", "source", "purpose", "state", "waits"],
        sqlite_where=waits,
        postgresql_where=waits,
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
    with op.batch_alter_table("reviewers") as reviewers:
        reviewers.alter_column("public_key", type_=sa.String(2048))
        reviewers.add_column(sa.Column("duty", sa.String(16), nullable=False, server_default="review"))
        reviewers.add_column(sa.Column("recorded_at", sa.BigInteger, nullable=False, server_default="0"))
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


def _leads() -> None:
    leads = op.create_table(
        "leads",
        sa.Column("submission_id", sa.Uuid, primary_key=True),
        sa.Column("lead_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("withdrawal_id", sa.Uuid, index=True),
        sa.Column("confirmed_at", sa.BigInteger, nullable=False),
        sa.Column("case_ref", sa.String(128), nullable=False, index=True),
        sa.Column("person_id", sa.String(128), nullable=False, index=True),
        sa.Column("reference_id", sa.Uuid, nullable=False, index=True),
        sa.Column("gallery", sa.String(32), nullable=False),
        sa.Column("threshold", sa.Double, nullable=False),
        sa.Column("detector_name", sa.String(128), nullable=False),
        sa.Column("detector_version", sa.String(128), nullable=False),
        sa.Column("detector_weights_sha256", sa.String(64), nullable=False),
        sa.Column("embedder_name", sa.String(128), nullable=False),
        sa.Column("embedder_version", sa.String(128), nullable=False),
        sa.Column("embedder_weights_sha256", sa.String(64), nullable=False),
    )
    op.create_index("leads_by_time", "leads", ["confirmed_at", "submission_id"])
    op.bulk_insert(leads, list(_given_out(op.get_bind())))
    op.execute(
        "UPDATE outbox SET published_at = (SELECT confirmed_at FROM leads WHERE submission_id = outbox.submission_id) "
        "WHERE published AND type LIKE 'rfr.identification-%'"
    )


def _given_out(connection: sa.Connection) -> Iterator[dict[str, object]]:
    """Yield the leads that were given out before there was a register of them."""
    lead, withdrawal = _OUTBOX.alias(), _OUTBOX.alias()
    its_withdrawal = sa.and_(
        withdrawal.c.submission_id == lead.c.submission_id, withdrawal.c.type == "rfr.identification-withdrawn.v1"
    )
    found = (
        sa.select(lead, withdrawal.c.event_id.label("withdrawal_id"), _CASES.c.candidates)
        .join(_CASES, _CASES.c.submission_id == lead.c.submission_id)
        .outerjoin(withdrawal, its_withdrawal)
        .where(lead.c.type == "rfr.identification-confirmed.v1")
    )
    for row in connection.execute(found):
        said = json.loads(row.body)
        yield {
            "submission_id": row.submission_id,
            "lead_id": row.event_id,
            "withdrawal_id": row.withdrawal_id,
            "confirmed_at": (datetime.fromisoformat(said["occurred_at"]) - _EPOCH) // timedelta(microseconds=1),
            **{name: said[name] for name in ("case_ref", "person_id", "gallery")},
            "reference_id": UUID(said["reference_id"]),
            "threshold": json.loads(row.candidates)["threshold"],
            **{f"{role}_{part}": said[role][part] for role, part in product(_MODELS, _PARTS)},
        }


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
        sa.Column("began_at", sa.BigInteger),
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
