"""What people decide, and the leads that follow."""

import hashlib
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from rfr_stream.events.probe import Quality
from rfr_stream.events.values import (
    Event,
    GalleryName,
    Instant,
    ModelIdentity,
    Observation,
    Prose,
    Purpose,
    Ref,
    Sha256,
    Support,
    Value,
    canonical,
    derive_event_id,
    derive_id,
)

CAVEAT: Final = "Possible lead. Not evidence of identity. Must be independently corroborated."


class ReviewDecided(Event):
    """One reviewer's signed conclusion about one exact candidate list."""

    ce_type = "rfr.review-decided.v1"

    submission_id: UUID
    reviewer_id: Ref
    list_digest: Sha256
    support: Support
    person_id: Ref | None = None
    similarities: Annotated[tuple[Observation, ...], Field(max_length=64)] = ()
    dissimilarities: Annotated[tuple[Observation, ...], Field(max_length=64)] = ()
    signature: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{86}==$")]
    """Base64 of the Ed25519 signature over `signed_bytes`."""

    @property
    def signed_bytes(self) -> bytes:
        """What the reviewer's key signs: every field but the signature."""
        return canonical(self.model_dump(mode="json", exclude={"signature"}))

    @property
    def event_id(self) -> UUID:
        """The same decision again is the same event; a changed mind is another."""
        return derive_id(self.ce_type, hashlib.sha256(self.signed_bytes).hexdigest())

    @property
    def key(self) -> str:
        return str(self.submission_id)


class ReviewSummary(Value):
    """What one reviewer put on record, for those who must weigh the lead."""

    reviewer_ref: Ref
    support: Support
    similarities_n: Annotated[int, Field(ge=0)]
    dissimilarities_n: Annotated[int, Field(ge=0)]
    decided_at: Instant
    signature: str


class IdentificationConfirmed(Event):
    """Two people named the same person: an intelligence lead that needs corroboration, and nothing more."""

    ce_type = "rfr.identification-confirmed.v1"

    case_ref: Ref
    submission_id: UUID
    person_id: Ref
    reference_id: UUID
    gallery: GalleryName
    evidential_status: Literal["INTELLIGENCE_LEAD"] = "INTELLIGENCE_LEAD"
    requires_corroboration: Literal[True] = True
    basis: Literal["PERSONAL_ASSESSMENT"] = "PERSONAL_ASSESSMENT"
    derived_from_rfr: Literal[True] = True
    caveat: Literal["Possible lead. Not evidence of identity. Must be independently corroborated."] = CAVEAT
    subject_category: Purpose
    reviews: Annotated[tuple[ReviewSummary, ...], Field(min_length=2)]
    candidates_shown: Annotated[int, Field(ge=1)]
    probe_sha256: Sha256
    quality: Quality
    detector: ModelIdentity
    embedder: ModelIdentity
    evaluation_ref: Ref | None = None

    @model_validator(mode="after")
    def _two_people(self) -> Self:
        people = [review.reviewer_ref for review in self.reviews]
        if len(set(people)) != len(people):
            msg = "reviews: each by a different reviewer"
            raise ValueError(msg)
        return self

    @property
    def event_id(self) -> UUID:
        """One per case, whatever happens."""
        return derive_event_id(self.ce_type, self.submission_id)

    @property
    def key(self) -> str:
        return self.case_ref


class IdentificationWithdrawn(Event):
    """A lead that was given out must no longer be relied on."""

    ce_type = "rfr.identification-withdrawn.v1"

    case_ref: Ref
    submission_id: UUID
    person_id: Ref
    reason: Prose
    withdrawn_by: Ref

    @property
    def event_id(self) -> UUID:
        return derive_event_id(self.ce_type, self.submission_id)

    @property
    def key(self) -> str:
        return self.case_ref
