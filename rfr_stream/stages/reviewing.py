"""Stages 4 and 5, with the human gap between them: hold lists until people decide, and count what they sign."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

from rfr_stream import policy, review
from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import (
    CandidatesReady,
    CompetenceCertified,
    Event,
    LeadAcknowledged,
    ReviewDecided,
    Signed,
    SubjectChosen,
    SubjectUnclear,
    SubmissionClosed,
    WithdrawalOrdered,
    derive_id,
)
from rfr_stream.ports import Cases, Change, Duty, Ledger, References, Reviewer, Subscribers, Transition, Verifier


async def hold(
    batch: Sequence[CandidatesReady | SubjectUnclear], *, ledger: Ledger, now: datetime
) -> list[Rejected | None]:
    """Hold each candidate list until people release it; an empty list closes its submission as an honest blank.

    Where an image shows several people, its case waits until somebody says which is meant.
    """
    unsearched = (event.submission for event in batch if isinstance(event, SubjectUnclear))
    await ledger.entrust(policy.entrusted(unsearched))  # the search has noted the others
    seeded = await ledger.seeded([event.submission.submission_id for event in batch])

    def transition(event: CandidatesReady | SubjectUnclear) -> Transition:
        known_answer = event.submission.submission_id in seeded
        if isinstance(event, SubjectUnclear):
            return review.subject_unclear(event, now, seeded=known_answer)
        return review.candidates_ready(event, now, seeded=known_answer)

    return await _apply(batch, transition, cases=ledger)


async def note(batch: Sequence[SubmissionClosed], *, cases: Cases, now: datetime) -> list[Rejected | None]:
    """Keep in the ledger what became of submissions that ended before any review.

    The review's own outcomes come round on the same topic; the ledger has them already.
    """
    early = [event for event in batch if event.outcome in review.EARLY]
    verdicts = iter(await _apply(early, partial(review.closed, now=now), cases=cases))
    return [next(verdicts) if event.outcome in review.EARLY else None for event in batch]


async def decide(said: Signed, *, ledger: Ledger, verifier: Verifier, now: datetime) -> None:
    """Count what one person signed: a decision, which face is meant, a lead's withdrawal, who may decide.

    Raises:
        NotPermitted: it is not signed by somebody registered for it and competent, or may not count; nothing changed.

    """
    signer = await ledger.reviewer(said.signer)
    if signer and not verifier.verify(signer.public_key, said):
        msg = "signature: not this person's signature of these words"
        raise NotPermitted(msg)
    if isinstance(said, CompetenceCertified):
        await ledger.register(certified(said, signer, now))
        return
    # Who may decide is asked behind the inbox: a decision that counted once is not refused when it comes again.
    transition = await _transition(said, signer, ledger, now)
    (verdict,) = await ledger.apply([Change(UUID(said.key), said.event_id, transition)])
    if isinstance(verdict, Rejected):
        raise verdict


def certified(said: CompetenceCertified, supervisor: Reviewer | None, now: datetime) -> Reviewer:
    """Return the reviewer whom a supervisor vouches for.

    Raises:
        NotPermitted: whoever says so is no supervisor, or vouches for themselves.

    """
    policy.require_competent(said, supervisor, now, Duty.SUPERVISE)
    if said.reviewer_id == said.certified_by:
        msg = "reviewer_id: nobody certifies themselves"
        raise NotPermitted(msg)
    return Reviewer(said.reviewer_id, said.public_key, said.competent_until, recorded_at=min(said.occurred_at, now))


async def _transition(said: Signed, signer: Reviewer | None, ledger: Ledger, now: datetime) -> Transition:
    match said:
        case ReviewDecided():
            return review.decided(said, signer, now, lapsed=await _lapsed(said, ledger, now))
        case SubjectChosen():
            return review.subject_chosen(said, signer, now)
        case WithdrawalOrdered():
            return review.withdrawn(said, signer, now)
        case _:
            msg = f"nothing follows from {type(said).__name__}"
            raise TypeError(msg)


async def acknowledge(batch: Sequence[LeadAcknowledged], *, subscribers: Subscribers) -> list[Rejected | None]:
    """Remember who has received which lead, or its withdrawal."""
    await subscribers.acknowledge(batch)
    return [None] * len(batch)


async def _lapsed(decision: ReviewDecided, ledger: Ledger, now: datetime) -> dict[str, str]:
    case = await ledger.case(decision.submission_id)
    return await lapsed_among(case.candidates, ledger, now) if case and case.candidates else {}


async def lapsed_among(found: CandidatesReady, references: References, now: datetime) -> dict[str, str]:
    """Return of whom on the list the reference may no longer be used, and why: lists outlive hold records."""
    held = await references.held([candidate.reference_id for candidate in found.candidates])
    reasons = {each.person_id: policy.ineligibility(held.get(each.reference_id), now) for each in found.candidates}
    return {person: f"person_id: the reference may no longer be used: {why}" for person, why in reasons.items() if why}


async def expire(*, cases: Cases, opened_before: datetime, now: datetime, limit: int = 100) -> int:
    """Close cases that waited too long for people, and return how many. Time ends a case, never confirms it."""
    waiting = await cases.cases(sorted(review.CAN_EXPIRE), limit=limit, opened_before=opened_before)
    changes = [
        Change(case.submission_id, derive_id("expired", case.submission_id), review.expired(now)) for case in waiting
    ]
    return len([verdict for verdict in await cases.apply(changes) if not isinstance(verdict, Rejected)])


E = TypeVar("E", bound=Event)


async def _apply(batch: Sequence[E], transition: Callable[[E], Transition], *, cases: Cases) -> list[Rejected | None]:
    changes = [Change(UUID(event.key), event.event_id, transition(event)) for event in batch]
    return [verdict if isinstance(verdict, Rejected) else None for verdict in await cases.apply(changes)]
