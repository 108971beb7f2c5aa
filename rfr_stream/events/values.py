"""What all events share: identifiers, bounded texts, the parts that stand in several of them, and the event itself."""

from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from json import JSONEncoder
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

NAMESPACE = UUID("6b1f2a5e-5d0c-5a57-9e0c-3d1b7a4f9c21")
"""Root of every derived id of this project."""
_AS_IS: Final = JSONEncoder(ensure_ascii=False)
_CANONICAL: Final = JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
"""Encoders made once: `json.dumps` makes one for each call that asks for more than its defaults."""

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


Caveat = Literal["Possible lead. Not evidence of identity. Must be independently corroborated."]
CAVEAT: Final[Caveat] = "Possible lead. Not evidence of identity. Must be independently corroborated."


def derive_id(*parts: object) -> UUID:
    """Return the uuid5 of the parts: the same parts, the same id, on every machine and in every run."""
    return uuid5(NAMESPACE, _AS_IS.encode(list(map(str, parts))))


@lru_cache(maxsize=4_096)
def derive_event_id(ce_type: str, about: UUID) -> UUID:
    """Remember: whoever reads an event derives the same id that its sender, often in this process, just did.

    Of opaque ids alone: what names a case or a person must not outlive it here.
    """
    return derive_id(ce_type, about)


def canonical(value: Any) -> bytes:  # noqa: ANN401 - whatever JSON can hold
    """Return the one byte form of a JSON value that digests and signatures are taken of (sorted, compact, UTF-8)."""
    return _CANONICAL.encode(value).encode()


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


class Regime(StrEnum):
    """Which law the search is made under; it decides the data subject's rights and how long anything is kept."""

    LAW_ENFORCEMENT = "dpa_2018_part_3"
    GENERAL = "uk_gdpr"


class Origin(StrEnum):
    """What an image was taken by or from.

    Composites, sketches, e-fits and whatever a machine generated have no name here, and are refused by that.
    """

    CCTV = "cctv"
    DOORBELL = "doorbell"
    DASHCAM = "dashcam"
    BODY_WORN = "body_worn"
    PHONE = "phone"
    SOCIAL_MEDIA = "social_media"
    PUBLIC_SUBMISSION = "public_submission"
    IDENTITY_DOCUMENT = "identity_document"
    MORTUARY = "mortuary"
    OTHER = "other"


class Harm(StrEnum):
    """What may happen if nobody looks soon; it orders the queue, and is not shown beside a face."""

    CHILD_AT_RISK = "child_at_risk"
    LIFE_AT_RISK = "life_at_risk"
    SERIOUS = "serious_harm"
    OTHER = "other"


class GalleryName(StrEnum):
    """A set of lawfully held references with one regime; each is its own collection."""

    CUSTODY = "custody"
    MISSING = "missing"
    DECEASED = "deceased"


class Disposal(StrEnum):
    """How the case stands that an image was taken in; the policy table says what that does to the image."""

    UNDER_INVESTIGATION = "under_investigation"
    CHARGED = "charged"
    CONVICTED = "convicted"
    OUT_OF_COURT = "out_of_court"
    NO_FURTHER_ACTION = "no_further_action"
    DISCONTINUED = "discontinued"
    ACQUITTED = "acquitted"
    QUASHED = "quashed"
    DELETION_ACCEPTED = "deletion_accepted"


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


class Component(StrEnum):
    """The parts of a face that a comparison goes through, one by one (after the feature list of FISWG, ASTM E3149)."""

    SKIN = "skin"
    OUTLINE = "face_outline"
    COMPOSITION = "face_composition"
    HAIRLINE = "hairline"
    FOREHEAD = "forehead"
    EYEBROWS = "eyebrows"
    EYES = "eyes"
    CHEEKS = "cheeks"
    NOSE = "nose"
    EARS = "ears"
    MOUTH = "mouth"
    CHIN = "chin_and_jawline"
    NECK = "neck"
    FACIAL_HAIR = "facial_hair"
    LINES = "facial_lines"
    SCARS = "scars"
    MARKS = "facial_marks"
    ALTERATIONS = "alterations"


class Finding(StrEnum):
    """What a comparison of one component found."""

    SIMILAR = "similar"
    DISSIMILAR = "dissimilar"
    EXPLAINED = "dissimilar_but_explained"
    NOT_VISIBLE = "not_visible"


class Value(BaseModel):
    """A closed, frozen part of an event."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BlobRef(Value):
    """A claim check: where bytes lie, and the digest that proves them."""

    uri: BlobUri
    sha256: Sha256
    media_type: Annotated[str, StringConstraints(pattern=r"^[a-z]+/[a-z0-9.+-]+$", max_length=64)]
    bytes: Annotated[int, Field(ge=0, le=2**40)]


class Found(Value):
    """Where and when a person was found dead."""

    where: Prose
    when: Instant


class ModelIdentity(Value):
    """Which model made a result; results of two identities are never compared."""

    name: Ref
    version: Ref
    weights_sha256: Sha256
    dimension: Annotated[int, Field(ge=0, le=65_536, description="length of its template; 0 for a detector")] = 0


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
