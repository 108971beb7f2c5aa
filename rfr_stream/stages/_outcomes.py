"""How a submission ends."""

from datetime import datetime
from uuid import UUID

from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import Outcome, SubmissionClosed, SubmissionEvent


def closed_by(
    rejection: Rejected, submission_id: UUID, *, now: datetime, demo: bool, case_ref: str | None = None
) -> SubmissionClosed:
    """Return what a submission's sender is told when one of its messages is rejected."""
    outcome = Outcome.REFUSED if isinstance(rejection, NotPermitted) else Outcome.UNREADABLE
    return SubmissionClosed(
        submission_id=submission_id,
        outcome=outcome,
        detail=str(rejection)[:500],
        case_ref=case_ref,
        occurred_at=now,
        demo=demo,
    )


def close(event: SubmissionEvent, outcome: Outcome, detail: str, *, now: datetime) -> SubmissionClosed:
    """Return how a submission ended, whatever came of it so far."""
    about = event.submission
    return SubmissionClosed(
        submission_id=about.submission_id,
        outcome=outcome,
        detail=detail,
        case_ref=about.case_ref,
        occurred_at=now,
        demo=event.demo,
    )
