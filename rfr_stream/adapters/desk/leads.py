"""Leads that were given out: which there are, whom they were given to, and who has not acknowledged the last word."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, exists, select, tuple_

from rfr_stream.adapters.ledger import records, told
from rfr_stream.adapters.ledger.database import Database
from rfr_stream.adapters.ledger.lookup import among
from rfr_stream.adapters.ledger.tables import acknowledgements, decisions, held_references, leads, outbox, subscribers
from rfr_stream.desk import EVERY_LEAD, Lead, LeadFilter, ModelFilter, Recipient
from rfr_stream.events import IdentificationConfirmed, IdentificationWithdrawn
from rfr_stream.policy import ineligibility

Acknowledged: TypeAlias = Mapping[UUID, Mapping[str, datetime]]
"""When each subscriber acknowledged each event."""


class Leads:
    """The register of leads, read alone: the ledger writes it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, now: datetime, *, only: LeadFilter = EVERY_LEAD, after: Lead | None = None, limit: int | None = None
    ) -> list[Lead]:
        """Return the leads, latest first; a page begins behind the last of the one before."""

        def found(connection: Connection) -> list[Lead]:
            # Whether a reference may be searched is asked of the policy, and not said again in SQL.
            wanted = _wanted(only, after, connection).limit(None if only.ineligible else limit)
            rows = connection.execute(wanted).mappings()
            matching = (row for row in rows if not only.ineligible or _ineligible(row, now))
            page = list(islice(matching, limit))
            registered = {row.subscriber: row.since for row in connection.execute(select(subscribers))}
            acknowledged = _acknowledged(connection, page)
            return [_to_lead(row, now, _recipients(row, registered, acknowledged)) for row in page]

        return await self._database.read(found)


def _wanted(only: LeadFilter, after: Lead | None, connection: Connection) -> Select[Any]:
    lead, withdrawal = outbox.alias(), outbox.alias()
    return (
        select(
            leads.c.lead_id,
            leads.c.withdrawal_id,
            leads.c.threshold,
            lead.c.published_at,
            lead.c.body.label("lead"),
            withdrawal.c.body.label("withdrawal"),
            *held_references.c,
        )
        .join(lead, lead.c.event_id == leads.c.lead_id)
        .outerjoin(withdrawal, withdrawal.c.event_id == leads.c.withdrawal_id)
        .outerjoin(held_references, held_references.c.reference_id == leads.c.reference_id)
        .where(*_narrowed(only, connection), *_behind(after))
        .order_by(leads.c.confirmed_at.desc(), leads.c.submission_id.desc())
    )


# --- which ----------------------------------------------------------------------------------------------------------
def _narrowed(only: LeadFilter, connection: Connection) -> Iterator[ColumnElement[bool]]:
    for name in ("gallery", "case_ref", "person_id", "reference_id"):
        if (value := getattr(only, name)) is not None:
            yield leads.c[name] == value
    yield from _by_model("detector", only.detector)
    yield from _by_model("embedder", only.embedder)
    yield from _in_range(only)
    if only.submissions is not None:
        yield among(leads.c.submission_id, only.submissions, connection.dialect)
    if only.reviewer_id is not None:
        mine = (decisions.c.submission_id == leads.c.submission_id, decisions.c.reviewer_id == only.reviewer_id)
        yield exists().where(*mine)
    if only.withdrawn is not None:
        yield leads.c.withdrawal_id.is_not(None) if only.withdrawn else leads.c.withdrawal_id.is_(None)
    if only.outstanding:
        yield told.outstanding()


def _by_model(role: str, model: ModelFilter) -> Iterator[ColumnElement[bool]]:
    for part in ModelFilter.__slots__:
        if (value := getattr(model, part)) is not None:
            yield leads.c[f"{role}_{part}"] == value


def _in_range(only: LeadFilter) -> Iterator[ColumnElement[bool]]:
    if only.threshold_from is not None:
        yield leads.c.threshold >= only.threshold_from
    if only.threshold_below is not None:
        yield leads.c.threshold < only.threshold_below
    if only.confirmed_from is not None:
        yield leads.c.confirmed_at >= only.confirmed_from
    if only.confirmed_before is not None:
        yield leads.c.confirmed_at < only.confirmed_before


def _behind(after: Lead | None) -> Iterator[ColumnElement[bool]]:
    if after is not None:
        yield tuple_(leads.c.confirmed_at, leads.c.submission_id) < (after.said.occurred_at, after.said.submission_id)


# --- whom they were given to ----------------------------------------------------------------------------------------
def _acknowledged(connection: Connection, page: Iterable[RowMapping]) -> Acknowledged:
    ids = [id_ for row in page for id_ in (row["lead_id"], row["withdrawal_id"]) if id_]
    wanted = select(acknowledgements).where(among(acknowledgements.c.acknowledged, ids, connection.dialect))
    found: defaultdict[UUID, dict[str, datetime]] = defaultdict(dict)
    for row in connection.execute(wanted):
        found[row.acknowledged][row.subscriber] = row.at
    return found


def _recipients(row: RowMapping, registered: Mapping[str, datetime], acknowledged: Acknowledged) -> Iterator[Recipient]:
    """Yield whoever was registered when the lead was published, and whoever has acknowledged it, by name."""
    published_at = row["published_at"]
    has_lead, has_withdrawal = (acknowledged.get(row[name], {}) for name in ("lead_id", "withdrawal_id"))
    at_the_time = {name for name, since in registered.items() if published_at and since <= published_at}
    for name in sorted(at_the_time | has_lead.keys()):
        yield Recipient(name, has_lead.get(name), has_withdrawal.get(name))


def _to_lead(row: RowMapping, now: datetime, recipients: Iterable[Recipient]) -> Lead:
    withdrawal = row["withdrawal"]
    return Lead(
        said=IdentificationConfirmed.model_validate_json(row["lead"]),
        threshold=row["threshold"],
        withdrawal=IdentificationWithdrawn.model_validate_json(withdrawal) if withdrawal else None,
        ineligible=_ineligible(row, now),
        recipients=tuple(recipients),
    )


def _ineligible(row: RowMapping, now: datetime) -> str | None:
    held = {column.name: row[column] for column in held_references.c}
    return ineligibility(records.to_reference(held) if held["reference_id"] else None, now)
