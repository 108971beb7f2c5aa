"""The review desk beside the stages, in the house's own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext

import uvicorn

from producers.console import app as console
from producers.console._desk import Desk
from rfr_stream.adapters import opening
from rfr_stream.settings import Settings
from topics.bus import Bus


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the house."""

    def capture_signals(self) -> AbstractContextManager[None]:
        return nullcontext()


@asynccontextmanager
async def desk_open(settings: Settings) -> AsyncIterator[Desk]:
    """Serve the desk for as long as this lasts, on connections of its own.

    Raises:
        OSError: its port is taken.

    """
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(Bus.from_settings(settings, client_id="rfr-console"))
        ledger = await stack.enter_async_context(opening.ledger(settings))
        blobs = await stack.enter_async_context(opening.blobs(settings))
        desk = console.of(settings, ledger, bus, blobs)
        await stack.enter_async_context(_served(desk))
        yield desk


@asynccontextmanager
async def _served(desk: Desk) -> AsyncIterator[None]:
    config = uvicorn.Config(
        console.build(desk), host=desk.settings.host, port=desk.settings.port, log_config=None, lifespan="off"
    )
    listening = config.bind_socket()
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        listening.close()
