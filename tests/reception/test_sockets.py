"""The reception on a socket of its own, against clients that speak HTTP badly, slowly, or without an end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

import httpx
import pytest
import reception_house
from reception_house import ReceptionHouse, form, picture

from rfr_stream.commands._serving import Address, Impatient, served
from rfr_stream.reception import Door

STALL_S: Final = 0.6
PATH: Final = "/officer/submissions"


class Served:
    """A reception that answers at a port."""

    def __init__(self, house: ReceptionHouse, url: str, token: str) -> None:
        self.house, self.url = house, httpx.URL(url)
        self._token = token

    def upload(self, *images: bytes) -> bytes:
        """Return a whole request, as a client would send it."""
        request = httpx.Request("POST", self.url.join(PATH), files=form(*images), headers=self.headers)
        return _head(request) + request.read()

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"}

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["Client"]:
        reader, writer = await asyncio.open_connection(self.url.host, self.url.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()


class Client:
    """A socket, and whoever holds it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def dribble(self, data: bytes, *, every_s: float) -> None:
        """Say one byte after another, until nobody listens any more."""
        for byte in data:
            try:
                await self.say(bytes([byte]))
            except ConnectionError:
                return
            await asyncio.sleep(every_s)

    async def hear(self) -> bytes:
        """Return all that comes until the other side lets go."""
        try:
            async with asyncio.timeout(20 * STALL_S):
                return await self._reader.read()
        except ConnectionError:
            return b""

    async def status(self) -> int:
        """Return the status of the answer."""
        async with asyncio.timeout(20 * STALL_S):
            return int((await self._reader.readline()).split()[1])


def _head(request: httpx.Request) -> bytes:
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Served]:
    settings: dict[str, Any] = {"stall_s": STALL_S, "max_upload_bytes": 300_000, "min_bytes_per_s": 1_000_000}
    async with reception_house.opened(tmp_path, **settings) as house:
        http = partial(Impatient, headers_s=STALL_S)
        async with served(house.app, Address("127.0.0.1", 0, setting="none"), http=http) as url:
            yield Served(house, url, await house.token())


async def test_an_honest_upload_is_taken(desk: Served) -> None:
    async with desk.connected() as client:
        await client.say(desk.upload(picture(1)))
        assert await client.status() == 202


async def test_whoever_dribbles_a_head_is_let_go_of(desk: Served) -> None:
    async with desk.connected() as client:
        began = monotonic()
        dribbling = asyncio.create_task(client.dribble(b"GET / HTTP/1.1\r\nx: " + b"y" * 1_000, every_s=STALL_S / 20))
        assert await client.hear() == b""
        assert STALL_S * 0.5 < monotonic() - began < STALL_S * 6
        await dribbling


async def test_whoever_says_nothing_is_let_go_of(desk: Served) -> None:
    async with desk.connected() as client:
        assert await client.hear() == b""


async def test_whoever_dribbles_a_second_head_is_let_go_of(desk: Served) -> None:
    async with desk.connected() as client:
        await client.say(b"GET /nowhere HTTP/1.1\r\nhost: reception\r\n\r\n")
        assert await client.status() == 404
        dribbling = asyncio.create_task(client.dribble(b"GET / HTTP/1.1\r\nx: " + b"y" * 1_000, every_s=STALL_S / 20))
        await client.hear()
        await dribbling


async def test_whoever_stops_in_the_middle_of_a_body_is_told_and_let_go_of(desk: Served) -> None:
    async with desk.connected() as client:
        await client.say(desk.upload(picture(1))[:-50])
        said = await client.hear()
    assert b" 408 " in said.split(b"\r\n")[0]
    assert desk.house.behind.events == []
    assert desk.house.is_tidy
    assert desk.house.here.inside[Door.OFFICER] == 0


async def test_a_video_must_come_faster_than_an_image(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"stall_s": STALL_S, "min_bytes_per_s": 1, "min_video_bytes_per_s": 1_000_000}
    async with (
        reception_house.opened(tmp_path, **settings) as house,
        served(house.app, Address("127.0.0.1", 0, setting="none")) as url,
    ):
        slow = Served(house, url, await house.token())
        head, _, body = slow.upload(picture(1)).replace(b"/submissions", b"/videos").partition(b"\r\n\r\n")
        async with slow.connected() as client:
            await client.say(head + b"\r\n\r\n")
            began = monotonic()
            dribbling = asyncio.create_task(client.dribble(body, every_s=STALL_S / 20))
            said = await client.hear()
            assert monotonic() - began < STALL_S * 6
            await dribbling
    assert not said or b" 408 " in said.split(b"\r\n")[0]  # as below


async def test_whoever_dribbles_a_body_is_let_go_of(desk: Served) -> None:
    """Each byte comes in time; all of them together do not."""
    head, _, body = desk.upload(picture(1)).partition(b"\r\n\r\n")
    async with desk.connected() as client:
        await client.say(head + b"\r\n\r\n")
        began = monotonic()
        dribbling = asyncio.create_task(client.dribble(body, every_s=STALL_S / 20))
        said = await client.hear()
        assert monotonic() - began < STALL_S * 6
        await dribbling
    assert not said or b" 408 " in said.split(b"\r\n")[0]  # whoever goes on sending may not get to read it
    assert desk.house.behind.events == []
    assert desk.house.here.inside[Door.OFFICER] == 0


async def test_a_body_that_is_longer_than_its_head_says_changes_nothing(desk: Served) -> None:
    async with desk.connected() as client:
        await client.say(desk.upload(picture(1)) + b"and more")
        assert await client.status() == 202
    (event,) = desk.house.behind.submissions
    assert event.image.bytes == len(picture(1))


async def test_a_body_that_is_shorter_than_its_head_says_is_nothing(
    desk: Served, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk.connected() as client:
        await client.say(desk.upload(picture(1))[:-50])
    async with asyncio.timeout(5):
        while desk.house.here.inside[Door.OFFICER]:  # noqa: ASYNC110 - it notices by itself
            await asyncio.sleep(0.05)
    assert desk.house.behind.events == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"], "nobody's fault but the client's"


@pytest.mark.parametrize("length", ["-1", "many", "99999999999999999999999", "1, 2"])
async def test_a_length_that_is_none_is_refused(desk: Served, length: str) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nhost: r\r\nauthorization: {desk.headers['authorization']}\r\n"
    kind = "content-type: multipart/form-data; boundary=x\r\n"
    async with desk.connected() as client:
        await client.say(f"{head}{kind}content-length: {length}\r\n\r\n".encode())
        assert await client.status() in {400, 413}


async def test_a_length_that_is_too_much_is_refused_before_a_byte_of_the_body(desk: Served) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nhost: r\r\nauthorization: {desk.headers['authorization']}\r\n"
    kind = "content-type: multipart/form-data; boundary=x\r\nexpect: 100-continue\r\n"
    async with desk.connected() as client:
        await client.say(f"{head}{kind}content-length: 300001\r\n\r\n".encode())
        assert await client.status() == 413


async def test_a_body_without_an_end_is_cut_off(desk: Served) -> None:
    request = httpx.Request("POST", desk.url.join(PATH), files=form(picture(1)), headers=desk.headers)
    begun = request.read().partition(b"IDAT")[0]
    del request.headers["content-length"]
    request.headers["transfer-encoding"] = "chunked"
    async with desk.connected() as client:
        await client.say(_head(request) + f"{len(begun):x}\r\n".encode() + begun + b"\r\n")
        sending = asyncio.create_task(_endlessly(client))
        assert await client.status() == 413
        sending.cancel()
    assert desk.house.is_tidy


async def _endlessly(client: Client) -> None:
    try:
        for _ in range(3_000):
            await client.say(b"1000\r\n" + bytes(0x1000) + b"\r\n")
    except ConnectionError:
        return


async def test_a_refusal_reaches_whoever_is_still_sending(desk: Served) -> None:
    async with httpx.AsyncClient(headers=desk.headers) as client:
        answer = await client.post(desk.url.join(PATH), files=form(b"no image" + bytes(250_000)))
    assert answer.status_code == 415


async def test_many_clients_at_once_do_not_hold_up_each_other(desk: Served) -> None:
    async with httpx.AsyncClient(headers=desk.headers) as client, desk.connected() as slow:
        await slow.say(desk.upload(picture(1))[:-50])
        answers = await asyncio.gather(
            *(client.post(desk.url.join(PATH), files=form(picture(number))) for number in range(2, 7))
        )
        assert {answer.status_code for answer in answers} == {202}
