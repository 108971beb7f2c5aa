"""The review desk beside the stages, in the house's own process."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from producers.console import app as console
from rfr_stream.adapters import opening
from rfr_stream.errors import RfrError
from rfr_stream.settings import DeskSettings, Settings
from topics import access
from topics.bus import Bus


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the house."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def desk_open(settings: Settings) -> AsyncIterator[FastAPI]:
    """Serve the desk for as long as this lasts, on connections of its own.

    Raises:
        RfrError: its port is taken.

    """
    async with AsyncExitStack() as stack:
        bus = Bus.from_settings(settings, client_id="rfr-console", rights=access.CONSOLE.rights)
        await stack.enter_async_context(bus)
        ledger = await stack.enter_async_context(opening.ledger(settings))
        blobs = await stack.enter_async_context(opening.blobs(settings))
        app = console.build(console.of(settings, ledger, bus, blobs))
        await stack.enter_async_context(_served(app, settings.desk))
        yield app


@asynccontextmanager
async def _served(app: FastAPI, settings: DeskSettings) -> AsyncIterator[None]:
    listening = _bound(settings.host, settings.port)
    quiet: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
    }  # links that let somebody in are no log's business
    server = _Server(uvicorn.Config(app, lifespan="off", proxy_headers=False, server_header=False, **quiet))
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
