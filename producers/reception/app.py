"""The reception as an application: its doors, what stands before them, and what it says of itself."""

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.datastructures import MutableHeaders
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers._publishing import publishing
from producers.reception import _refusals as refusals
from producers.reception import appeal, officer, status, unit
from producers.reception._backlog import BacklogOnKafka
from producers.reception._decoding import Decoding
from producers.reception._door import Opening
from producers.reception._reception import Backlog, Reception
from rfr_stream import telemetry
from rfr_stream.adapters import keys, opening
from rfr_stream.errors import RfrError
from rfr_stream.reception import Door
from rfr_stream.settings import Settings
from topics.bus import Bus

_DOORS: Final[Mapping[Door, Opening]] = {
    Door.OFFICER: officer.OPENING,
    Door.UNIT: unit.OPENING,
    Door.APPEAL: appeal.OPENING,
}
_HEADERS: Final = {"x-content-type-options": "nosniff", "cache-control": "no-store"}

log = telemetry.logger(__name__)


def build(here: Reception) -> FastAPI:
    """Return the application on these ports, with the doors that the settings open."""
    app = FastAPI(title="rfr-stream reception", version="1", docs_url=None, redoc_url=None)
    app.state.reception = here
    for opened in _opened(here.settings.doors):
        app.include_router(opened.router)
    app.include_router(status.router)
    for error, answer in refusals.ANSWERS.items():
        app.add_exception_handler(error, answer)
    app.add_middleware(ServerErrorMiddleware, handler=refusals.bug)
    app.add_middleware(_WithHeaders)
    app.openapi = partial(_document, app)  # type: ignore[method-assign]  # FastAPI's own way
    return app


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[FastAPI]:
    """Open everything that the doors need, on connections of their own, and yield the application.

    Raises:
        RfrError: a door is not built yet, or something that it needs is away.

    """
    principals = [each.principal for each in _opened(settings.intake.doors)]
    rights = {right: None for principal in principals for right in principal.rights}
    bus = Bus.from_settings(settings, client_id="rfr-reception", rights=tuple(rights))
    backlog, every_s = BacklogOnKafka(), settings.intake.backlog_every_s
    watched = backlog.watched(bus.options, every_s=every_s)
    async with bus, opening.ledger(settings) as ledger, opening.blobs(settings) as blobs, watched:
        yield build(of(settings, ledger, bus, blobs=blobs, backlog=backlog))


def of(
    settings: Settings, ledger: opening.OpenLedger, bus: Bus, *, blobs: opening.OpenBlobs, backlog: Backlog
) -> Reception:
    """Return the reception of these settings, on ports that somebody else opens."""
    intake = settings.intake
    return Reception(
        settings=intake,
        ledger=ledger,
        store=opening.reception(ledger),
        blobs=blobs,
        publish=publishing(bus, wait_s=intake.publish_wait_s),
        backlog=backlog,
        key=keys.secret_of_house(settings.intake_key_file),
        spool=_empty(settings.spool_dir),
        scanner=opening.scanner(settings),
        demo=settings.demo,
        decoding=Decoding(intake, settings.vision, settings.detection, settings.weights_dir),
        max_image_bytes=settings.vision.max_image_bytes,
        max_image_pixels=settings.vision.max_image_pixels,
    )


def _empty(spool: Path) -> Path:
    """Return where this process alone lets uploads lie; what one that was killed left there may show a person."""
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir(mode=0o700, parents=True)
    return spool


def create_app() -> FastAPI:
    """Build the reception from the environment; it opens what it needs when it starts."""
    settings = Settings()

    @asynccontextmanager
    async def lifespan(outer: FastAPI) -> AsyncIterator[None]:
        if not telemetry.configured():
            telemetry.configure()
        async with opened(settings) as app:
            outer.mount("/", app)
            log.event("app.started", tasks=1)
            yield
        log.event("app.stopped")

    return FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)


def _opened(doors: tuple[Door, ...]) -> list[Opening]:
    unknown = [door for door in doors if door not in _DOORS]
    if unknown:
        msg = f"RFR_INTAKE__DOORS: there is no door {', '.join(unknown)} here"
        raise RfrError(msg)
    return [_DOORS[door] for door in dict.fromkeys(doors)]


def _document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the contracts of the parts `request` beside FastAPI's own."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        asked = [(asks, "validation") for each in _DOORS.values() for asks in each.asks]
        _, schemas = models_json_schema(asked, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
        document["components"]["schemas"] |= schemas["$defs"]
        app.openapi_schema = document
    return app.openapi_schema


class _WithHeaders:
    """What every answer says to a browser that somebody may have pointed here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, sending)
