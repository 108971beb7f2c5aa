"""What the stages need to know of probes that stand: whom they still seek, and who has come since."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from rfr_stream.events import FaceEmbedded, ModelIdentity


@dataclass(frozen=True, slots=True)
class Ending:
    """That somebody is no longer sought, and who said so."""

    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class StandingProbe:
    """A probe that every later enrolment is compared with, or was."""

    probe: FaceEmbedded
    until: datetime
    """When it lapses, unless somebody keeps it."""
    resolved: bool = False
    """Whether a case of it is confirmed, and not withdrawn; or has a known answer."""
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class Meeting:
    """A reference that came later and lies near a standing probe: not a lead yet."""

    submission_id: UUID
    reference_id: UUID
    person_id: str
    similarity: float


class Standing(Protocol):
    """Probes that stand, as the stages beside the gallery know them."""

    async def stand(self, probes: Sequence[FaceEmbedded], until: datetime) -> None:
        """Let these stand; what stands or has stood already stays as it is."""

    async def standing(self, embedder: ModelIdentity, now: datetime) -> set[UUID]:
        """Return the submissions that stand now with a template of this embedder."""

    async def probes(self, ids: Collection[UUID]) -> dict[UUID, FaceEmbedded]:
        """Return the probes of these submissions; a probe never changes."""

    async def meet(self, meetings: Sequence[Meeting], due_at: datetime) -> None:
        """Remember which references met which probes, once; what comes of them is looked at from `due_at` on.

        One that was erased has met nobody.
        """


class Renewals(Protocol):
    """Standing searches, as those know them who know the cases."""

    async def renew(self, *, people_n: int, now: datetime) -> int:
        """Promise to TEMPLATES the probes that references met since, at most one renewal of each at a time.

        Each asks about the references of the `people_n` nearest people; the others wait for the next. Returns how many.
        """

    async def stood(self) -> list[StandingProbe]:
        """Return every probe that stands or stood, the one that lapses first at the head."""

    async def keep(self, submission_id: UUID, until: datetime, now: datetime) -> None:
        """Let a probe that stands do so until then.

        Raises:
            NotPermitted: it does not stand.

        """

    async def end(self, submission_id: UUID, ending: Ending) -> None:
        """Let a probe stand no longer, for good, and tell whoever submitted it.

        Raises:
            NotPermitted: there is none, or it has ended already.

        """

    async def lapse(self, now: datetime) -> int:
        """End each probe whose date has come, and return how many."""
