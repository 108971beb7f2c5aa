"""What a supervisor is shown of a period."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from rfr_stream.conduct.facts import CaseFacts, DecisionFacts
from rfr_stream.conduct.reviewers import ByCase, ReviewerFacts, reviewer_facts
from rfr_stream.conduct.shares import Proportion, Spread, proportion, spread
from rfr_stream.events import Outcome
from rfr_stream.policy import LEAD_SUPPORT, QUORUM, standing, verdict
from rfr_stream.ports import CaseState

K = TypeVar("K")

_MEASURED = frozenset({CaseState.CLOSED, CaseState.ASSESSED})
"""How a known answer ends, unless nobody looked at it in time."""


@dataclass(frozen=True, slots=True)
class Day:
    """What one day (UTC) brought, known answers included: they are work too."""

    day: date
    came: int
    """Cases whose list came to people."""
    decisions: int
    """First versions."""


@dataclass(frozen=True, slots=True)
class Together:
    """What the house, machine and people together, makes of known answers."""

    false_leads: Proportion
    """Of those that show nobody whom a gallery holds: a lead, to anybody."""
    missed: Proportion
    """Of those that show somebody: no lead to them."""
    mistaken: Proportion
    """Of those that show somebody: a lead to somebody else."""
    listed: Proportion
    """Of those that show somebody: the machine listed them."""


@dataclass(frozen=True, slots=True)
class Report:
    """The cases that were opened in a period, what was said of them, and all that waits."""

    since: datetime
    until: datetime
    days: tuple[Day, ...]
    """Each day of the period, those without work included."""
    waiting: Mapping[int, tuple[timedelta, ...]]
    """How long each case waits, longest first, by its urgency (0 is the highest)."""
    outcomes: Mapping[Outcome, int]
    """Of real cases that have ended."""
    third_reviews: Proportion
    """Of cases that two people have looked at."""
    seeded: Proportion
    """Known answers, of all that came to people: what became of policy's share."""
    together: Together
    reviewers: tuple[ReviewerFacts, ...]
    """By their reference, which is no order of merit."""

    @property
    def age_s(self) -> Spread | None:
        """Of all that waits."""
        return spread(age.total_seconds() for ages in self.waiting.values() for age in ages)

    @property
    def oldest(self) -> timedelta | None:
        """How long the oldest case waits."""
        return max((ages[0] for ages in self.waiting.values()), default=None)


def report(cases: Sequence[CaseFacts], said: Sequence[DecisionFacts], *, since: datetime, until: datetime) -> Report:
    """Return the numbers of a period.

    Args:
        cases: those opened in it, and all that wait.

        said: about those opened in it, every version, in the order of its time.

        since: when the period begins.

        until: when it ends, and the queue is looked at.

    """
    opened = [case for case in cases if since <= case.opened_at < until]
    came = [case for case in opened if case.listed]
    by_case = _grouped(said, lambda each: each.about.submission_id)
    by_reviewer = _grouped(said, lambda each: each.reviewer_id)
    looked_at = [len(standing(each)) for each in by_case.values()]
    return Report(
        since=since,
        until=until,
        days=tuple(_days(came, said, since, until)),
        waiting=_waiting(cases, until),
        outcomes=Counter(case.outcome for case in opened if case.outcome and not (case.is_seed or case.waits)),
        third_reviews=proportion(n > QUORUM for n in looked_at if n >= QUORUM),
        seeded=proportion(case.is_seed for case in came),
        together=_together([case for case in opened if case.is_seed and case.state in _MEASURED], by_case),
        reviewers=tuple(reviewer_facts(id_, by_reviewer[id_], by_case) for id_ in sorted(by_reviewer)),
    )


def _grouped(said: Iterable[DecisionFacts], key: Callable[[DecisionFacts], K]) -> dict[K, list[DecisionFacts]]:
    groups: defaultdict[K, list[DecisionFacts]] = defaultdict(list)
    for each in said:
        groups[key(each)].append(each)
    return groups


def _days(came: Iterable[CaseFacts], said: Iterable[DecisionFacts], since: datetime, until: datetime) -> Iterator[Day]:
    arrivals = Counter(_day(case.opened_at) for case in came)
    decisions = Counter(_day(each.decided_at) for each in said if each.version == 1)
    day = _day(since)
    while day <= _day(until):
        yield Day(day, arrivals[day], decisions[day])
        day += timedelta(days=1)


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def _waiting(cases: Iterable[CaseFacts], now: datetime) -> dict[int, tuple[timedelta, ...]]:
    ages: defaultdict[int, list[timedelta]] = defaultdict(list)
    for case in cases:
        if case.waits and case.urgency is not None:
            ages[case.urgency].append(now - case.opened_at)
    return {urgency: tuple(sorted(ages[urgency], reverse=True)) for urgency in sorted(ages)}


def _together(known: Sequence[CaseFacts], by_case: ByCase) -> Together:
    mated = [(case, _lead(by_case.get(case.submission_id, ()))) for case in known if case.answer]
    non_mated = [_lead(by_case.get(case.submission_id, ())) for case in known if not case.answer]
    return Together(
        false_leads=proportion(lead is not None for lead in non_mated),
        missed=proportion(lead != case.answer for case, lead in mated),
        mistaken=proportion(lead not in {None, case.answer} for case, lead in mated),
        listed=proportion(case.truth is not None for case, _ in mated),
    )


def _lead(said: Sequence[DecisionFacts]) -> str | None:
    """Return to whom these decisions would have led."""
    if verdict(said) is not Outcome.CONFIRMED:
        return None
    return next(each.person_id for each in standing(said) if each.support in LEAD_SUPPORT)
