"""The desk in this process."""

from collections.abc import AsyncIterator
from pathlib import Path

import desk_house
import pytest
from desk_house import DeskHouse


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[DeskHouse]:
    async with desk_house.opened(tmp_path) as opened:
        yield opened
