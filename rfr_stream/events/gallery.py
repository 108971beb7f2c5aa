"""Lawfully held references, and their end."""

from uuid import UUID

from rfr_stream.events.values import (
    BlobRef,
    Event,
    GalleryName,
    Instant,
    Prose,
    Ref,
    Value,
    canonical,
    derive_event_id,
    derive_id,
)
from rfr_stream.faces import Box, Point


class HoldRecord(Value):
    """Why a reference image is lawfully held, from when, and when that must be looked at again."""

    legal_basis: Prose
    source: Ref
    captured_at: Instant
    review_due: Instant
    restricted: bool = False


class ReferenceSubmitted(Event):
    """A lawfully held image of a known person, for a gallery."""

    ce_type = "rfr.reference-submitted.v1"

    reference_id: UUID
    person_id: Ref
    gallery: GalleryName
    image: BlobRef
    subject: Box | Point | None = None
    hold: HoldRecord
    submitted_by: Ref

    @staticmethod
    def derive(person_id: str, gallery: GalleryName, image_sha256: str) -> UUID:
        """Return the id of this image of this person in this gallery."""
        return derive_id("reference", person_id, gallery, image_sha256)

    @property
    def event_id(self) -> UUID:
        """A changed hold record of the same image is another event."""
        return derive_id(self.ce_type, self.reference_id, canonical(self.hold.model_dump(mode="json")))

    @property
    def key(self) -> str:
        return self.person_id


class ReferenceErased(Event):
    """A reference image must go: from the gallery, the ledger and the store."""

    ce_type = "rfr.reference-erased.v1"

    reference_id: UUID
    person_id: Ref
    gallery: GalleryName
    reason: Prose
    erased_by: Ref

    @property
    def event_id(self) -> UUID:
        return derive_event_id(self.ce_type, self.reference_id)

    @property
    def key(self) -> str:
        return self.person_id
