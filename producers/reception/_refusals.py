"""What a client is told when something is refused: problem details (RFC 9457) with the field and the fix, no values."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from rfr_stream import telemetry
from rfr_stream.errors import BadImage, BadVideo, NotPermitted, Rejected, Unavailable
from topics import known_path

log = telemetry.logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 10
_REFERENCE: Final = (
    "a reference, no name: letters, digits and . _ : / @ + - only, beginning with a letter or digit; "
    "that of an appeal has a digit in it"
)


class Refused(Exception):
    """Something about a request that its sender can mend."""

    def __init__(self, status: HTTPStatus, field: str, fix: str, **headers: str) -> None:
        super().__init__(f"{field}: {fix}")
        self.status, self.errors = status, [(field, fix)]
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def problem(
    status: HTTPStatus, errors: Iterable[tuple[str, str]] = (), *, headers: Mapping[str, str] | None = None
) -> Response:
    """Return problem details: which fields are wrong, and what to do."""
    body: dict[str, Any] = {"type": "about:blank", "title": status.phrase, "status": status.value}
    if listed := [{"field": field, "fix": fix} for field, fix in errors]:
        body["errors"] = listed
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)


def invalid(error: ValidationError, *, within: str) -> Refused:
    """Return what is wrong with a part that a contract does not take."""
    refused = Refused(HTTPStatus.UNPROCESSABLE_ENTITY, within, "not what its contract says")
    refused.errors = list(_faults(error.errors(include_url=False, include_input=False), within))
    return refused


def forbidden(error: NotPermitted, *, within: str) -> Refused:
    """Return what policy says of a part; its message names the field and the fix."""
    field, fix = _halves(error)
    return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"{within}.{field}", fix)


def unfit(error: BadImage | BadVideo, *, within: str, status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY) -> Refused:
    """Return what is wrong with a file."""
    return Refused(status, within, _halves(error)[1])


def _halves(error: Rejected) -> tuple[str, str]:
    field, _, fix = str(error).partition(": ")
    return field, fix


def _faults(errors: Sequence[Any], within: str) -> Iterable[tuple[str, str]]:
    for fault in errors:
        yield ".".join(map(str, (within, *known_path(fault)))), _fix(fault)


def _fix(fault: Mapping[str, Any]) -> str:
    """Return what to do; what pydantic says quotes the value in two cases."""
    match fault["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return "there is a field that the contract does not know; leave it out"
        case "string_pattern_mismatch":
            return _REFERENCE
        case "union_tag_invalid":
            return f"one of {fault['ctx']['expected_tags']}"
        case _:
            return str(fault["msg"]).removeprefix("Value error, ")


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, Refused):
        raise TypeError
    log.event("upload.refused", status=error.status.value, field=error.errors[0][0])
    return problem(error.status, error.errors, headers=error.headers)


async def _gone(_: Request, __: Exception) -> Response:
    return problem(HTTPStatus.BAD_REQUEST)  # which nobody hears: whoever asked is not there any more


async def _unavailable(_: Request, error: Exception) -> Response:
    log.event("page.refused", level=logging.WARNING, error=error)
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, headers={"retry-after": str(RETRY_AFTER_S)})


async def _invalid(_: Request, error: Exception) -> Response:
    errors = error.errors() if isinstance(error, RequestValidationError) else []
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, _faults([{**each, "loc": each["loc"][1:]} for each in errors], "request")
    )


async def _http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return problem(HTTPStatus.BAD_REQUEST)
    return problem(HTTPStatus(error.status_code), headers=error.headers)


async def bug(_: Request, error: Exception) -> Response:
    log.event("page.failed", level=logging.ERROR, error=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR)


ANSWERS: Final[Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]]] = {
    Refused: _refused,
    Unavailable: _unavailable,
    RequestValidationError: _invalid,
    HTTPException: _http,
    ClientDisconnect: _gone,
}
"""Who answers which error; whatever else comes up is a bug, and `bug` answers."""
