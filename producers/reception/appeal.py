"""The public's door: portals pass on what people sent in to an appeal. Nobody is searched for by it.

Nothing about whoever sent it is taken: the contract is closed, names of files are not read, and the portal's own
reference is a UUID, into which no name, address or number fits. Who sent what is the portal's own record.
"""

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends
from fastapi import Request as HttpRequest
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from producers._intake import hand_in
from producers.reception._door import IMAGES, REFUSALS, Opening, body_of, hear_out, received
from producers.reception._parts import Parts
from producers.reception._reception import Here, Reception
from producers.reception._refusals import Refused, invalid
from producers.reception._signed import Signed, signed_at
from producers.reception._upload import disk_named, originals, request_in
from rfr_stream import telemetry
from rfr_stream.events import AppealImageReceived, AppealRef, BlobRef, Value
from rfr_stream.reception import Door
from topics import access

log = telemetry.logger(__name__)


_WITH_A_DIGIT: Final = StringConstraints(pattern=r"^([0-9]|[A-Za-z][A-Za-z._:/-]*[0-9])[A-Za-z0-9._:/-]*$")
"""Narrower than the event: a name has none."""


class AppealImages(Value):
    """Images that somebody sent in to an appeal."""

    model_config = ConfigDict(hide_input_in_errors=True)

    appeal_ref: Annotated[
        AppealRef, _WITH_A_DIGIT, Field(description="the case that the public was asked about; with a digit in it")
    ]
    portal_ref: Annotated[UUID, Field(description="of the portal's own making for this message; it is not kept")]
    demo: bool = False


class Contributed(BaseModel):
    """What was taken in, in the order of the images: numbers by which an officer may ask the portal."""

    model_config = ConfigDict(frozen=True)

    contributions: list[UUID]


@dataclass(frozen=True, slots=True)
class SentIn:
    """A message to a portal, as it is said of each of its images."""

    said: AppealImages
    portal: str

    @property
    def statement(self) -> tuple[object, ...]:
        return (self.said.model_dump_json(), self.portal)

    def derive(self, image_sha256: str) -> UUID:
        return AppealImageReceived.derive(self.portal, self.said.portal_ref, image_sha256)

    def key(self, image_sha256: str) -> str:
        """Apart from officers' originals: what nobody endorses can go without taking one of theirs along."""
        return f"appeals/{image_sha256[:2]}/{image_sha256}"

    def event(self, image: BlobRef, at: datetime) -> AppealImageReceived:
        return AppealImageReceived(
            occurred_at=at,
            contribution_id=self.derive(image.sha256),
            appeal_ref=self.said.appeal_ref,
            portal=self.portal,
            image=image,
            demo=self.said.demo,
        )


_EXAMPLE: Final[dict[str, Any]] = {
    "appeal_ref": "OP-HAWTHORN/26",
    "portal_ref": "2f1c0f5e-6a0b-4f6e-9a3e-0c5b8f3f4d11",
}
_router = APIRouter(prefix=f"/{Door.APPEAL}", tags=[Door.APPEAL])


@_router.post(
    "/images",
    status_code=HTTPStatus.ACCEPTED,
    summary=(AppealImages.__doc__ or "").splitlines()[0],
    responses=REFUSALS,
    openapi_extra={"requestBody": body_of(AppealImages, _EXAMPLE, IMAGES)},
    operation_id="pass_on_at_appeal",
)
async def pass_on(
    http: HttpRequest, here: Here, signed: Annotated[Signed, Depends(signed_at(Door.APPEAL))]
) -> Contributed:
    """Take in what is signed; the same request again within its time is answered as before, and nothing is done."""
    before = here.answered.known(signed.signature)
    if isinstance(before, Contributed):
        await hear_out(http.stream())
        return before

    def take(parts: Parts) -> Awaitable[Contributed]:
        return _take_in(parts, signed.client.name, here)

    answer = await received(http, here, here.place_at(Door.APPEAL), take, through=signed.whole)
    log.event("upload.taken", client=signed.client.name, images=len(answer.contributions))
    here.answered.remember(signed.signature, answer, here.clock())
    return answer


async def _take_in(parts: Parts, portal: str, here: Reception) -> Contributed:
    names = aiter(parts)
    form = await _form(parts, names, portal, here)
    with disk_named(), TemporaryDirectory(dir=here.spool) as folder:
        files = [each async for each in originals(parts, names, Path(folder), here)]
        if not files:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "image", "one part or more, after `request`")
        said = {form.derive(each.sha256): (form, each) for each in files}
        await hand_in(list(said.values()), blobs=here.blobs, publish=here.publish)
    return Contributed(contributions=[form.derive(each.sha256) for each in files])


async def _form(parts: Parts, names: AsyncIterator[str], portal: str, here: Reception) -> SentIn:
    try:
        said = AppealImages.model_validate_json(await request_in(parts, names))
    except ValidationError as error:
        raise invalid(error, within="request") from None
    if said.demo is not here.demo:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "request.demo", f"{here.demo}, at this reception".lower())
    return SentIn(said, portal)


OPENING: Final = Opening(_router, (AppealImages,), access.PUBLIC_APPEAL)
