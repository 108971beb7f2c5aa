"""The review of a submission as a state machine, pure: what came, and what it makes of the case.

    awaiting_candidates     known, but its list has not come    -> awaiting_subject | awaiting_review | closed
    awaiting_subject        somebody must say who is meant      -> awaiting_candidates, or closed | expired
    awaiting_review         nobody has decided                  -> awaiting_second_review | expired
    awaiting_second_review  one person has                      -> awaiting_third_review, or an end
    awaiting_third_review   two have, and disagree              -> an end
    confirmed               two people named the same person    -> withdrawn
    closed                  ended before any review; if a message of it was set aside  -> awaiting_candidates

The ends of a review are confirmed, not_confirmed, inconclusive and expired; of a case with a known answer, assessed
alone. `NEXT` is this table, and nothing moves past it. Only people's decisions lead from `awaiting_review` towards
`confirmed`; a service, a score or a clock can end a case, never confirm it.

Each function of the second part returns a `Transition`. All can stand the same event twice, though the ledger
absorbs it by its id before: what a case already holds changes nothing, what contradicts it is `NotPermitted`.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from rfr_stream.errors import NotPermitted
from rfr_stream.events import (
    CandidatesReady,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ImageSubmitted,
    Outcome,
    ReviewDecided,
    ReviewSummary,
    SubjectChoice,
    SubjectChosen,
    SubjectUnclear,
    SubmissionClosed,
    SubmissionEvent,
    WithdrawalOrdered,
)
from rfr_stream.policy import LEAD_SUPPORT, QUORUM, objection, require_competent, standing, verdict
from rfr_stream.ports import Case, CaseState, Duty, Reviewer, Step, Transition

_S = CaseState

_ENDS: Final = frozenset({_S.CONFIRMED, _S.NOT_CONFIRMED, _S.INCONCLUSIVE, _S.EXPIRED, _S.ASSESSED})

NEXT: Final[dict[CaseState, frozenset[CaseState]]] = {
    _S.AWAITING_CANDIDATES: frozenset({_S.AWAITING_SUBJECT, _S.AWAITING_REVIEW, _S.CLOSED}),
    _S.AWAITING_SUBJECT: frozenset({_S.AWAITING_CANDIDATES, _S.AWAITING_REVIEW, _S.CLOSED, _S.EXPIRED}),
    _S.AWAITING_REVIEW: frozenset({_S.AWAITING_SECOND_REVIEW, _S.EXPIRED}),
    _S.AWAITING_SECOND_REVIEW: _ENDS | {_S.AWAITING_THIRD_REVIEW},
    _S.AWAITING_THIRD_REVIEW: _ENDS,
    _S.CONFIRMED: frozenset({_S.WITHDRAWN}),
    _S.CLOSED: frozenset({_S.AWAITING_CANDIDATES}),
    _S.NOT_CONFIRMED: frozenset(),
    _S.INCONCLUSIVE: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.WITHDRAWN: frozenset(),
    _S.ASSESSED: frozenset(),
}
"""What leads where."""

UNDER_REVIEW: Final = frozenset({_S.AWAITING_REVIEW, _S.AWAITING_SECOND_REVIEW, _S.AWAITING_THIRD_REVIEW})
"""The states in which people may decide."""

CAN_EXPIRE: Final = frozenset(state for state, following in NEXT.items() if _S.EXPIRED in following)
"""The states that wait for people. `awaiting_candidates` waits for a machine: a list that is late must not find its
door shut because of a premature decision."""

NOBODY_LAPSED: Final[Mapping[str, str]] = {}

EARLY: Final = frozenset({Outcome.REFUSED, Outcome.UNREADABLE, Outcome.NO_FACE, Outcome.UNSUITABLE_QUALITY})
"""What the stages before review can say; every other outcome is said here, and only comes back round."""

SET_ASIDE: Final = frozenset({Outcome.REFUSED, Outcome.UNREADABLE})
"""What is said of a submission when a message of it goes to the dead letters. It may be put back after a fix, and
whatever comes of it then counts as if it came for the first time; a result, such as `no_face`, stands."""

_END: Final[dict[Outcome, tuple[CaseState, str]]] = {
    Outcome.NO_FACE: (_S.CLOSED, "no face was found in the image"),
    Outcome.NO_CANDIDATES: (_S.CLOSED, "nobody in the galleries searched reached the threshold"),
    Outcome.CONFIRMED: (_S.CONFIRMED, "two reviewers support the same lead; it needs corroboration"),
    Outcome.NOT_CONFIRMED: (_S.NOT_CONFIRMED, "the reviewers support no lead"),
    Outcome.INCONCLUSIVE: (_S.INCONCLUSIVE, "the reviewers could not tell, or did not agree"),
    Outcome.EXPIRED: (_S.EXPIRED, "nobody decided in time"),
    Outcome.WITHDRAWN: (_S.WITHDRAWN, "the lead was withdrawn and must not be relied on"),
}
"""How a case can end here, and what the submitter is told: nothing about any person."""


# --- what may come --------------------------------------------------------------------------------------------------
def candidates_ready(event: CandidatesReady, now: datetime, *, seeded: bool = False) -> Transition:
    """A list came: people may look at it, and parked decisions are weighed in the order in which they came.

    The list of a case never changes: the same list again changes nothing, another one is refused. `seeded`: the answer
    is known, and the case ends without a word to anybody.
    """

    def transition(case: Case | None) -> Step:
        if case and case.candidates:
            _require(case.candidates.list_digest == event.list_digest, "list_digest: the case has another list")
            return Step(case)
        known = replace(_known(case, event.submission.submission_id, event, now), faces=None, seeded=seeded)
        if not event.candidates:
            return _end(replace(known, candidates=event), Outcome.NO_CANDIDATES, now)
        shown = _move(known, CaseState.AWAITING_REVIEW)
        return _weigh_parked(replace(shown, candidates=event, opened_at=now, outcome=None), event, now)

    return transition


def subject_unclear(event: SubjectUnclear, now: datetime, *, seeded: bool = False) -> Transition:
    """The image does not say whose face is meant: somebody must, before anybody is embedded; its sender is told."""

    def transition(case: Case | None) -> Step:
        if case and (case.faces or case.choice):
            return Step(case)
        known = _move(_known(case, event.submission.submission_id, event, now), CaseState.AWAITING_SUBJECT)
        asked = replace(known, faces=event, outcome=Outcome.SUBJECT_SELECTION_REQUIRED, seeded=seeded)
        detail = f"faces found: {len(event.faces)}; somebody must say which one is meant"
        return Step(asked, emit=_told(asked, Outcome.SUBJECT_SELECTION_REQUIRED, detail, now))

    return transition


def subject_chosen(choice: SubjectChosen, reviewer: Reviewer | None, now: datetime) -> Transition:
    """A person said which face is meant, and the signature is good; or that none is, and the case ends.

    The first word stands: whose face was embedded is not undone by another opinion.
    """

    def transition(case: Case | None) -> Step:
        require_competent(choice, reviewer, now)
        known = _existing(case)
        _require(known.demo == choice.demo, "demo: a demonstration's choice and an operational case never meet")
        if known.state is not CaseState.AWAITING_SUBJECT or known.faces is None:
            msg = "submission_id: nobody needs to say which face this is about"
            raise NotPermitted(msg)
        told = replace(known, choice=choice)
        if choice.subject is None:
            step = _end(told, Outcome.NO_FACE, now, "somebody looked: none of the faces is the one meant")
            return replace(step, case=replace(step.case, faces=None))
        again = ImageSubmitted(
            occurred_at=now,
            demo=known.demo,
            submission=known.faces.submission,
            choice=SubjectChoice(subject=choice.subject, chosen_by=choice.reviewer_id),
        )
        return Step(replace(_move(told, CaseState.AWAITING_CANDIDATES), faces=None, outcome=None), emit=(again,))

    return transition


def decided(
    decision: ReviewDecided,
    reviewer: Reviewer | None,
    now: datetime,
    *,
    lapsed: Mapping[str, str] = NOBODY_LAPSED,
) -> Transition:
    """A person decided, and the signature is good: the decision counts, waits for its list, or is refused.

    Competence is asked when the decision comes, not when its list does: that is when it was made. `lapsed` says of whom
    on the list the reference may no longer be used, and why; nobody is named by an image that is not held any more.
    """

    def transition(case: Case | None) -> Step:
        require_competent(decision, reviewer, now)
        known = case or Case(decision.submission_id, CaseState.AWAITING_CANDIDATES, now, demo=decision.demo)
        if known.candidates is None:
            return _park(known, decision)
        why_not = _why_not(known, decision, known.candidates) or lapsed.get(decision.person_id or "")
        if why_not:
            raise NotPermitted(why_not)
        step = _count(known, decision, known.candidates, now)
        for lead in step.emit:
            if isinstance(lead, IdentificationConfirmed) and lead.person_id in lapsed:
                raise NotPermitted(lapsed[lead.person_id])
        return step

    return transition


def closed(event: SubmissionClosed, now: datetime) -> Transition:
    """Another stage said what became of a submission before any list; it cannot end a case that people look at.

    The review's own outcomes come back round on the same topic and change nothing.
    """

    def transition(case: Case | None) -> Step:
        if event.outcome not in EARLY:
            return Step(_existing(case))
        known = _known(case, event.submission_id, event, now)
        if case and case.outcome is event.outcome:
            return Step(case)
        return _refuse_parked(replace(_move(known, CaseState.CLOSED), outcome=event.outcome))

    return transition


def expired(now: datetime) -> Transition:
    """Nobody decided in time."""

    def transition(case: Case | None) -> Step:
        step = _end(_existing(case), Outcome.EXPIRED, now)
        return replace(step, case=replace(step.case, faces=None))

    return transition


def withdrawn(order: WithdrawalOrdered, supervisor: Reviewer | None, now: datetime) -> Transition:
    """A supervisor recalls a lead that was given out, and the signature is good."""

    def transition(case: Case | None) -> Step:
        require_competent(order, supervisor, now, Duty.SUPERVISE)
        known = _existing(case)
        _require(known.demo == order.demo, "demo: a demonstration's order and an operational case never meet")
        if known.state is CaseState.WITHDRAWN:
            return Step(known)
        return _recall(replace(known, withdrawal=order), order.reason, order.ordered_by, now)

    return transition


def as_told(case: Case) -> Outcome | None:
    """Return how a case ended as anybody may hear it: a known answer as if somebody waited for it."""
    return verdict(case.decisions) if case.state is CaseState.ASSESSED else case.outcome


def is_overtaken(said: Outcome, state: CaseState, so_far: Outcome | None) -> bool:
    """Whether what a stage before review says comes too late: people look at the case, or it has ended otherwise."""
    if said not in EARLY or so_far is said or so_far in SET_ASIDE:
        return False
    return CaseState.CLOSED not in NEXT[state]


# --- weighing -------------------------------------------------------------------------------------------------------
def _park(case: Case, decision: ReviewDecided) -> Step:
    _require(case.state in {_S.AWAITING_CANDIDATES, _S.AWAITING_SUBJECT}, "submission_id: the case has ended")
    waiting = {parked.reviewer_id for parked in case.parked}
    _require(decision.reviewer_id not in waiting, "reviewer_id: has a decision waiting for the list of this case")
    return Step(replace(case, parked=(*case.parked, decision)))


def _weigh_parked(case: Case, found: CandidatesReady, now: datetime) -> Step:
    step = Step(replace(case, parked=()) if case.parked else case)
    for decision in case.parked:
        why_not = _why_not(step.case, decision, found)
        if why_not:
            step = replace(step, refused=(*step.refused, (decision, NotPermitted(why_not))))
        else:
            counted = _count(step.case, decision, found, now)
            step = replace(step, case=counted.case, emit=(*step.emit, *counted.emit))
    return step


def _refuse_parked(case: Case) -> Step:
    ended = NotPermitted("submission_id: the case ended before there was a list to decide about")
    return Step(replace(case, parked=()), refused=tuple((decision, ended) for decision in case.parked))


def _why_not(case: Case, decision: ReviewDecided, found: CandidatesReady) -> str | None:
    if case.state not in UNDER_REVIEW and decision.version == 1:
        return "submission_id: the case has ended"
    return objection(decision, found, case.decisions)


def _count(case: Case, decision: ReviewDecided, found: CandidatesReady, now: datetime) -> Step:
    """Add a decision to which there is no objection, and end the case once there are enough.

    A new version ends no review: what two disagree about is not settled between them. After the end it is kept, and
    can take a lead back, never give one out.
    """
    judged = replace(case, decisions=(*case.decisions, decision))
    outcome = verdict(judged.decisions)
    if case.state not in UNDER_REVIEW:
        lost = case.state is CaseState.CONFIRMED and outcome is not Outcome.CONFIRMED
        return _recall(judged, decision.reason or "", decision.reviewer_id, now) if lost else Step(judged)
    if outcome is None or decision.version > 1:
        return Step(_await_next(judged))
    if judged.seeded:
        return Step(_move(judged, CaseState.ASSESSED))
    step = _end(judged, outcome, now)
    if outcome is Outcome.CONFIRMED:
        step = replace(step, emit=(_lead(judged, found, now), *step.emit))
    return step


def _await_next(case: Case) -> Case:
    said_n = len(standing(case.decisions))
    state = CaseState.AWAITING_SECOND_REVIEW if said_n < QUORUM else CaseState.AWAITING_THIRD_REVIEW
    return case if case.state is state else _move(case, state)


def _recall(case: Case, reason: str, by: str, now: datetime) -> Step:
    """Take a lead back, and tell everybody who was told of it."""
    step = _end(case, Outcome.WITHDRAWN, now)
    if case.candidates is None:  # no state but `confirmed` comes this far, and none is confirmed without a list
        msg = "submission_id: the case has no list, so no lead was given out"
        raise NotPermitted(msg)
    recall = IdentificationWithdrawn(
        occurred_at=now,
        demo=case.demo,
        case_ref=case.candidates.submission.case_ref,
        submission_id=case.submission_id,
        person_id=_named(case),
        reason=reason,
        withdrawn_by=by,
    )
    return replace(step, emit=(recall, *step.emit))


# --- moving ---------------------------------------------------------------------------------------------------------
def _known(case: Case | None, submission_id: UUID, event: SubmissionEvent | SubmissionClosed, now: datetime) -> Case:
    """Return the case that this event is about, new if it is the first to speak of it.

    A parked decision opens a case but vouches for nothing: whether it is a demonstration, and whose case it is, is for
    the stages to say.
    """
    case_ref = event.case_ref if isinstance(event, SubmissionClosed) else event.submission.case_ref
    if case is None:
        return Case(submission_id, CaseState.AWAITING_CANDIDATES, now, demo=event.demo, case_ref=case_ref)
    known = replace(case, case_ref=case_ref or case.case_ref)
    if case.state is CaseState.AWAITING_CANDIDATES:
        return replace(known, demo=event.demo)
    _require(case.demo == event.demo, "demo: a demonstration's event and an operational case never meet")
    return replace(_move(known, CaseState.AWAITING_CANDIDATES), outcome=None) if case.outcome in SET_ASIDE else known


def _existing(case: Case | None) -> Case:
    if case is None:
        msg = "submission_id: no such case"
        raise NotPermitted(msg)
    return case


def _move(case: Case, state: CaseState) -> Case:
    _require(state in NEXT[case.state], f"submission_id: {case.state} does not lead to {state}")
    return replace(case, state=state)


def _end(case: Case, outcome: Outcome, now: datetime, why: str = "") -> Step:
    state, detail = _END[outcome]
    step = _refuse_parked(replace(_move(case, state), outcome=outcome))
    return replace(step, emit=_told(case, outcome, why or detail, now))


def _told(case: Case, outcome: Outcome, detail: str, now: datetime) -> tuple[SubmissionClosed, ...]:
    """Return what whoever sent the submission is told; nobody did where the answer is known."""
    told = SubmissionClosed(
        occurred_at=now,
        submission_id=case.submission_id,
        outcome=outcome,
        detail=detail,
        case_ref=case.case_ref,
        demo=case.demo,
    )
    return () if case.seeded else (told,)


def _require(permitted: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as the sentence it is
    if not permitted:
        raise NotPermitted(otherwise)


# --- what is said ---------------------------------------------------------------------------------------------------
def _named(case: Case) -> str:
    """Return whom a confirmed case named when a first word confirmed it, whatever was said before and since."""
    said = next(
        said
        for n, last in enumerate(case.decisions, start=1)
        if last.version == 1 and verdict(said := standing(case.decisions[:n])) is Outcome.CONFIRMED
    )
    (person,) = {decision.person_id for decision in said if decision.support in LEAD_SUPPORT}
    return str(person)


def _lead(case: Case, found: CandidatesReady, now: datetime) -> IdentificationConfirmed:
    person = _named(case)
    (shown,) = (candidate for candidate in found.candidates if candidate.person_id == person)
    return IdentificationConfirmed(
        occurred_at=now,
        demo=case.demo,
        case_ref=found.submission.case_ref,
        submission_id=case.submission_id,
        person_id=shown.person_id,
        reference_id=shown.reference_id,
        gallery=shown.gallery,
        subject_category=found.submission.purpose,
        reviews=tuple(map(_summary, standing(case.decisions))),
        candidates_shown=len(found.candidates),
        probe_sha256=found.submission.image.sha256,
        quality=found.face.quality,
        detector=found.face.detector,
        embedder=found.template.embedder,
    )


def _summary(decision: ReviewDecided) -> ReviewSummary:
    return ReviewSummary(
        reviewer_ref=decision.reviewer_id,
        support=decision.support,
        similarities_n=len(decision.similarities),
        dissimilarities_n=len(decision.dissimilarities),
        decided_at=decision.occurred_at,
        signature=decision.signature,
    )
