"""A reception with the settings of every day, whoever knocks at it, and a film to hand in."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import reception_house
from filmed import film
from reception_house import ReceptionHouse


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[ReceptionHouse]:
    async with reception_house.opened(tmp_path) as opened:
        yield opened


@pytest.fixture
async def client(house: ReceptionHouse) -> AsyncIterator[httpx.AsyncClient]:
    async with house.client() as opened:
        yield opened


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return two seconds, of which every frame shows its number."""
    return film(tmp_path_factory.mktemp("filmed") / "film.mp4").read_bytes()
