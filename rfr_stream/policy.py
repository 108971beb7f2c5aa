"""The rules a lawyer would ask to read: who may be sought where, what may be found, who may decide.

Pure tables and functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rfr_stream.errors import NotPermitted
from rfr_stream.events import CandidatesReady, GalleryName, Outcome, Purpose, ReviewDecided, Source, Submission, Support
from rfr_stream.ports import Reference, Reviewer

QUORUM: Final = 2
"""How many different competent people must name the same person."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What one purpose opens."""

    galleries: frozenset[GalleryName]
    sources: frozenset[Source]
    authoriser_required: bool


_ANY_DOOR_BUT_UNITS = frozenset({Source.OFFICER, Source.PUBLIC_APPEAL})

RULES: Final[dict[Purpose, Rule]] = {
    Purpose.MISSING: Rule(
        frozenset({GalleryName.MISSING, GalleryName.DECEASED, GalleryName.CUSTODY}),
        frozenset({Source.OFFICER, Source.PUBLIC_APPEAL, Source.MISSING_PERSON}),
        authoriser_required=False,
    ),
    Purpose.DECEASED: Rule(
        frozenset({GalleryName.MISSING, GalleryName.DECEASED, GalleryName.CUSTODY}),
        frozenset({Source.OFFICER, Source.DECEASED_PERSON}),
        authoriser_required=False,
    ),
    Purpose.SUSPECT: Rule(
        frozenset({GalleryName.CUSTODY}),
        _ANY_DOOR_BUT_UNITS,
        authoriser_required=False,
    ),
    # People who are suspected of nothing: somebody senior must have said yes.
    Purpose.VICTIM: Rule(
        frozenset({GalleryName.CUSTODY, GalleryName.MISSING}),
        _ANY_DOOR_BUT_UNITS,
        authoriser_required=True,
    ),
    Purpose.WITNESS: Rule(
        frozenset({GalleryName.CUSTODY}),
        _ANY_DOOR_BUT_UNITS,
        authoriser_required=True,
    ),
}
"""Purposes x galleries x doors."""

LEAD_SUPPORT: Final = frozenset({Support.STRONG_SAME, Support.MODERATE_SAME})
"""The least that both reviewers must conclude before a lead is given out."""

SAME_SUPPORT: Final = LEAD_SUPPORT | {Support.LIMITED_SAME}
"""Conclusions that name a person."""


def searchable(submission: Submission) -> tuple[GalleryName, ...]:
    """Return the galleries this submission may search: those asked for, or all that its purpose opens.

    Raises:
        NotPermitted: the purpose, its door, a gallery asked for or a missing authoriser forbids it.

    """
    rule = RULES[submission.purpose]
    if submission.source not in rule.sources:
        msg = f"purpose: {submission.purpose} may not come through the door {submission.source}"
        raise NotPermitted(msg)
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


def ineligibility(reference: Reference, now: datetime) -> str | None:
    """Return why this reference may not be found now, or None. Whatever is missing fails closed."""
    for field in ("legal_basis", "source", "captured_at", "review_due", "restricted"):
        if getattr(reference, field) in (None, ""):
            return f"{field}_missing"
    if reference.restricted:
        return "restricted"
    if reference.captured_at > now:  # type: ignore[operator]  # the loop above has shown that it is there
        return "captured_in_the_future"
    if reference.review_due <= now:  # type: ignore[operator]  # as above
        return "review_overdue"
    return None


def require_competent(decision: ReviewDecided, reviewer: Reviewer | None, now: datetime) -> Reviewer:
    """Return the registered reviewer whose training is in date.

    Raises:
        NotPermitted: nobody of this id is registered, or the training has lapsed.

    """
    if reviewer is None or reviewer.reviewer_id != decision.reviewer_id:
        msg = "reviewer_id: not registered; `rfr reviewers add` registers a reviewer's key"
        raise NotPermitted(msg)
    if reviewer.competent_until <= now:
        msg = "reviewer_id: training has lapsed; renew it with `rfr reviewers add`"
        raise NotPermitted(msg)
    return reviewer


def objection(decision: ReviewDecided, found: CandidatesReady, earlier: Sequence[ReviewDecided]) -> str | None:
    """Return why this decision does not count for this list, or None; the text names a field and quotes no value.

    Whoever asked may not answer, and nobody answers twice; a decision is about the exact list that was shown,
    and names a person from it exactly where its conclusion names one. That the signature is the reviewer's and that
    their training is in date is asked elsewhere: `Verifier`, `require_competent`.
    """
    if decision.demo != found.demo:
        return "demo: a demonstration's decision and an operational case never meet"
    if decision.list_digest != found.list_digest:
        return "list_digest: not the list of this case; decide about the list that is shown now"
    if decision.reviewer_id == found.submission.submitted_by:
        return "reviewer_id: whoever submitted the image may not review it"
    if decision.reviewer_id in {other.reviewer_id for other in earlier}:
        return "reviewer_id: has decided on this case before; somebody else must be the second"
    return _unnamed(decision, found) or _unrecorded(decision)


def _unnamed(decision: ReviewDecided, found: CandidatesReady) -> str | None:
    if decision.support not in SAME_SUPPORT:
        return None if decision.person_id is None else "person_id: this conclusion names nobody"
    if decision.person_id not in {candidate.person_id for candidate in found.candidates}:
        return "person_id: must be a person on the list"
    return None


def _unrecorded(decision: ReviewDecided) -> str | None:
    """A lead needs both halves of its record.

    Looking for dissimilarities and finding none is itself an entry ("none found in ..."): an empty list would not
    tell it from not having looked.
    """
    if decision.support in LEAD_SUPPORT and not decision.similarities:
        return "similarities: a lead needs at least one on record"
    if decision.support in LEAD_SUPPORT and not decision.dissimilarities:
        return "dissimilarities: record what the search for them found, even where it found none"
    return None


def verdict(decisions: Sequence[ReviewDecided]) -> Outcome | None:
    """Return what these decisions of different reviewers amount to, or None below the quorum.

        all name one person, each with `LEAD_SUPPORT`   confirmed
        none of them is a lead                          not_confirmed
        all could not tell                              inconclusive
        anything else is disagreement                   inconclusive

    Limited support is no lead. Disagreement is never settled by a further vote: a majority by pressure would
    be worth less than an honest "we cannot tell".
    """
    if len(decisions) < QUORUM:
        return None
    leads = [decision for decision in decisions if decision.support in LEAD_SUPPORT]
    if len(leads) == len(decisions) and len({decision.person_id for decision in leads}) == 1:
        return Outcome.CONFIRMED
    if leads or all(decision.support is Support.INCONCLUSIVE for decision in decisions):
        return Outcome.INCONCLUSIVE
    return Outcome.NOT_CONFIRMED
