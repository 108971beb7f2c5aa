"""What waits for me: most urgent first, then oldest; claimed by one person at a time, for as long as a lease lasts."""

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import TypeAdapter

from producers.console._desk import (
    HeldCase,
    Here,
    Reviewing,
    SignedIn,
    held_case,
    is_asked_by_itself,
    require_in_date,
)
from producers.console._pages import page
from rfr_stream.desk import Filter, Operation, Place, Waiting
from rfr_stream.errors import NotPermitted
from rfr_stream.events import Instant, Purpose, Source
from rfr_stream.policy import Role
from rfr_stream.ports import CaseState

PAGE_ROWS: Final = 50
_URGENCIES: Final = {str(urgency): urgency for urgency in range(5)}
_MOMENT: Final = TypeAdapter[datetime](Instant)

router = APIRouter()


@router.get("/", response_class=HTMLResponse)
async def home(account: SignedIn) -> RedirectResponse:
    """Send everybody to where their work is."""
    if Role.REVIEWER in account.roles:
        return RedirectResponse("/queue", HTTPStatus.SEE_OTHER)
    if Role.SUBMITTER in account.roles:
        return RedirectResponse("/appeals", HTTPStatus.SEE_OTHER)
    return RedirectResponse("/account", HTTPStatus.SEE_OTHER)


@router.get("/queue", response_class=HTMLResponse)
async def queue(
    request: Request,
    desk: Here,
    account: Reviewing,
    source: Annotated[Source | Literal[""], Query()] = "",
    purpose: Annotated[Purpose | Literal[""], Query()] = "",
    after: Annotated[str, Query(max_length=128)] = "",
) -> HTMLResponse:
    """Show a page of the queue; asked by the page itself, only its rows."""
    only = Filter(source or None, purpose or None)
    now, me = desk.clock(), account.account_id
    rows = await desk.store.queue.waiting(me, now, only=only, after=_place(after), limit=PAGE_ROWS + 1)
    n, oldest = await desk.store.queue.count(me, now, only=only)
    again = is_asked_by_itself(request)
    return page(
        request,
        "queue_rows.html" if again else "queue.html",
        again=again,
        rows=rows[:PAGE_ROWS],
        next_place=_as_text(rows[PAGE_ROWS - 1]) if len(rows) > PAGE_ROWS else "",
        n=n,
        oldest=oldest,
        now=now,
        only=only,
        after=after,
        sources=Source,
        purposes=Purpose,
    )


@router.post("/queue/next")
async def take_next(desk: Here, account: Reviewing) -> RedirectResponse:
    """Claim what is most urgent, and go there."""
    await require_in_date(desk, account)
    now, me = desk.clock(), account.account_id
    until = now + timedelta(minutes=desk.settings.lease_minutes)
    for each in await desk.store.queue.waiting(me, now, limit=PAGE_ROWS):
        if await desk.store.queue.claim(each.submission_id, me, now, until):
            return RedirectResponse(f"/cases/{each.submission_id}", HTTPStatus.SEE_OTHER)
    return RedirectResponse("/queue", HTTPStatus.SEE_OTHER)


@router.get("/cases/{submission_id}")
async def case(submission_id: UUID, desk: Here, account: Reviewing) -> RedirectResponse:
    """Send a reviewer to the step that they are at; taking a case up is to claim it."""
    examined = await desk.store.examinations.examined(submission_id, account.account_id)
    if examined and examined.sent_at:
        return _to(submission_id, "record")
    held = await held_case(submission_id, desk, account)
    await desk.log(account, Operation.CONSULTATION, submission_id, "case taken up")
    if held.state is CaseState.AWAITING_SUBJECT:
        return _to(submission_id, "subject")
    if await desk.store.examinations.analysis(submission_id, account.account_id) is None:
        return _to(submission_id, "analysis")
    return _to(submission_id, "comparison")


@router.post("/cases/{submission_id}/hold")
async def hold(case: HeldCase) -> HTMLResponse:
    """Hold the case longer, while somebody has it before them."""
    return HTMLResponse(f"<!-- {case.submission_id} -->")


@router.post("/cases/{submission_id}/release")
async def release(submission_id: UUID, desk: Here, account: Reviewing) -> RedirectResponse:
    """Give the case back to the queue."""
    await desk.store.queue.release(submission_id, account.account_id)
    return RedirectResponse("/queue", HTTPStatus.SEE_OTHER)


def _to(submission_id: UUID, step: str) -> RedirectResponse:
    return RedirectResponse(f"/cases/{submission_id}/{step}", HTTPStatus.SEE_OTHER)


def _as_text(last: Waiting) -> str:
    return f"{last.urgency}~{last.opened_at.isoformat()}~{last.submission_id}"


def _place(text: str) -> Place | None:
    """Read where a page begins.

    Raises:
        NotPermitted: it is none that this desk wrote.

    """
    if not text:
        return None
    try:
        urgency, opened_at, submission_id = text.split("~")
        return Place(_URGENCIES[urgency], _MOMENT.validate_python(opened_at), UUID(submission_id))
    except (KeyError, ValueError) as error:
        msg = "after: not a place in the queue"
        raise NotPermitted(msg) from error
