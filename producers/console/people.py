"""Who comes in here, what for, and who may decide: for supervisors, who invite, close accounts, and certify."""

from datetime import date, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Final, TypeAlias
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from producers.console._desk import Desk, Here, NotFound, Supervising
from producers.console._forms import fields_of
from producers.console._pages import page
from producers.console._sessions import log, require_local_accounts
from producers.console._signature import ToSign, sealed_by
from producers.console.account import end_of
from producers.console.entrance import Name, invite
from rfr_stream.adapters import keys
from rfr_stream.desk import Account, Operation
from rfr_stream.errors import NotPermitted
from rfr_stream.events import UNSIGNED, CompetenceCertified, Ref
from rfr_stream.policy import Role
from rfr_stream.ports import Duty, Reviewer
from rfr_stream.stages.reviewing import certified

MAX_TRAINING: Final = timedelta(days=3 * 366)
_TO_SIGN_FOR: Final = timedelta(hours=1)

Roles: TypeAlias = Annotated[list[Role], Form()]
About: TypeAlias = Annotated[Ref, Query()]

router = APIRouter(prefix="/people")


@router.get("", response_class=HTMLResponse)
async def everybody(request: Request, desk: Here, _: Supervising) -> HTMLResponse:
    """Show all accounts, and until when each reviewer's training is in date."""
    return await _people_page(request, desk)


async def _people_page(request: Request, desk: Desk, *, invited: str = "", link: str = "") -> HTMLResponse:
    return page(
        request,
        "people.html",
        people=await desk.store.accounts.all(),
        registered=await desk.store.accounts.registered(),
        now=desk.clock(),
        is_local=desk.settings.oidc_issuer is None,
        invited=invited,
        link=link,
    )


@router.post("/invitations", response_class=HTMLResponse)
async def invited(request: Request, desk: Here, account: Supervising, account_id: Name, role: Roles) -> HTMLResponse:
    """Invite somebody; their link is shown once."""
    link = await invite(desk.store, desk.settings, account_id, frozenset(role), by=account.account_id, now=desk.clock())
    return await _people_page(request, desk, invited=account_id, link=link)


# --- one person -------------------------------------------------------------------------------------------------------
@router.get("/person", response_class=HTMLResponse)
async def person(request: Request, desk: Here, _: Supervising, of: About, until: date | None = None) -> HTMLResponse:
    """Show one account: its roles, its key, its training, and whether what was just certified has arrived."""
    whom = await _known(desk, of)
    now = desk.clock()
    return page(
        request,
        "person.html",
        whom=whom,
        registered=await desk.ledger.reviewer(of),
        until=until,
        proposed=now.date() + timedelta(days=365),
        latest=(now + MAX_TRAINING).date(),
        now=now,
        is_local=desk.settings.oidc_issuer is None,
    )


@router.post("/roles")
async def change_roles(desk: Here, account: Supervising, account_id: Name, role: Roles) -> RedirectResponse:
    """Give somebody else other roles."""
    require_local_accounts(desk.settings)
    whom = await _other(desk, account, account_id)
    await desk.log(account, Operation.ALTERATION, whom.account_id, f"account: roles {', '.join(sorted(role))}")
    await desk.store.accounts.set_roles(whom.account_id, role)
    log.event("account.changed", account=whom.account_id, change="roles")
    return _to(whom.account_id)


@router.post("/standing")
async def change_standing(
    desk: Here, account: Supervising, account_id: Name, *, closed: Annotated[bool, Form()]
) -> RedirectResponse:
    """Close somebody else's account, or open it again."""
    whom = await _other(desk, account, account_id)
    change = "closed" if closed else "opened"
    await desk.log(account, Operation.ALTERATION, whom.account_id, f"account: {change}")
    await desk.store.accounts.disable(whom.account_id, disabled=closed)
    log.event("account.changed", account=whom.account_id, change=change)
    return _to(whom.account_id)


async def _known(desk: Desk, account_id: str) -> Account:
    whom = await desk.store.accounts.account(account_id)
    if whom is None:
        raise NotFound
    return whom


async def _other(desk: Desk, account: Account, account_id: str) -> Account:
    """Return somebody else's account: nobody gives themselves a role, or locks the last door from inside.

    Raises:
        NotPermitted: it is one's own.

    """
    if account_id == account.account_id:
        msg = "account_id: your own account is another supervisor's to change"
        raise NotPermitted(msg)
    return await _known(desk, account_id)


def _to(account_id: str, **more: object) -> RedirectResponse:
    return RedirectResponse(f"/people/person?{urlencode({'of': account_id, **more})}", HTTPStatus.SEE_OTHER)


# --- certification ----------------------------------------------------------------------------------------------------
@router.post("/certification", response_class=HTMLResponse)
async def certify(
    request: Request, desk: Here, account: Supervising, account_id: Name, until: Annotated[date, Form()]
) -> HTMLResponse:
    """Show what is to be signed: until when somebody's training is in date, and which key is theirs."""
    words = await _words(desk, account, account_id, until=end_of(until), now=desk.clock())
    return page(
        request,
        "certification.html",
        words=words,
        draft=words.model_dump_json(),
        to_sign=ToSign.of(words),
    )


@router.post("/certification/signature")
async def sign(request: Request, desk: Here, account: Supervising) -> RedirectResponse:
    """Take the signature, check it, and send it to those who count."""
    form = await fields_of(request)
    words = await _said(desk, account, form)
    signed = await sealed_by(desk, account, words, form, duty=Duty.SUPERVISE)
    detail = f"certified until {signed.competent_until:%Y-%m-%d}, key {keys.fingerprint(signed.public_key)}"
    await desk.log(account, Operation.ALTERATION, signed.reviewer_id, detail)
    await desk.publish([signed])
    return _to(signed.reviewer_id, until=signed.competent_until.date())


@router.get("/training", response_class=HTMLResponse)
async def training(request: Request, desk: Here, _: Supervising, of: About, until: date) -> HTMLResponse:
    """Show what the ledger says of somebody's training; while it does not say this date, the page asks again."""
    registered = await desk.ledger.reviewer(of)
    return page(request, "training.html", registered=registered, of=of, until=until, now=desk.clock())


async def _words(
    desk: Desk, account: Account, account_id: str, *, until: datetime, now: datetime
) -> CompetenceCertified:
    """Return what a supervisor is to sign.

    Raises:
        NotPermitted: they may not, or it would not count.

    """
    whom = await _known(desk, account_id)
    if Role.REVIEWER not in whom.roles or whom.disabled or whom.public_key is None:
        msg = "account_id: only a reviewer is certified, once they have made a key"
        raise NotPermitted(msg)
    if not now < until <= now + MAX_TRAINING:
        msg = "until: training is certified from now, for three years at most"
        raise NotPermitted(msg)
    words = CompetenceCertified(
        occurred_at=now,
        reviewer_id=account_id,
        public_key=whom.public_key,
        competent_until=until,
        certified_by=account.account_id,
        demo=desk.demo,
        signature=UNSIGNED,
    )
    await _require_to_count(desk, words, now)
    return words


async def _require_to_count(desk: Desk, words: CompetenceCertified, now: datetime) -> None:
    registered = await desk.store.accounts.registered()
    reviewer = certified(words, registered.get(words.certified_by), now)
    before = registered.get(reviewer.reviewer_id)
    owner = {each.public_key: each.reviewer_id for each in registered.values()}.get(reviewer.public_key)
    if (before and not _is_same(before, reviewer)) or owner not in {None, reviewer.reviewer_id}:
        msg = "public_key: one person, one key, one duty, for good; a new key needs a new account"
        raise NotPermitted(msg)


def _is_same(before: Reviewer, reviewer: Reviewer) -> bool:
    return (before.public_key, before.duty) == (reviewer.public_key, reviewer.duty)


async def _said(desk: Desk, account: Account, form: dict[str, str]) -> CompetenceCertified:
    """Read the words again that the page carried, and hold them to what this desk would write now.

    Raises:
        NotPermitted: it would not write them, or the page is old.

    """
    try:
        said = CompetenceCertified.model_validate_json(form.get("draft", ""))
    except ValidationError as error:
        raise _not_ours() from error
    if not timedelta(0) <= desk.clock() - said.occurred_at <= _TO_SIGN_FOR:
        raise _not_ours()
    if said != await _words(desk, account, said.reviewer_id, until=said.competent_until, now=said.occurred_at):
        raise _not_ours()
    return said


def _not_ours() -> NotPermitted:
    return NotPermitted("draft: not what this page was given, or too long ago; begin again")
