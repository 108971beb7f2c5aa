"""The ledger's tables as queries see them; `migrations/` makes them, and a test holds the two together."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    false,
    true,
)

metadata: Final = MetaData()

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware datetime as microseconds since 1970 UTC: exact, and ordered alike in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - its signature
        """To the database."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """From the database, in UTC."""
        return None if value is None else _EPOCH + value * _MICROSECOND


cases: Final = Table(
    "cases",
    metadata,
    Column("submission_id", Uuid, primary_key=True),
    Column("state", String(32), nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("outcome", String(32)),
    Column("demo", Boolean, nullable=False),
    Column("candidates", Text),
    Column("parked", Text, nullable=False),
    Column("faces", Text),
    Column("choice", Text),
    Column("withdrawal", Text),
    Column("seeded", Boolean, nullable=False, server_default=false()),
    # What the queue sorts and filters by; `waits` says that the state is one of those in which people are needed.
    Column("waits", Boolean, nullable=False, server_default=false()),
    Column("urgency", Integer),
    Column("source", String(32)),
    Column("purpose", String(32)),
    Column("submitted_by", String(128)),
    # What a disclosure asks for.
    Column("case_ref", String(128)),
    Index("cases_by_state", "state", "opened_at"),
    Index("cases_by_case_ref", "case_ref"),
)
Index(
    "cases_waiting",
    cases.c.urgency,
    cases.c.opened_at,
    cases.c.submission_id,
    cases.c.submitted_by,  # these are read there: the rows themselves carry whole lists
    cases.c.source,
    cases.c.purpose,
    cases.c.state,
    cases.c.waits,
    sqlite_where=cases.c.waits == true(),
    postgresql_where=cases.c.waits == true(),
)
decisions: Final = Table(
    "decisions",
    metadata,
    Column("submission_id", Uuid, ForeignKey("cases.submission_id"), primary_key=True),
    Column("reviewer_id", String(128), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("person_id", String(128)),
    Column("body", Text, nullable=False),
    Index("decisions_by_reviewer", "reviewer_id", "submission_id"),
)
inbox: Final = Table(
    "inbox",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("submission_id", Uuid, nullable=False),
    sqlite_with_rowid=False,
)
outbox: Final = Table(
    "outbox",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("event_id", Uuid, nullable=False, unique=True),
    Column("submission_id", Uuid, nullable=False),
    Column("type", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("refusal", String(32)),
    Column("refusal_message", Text),
    Column("published", Boolean, nullable=False, server_default=false()),
    Column("published_at", Instant),
)
Index(
    "outbox_unpublished",
    outbox.c.sequence,
    sqlite_where=outbox.c.published == false(),
    postgresql_where=outbox.c.published == false(),
)
held_references: Final = Table(
    "held_references",
    metadata,
    Column("reference_id", Uuid, primary_key=True),
    Column("person_id", String(128), nullable=False),
    Column("gallery", String(32), nullable=False),
    Column("image", Text, nullable=False),
    Column("legal_basis", Text),
    Column("source", String(128)),
    Column("captured_at", Instant),
    Column("review_due", Instant),
    Column("restricted", Boolean),
    Column("recorded_at", Instant, nullable=False),
    Column("age_at_capture", Integer),
    Column("case_ref", String(128)),
    Column("disposal", String(32)),
    Column("door", String(32), server_default="officer"),
    Column("regime", String(32)),
    Column("found", Text),
    # What stands in `disposals` about its person, so that a search reads one row for each hit.
    Column("disposed", Text, nullable=False, server_default="[]"),
    Column("image_sha256", String(64), nullable=False, server_default="", index=True),
    Column("subject", Text),
    # By this a change of model sees that somebody was corrected.
    Column("rewritten", Integer, nullable=False, server_default="0"),
    Index("held_references_by_person", "person_id"),
)
disposals: Final = Table(
    "disposals",
    metadata,
    Column("case_id", Uuid, primary_key=True),
    Column("person_id", String(128), nullable=False, index=True),
    Column("recorded_at", Instant, nullable=False),
    Column("event", Text, nullable=False),
)
# By which door an image came that nobody is held for: to be searched with, or from the public.
entrusted_images: Final = Table(
    "entrusted_images",
    metadata,
    Column("image_sha256", String(64), primary_key=True),
    Column("door", String(32), primary_key=True),
)
erased_references: Final = Table("erased_references", metadata, Column("reference_id", Uuid, primary_key=True))
conflicts: Final = Table(
    "conflicts",
    metadata,
    Column("reference_id", Uuid, primary_key=True),
    Column("other_id", Uuid, primary_key=True, index=True),
    Column("gallery", String(32), nullable=False),
    Column("likeness", String(16), nullable=False),
    Column("similarity", Double, nullable=False, index=True),
)
reviewers: Final = Table(
    "reviewers",
    metadata,
    Column("reviewer_id", String(128), primary_key=True),
    Column("public_key", String(2048), nullable=False, unique=True),
    Column("competent_until", Instant, nullable=False),
    Column("duty", String(16), nullable=False, server_default="review"),
    Column("recorded_at", Instant, nullable=False, server_default="0"),
)
seeds: Final = Table(
    "seeds",
    metadata,
    Column("submission_id", Uuid, primary_key=True),
    Column("person_id", String(128)),
    Column("event", Text, nullable=False),
    Column("sown", Boolean, nullable=False, server_default=false()),
)
# --- who is still sought ---------------------------------------------------------------------------------------------
standing_probes: Final = Table(
    "standing_probes",
    metadata,
    Column("submission_id", Uuid, primary_key=True),
    Column("embedder", String(512), nullable=False),
    Column("until", Instant, nullable=False),
    Column("resolved", Boolean, nullable=False, server_default=false()),
    Column("probe", Text, nullable=False),
    Column("ended_at", Instant),
    Column("ended_by", String(128)),
    Column("reason", Text),
)
Index(
    "standing_probes_now",
    standing_probes.c.embedder,
    standing_probes.c.until,
    standing_probes.c.resolved,
    standing_probes.c.submission_id,
    sqlite_where=standing_probes.c.ended_at.is_(None),
    postgresql_where=standing_probes.c.ended_at.is_(None),
)
standing_meetings: Final = Table(
    "standing_meetings",
    metadata,
    Column("submission_id", Uuid, primary_key=True),
    Column("reference_id", Uuid, primary_key=True, index=True),
    Column("person_id", String(128), nullable=False),
    Column("similarity", Double, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("renewal", Uuid),
)
Index(
    "standing_meetings_due",
    standing_meetings.c.due_at,
    standing_meetings.c.submission_id,
    sqlite_where=standing_meetings.c.renewal.is_(None),
    postgresql_where=standing_meetings.c.renewal.is_(None),
)
# --- which model serves ----------------------------------------------------------------------------------------------
serving: Final = Table(
    "serving", metadata, Column("id", Uuid, primary_key=True), Column("models", Text, nullable=False)
)
"""One row at most."""
# --- who was told ---------------------------------------------------------------------------------------------------
leads: Final = Table(
    "leads",
    metadata,
    Column("submission_id", Uuid, primary_key=True),
    Column("lead_id", Uuid, nullable=False, unique=True),
    Column("withdrawal_id", Uuid, index=True),
    # What leads are recalled by; all else stands in the promise itself.
    Column("confirmed_at", Instant, nullable=False),
    Column("case_ref", String(128), nullable=False, index=True),
    Column("person_id", String(128), nullable=False, index=True),
    Column("reference_id", Uuid, nullable=False, index=True),
    Column("gallery", String(32), nullable=False),
    Column("threshold", Double, nullable=False),
    Column("detector_name", String(128), nullable=False),
    Column("detector_version", String(128), nullable=False),
    Column("detector_weights_sha256", String(64), nullable=False),
    Column("embedder_name", String(128), nullable=False),
    Column("embedder_version", String(128), nullable=False),
    Column("embedder_weights_sha256", String(64), nullable=False),
    Index("leads_by_time", "confirmed_at", "submission_id"),
)
subscribers: Final = Table(
    "subscribers",
    metadata,
    Column("subscriber", String(128), primary_key=True),
    Column("since", Instant, nullable=False),
)
acknowledgements: Final = Table(
    "acknowledgements",
    metadata,
    Column("acknowledged", Uuid, primary_key=True),
    Column("subscriber", String(128), primary_key=True),
    Column("submission_id", Uuid, nullable=False, index=True),
    Column("at", Instant, nullable=False),
)
# --- the desk: people at work ---------------------------------------------------------------------------------------
accounts: Final = Table(
    "accounts",
    metadata,
    Column("account_id", String(128), primary_key=True),
    Column("roles", Text, nullable=False),
    Column("password_hash", Text),
    Column("subject", String(1024), unique=True),
    Column("invitation_sha256", String(64), unique=True),
    Column("invited_until", Instant),
    Column("public_key", String(2048)),
    Column("wrapped_key", Text),
    Column("credential_id", String(2048)),
    Column("disabled", Boolean, nullable=False, server_default=false()),
    Column("created_at", Instant, nullable=False),
)
sessions: Final = Table(
    "sessions",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    Column("account_id", String(128), nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
)
claims: Final = Table(
    "claims",
    metadata,
    Column("submission_id", Uuid, primary_key=True),
    Column("account_id", String(128), nullable=False, index=True),
    Column("until", Instant, nullable=False),
)
analyses: Final = Table(
    "analyses",
    metadata,
    Column("submission_id", Uuid, primary_key=True),
    Column("account_id", String(128), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("body", Text, nullable=False),
    Column("at", Instant, nullable=False),
)
examinations: Final = Table(
    "examinations",
    metadata,
    Column("submission_id", Uuid, primary_key=True),
    Column("account_id", String(128), primary_key=True),
    Column("order_seed", String(64)),
    Column("shown_at", Instant),
    Column("began_at", Instant),
    Column("looks", Text, nullable=False),
    Column("draft", Text),
    Column("sent_at", Instant),
    Column("revealed_at", Instant),
    Index("examinations_by_account", "account_id", "sent_at", "submission_id"),
)
access_log: Final = Table(
    "access_log",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("account_id", String(128), nullable=False),
    Column("operation", String(32), nullable=False),
    Column("about", String(256), nullable=False),
    Column("detail", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Index("access_log_about", "about", "sequence"),
)
alerts: Final = Table(
    "alerts",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("account_id", String(128), nullable=False),
    Column("submission_id", Uuid),
    Column("detail", Text, nullable=False),
)
# --- reception: machines that hand images in ------------------------------------------------------------------------
clients: Final = Table(
    "clients",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("door", String(32), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("revoked_at", Instant),
    Column("callback", String(2048)),
)
received: Final = Table(
    "received",
    metadata,
    Column("submission_id", Uuid, primary_key=True),
    Column("client", String(64), primary_key=True),
    Column("at", Instant, nullable=False),
)
receipts: Final = Table(
    "receipts",
    metadata,
    Column("client", String(64), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("at", Instant, nullable=False),
)
necessities: Final = Table(
    "necessities",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("submitted_by", String(128), nullable=False),
    Column("case_ref", String(128), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("at", Instant, nullable=False),
    Index("necessities_by_submitter", "submitted_by", "sequence"),
)
# --- what the public sent in ------------------------------------------------------------------------------------------
contributions: Final = Table(
    "contributions",
    metadata,
    Column("contribution_id", Uuid, primary_key=True),
    Column("appeal_ref", String(64), nullable=False),
    Column("portal", String(128), nullable=False),
    Column("image", Text, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("pixels", BigInteger, nullable=False),
    Column("flaw", Text),
    Column("group_id", Uuid),
    Column("demo", Boolean, nullable=False),
    Index("contributions_by_group", "group_id", "pixels"),
    Index("contributions_by_appeal", "appeal_ref", "received_at"),
)
appeal_groups: Final = Table(
    "appeal_groups",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("group_id", Uuid, nullable=False, unique=True),
    Column("appeal_ref", String(64), nullable=False),
    Column("appeal_began_at", Instant, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("demo", Boolean, nullable=False),
    # What an officer said of it: `request` is what was endorsed, and waits until it is handed in.
    Column("waits", Boolean, nullable=False, server_default=true()),
    Column("decided_by", String(128)),
    Column("decided_at", Instant),
    Column("request", Text),
    Column("contribution_id", Uuid),
    Column("reason", Text),
    Index("appeal_groups_by_appeal", "appeal_ref", "sequence"),
    Index("appeal_groups_waiting", "waits", "appeal_began_at", "sequence"),
)
