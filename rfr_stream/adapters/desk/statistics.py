"""What the numbers of `conduct` are made of, read from cases, decisions, examinations and known answers.

Of thousands of lists and decisions a few fields count, and are picked out of JSON that was validated when it was
written; page by page, since a month's would fill the memory. Letting the database pick them took longer.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Connection, RowMapping, and_, or_, select

from rfr_stream.adapters.ledger import records
from rfr_stream.adapters.ledger.database import Database
from rfr_stream.adapters.ledger.tables import alerts, cases, decisions, examinations, seeds
from rfr_stream.conduct import CaseFacts, DecisionFacts, Report, SeedCount, report
from rfr_stream.desk import AlertKind
from rfr_stream.events import Outcome, Purpose, ReviewDecided, Source, Support
from rfr_stream.ports import CaseState, Seed

_BY_PAGE: Final = {"yield_per": 200}
"""Rows at a time; on PostgreSQL the event loop turns between two pages."""


class Statistics:
    """Reads alone, each from one snapshot."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def report(self, since: datetime, until: datetime) -> Report:
        """Return the numbers of the cases that were opened in this period, and of all that waits."""
        opened = and_(cases.c.opened_at >= since, cases.c.opened_at < until)

        def read(connection: Connection) -> tuple[list[CaseFacts], list[DecisionFacts]]:
            known = _cases(connection, or_(opened, cases.c.waits))
            return list(known.values()), _decisions(connection, known, opened)

        found, said = await self._database.read(read)
        return await asyncio.to_thread(report, found, said, since=since, until=until)

    async def recent(self, account_id: str, limit: int = 100) -> list[DecisionFacts]:
        """Return the latest that this person has sent, oldest first, whether or not it has been counted yet."""
        latest = (
            select(examinations.c.submission_id, examinations.c.draft, examinations.c.looks)
            .where(examinations.c.account_id == account_id, examinations.c.sent_at.is_not(None))
            .order_by(examinations.c.sent_at.desc())
            .limit(limit)
        )

        def read(connection: Connection) -> list[DecisionFacts]:
            sent = connection.execute(latest).all()
            among = [row.submission_id for row in sent]
            known = _cases(connection, cases.c.submission_id.in_(among))
            mine = and_(decisions.c.submission_id.in_(among), decisions.c.reviewer_id == account_id)
            counted = {each.about.submission_id: each for each in _decisions(connection, known, mine)}
            # A draft that nobody has signed yet follows a decision that was counted.
            said = (
                _decision(known[row.submission_id], row.draft, row.looks)
                if ReviewDecided.model_validate_json(row.draft).is_signed
                else counted.get(row.submission_id)
                for row in sent
            )
            return sorted(filter(None, said), key=_when)

        return await self._database.read(read)

    async def alerted(self, account_id: str, since: datetime) -> set[AlertKind]:
        """Return what supervisors were told of this person since then."""
        told = select(alerts.c.kind).where(alerts.c.account_id == account_id, alerts.c.at >= since).distinct()
        rows = await self._database.read(lambda connection: connection.execute(told).scalars().all())
        return set(map(AlertKind, rows))

    async def seeds(self) -> list[SeedCount]:
        """Return how many known answers there are, by the way in which they come, beside the real cases."""
        planted = select(seeds)
        known = select(seeds.c.submission_id).where(seeds.c.sown)
        came = select(cases.c.source, cases.c.purpose).where(cases.c.submission_id.not_in(known))

        def read(connection: Connection) -> list[SeedCount]:
            sown = [(records.to_seed(row), row["sown"]) for row in connection.execute(planted).mappings()]
            real = Counter((row.source, row.purpose) for row in connection.execute(came) if row.source)
            return list(_counted(sown, real))

        return await self._database.read(read)


def _cases(connection: Connection, where: ColumnElement[bool]) -> dict[UUID, CaseFacts]:
    known = cases.outerjoin(seeds, and_(seeds.c.submission_id == cases.c.submission_id, seeds.c.sown))
    wanted = select(
        cases.c.submission_id,
        cases.c.state,
        cases.c.opened_at,
        cases.c.candidates,
        cases.c.outcome,
        cases.c.urgency,
        seeds.c.sown,
        seeds.c.person_id,
    )
    rows = connection.execute(wanted.select_from(known).where(where), execution_options=_BY_PAGE)
    return {row["submission_id"]: _case(row) for row in rows.mappings()}


def _case(row: RowMapping) -> CaseFacts:
    found = orjson.loads(row["candidates"])["candidates"] if row["candidates"] else ()
    return CaseFacts(
        submission_id=row["submission_id"],
        state=CaseState(row["state"]),
        opened_at=row["opened_at"],
        listed=tuple(candidate["person_id"] for candidate in found),
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        urgency=row["urgency"],
        is_seed=bool(row["sown"]),
        answer=row["person_id"],
    )


def _decisions(
    connection: Connection, known: Mapping[UUID, CaseFacts], where: ColumnElement[bool]
) -> list[DecisionFacts]:
    looked = and_(
        examinations.c.submission_id == decisions.c.submission_id,
        examinations.c.account_id == decisions.c.reviewer_id,
    )
    wanted = select(decisions.c.submission_id, decisions.c.body, examinations.c.looks)
    said = wanted.select_from(decisions.join(cases).outerjoin(examinations, looked)).where(where)
    rows = connection.execute(said, execution_options=_BY_PAGE)
    return sorted((_decision(known[row.submission_id], row.body, row.looks) for row in rows), key=_when)


def _decision(about: CaseFacts, body: str, looks: str | None) -> DecisionFacts:
    said = orjson.loads(body)
    how = said.get("examination") or {}
    decided_at = datetime.fromisoformat(said["occurred_at"])
    return DecisionFacts(
        about=about,
        reviewer_id=said["reviewer_id"],
        support=Support(said["support"]),
        person_id=said["person_id"],
        decided_at=decided_at,
        began_at=datetime.fromisoformat(how["analysed_at"]) if how else decided_at,
        version=said.get("version", 1),  # what was said before there were several has none
        compared_s=how.get("compared_s"),
        viewed_n=how.get("viewed_n", 0),
        zoomed=how.get("zoomed", False),
        dwell_ms=tuple(look["dwell_ms"] for look in orjson.loads(looks).values()) if looks else (),
    )


def _when(said: DecisionFacts) -> datetime:
    return said.decided_at


def _counted(planted: Iterable[tuple[Seed, bool]], real: Mapping[tuple[str, str], int]) -> Iterator[SeedCount]:
    by_way: defaultdict[tuple[str, str], list[tuple[Seed, bool]]] = defaultdict(list)
    for seed, sown in planted:
        submission = seed.event.submission
        by_way[submission.source, submission.purpose].append((seed, sown))
    for source, purpose in sorted(by_way.keys() | real.keys()):
        seeds_here = by_way[source, purpose]
        mated = sum(seed.person_id is not None for seed, _ in seeds_here)
        yield SeedCount(
            source=Source(source),
            purpose=Purpose(purpose),
            mated=mated,
            non_mated=len(seeds_here) - mated,
            waiting=sum(not sown for _, sown in seeds_here),
            real=real.get((source, purpose), 0),
        )
