"""The log of who looked at what and did what: each line chained to the one before, none ever changed."""

from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, insert, select

from rfr_stream.adapters.ledger.database import Database
from rfr_stream.adapters.ledger.tables import access_log
from rfr_stream.desk import GENESIS, Entry, Operation, link

_CHAIN: Final = UUID("2f0d7b64-5b53-5c69-9d22-0f3f7a2b9a77")
"""The name of the lock under which lines are chained."""
_PAGE: Final = 1_000


class AccessLog:
    """What is not written here does not happen: a caller writes first, and serves after that."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, account_id: str, operation: Operation, about: str, detail: str, at: datetime) -> None:  # noqa: PLR0917
        """Add a line."""

        def add(connection: Connection) -> None:
            self._database.lock(connection, [_CHAIN])
            newest = select(access_log.c.sequence, access_log.c.digest).order_by(access_log.c.sequence.desc()).limit(1)
            before = connection.execute(newest).one_or_none()
            line = Entry(before.sequence + 1 if before else 1, at, account_id, operation, about, detail, "")
            line = replace(line, digest=link(before.digest if before else GENESIS, line))
            connection.execute(insert(access_log).values(asdict(line)))

        await self._database.write(add)

    async def about(self, about: str) -> list[Entry]:
        """Return the lines about one thing, in order."""
        return await self._read(access_log.c.about == about)

    async def page(self, *, after: int, limit: int) -> list[Entry]:
        """Return the next lines behind this one."""
        return await self._read(access_log.c.sequence > after, limit=limit)

    async def lines(self, *, after: int = 0) -> AsyncIterator[Entry]:
        """Yield every line behind this one, in order."""
        while page := await self._read(access_log.c.sequence > after, limit=_PAGE):
            for entry in page:
                yield entry
            after = page[-1].sequence

    async def _read(self, where: ColumnElement[bool], *, limit: int | None = None) -> list[Entry]:
        wanted = select(access_log).where(where).order_by(access_log.c.sequence).limit(limit)

        def found(connection: Connection) -> list[Entry]:
            rows = connection.execute(wanted).mappings()
            return [to_entry(row) for row in rows]

        return await self._database.read(found)

    async def first_break(self) -> int | None:
        """Return the sequence of the first line that does not follow from the one before; None: the chain is whole."""
        before, expected = GENESIS, 1
        async for line in self.lines():
            if line.sequence != expected or line.digest != link(before, line):
                return expected
            before, expected = line.digest, line.sequence + 1
        return None


def to_entry(row: RowMapping) -> Entry:
    """Return the line of a row."""
    return Entry(**{column.name: row[column] for column in access_log.c} | {"operation": Operation(row["operation"])})
