"""Who is meant: of a frame with several people, a person picks one face, or none; only then is anybody embedded."""

import asyncio
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from producers.console._desk import HeldCase, Here, NotFound, Reviewing
from producers.console._forms import fields_of
from producers.console._pages import page
from producers.console._signature import ToSign, sealed_by
from rfr_stream.desk import Operation
from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import UNSIGNED, SubjectChosen
from rfr_stream.faces import Box
from rfr_stream.ports import Case
from rfr_stream.vision.decode import Limits
from rfr_stream.vision.derivative import size

router = APIRouter()

NONE: Final = "none"


@router.get("/cases/{submission_id}/subject", response_class=HTMLResponse)
async def show(request: Request, case: HeldCase, desk: Here, account: Reviewing) -> HTMLResponse:
    """Show the frame with its faces boxed."""
    if case.faces is None:
        raise NotFound
    await desk.log(account, Operation.CONSULTATION, case.submission_id, "subject selection")
    width, height = await _size(desk, case)
    return page(request, "subject.html", case_id=case.submission_id, faces=case.faces.faces, width=width, height=height)


@router.post("/cases/{submission_id}/subject", response_class=HTMLResponse)
async def choose(request: Request, case: HeldCase, desk: Here, account: Reviewing) -> HTMLResponse:
    """Show what is to be signed: which face is meant, or that none is."""
    chosen = (await fields_of(request)).get("face", "")
    words = SubjectChosen(
        occurred_at=desk.clock(),
        submission_id=case.submission_id,
        reviewer_id=account.account_id,
        subject=_face(case, chosen),
        demo=case.demo,
        signature=UNSIGNED,
    )
    return page(
        request,
        "subject_signature.html",
        case_id=case.submission_id,
        chosen=chosen,
        draft=words.model_dump_json(),
        to_sign=ToSign.of(words),
    )


@router.post("/cases/{submission_id}/subject/signature")
async def sign(request: Request, case: HeldCase, desk: Here, account: Reviewing) -> RedirectResponse:
    """Take the signature, check it, and send the choice."""
    form = await fields_of(request)
    words = _said(form, case, account.account_id)
    sealed = await sealed_by(desk, account, words, form)
    await desk.log(account, Operation.ALTERATION, case.submission_id, "subject chosen")
    await desk.publish([sealed])
    return RedirectResponse("/queue", HTTPStatus.SEE_OTHER)


def _said(form: dict[str, str], case: Case, reviewer_id: str) -> SubjectChosen:
    """Read the words again that the page carried, and hold them to what this desk would have written.

    Raises:
        NotPermitted: they are somebody else's, about another case, or name a face that is none of this frame's.

    """
    try:
        words = SubjectChosen.model_validate_json(form.get("draft", ""))
    except ValidationError as error:
        msg = "draft: not what this page was given; choose again"
        raise NotPermitted(msg) from error
    faces = case.faces.faces if case.faces else ()
    is_ours = (words.submission_id, words.reviewer_id, words.demo) == (case.submission_id, reviewer_id, case.demo)
    if not is_ours or (words.subject is not None and words.subject not in faces):
        msg = "draft: not what this page was given; choose again"
        raise NotPermitted(msg)
    return words


def _face(case: Case, chosen: str) -> Box | None:
    """Return the box of the face chosen.

    Raises:
        NotPermitted: nothing was chosen, or nothing that is there.

    """
    faces = case.faces.faces if case.faces else ()
    if chosen == NONE:
        return None
    if chosen.isdecimal() and 1 <= int(chosen) <= len(faces):
        return faces[int(chosen) - 1]
    msg = "face: choose a face, or that none is the person meant"
    raise NotPermitted(msg)


async def _size(desk: Here, case: Case) -> tuple[int, int]:
    if case.faces is None:
        raise NotFound
    (file,) = await desk.blobs.get([case.faces.submission.image])
    if isinstance(file, Rejected):
        raise NotFound
    return await asyncio.to_thread(size, file, Limits(desk.max_image_bytes, desk.max_image_pixels))
