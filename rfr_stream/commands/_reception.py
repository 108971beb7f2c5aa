"""The reception beside the stages, in the house's own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from producers.reception.app import opened
from rfr_stream.commands._serving import Address, Impatient, served
from rfr_stream.settings import Settings


@asynccontextmanager
async def reception_open(settings: Settings) -> AsyncIterator[str]:
    """Serve the reception for as long as this lasts, on connections of its own; yield where.

    Raises:
        RfrError: its port is taken.

    """
    intake = settings.intake
    address = Address(intake.host, intake.port, setting="RFR_INTAKE__PORT")
    http = partial(Impatient, headers_s=intake.stall_s)
    async with opened(settings) as app, served(app, address, http=http, limit_concurrency=intake.connections) as where:
        yield where
