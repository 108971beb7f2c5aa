"""The review desk beside the stages, in the house's own process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from producers.console import app as console
from rfr_stream.adapters import opening
from rfr_stream.commands._serving import Address, served
from rfr_stream.settings import Settings
from topics import access
from topics.bus import Bus


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
        address = Address(settings.desk.host, settings.desk.port, setting="RFR_DESK__PORT")
        await stack.enter_async_context(served(app, address))
        yield app
