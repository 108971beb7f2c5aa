"""How each reviewer looked at each case: the analysis of the probe, then the comparison, then what they drafted."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, func, insert, select, update

from rfr_stream.adapters.ledger.database import Database
from rfr_stream.adapters.ledger.tables import alerts, analyses, examinations
from rfr_stream.adapters.ledger.writing import insert_for
from rfr_stream.desk import Alert, AlertKind, Analysis, Examined, Look
from rfr_stream.events import ReviewDecided


class Examinations:
    """One row for each reviewer and case; an analysis is never changed, only followed by another."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def analyse(self, submission_id: UUID, account_id: str, analysis: Analysis, at: datetime) -> int:
        """Put an analysis on record; return its version, from 1."""

        def add(connection: Connection) -> int:
            self._database.lock(connection, [submission_id])
            mine = select(func.max(analyses.c.version)).where(*_of(analyses.c, submission_id, account_id))
            version = int(connection.execute(mine).scalar_one() or 0) + 1
            row = {"submission_id": submission_id, "account_id": account_id, "version": version, "at": at}
            connection.execute(insert(analyses).values({**row, "body": analysis.model_dump_json()}))
            return version

        return await self._database.write(add)

    async def analysis(self, submission_id: UUID, account_id: str) -> tuple[Analysis, datetime] | None:
        """Return the latest analysis, and when the first was put on record."""
        wanted = (
            select(analyses.c.body, func.min(analyses.c.at).over().label("at"))
            .where(*_of(analyses.c, submission_id, account_id))
            .order_by(analyses.c.version.desc())
            .limit(1)
        )
        row = await self._database.read(lambda connection: connection.execute(wanted).one_or_none())
        return (Analysis.model_validate_json(row.body), row.at) if row else None

    async def show(self, submission_id: UUID, account_id: str, order_seed: str, at: datetime) -> Examined:
        """Note that the candidates are served, the first time and the first since `rest`; return the examination."""
        known = await self.examined(submission_id, account_id) or Examined()
        if known.began_at:
            return known
        first = known.shown_at or at
        await self._keep(submission_id, account_id, order_seed=order_seed, shown_at=first, began_at=at)
        return replace(known, order_seed=order_seed, shown_at=first, began_at=at)

    async def rest(self, submission_id: UUID, account_id: str) -> None:
        """Let the time of the comparison begin anew when the candidates are served next."""
        mine = update(examinations).where(*_of(examinations.c, submission_id, account_id)).values(began_at=None)
        await self._database.write(lambda connection: connection.execute(mine))

    async def examined(self, submission_id: UUID, account_id: str) -> Examined | None:
        """Return the examination, if the candidates were ever served to this reviewer."""
        wanted = select(examinations).where(*_of(examinations.c, submission_id, account_id))
        row = await self._database.read(lambda connection: connection.execute(wanted).mappings().one_or_none())
        return to_examined(row) if row else None

    async def look(self, submission_id: UUID, account_id: str, looks: Mapping[int, Look]) -> None:
        """Add to how long each candidate was looked at."""

        def add(connection: Connection) -> None:
            self._database.lock(connection, [submission_id])
            mine = _of(examinations.c, submission_id, account_id)
            before = connection.execute(select(examinations.c.looks).where(*mine)).scalar_one_or_none()
            if before is not None:
                looked = json.dumps(_added({int(k): Look(**v) for k, v in json.loads(before).items()}, looks))
                connection.execute(update(examinations).where(*mine).values(looks=looked))

        await self._database.write(add)

    async def draft(self, submission_id: UUID, account_id: str, decision: ReviewDecided) -> None:
        """Keep what is about to be signed."""
        await self._keep(submission_id, account_id, draft=decision.model_dump_json())

    async def sent(self, submission_id: UUID, account_id: str, decision: ReviewDecided, at: datetime) -> None:
        """Note that the signed decision is on its way."""
        await self._keep(submission_id, account_id, draft=decision.model_dump_json(), sent_at=at)

    async def reveal(self, submission_id: UUID, account_id: str, at: datetime) -> None:
        """Note that this reviewer has seen the scores."""
        await self._keep(submission_id, account_id, revealed_at=at)

    async def alert(self, alert: Alert) -> None:
        """Tell the supervisors."""
        await self._database.write(lambda connection: connection.execute(insert(alerts).values(asdict(alert))))

    async def alerts(self, limit: int = 100) -> list[Alert]:
        """Return the latest alerts, newest first."""
        wanted = select(alerts).order_by(alerts.c.sequence.desc()).limit(limit)
        rows = await self._database.read(lambda connection: connection.execute(wanted).mappings().all())
        return [to_alert(row) for row in rows]

    async def _keep(self, submission_id: UUID, account_id: str, **fields: Any) -> None:  # noqa: ANN401 - columns
        def upsert(connection: Connection) -> None:
            row = {"submission_id": submission_id, "account_id": account_id, "looks": "{}", **fields}
            added = insert_for(connection, examinations).values(row)
            keys = ["submission_id", "account_id"]
            connection.execute(added.on_conflict_do_update(index_elements=keys, set_=fields))

        await self._database.write(upsert)


def _of(columns: Any, submission_id: UUID, account_id: str) -> tuple[ColumnElement[bool], ...]:  # noqa: ANN401 - of either table
    return columns.submission_id == submission_id, columns.account_id == account_id


def _added(before: Mapping[int, Look], more: Mapping[int, Look]) -> dict[int, dict[str, object]]:
    both = {**before}
    for place, look in more.items():
        known = before.get(place, Look())
        both[place] = Look(known.dwell_ms + look.dwell_ms, known.zoomed or look.zoomed)
    return {place: asdict(look) for place, look in both.items()}


def to_examined(row: RowMapping) -> Examined:
    """Return the examination of a row."""
    return Examined(
        order_seed=row["order_seed"],
        shown_at=row["shown_at"],
        began_at=row["began_at"],
        looks={int(place): Look(**look) for place, look in json.loads(row["looks"]).items()},
        draft=ReviewDecided.model_validate_json(row["draft"]) if row["draft"] else None,
        sent_at=row["sent_at"],
        revealed_at=row["revealed_at"],
    )


def to_alert(row: RowMapping) -> Alert:
    """Return the alert of a row."""
    return Alert(row["at"], AlertKind(row["kind"]), row["account_id"], row["submission_id"], row["detail"])
