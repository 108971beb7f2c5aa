"""Who may be sought where, what comes first, and what is mixed in."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from rfr_stream.errors import NotPermitted
from rfr_stream.events import GalleryName, Harm, Purpose, Regime, Source, Submission


@dataclass(frozen=True, slots=True)
class Rule:
    """What one purpose opens."""

    galleries: frozenset[GalleryName]
    sources: frozenset[Source]
    regimes: frozenset[Regime]
    authoriser_required: bool


_ANY_DOOR_BUT_UNITS = frozenset({Source.OFFICER, Source.PUBLIC_APPEAL})
_LAW_ENFORCEMENT = frozenset({Regime.LAW_ENFORCEMENT})
_EITHER = frozenset(Regime)

RULES: Final[dict[Purpose, Rule]] = {
    Purpose.MISSING: Rule(
        frozenset({GalleryName.MISSING, GalleryName.DECEASED, GalleryName.CUSTODY}),
        frozenset({Source.OFFICER, Source.PUBLIC_APPEAL, Source.MISSING_PERSON}),
        _EITHER,
        authoriser_required=False,
    ),
    Purpose.DECEASED: Rule(
        frozenset({GalleryName.MISSING, GalleryName.DECEASED, GalleryName.CUSTODY}),
        frozenset({Source.OFFICER, Source.DECEASED_PERSON}),
        _EITHER,
        authoriser_required=False,
    ),
    Purpose.SUSPECT: Rule(
        frozenset({GalleryName.CUSTODY}),
        _ANY_DOOR_BUT_UNITS,
        _LAW_ENFORCEMENT,
        authoriser_required=False,
    ),
    # People who are suspected of nothing: somebody senior must have said yes.
    Purpose.VICTIM: Rule(
        frozenset({GalleryName.CUSTODY, GalleryName.MISSING}),
        _ANY_DOOR_BUT_UNITS,
        _LAW_ENFORCEMENT,
        authoriser_required=True,
    ),
    Purpose.WITNESS: Rule(
        frozenset({GalleryName.CUSTODY}),
        _ANY_DOOR_BUT_UNITS,
        _LAW_ENFORCEMENT,
        authoriser_required=True,
    ),
}
"""Purposes x galleries x doors x laws."""


def searchable(submission: Submission) -> tuple[GalleryName, ...]:
    """Return the galleries this submission may search: those asked for, or all that its purpose opens.

    Raises:
        NotPermitted: the purpose, its door, its law, a gallery asked for or a missing authoriser forbids it.

    """
    rule = RULES[submission.purpose]
    if submission.source not in rule.sources:
        msg = f"purpose: {submission.purpose} may not come through the door {submission.source}"
        raise NotPermitted(msg)
    if submission.regime is not None:
        regime_of(submission.purpose, submission.regime)
    if rule.authoriser_required and submission.authoriser is None:
        msg = f"authoriser: required for purpose {submission.purpose}"
        raise NotPermitted(msg)
    if rule.authoriser_required and submission.authoriser == submission.submitted_by:
        msg = "authoriser: somebody else than whoever submits"
        raise NotPermitted(msg)
    if rule.authoriser_required and submission.necessity is None:
        msg = f"necessity: must be stated for purpose {submission.purpose}"
        raise NotPermitted(msg)
    forbidden = sorted(set(submission.galleries) - rule.galleries)
    if forbidden:
        msg = f"galleries: purpose {submission.purpose} may not search {', '.join(forbidden)}"
        raise NotPermitted(msg)
    return tuple(sorted(submission.galleries or rule.galleries))


_STANDS: Final = frozenset({Purpose.MISSING, Purpose.DECEASED})


def stands(submission: Submission) -> bool:
    """Whether whoever is sought is searched for again by every later enrolment, until an end.

    Only people who are missing, or dead and unidentified. Nobody keeps watch for a suspect here: that would be another
    kind of surveillance, and another decision.
    """
    return submission.purpose in _STANDS and submission.renewal is None


def regime_of(purpose: Purpose, said: Regime | None) -> Regime:
    """Return the law that a search for this purpose is made under: the only one that there is, or the one said.

    Raises:
        NotPermitted: another one was said than the purpose allows, or none where there are two.

    """
    allowed = RULES[purpose].regimes
    if said in allowed:
        return said
    if said is None and len(allowed) == 1:
        return next(iter(allowed))
    msg = f"regime: for purpose {purpose}, say {' or '.join(sorted(allowed))}"
    raise NotPermitted(msg)


_BY_HARM: Final = {Harm.CHILD_AT_RISK: 0, Harm.LIFE_AT_RISK: 1, Harm.SERIOUS: 3, Harm.OTHER: 4}
_BY_PURPOSE: Final = {Purpose.MISSING: 2, Purpose.VICTIM: 3}
"""Somebody who is missing may be in danger, though nobody has said so."""


def urgency(submission: Submission) -> int:
    """Return the place in the queue's order, 0 (a child at risk) to 4; within one place the oldest comes first."""
    return min(_BY_HARM[submission.harm], _BY_PURPOSE.get(submission.purpose, 4))


_TAIL: Final = 1 << 62
"""A uuid5's last bits are all digest, and independent of the first, by which seeds are sorted."""


def seeds_due(waiting: Iterable[UUID], *, sown_n: int, real_n: int, share: float) -> list[UUID]:
    """Return the known answers whose turn it is, so that `share` of all that comes to people has one.

    In each run of real cases there is one, at a place in the run that its own id draws: at every twentieth place, it
    would be found by counting.
    """
    if share <= 0:
        return []
    runs = real_n * share / (1 - share)
    turns = enumerate(sorted(waiting), start=sown_n)
    return [id_ for nth, id_ in turns if nth + id_.int % _TAIL / _TAIL <= runs]
