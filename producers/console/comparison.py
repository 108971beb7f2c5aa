"""Then the candidates: side by side, in an order of the reviewer's own, without score, rank, threshold or name."""

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Body, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import Field

from producers.console._desk import Here, Reviewing, TooEarly, WorkedCase, list_of
from producers.console._pages import page
from rfr_stream.desk import Look, Operation, order_seed
from rfr_stream.events import Value

router = APIRouter()

LONGEST_LOOK_MS: Final = 60_000
"""Of one report; the page reports every few seconds."""


@router.get("/cases/{submission_id}/comparison", response_class=HTMLResponse)
async def show(request: Request, case: WorkedCase, desk: Here, account: Reviewing) -> HTMLResponse:
    """Serve the candidates, once the analysis of the probe is on record.

    Raises:
        TooEarly: it is not.

    """
    found = list_of(case)
    if await desk.store.examinations.analysis(case.submission_id, account.account_id) is None:
        msg = "Analyse the probe first; candidates are shown once that is on record."
        raise TooEarly(msg)
    seed = order_seed(found, account.account_id)
    await desk.log(account, Operation.CONSULTATION, case.submission_id, f"candidates, in the order of seed {seed}")
    examined = await desk.store.examinations.show(case.submission_id, account.account_id, seed, desk.clock())
    return comparison_page(request, case, again=examined.sent_at is not None)


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
