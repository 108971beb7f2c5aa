"""The desk as an application: its pages, what stands before them, and what it says when something is refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.middleware.errors import ServerErrorMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from producers._publishing import publishing
from producers.console import _refusals as refusals
from producers.console import (
    account,
    analysis,
    appeals,
    auditing,
    comparison,
    decision,
    entrance,
    images,
    leads,
    oidc,
    people,
    queue,
    subject,
    supervision,
)
from producers.console._desk import Desk
from producers.console._guard import PER_MINUTE, Guard
from producers.console._pages import STATIC
from producers.console._sessions import Entrance
from rfr_stream import telemetry
from rfr_stream.adapters import opening
from rfr_stream.errors import RfrError
from rfr_stream.reception import LOOPBACK
from rfr_stream.settings import Settings
from topics import access
from topics.bus import Bus

_ROOMS: Final = (
    *(entrance, oidc, account, people),
    *(queue, subject, analysis, comparison, decision, images),
    *(appeals, supervision, leads, auditing),
)

log = telemetry.logger(__name__)


def build(desk: Desk, *, per_minute: int = PER_MINUTE) -> FastAPI:
    """Return the application on these ports; from one address it answers so many requests a minute.

    Raises:
        RfrError: browsers would reach it over the network without TLS.

    """
    url = urlsplit(desk.settings.public_url)
    if url.scheme != "https" and url.hostname not in LOOPBACK:
        msg = "RFR_DESK__PUBLIC_URL: over the network the desk is reached by https alone"
        raise RfrError(msg)
    app = FastAPI(title="rfr-stream review desk", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.desk, app.state.entrance = desk, Entrance()
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for room in _ROOMS:
        app.include_router(room.router)
    for error, answer in refusals.ANSWERS.items():
        app.add_exception_handler(error, answer)
    # Inside of the guard: what it says of a bug has the guard's headers too.
    app.add_middleware(ServerErrorMiddleware, handler=refusals.bug)
    app.add_middleware(Guard, public_url=desk.settings.public_url, per_minute=per_minute)
    if desk.settings.proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=desk.settings.proxies)
    return app


def of(settings: Settings, ledger: opening.OpenLedger, bus: Bus, blobs: opening.OpenBlobs) -> Desk:
    """Return the desk of these settings, on ports that somebody else opens."""
    return Desk(
        settings=settings.desk,
        ledger=ledger,
        store=opening.desk(ledger),
        blobs=blobs,
        verifier=opening.verifier(settings),
        publish=publishing(bus),
        seal_file=settings.seal_file,
        demo=settings.demo,
        max_image_bytes=settings.vision.max_image_bytes,
        max_image_pixels=settings.vision.max_image_pixels,
    )


def create_app() -> FastAPI:
    """Build the desk from the environment; it opens what it needs when it starts."""
    settings = Settings()
    bus = Bus.from_settings(settings, client_id="rfr-console", rights=access.CONSOLE.rights)
    ledger, blobs = opening.ledger(settings), opening.blobs(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if not telemetry.configured():
            telemetry.configure()
        async with bus, ledger, blobs:
            log.event("app.started", tasks=1)
            yield
        log.event("app.stopped")

    app = build(of(settings, ledger, bus, blobs))
    app.router.lifespan_context = lifespan
    return app
