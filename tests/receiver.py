"""A client's receiver on loopback: what it is told is kept, and a test says how it answers."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesHeaderParser
from typing import TypeAlias

Answer: TypeAlias = bytes | None
"""What is sent back; None: nothing, ever."""

OK: bytes = b"HTTP/1.1 204 No Content\r\n\r\n"
DOWN: bytes = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True)
class Told:
    """One request."""

    path: str
    headers: Message
    body: bytes


@dataclass
class Receiver:
    """Answers the n-th request (from 0) as `answer` says."""

    answer: Callable[[int], Answer] = lambda _: OK
    told: list[Told] = field(default_factory=list)
    port: int = 0
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, n: int, *, within_s: float = 30.0) -> list[Told]:
        """Wait until it has been told so often."""
        async with asyncio.timeout(within_s):
            while len(self.told) < n:
                self.came.clear()
                await self.came.wait()
        return self.told

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
            headers = BytesHeaderParser().parsebytes(rest)
            body = await reader.readexactly(int(headers["content-length"]))
            answer = self.answer(len(self.told))
            self.told.append(Told(first.split()[1].decode(), headers, body))
            self.came.set()
            if answer is None:
                await reader.read()  # until the other side gives up
            else:
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(receiver: Receiver, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Let it listen for as long as this lasts, at the port that it has or at a free one."""
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", receiver.port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver
