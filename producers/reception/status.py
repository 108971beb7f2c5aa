"""How a submission stands, for the client that sent it; in words that say nothing about any person."""

from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from producers.reception._door import says
from producers.reception._reception import Here, Known
from producers.reception._refusals import Refused
from rfr_stream import review
from rfr_stream.ports import Case, CaseState

router = APIRouter(prefix="/submissions", tags=["status"])

RECEIVED: Final = "received"
WITH_REVIEWERS: Final = "with_reviewers"
"""However far they are: that somebody has decided is nobody's to know before both have."""


class Standing(BaseModel):
    """Where a submission is; once it has ended, as its outcome says on the topic of outcomes."""

    model_config = ConfigDict(frozen=True)

    submission_id: UUID
    state: Annotated[str, Field(examples=[RECEIVED, WITH_REVIEWERS, "no_face", "not_confirmed"])]


@router.get(
    "/{submission_id}",
    summary="How a submission stands",
    operation_id="status",
    responses=says(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
async def status(submission_id: UUID, here: Here, client: Known) -> Standing:
    if not await here.store.has_sent(client.name, submission_id):
        raise Refused(HTTPStatus.NOT_FOUND, "submission_id", "one that this client has sent")
    return Standing(submission_id=submission_id, state=state_of(await here.ledger.case(submission_id)))


def state_of(case: Case | None) -> str:
    """Return where a case is, as its sender may hear it."""
    if case is None or case.state is CaseState.AWAITING_CANDIDATES:
        return RECEIVED
    return review.as_told(case) or WITH_REVIEWERS
