"""How lawfully held images of known people come into a gallery, change their hold record, and leave."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from pydantic import ConfigDict

from producers._handed_in import HandedIn
from producers._intake import MAX_IMAGE_BYTES, Arrival, Publish, Report, take_in
from rfr_stream.errors import NotPermitted
from rfr_stream.events import (
    BlobRef,
    CaseDisposed,
    GalleryName,
    HoldRecord,
    Prose,
    Ref,
    ReferenceErased,
    ReferenceSubmitted,
    Value,
)
from rfr_stream.faces import Box, Point
from rfr_stream.policy import ineligibility, require_enrollable
from rfr_stream.ports import BlobStore
from rfr_stream.stages import as_held, reference_folder

__all__ = ["Enrolment", "Erasure", "dispose", "enrol", "erase", "holdable"]

_ANY_IMAGE = BlobRef(uri="memory://any/any", sha256="0" * 64, media_type="image/png", bytes=0)


class Enrolment(Value):
    """Whom an image shows, and why it is lawfully held. The same image with another hold record replaces it."""

    model_config = ConfigDict(hide_input_in_errors=True)

    person_id: Ref
    gallery: GalleryName
    hold: HoldRecord
    subject: Box | Point | None = None
    submitted_by: Ref
    demo: bool = False

    @property
    def statement(self) -> tuple[object, ...]:
        return ("reference", self.model_dump_json())

    def derive(self, image_sha256: str) -> UUID:
        return ReferenceSubmitted.derive(self.person_id, self.gallery, image_sha256)

    def key(self, image_sha256: str) -> str:
        # A blob of its own, though a probe may be the same image: erasing this one must leave that one alone.
        return f"{reference_folder(self.derive(image_sha256))}/{image_sha256}"

    def event(self, image: BlobRef, at: datetime) -> ReferenceSubmitted:
        return ReferenceSubmitted(occurred_at=at, reference_id=self.derive(image.sha256), image=image, **dict(self))


class Erasure(Value):
    """A reference that must go, and why."""

    model_config = ConfigDict(hide_input_in_errors=True)

    reference_id: UUID
    person_id: Ref
    gallery: GalleryName
    reason: Prose
    erased_by: Ref
    demo: bool = False


async def enrol(
    entries: Iterable[tuple[Path | bytes, Enrolment]],
    *,
    blobs: BlobStore,
    publish: Publish,
    journal: HandedIn | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> AsyncIterator[Report]:
    """Yield how each image fared, in order; entries are drawn lazily, so that a whole gallery streams.

    Raises:
        NotPermitted: an entry could never be found by any search; the entries before its chunk are handed in.

        Unavailable: store, bus or journal are away; run it again later.

    """
    arrivals = (Arrival(file, holdable(enrolment)) for file, enrolment in entries)
    async for report in take_in(arrivals, blobs=blobs, publish=publish, journal=journal, max_bytes=max_bytes):
        yield report


async def erase(erasures: Iterable[Erasure], *, publish: Publish) -> int:
    """Publish that these references must go, and return how many; saying it twice is no error."""
    now = datetime.now(UTC)
    events = [ReferenceErased(occurred_at=now, **dict(erasure)) for erasure in erasures]
    await publish(events)
    return len(events)


async def dispose(disposals: Sequence[CaseDisposed], *, publish: Publish) -> None:
    """Publish what became of cases; from then on their images are found only where policy still allows it."""
    await publish(disposals)


def holdable(enrolment: Enrolment) -> Enrolment:
    """Refuse a door that leads elsewhere, and a hold record that is void from the start.

    A restriction may be put on record: it is lifted later.

    Raises:
        NotPermitted: no search could ever find it.

    """
    require_enrollable(enrolment.gallery, enrolment.hold.door)
    now = datetime.now(UTC)
    held = as_held(enrolment.event(_ANY_IMAGE, now))
    if reason := ineligibility(replace(held, restricted=False), now):
        msg = f"hold: {reason}"
        raise NotPermitted(msg)
    return enrolment
