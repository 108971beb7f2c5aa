"""How a door is made: its route, its place in the documentation, and what it shares with all the others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from fastapi import Request as HttpRequest
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from producers._request import Request
from producers.reception._parts import Parts, boundary_of
from producers.reception._patience import patiently, too_large
from producers.reception._reception import Here, Reception, client_at
from producers.reception._refusals import MEDIA_TYPE, Refused
from producers.reception._upload import Upload, take_in
from rfr_stream import telemetry
from rfr_stream.reception import Client, Door
from topics.access import Principal

log = telemetry.logger(__name__)
T = TypeVar("T")

_LINGER_S: Final = 1.0
IDEMPOTENCY_KEY: Final = Header(
    alias="Idempotency-Key",
    min_length=1,
    max_length=128,
    pattern=r"^[!-~]+$",
    description="of your own making: the same request with the same key is answered alike, also after a failure",
)


class Accepted(BaseModel):
    """One image that is safe here."""

    model_config = ConfigDict(frozen=True)

    submission_id: UUID
    status_url: Annotated[str, Field(description="where to ask how it stands", examples=["/submissions/..."])]


class Receipt(BaseModel):
    """What was taken in, in the order of the images; the same image twice is one submission."""

    model_config = ConfigDict(frozen=True)

    submissions: list[Accepted]


class Fault(BaseModel):
    """One thing to mend."""

    field: str
    fix: str


class Problem(BaseModel):
    """Problem details (RFC 9457). No value that was sent is ever quoted."""

    type: str
    title: str
    status: int
    errors: list[Fault] = []


def says(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return how refusals of these kinds are documented."""
    said = {"model": Problem, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    return {status.value: {"description": status.phrase, **said} for status in statuses}


REFUSALS: Final = says(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


@dataclass(frozen=True, slots=True)
class Opening:
    """A door as the application needs it."""

    router: APIRouter
    asks: type[BaseModel]
    principal: Principal
    """Whom the cluster must let in, to write what comes through it."""


def door(which: Door, asks: type[Request], *, principal: Principal, example: dict[str, Any]) -> Opening:
    """Return a door: `POST /<door>/submissions`, for its own clients, with what it asks for.

    Args:
        which: its name; clients are added for it.

        asks: the contract of the part `request`.

        principal: whose rights on the bus it needs.

        example: of that part, for the documentation.

    """
    router = APIRouter(prefix=f"/{which}", tags=[which])

    @router.post(
        "/submissions",
        status_code=HTTPStatus.ACCEPTED,
        summary=(asks.__doc__ or "").splitlines()[0],
        responses=REFUSALS,
        openapi_extra={"requestBody": body_of(asks, example)},
        operation_id=f"submit_at_{which}",
    )
    async def submit(
        http: HttpRequest,
        here: Here,
        client: Annotated[Client, Depends(client_at(which))],
        key: Annotated[str | None, IDEMPOTENCY_KEY] = None,
    ) -> Receipt:
        def take(parts: Parts) -> Awaitable[list[UUID]]:
            return take_in(Upload(client, parts, asks, key), here)

        ids = await received(http, here, client.door, take)
        log.event("upload.taken", client=client.name, images=len(ids))
        return Receipt(submissions=[Accepted(submission_id=id_, status_url=f"/submissions/{id_}") for id_ in ids])

    return Opening(router, asks, principal)


async def received(
    http: HttpRequest,
    here: Reception,
    door: Door,
    take: Callable[[Parts], Awaitable[T]],
    *,
    through: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]] = lambda body: body,
) -> T:
    """Return what comes of the parts of a body, if there is a place at the door.

    Args:
        http: what came.

        here: the reception.

        door: at which it came.

        take: makes it of the parts.

        through: looks at the bytes on their way.

    Raises:
        Refused: its sender can mend it.

    """
    body = http.stream()
    try:
        with here.place_at(door):
            boundary = _boundary(http, here)
            return await take(Parts(through(patiently(body, here.settings)), boundary))
    except Refused as refused:
        if refused.status is not HTTPStatus.REQUEST_TIMEOUT and "expect" not in http.headers:
            await hear_out(body)
        raise


def _boundary(http: HttpRequest, here: Reception) -> bytes:
    """Return what stands between the parts, if the head of the request promises what is taken here.

    Raises:
        Refused: it does not.

    """
    boundary = boundary_of(http.headers.get("content-type", ""))
    if http.headers.get("content-encoding", "identity") != "identity":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding", "none; images do not shrink")
    length = http.headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()):
        raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length", "a number of bytes")
    if int(length[:20]) > here.settings.max_upload_bytes:
        raise too_large(here.settings)
    return boundary


async def hear_out(body: AsyncIterator[bytes]) -> None:
    """Read on for a moment: whoever is still sending would find the connection broken, and not read why."""
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(_LINGER_S):
            async for _ in body:
                pass


def body_of(asks: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Return how a form of a request and its images is documented."""
    parts = {
        "request": {"$ref": f"#/components/schemas/{asks.__name__}"},
        "image": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"},
            "description": "JPEG, PNG, WebP, TIFF, BMP, AVIF or HEIC, unaltered; what it is, its bytes say",
        },
    }
    schema = {"type": "object", "required": ["request", "image"], "properties": parts}
    form = {
        "schema": schema,
        "encoding": {"request": {"contentType": "application/json"}},
        "examples": {"request": {"summary": "the part `request`", "value": {"request": example}}},
    }
    return {"required": True, "content": {"multipart/form-data": form}}
