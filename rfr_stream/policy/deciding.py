"""Who may decide, what counts as a decision, and what several of them amount to."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol, TypeVar

from rfr_stream.errors import NotPermitted
from rfr_stream.events import (
    CandidatesReady,
    Component,
    Examination,
    Finding,
    Outcome,
    ReviewDecided,
    Signed,
    Support,
)
from rfr_stream.ports import Duty, Reviewer

QUORUM: Final = 2
"""How many different competent people must name the same person."""

MIN_COMPARED_S: Final = 5.0
"""A lead that took less to see was waved through, not weighed."""

LEAD_SUPPORT: Final = frozenset({Support.STRONG_SAME, Support.MODERATE_SAME})
"""The least that both reviewers must conclude before a lead is given out."""

SAME_SUPPORT: Final = LEAD_SUPPORT | {Support.LIMITED_SAME}
"""Conclusions that name a person."""

UNDECIDED_SUPPORT: Final = frozenset({Support.INCONCLUSIVE, Support.UNSUITABLE})
"""Conclusions that speak for nobody and against nobody."""


def require_competent(decision: Signed, reviewer: Reviewer | None, now: datetime, duty: Duty = Duty.REVIEW) -> Reviewer:
    """Return the registered person whose duty this is and whose training is in date.

    Raises:
        NotPermitted: nobody of this id is registered for it, or the training has lapsed.

    """
    if reviewer is None or reviewer.reviewer_id != decision.signer or reviewer.duty is not duty:
        msg = f"reviewer_id: not registered to {duty}; `rfr reviewers add` registers a person's key"
        raise NotPermitted(msg)
    if reviewer.competent_until <= now:
        msg = "reviewer_id: training has lapsed; renew it with `rfr reviewers add`"
        raise NotPermitted(msg)
    return reviewer


class Concluded(Protocol):
    """What somebody concluded, as far as it is weighed with what others did."""

    @property
    def reviewer_id(self) -> str: ...
    @property
    def support(self) -> Support: ...
    @property
    def person_id(self) -> str | None: ...


C = TypeVar("C", bound=Concluded)


def standing(decisions: Sequence[C]) -> tuple[C, ...]:
    """Return what each reviewer says last, in the order in which they first spoke."""
    return tuple({decision.reviewer_id: decision for decision in decisions}.values())


# --- what counts ----------------------------------------------------------------------------------------------------
def objection(decision: ReviewDecided, found: CandidatesReady, earlier: Sequence[ReviewDecided]) -> str | None:
    """Return why this decision does not count for this list, or None; the text names a field and quotes no value.

    Whoever asked may not answer, and nobody answers twice, but for a new version of what they said; a decision is
    about the exact list that was shown, and names a person from it exactly where its conclusion names one. That the
    signature is the reviewer's and that their training is in date is asked elsewhere: `Verifier`, `require_competent`.
    """
    if decision.demo != found.demo:
        return "demo: a demonstration's decision and an operational case never meet"
    if decision.list_digest != found.list_digest:
        return "list_digest: not the list of this case; decide about the list that is shown now"
    if decision.reviewer_id == found.submission.submitted_by:
        return "reviewer_id: whoever submitted the image may not review it"
    return (
        _out_of_turn(decision, earlier) or _unnamed(decision, found) or _unexamined(decision) or _unrecorded(decision)
    )


def _out_of_turn(decision: ReviewDecided, earlier: Sequence[ReviewDecided]) -> str | None:
    said = [other for other in earlier if other.reviewer_id == decision.reviewer_id]
    if said and decision.version == 1:
        return "reviewer_id: has decided on this case before; somebody else must be the next"
    if decision.version != len(said) + 1:
        return f"version: must be {len(said) + 1}, the next of this reviewer's"
    return None


def _unnamed(decision: ReviewDecided, found: CandidatesReady) -> str | None:
    if decision.support not in SAME_SUPPORT:
        return None if decision.person_id is None else "person_id: this conclusion names nobody"
    if decision.person_id not in {candidate.person_id for candidate in found.candidates}:
        return "person_id: must be a person on the list"
    return None


def _unexamined(decision: ReviewDecided) -> str | None:
    """Who concludes has looked: at the probe first and alone, then at the candidates; for a lead, long enough.

    That a probe is unsuitable shows before any candidate does.
    """
    if decision.support is Support.UNSUITABLE:
        return None
    looked = decision.examination
    if looked is None:
        return "examination: a conclusion about candidates follows an examination at the desk"
    if looked.revealed and decision.support in SAME_SUPPORT:
        return "support: whoever has seen the scores may take support back, and not give it"
    if not looked.analysed_at <= looked.shown_at <= decision.occurred_at:
        return "examination: the probe is analysed first, and the candidates are compared after that"
    return _hurried(decision, looked) if decision.support in SAME_SUPPORT else None


def _hurried(decision: ReviewDecided, looked: Examination) -> str | None:
    if min(looked.compared_s, (decision.occurred_at - looked.shown_at).total_seconds()) < MIN_COMPARED_S:
        return f"examination: a comparison takes at least {MIN_COMPARED_S:g} s"
    return None


def _unrecorded(decision: ReviewDecided) -> str | None:
    """A lead needs both halves of its record.

    Looking for dissimilarities and finding none is itself an entry ("none found in ..."): an empty list would not
    tell it from not having looked.
    """
    if decision.support not in LEAD_SUPPORT:
        return None
    if not decision.similarities:
        return "similarities: a lead needs at least one similar component on record"
    if not decision.dissimilarities:
        return "dissimilarities: record what the search for them found, even where it found none"
    return _uncompared(decision)


def _uncompared(decision: ReviewDecided) -> str | None:
    if {feature.component for feature in decision.features} != set(Component):
        return "features: a lead needs every component gone through, those that cannot be seen included"
    if not any(feature.finding is Finding.SIMILAR for feature in decision.features):
        return "features: a lead needs at least one similar component"
    if any(feature.major for feature in decision.features):
        return "features: a major dissimilarity that nothing explains rules out a lead"
    return None


# --- what it amounts to ---------------------------------------------------------------------------------------------
def verdict(decisions: Sequence[Concluded]) -> Outcome | None:
    """Return what the decisions of different reviewers amount to, or None while somebody else must look.

        both name one person, each with `LEAD_SUPPORT`              confirmed
        neither is a lead                                           not_confirmed
        neither could tell                                          inconclusive
        anything else is disagreement                               a third reviewer looks, as blind as the first two
        then two leads to one person, and a third who cannot tell   confirmed
        then one lead, and two who speak against it                 not_confirmed
        anything else                                               inconclusive

    Limited support is no lead. Disagreement is never settled by a majority: a reviewer who saw a difference, or
    somebody else, is not outvoted; that would be worth less than an honest "we cannot tell".
    """
    said = standing(decisions)
    if len(said) < QUORUM:
        return None
    leads = Counter(decision.person_id for decision in said if decision.support in LEAD_SUPPORT)
    others = [decision.support for decision in said if decision.support not in LEAD_SUPPORT]
    if len(leads) == 1 and leads.total() >= QUORUM and UNDECIDED_SUPPORT.issuperset(others):
        return Outcome.CONFIRMED
    if not leads:
        undecided = all(support is Support.INCONCLUSIVE for support in others)
        return Outcome.INCONCLUSIVE if undecided else Outcome.NOT_CONFIRMED
    if len(said) == QUORUM:
        return None
    against = [support for support in others if support not in UNDECIDED_SUPPORT | SAME_SUPPORT]
    return Outcome.NOT_CONFIRMED if len(against) >= QUORUM else Outcome.INCONCLUSIVE
