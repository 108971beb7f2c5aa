"""How a submission ends."""

from datetime import datetime
from uuid import UUID

from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import Outcome, SubmissionClosed


def closed_by(rejection: Rejected, submission_id: UUID, *, now: datetime, demo: bool) -> SubmissionClosed:
    """Return what a submission's sender is told when one of its messages is rejected."""
    outcome = Outcome.REFUSED if isinstance(rejection, NotPermitted) else Outcome.UNREADABLE
    return close(submission_id, outcome, str(rejection)[:500], now=now, demo=demo)


def close(submission_id: UUID, outcome: Outcome, detail: str, *, now: datetime, demo: bool) -> SubmissionClosed:
    return SubmissionClosed(submission_id=submission_id, outcome=outcome, detail=detail, occurred_at=now, demo=demo)
