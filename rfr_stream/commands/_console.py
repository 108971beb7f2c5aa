"""The review desk beside the stages, in the house's own process."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import uvicorn

from producers.console import app as console
from producers.console._desk import Desk
from rfr_stream.adapters import opening
from rfr_stream.errors import RfrError
from rfr_stream.settings import Settings
from topics import access
from topics.bus import Bus


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the house."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def desk_open(settings: Settings) -> AsyncIterator[Desk]:
    """Serve the desk for as long as this lasts, on connections of its own.

    Raises:
        RfrError: its port is taken.

    """
    async with AsyncExitStack() as stack:
        bus = Bus.from_settings(settings, client_id="rfr-console", rights=access.CONSOLE.rights)
        await stack.enter_async_context(bus)
        ledger = await stack.enter_async_context(opening.ledger(settings))
        blobs = await stack.enter_async_context(opening.blobs(settings))
        desk = console.of(settings, ledger, bus, blobs)
        await stack.enter_async_context(_served(desk))
        yield desk


@asynccontextmanager
async def _served(desk: Desk) -> AsyncIterator[None]:
    listening = _bound(desk.settings.host, desk.settings.port)
    server = _Server(uvicorn.Config(console.build(desk), log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        listening.close()


def _bound(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        msg = f"RFR_DESK__PORT: the desk cannot listen at {host}:{port}: {error.strerror}"
        raise RfrError(msg) from error
