"""An object store that goes away in the middle of uploads: what was acknowledged is in it, and the rest comes again."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Self

import httpx
import pytest
import reception_house
from reception_house import form, picture
from s3_server import S3Server

from rfr_stream.adapters.s3 import S3Blobs

OFFICER: Final = "/officer/submissions"
BUCKET: Final = "images"
AT_ONCE: Final = 6
ENOUGH: Final = 12
"""Acknowledgements before the store goes away."""


class Wire:
    """The way to a server, which may be cut: then nobody is there, and what is under way ends in the middle."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.port = 0
        self._ends: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        self._server.close()
        for end in self._ends:
            end.transport.abort()
        await asyncio.sleep(0)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        ends = {writer, back}
        self._ends |= ends
        await asyncio.gather(_passed(reader, back), _passed(there, writer))
        self._ends -= ends


async def _passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@asynccontextmanager
async def store_over(wire: Wire, server: S3Server) -> AsyncIterator[S3Blobs]:
    settings = server.settings(BUCKET).model_copy(update={"endpoint_url": f"http://127.0.0.1:{wire.port}"})
    async with S3Blobs(settings) as store:
        yield store


async def test_what_was_acknowledged_before_the_store_went_away_is_there_and_the_rest_is_told_to_come_again(
    server: S3Server, tmp_path: Path
) -> None:
    await server.make_only(BUCKET)
    said: dict[int, int] = {}
    async with (
        Wire(server.port) as wire,
        store_over(wire, server) as blobs,
        reception_house.opened(tmp_path, blobs=blobs) as house,
        house.client() as client,
    ):
        numbers = iter(range(10_000))

        async def hand_in(number: int) -> httpx.Response:
            return await client.post(OFFICER, files=form(picture(number)))

        async def hand_in_on() -> None:
            for number in numbers:
                said[number] = (await hand_in(number)).status_code
                if said[number] != 202:
                    return
                if list(said.values()).count(202) == ENOUGH:
                    await wire.cut()

        await asyncio.gather(*(hand_in_on() for _ in range(AT_ONCE)))
        assert set(said.values()) == {202, 503}
        assert house.is_tidy
        announced = [each.image.sha256 for each in house.behind.submissions]
        assert len(announced) == list(said.values()).count(202)

        await wire.mend()
        again = [await hand_in(number) for number, status in said.items() if status == 503]
        assert {each.status_code for each in again} == {202}
        assert all(isinstance(got, bytes) for got in await house.kept())
        submissions = [each.submission_id for each in house.behind.submissions]
        assert len(set(submissions)) == len(submissions) == len(said)
