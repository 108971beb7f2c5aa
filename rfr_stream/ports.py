"""What the stages need from the world, as Protocols, and the plain values that cross them.

Batches everywhere: a port takes a sequence and answers with a list of the same length and order. Where one item can
be at fault without the others, its place in the answer holds the `Rejected` that says why. Every port may raise
`Unavailable`; then nothing is known of any item, and the caller tries the whole batch again (all effects are
idempotent).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from rfr_stream.errors import Rejected
from rfr_stream.events import (
    BlobRef,
    CandidatesReady,
    Event,
    GalleryName,
    ModelIdentity,
    Outcome,
    ReviewDecided,
)
from rfr_stream.faces import Face, ImageHwc, Landmarks

Templates: TypeAlias = NDArray[np.float32]
"""float32 [N, D], each row of L2 norm 1."""


# --- blobs ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class NewBlob:
    """Bytes to keep under a key (`[A-Za-z0-9][A-Za-z0-9._-]*`, parts joined by `/`); the same key again overwrites."""

    key: str
    data: bytes
    media_type: str


class BlobStore(Protocol):
    """Bytes by claim check."""

    async def put(self, blobs: Sequence[NewBlob]) -> list[BlobRef]:
        """Keep the bytes; once this returns they survive the death of this process."""

    async def get(self, refs: Sequence[BlobRef]) -> list[bytes | Rejected]:
        """Return the bytes whose size and SHA-256 are those of the reference, or `MissingBlob` in their place."""

    async def delete(self, refs: Sequence[BlobRef]) -> None:
        """Remove the bytes; those that are already gone are no error."""


# --- vision ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded, upright image and how many pixels of the original one of its pixels stands for (>= 1)."""

    pixels: ImageHwc
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Chip:
    """One face brought upright, as an embedder wants it, with what was measured on it.

    `pixels` uint8 [S, S, 3] RGB; sharpness: variance of the Laplacian of its grey levels; brightness and contrast:
    mean and standard deviation of its grey levels, 0-255.
    """

    pixels: ImageHwc
    sharpness: float
    brightness: float
    contrast: float


class Codec(Protocol):
    """Image files in and out."""

    async def decode(self, files: Sequence[bytes]) -> list[Picture | Rejected]:
        """Open image files that nobody vouches for: allow-listed formats, bounded bytes and pixels, EXIF applied."""

    async def encode(self, images: Sequence[ImageHwc]) -> list[bytes]:
        """Return lossless files (`media_type`) without metadata."""

    @property
    def media_type(self) -> str:
        """Of what `encode` returns."""


class Detector(Protocol):
    """Finds faces."""

    @property
    def identity(self) -> ModelIdentity:
        """Which detector this is."""

    async def detect(self, images: Sequence[ImageHwc]) -> list[list[Face]]:
        """Return the faces of each image in its own pixels, highest score first; none is a result too."""


class Aligner(Protocol):
    """Brings faces upright for one embedder."""

    @property
    def name(self) -> str:
        """Which aligner this is: template, size and source of landmarks."""

    async def align(self, images: Sequence[ImageHwc], landmarks: Sequence[Landmarks]) -> list[Chip]:
        """Return one chip for each pair."""


class Embedder(Protocol):
    """Turns chips into templates."""

    @property
    def identity(self) -> ModelIdentity:
        """Which embedder this is; its `dimension` is D."""

    @property
    def aligner(self) -> str:
        """The name of the aligner whose chips it takes; others' would be embedded, and wrongly."""

    async def embed(self, chips: Sequence[ImageHwc]) -> Templates:
        """Return float32 [N, D], L2 norm 1, for N chips of the embedder's own size."""


class Vision(Protocol):
    """One model pack: parts that belong together. Its parts are there once it is entered."""

    @property
    def threshold(self) -> float:
        """Cosine similarity from which this pack calls a reference a lead."""

    @property
    def codec(self) -> Codec: ...

    @property
    def detector(self) -> Detector: ...

    @property
    def aligner(self) -> Aligner: ...

    @property
    def embedder(self) -> Embedder: ...


# --- gallery --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Hit:
    """A reference near a probe: its id and the cosine similarity."""

    reference_id: UUID
    similarity: float


class Gallery(Protocol):
    """Templates of references, one collection for each gallery and embedder; nothing in it but opaque ids.

    Every method takes the embedder that made the templates and raises `NotPermitted` where it is not the one this
    gallery was opened for: templates of two models are never compared.
    """

    async def enrol(
        self, gallery: GalleryName, ids: Sequence[UUID], templates: Templates, *, embedder: ModelIdentity
    ) -> None:
        """Add or replace references; visible to the next search once this returns."""

    async def search(
        self, gallery: GalleryName, probes: Templates, *, embedder: ModelIdentity, limit: int, threshold: float
    ) -> list[list[Hit]]:
        """Return for each probe at most `limit` hits of similarity >= threshold, best first, ties by id."""

    async def erase(self, gallery: GalleryName, ids: Sequence[UUID]) -> None:
        """Remove references, of every embedder; unknown ids are no error."""

    async def size(self, gallery: GalleryName, *, embedder: ModelIdentity) -> int:
        """Return how many references can be found."""


# --- ledger: references ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Reference:
    """A reference image and its hold record as the ledger has it now; a missing field fails closed."""

    reference_id: UUID
    person_id: str
    gallery: GalleryName
    image: BlobRef
    legal_basis: str | None
    source: str | None
    captured_at: datetime | None
    review_due: datetime | None
    restricted: bool | None
    recorded_at: datetime
    """When this was said; what was said earlier never replaces it, in whichever order the two come."""


class References(Protocol):
    """Who is held, and why that is lawful."""

    async def hold(self, references: Sequence[Reference]) -> None:
        """Add references or replace older hold records of theirs; one that was erased stays erased."""

    async def held(self, ids: Sequence[UUID]) -> dict[UUID, Reference]:
        """Return what is known of these references now; unknown and erased ones are absent."""

    async def erased(self, ids: Sequence[UUID]) -> set[UUID]:
        """Return which of these were erased; they may never be enrolled again."""

    async def erase(self, ids: Sequence[UUID]) -> None:
        """Forget the references and remember only that these ids were erased."""


# --- ledger: reviewers ----------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Reviewer:
    """A person who may decide: their Ed25519 public key (base64, 32 bytes), and until when their training holds."""

    reviewer_id: str
    public_key: str
    competent_until: datetime


class Reviewers(Protocol):
    """The register of those who may decide."""

    async def register(self, reviewer: Reviewer) -> None:
        """Add a reviewer, or renew their training date.

        A key that is in use is never replaced, and belongs to one reviewer alone (`NotPermitted`).
        """

    async def reviewer(self, reviewer_id: str) -> Reviewer | None:
        """Return the reviewer, if there is one of this id."""


class Verifier(Protocol):
    """Checks signatures."""

    def verify(self, public_key: str, message: bytes, signature: str) -> bool:
        """Whether the Ed25519 signature (base64) of the message is of this key (base64)."""


# --- ledger: cases --------------------------------------------------------------------------------------------------
class CaseState(StrEnum):
    """Where a submission stands; `review.py` is the table of what leads where."""

    AWAITING_CANDIDATES = "awaiting_candidates"  # a decision came before its list and waits
    AWAITING_SUBJECT = "awaiting_subject"
    AWAITING_REVIEW = "awaiting_review"
    AWAITING_SECOND_REVIEW = "awaiting_second_review"
    CLOSED = "closed"  # ended before any review; the outcome says how
    CONFIRMED = "confirmed"
    NOT_CONFIRMED = "not_confirmed"
    INCONCLUSIVE = "inconclusive"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Case:
    """One submission under review: its state, the list that was found, and who decided what."""

    submission_id: UUID
    state: CaseState
    opened_at: datetime
    candidates: CandidatesReady | None = None
    decisions: tuple[ReviewDecided, ...] = ()
    parked: tuple[ReviewDecided, ...] = ()
    outcome: Outcome | None = None
    demo: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What a transition does: the case after it, what to tell the world, and parked decisions that did not count."""

    case: Case
    emit: tuple[Event, ...] = ()
    refused: tuple[tuple[ReviewDecided, Rejected], ...] = ()


Transition: TypeAlias = Callable[[Case | None], Step]
"""Pure. May raise `Rejected`: then the case stays as it was."""


@dataclass(frozen=True, slots=True)
class Change:
    """One event's effect on one case, applied once for its `event_id` however often it comes."""

    submission_id: UUID
    event_id: UUID
    transition: Transition


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event that the ledger promises to the world, until it is marked as published."""

    event: Event
    refusal: Rejected | None = None
    """Set for a parked decision that was refused when its list came: it goes to the dead letters."""


class Cases(Protocol):
    """Submissions under review. A change and what it emits are one transaction."""

    async def apply(self, changes: Sequence[Change]) -> list[Case | Rejected]:
        """Apply each change to its case in order, together with its outgoing events; return the cases after it.

        A change whose `event_id` was applied before is skipped, and its place holds the case as it stands.
        """

    async def case(self, submission_id: UUID) -> Case | None:
        """Return the case, if there is one."""

    async def cases(
        self, states: Sequence[CaseState], *, limit: int = 100, opened_before: datetime | None = None
    ) -> list[Case]:
        """Return the oldest cases in these states."""


class Outbox(Protocol):
    """What the ledger still owes the world."""

    async def unpublished(self, limit: int) -> list[Outgoing]:
        """Return the oldest events that are not marked as published, in the order they were promised."""

    async def published(self, event_ids: Sequence[UUID]) -> None:
        """Mark them; marking twice is no error."""


class Ledger(References, Reviewers, Cases, Outbox, Protocol):
    """The database of record."""
