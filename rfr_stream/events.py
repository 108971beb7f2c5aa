"""The wire contracts: what the stages say to each other.

Every event is frozen, closed (`extra="forbid"`), with aware datetimes, and carries references, digests and opaque
ids only: no pixels, no vectors, no personal names. Its id is derived from what it is about, so that a redelivery
says the same thing with the same id. A field may be added with a default; anything else is a new topic version.
"""

import hashlib
import json
from dataclasses import astuple
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from uuid import UUID, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from rfr_stream.faces import Box, Landmarks, Point

NAMESPACE = UUID("6b1f2a5e-5d0c-5a57-9e0c-3d1b7a4f9c21")
"""Root of every derived id of this project."""

CAVEAT: Final = "Possible lead. Not evidence of identity. Must be independently corroborated."

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Ref = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$", min_length=1, max_length=128)]
"""An opaque reference in some register: a case, a person, an officer. Never a name."""
_PRINTABLE: Final = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$"
"""No control characters but newline and tab: a database cannot keep some, and a terminal obeys others."""
Prose = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000, pattern=_PRINTABLE)]
Observation = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=_PRINTABLE)]
"""One feature that a reviewer saw; as many as may be named fit into one event."""
Instant = Annotated[AwareDatetime, Field(ge=datetime(1900, 1, 1, tzinfo=UTC), lt=datetime(9000, 1, 1, tzinfo=UTC))]
"""A moment with its offset, far enough from the calendar's ends that it can be told in every time zone."""
BlobUri = Annotated[
    str,
    StringConstraints(
        pattern=r"^(file|s3|memory)://[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+$", max_length=1024
    ),
]
"""`<store>://<bucket>/<key>`; no part of a path may begin with a dot, so that none can climb."""
Similarity = Annotated[float, Field(ge=-1.0, le=1.0, allow_inf_nan=False)]
"""Cosine similarity of two templates of the same embedder."""
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


def derive_id(*parts: object) -> UUID:
    """Return the uuid5 of the parts: the same parts, the same id, on every machine and in every run."""
    return uuid5(NAMESPACE, json.dumps(tuple(map(str, parts)), ensure_ascii=False))


@lru_cache(maxsize=4_096)
def _event_id(ce_type: str, about: UUID) -> UUID:
    """Remember: whoever reads an event derives the same id that its sender, often in this process, just did.

    Of opaque ids alone: what names a case or a person must not outlive it here.
    """
    return derive_id(ce_type, about)


def canonical(value: Any) -> bytes:  # noqa: ANN401 - whatever JSON can hold
    """Return the one byte form of a JSON value that digests and signatures are taken of (sorted, compact, UTF-8)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Source(StrEnum):
    """Which door an image came through."""

    OFFICER = "officer"
    PUBLIC_APPEAL = "public_appeal"
    MISSING_PERSON = "missing_person"
    DECEASED_PERSON = "deceased_person"


class Purpose(StrEnum):
    """Whom the search is meant to find; the policy table says which galleries that opens."""

    SUSPECT = "suspect"
    VICTIM = "victim"
    WITNESS = "witness"
    MISSING = "missing"
    DECEASED = "deceased"


class GalleryName(StrEnum):
    """A set of lawfully held references with one regime; each is its own collection."""

    CUSTODY = "custody"
    MISSING = "missing"
    DECEASED = "deceased"


class Outcome(StrEnum):
    """What became of a submission."""

    REFUSED = "refused"
    UNREADABLE = "unreadable"
    NO_FACE = "no_face"
    SUBJECT_SELECTION_REQUIRED = "subject_selection_required"
    UNSUITABLE_QUALITY = "unsuitable_quality"
    NO_CANDIDATES = "no_candidates"
    NOT_CONFIRMED = "not_confirmed"
    INCONCLUSIVE = "inconclusive"
    CONFIRMED = "confirmed"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class Support(StrEnum):
    """A reviewer's conclusion, ordered, in words; uncalibrated, and never a percentage (after FISWG and ENFSI)."""

    STRONG_SAME = "strong_support_same"
    MODERATE_SAME = "moderate_support_same"
    LIMITED_SAME = "limited_support_same"
    INCONCLUSIVE = "inconclusive"
    LIMITED_DIFFERENT = "limited_support_different"
    MODERATE_DIFFERENT = "moderate_support_different"
    STRONG_DIFFERENT = "strong_support_different"
    UNSUITABLE = "unsuitable"


class Value(BaseModel):
    """A closed, frozen part of an event."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BlobRef(Value):
    """A claim check: where bytes lie, and the digest that proves them."""

    uri: BlobUri
    sha256: Sha256
    media_type: Annotated[str, StringConstraints(pattern=r"^[a-z]+/[a-z0-9.+-]+$", max_length=64)]
    bytes: Annotated[int, Field(ge=0, le=2**40)]


class ModelIdentity(Value):
    """Which model made a result; results of two identities are never compared."""

    name: Ref
    version: Ref
    weights_sha256: Sha256
    dimension: Annotated[int, Field(ge=0, le=65_536, description="length of its template; 0 for a detector")] = 0


class Still(Value):
    """A photograph."""

    kind: Literal["still"] = "still"


class VideoFrame(Value):
    """One frame of a stored video, named so that it can be taken again."""

    kind: Literal["video_frame"] = "video_frame"
    video_sha256: Sha256
    frame_time_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Submission(Value):
    """What was asked, by whom, of what, and on which ground; every later event of the chain carries it whole."""

    submission_id: UUID
    source: Source
    purpose: Purpose
    case_ref: Ref
    legal_basis: Prose
    necessity: Prose | None = None
    authoriser: Ref | None = None
    galleries: Annotated[
        tuple[GalleryName, ...], Field(description="galleries asked for; empty: all the purpose permits")
    ] = ()
    subject: Box | Point | None = None
    media: Annotated[Still | VideoFrame, Field(discriminator="kind")] = Still()
    submitted_by: Ref
    submitted_at: Instant
    image: BlobRef

    @staticmethod
    def derive(
        *,
        image_sha256: str,
        source: Source,
        purpose: Purpose,
        case_ref: str,
        submitted_by: str,
        subject: Box | Point | None = None,
        media: Still | VideoFrame | None = None,
        galleries: tuple[GalleryName, ...] = (),
    ) -> UUID:
        """Return the id of this person asking this of this image: the same request again is the same submission.

        Who asks is part of it: whoever asked may not review, and must not vanish behind somebody who asked before.
        """
        # As numbers that survive the wire: 125 comes back as 125.0.
        place = ",".join(str(float(number)) for number in astuple(subject)) if subject else ""
        frame = (media or Still()).model_dump_json()
        names = ",".join(sorted(galleries))
        return derive_id("submission", image_sha256, source, purpose, case_ref, submitted_by, place, frame, names)

    @model_validator(mode="after")
    def _has_its_own_id(self) -> Self:
        derived = self.derive(
            image_sha256=self.image.sha256,
            source=self.source,
            purpose=self.purpose,
            case_ref=self.case_ref,
            submitted_by=self.submitted_by,
            subject=self.subject,
            media=self.media,
            galleries=self.galleries,
        )
        if self.submission_id != derived:
            msg = "submission_id: not the id that this request derives; a foreign id could end in another case"
            raise ValueError(msg)
        return self


class Quality(Value):
    """Measures of the subject's face; each is higher for a better probe unless it says otherwise."""

    interocular_px: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    sharpness: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="variance of the chip's Laplacian, grey levels squared")
    ]
    brightness: Annotated[float, Field(ge=0, le=255, allow_inf_nan=False, description="mean grey level of the chip")]
    contrast: Annotated[
        float, Field(ge=0, le=128, allow_inf_nan=False, description="standard deviation of the chip's grey levels")
    ]
    roll_deg: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False, description="0 is upright")]
    yaw_ratio: Annotated[float, Field(allow_inf_nan=False, description="0 is frontal")]


class SubjectFace(Value):
    """The one face a submission is about."""

    box: Box
    landmarks: Landmarks
    score: Share
    quality: Quality
    crop: BlobRef
    aligner: Annotated[
        Ref, Field(description="how the crop was brought upright; an embedder takes the chips of one aligner")
    ]
    detector: ModelIdentity


class SubjectTemplate(Value):
    """Where the template lies, and which embedder made it."""

    template: BlobRef
    embedder: ModelIdentity


class HoldRecord(Value):
    """Why a reference image is lawfully held, from when, and when that must be looked at again."""

    legal_basis: Prose
    source: Ref
    captured_at: Instant
    review_due: Instant
    restricted: bool = False


class Candidate(Value):
    """One person of the gallery: a lead, never an identification."""

    rank: Annotated[int, Field(ge=1)]
    person_id: Ref
    reference_id: UUID
    gallery: GalleryName
    reference: BlobRef
    similarity: Similarity


class Event(Value):
    """What happened, as one Kafka record: CloudEvents 1.0 in binary mode, this model as the JSON body."""

    ce_type: ClassVar[str]

    occurred_at: Instant
    """When it happened, by the speaker's clock (informational: clocks differ)."""
    demo: bool = False
    """A demonstration's event; an operational consumer refuses it, and the other way round."""

    @property
    def event_id(self) -> UUID:
        """Derived from what the event is about, never from when it was said."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """The Kafka key: events of one key keep their order."""
        raise NotImplementedError


class SubmissionEvent(Event):
    """A step in the life of one submission: keyed by it, and one of its kind for it."""

    submission: Submission

    @property
    def event_id(self) -> UUID:
        return _event_id(self.ce_type, self.submission.submission_id)

    @property
    def key(self) -> str:
        return str(self.submission.submission_id)


class ImageSubmitted(SubmissionEvent):
    """Somebody asks who this may be."""

    ce_type = "rfr.image-submitted.v1"


class FaceDetected(SubmissionEvent):
    """The subject's face was found, brought upright and measured."""

    ce_type = "rfr.face-detected.v1"
    face: SubjectFace


class FaceEmbedded(SubmissionEvent):
    """The subject's face has a template."""

    ce_type = "rfr.face-embedded.v1"
    face: SubjectFace
    template: SubjectTemplate


class CandidatesReady(SubmissionEvent):
    """The machine's last word: leads for people to look at, best first; an empty list is an honest blank."""

    ce_type = "rfr.candidates-ready.v1"
    face: SubjectFace
    template: SubjectTemplate
    candidates: tuple[Candidate, ...]
    threshold: Annotated[float, Field(gt=0, le=1)]
    list_length: Annotated[int, Field(ge=1)]
    gallery_sizes: dict[GalleryName, Annotated[int, Field(ge=0)]]
    list_digest: Sha256

    @staticmethod
    def digest(submission_id: UUID, probe_sha256: str, candidates: tuple[Candidate, ...]) -> str:
        """Return the SHA-256 of the list as a reviewer judges it: which probe, which candidates, in which order."""
        listed = [candidate.model_dump(mode="json") for candidate in candidates]
        return hashlib.sha256(canonical([str(submission_id), probe_sha256, listed])).hexdigest()

    @model_validator(mode="after")
    def _is_what_it_says(self) -> Self:
        people = [candidate.person_id for candidate in self.candidates]
        if len(set(people)) != len(people):
            msg = "candidates: one entry per person"
            raise ValueError(msg)
        if [candidate.rank for candidate in self.candidates] != list(range(1, len(people) + 1)):
            msg = "candidates: ranks run 1, 2, 3 ... without gaps"
            raise ValueError(msg)
        expected = self.digest(self.submission.submission_id, self.submission.image.sha256, self.candidates)
        if self.list_digest != expected:
            msg = "list_digest: not the digest of this candidate list"
            raise ValueError(msg)
        return self


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
        return _event_id(self.ce_type, self.submission_id)

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
        return _event_id(self.ce_type, self.submission_id)

    @property
    def key(self) -> str:
        return self.case_ref


class SubmissionClosed(Event):
    """What became of a submission, for whoever sent it; says nothing about any person."""

    ce_type = "rfr.submission-closed.v1"

    submission_id: UUID
    outcome: Outcome
    detail: Prose

    @property
    def event_id(self) -> UUID:
        return derive_id(self.ce_type, self.submission_id, self.outcome)

    @property
    def key(self) -> str:
        return str(self.submission_id)


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
        return _event_id(self.ce_type, self.reference_id)

    @property
    def key(self) -> str:
        return self.person_id
