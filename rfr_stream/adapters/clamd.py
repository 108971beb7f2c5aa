"""A virus scanner that speaks clamd's protocol: a file goes there in pieces, and a sentence comes back."""

import asyncio
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rfr_stream.errors import Unavailable

_PIECE_BYTES: Final = 2**16
_LONGEST_ANSWER: Final = 4_096


class Clamd:
    """One clamd, at `tcp://host:port` or `unix:///path`; a connection for each file, as its sessions want it."""

    def __init__(self, address: str, *, timeout_s: float) -> None:
        """Remember where; nothing is connected yet."""
        self._address = urlsplit(address)
        self._timeout_s = timeout_s

    async def is_clean(self, path: Path) -> bool:
        """Return what the scanner says of a file.

        Raises:
            Unavailable: it is away, too slow, or says neither.

        """
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._ask(path)
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            msg = f"scanner: {type(error).__name__}"
            raise Unavailable(msg) from error
        if answer.endswith(b" OK"):
            return True
        if answer.endswith(b" FOUND"):
            return False
        msg = "scanner: it could not scan; see its log (and its StreamMaxLength)"
        raise Unavailable(msg)

    async def _ask(self, path: Path) -> bytes:
        reader, writer = await self._connect()
        try:
            writer.write(b"zINSTREAM\0")
            with path.open("rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    writer.write(len(piece).to_bytes(4, "big") + piece)
                    await writer.drain()
            writer.write(bytes(4))
            await writer.drain()
            return (await reader.readuntil(b"\0"))[:-1]
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._address.scheme == "unix":
            return await asyncio.open_unix_connection(self._address.path, limit=_LONGEST_ANSWER)
        return await asyncio.open_connection(self._address.hostname, self._address.port, limit=_LONGEST_ANSWER)
