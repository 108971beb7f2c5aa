"""Coming in and going out: sign-in, invitations, and the first account of all."""

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from fastapi import APIRouter, FastAPI, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import SecretStr

from producers.console._desk import Desk, Here, SignedIn, digest_of
from producers.console._pages import page
from producers.console._refusals import sentence
from producers.console._sessions import (
    Password,
    chosen,
    entrance_of,
    keep_out,
    let_in,
    let_out,
    local_path,
    log,
    new_code,
    require_local_accounts,
)
from rfr_stream.adapters import passwords
from rfr_stream.desk import Account, Operation
from rfr_stream.errors import NotPermitted
from rfr_stream.events import Ref
from rfr_stream.policy import Role
from rfr_stream.settings import DeskSettings

if TYPE_CHECKING:
    from rfr_stream.adapters.desk import SqlDesk

_INVITED_FOR: Final = timedelta(hours=72)
_SET_UP_FOR: Final = timedelta(hours=1)

Code: TypeAlias = Annotated[str, Query(max_length=64)]
CodeField: TypeAlias = Annotated[str, Form(max_length=64)]
Name: TypeAlias = Annotated[Ref, Form()]

router = APIRouter()


# --- sign-in ----------------------------------------------------------------------------------------------------------
@router.get("/sign-in", response_class=HTMLResponse)
async def ask(request: Request, desk: Here, next: Annotated[str, Query(max_length=512)] = "/") -> HTMLResponse:  # noqa: A002 - the link's word
    """Ask who it is."""
    return _sign_in_page(request, desk, local_path(next))


@router.post("/sign-in", response_class=HTMLResponse)
async def sign_in(
    request: Request,
    desk: Here,
    account_id: Name,
    password: Password,
    next: Annotated[str, Form(max_length=512)] = "/",  # noqa: A002 - the form's word
) -> Response:
    """Let somebody in who knows the password; say the same to everybody else, after the same work."""
    require_local_accounts(desk.settings)
    entrance, there = entrance_of(request), local_path(next)
    if not await entrance.may_try(request, account_id):
        log.event("session.refused", reason="too often")
        flaw = "Too many tries. Wait a minute."
        return _sign_in_page(request, desk, there, flaw=flaw, status=HTTPStatus.TOO_MANY_REQUESTS)
    account = await desk.store.accounts.account(account_id)
    known = await passwords.matches(account.password_hash if account else None, password.get_secret_value())
    if account is None or account.disabled or not known:
        await keep_out(desk, account, "name or password")
        flaw = "Name and password do not belong together, or the account is closed."
        return _sign_in_page(request, desk, there, flaw=flaw, status=HTTPStatus.FORBIDDEN)
    await entrance.forget_tries(account_id)
    await _renew_hash(desk, account, password)
    return await let_in(desk, request, account, RedirectResponse(there, HTTPStatus.SEE_OTHER))


@router.post("/sign-out")
async def sign_out(request: Request, desk: Here, account: SignedIn) -> Response:
    """End the session."""
    return await let_out(desk, request, account)


def _sign_in_page(
    request: Request, desk: Desk, there: str, *, flaw: str = "", status: HTTPStatus = HTTPStatus.OK
) -> HTMLResponse:
    provided = desk.settings.oidc_issuer is not None
    return page(request, "sign_in.html", status, there=there, flaw=flaw, provided=provided)


async def _renew_hash(desk: Desk, account: Account, password: SecretStr) -> None:
    if account.password_hash and passwords.is_outdated(account.password_hash):
        renewed = await passwords.hashed(password.get_secret_value())
        await desk.store.accounts.rehash(account.account_id, account.password_hash, renewed)


# --- invitations ------------------------------------------------------------------------------------------------------
async def invite(
    store: "SqlDesk", settings: DeskSettings, account_id: str, roles: frozenset[Role], *, by: str, now: datetime
) -> str:
    """Invite somebody new, or somebody known to choose another password; return the one-time link.

    Raises:
        NotPermitted: the roles conflict, or an account of this name has others.

    """
    require_local_accounts(settings)
    code, until = new_code(), now + _INVITED_FOR
    await store.log.write(by, Operation.ALTERATION, account_id, "account: invited", now)
    known = await store.accounts.account(account_id)
    if known is None:
        invitation = {"invitation_sha256": digest_of(code), "invited_until": until}
        await store.accounts.add(account_id, roles, now, **invitation)
    elif known.roles != roles or known.disabled:
        msg = "roles: there is an account of this name that is closed, or has other roles; change that first"
        raise NotPermitted(msg)
    else:
        await store.accounts.invite(account_id, digest_of(code), until)
    log.event("account.changed", account=account_id, change="invited")
    return f"{settings.public_url}/invitation?code={code}"


@router.get("/invitation", response_class=HTMLResponse)
async def invitation(request: Request, desk: Here, code: Code = "") -> HTMLResponse:
    """Ask somebody who was invited for a password."""
    require_local_accounts(desk.settings)
    return page(request, "invitation.html", invited=await _invited(desk, code), code=code, flaw="")


@router.post("/invitation", response_class=HTMLResponse)
async def accept(request: Request, desk: Here, code: CodeField, password: Password, again: Password) -> Response:
    """Keep the password, and let them in."""
    require_local_accounts(desk.settings)
    invited = await _invited(desk, code)
    try:
        password_hash = await chosen(password, again)
    except NotPermitted as error:
        return page(
            request, "invitation.html", HTTPStatus.BAD_REQUEST, invited=invited, code=code, flaw=sentence(error)
        )
    await desk.log(invited, Operation.ALTERATION, invited.account_id, "account: password chosen")
    account = await desk.store.accounts.accept(digest_of(code), password_hash, desk.clock())
    if account is None:
        raise _used_up()
    log.event("account.changed", account=account.account_id, change="password")
    return await let_in(desk, request, account, RedirectResponse("/account", HTTPStatus.SEE_OTHER))


async def _invited(desk: Desk, code: str) -> Account:
    invited = await desk.store.accounts.invited(digest_of(code), desk.clock())
    if invited is None:
        raise _used_up()
    return invited


def _used_up() -> NotPermitted:
    return NotPermitted("code: this link was used before, or its time is over; ask for another")


# --- the first account ------------------------------------------------------------------------------------------------
async def set_up_link(app: FastAPI) -> str | None:
    """Return a one-time link to the first account, good for an hour in this process; None: there are accounts."""
    desk: Desk = app.state.desk
    if desk.settings.oidc_issuer or await desk.store.accounts.count():
        return None
    code, entrance = new_code(), app.state.entrance
    entrance.set_up_sha256, entrance.set_up_until = digest_of(code), desk.clock() + _SET_UP_FOR
    return f"{desk.settings.public_url}/setup?code={code}"


@router.get("/setup", response_class=HTMLResponse)
async def set_up(request: Request, desk: Here, code: Code = "") -> HTMLResponse:
    """Ask for the first account's name and password."""
    await _require_set_up(request, desk, code)
    return page(request, "setup.html", code=code, account_id="", flaw="")


@router.post("/setup", response_class=HTMLResponse)
async def first_account(
    request: Request, desk: Here, code: CodeField, account_id: Name, password: Password, again: Password
) -> Response:
    """Open the first account: a supervisor, who invites the others."""
    async with entrance_of(request).one_at_a_time:
        await _require_set_up(request, desk, code)
        try:
            password_hash = await chosen(password, again)
            account = await _open_first(desk, account_id, password_hash)
        except NotPermitted as error:
            return page(
                request, "setup.html", HTTPStatus.BAD_REQUEST, code=code, account_id=account_id, flaw=sentence(error)
            )
    return await let_in(desk, request, account, RedirectResponse("/account", HTTPStatus.SEE_OTHER))


async def _open_first(desk: Desk, account_id: str, password_hash: str) -> Account:
    now = desk.clock()
    await desk.store.log.write(account_id, Operation.ALTERATION, account_id, "account: the first", now)
    account = await desk.store.accounts.add(account_id, {Role.SUPERVISOR}, now, password_hash=password_hash)
    log.event("account.changed", account=account_id, change="first")
    return account


async def _require_set_up(request: Request, desk: Desk, code: str) -> None:
    """Refuse a link that is not this process's, or too late, or not needed any more.

    Raises:
        NotPermitted: it is one of these.

    """
    entrance = entrance_of(request)
    until = entrance.set_up_until
    in_date = until is not None and desk.clock() < until and digest_of(code) == entrance.set_up_sha256
    if desk.settings.oidc_issuer or not in_date or await desk.store.accounts.count():
        msg = "code: the desk is set up, or this link's time is over; starting `rfr up` again makes another"
        raise NotPermitted(msg)
