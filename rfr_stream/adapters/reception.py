"""The reception's tables, in the ledger's database: who may hand in, what each handed in, and what was said of it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select, update

from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.ledger.lookup import among
from rfr_stream.adapters.ledger.tables import cases, clients, necessities, receipts, received
from rfr_stream.errors import NotPermitted
from rfr_stream.events import Outcome, SubmissionClosed, derive_id
from rfr_stream.policy import RECENT_STATEMENTS, Stated, is_boilerplate
from rfr_stream.ports import CaseState
from rfr_stream.reception import Client, Door
from rfr_stream.review import is_overtaken

RECEIPTS_KEPT: Final = timedelta(days=7)
"""So long a client may ask again with the same key; afterwards the derived ids alone keep things single."""


class SqlReception:
    """What the doors read and write. It lives as long as its ledger is open."""

    def __init__(self, ledger: SqlLedger) -> None:
        """Share the ledger's connections."""
        self._database = ledger.database

    # --- who may hand in --------------------------------------------------------------------------------------------
    async def add(self, name: str, door: Door, callback: str | None = None) -> Client:
        """Let a machine in by a door, to be told there; one that was revoked comes back with another token.

        Raises:
            NotPermitted: it is in already.

        """

        def adding(connection: Connection) -> Client:
            self._lock(connection, "client", name)
            before = _client(connection, name)
            if before and before.revoked_at is None:
                msg = "name: there is a client of this name; revoke it first"
                raise NotPermitted(msg)
            connection.execute(delete(clients).where(clients.c.name == name))
            client = Client(name, door, before.generation + 1 if before else 1, callback=callback)
            fields = {"name": name, "door": door, "generation": client.generation, "callback": callback}
            connection.execute(insert(clients).values(**fields))
            return client

        return await self._database.write(adding)

    async def revoke(self, name: str, at: datetime) -> None:
        """Keep a machine out from now on.

        Raises:
            NotPermitted: there is none of this name.

        """
        revoking = update(clients).where(clients.c.name == name, clients.c.revoked_at.is_(None)).values(revoked_at=at)

        def revoke(connection: Connection) -> None:
            if _client(connection, name) is None:
                msg = "name: there is no client of this name"
                raise NotPermitted(msg)
            connection.execute(revoking)

        await self._database.write(revoke)

    async def call_back(self, name: str, callback: str | None) -> None:
        """Tell a client there from now on what becomes of what it sent; None: nowhere.

        Raises:
            NotPermitted: there is none of this name that may hand in.

        """
        setting = update(clients).where(clients.c.name == name, clients.c.revoked_at.is_(None))

        def set_(connection: Connection) -> None:
            if not connection.execute(setting.values(callback=callback)).rowcount:
                msg = "name: there is no client of this name that may hand in"
                raise NotPermitted(msg)

        await self._database.write(set_)

    async def to_tell(self, outcomes: Sequence[SubmissionClosed]) -> Mapping[UUID, Sequence[Client]]:
        """Return, by event id, the clients that sent what it is about, and are to be told.

        Nobody is to be told what review has overtaken: the case says otherwise.
        """
        submissions = {closed.submission_id for closed in outcomes}

        def told(connection: Connection) -> Mapping[UUID, Sequence[Client]]:
            mine = among(received.c.submission_id, submissions, connection.dialect)
            may = (clients.c.callback.is_not(None), clients.c.revoked_at.is_(None))
            joined = select(received.c.submission_id, clients).join(received, received.c.client == clients.c.name)
            sent = defaultdict[UUID, list[Client]](list)
            for row in connection.execute(joined.where(mine, *may).order_by(clients.c.name)).mappings():
                fields = dict(row)
                sent[fields.pop("submission_id")].append(_to_client(**fields))
            theirs = [closed for closed in outcomes if closed.submission_id in sent]
            late = _overtaken(connection, theirs)
            return {closed.event_id: sent[closed.submission_id] for closed in theirs if closed.event_id not in late}

        return await self._database.read(told)

    async def client(self, name: str) -> Client | None:
        """Return the client of this name, also one that was revoked."""
        return await self._database.read(lambda connection: _client(connection, name))

    async def clients(self) -> list[Client]:
        """Return all that ever were, by name."""
        wanted = select(clients).order_by(clients.c.name)
        return await self._database.read(
            lambda connection: [_to_client(**row) for row in connection.execute(wanted).mappings()]
        )

    # --- what they handed in ----------------------------------------------------------------------------------------
    async def reserve(self, client: str, key: str, digest: str, at: datetime) -> bool:
        """Return whether this client may use this key for a request of this digest: it is new, or was for the same."""
        mine = select(receipts.c.digest).where(receipts.c.client == client, receipts.c.key == key)
        old = delete(receipts).where(receipts.c.client == client, receipts.c.at < at - RECEIPTS_KEPT)

        def reserving(connection: Connection) -> bool:
            self._lock(connection, "receipt", client, key)
            connection.execute(old)
            before = connection.execute(mine).scalar_one_or_none()
            if before is None:
                connection.execute(insert(receipts).values(client=client, key=key, digest=digest, at=at))
            return before in {None, digest}

        return await self._database.write(reserving)

    async def note(self, client: str, submissions: Sequence[UUID], at: datetime) -> None:
        """Remember what a client handed in: it may ask what became of it."""

        def noting(connection: Connection) -> None:
            for submission_id in sorted(set(submissions)):
                self._lock(connection, "received", submission_id, client)
                if not _has_sent(connection, client, submission_id):
                    connection.execute(insert(received).values(submission_id=submission_id, client=client, at=at))

        await self._database.write(noting)

    async def has_sent(self, client: str, submission_id: UUID) -> bool:
        """Whether this client handed this in."""
        return await self._database.read(lambda connection: _has_sent(connection, client, submission_id))

    # --- why --------------------------------------------------------------------------------------------------------
    async def require_own_words(self, submitted_by: str, new: Stated, at: datetime) -> None:
        """Remember a statement of necessity.

        Raises:
            NotPermitted: it is what the same person has lately said of another case.

        """
        recent = (
            select(necessities.c.sequence, necessities.c.case_ref, necessities.c.digest)
            .where(necessities.c.submitted_by == submitted_by)
            .order_by(necessities.c.sequence.desc())
            .limit(RECENT_STATEMENTS)
        )

        def stating(connection: Connection) -> None:
            self._lock(connection, "necessity", submitted_by)
            rows = connection.execute(recent).all()
            before = [Stated(row.case_ref, row.digest) for row in rows]
            if is_boilerplate(new, before):
                msg = "necessity: the same was said of another case; say what makes it necessary in this one"
                raise NotPermitted(msg)
            if new in before:
                return
            if len(rows) == RECENT_STATEMENTS:  # none older will ever be looked at
                oldest = rows[-1].sequence
                mine = necessities.c.submitted_by == submitted_by
                connection.execute(delete(necessities).where(mine, necessities.c.sequence <= oldest))
            fields = {"submitted_by": submitted_by, "case_ref": new.case_ref, "digest": new.digest, "at": at}
            connection.execute(insert(necessities).values(**fields))

        await self._database.write(stating)

    def _lock(self, connection: Connection, *name: object) -> None:
        self._database.lock(connection, [derive_id("reception", *name)])


def _client(connection: Connection, name: str) -> Client | None:
    row = connection.execute(select(clients).where(clients.c.name == name)).mappings().one_or_none()
    return _to_client(**row) if row else None


def _to_client(door: str, **fields: Any) -> Client:  # noqa: ANN401 - a row's
    return Client(door=Door(door), **fields)


def _overtaken(connection: Connection, outcomes: Sequence[SubmissionClosed]) -> set[UUID]:
    """Return the ids of the events among these that no longer hold."""
    about = {closed.submission_id for closed in outcomes}
    asked = select(cases.c.submission_id, cases.c.state, cases.c.outcome)
    rows = connection.execute(asked.where(among(cases.c.submission_id, about, connection.dialect)))
    stand = {row.submission_id: (CaseState(row.state), row.outcome and Outcome(row.outcome)) for row in rows}
    known = [closed for closed in outcomes if closed.submission_id in stand]
    return {closed.event_id for closed in known if is_overtaken(closed.outcome, *stand[closed.submission_id])}


def _has_sent(connection: Connection, client: str, submission_id: UUID) -> bool:
    mine = select(received.c.client).where(received.c.client == client, received.c.submission_id == submission_id)
    return connection.execute(mine).first() is not None
