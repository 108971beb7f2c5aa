"""The desk in this process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import desk_house
import pytest
from desk_house import DeskHouse
from sqlalchemy import Connection, text

from rfr_stream.adapters.ledger import SqlLedger


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[DeskHouse]:
    async with desk_house.opened(tmp_path) as opened:
        yield opened


@pytest.fixture
def without_log(house: DeskHouse) -> Callable[[], Awaitable[None]]:
    """Return what takes the log away: its table is gone."""

    async def take_away() -> None:
        def rename(connection: Connection) -> None:
            connection.execute(text("ALTER TABLE access_log RENAME TO lost"))

        ledger = house.desk.ledger
        assert isinstance(ledger, SqlLedger)
        await ledger.database.write(rename)

    return take_away
