"""What people decide, and the leads that follow."""

import hashlib
from abc import abstractmethod
from typing import Annotated, ClassVar, Final, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from rfr_stream.events.face import Quality
from rfr_stream.events.values import (
    CAVEAT,
    Caveat,
    Component,
    Event,
    Finding,
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
from rfr_stream.faces import Box, Point

Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$", min_length=4, max_length=4_096)]
PublicKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$", min_length=4, max_length=2_048)]
"""As long as the register has room for."""


UNSIGNED: Final = "A" * 86 + "=="
"""A blank that no key verifies."""


# --- what people sign -----------------------------------------------------------------------------------------------
class Passkey(Value):
    """What a passkey signs around the decision: its signature covers both parts, and the second names the decision.

    Source: W3C WebAuthn, level 2, section 7.2; the challenge in `client_data` is the SHA-256 of `signed_bytes`.
    """

    authenticator_data: Base64
    client_data: Base64


class Signed(Event):
    """What one person says, by a key of their own; whatever is not signed so changes nothing."""

    later: ClassVar[frozenset[str]] = frozenset()
    """Fields that this kind of event has not always had."""

    signature: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{86}==$")]
    """Base64 of 64 bytes: Ed25519 over `signed_bytes`, or a passkey's, there r and s of ECDSA or Ed25519."""
    passkey: Passkey | None = None

    @property
    @abstractmethod
    def signer(self) -> str:
        """Whose key it must be."""

    @property
    def is_signed(self) -> bool:
        """Whether anybody has; not whether it is the signer's."""
        return self.signature != UNSIGNED

    @property
    def signed_bytes(self) -> bytes:
        """What is signed: every field but the signature and its passkey.

        A later field counts once it says something, so that what was signed before it came stays signed, and the same
        event.
        """
        contract = type(self).model_fields
        silent = {name for name in self.later if getattr(self, name) == contract[name].default}
        return canonical(self.model_dump(mode="json", exclude={"signature", "passkey", *silent}))

    @property
    def event_id(self) -> UUID:
        """The same words again are the same event; a changed mind is another."""
        return derive_id(self.ce_type, hashlib.sha256(self.signed_bytes).hexdigest())


class SignedAboutCase(Signed):
    """What one person says about one submission."""

    submission_id: UUID

    @property
    def key(self) -> str:
        return str(self.submission_id)


class SubjectChosen(SignedAboutCase):
    """Somebody looked at a frame with several people in it, and said which is meant, or that none is."""

    ce_type = "rfr.subject-chosen.v1"

    reviewer_id: Ref
    subject: Box | Point | None

    @property
    def signer(self) -> str:
        return self.reviewer_id


class Feature(Value):
    """What the comparison of one component found."""

    component: Component
    finding: Finding
    major: bool = False
    """Whether a dissimilarity would, left unexplained, exclude that this is the same person."""
    note: Observation | None = None

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if self.finding in {Finding.DISSIMILAR, Finding.EXPLAINED} and self.note is None:
            msg = "note: say what differs, and what explains it"
            raise ValueError(msg)
        if self.major and self.finding is not Finding.DISSIMILAR:
            msg = "major: only of a dissimilarity that nothing explains"
            raise ValueError(msg)
        return self


class Examination(Value):
    """How the reviewer looked, as the desk measured it: it tells weighing from waving through."""

    analysed_at: Instant
    """When the analysis of the probe alone was on record; the candidates were served after that."""
    shown_at: Instant
    order_seed: Sha256
    """Of the order in which this reviewer saw the candidates."""
    compared_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """From the candidates' being served to the decision's being drafted."""
    viewed_n: Annotated[int, Field(ge=0)] = 0
    """Candidates that were looked at."""
    zoomed: bool = False
    revealed: bool = False
    """Whether the scores had been shown to this reviewer, after an earlier version was locked."""


class ReviewDecided(SignedAboutCase):
    """One reviewer's signed conclusion about one exact candidate list."""

    ce_type = "rfr.review-decided.v1"
    later = frozenset({"features", "examination", "version", "reason"})

    reviewer_id: Ref
    list_digest: Sha256
    support: Support
    person_id: Ref | None = None
    similarities: Annotated[tuple[Observation, ...], Field(max_length=64)] = ()
    dissimilarities: Annotated[tuple[Observation, ...], Field(max_length=64)] = ()
    features: Annotated[tuple[Feature, ...], Field(max_length=64)] = ()
    examination: Examination | None = None
    version: Annotated[int, Field(ge=1, le=99)] = 1
    reason: Prose | None = None
    """Why there is a version after the first."""

    @property
    def signer(self) -> str:
        return self.reviewer_id

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        compared = [feature.component for feature in self.features]
        if len(set(compared)) != len(compared):
            msg = "features: each component once"
            raise ValueError(msg)
        if (self.version > 1) != (self.reason is not None):
            msg = "reason: of every version after the first, and of no first one"
            raise ValueError(msg)
        return self


class WithdrawalOrdered(SignedAboutCase):
    """A supervisor says that a lead must no longer be relied on."""

    ce_type = "rfr.withdrawal-ordered.v1"

    ordered_by: Ref
    reason: Prose

    @property
    def signer(self) -> str:
        return self.ordered_by


class CompetenceCertified(Signed):
    """A supervisor says until when a reviewer's training is in date, and which key is theirs."""

    ce_type = "rfr.competence-certified.v1"

    reviewer_id: Ref
    public_key: PublicKey
    competent_until: Instant
    certified_by: Ref

    @property
    def signer(self) -> str:
        return self.certified_by

    @property
    def key(self) -> str:
        return self.reviewer_id


# --- what the world is told -----------------------------------------------------------------------------------------
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
    caveat: Caveat = CAVEAT
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
    caveat: Caveat = CAVEAT

    @property
    def event_id(self) -> UUID:
        return derive_event_id(self.ce_type, self.submission_id)

    @property
    def key(self) -> str:
        return self.case_ref


class LeadAcknowledged(Event):
    """A subscriber says that a lead, or its withdrawal, has reached those who work with it."""

    ce_type = "rfr.lead-acknowledged.v1"

    subscriber: Ref
    submission_id: UUID
    acknowledged: UUID
    """The `ce_id` of what was received."""

    @property
    def event_id(self) -> UUID:
        return derive_id(self.ce_type, self.subscriber, self.acknowledged)

    @property
    def key(self) -> str:
        return str(self.submission_id)
