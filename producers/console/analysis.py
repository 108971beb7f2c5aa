"""First the probe, alone: what it shows goes on record before any candidate is served."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from producers.console._desk import HeldCase, Here, Reviewing, list_of
from producers.console._forms import fields_of, flaws
from producers.console._pages import page
from rfr_stream.desk import Analysis, Operation, Seen, Suitability, Visibility
from rfr_stream.events import Component

router = APIRouter()


@router.get("/cases/{submission_id}/analysis", response_class=HTMLResponse)
async def show(request: Request, case: HeldCase, desk: Here, account: Reviewing) -> HTMLResponse:
    """Show the probe with its measures and its history, and the record to fill in."""
    known = await desk.store.examinations.analysis(case.submission_id, account.account_id)
    await desk.log(account, Operation.CONSULTATION, case.submission_id, "analysis")
    return _page(request, case, analysis=known[0] if known else None)


@router.post("/cases/{submission_id}/analysis", response_class=HTMLResponse)
async def save(request: Request, case: HeldCase, desk: Here, account: Reviewing) -> Response:
    """Put the analysis on record, and go on to the comparison; a later one follows it, and replaces nothing."""
    list_of(case)
    form = await fields_of(request)
    try:
        analysis = _read(form)
    except ValidationError as error:
        return _page(request, case, analysis=None, form=form, flaws=flaws(error), status=HTTPStatus.BAD_REQUEST)
    await desk.log(account, Operation.ALTERATION, case.submission_id, "analysis on record")
    await desk.store.examinations.analyse(case.submission_id, account.account_id, analysis, desk.clock())
    step = "unsuitable" if analysis.suitability is Suitability.UNSUITABLE else "comparison"
    return RedirectResponse(f"/cases/{case.submission_id}/{step}", HTTPStatus.SEE_OTHER)


def _page(
    request: Request,
    case: HeldCase,
    *,
    analysis: Analysis | None,
    form: dict[str, str] | None = None,
    flaws: list[str] | None = None,
    status: int = HTTPStatus.OK,
) -> HTMLResponse:
    found = list_of(case)
    return page(
        request,
        "analysis.html",
        status,
        case_id=case.submission_id,
        quality=found.face.quality,
        found=found,
        filled=form or (_filled(analysis) if analysis else {}),
        flaws=flaws or [],
        suitabilities=Suitability,
        visibilities=Visibility,
    )


def _read(form: dict[str, str]) -> Analysis:
    """Read the form.

    Raises:
        ValidationError: something is missing.

    """
    seen = [
        {"component": each, "visibility": form.get(f"seen-{each}", ""), "note": form.get(f"note-{each}") or None}
        for each in Component
    ]
    said = {"suitability": form.get("suitability", ""), "seen": seen, "note": form.get("note") or None}
    return Analysis.model_validate(said)


def _filled(analysis: Analysis) -> dict[str, str]:
    """Return the form as it was filled in."""
    filled = {"suitability": analysis.suitability.value, "note": analysis.note or ""}
    for each in analysis.seen:
        filled |= _filled_row(each)
    return filled


def _filled_row(seen: Seen) -> dict[str, str]:
    return {f"seen-{seen.component}": seen.visibility.value, f"note-{seen.component}": seen.note or ""}
