"""The leads that were given out: who was told, who has acknowledged, and how one is taken back, or many at once."""

from datetime import UTC, date, datetime, time
from http import HTTPStatus
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from producers.console._desk import Desk, Here, Supervising
from producers.console._forms import fields_of
from producers.console._pages import page
from producers.console._signature import ToSign, sealed_by
from producers.console.recalling import orders
from rfr_stream.desk import Account, Lead, LeadFilter, ModelFilter, Operation
from rfr_stream.errors import NotPermitted
from rfr_stream.events import GalleryName, Ref, WithdrawalOrdered
from rfr_stream.ports import Duty

MAX_AT_ONCE: Final = 40
"""Orders on one page; `rfr withdraw` takes any number."""

router = APIRouter(prefix="/leads")


@router.get("", response_class=HTMLResponse)
async def leads(
    request: Request,
    desk: Here,
    account: Supervising,
    show: Literal["all", "standing", "outstanding", "ineligible"] = "all",
    gallery: Annotated[GalleryName | Literal[""], Query()] = "",
    model: Annotated[Ref | Literal[""], Query()] = "",
    reviewer: Annotated[Ref | Literal[""], Query()] = "",
    below: Annotated[float | Literal[""], Query()] = "",
    since: Annotated[date | Literal[""], Query()] = "",
    until: Annotated[date | Literal[""], Query()] = "",
) -> HTMLResponse:
    """List leads, latest first, narrowed by what they share."""
    only = LeadFilter(
        embedder=ModelFilter(model or None),
        gallery=gallery or None,
        reviewer_id=reviewer or None,
        threshold_below=below or None,
        confirmed_from=_midnight(since),
        confirmed_before=_midnight(until),
        withdrawn=False if show in {"standing", "ineligible"} else None,
        outstanding=show == "outstanding",
        ineligible=show == "ineligible",
    )
    await desk.log(account, Operation.CONSULTATION, "leads", f"list: {request.url.query[:200] or 'all'}")
    found = await desk.store.leads.find(desk.clock(), only=only, limit=MAX_AT_ONCE + 1)
    return page(
        request,
        "leads.html",
        leads=found[:MAX_AT_ONCE],
        there_are_more=len(found) > MAX_AT_ONCE,
        asked={"show": show, "gallery": gallery, "model": model, "reviewer": reviewer, "below": below}
        | {"since": since, "until": until},
        galleries=GalleryName,
        now=desk.clock(),
    )


def _midnight(day: date | Literal[""]) -> datetime | None:
    return datetime.combine(day, time(), UTC) if day else None


@router.post("/withdrawal", response_class=HTMLResponse)
async def withdraw(
    request: Request,
    desk: Here,
    account: Supervising,
    submission_id: Annotated[list[UUID], Form(max_length=MAX_AT_ONCE)],
    reason: Annotated[str, Form(min_length=1, max_length=2_000)],
) -> HTMLResponse:
    """Show the orders that are to be signed: one for each lead."""
    found = await _standing(desk, frozenset(submission_id))
    try:
        unsigned = orders(found, reason=reason, ordered_by=account.account_id, now=desk.clock())
    except ValidationError as error:
        msg = "reason: say why, in words that every subscriber may read"
        raise NotPermitted(msg) from error
    to_sign = [(ToSign.of(each), each.model_dump_json()) for each in unsigned]
    return page(request, "withdrawal.html", leads=found, reason=reason, to_sign=to_sign)


@router.post("/withdrawal/signature")
async def sign(request: Request, desk: Here, account: Supervising) -> RedirectResponse:
    """Take the signatures, check each, log what is about to be told, and send the orders."""
    form = await fields_of(request)
    drafts = sorted(name for name in form if name.startswith("draft"))
    signed = [await _signed(desk, account, form, name.removeprefix("draft")) for name in drafts]
    known = {
        lead.said.submission_id for lead in await _standing(desk, frozenset(each.submission_id for each in signed))
    }
    if not signed or {each.submission_id for each in signed} != known:
        msg = "submission_id: no lead that could be withdrawn; choose again"
        raise NotPermitted(msg)
    for order in signed:
        await desk.log(account, Operation.DISCLOSURE, order.submission_id, "withdrawal ordered")
    await desk.publish(signed)
    return RedirectResponse("/leads?show=outstanding", HTTPStatus.SEE_OTHER)


async def _standing(desk: Desk, wanted: frozenset[UUID]) -> list[Lead]:
    return await desk.store.leads.find(desk.clock(), only=LeadFilter(submissions=wanted, withdrawn=False))


async def _signed(desk: Desk, account: Account, form: dict[str, str], place: str) -> WithdrawalOrdered:
    """Return one order of a form, with its signature.

    Raises:
        NotPermitted: it is not this supervisor's, or not signed by them.

    """
    fields = {name: form.get(name + place, "") for name in ("signature", "authenticator_data", "client_data")}
    try:
        order = WithdrawalOrdered.model_validate_json(form["draft" + place])
    except ValidationError as error:
        msg = "draft: not what this page was given; choose again"
        raise NotPermitted(msg) from error
    if (order.ordered_by, order.demo) != (account.account_id, desk.demo):
        msg = "draft: not what this page was given; choose again"
        raise NotPermitted(msg)
    return await sealed_by(desk, account, order, fields, duty=Duty.SUPERVISE)
