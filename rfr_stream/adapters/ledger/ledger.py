"""`SqlLedger`: the database of record. A batch of changes and all that it promises is one transaction."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, ParamSpec, Self, TypeVar
from uuid import UUID

from sqlalchemy import Connection, RowMapping, false, func, insert, select, update

from rfr_stream.adapters import _sowing as sowing
from rfr_stream.adapters._fold import Folded, fold
from rfr_stream.adapters._grouping import Founders, copies
from rfr_stream.adapters._serving import asked_anew, in_order
from rfr_stream.adapters._standing import LAPSED, History, ended, weigh
from rfr_stream.adapters.ledger import appeals, models, records, standing, told
from rfr_stream.adapters.ledger.database import Database
from rfr_stream.adapters.ledger.lookup import among, by_key
from rfr_stream.adapters.ledger.references import BESIDE, SqlReferences, write_doors
from rfr_stream.adapters.ledger.tables import (
    acknowledgements,
    cases,
    decisions,
    erased_references,
    held_references,
    inbox,
    leads,
    outbox,
    reviewers,
    seeds,
    serving,
    standing_meetings,
    standing_probes,
    subscribers,
)
from rfr_stream.adapters.ledger.writing import add_new, insert_for, patiently, present, upsert
from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import FaceEmbedded, GalleryName, LeadAcknowledged, ModelIdentity, Source
from rfr_stream.policy import seeds_due
from rfr_stream.ports import (
    Case,
    CaseState,
    Change,
    Contribution,
    Ending,
    Extent,
    Meeting,
    Outgoing,
    Reviewer,
    Seed,
    Served,
    StandingProbe,
    Turn,
)

P = ParamSpec("P")
T = TypeVar("T")

_WRITTEN_ONCE: Final = ("candidates", "urgency", "source", "purpose", "submitted_by")
"""What is known of a case from the event that opened it."""

_SOWING: Final = UUID("8a9e4f3a-1f57-5c1e-b1f4-9a1c5be0a001")
"""The name of the lock under which seeds are counted and promised."""

_RENEWALS: Final = UUID("5d0a8c1e-7b64-5f0e-9a35-2f6c1c7e9b10")
"""The name of the lock under which standing searches are renewed and ended."""

_ROUND: Final = 100
"""Standing probes that are looked at in one transaction."""

_RELAY: Final = UUID("3c6f0b57-9a0e-5d7b-8f0c-5b1f2d3e4a77")
"""The name of the turn to carry what the outbox owes."""


class SqlLedger(SqlReferences):
    """`Ledger` on `sqlite://` or `postgresql+asyncpg://`; entering it opens and migrates the database."""

    def __init__(self, url: str, *, pool_size: int = 5, busy_timeout_ms: int = 5_000) -> None:
        """Remember where; no I/O. `busy_timeout_ms`: how long SQLite waits for another process's transaction."""
        self.database = Database(url, pool_size=pool_size, busy_timeout_ms=busy_timeout_ms)

    async def __aenter__(self) -> Self:
        """Connect, and bring the schema up to date."""
        await patiently(self.database.open)()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of every connection."""
        await self.database.close()

    # --- reviewers --------------------------------------------------------------------------------------------------
    @patiently
    async def register(self, reviewer: Reviewer) -> None:
        row = {field: getattr(reviewer, field) for field in reviewers.c.keys()}  # noqa: SIM118 - not a dict

        def add_or_renew(connection: Connection) -> None:
            add_new(connection, reviewers, [row])
            same = [reviewers.c[name] == row[name] for name in ("reviewer_id", "public_key", "duty")]
            if connection.execute(select(reviewers).where(*same)).first() is None:
                msg = "public_key: one person, one key, one duty, for good; a new key needs a new reviewer_id"
                raise NotPermitted(msg)
            renewed = update(reviewers).where(*same, reviewers.c.recorded_at <= reviewer.recorded_at)
            connection.execute(renewed.values(row))

        await self.database.write(add_or_renew)

    @patiently
    async def reviewer(self, reviewer_id: str) -> Reviewer | None:
        def find(connection: Connection) -> Reviewer | None:
            wanted = select(reviewers).where(reviewers.c.reviewer_id == reviewer_id)
            row = connection.execute(wanted).mappings().one_or_none()
            return records.to_reviewer(row) if row else None

        return await self.database.read(find)

    # --- cases ------------------------------------------------------------------------------------------------------
    @patiently
    async def apply(self, changes: Sequence[Change]) -> list[Case | Rejected]:
        if not changes:
            return []
        ids = {change.submission_id for change in changes}

        def change(connection: Connection) -> list[Case | Rejected]:
            self.database.lock(connection, ids)
            applied = present(connection, inbox, {change.event_id for change in changes})
            before = _load(connection, ids)
            folded = fold(changes, before, applied)
            _store(connection, folded, before)
            return folded.results

        return await self.database.write(change)

    async def case(self, submission_id: UUID) -> Case | None:
        return (await self._cases_of([submission_id])).get(submission_id)

    @patiently
    async def cases(
        self, states: Sequence[CaseState], *, limit: int = 100, opened_before: datetime | None = None
    ) -> list[Case]:
        wanted = select(cases).where(cases.c.state.in_([state.value for state in states]))
        if opened_before is not None:
            wanted = wanted.where(cases.c.opened_at < opened_before)
        wanted = wanted.order_by(cases.c.opened_at, cases.c.submission_id).limit(limit)

        def oldest(connection: Connection) -> list[Case]:
            rows = connection.execute(wanted).mappings().all()
            return list(with_decisions(connection, rows).values())

        return await self.database.read(oldest)

    @patiently
    async def _cases_of(self, ids: Collection[UUID]) -> dict[UUID, Case]:
        return await self.database.read(lambda connection: _load(connection, ids))

    # --- outbox -----------------------------------------------------------------------------------------------------
    @patiently
    async def take_turn(self) -> Turn | None:
        return await self.database.take_turn(_RELAY)

    @patiently
    async def unpublished(self, limit: int) -> list[Outgoing]:
        wanted = select(outbox).where(outbox.c.published == false()).order_by(outbox.c.sequence).limit(limit)

        def owed(connection: Connection) -> list[Outgoing]:
            return [records.to_outgoing(row) for row in connection.execute(wanted).mappings()]

        return await self.database.read(owed)

    @patiently
    async def published(self, event_ids: Sequence[UUID]) -> None:
        def mark(connection: Connection) -> None:
            sent = among(outbox.c.event_id, event_ids, connection.dialect)
            connection.execute(update(outbox).where(sent).values(published=True, published_at=datetime.now(UTC)))

        await self.database.write(mark)

    # --- known answers ----------------------------------------------------------------------------------------------
    @patiently
    async def plant(self, planted: Sequence[Seed]) -> None:
        ids = [seed.submission_id for seed in planted]

        def keep(connection: Connection) -> None:
            self.database.lock(connection, ids)
            submitted = present(connection, cases, ids) - _sown_among(connection, ids)
            for seed in planted:
                held = _galleries_of(connection, seed.person_id)
                sowing.require_sowable(seed, held, in_earnest=seed.submission_id in submitted)
            add_new(connection, seeds, [records.seed_row(seed) for seed in planted])

        await self.database.write(keep)

    @patiently
    async def seeded(self, ids: Sequence[UUID]) -> set[UUID]:
        return await self.database.read(lambda connection: _sown_among(connection, ids))

    @patiently
    async def sow(self, share: float, now: datetime) -> int:
        def promise(connection: Connection) -> int:
            self.database.lock(connection, [_SOWING])
            due = _due(connection, share)
            rows = connection.execute(by_key(seeds, due, connection.dialect)).mappings().all() if due else []
            for row in rows:
                event = sowing.submitted(records.to_seed(row), now)
                add_new(connection, outbox, [records.outgoing_row(row["submission_id"], Outgoing(event))])
            sown = among(seeds.c.submission_id, due, connection.dialect)
            connection.execute(update(seeds).where(sown).values(sown=True))
            return len(rows)

        return await self.database.write(promise)

    # --- who is still sought ----------------------------------------------------------------------------------------
    @patiently
    async def stand(self, probes: Sequence[FaceEmbedded], until: datetime) -> None:
        rows = [standing.probe_row(probe, until) for probe in probes]

        def add(connection: Connection) -> None:
            add_new(connection, standing_probes, rows)
            standing.stand_anew(connection, probes)

        if probes:
            await self.database.write(add)

    @patiently
    async def standing(self, embedder: ModelIdentity, now: datetime) -> set[UUID]:
        return await self.database.read(lambda connection: standing.standing(connection, embedder, now))

    @patiently
    async def probes(self, ids: Collection[UUID]) -> dict[UUID, FaceEmbedded]:
        found = await self.database.read(lambda connection: standing.probes_of(connection, ids))
        return {probe.submission.submission_id: probe for probe in found}

    @patiently
    async def meet(self, meetings: Sequence[Meeting], due_at: datetime) -> None:
        ids = {meeting.reference_id for meeting in meetings}

        def remember(connection: Connection) -> None:
            self.database.lock(connection, [BESIDE])
            gone = present(connection, erased_references, ids)
            rows = [standing.meeting_row(each, due_at) for each in meetings if each.reference_id not in gone]
            add_new(connection, standing_meetings, rows)

        await self.database.write(remember)

    @patiently
    async def renew(self, *, people_n: int, now: datetime) -> int:
        if not await self.database.read(lambda connection: standing.due(connection, now, 1)):
            return 0

        def promise(connection: Connection) -> int:
            self.database.lock(connection, [_RENEWALS])
            return _renew(connection, people_n, now)

        return await self.database.write(promise)

    @patiently
    async def stood(self) -> list[StandingProbe]:
        wanted = select(standing_probes).order_by(standing_probes.c.until, standing_probes.c.submission_id)

        def every(connection: Connection) -> list[StandingProbe]:
            return [standing.to_probe(row) for row in connection.execute(wanted).mappings()]

        return await self.database.read(every)

    @patiently
    async def keep(self, submission_id: UUID, until: datetime, now: datetime) -> None:
        await self.database.write(lambda connection: standing.keep(connection, submission_id, until, now))

    @patiently
    async def end(self, submission_id: UUID, ending: Ending) -> None:
        await self.database.write(lambda connection: self._end(connection, submission_id, ending))

    @patiently
    async def lapse(self, now: datetime) -> int:
        if not await self.database.read(lambda connection: standing.overdue(connection, now)):
            return 0

        def end_each(connection: Connection) -> int:
            lapsed = standing.overdue(connection, now)
            for submission_id in lapsed:
                self._end(connection, submission_id, Ending(now, LAPSED, "nobody kept the search"))
            return len(lapsed)

        return await self.database.write(end_each)

    def _end(self, connection: Connection, submission_id: UUID, ending: Ending) -> None:
        self.database.lock(connection, [_RENEWALS])
        closed = Outgoing(ended(standing.end(connection, submission_id, ending), ending))
        add_new(connection, outbox, [records.outgoing_row(submission_id, closed)])

    # --- which model serves -----------------------------------------------------------------------------------------
    @patiently
    async def served(self) -> tuple[Served, ...]:
        return models.to_models(await self.database.rows(serving, [models.ROW]))

    @patiently
    async def extent(self) -> Extent:
        return await self.database.read(models.extent)

    @patiently
    async def serve(self, coming: Served, leaving: Served, *, seen: Extent) -> bool:
        def change(connection: Connection) -> bool:
            self.database.lock(connection, [models.ROW])
            models.let_nobody_come_or_go(connection)
            if models.extent(connection) != seen:
                return False
            before = models.to_models(connection.execute(select(serving)).mappings())
            upsert(connection, serving, [models.to_row(in_order(coming, leaving, before))])
            _ask_anew(connection, coming)
            return True

        return await self.database.write(change)

    @patiently
    async def retire(self) -> None:
        def forget(connection: Connection) -> None:
            self.database.lock(connection, [models.ROW])
            served = models.to_models(connection.execute(select(serving)).mappings())
            upsert(connection, serving, [models.to_row(served[:1])] if served else [])

        await self.database.write(forget)

    # --- who was told -----------------------------------------------------------------------------------------------
    @patiently
    async def subscribe(self, subscriber: str, since: datetime) -> None:
        def add(connection: Connection) -> None:
            new = insert_for(connection, subscribers).values(subscriber=subscriber, since=since)
            is_earlier = new.excluded.since < subscribers.c.since
            earlier = new.on_conflict_do_update(index_elements=["subscriber"], set_={"since": since}, where=is_earlier)
            connection.execute(earlier)

        await self.database.write(add)

    @patiently
    async def subscribed(self) -> dict[str, datetime]:
        wanted = select(subscribers).order_by(subscribers.c.subscriber)
        rows = await self.database.read(lambda connection: connection.execute(wanted).all())
        return {row.subscriber: row.since for row in rows}

    @patiently
    async def acknowledge(self, received: Sequence[LeadAcknowledged]) -> None:
        rows = [
            {
                "acknowledged": each.acknowledged,
                "subscriber": each.subscriber,
                "submission_id": each.submission_id,
                "at": each.occurred_at,
            }
            for each in received
        ]
        await self.database.write(lambda connection: add_new(connection, acknowledgements, rows))

    @patiently
    async def remind(self, before: datetime) -> int:
        lacking = select(leads.c.withdrawal_id).where(leads.c.withdrawal_id.is_not(None), told.outstanding())
        again = (
            update(outbox)
            .where(outbox.c.event_id.in_(lacking), outbox.c.published, outbox.c.published_at < before)
            .values(published=False)
        )

        def promise_again(connection: Connection) -> int:
            return connection.execute(again).rowcount

        return await self.database.write(promise_again)

    # --- what the public sent in ------------------------------------------------------------------------------------
    @patiently
    async def contribute(self, contributions: Sequence[Contribution]) -> None:
        for appeal, said in appeals.by_appeal(contributions).items():
            # Thousands of pictures are compared before the write begins, which then looks only at what came meanwhile.
            before = await self.database.read(partial(appeals.founders, appeal=appeal))
            copied = await asyncio.to_thread(copies, said, before)
            await self.database.write(partial(self._contribute, appeal, said, before, copied))

    def _contribute(  # noqa: PLR0917 - one transaction's
        self,
        appeal: appeals.Appeal,
        said: Sequence[Contribution],
        before: Founders,
        copied: Mapping[UUID, UUID],
        connection: Connection,
    ) -> None:
        self.database.lock(connection, [appeals.lock_of(appeal)])
        fresh = appeals.founders(connection, appeal, after=before.sequence)
        appeals.keep(connection, appeal, said, {**copies(said, fresh), **copied})
        write_doors({each.image.sha256: Source.PUBLIC_APPEAL for each in said}, connection)

    @patiently
    async def grouped(self, ids: Sequence[UUID]) -> dict[UUID, UUID | None]:
        return await self.database.read(lambda connection: appeals.groups_of(connection, ids))


def _load(connection: Connection, ids: Collection[UUID]) -> dict[UUID, Case]:
    rows = connection.execute(by_key(cases, ids, connection.dialect)).mappings().all()
    return with_decisions(connection, rows)


def with_decisions(connection: Connection, rows: Sequence[RowMapping]) -> dict[UUID, Case]:
    """Return the cases of these rows, in their order."""
    if not rows:
        return {}
    wanted = (
        select(decisions.c.submission_id, decisions.c.body)
        .where(among(decisions.c.submission_id, [row["submission_id"] for row in rows], connection.dialect))
        .order_by(decisions.c.ordinal)
    )
    bodies: defaultdict[UUID, list[str]] = defaultdict(list)
    for submission_id, body in connection.execute(wanted):
        bodies[submission_id].append(body)
    return {row["submission_id"]: records.to_case(row, bodies[row["submission_id"]]) for row in rows}


def _store(connection: Connection, folded: Folded, before: Mapping[UUID, Case]) -> None:
    """Write a batch; cases and decisions first, since the outbox's constraint looks at them."""
    changed = [(case, before.get(submission_id)) for submission_id, case in folded.cases.items()]
    upsert(connection, cases, [records.case_row(case, was) for case, was in changed], keep=_WRITTEN_ONCE)
    added = [row for case, was in changed for row in records.decision_rows(case, was)]
    if added:
        connection.execute(insert(decisions), added)
    add_new(connection, outbox, [records.outgoing_row(*promised) for promised in folded.outgoing])
    add_new(connection, leads, list(told.given_out(folded)))
    told.take_back(connection, folded)
    standing.settle(connection, folded.cases.values())
    if folded.applied:
        arrived = [{"event_id": event, "submission_id": about} for event, about in folded.applied.items()]
        connection.execute(insert(inbox), arrived)


def _due(connection: Connection, share: float) -> list[UUID]:
    """Return the seeds whose turn it is.

    Of cases, only the index of their states is read: the lists behind it are most of the database.
    """
    by_state = select(cases.c.state, func.count()).group_by(cases.c.state)
    came = sum(n for state, n in connection.execute(by_state) if state in sowing.CAME)
    known = select(seeds.c.submission_id, seeds.c.sown, cases.c.state).outerjoin(
        cases, cases.c.submission_id == seeds.c.submission_id
    )
    rows = connection.execute(known).all()
    sown = [row.state for row in rows if row.sown]
    return seeds_due(
        [row.submission_id for row in rows if not row.sown and row.state is None],
        sown_n=len(sown) - sown.count(CaseState.CLOSED.value),
        real_n=came - sum(state in sowing.CAME for state in sown),
        share=share,
    )


def _renew(connection: Connection, people_n: int, now: datetime) -> int:
    probes = {probe.submission.submission_id: probe for probe in standing.due(connection, now, _ROUND)}
    waiting, renewals = standing.met(connection, probes)
    known = _load(connection, {*probes, *(id_ for ids in renewals.values() for id_ in ids)})
    met = {each.reference_id for meetings in waiting.values() for each in meetings}
    rows = connection.execute(by_key(held_references, met, connection.dialect)).mappings()
    held = {row["reference_id"]: records.to_reference(dict(row)) for row in rows}
    renewed = 0
    for id_, probe in probes.items():
        history = History(known.get(id_), [known.get(renewal) for renewal in renewals.get(id_, ())])
        come = weigh(probe, waiting[id_], history, held, people_n=people_n, now=now)
        standing.note(connection, id_, come, now)
        if come.renewal:
            again = come.renewal.submission.submission_id
            add_new(connection, outbox, [records.outgoing_row(again, Outgoing(come.renewal))])
            renewed += 1
    return renewed


def _ask_anew(connection: Connection, model: Served) -> None:
    """Promise what whoever stands with another model's template once asked.

    It was published before, and says so: else the relay, which finds it on its topic, would take it for sent.
    """
    now = model.since
    events = [asked_anew(probe, now) for probe in standing.unlike(connection, model.embedder, now)]
    rows = [
        {**records.outgoing_row(each.submission.submission_id, Outgoing(each)), "published": False, "published_at": now}
        for each in events
    ]
    if rows:  # what was promised is never changed, only sent again
        statement = insert_for(connection, outbox)
        again = {"published": statement.excluded.published}
        connection.execute(statement.on_conflict_do_update(index_elements=["event_id"], set_=again), rows)


def _sown_among(connection: Connection, ids: Collection[UUID]) -> set[UUID]:
    wanted = select(seeds.c.submission_id).where(among(seeds.c.submission_id, ids, connection.dialect), seeds.c.sown)
    return set(connection.execute(wanted).scalars())


def _galleries_of(connection: Connection, person_id: str | None) -> set[GalleryName]:
    held = select(held_references.c.gallery).where(held_references.c.person_id == person_id).distinct()
    return set(map(GalleryName, connection.execute(held).scalars())) if person_id else set()
