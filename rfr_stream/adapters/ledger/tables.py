"""The ledger's tables as queries see them; `migrations/` makes them, and a test holds the two together."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    false,
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
    Index("cases_by_state", "state", "opened_at"),
)
decisions: Final = Table(
    "decisions",
    metadata,
    Column("submission_id", Uuid, ForeignKey("cases.submission_id"), primary_key=True),
    Column("reviewer_id", String(128), primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("person_id", String(128)),
    Column("body", Text, nullable=False),
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
)
erased_references: Final = Table("erased_references", metadata, Column("reference_id", Uuid, primary_key=True))
reviewers: Final = Table(
    "reviewers",
    metadata,
    Column("reviewer_id", String(128), primary_key=True),
    Column("public_key", String(64), nullable=False, unique=True),
    Column("competent_until", Instant, nullable=False),
)
