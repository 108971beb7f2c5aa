"""Conclude, sign, and be done: what is signed is locked. A change of mind is a new version with its reason."""

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from producers.console import signing
from producers.console._desk import Desk, Here, NotFound, Reviewing, TooEarly, WorkedCase, list_of
from producers.console._forms import fields_of, flaws
from producers.console._pages import page
from producers.console._refusals import sentence
from producers.console._signature import ToSign, sealed_by
from producers.console.comparison import (
    NOBODY,
    comparison_page,
    has_decided,
    is_on_its_way,
    is_refused,
    is_sent,
    order_of,
    place_of,
    require_counted,
    serve,
)
from producers.console.conduct import look_back
from rfr_stream.desk import Account, Alert, AlertKind, Examined, Operation
from rfr_stream.errors import NotPermitted
from rfr_stream.events import Component, Examination, ReviewDecided, Support
from rfr_stream.ports import Case
from rfr_stream.stages import lapsed_among

router = APIRouter()

_A_LOOK_MS: Final = 300
"""Less is passing by."""


@router.get("/cases/{submission_id}/unsuitable", response_class=HTMLResponse)
async def unsuitable(request: Request, case: WorkedCase, desk: Here, account: Reviewing) -> HTMLResponse:
    """Ask whether a probe that cannot be compared ends here, without any candidate being shown."""
    if await desk.store.examinations.analysis(case.submission_id, account.account_id) is None:
        msg = "Analyse the probe first."
        raise TooEarly(msg)
    return page(request, "unsuitable.html", case_id=case.submission_id)


@router.post("/cases/{submission_id}/decision", response_class=HTMLResponse)
async def conclude(request: Request, case: WorkedCase, desk: Here, account: Reviewing) -> Response:
    """Draft the decision, or say what is missing."""
    form = await fields_of(request)
    examined = await desk.store.examinations.examined(case.submission_id, account.account_id)
    require_counted(case, examined)
    await _require_examined(desk, account, case, examined, support=form.get("support"))
    again = has_decided(case, account)
    try:
        drafted = await _drafted(form, case, desk, account=account, examined=examined)
    except ValidationError as error:
        said = flaws(error, [Component(each["component"]) for each in _features(form)])
        return comparison_page(request, case, again=again, form=form, flaws=said, status=HTTPStatus.BAD_REQUEST)
    except NotPermitted as error:
        await _raise_alert(desk, account, case, error)
        await serve(desk, account, case)
        said = [sentence(error)]
        return comparison_page(request, case, again=again, form=form, flaws=said, status=HTTPStatus.BAD_REQUEST)
    await desk.store.examinations.draft(case.submission_id, account.account_id, drafted)
    return RedirectResponse(f"/cases/{case.submission_id}/signature", HTTPStatus.SEE_OTHER)


@router.get("/cases/{submission_id}/decision")
async def conclude_again(submission_id: UUID, _: Reviewing) -> RedirectResponse:
    """Lead whoever comes back to what was refused, after a sign-in say, to the form."""
    return RedirectResponse(f"/cases/{submission_id}/comparison", HTTPStatus.SEE_OTHER)


@router.get("/cases/{submission_id}/signature", response_class=HTMLResponse)
async def to_sign(request: Request, case: WorkedCase, desk: Here, account: Reviewing) -> Response:
    """Show what is to be signed, in words and to the byte."""
    draft, examined = await _draft_of(case, desk, account)
    if is_sent(examined, draft):
        return _record(case.submission_id)
    place = place_of(draft, case, examined)
    return page(
        request,
        "signature.html",
        case_id=case.submission_id,
        draft=draft,
        place=place,
        to_sign=ToSign.of(draft),
    )


@router.post("/cases/{submission_id}/signature", response_class=HTMLResponse)
async def sign(request: Request, case: WorkedCase, desk: Here, account: Reviewing) -> RedirectResponse:
    """Take the signature, check it, send the decision, and lock it. The same again changes nothing."""
    draft, examined = await _draft_of(case, desk, account)
    if is_sent(examined, draft):
        return _record(case.submission_id)
    sealed = await sealed_by(desk, account, draft, await fields_of(request))
    await desk.log(account, Operation.ALTERATION, case.submission_id, f"decision {sealed.version} signed")
    await desk.publish([sealed])
    await desk.store.examinations.sent(case.submission_id, account.account_id, sealed, desk.clock())
    await desk.store.queue.release(case.submission_id, account.account_id)
    await look_back(desk, account)
    return _record(case.submission_id)


@router.get("/cases/{submission_id}/record", response_class=HTMLResponse)
async def record(request: Request, case: WorkedCase, desk: Here, account: Reviewing) -> HTMLResponse:
    """Show what this reviewer has said, and nothing of what became of it."""
    draft, examined = await _draft_of(case, desk, account)
    if examined.sent_at is None:
        raise NotFound
    await desk.log(account, Operation.CONSULTATION, case.submission_id, "own record")
    mine = [each for each in case.decisions if each.reviewer_id == account.account_id]
    return page(
        request,
        "record.html",
        case_id=case.submission_id,
        said=[*mine, draft] if is_on_its_way(case, examined) else mine,
        arrived=not is_on_its_way(case, examined),
        refused=is_refused(case, examined),
        revealed=_revealed(case, examined) if examined.revealed_at else None,
        places={each.person_id: n for n, each in enumerate(order_of(case, examined), start=1)},
    )


@router.get("/cases/{submission_id}/arrival", response_class=HTMLResponse)
async def arrival(request: Request, case: WorkedCase, desk: Here, account: Reviewing) -> HTMLResponse:
    """Say whether what was signed has been counted; while it has not, the page asks again."""
    _, examined = await _draft_of(case, desk, account)
    return page(
        request,
        "arrival.html",
        case_id=case.submission_id,
        arrived=not is_on_its_way(case, examined),
        refused=is_refused(case, examined),
    )


@router.post("/cases/{submission_id}/reveal")
async def reveal(case: WorkedCase, desk: Here, account: Reviewing) -> RedirectResponse:
    """Show scores and ranks, once the decision is locked; from then on support can only be taken back."""
    _, examined = await _draft_of(case, desk, account)
    if examined.sent_at is None:
        msg = "Decide first; scores are shown once your decision is locked."
        raise TooEarly(msg)
    await desk.log(account, Operation.CONSULTATION, case.submission_id, "scores revealed")
    if examined.revealed_at is None:
        await desk.store.examinations.reveal(case.submission_id, account.account_id, desk.clock())
    return _record(case.submission_id)


async def _require_examined(
    desk: Desk, account: Account, case: Case, examined: Examined | None, *, support: str | None
) -> None:
    """Refuse a conclusion about what was not looked at; that a probe is unsuitable shows before any candidate does.

    Raises:
        TooEarly: the probe has not been analysed, or the candidates have not been served.

    """
    if await desk.store.examinations.analysis(case.submission_id, account.account_id) is None:
        msg = "Analyse the probe first."
        raise TooEarly(msg)
    if support != Support.UNSUITABLE and (examined is None or examined.shown_at is None):
        msg = "Compare the candidates first."
        raise TooEarly(msg)


# --- reading what was filled in ---------------------------------------------------------------------------------------
async def _drafted(
    form: dict[str, str], case: Case, desk: Desk, *, account: Account, examined: Examined | None
) -> ReviewDecided:
    found, now = list_of(case), desk.clock()
    mine = [each for each in case.decisions if each.reviewer_id == account.account_id]
    analysis = await desk.store.examinations.analysis(case.submission_id, account.account_id)
    examination = _examination(examined, analysis[1], now) if examined and analysis else None
    judgement = signing.Judgement.model_validate(
        {
            "reviewer_id": account.account_id,
            "support": form.get("support", ""),
            "person_id": _person(form.get("choice", NOBODY), case, examined),
            "features": _features(form),
            "examination": examination,
            "version": len(mine) + 1,
            "reason": form.get("reason") or None,
        }
    )
    drafted = signing.draft(found, judgement, now, earlier=mine)
    if lapsed := (await lapsed_among(found, desk.ledger, now)).get(drafted.person_id or ""):
        raise NotPermitted(lapsed)
    return drafted


def _examination(examined: Examined, analysed_at: datetime, now: datetime) -> Examination | None:
    if examined.began_at is None or examined.order_seed is None:
        return None
    looks = examined.looks.values()
    return Examination(
        analysed_at=analysed_at,
        shown_at=examined.began_at,
        order_seed=examined.order_seed,
        compared_s=(now - examined.began_at) / timedelta(seconds=1),
        viewed_n=sum(look.dwell_ms >= _A_LOOK_MS for look in looks),
        zoomed=any(look.zoomed for look in looks),
        revealed=examined.revealed_at is not None,
    )


def _person(choice: str, case: Case, examined: Examined | None) -> str | None:
    """Return whom a place in the reviewer's own order stands for; anything else names nobody."""
    if not choice.isdecimal():
        return None
    order = order_of(case, examined)
    return order[int(choice) - 1].person_id if 1 <= int(choice) <= len(order) else None


def _features(form: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "component": each,
            "finding": finding,
            "major": f"major-{each}" in form,
            "note": form.get(f"note-{each}") or None,
        }
        for each in Component
        if (finding := form.get(f"finding-{each}"))
    ]


async def _draft_of(case: Case, desk: Desk, account: Account) -> tuple[ReviewDecided, Examined]:
    examined = await desk.store.examinations.examined(case.submission_id, account.account_id)
    if examined is None or examined.draft is None:
        msg = "There is nothing to sign yet; conclude first."
        raise TooEarly(msg)
    return examined.draft, examined


def _revealed(case: Case, examined: Examined) -> list[tuple[int, int, float]]:
    """Return place, rank and similarity, best first."""
    order = enumerate(order_of(case, examined), start=1)
    return sorted(((place, each.rank, each.similarity) for place, each in order), key=lambda row: row[1])


async def _raise_alert(desk: Desk, account: Account, case: Case, error: NotPermitted) -> None:
    """Tell supervisors of a conclusion that came too fast to have been weighed."""
    if str(error).startswith("examination: a comparison takes"):
        alert = Alert(desk.clock(), AlertKind.TOO_FAST, account.account_id, case.submission_id, str(error))
        await desk.store.examinations.alert(alert)


def _record(submission_id: UUID) -> RedirectResponse:
    return RedirectResponse(f"/cases/{submission_id}/record", HTTPStatus.SEE_OTHER)
