"""Lawfully held references, what became of the cases they were taken in, and their end."""

from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import Field, model_validator

from rfr_stream.events.values import (
    BlobRef,
    Disposal,
    Event,
    Found,
    GalleryName,
    Instant,
    Prose,
    Ref,
    Regime,
    Source,
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
    age_at_capture: Annotated[int, Field(ge=0, le=130)] | None = None
    """In years; where it is not on record, policy takes the person for a child."""
    case_ref: Ref | None = None
    """The case that the image was taken in; where it is not on record, every case of the person's counts."""
    disposal: Disposal | None = None
    """How that case stood when this was said; what is heard of it later comes as `CaseDisposed`."""
    door: Source = Source.OFFICER
    """Which door the image came through. It decides which gallery it may enter."""
    regime: Annotated[Regime | None, Field(description="which law it is held under, where that was asked")] = None
    found: Annotated[Found | None, Field(description="of somebody deceased")] = None


_LATER: Final = ("age_at_capture", "case_ref", "disposal", "door", "regime", "found")
"""What a hold record has not always had."""


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
        """A changed hold record of the same image is another event.

        A later field counts once it says something, so that what was said before it came is the same event.
        """
        defaults = HoldRecord.model_fields
        silent = {name for name in _LATER if getattr(self.hold, name) == defaults[name].default}
        return derive_id(self.ce_type, self.reference_id, canonical(self.hold.model_dump(mode="json", exclude=silent)))

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


class CaseDisposed(Event):
    """What became of a case: it decides whether the images that were taken in it may still be searched."""

    ce_type = "rfr.case-disposed.v1"

    person_id: Ref
    case_ref: Ref
    disposal: Disposal
    reason: Prose
    decided_by: Ref
    exceptional_reason: Prose | None = None
    """Why the images are kept and searched although they are presumed to be deleted."""
    authorised_by: Ref | None = None
    """Who agreed to that, where policy demands somebody: not whoever decided."""

    @model_validator(mode="after")
    def _is_agreed_by_another(self) -> Self:
        if self.authorised_by and not self.exceptional_reason:
            msg = "authorised_by: there is no exceptional_reason to authorise"
            raise ValueError(msg)
        if self.authorised_by == self.decided_by:
            msg = "authorised_by: somebody else than whoever decides"
            raise ValueError(msg)
        return self

    @property
    def case_id(self) -> UUID:
        """Of this case of this person: what is said of it last counts."""
        return derive_id("case", self.person_id, self.case_ref)

    @property
    def event_id(self) -> UUID:
        """Another word on the same case is another event."""
        return derive_id(self.ce_type, canonical(self.model_dump(mode="json", exclude={"occurred_at", "demo"})))

    @property
    def key(self) -> str:
        return self.person_id
