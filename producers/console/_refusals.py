"""What the desk says when something is refused: a page with a sentence, never a stack trace, a value or a guess."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlsplit

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from producers.console._desk import NotFound, NotSignedIn, TooEarly, is_asked_by_itself
from producers.console._pages import page
from rfr_stream import telemetry
from rfr_stream.errors import NotPermitted, Rejected, Unavailable

log = telemetry.logger(__name__)

_TITLES: Final = {
    HTTPStatus.BAD_REQUEST: "Something in the form is wrong",
    HTTPStatus.FORBIDDEN: "Not permitted",
    HTTPStatus.NOT_FOUND: "There is no such page",
    HTTPStatus.CONFLICT: "Not yet",
    HTTPStatus.SERVICE_UNAVAILABLE: "Something this page needs is away",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something went wrong here",
}


def refused(request: Request, status: HTTPStatus, why: str, *, there: str = "/") -> HTMLResponse:
    return page(request, "refused.html", status, title=_TITLES.get(status, status.phrase), why=why, there=there)


async def _not_signed_in(request: Request, _: Exception) -> Response:
    there = f"/sign-in?next={quote(_came_from(request), safe='/')}"
    if is_asked_by_itself(request):
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"hx-redirect": there})
    return RedirectResponse(there, HTTPStatus.SEE_OTHER)


def _came_from(request: Request) -> str:
    """Return the page that somebody was on: of what a page sends by itself, the page, and not where it is sent."""
    if request.method == "GET" and not is_asked_by_itself(request):
        return request.url.path
    return urlsplit(request.headers.get("referer", "")).path or "/"


async def _not_found(request: Request, _: Exception) -> Response:
    return refused(request, HTTPStatus.NOT_FOUND, "Perhaps it was there once; the queue shows what is there now.")


async def _too_early(request: Request, error: Exception) -> Response:
    """Say which step comes first, and lead there."""
    there = f"/cases/{request.path_params['submission_id']}"
    return refused(request, HTTPStatus.CONFLICT, str(error), there=there)


async def _not_permitted(request: Request, error: Exception) -> Response:
    return refused(request, HTTPStatus.FORBIDDEN, sentence(error))


async def _rejected(request: Request, error: Exception) -> Response:
    return refused(request, HTTPStatus.BAD_REQUEST, sentence(error))


async def _unavailable(request: Request, error: Exception) -> Response:
    log.event("page.refused", level=logging.WARNING, error=error)
    why = "The database, the store or the message bus does not answer. Nothing was lost; try again in a moment."
    return refused(request, HTTPStatus.SERVICE_UNAVAILABLE, why)


async def _invalid(request: Request, error: Exception) -> Response:
    faults = error.errors() if isinstance(error, RequestValidationError) else ()
    fields = sorted({str(fault["loc"][-1])[:40] for fault in faults})
    return refused(request, HTTPStatus.BAD_REQUEST, f"Look again at: {', '.join(fields)}.")


async def _http(request: Request, error: Exception) -> Response:
    status = HTTPStatus(error.status_code) if isinstance(error, HTTPException) else HTTPStatus.BAD_REQUEST
    if status is HTTPStatus.NOT_FOUND:
        return await _not_found(request, error)
    return refused(request, status, status.description or status.phrase)


async def bug(request: Request, error: Exception) -> Response:
    log.event("page.failed", level=logging.ERROR, error=error)
    return refused(request, HTTPStatus.INTERNAL_SERVER_ERROR, "It was written down; nothing was decided by it.")


def sentence(error: object) -> str:
    """Return what is wrong, without the name of the contract's field."""
    field, _, sentence = str(error).partition(": ")
    return (sentence or field)[:1].upper() + (sentence or field)[1:] + "."


ANSWERS: Final[Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]]] = {
    NotSignedIn: _not_signed_in,
    NotFound: _not_found,
    TooEarly: _too_early,
    NotPermitted: _not_permitted,
    Rejected: _rejected,
    Unavailable: _unavailable,
    RequestValidationError: _invalid,
    HTTPException: _http,
}
"""Who answers which error; whatever else comes up is a bug, and `bug` answers."""
