"""What the public sent in, as it waits for an officer; and what an officer said of it, once and for all copies."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, func, or_, select, update

from rfr_stream.adapters.ledger.appeals import to_contribution
from rfr_stream.adapters.ledger.database import Database
from rfr_stream.adapters.ledger.tables import appeal_groups, contributions
from rfr_stream.desk import Endorsed, Sent
from rfr_stream.errors import NotPermitted
from rfr_stream.ports import Contribution

_NEWEST_APPEAL_FIRST: Final = (appeal_groups.c.appeal_began_at.desc(), appeal_groups.c.sequence)


class Sendings:
    """Groups of copies; the stage that receives them writes all but an officer's word."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(self, *, demo: bool, after: tuple[datetime, int] | None = None, limit: int = 24) -> list[Sent]:
        """Return what waits, newest appeal first, then in the order in which it came."""
        wanted = _sent(appeal_groups.c.demo == demo, *_behind(after)).order_by(*_NEWEST_APPEAL_FIRST).limit(limit)
        return await self._database.read(lambda connection: _all(connection, wanted))

    async def waiting_n(self, *, demo: bool) -> int:
        """Return how many wait."""
        wanted = select(func.count()).where(appeal_groups.c.waits, appeal_groups.c.demo == demo)
        return await self._database.read(lambda connection: int(connection.execute(wanted).scalar_one()))

    async def unopened(self, *, demo: bool, limit: int = 50) -> list[Contribution]:
        """Return what could not be opened, latest first: its portal can ask for it again."""
        wanted = (
            select(contributions)
            .where(contributions.c.flaw.is_not(None), contributions.c.demo == demo)
            .order_by(contributions.c.received_at.desc(), contributions.c.contribution_id)
            .limit(limit)
        )
        return await self._contributions(wanted)

    async def sent(self, group_id: UUID, *, demo: bool) -> Sent | None:
        """Return one that waits."""
        wanted = _sent(appeal_groups.c.group_id == group_id, appeal_groups.c.demo == demo)
        return next(iter(await self._database.read(lambda connection: _all(connection, wanted))), None)

    async def copies(self, group_id: UUID, *, limit: int = 24) -> list[Contribution]:
        """Return the copies, largest first; of the same file, one."""
        place = func.row_number().over(partition_by=contributions.c.image, order_by=contributions.c.contribution_id)
        numbered = select(contributions, place.label("place")).where(contributions.c.group_id == group_id).subquery()
        once = select(numbered).where(numbered.c.place == 1)
        return await self._contributions(once.order_by(numbered.c.pixels.desc(), numbered.c.image).limit(limit))

    async def shown(self, contribution_id: UUID, *, demo: bool) -> Contribution | None:
        """Return a contribution whose group waits: what was decided, nobody looks at here any more."""
        wanted = (
            select(contributions)
            .join(appeal_groups, appeal_groups.c.group_id == contributions.c.group_id)
            .where(
                contributions.c.contribution_id == contribution_id, appeal_groups.c.waits, contributions.c.demo == demo
            )
        )
        return next(iter(await self._contributions(wanted)), None)

    # --- what an officer says of it ---------------------------------------------------------------------------------
    async def endorse(self, chosen: Contribution, request: str, by: str, at: datetime) -> None:
        """Write down what is about to be handed in; whatever was endorsed first stands, whoever asks again."""
        fields = {"decided_by": by, "decided_at": at, "request": request, "contribution_id": chosen.contribution_id}
        mine = select(contributions.c.group_id).where(contributions.c.contribution_id == chosen.contribution_id)
        first = update(appeal_groups).where(appeal_groups.c.group_id == mine.scalar_subquery(), _OPEN).values(fields)
        await self._database.write(lambda connection: connection.execute(first))

    async def endorsed(self, group_id: UUID) -> Endorsed | None:
        """Return what was endorsed and is not handed in yet."""
        wanted = (
            select(contributions, appeal_groups.c.request)
            .join(appeal_groups, appeal_groups.c.contribution_id == contributions.c.contribution_id)
            .where(appeal_groups.c.group_id == group_id, appeal_groups.c.waits)
        )
        row = await self._database.read(lambda connection: connection.execute(wanted).mappings().one_or_none())
        return Endorsed(to_contribution(row), row["request"]) if row else None

    async def handed_in(self, group_id: UUID) -> None:
        """Note that what was endorsed is on its way; it waits no more."""
        done = update(appeal_groups).where(appeal_groups.c.group_id == group_id, appeal_groups.c.request.is_not(None))
        await self._database.write(lambda connection: connection.execute(done.values(waits=False)))

    async def dismiss(self, group_id: UUID, reason: str, by: str, at: datetime) -> None:
        """Put it aside.

        Raises:
            NotPermitted: somebody has decided already.

        """
        fields = {"decided_by": by, "decided_at": at, "reason": reason, "waits": False}
        aside = update(appeal_groups).where(appeal_groups.c.group_id == group_id, _OPEN).values(fields)

        def write(connection: Connection) -> None:
            if connection.execute(aside).rowcount != 1:
                raise NotPermitted(_DECIDED)

        await self._database.write(write)

    async def _contributions(self, wanted: Select[Any]) -> list[Contribution]:
        return await self._database.read(
            lambda connection: [to_contribution(row) for row in connection.execute(wanted).mappings()]
        )


_OPEN: Final = and_(appeal_groups.c.waits, appeal_groups.c.decided_by.is_(None))
_DECIDED: Final = "group_id: somebody has decided about this picture already"


def _behind(after: tuple[datetime, int] | None) -> Sequence[ColumnElement[bool]]:
    if after is None:
        return ()
    began, sequence = after
    same = and_(appeal_groups.c.appeal_began_at == began, appeal_groups.c.sequence > sequence)
    return (or_(appeal_groups.c.appeal_began_at < began, same),)


def _sent(*where: ColumnElement[bool]) -> Select[Any]:
    return select(appeal_groups).where(appeal_groups.c.waits, *where)


def _all(connection: Connection, wanted: Select[Any]) -> list[Sent]:
    rows = connection.execute(wanted).mappings().all()
    ids = [row["group_id"] for row in rows]
    best = _best(connection, ids)
    counted = select(contributions.c.group_id, func.count()).where(contributions.c.group_id.in_(ids))
    counts = {id_: int(n) for id_, n in connection.execute(counted.group_by(contributions.c.group_id))}
    return [_to_sent(row, best[row["group_id"]], counts[row["group_id"]]) for row in rows]


def _best(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Contribution]:
    """Return the largest copy of each; of several, the one that came first."""
    order = (contributions.c.pixels.desc(), contributions.c.received_at, contributions.c.contribution_id)
    place = func.row_number().over(partition_by=contributions.c.group_id, order_by=order)
    numbered = select(contributions, place.label("place")).where(contributions.c.group_id.in_(ids)).subquery()
    rows = connection.execute(select(numbered).where(numbered.c.place == 1)).mappings()
    return {row["group_id"]: to_contribution(row) for row in rows}


def _to_sent(row: RowMapping, best: Contribution, contributions_n: int) -> Sent:
    return Sent(
        group_id=row["group_id"],
        appeal_ref=row["appeal_ref"],
        began_at=row["appeal_began_at"],
        sequence=row["sequence"],
        contributions_n=contributions_n,
        best=best,
        endorsed_by=row["decided_by"],
    )
