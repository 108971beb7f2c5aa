"""The desk as an application: its pages, what stands before them, and what it says when something is refused."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from producers.console import analysis, comparison, decision, entrance, images, queue, subject
from producers.console._desk import Desk, NotFound, NotSignedIn, TooEarly
from producers.console._guard import Guard
from producers.console._pages import STATIC, page
from rfr_stream import telemetry
from rfr_stream.adapters import opening
from rfr_stream.errors import NotPermitted, Rejected, RfrError, Unavailable
from rfr_stream.ports import Ledger
from rfr_stream.settings import Settings
from topics.bus import Bus

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

log = telemetry.logger(__name__)


def build(desk: Desk) -> FastAPI:
    """Return the application on these ports.

    Raises:
        RfrError: browsers would reach it over the network without TLS.

    """
    url = urlsplit(desk.settings.public_url)
    if url.scheme != "https" and url.hostname not in _LOOPBACK:
        msg = "RFR_DESK__PUBLIC_URL: over the network the desk is reached by https alone"
        raise RfrError(msg)
    app = FastAPI(title="rfr-stream review desk", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.desk = desk
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for room in (entrance, queue, subject, analysis, comparison, decision, images):
        app.include_router(room.router)
    _say_what_is_refused(app)
    app.add_middleware(Guard, public_url=desk.settings.public_url)
    return app


def of(settings: Settings, ledger: Ledger, bus: Bus, blobs: opening.OpenBlobs) -> Desk:
    """Return the desk of these settings, on ports that somebody else opens."""
    return Desk(
        settings=settings.desk,
        ledger=ledger,
        store=opening.desk(ledger),
        blobs=blobs,
        verifier=opening.verifier(settings),
        publish=bus.publish,
        demo=settings.demo,
        max_image_bytes=settings.vision.max_image_bytes,
        max_image_pixels=settings.vision.max_image_pixels,
    )


def create_app() -> FastAPI:
    """Build the desk from the environment; it opens what it needs when it starts."""
    settings = Settings()
    bus = Bus.from_settings(settings, client_id="rfr-console")
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


# --- what is said when something is refused ---------------------------------------------------------------------------
_TITLES: Final = {
    HTTPStatus.BAD_REQUEST: "Something in the form is wrong",
    HTTPStatus.FORBIDDEN: "Not permitted",
    HTTPStatus.NOT_FOUND: "There is no such page",
    HTTPStatus.CONFLICT: "Not yet",
    HTTPStatus.SERVICE_UNAVAILABLE: "Something this page needs is away",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something went wrong here",
}


def _refused(request: Request, status: HTTPStatus, why: str) -> HTMLResponse:
    title = _TITLES.get(status, status.phrase)
    return page(request, "refused.html", status, title=title, why=why)


def _say_what_is_refused(app: FastAPI) -> None:
    @app.exception_handler(NotSignedIn)
    async def not_signed_in(request: Request, _: NotSignedIn) -> Response:
        back = quote(request.url.path, safe="/") if request.method == "GET" else "/"
        there = f"/sign-in?next={back}"
        if "hx-request" in request.headers:
            return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"hx-redirect": there})
        return RedirectResponse(there, HTTPStatus.SEE_OTHER)

    @app.exception_handler(NotFound)
    async def not_found(request: Request, _: NotFound) -> Response:
        return _refused(request, HTTPStatus.NOT_FOUND, "Perhaps it was there once; the queue shows what is there now.")

    @app.exception_handler(TooEarly)
    async def too_early(request: Request, error: TooEarly) -> Response:
        return _refused(request, HTTPStatus.CONFLICT, str(error))

    @app.exception_handler(NotPermitted)
    async def not_permitted(request: Request, error: NotPermitted) -> Response:
        return _refused(request, HTTPStatus.FORBIDDEN, _sentence(error))

    @app.exception_handler(Rejected)
    async def rejected(request: Request, error: Rejected) -> Response:
        return _refused(request, HTTPStatus.BAD_REQUEST, _sentence(error))

    @app.exception_handler(Unavailable)
    async def unavailable(request: Request, error: Unavailable) -> Response:
        log.event("stage.waiting", level=logging.WARNING, error=error)
        why = "The database, the store or the message bus does not answer. Nothing was lost; try again in a moment."
        return _refused(request, HTTPStatus.SERVICE_UNAVAILABLE, why)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        fields = sorted({str(fault["loc"][-1])[:40] for fault in error.errors()})
        return _refused(request, HTTPStatus.BAD_REQUEST, f"Look again at: {', '.join(fields)}.")

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return _refused(request, HTTPStatus(error.status_code), str(error.detail))

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        log.event("task.failed", level=logging.ERROR, error=error, task="console")
        return _refused(request, HTTPStatus.INTERNAL_SERVER_ERROR, "It was written down; nothing was decided by it.")


def _sentence(error: Rejected) -> str:
    """Return what is wrong, without the name of the contract's field."""
    return str(error).partition(": ")[2].strip().capitalize() or str(error)
