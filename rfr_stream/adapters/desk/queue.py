"""What waits for whom, and who holds it: one person at a time, for as long as a lease lasts."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, delete, func, literal, or_, select, tuple_

from rfr_stream.adapters.ledger.database import Database
from rfr_stream.adapters.ledger.tables import cases, claims, decisions, examinations
from rfr_stream.adapters.ledger.writing import insert_for
from rfr_stream.desk import EVERYTHING, Filter, Place, Waiting
from rfr_stream.events import Purpose, Source
from rfr_stream.ports import CaseState


class Queue:
    """The cases that wait for people."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(
        self, account_id: str, now: datetime, *, only: Filter = EVERYTHING, after: Place | None = None, limit: int = 50
    ) -> list[Waiting]:
        """Return what waits for this person, most urgent first, then oldest; nothing that somebody else holds.

        Not their own submissions, and nothing that they have decided: it waits for others.
        """
        order = (cases.c.urgency, cases.c.opened_at, cases.c.submission_id)
        where = [*_theirs(account_id, now), *_filtered(only)]
        if after:
            here = zip(order, (after.urgency, after.opened_at, after.submission_id), strict=True)
            where.append(tuple_(*order) > tuple_(*(literal(value, column.type) for column, value in here)))
        columns = (*order, cases.c.state, cases.c.source, cases.c.purpose, _held_by(account_id, now).label("is_mine"))
        wanted = select(*columns).where(*where).order_by(*order).limit(limit)
        rows = await self._database.read(lambda connection: connection.execute(wanted).all())
        return [_to_waiting(row) for row in rows]

    async def count(self, account_id: str, now: datetime, *, only: Filter = EVERYTHING) -> tuple[int, datetime | None]:
        """Return how many wait for this person, and since when the oldest does."""
        wanted = select(func.count(), func.min(cases.c.opened_at)).where(*_theirs(account_id, now), *_filtered(only))
        n, oldest = await self._database.read(lambda connection: connection.execute(wanted).one())
        return int(n), oldest

    async def claim(self, submission_id: UUID, account_id: str, now: datetime, until: datetime) -> bool:
        """Hold a case for this person until then, unless somebody else does; holding it already, hold it longer."""

        def take(connection: Connection) -> bool:
            row = {"submission_id": submission_id, "account_id": account_id, "until": until}
            statement = insert_for(connection, claims).values(row)
            free = or_(claims.c.until <= now, claims.c.account_id == account_id)
            taken = statement.on_conflict_do_update(index_elements=["submission_id"], set_=row, where=free)
            return connection.execute(taken).rowcount == 1

        return await self._database.write(take)

    async def holds(self, submission_id: UUID, account_id: str, now: datetime) -> bool:
        """Whether this person holds the case now."""
        mine = select(claims.c.until).where(
            claims.c.submission_id == submission_id, claims.c.account_id == account_id, claims.c.until > now
        )
        return await self._database.read(lambda connection: connection.execute(mine).first() is not None)

    async def release(self, submission_id: UUID, account_id: str) -> None:
        """Let others have it."""
        gone = delete(claims).where(claims.c.submission_id == submission_id, claims.c.account_id == account_id)
        await self._database.write(lambda connection: connection.execute(gone))


def _theirs(account_id: str, now: datetime) -> Iterator[ColumnElement[bool]]:
    """What waits for this person: sets to leave out, each read once, and not a question for each row."""
    held = select(claims.c.submission_id).where(claims.c.account_id != account_id, claims.c.until > now)
    decided = select(decisions.c.submission_id).where(decisions.c.reviewer_id == account_id)
    sent = select(examinations.c.submission_id).where(
        examinations.c.account_id == account_id, examinations.c.sent_at.is_not(None)
    )
    yield cases.c.waits
    yield cases.c.urgency.is_not(None)
    yield cases.c.submitted_by != account_id
    for others in (held, decided, sent):
        yield cases.c.submission_id.not_in(others)


def _held_by(account_id: str, now: datetime) -> ColumnElement[bool]:
    mine = select(claims.c.submission_id).where(claims.c.account_id == account_id, claims.c.until > now)
    return cases.c.submission_id.in_(mine)


def _filtered(only: Filter) -> Iterator[ColumnElement[bool]]:
    if only.source:
        yield cases.c.source == only.source.value
    if only.purpose:
        yield cases.c.purpose == only.purpose.value


def _to_waiting(row: Row[Any, Any, Any, Any, Any, Any, Any]) -> Waiting:
    fields = row._mapping  # noqa: SLF001 - SQLAlchemy's name for it
    return Waiting(
        submission_id=fields["submission_id"],
        needs_subject=fields["state"] == CaseState.AWAITING_SUBJECT,
        urgency=fields["urgency"],
        source=Source(fields["source"]),
        purpose=Purpose(fields["purpose"]),
        opened_at=fields["opened_at"],
        is_mine=bool(fields["is_mine"]),
    )
