"""What is read of cases and decisions, as plain values."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from rfr_stream.events import Outcome, Purpose, Source, Support
from rfr_stream.policy import LEAD_SUPPORT, SAME_SUPPORT, UNDECIDED_SUPPORT
from rfr_stream.ports import CaseState
from rfr_stream.review import UNDER_REVIEW

_WAITING: Final = UNDER_REVIEW | {CaseState.AWAITING_SUBJECT}


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """What is known of one case."""

    submission_id: UUID
    state: CaseState
    opened_at: datetime
    listed: tuple[str, ...] = ()
    """The persons on its list, best first."""
    outcome: Outcome | None = None
    urgency: int | None = None
    is_seed: bool = False
    answer: str | None = None
    """Of a seed: whom it shows; None: nobody whom a gallery holds."""

    @property
    def truth(self) -> str | None:
        """Who of those listed it is, of a seed: nobody can name a person whom the machine has missed."""
        return self.answer if self.answer in self.listed else None

    @property
    def waits(self) -> bool:
        """Whether it waits for people."""
        return self.state in _WAITING


@dataclass(frozen=True, slots=True)
class DecisionFacts:
    """What one reviewer said, and how they came to it."""

    about: CaseFacts
    reviewer_id: str
    support: Support
    person_id: str | None
    decided_at: datetime
    began_at: datetime
    """When the analysis of the probe was on record; without an examination, when they decided."""
    version: int = 1
    compared_s: float | None = None
    viewed_n: int = 0
    zoomed: bool = False
    dwell_ms: tuple[int, ...] = ()
    """Of each candidate, in the order in which this reviewer saw them."""

    @property
    def names_somebody(self) -> bool:
        """Whether it speaks for a person."""
        return self.support in SAME_SUPPORT

    @property
    def is_undecided(self) -> bool:
        """Whether it speaks neither for nor against anybody."""
        return self.support in UNDECIDED_SUPPORT

    @property
    def names_nobody(self) -> bool:
        """Whether it says that it is none of these."""
        return not (self.names_somebody or self.is_undecided)

    @property
    def names_first(self) -> bool:
        """Whether it speaks for the person whom the machine puts first."""
        return self.names_somebody and self.about.listed[:1] == (self.person_id,)

    @property
    def reading(self) -> str:
        """What it comes to, to compare two of them: a lead to somebody, undecided, or no lead."""
        if self.support in LEAD_SUPPORT:
            return f"lead:{self.person_id}"
        return "undecided" if self.is_undecided else "no lead"


@dataclass(frozen=True, slots=True)
class SeedCount:
    """Known answers of one door and purpose, beside what really comes that way: numbers alone."""

    source: Source
    purpose: Purpose
    mated: int
    """That show somebody whom a gallery holds."""
    non_mated: int
    waiting: int
    """That have not had their turn."""
    real: int
    """Real cases."""
