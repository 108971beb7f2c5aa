"""Applications over HTTP in the house's own process, on a socket that is bound before anything is said of it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from rfr_stream.errors import RfrError


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, and which setting says so."""

    host: str
    port: int
    setting: str


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the house."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Impatient(H11Protocol):
    """Lets go of a connection on which no whole head of a request has come in time: uvicorn itself waits for ever."""

    def __init__(self, *arguments: Any, headers_s: float, **named: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*arguments, **named)
        self._headers_s = headers_s
        self._waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()

    def _wait_for_head(self) -> None:
        """Count from the first byte of a head, not from the last."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._stop_waiting()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(self._headers_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


@asynccontextmanager
async def served(app: FastAPI, address: Address, **options: Any) -> AsyncIterator[str]:  # noqa: ANN401 - uvicorn's
    """Serve an application for as long as this lasts; yield where.

    Raises:
        RfrError: its port is taken.

    """
    listening = _bound(address)
    quiet: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
    }  # links that let somebody in are no log's business
    config = uvicorn.Config(
        app, lifespan="off", ws="none", proxy_headers=False, server_header=False, **quiet, **options
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://{address.host}:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listening.close()


def _bound(address: Address) -> socket.socket:
    try:
        return socket.create_server((address.host, address.port))
    except OSError as error:
        msg = f"{address.setting}: cannot listen at {address.host}:{address.port}: {error.strerror}"
        raise RfrError(msg) from error
