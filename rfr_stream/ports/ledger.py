"""What the stages need from the database of record."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol, Self, TypeAlias
from uuid import UUID

from rfr_stream.errors import Rejected
from rfr_stream.events import (
    BlobRef,
    CandidatesReady,
    CaseDisposed,
    Disposal,
    Event,
    Found,
    GalleryName,
    ImageSubmitted,
    LeadAcknowledged,
    Outcome,
    Regime,
    ReviewDecided,
    Signed,
    Source,
    SubjectChosen,
    SubjectUnclear,
    WithdrawalOrdered,
)
from rfr_stream.faces import Point
from rfr_stream.ports.machines import Fingerprint
from rfr_stream.ports.models import Models
from rfr_stream.ports.standing import Renewals, Standing


# --- references ---------------------------------------------------------------------------------------------
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
    age_at_capture: int | None = None
    case_ref: str | None = None
    disposal: Disposal | None = None
    door: Source | None = Source.OFFICER
    subject: Point | None = None
    """Where the face lies that was enrolled, for another model that looks at the image; said by nobody, it stands."""
    regime: Regime | None = None
    found: Found | None = None
    disposed: tuple[CaseDisposed, ...] = ()
    """What was last said of each of the person's cases; the ledger adds it, whichever of the two came first."""


class Likeness(StrEnum):
    """Why two persons' references may be of one person."""

    SAME_IMAGE = "same_image"
    SAME_FACE = "same_face"


@dataclass(frozen=True, slots=True)
class Conflict:
    """One face under two persons of one gallery: one of the two records is wrong, and only people can say which."""

    reference_id: UUID
    other_id: UUID
    """The greater of the two ids, so that a pair is one conflict whichever was enrolled first."""
    gallery: GalleryName
    likeness: Likeness
    similarity: float

    @classmethod
    def between(cls, one: Reference, other: Reference, similarity: float) -> Self:
        """Return the conflict of these two."""
        first, second = sorted((one.reference_id, other.reference_id))
        same = one.image.sha256 == other.image.sha256
        return cls(first, second, one.gallery, Likeness.SAME_IMAGE if same else Likeness.SAME_FACE, similarity)


class References(Protocol):
    """Who is held, and why that is lawful."""

    async def hold(self, references: Sequence[Reference]) -> None:
        """Add references or replace older hold records of theirs; one that was erased stays erased."""

    async def held(self, ids: Sequence[UUID]) -> dict[UUID, Reference]:
        """Return what is known of these references now; unknown and erased ones are absent."""

    async def page(
        self, *, person: str | None = None, after: UUID | None = None, limit: int = 1_000
    ) -> list[Reference]:
        """Return the next of all that are held, or of one person's, in the order of their ids."""

    async def doors(self, images: Sequence[str]) -> dict[str, set[Source]]:
        """Return through which doors these images (SHA-256) came, by their references and by `entrust`.

        What was in custody before stays there: who took a picture may look for its person with it, too.
        """

    async def entrust(self, images: Mapping[str, Source]) -> None:
        """Remember by which door each image (SHA-256) was given to us, though no reference of it is held."""

    async def erased(self, ids: Sequence[UUID]) -> set[UUID]:
        """Return which of these were erased; they may never be enrolled again."""

    async def dispose(self, said: Sequence[CaseDisposed]) -> None:
        """Remember what became of cases; of two words on one case the later one stands, whichever comes first."""

    async def report(self, conflicts: Sequence[Conflict]) -> list[Conflict]:
        """Remember these, and return those that are new; none is of a reference that was erased."""

    async def conflicts(self, *, limit: int = 100) -> list[Conflict]:
        """Return those that stand, nearest first; one ends when either of its references is erased."""

    async def erase(self, ids: Sequence[UUID]) -> None:
        """Forget the references, and their conflicts; remember only that these ids were erased."""


# --- reviewers ----------------------------------------------------------------------------------------------
class Duty(StrEnum):
    """What a key may sign."""

    REVIEW = "review"  # decisions, and which face is meant
    SUPERVISE = "supervise"  # withdrawals


@dataclass(frozen=True, slots=True)
class Reviewer:
    """A person who may sign: their public key, what it may sign, and until when their training holds.

    The key is base64 of 32 bytes (Ed25519), or of a COSE key (RFC 9052) for a passkey.
    """

    reviewer_id: str
    public_key: str
    competent_until: datetime
    duty: Duty = Duty.REVIEW
    recorded_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    """When this was said; what was said earlier never replaces it, so that an old certificate cannot come again."""


class Reviewers(Protocol):
    """The register of those who may decide."""

    async def register(self, reviewer: Reviewer) -> None:
        """Add a reviewer, or set their training date anew; what was said earlier than what is known changes nothing.

        A key that is in use is never replaced, and belongs to one reviewer alone (`NotPermitted`).
        """

    async def reviewer(self, reviewer_id: str) -> Reviewer | None:
        """Return the reviewer, if there is one of this id."""


class Verifier(Protocol):
    """Checks signatures."""

    def verify(self, public_key: str, said: Signed) -> bool:
        """Whether what was said is signed by this key."""


# --- cases --------------------------------------------------------------------------------------------------
class CaseState(StrEnum):
    """Where a submission stands; `review.py` is the table of what leads where."""

    AWAITING_CANDIDATES = "awaiting_candidates"  # a decision came before its list and waits
    AWAITING_SUBJECT = "awaiting_subject"
    AWAITING_REVIEW = "awaiting_review"
    AWAITING_SECOND_REVIEW = "awaiting_second_review"
    AWAITING_THIRD_REVIEW = "awaiting_third_review"  # two disagreed
    CLOSED = "closed"  # ended before any review; the outcome says how
    CONFIRMED = "confirmed"
    NOT_CONFIRMED = "not_confirmed"
    INCONCLUSIVE = "inconclusive"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    ASSESSED = "assessed"  # a known answer: it measured its reviewers, and says nothing to anybody


@dataclass(frozen=True, slots=True)
class Case:
    """One submission under review: its state, the list that was found, and who decided what."""

    submission_id: UUID
    state: CaseState
    opened_at: datetime
    faces: SubjectUnclear | None = None
    """While somebody must say which face is meant; forgotten once somebody has."""
    choice: SubjectChosen | None = None
    candidates: CandidatesReady | None = None
    decisions: tuple[ReviewDecided, ...] = ()
    """Every version of everybody's, in the order in which they counted."""
    parked: tuple[ReviewDecided, ...] = ()
    outcome: Outcome | None = None
    withdrawal: WithdrawalOrdered | None = None
    seeded: bool = False
    """Whether its answer is known, and it measures its reviewers; nothing of it leaves the house."""
    demo: bool = False
    case_ref: str | None = None
    """None while all that is known of it is a decision that came before its list."""


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
    again: bool = False
    """Whether it was published before, and is a reminder now."""


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


class Turn(Protocol):
    """The right to carry what the outbox owes; whoever leaves it, dies or loses the database no longer has it."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...

    async def holds(self) -> bool:
        """Whether it is still ours."""


class Outbox(Protocol):
    """What the ledger still owes the world."""

    async def take_turn(self) -> Turn | None:
        """Return the turn, or None while somebody else has it: one relay at a time, in all processes together."""

    async def unpublished(self, limit: int) -> list[Outgoing]:
        """Return the oldest events that are not marked as published, in the order they were promised."""

    async def published(self, event_ids: Sequence[UUID]) -> None:
        """Mark them; marking twice is no error."""


# --- known answers --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Seed:
    """A submission whose answer is known: whom it shows, or None for nobody in any gallery."""

    event: ImageSubmitted
    person_id: str | None

    @property
    def submission_id(self) -> UUID:
        """Of the event."""
        return self.event.submission.submission_id


class Seeds(Protocol):
    """Submissions with known answers, mixed into the queue at the rate that policy sets."""

    async def plant(self, planted: Sequence[Seed]) -> None:
        """Keep them until their turn comes; what was planted before is no error.

        Raises:
            NotPermitted: it was submitted in earnest already, or whoever it is said to show could never be listed.

        """

    async def seeded(self, ids: Sequence[UUID]) -> set[UUID]:
        """Return which of these submissions were sown; one that comes before its turn came through a door."""

    async def sow(self, share: float, now: datetime) -> int:
        """Promise as many of those that wait to SUBMISSIONS as make `share` of all that come to people.

        Each says that it was submitted now: one as old as its planting would be known by that. Returns how many.
        """


# --- who was told ---------------------------------------------------------------------------------------------------
class Subscribers(Protocol):
    """Who was told of a lead: whoever was subscribed when it was published, and whoever has acknowledged it."""

    async def subscribe(self, subscriber: str, since: datetime) -> None:
        """Register who is told of every lead from then on; of two moments the earlier one stands."""

    async def subscribed(self) -> dict[str, datetime]:
        """Return who is registered, by name, and since when."""

    async def acknowledge(self, received: Sequence[LeadAcknowledged]) -> None:
        """Remember who has received what; twice is no error."""

    async def remind(self, before: datetime) -> int:
        """Promise once more each withdrawal published before then that somebody who was told of the lead lacks.

        Returns how many there are.
        """


# --- what the public sent in ----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Contribution:
    """A picture that somebody sent in to an appeal; of one that cannot be opened, why."""

    contribution_id: UUID
    appeal_ref: str
    portal: str
    image: BlobRef
    received_at: datetime
    fingerprint: Fingerprint | None = None
    pixels: int = 0
    """Of the original: of several copies, the largest is the one to search with."""
    flaw: str | None = None
    demo: bool = False


class Appeals(Protocol):
    """What the public sent in: copies of one picture to one appeal are one group, and wait for an officer as one."""

    async def contribute(self, contributions: Sequence[Contribution]) -> None:
        """Keep them, each in the group of the picture that it is a copy of, or in a new one; again changes nothing.

        One that cannot be opened belongs to no group.
        """

    async def grouped(self, ids: Sequence[UUID]) -> dict[UUID, UUID | None]:
        """Return the group of each of these contributions; unknown ones are absent."""


class Ledger(References, Reviewers, Cases, Outbox, Seeds, Standing, Renewals, Subscribers, Appeals, Models, Protocol):
    """The database of record."""
