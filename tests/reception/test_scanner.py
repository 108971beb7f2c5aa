"""The scan: against a server that speaks clamd's INSTREAM, over TCP and over a socket of this machine."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import reception_house
from reception_house import form, picture

from rfr_stream.adapters.clamd import Clamd
from rfr_stream.errors import Unavailable
from rfr_stream.settings import IntakeSettings

MARK: Final = b"what a signature knows"


@dataclass
class Scanner:
    """A clamd that finds one mark."""

    scanned: list[bytes] = field(default_factory=list)
    answer: Callable[[bytes], bytes] = lambda data: b"stream: Known FOUND" if MARK in data else b"stream: OK"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
        data = b""
        while length := int.from_bytes(await reader.readexactly(4), "big"):
            data += await reader.readexactly(length)
        self.scanned.append(data)
        writer.write(self.answer(data) + b"\0")
        await writer.drain()
        writer.close()


@asynccontextmanager
async def listening(scanner: Scanner, kind: str, folder: Path) -> AsyncIterator[str]:
    """Serve on a socket of this kind; yield its address."""
    if kind == "unix":
        server, address = await asyncio.start_unix_server(scanner.serve, folder / "clamd"), f"unix://{folder / 'clamd'}"
    else:
        server = await asyncio.start_server(scanner.serve, "127.0.0.1", 0)
        address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield IntakeSettings(scanner=address).scanner or ""


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_what_is_clean_is_told_from_what_is_not(tmp_path: Path, kind: str) -> None:
    clean, not_clean = tmp_path / "clean", tmp_path / "not"
    clean.write_bytes(bytes(300_000))
    not_clean.write_bytes(bytes(300_000) + MARK)
    scanner = Scanner()
    async with listening(scanner, kind, tmp_path) as address:
        clamd = Clamd(address, timeout_s=5)
        assert (await clamd.is_clean(clean), await clamd.is_clean(not_clean)) == (True, False)
    assert scanner.scanned == [clean.read_bytes(), not_clean.read_bytes()]


@pytest.mark.parametrize("said", [b"INSTREAM size limit exceeded. ERROR", b"", b"UNKNOWN COMMAND", b"OK" * 9_000])
async def test_a_scanner_that_says_neither_is_away(tmp_path: Path, said: bytes) -> None:
    (tmp_path / "file").write_bytes(b"any")
    async with listening(Scanner(answer=lambda _: said), "tcp", tmp_path) as address:
        with pytest.raises(Unavailable, match="scanner"):
            await Clamd(address, timeout_s=5).is_clean(tmp_path / "file")


async def test_a_scanner_that_does_not_answer_is_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"any")

    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match="TimeoutError"):
            await Clamd(f"tcp://127.0.0.1:{port}", timeout_s=0.1).is_clean(tmp_path / "file")
        await gone.wait()


async def test_a_door_refuses_what_the_scanner_finds(tmp_path: Path) -> None:
    scanner = Scanner()
    async with (
        listening(scanner, "tcp", tmp_path) as address,
        reception_house.opened(tmp_path, scanner=Clamd(address, timeout_s=5)) as house,
        house.client() as client,
    ):
        answer = await client.post("/officer/submissions", files=form(picture(1), picture(2) + MARK))
        assert answer.status_code == 422
        assert "scanner" in answer.json()["errors"][0]["fix"]
        assert house.behind.events == []
        assert (await client.post("/officer/submissions", files=form(picture(1)))).status_code == 202


async def test_a_door_takes_nothing_while_the_scanner_is_away(tmp_path: Path) -> None:
    nobody = Clamd(f"unix://{tmp_path / 'nobody'}", timeout_s=5)
    async with reception_house.opened(tmp_path, scanner=nobody) as house, house.client() as client:
        assert (await client.post("/officer/submissions", files=form())).status_code == 503
        assert house.behind.events == []


@pytest.mark.parametrize("address", ["clamd:3310", "http://clamd:3310", "tcp://clamd", "unix:clamd"])
def test_an_address_that_no_scanner_has_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="scanner"):
        IntakeSettings(scanner=address)
