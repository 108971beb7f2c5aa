"""Then the candidates: side by side, in an order of the reviewer's own, without score, rank, threshold or name."""

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Body, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import Field

from producers.console._desk import Desk, Here, Reviewing, TooEarly, WorkedCase, list_of
from producers.console._pages import page
from rfr_stream.desk import Account, Examined, Look, Operation, in_order, order_seed
from rfr_stream.events import Candidate, ReviewDecided, Value
from rfr_stream.ports import Case
from rfr_stream.review import CAN_EXPIRE

router = APIRouter()

NOBODY: Final = "none"
"""The choice that names none of the candidates."""
LONGEST_LOOK_MS: Final = 60_000
"""Of one report; the page reports every few seconds, as long as somebody is doing something there."""


@router.get("/cases/{submission_id}/comparison", response_class=HTMLResponse)
async def show(request: Request, case: WorkedCase, desk: Here, account: Reviewing) -> HTMLResponse:
    """Serve the candidates, once the analysis of the probe is on record.

    Raises:
        TooEarly: it is not, or what this reviewer signed is still on its way.

    """
    if await desk.store.examinations.analysis(case.submission_id, account.account_id) is None:
        msg = "Analyse the probe first; candidates are shown once that is on record."
        raise TooEarly(msg)
    examined = await serve(desk, account, case)
    require_counted(case, examined)
    return comparison_page(request, case, again=has_decided(case, account), form=_filled(case, examined))


async def serve(desk: Desk, account: Account, case: Case) -> Examined:
    """Write down that the candidates are served, and in which order; return the examination."""
    seed = order_seed(list_of(case), account.account_id)
    await desk.log(account, Operation.CONSULTATION, case.submission_id, f"candidates, in the order of seed {seed}")
    return await desk.store.examinations.show(case.submission_id, account.account_id, seed, desk.clock())


def comparison_page(
    request: Request,
    case: WorkedCase,
    *,
    again: bool,
    form: dict[str, str] | None = None,
    flaws: list[str] | None = None,
    status: int = HTTPStatus.OK,
) -> HTMLResponse:
    """Return the page with its form; nothing on it depends on what anybody else has said."""
    n = len(list_of(case).candidates)
    return page(
        request,
        "comparison.html",
        status,
        case_id=case.submission_id,
        places=range(1, n + 1),
        filled=form or {},
        flaws=flaws or [],
        again=again,
    )


# --- what was concluded before ----------------------------------------------------------------------------------------
def require_counted(case: Case, examined: Examined | None) -> None:
    """Refuse another conclusion while one is on its way: the next version follows what has been counted.

    Raises:
        TooEarly: the last that was signed has not been counted yet.

    """
    if examined and is_on_its_way(case, examined):
        msg = "Your decision is on its way; once it has been counted, you can change it."
        raise TooEarly(msg)


def has_decided(case: Case, account: Account) -> bool:
    """Whether this reviewer's next word is a new version."""
    return any(each.reviewer_id == account.account_id for each in case.decisions)


def is_refused(case: Case, examined: Examined) -> bool:
    """Whether what was signed last came too late: the case has ended without it."""
    return case.state not in CAN_EXPIRE and is_on_its_way(case, examined)


def is_sent(examined: Examined, draft: ReviewDecided) -> bool:
    """Whether this very draft was signed; a later version's is not, though an earlier one was sent."""
    return examined.sent_at is not None and draft.is_signed


def is_on_its_way(case: Case, examined: Examined) -> bool:
    """Whether what was signed last has not been counted yet."""
    draft = examined.draft
    if draft is None or not is_sent(examined, draft):
        return False
    return draft.event_id not in {each.event_id for each in case.decisions}


def order_of(case: Case, examined: Examined | None) -> tuple[Candidate, ...]:
    """Return the candidates as this reviewer saw them; none, if they saw none."""
    return in_order(list_of(case), examined.order_seed) if examined and examined.order_seed else ()


def place_of(draft: ReviewDecided, case: Case, examined: Examined) -> int | None:
    """Return where in their own order this reviewer saw whom they name."""
    order = [each.person_id for each in order_of(case, examined)]
    return order.index(draft.person_id) + 1 if draft.person_id in order else None


def _filled(case: Case, examined: Examined) -> dict[str, str]:
    """Return the form as this reviewer last filled it in; why they change what they signed is asked anew."""
    draft = examined.draft
    if draft is None:
        return {}
    filled = {"choice": str(place_of(draft, case, examined) or NOBODY), "support": draft.support.value}
    if not is_sent(examined, draft):
        filled["reason"] = draft.reason or ""
    for each in draft.features:
        filled |= {f"finding-{each.component}": each.finding.value, f"note-{each.component}": each.note or ""}
        filled |= {f"major-{each.component}": "on"} if each.major else {}
    return filled


# --- how they look ----------------------------------------------------------------------------------------------------
class Looked(Value):
    """How long one candidate was in front of the reviewer since the last report."""

    place: Annotated[int, Field(ge=1, le=1_000)]
    dwell_ms: Annotated[int, Field(ge=0, le=LONGEST_LOOK_MS)]
    zoomed: bool = False


@router.post("/cases/{submission_id}/looks", status_code=HTTPStatus.NO_CONTENT, response_class=Response)
async def look(
    case: WorkedCase, looks: Annotated[list[Looked], Body(max_length=100)], desk: Here, account: Reviewing
) -> Response:
    """Note what was looked at, and for how long; it also holds the case."""
    n = len(list_of(case).candidates)
    seen = {each.place: Look(each.dwell_ms, each.zoomed) for each in looks if each.place <= n}
    await desk.store.examinations.look(case.submission_id, account.account_id, seen)
    return Response(status_code=HTTPStatus.NO_CONTENT)
