"""The life of one submission: what was asked, what the machine found, and how it ended."""

import hashlib
from collections.abc import Iterable
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from rfr_stream.events.face import SubjectFace, SubjectTemplate
from rfr_stream.events.values import (
    CAVEAT,
    BlobRef,
    Caveat,
    Event,
    Found,
    GalleryName,
    Harm,
    Instant,
    ModelIdentity,
    Origin,
    Outcome,
    Prose,
    Purpose,
    Ref,
    Regime,
    Sha256,
    Similarity,
    Source,
    Value,
    canonical,
    derive_event_id,
    derive_id,
)
from rfr_stream.events.variants import (
    NAMED_BY,
    ImageVariant,
    Media,
    Still,
    Tried,
    Variant,
    Variants,
    VideoFrame,
    place_of,
)
from rfr_stream.faces import Box, Point

_STILL: Final = Still().model_dump_json()


class Provenance(Value):
    """Where the original comes from, so that it can be shown in court how it came to be searched with."""

    origin: Origin
    obtained: Annotated[Prose, Field(description="how it came into the hands of whoever submits it")]
    exhibit_ref: Ref


class Renewal(Value):
    """Why a question is asked again: somebody is still sought, and these references came later than its own search."""

    of: Annotated[UUID, Field(description="the submission that stands")]
    references: Annotated[tuple[UUID, ...], Field(min_length=1, max_length=256)]

    @property
    def submission_id(self) -> UUID:
        """Of the submission that asks again: the same references again are the same question."""
        return derive_id("renewal", self.of, *sorted(self.references))


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
    media: Media = Still()
    submitted_by: Ref
    submitted_at: Instant
    image: BlobRef
    harm: Harm = Harm.OTHER
    # What every door asks for since it is asked at all; None in what was submitted before.
    regime: Regime | None = None
    provenance: Provenance | None = None
    age_at_capture: Annotated[int | None, Field(ge=0, le=130, description="years, as far as anybody knows")] = None
    found: Annotated[Found | None, Field(description="of somebody deceased")] = None
    variants: Variants = ()
    renewal: Annotated[Renewal | None, Field(description="of what a standing search asks again")] = None

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
        variants: tuple[Variant, ...] = (),
    ) -> UUID:
        """Return the id of this person asking this of this image: the same request again is the same submission.

        Who asks is part of it: whoever asked may not review, and must not vanish behind somebody who asked before.
        """
        place = place_of(subject)
        frame = media.model_dump_json(include=NAMED_BY) if isinstance(media, VideoFrame) else _STILL
        names = ",".join(sorted(galleries))
        asked = ("submission", image_sha256, source, purpose, case_ref, submitted_by, place, frame, names)
        return derive_id(*asked, *(variant.statement for variant in variants))

    @model_validator(mode="wrap")
    @classmethod
    def _has_its_own_id(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - untrusted
        """Check what comes from outside; one that goes from an event into the next was checked when it was made."""
        if isinstance(given, cls):
            return given
        submission = validate(given)
        derived = cls.derive(
            image_sha256=submission.image.sha256,
            source=submission.source,
            purpose=submission.purpose,
            case_ref=submission.case_ref,
            submitted_by=submission.submitted_by,
            subject=submission.subject,
            media=submission.media,
            galleries=submission.galleries,
            variants=submission.variants,
        )
        renewal = submission.renewal
        own = (renewal.of, renewal.submission_id) if renewal else (derived, derived)
        if (derived, submission.submission_id) != own:
            msg = "submission_id: not the id that this request derives; a foreign id could end in another case"
            raise ValueError(msg)
        if any(
            isinstance(each, ImageVariant) and each.image.sha256 == submission.image.sha256
            for each in submission.variants
        ):
            msg = "variants: the original again; it would count twice"
            raise ValueError(msg)
        return submission

    @property
    def image_digests(self) -> frozenset[str]:
        """The SHA-256 of the original, and of the other images of its subject."""
        others = (each.image.sha256 for each in self.variants if isinstance(each, ImageVariant))
        return frozenset((self.image.sha256, *others))

    def renewed(self, references: Iterable[UUID]) -> "Submission":
        """Return the same question once more, about these references alone."""
        renewal = Renewal(of=self.submission_id, references=tuple(sorted(references)))
        return self.model_copy(update={"submission_id": renewal.submission_id, "renewal": renewal})


class Candidate(Value):
    """One person of the gallery: a lead, never an identification."""

    rank: Annotated[int, Field(ge=1)]
    person_id: Ref
    reference_id: UUID
    gallery: GalleryName
    reference: BlobRef
    similarity: Similarity
    found_by: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...],
        Field(description="which of several found this person on its own: 0 the original, 1 the first variant ..."),
    ] = ()


def _as_listed(candidate: Candidate) -> dict[str, Any]:
    """Return what a list's digest is taken of; a field that came later counts once it says something."""
    return candidate.model_dump(mode="json", exclude=None if candidate.found_by else {"found_by"})


class SubmissionEvent(Event):
    """A step in the life of one submission: keyed by it, and one of its kind for it."""

    submission: Submission

    @property
    def event_id(self) -> UUID:
        return derive_event_id(self.ce_type, self.submission.submission_id)

    @property
    def key(self) -> str:
        return str(self.submission.submission_id)


class SubjectChoice(Value):
    """The face that a person pointed at, after the image had come without saying which."""

    subject: Box | Point
    chosen_by: Ref


class ImageSubmitted(SubmissionEvent):
    """Somebody asks who this may be; with a `choice`, for the second time, after somebody said which face is meant."""

    ce_type = "rfr.image-submitted.v1"
    choice: SubjectChoice | None = None

    @model_validator(mode="after")
    def _is_asked_by_somebody(self) -> Self:
        if self.submission.renewal:
            msg = "submission.renewal: the ledger alone asks again; through a door, it could end in that case"
            raise ValueError(msg)
        return self

    @property
    def event_id(self) -> UUID:
        about = self.submission.submission_id
        return derive_id(self.ce_type, about, "chosen") if self.choice else derive_event_id(self.ce_type, about)

    @property
    def subject(self) -> Box | Point | None:
        """Which face is meant, by whoever said so last."""
        return self.choice.subject if self.choice else self.submission.subject


class SubjectUnclear(SubmissionEvent):
    """Nobody has said which of these faces is meant, or none is where it was said: where they are, and nothing more."""

    ce_type = "rfr.subject-unclear.v1"
    faces: Annotated[tuple[Box, ...], Field(min_length=1, max_length=256)]
    detector: ModelIdentity


class FaceEvent(SubmissionEvent):
    """A step once the subject's face was found: in the original, or else in the first variant that shows it."""

    face: SubjectFace
    face_in: Annotated[int, Field(ge=0, description="0: the original; else the number of a variant")] = 0
    variants: Annotated[tuple[Tried, ...], Field(description="what became of each, in order")] = ()

    @model_validator(mode="after")
    def _tells_of_each_variant(self) -> Self:
        if not (self.submission.variants or self.variants or self.face_in):
            return self
        if [each.number for each in self.variants] != list(range(1, len(self.submission.variants) + 1)):
            msg = "variants: what became of each variant of the submission"
            raise ValueError(msg)
        if self.face_in not in {0, next((each.number for each in self.variants if each.face), 0)}:
            msg = "face_in: not the first variant with a face"
            raise ValueError(msg)
        return self


class FaceDetected(FaceEvent):
    """The subject's face was found, brought upright and measured."""

    ce_type = "rfr.face-detected.v1"


class FaceEmbedded(FaceEvent):
    """The subject's face has a template."""

    ce_type = "rfr.face-embedded.v1"
    template: SubjectTemplate


class CandidatesReady(FaceEvent):
    """The machine's last word: leads for people to look at, best first; an empty list is an honest blank."""

    ce_type = "rfr.candidates-ready.v1"
    template: SubjectTemplate
    fusion: Annotated[Ref | None, Field(description="the rule by which several templates became one search")] = None
    candidates: tuple[Candidate, ...]
    threshold: Annotated[float, Field(gt=0, le=1)]
    list_length: Annotated[int, Field(ge=1)]
    gallery_sizes: dict[GalleryName, Annotated[int, Field(ge=0)]]
    list_digest: Sha256

    @staticmethod
    def digest(submission_id: UUID, probe_sha256: str, candidates: tuple[Candidate, ...]) -> str:
        """Return the SHA-256 of the list as a reviewer judges it: which probe, which candidates, in which order."""
        listed = [_as_listed(candidate) for candidate in candidates]
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


class SubmissionClosed(Event):
    """What became of a submission, for whoever sent it; says nothing about any person."""

    ce_type = "rfr.submission-closed.v1"

    submission_id: UUID
    outcome: Outcome
    detail: Prose
    case_ref: Annotated[Ref | None, Field(description="none where the submission itself could not be opened")] = None
    caveat: Caveat = CAVEAT

    @property
    def event_id(self) -> UUID:
        return derive_id(self.ce_type, self.submission_id, self.outcome)

    @property
    def key(self) -> str:
        return str(self.submission_id)


class SearchEnded(Event):
    """Somebody who was sought by every later enrolment no longer is; says nothing about any person."""

    ce_type = "rfr.search-ended.v1"

    submission_id: UUID
    case_ref: Ref
    lapsed: Annotated[bool, Field(description="its review date came and nobody kept it; else somebody ended it")]

    @property
    def event_id(self) -> UUID:
        return derive_event_id(self.ce_type, self.submission_id)

    @property
    def key(self) -> str:
        return str(self.submission_id)
