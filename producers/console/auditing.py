"""For those who check: the log, whether its chain is whole, and the record of a case in one sealed file."""

from http import HTTPStatus
from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import ValidationError

from producers.console._desk import Here, holding
from producers.console._forms import flaws
from producers.console._pages import page
from rfr_stream.adapters import bundles, keys
from rfr_stream.desk import Account, Operation
from rfr_stream.errors import NotPermitted
from rfr_stream.policy import Role

LINES: Final = 100

Auditing: TypeAlias = Annotated[Account, Depends(holding(Role.AUDITOR))]
Disclosing: TypeAlias = Annotated[Account, Depends(holding(Role.AUDITOR, Role.SUPERVISOR))]

router = APIRouter()


@router.get("/log", response_class=HTMLResponse)
async def log(
    request: Request,
    desk: Here,
    account: Auditing,
    about: Annotated[str, Query(max_length=256)] = "",
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
) -> HTMLResponse:
    """Show the log, or what it says about one thing; that it was read is written down first."""
    await desk.log(account, Operation.CONSULTATION, "access log", f"read: {about or f'from line {after + 1}'}")
    if about:
        lines = (await desk.store.log.about(about))[-LINES:]
    else:
        lines = await desk.store.log.page(after=after, limit=LINES)
    return page(request, "log.html", lines=lines, about=about, more=len(lines) == LINES and not about, broken=None)


@router.post("/log/check", response_class=HTMLResponse)
async def check(request: Request, desk: Here, account: Auditing) -> HTMLResponse:
    """Go through the whole chain, and say where it breaks."""
    await desk.log(account, Operation.CONSULTATION, "access log", "chain checked")
    broken = await desk.store.log.first_break()
    return page(request, "log.html", lines=[], about="", more=False, broken=broken or 0)


@router.get("/disclosure", response_class=HTMLResponse)
async def ask(request: Request, _: Disclosing, about: Annotated[str, Query(max_length=128)] = "") -> HTMLResponse:
    """Ask what is to be disclosed, to whom, and why."""
    return page(request, "disclosure.html", filled={"about": about}, flaws=[])


@router.post("/disclosure", response_class=Response, responses={200: {"content": {"application/zip": {}}}})
async def disclose(
    request: Request,
    desk: Here,
    account: Disclosing,
    about: Annotated[str, Form(max_length=128)] = "",
    to: Annotated[str, Form(max_length=128)] = "",
    reason: Annotated[str, Form(max_length=2_000)] = "",
) -> Response:
    """Hand out everything on record about a case, sealed; the log says so first."""
    filled = {"about": about, "to": to, "reason": reason}
    try:
        asked = bundles.Asked(**filled, by=account.account_id)
    except ValidationError as error:
        return page(request, "disclosure.html", HTTPStatus.BAD_REQUEST, filled=filled, flaws=flaws(error))
    if desk.seal_file is None:
        msg = "about: this desk has no key to seal with; `rfr disclose` has one"
        raise NotPermitted(msg)
    key, url = keys.of_house(desk.seal_file), desk.settings.public_url
    data = await bundles.bundle(asked, desk=desk.store, key=key, desk_url=url, now=desk.clock())
    name = f"disclosure-{about.replace('/', '-')}.zip"
    return Response(
        data, media_type="application/zip", headers={"content-disposition": f'attachment; filename="{name}"'}
    )
