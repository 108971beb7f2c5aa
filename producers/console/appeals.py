"""What the public sent in: an officer looks, and endorses or dismisses; nobody is searched for before that.

Copies of one picture are decided together, and one of them, the largest, is handed in by the public's own door. Who
sent what is the portal's record: there is nothing of it here.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from producers._intake import Verdict
from producers._request import require_permitted
from producers.console._desk import Desk, Here, NotFound, Submitting
from producers.console._forms import fields_of, flaws
from producers.console._pages import page
from producers.console._refusals import sentence
from producers.public_appeal import AppealRequest, submit
from rfr_stream.desk import Operation, Sent
from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import Harm, Origin, Prose, Regime, Source
from rfr_stream.policy import MIN_NECESSITY_CHARS, RULES, stated
from rfr_stream.ports import Contribution
from rfr_stream.vision.decode import Limits
from rfr_stream.vision.derivative import derivative

PAGE_GROUPS: Final = 24
THUMBNAIL_PX: Final = 240
PURPOSES: Final = tuple(purpose for purpose, rule in RULES.items() if Source.PUBLIC_APPEAL in rule.sources)
"""That may be looked for by what the public sent in."""

router = APIRouter(prefix="/appeals")


# --- what waits -----------------------------------------------------------------------------------------------------
@router.get("", response_class=HTMLResponse)
async def waiting(
    request: Request, desk: Here, _: Submitting, after: Annotated[str, Query(max_length=64)] = ""
) -> HTMLResponse:
    """Show what waits for an officer, newest appeal first."""
    sendings, demo = desk.store.sendings, desk.demo
    found = await sendings.waiting(demo=demo, after=_place(after), limit=PAGE_GROUPS + 1)
    return page(
        request,
        "appeals.html",
        sent=found[:PAGE_GROUPS],
        next_place=_as_text(found[PAGE_GROUPS - 1]) if len(found) > PAGE_GROUPS else "",
        after=after,
        n=await sendings.waiting_n(demo=demo),
        unopened=await sendings.unopened(demo=demo),
        now=desk.clock(),
    )


def _as_text(last: Sent) -> str:
    return f"{last.began_at.isoformat()}~{last.sequence}"


def _place(text: str) -> tuple[datetime, int] | None:
    """Read where a page begins.

    Raises:
        NotPermitted: it is none that this desk wrote.

    """
    if not text:
        return None
    try:
        began, sequence = text.split("~")
        return datetime.fromisoformat(began), int(sequence)
    except ValueError as error:
        msg = "after: not a place among what waits"
        raise NotPermitted(msg) from error


# --- one picture ----------------------------------------------------------------------------------------------------
@router.get("/{group_id}", response_class=HTMLResponse)
async def sent(request: Request, group_id: UUID, desk: Here, account: Submitting) -> HTMLResponse:
    """Show one picture with its copies, and what an officer may say of it."""
    await desk.log(account, Operation.CONSULTATION, group_id, "what the public sent in")
    return await _shown(request, desk, await _waiting(desk, group_id))


async def _waiting(desk: Desk, group_id: UUID) -> Sent:
    found = await desk.store.sendings.sent(group_id, demo=desk.demo)
    if found is None:
        raise NotFound
    return found


async def _shown(
    request: Request, desk: Desk, sent: Sent, *, wrong: list[str] | None = None, form: Mapping[str, str] | None = None
) -> HTMLResponse:
    return page(
        request,
        "appeal.html",
        HTTPStatus.BAD_REQUEST if wrong else HTTPStatus.OK,
        sent=sent,
        copies=[each for each in await desk.store.sendings.copies(sent.group_id) if each.image != sent.best.image],
        flaws=wrong or [],
        form=form or {},
        purposes=PURPOSES,
        harms=Harm,
        regimes=Regime,
        min_necessity_chars=MIN_NECESSITY_CHARS,
        now=desk.clock(),
    )


@router.get("/pictures/{contribution_id}", response_class=Response)
async def picture(contribution_id: UUID, desk: Here, account: Submitting) -> Response:
    """Show a picture as it came, without metadata."""
    await desk.log(account, Operation.CONSULTATION, contribution_id, "picture that the public sent in")
    return await _picture(desk, contribution_id)


@router.get("/pictures/{contribution_id}/small", response_class=Response)
async def thumbnail(contribution_id: UUID, desk: Here, account: Submitting) -> Response:
    """Show a picture small, without metadata."""
    await desk.log(account, Operation.CONSULTATION, contribution_id, "picture that the public sent in, small")
    return await _picture(desk, contribution_id, needed_px=THUMBNAIL_PX)


async def _picture(desk: Desk, contribution_id: UUID, *, needed_px: int | None = None) -> Response:
    shown = await desk.store.sendings.shown(contribution_id, demo=desk.demo)
    if shown is None:
        raise NotFound
    limits = Limits(desk.max_image_bytes, desk.max_image_pixels, needed_px)
    made = await asyncio.to_thread(derivative, await _file(desk, shown), limits)
    return Response(made.data, media_type=made.media_type)


async def _file(desk: Desk, shown: Contribution) -> bytes:
    (file,) = await desk.blobs.get([shown.image])
    if isinstance(file, Rejected):
        raise NotFound
    return file


# --- what an officer says of it -------------------------------------------------------------------------------------
@router.post("/{group_id}/endorsement", response_class=HTMLResponse)
async def endorse(request: Request, group_id: UUID, desk: Here, account: Submitting) -> Response:
    """Hand a picture in, in the name of whoever endorses it."""
    here, form = await _waiting(desk, group_id), await fields_of(request)
    try:
        asked = await _asked(desk, here, form, account.account_id)
    except ValidationError as error:
        return await _shown(request, desk, here, wrong=flaws(error), form=form)
    except NotPermitted as refusal:
        return await _shown(request, desk, here, wrong=[sentence(refusal)], form=form)
    chosen = await _chosen(desk, here, form.get("contribution_id", ""))
    await desk.log(account, Operation.COLLECTION, group_id, f"endorsed for a search: {asked.purpose}")
    await desk.store.sendings.endorse(chosen, asked.model_dump_json(), account.account_id, desk.clock())
    return await _hand_in(desk, group_id)


@router.post("/{group_id}/handing-in", response_class=HTMLResponse)
async def hand_in(group_id: UUID, desk: Here, account: Submitting) -> RedirectResponse:
    """Hand in what was endorsed when bus or store were away: as it was endorsed, whoever asks."""
    await desk.log(account, Operation.COLLECTION, group_id, "handed in as endorsed")
    return await _hand_in(desk, group_id)


@router.post("/{group_id}/dismissal")
async def dismiss(
    group_id: UUID, desk: Here, account: Submitting, reason: Annotated[Prose, Form()]
) -> RedirectResponse:
    """Put a picture aside, and all its copies; those that come later too."""
    await _waiting(desk, group_id)
    await desk.log(account, Operation.ALTERATION, group_id, "dismissed")
    await desk.store.sendings.dismiss(group_id, reason, account.account_id, desk.clock())
    return RedirectResponse("/appeals", HTTPStatus.SEE_OTHER)


async def _asked(desk: Desk, here: Sent, form: Mapping[str, str], by: str) -> AppealRequest:
    """Return what the form asks.

    Raises:
        ValidationError: something is missing, or is none of what may be said.
        NotPermitted: policy forbids it, or its necessity was said of another case.

    """
    asked = AppealRequest.model_validate(_filled_in(form) | _known(here, form) | {"endorsed_by": by, "demo": desk.demo})
    require_permitted(asked.form())
    await desk.store.reception.require_own_words(by, stated(asked.case_ref, asked.necessity), desk.clock())
    return asked


def _filled_in(form: Mapping[str, str]) -> dict[str, Any]:
    fields = ("purpose", "harm", "legal_basis", "regime", "necessity", "authoriser", "age_at_capture")
    said: dict[str, Any] = {name: form[name] for name in fields if form.get(name)}
    if form.get("x") or form.get("y"):
        said["subject"] = {"x": form.get("x"), "y": form.get("y")}
    return said


def _known(here: Sent, form: Mapping[str, str]) -> dict[str, Any]:
    """Return what nobody needs to say of what came through this door."""
    obtained = f"sent in by the public to appeal {here.appeal_ref}, by way of {here.best.portal}"
    provenance = {"origin": Origin.PUBLIC_SUBMISSION, "obtained": obtained, "exhibit_ref": form.get("exhibit_ref", "")}
    return {"case_ref": here.appeal_ref, "provenance": provenance}


async def _chosen(desk: Desk, here: Sent, contribution_id: str) -> Contribution:
    """Return the copy that was on the page: a larger one may have come since.

    Raises:
        NotFound: it is none of these.

    """
    for each in (here.best, *await desk.store.sendings.copies(here.group_id)):
        if str(each.contribution_id) == contribution_id:
            return each
    raise NotFound


async def _hand_in(desk: Desk, group_id: UUID) -> RedirectResponse:
    """Hand in what was endorsed; again, it is the same submission.

    Raises:
        NotFound: nothing was, or it is handed in.
        NotPermitted: the public's door refuses the file.

    """
    endorsed = await desk.store.sendings.endorsed(group_id)
    if endorsed is None:
        raise NotFound
    file, asked = await _file(desk, endorsed.contribution), AppealRequest.model_validate_json(endorsed.request)
    handing_in = submit([file], asked, blobs=desk.blobs, publish=desk.publish, max_bytes=desk.max_image_bytes)
    for refused in [each.reason async for each in handing_in if each.outcome is Verdict.REJECTED]:
        raise NotPermitted(refused)
    await desk.store.sendings.handed_in(group_id)
    return RedirectResponse("/appeals", HTTPStatus.SEE_OTHER)
