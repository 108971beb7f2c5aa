"""What comes of references that met a standing probe, before anything is stored: pure, one truth for every ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from rfr_stream.events import Candidate, FaceEmbedded, SearchEnded
from rfr_stream.policy import ineligibility, is_its_own
from rfr_stream.ports import Case, CaseState, Ending, Meeting, Reference
from rfr_stream.review import UNDER_REVIEW

AGAIN: Final = timedelta(seconds=30)
"""Until somebody who must wait is looked at again."""
_REFERENCES: Final = 256
LAPSED: Final = "review-date"
"""Who has ended a search that nobody kept."""

_REJECTED: Final = frozenset({CaseState.NOT_CONFIRMED, CaseState.WITHDRAWN})


@dataclass(frozen=True, slots=True)
class Round:
    """One look at those who met a probe."""

    renewal: FaceEmbedded | None = None
    taken: frozenset[UUID] = frozenset()
    """References that the renewal asks about."""
    dropped: frozenset[UUID] = frozenset()
    """References that nobody needs to be asked about."""


@dataclass(frozen=True, slots=True)
class History:
    """What was made of a probe so far: its own case, and those of its renewals; None where a list is on its way."""

    own: Case | None
    renewals: Sequence[Case | None]

    @property
    def waits(self) -> bool:
        """Whether people have a renewal before them, or a list has yet to come.

        Another list would stand behind it in the queue anyway, since it is as urgent and younger.
        """
        cases = (self.own, *self.renewals)
        coming = any(case is None or case.candidates is None for case in cases)
        return coming or any(case and case.state in UNDER_REVIEW for case in self.renewals)

    @property
    def listed(self) -> frozenset[UUID]:
        """References that people have, or had, before them."""
        return frozenset(each.reference_id for case in self._cases for each in _listed(case))

    @property
    def rejected(self) -> frozenset[str]:
        """People of lists on which reviewers found nobody, or whose lead was taken back."""
        return frozenset(p for case in self._cases if case.state in _REJECTED for p in _people(case))

    @property
    def before_people(self) -> frozenset[str]:
        """People of the probe's own list, while it is under review."""
        return frozenset(p for case in self._cases if case.state in UNDER_REVIEW for p in _people(case))

    @property
    def _cases(self) -> list[Case]:
        return [case for case in (self.own, *self.renewals) if case]


def weigh(
    probe: FaceEmbedded,
    met: Sequence[Meeting],
    history: History,
    held: Mapping[UUID, Reference],
    *,
    people_n: int,
    now: datetime,
) -> Round:
    """Return the renewal of a probe that references met, if there is one, and which of them nobody will ask about.

    What was before people does not come back, nor does whoever they rejected, with another image; and nobody meets an
    image of their own. Whoever is before people now waits until they have said.
    """
    if history.waits:
        return Round()
    dropped = frozenset(
        each.reference_id
        for each in met
        if each.reference_id in history.listed
        or each.person_id in history.rejected
        or each.reference_id not in held
        or is_its_own(probe.submission, held[each.reference_id])
    )
    ready = [
        each
        for each in sorted(met, key=lambda each: (-each.similarity, each.reference_id))
        if each.reference_id not in dropped
        and each.person_id not in history.before_people
        and ineligibility(held.get(each.reference_id), now) is None
    ]
    people = list(dict.fromkeys(each.person_id for each in ready))[:people_n]
    taken = frozenset([each.reference_id for each in ready if each.person_id in people][:_REFERENCES])
    return Round(_renewal(probe, taken, now) if taken else None, taken, dropped)


def ended(probe: FaceEmbedded, ending: Ending) -> SearchEnded:
    """Return what whoever submitted it is told; the reason stays here, since it may say something about a person."""
    return SearchEnded(
        submission_id=probe.submission.submission_id,
        case_ref=probe.submission.case_ref,
        lapsed=ending.by == LAPSED,
        occurred_at=ending.at,
        demo=probe.demo,
    )


def original_of(case: Case) -> UUID:
    """Return the submission that stands, of its own case or of a renewal's."""
    renewal = case.candidates.submission.renewal if case.candidates else None
    return renewal.of if renewal else case.submission_id


def _renewal(probe: FaceEmbedded, references: frozenset[UUID], now: datetime) -> FaceEmbedded:
    again = probe.submission.renewed(references)
    return probe.model_copy(update={"submission": again, "occurred_at": now})


def _listed(case: Case) -> Sequence[Candidate]:
    return case.candidates.candidates if case.candidates else ()


def _people(case: Case) -> list[str]:
    return [each.person_id for each in _listed(case)]
