"""What people say and do at the desk before they sign, in which order they are shown candidates, what became of leads.

Pure.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from rfr_stream.events import (
    Candidate,
    CandidatesReady,
    Component,
    GalleryName,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    Observation,
    Prose,
    Purpose,
    ReviewDecided,
    Source,
    Support,
    Value,
    canonical,
)
from rfr_stream.policy import Role
from rfr_stream.ports import Contribution


# --- people ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may come in: what they are here for, and the public half of the key that they sign with."""

    account_id: str
    roles: frozenset[Role]
    password_hash: str | None = None
    public_key: str | None = None
    wrapped_key: str | None = None
    """The private key as the browser locked it with a password; nobody here can open it."""
    credential_id: str | None = None
    """Of a passkey, base64url."""
    disabled: bool = False


# --- the queue ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Waiting:
    """A case that waits for somebody; whether another has decided already is not said."""

    submission_id: UUID
    needs_subject: bool
    urgency: int
    source: Source
    purpose: Purpose
    opened_at: datetime
    is_mine: bool


@dataclass(frozen=True, slots=True)
class Filter:
    """Which part of the queue."""

    source: Source | None = None
    purpose: Purpose | None = None


EVERYTHING = Filter()


@dataclass(frozen=True, slots=True)
class Place:
    """Behind which case a page of the queue begins."""

    urgency: int
    opened_at: datetime
    submission_id: UUID


# --- the probe alone ------------------------------------------------------------------------------------------------
class Suitability(StrEnum):
    """Whether a probe can be compared at all."""

    SUITABLE = "suitable"
    LIMITED = "suitable_with_limits"
    UNSUITABLE = "unsuitable"


class Visibility(StrEnum):
    """How much of a component the probe shows."""

    CLEAR = "clear"
    PARTLY = "partly"
    NOT_VISIBLE = "not_visible"


class Seen(Value):
    """What the probe shows of one component."""

    component: Component
    visibility: Visibility
    note: Observation | None = None


class Analysis(Value):
    """What a reviewer put on record of the probe alone, before any candidate was shown."""

    model_config = ConfigDict(hide_input_in_errors=True)

    suitability: Suitability
    seen: Annotated[tuple[Seen, ...], Field(max_length=64)]
    note: Prose | None = None

    @model_validator(mode="after")
    def _goes_through_all(self) -> Self:
        seen = [each.component for each in self.seen]
        if len(set(seen)) != len(seen) or set(seen) != set(Component):
            msg = "seen: every component once, those that cannot be seen included"
            raise ValueError(msg)
        return self


# --- the conclusion, in words ---------------------------------------------------------------------------------------
SUPPORT: Final = {
    Support.STRONG_SAME: "Strong support for the same person",
    Support.MODERATE_SAME: "Moderate support for the same person",
    Support.LIMITED_SAME: "Limited support for the same person",
    Support.INCONCLUSIVE: "Inconclusive: neither is supported",
    Support.LIMITED_DIFFERENT: "Limited support for different people",
    Support.MODERATE_DIFFERENT: "Moderate support for different people",
    Support.STRONG_DIFFERENT: "Strong support for different people",
    Support.UNSUITABLE: "Unsuitable: the images cannot be compared",
}


# --- the comparison -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Look:
    """How long one candidate was in front of the reviewer, and whether they went closer."""

    dwell_ms: int = 0
    zoomed: bool = False


@dataclass(frozen=True, slots=True)
class Examined:
    """One reviewer's examination of one list; of a probe that cannot be compared, without candidates."""

    order_seed: str | None = None
    shown_at: datetime | None = None
    looks: Mapping[int, Look] = field(default_factory=dict)
    """By the candidate's place in this reviewer's own order."""
    draft: ReviewDecided | None = None
    """Unsigned, or the last that was sent."""
    sent_at: datetime | None = None
    revealed_at: datetime | None = None
    began_at: datetime | None = None
    """When they were served first since this reviewer last took the case up: the comparison's time begins there."""


def order_seed(found: CandidatesReady, reviewer_id: str) -> str:
    """Return the seed of this reviewer's order: always the same for a list, and another for the next reviewer."""
    return hashlib.sha256(canonical([found.list_digest, reviewer_id])).hexdigest()


def in_order(found: CandidatesReady, seed: str) -> tuple[Candidate, ...]:
    """Return the candidates by the digest of seed and person: neither order nor seed tells who is nearest."""

    def place(candidate: Candidate) -> bytes:
        return hashlib.sha256(f"{seed} {candidate.person_id}".encode()).digest()

    return tuple(sorted(found.candidates, key=place))


# --- what the public sent in ----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Sent:
    """A picture that the public sent in to an appeal, and all copies of it: one thing for an officer to decide."""

    group_id: UUID
    appeal_ref: str
    began_at: datetime
    """When the first picture of the appeal came."""
    sequence: int
    contributions_n: int
    best: Contribution
    """The largest of the copies: what is shown, and searched with."""
    endorsed_by: str | None = None
    """Somebody has endorsed it, and it is not handed in yet: the bus or the store was away."""


@dataclass(frozen=True, slots=True)
class Endorsed:
    """What was endorsed: which of the copies, and the request in JSON. What was said first stands."""

    contribution: Contribution
    request: str


# --- the log --------------------------------------------------------------------------------------------------------
class Operation(StrEnum):
    """What the Data Protection Act 2018, section 62, wants logged; and who came in."""

    COLLECTION = "collection"
    ALTERATION = "alteration"
    CONSULTATION = "consultation"
    DISCLOSURE = "disclosure"
    COMBINATION = "combination"
    ERASURE = "erasure"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log: who did what to what, when. No names of people sought, no images, no templates."""

    sequence: int
    at: datetime
    account_id: str
    operation: Operation
    about: str
    detail: str
    digest: str
    """SHA-256 over the digest before and all of the above: a line that is changed, lost or moved breaks the chain."""


GENESIS = "0" * 64
"""The digest before the first line."""


def link(before: str, entry: Entry) -> str:
    """Return the digest of a line behind another."""
    said = [before, entry.sequence, entry.at.isoformat(), entry.account_id, entry.operation, entry.about, entry.detail]
    return hashlib.sha256(canonical(said)).hexdigest()


# --- conduct --------------------------------------------------------------------------------------------------------
class AlertKind(StrEnum):
    """What a supervisor should look at."""

    TOO_FAST = "too_fast"
    NEVER_CLOSER = "never_closer"
    ALWAYS_FIRST = "always_first"
    TOO_MANY = "too_many_an_hour"
    TOO_LONG = "too_long_at_work"


@dataclass(frozen=True, slots=True)
class Alert:
    """Something about how people work here."""

    at: datetime
    kind: AlertKind
    account_id: str
    submission_id: UUID | None
    detail: str


# --- leads that were given out --------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class ModelFilter:
    """Which model; what is not given does not matter."""

    name: str | None = None
    version: str | None = None
    weights_sha256: str | None = None


ANY_MODEL = ModelFilter()


@dataclass(frozen=True, slots=True)
class LeadFilter:
    """Which leads; what is not given does not matter, and what is given must all be so."""

    submissions: frozenset[UUID] | None = None
    detector: ModelFilter = ANY_MODEL
    embedder: ModelFilter = ANY_MODEL
    threshold_from: float | None = None
    """Found at this threshold or above."""
    threshold_below: float | None = None
    gallery: GalleryName | None = None
    reviewer_id: str | None = None
    """Among those whose conclusions made it a lead."""
    confirmed_from: datetime | None = None
    confirmed_before: datetime | None = None
    case_ref: str | None = None
    person_id: str | None = None
    reference_id: UUID | None = None
    withdrawn: bool | None = None
    outstanding: bool = False
    """Only those whose last word somebody who was told has not acknowledged."""
    ineligible: bool = False
    """Only those whose reference image may not be searched any more."""


EVERY_LEAD = LeadFilter()


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody who was told of a lead, and when they said that they have it, and its withdrawal."""

    subscriber: str
    has_lead_since: datetime | None = None
    has_withdrawal_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lead:
    """A lead that was given out, and what became of it."""

    said: IdentificationConfirmed
    threshold: float
    """That the list was made with."""
    withdrawal: IdentificationWithdrawn | None
    ineligible: str | None
    """Why its reference image may not be searched any more."""
    recipients: tuple[Recipient, ...]

    @property
    def outstanding(self) -> tuple[str, ...]:
        """Who was told, and has not acknowledged the last word: the lead, or its withdrawal."""
        return tuple(
            each.subscriber
            for each in self.recipients
            if (each.has_withdrawal_since if self.withdrawal else each.has_lead_since) is None
        )
