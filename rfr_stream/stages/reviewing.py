"""Stages 4 and 5, with the human gap between them: hold lists until people decide, and count what they sign."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

from rfr_stream import policy, review
from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import CandidatesReady, ReviewDecided, SubmissionClosed, derive_id
from rfr_stream.ports import Cases, Change, Ledger, Transition, Verifier


async def hold(batch: Sequence[CandidatesReady], *, cases: Cases, now: datetime) -> list[Rejected | None]:
    """Hold each candidate list until people release it; an empty list closes its submission as an honest blank."""
    return await _apply(batch, partial(review.candidates_ready, now=now), cases=cases)


async def note(batch: Sequence[SubmissionClosed], *, cases: Cases, now: datetime) -> list[Rejected | None]:
    """Keep in the ledger what became of submissions that ended before any review.

    The review's own outcomes come round on the same topic; the ledger has them already.
    """
    early = [event for event in batch if event.outcome in review.EARLY]
    verdicts = iter(await _apply(early, partial(review.closed, now=now), cases=cases))
    return [next(verdicts) if event.outcome in review.EARLY else None for event in batch]


async def decide(decision: ReviewDecided, *, ledger: Ledger, verifier: Verifier, now: datetime) -> None:
    """Count one reviewer's signed decision.

    Raises:
        NotPermitted: it is not signed by a registered, competent reviewer, or may not count; it changed nothing.

    """
    reviewer = await ledger.reviewer(decision.reviewer_id)
    if reviewer and not verifier.verify(reviewer.public_key, decision.signed_bytes, decision.signature):
        msg = "signature: not this reviewer's signature of this decision"
        raise NotPermitted(msg)
    # Who may decide is asked behind the inbox: a decision that counted once is not refused when it comes again.
    lapsed = await _lapsed(decision, ledger, now)
    transition = review.decided(decision, reviewer, now, lapsed=lapsed)
    (verdict,) = await ledger.apply([Change(decision.submission_id, decision.event_id, transition)])
    if isinstance(verdict, Rejected):
        raise verdict


async def _lapsed(decision: ReviewDecided, ledger: Ledger, now: datetime) -> str | None:
    """Return why the reference that stands for the person named may no longer be used: lists outlive hold records."""
    case = await ledger.case(decision.submission_id) if decision.person_id else None
    candidates = case.candidates.candidates if case and case.candidates else ()
    for candidate in candidates:
        if candidate.person_id == decision.person_id:
            reference = (await ledger.held([candidate.reference_id])).get(candidate.reference_id)
            reason = policy.ineligibility(reference, now) if reference else "not_held"
            return f"person_id: the reference may no longer be used: {reason}" if reason else None
    return None


async def expire(*, cases: Cases, opened_before: datetime, now: datetime, limit: int = 100) -> int:
    """Close cases that waited too long for people, and return how many. Time ends a case, never confirms it."""
    waiting = await cases.cases(sorted(review.CAN_EXPIRE), limit=limit, opened_before=opened_before)
    changes = [
        Change(case.submission_id, derive_id("expired", case.submission_id), review.expired(now)) for case in waiting
    ]
    return len([verdict for verdict in await cases.apply(changes) if not isinstance(verdict, Rejected)])


E = TypeVar("E", CandidatesReady, SubmissionClosed)


async def _apply(batch: Sequence[E], transition: Callable[[E], Transition], *, cases: Cases) -> list[Rejected | None]:
    changes = [Change(UUID(event.key), event.event_id, transition(event)) for event in batch]
    return [verdict if isinstance(verdict, Rejected) else None for verdict in await cases.apply(changes)]
