"""The desk in this process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import desk_house
import pytest
from argon2 import PasswordHasher
from desk_house import DeskHouse
from sqlalchemy import Connection, text

from rfr_stream.adapters import passwords
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


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash as cheaply as can be: the real cost is the library's business, and adds up."""
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
