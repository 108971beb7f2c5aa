"""Who was told of a lead, and whether the last word on it has reached them."""

from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Connection, bindparam, func, or_, select, update

from rfr_stream.adapters._fold import Folded
from rfr_stream.adapters.ledger import records
from rfr_stream.adapters.ledger.tables import acknowledgements, leads, outbox, subscribers
from rfr_stream.events import IdentificationConfirmed, IdentificationWithdrawn


def given_out(folded: Folded) -> Iterator[records.Row]:
    """Yield the rows of the leads that a batch gives out, each with the threshold of the list that it is from."""
    for submission_id, promised in folded.outgoing:
        if isinstance(promised.event, IdentificationConfirmed):
            yield records.lead_row(promised.event, folded.cases[submission_id].candidates)


def take_back(connection: Connection, folded: Folded) -> None:
    """Note which leads a batch withdraws."""
    withdrawals: list[dict[str, UUID]] = [
        {"about": submission_id, "withdrawal": promised.event.event_id}
        for submission_id, promised in folded.outgoing
        if isinstance(promised.event, IdentificationWithdrawn)
    ]
    if withdrawals:
        mine = update(leads).where(leads.c.submission_id == bindparam("about"))
        connection.execute(mine.values(withdrawal_id=bindparam("withdrawal")), withdrawals)


def outstanding() -> ColumnElement[bool]:
    """Whether somebody who was told of a lead has not acknowledged the last word on it: itself, or its withdrawal."""
    lead, had = outbox.alias(), acknowledgements.alias()
    registered = select(subscribers).where(
        lead.c.event_id == leads.c.lead_id,
        subscribers.c.since <= lead.c.published_at,
        _lacks_last_word(subscribers.c.subscriber),
    )
    acknowledged = select(had).where(had.c.acknowledged == leads.c.lead_id, _lacks_last_word(had.c.subscriber))
    return or_(registered.exists(), acknowledged.exists())


def _lacks_last_word(subscriber: Column[str]) -> ColumnElement[bool]:
    has, last_word = acknowledgements.alias(), func.coalesce(leads.c.withdrawal_id, leads.c.lead_id)
    received = select(has).where(has.c.acknowledged == last_word, has.c.subscriber == subscriber)
    return ~received.correlate_except(has).exists()
