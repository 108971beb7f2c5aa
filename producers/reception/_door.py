"""How a door is made: its route, its place in the documentation, and what it shares with all the others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from fastapi import Request as HttpRequest
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from producers._request import Request
from producers.reception._parts import Parts, boundary_of
from producers.reception._patience import Bounds, patiently, too_large
from producers.reception._reception import Here, Reception, client_at
from producers.reception._refusals import MEDIA_TYPE, Refused
from producers.reception._upload import MAX_REQUEST_BYTES, Taken, Upload, take_in
from producers.reception._video import Kept, take_frames
from producers.reception._wanted import OfVideo
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


class AcceptedImage(Accepted):
    """One image that is safe here, and whether it is held, too."""

    reference_id: Annotated[
        UUID | None, Field(description="by which it is held for later searches, and erased; null: it is not held")
    ]


class Receipt(BaseModel):
    """What was taken in, in the order of the images; the same image twice is one submission."""

    model_config = ConfigDict(frozen=True)

    submissions: list[AcceptedImage]


class AcceptedFrame(Accepted):
    """One frame that is safe here."""

    frame_time_s: Annotated[float, Field(description="since the first frame, rounded up to a microsecond")]


class VideoReceipt(BaseModel):
    """What was taken in of a video: its frames, in the order in which they were asked for."""

    model_config = ConfigDict(frozen=True)

    video_sha256: str
    submissions: list[AcceptedFrame]


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


_FILE: Final = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
IMAGES: Final[dict[str, Any]] = {
    "image": {
        "type": "array",
        "minItems": 1,
        "items": _FILE,
        "description": "JPEG, PNG, WebP, TIFF, BMP, AVIF or HEIC, unaltered; what it is, its bytes say",
    }
}
VIDEO: Final[dict[str, Any]] = {
    "video": {
        **_FILE,
        "description": "MP4, MOV, Matroska, WebM, AVI, MPEG, WMV, FLV, MXF or Ogg, unaltered, as it was exported",
    }
}
_BETWEEN_PARTS_BYTES: Final = 4_096
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
    asks: tuple[type[BaseModel], ...]
    """The contracts of its parts `request`."""
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
        openapi_extra={"requestBody": body_of(asks, example, IMAGES)},
        operation_id=f"submit_at_{which}",
    )
    async def submit(
        http: HttpRequest,
        here: Here,
        client: Annotated[Client, Depends(client_at(which))],
        key: Annotated[str | None, IDEMPOTENCY_KEY] = None,
    ) -> Receipt:
        def take(parts: Parts) -> Awaitable[list[Taken]]:
            return take_in(Upload(client, parts, asks, key), here)

        taken = await received(http, here, here.place_at(which), take)
        log.event("upload.taken", client=client.name, images=len(taken))
        return Receipt(submissions=[_accepted(each) for each in taken])

    return Opening(router, (asks,), principal)


def with_videos(opening: Opening, which: Door, asks: type[OfVideo], *, example: dict[str, Any]) -> Opening:
    """Return a door that takes videos too: `POST /<door>/videos`, of which it takes the frames.

    Args:
        opening: of this door.

        which: its name.

        asks: the contract of the part `request`.

        example: of that part, for the documentation.

    """

    @opening.router.post(
        "/videos",
        status_code=HTTPStatus.ACCEPTED,
        summary=(asks.__doc__ or "").splitlines()[0],
        responses=REFUSALS,
        openapi_extra={"requestBody": body_of(asks, example, VIDEO)},
        operation_id=f"submit_video_at_{which}",
    )
    async def submit(
        http: HttpRequest,
        here: Here,
        client: Annotated[Client, Depends(client_at(which))],
        key: Annotated[str | None, IDEMPOTENCY_KEY] = None,
    ) -> VideoReceipt:
        def take(parts: Parts) -> Awaitable[Kept]:
            return take_frames(Upload(client, parts, asks, key), here)

        bounds = Bounds.of_a_video(here.settings, MAX_REQUEST_BYTES + _BETWEEN_PARTS_BYTES)
        kept = await received(http, here, here.place_for_a_video(which), take, bounds=bounds)
        log.event("upload.taken", client=client.name, images=len(kept.frames))
        frames = [
            AcceptedFrame(submission_id=id_, status_url=_status_url(id_), frame_time_s=time_s)
            for id_, time_s in kept.frames
        ]
        return VideoReceipt(video_sha256=kept.video_sha256, submissions=frames)

    return replace(opening, asks=(*opening.asks, asks))


def _accepted(taken: Taken) -> AcceptedImage:
    id_ = taken.submission_id
    return AcceptedImage(submission_id=id_, status_url=_status_url(id_), reference_id=taken.reference_id)


def _status_url(submission_id: UUID) -> str:
    return f"/submissions/{submission_id}"


async def received(
    http: HttpRequest,
    here: Reception,
    place: AbstractContextManager[None],
    take: Callable[[Parts], Awaitable[T]],
    *,
    bounds: Bounds | None = None,
    through: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]] = lambda body: body,
) -> T:
    """Return what comes of the parts of a body, if there is a place at the door.

    Args:
        http: what came.

        here: the reception.

        place: what must be free for it.

        take: makes it of the parts.

        bounds: of the body; None: those of images.

        through: looks at the bytes on their way.

    Raises:
        Refused: its sender can mend it.

    """
    body, bounds = http.stream(), bounds or Bounds.of_images(here.settings)
    try:
        with place:
            boundary = _boundary(http, bounds.max_bytes)
            return await take(Parts(through(patiently(body, bounds)), boundary))
    except Refused as refused:
        if refused.status is not HTTPStatus.REQUEST_TIMEOUT and "expect" not in http.headers:
            await hear_out(body)
        raise


def _boundary(http: HttpRequest, max_bytes: int) -> bytes:
    """Return what stands between the parts, if the head of the request promises what is taken here.

    Raises:
        Refused: it does not.

    """
    boundary = boundary_of(http.headers.get("content-type", ""))
    if http.headers.get("content-encoding", "identity") != "identity":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding", "none; what is sent here does not shrink")
    length = http.headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()):
        raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length", "a number of bytes")
    if int(length[:20]) > max_bytes:
        raise too_large(max_bytes)
    return boundary


async def hear_out(body: AsyncIterator[bytes]) -> None:
    """Read on for a moment: whoever is still sending would find the connection broken, and not read why."""
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(_LINGER_S):
            async for _ in body:
                pass


def body_of(asks: type[BaseModel], example: dict[str, Any], files: dict[str, Any]) -> dict[str, Any]:
    """Return how a form of a request and its files is documented."""
    parts = {"request": {"$ref": f"#/components/schemas/{asks.__name__}"}, **files}
    schema = {"type": "object", "required": list(parts), "properties": parts}
    form = {
        "schema": schema,
        "encoding": {"request": {"contentType": "application/json"}},
        "examples": {"request": {"summary": "the part `request`", "value": {"request": example}}},
    }
    return {"required": True, "content": {"multipart/form-data": form}}
