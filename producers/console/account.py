"""My own account: my password, and the key that I sign with, whose private half comes here locked or not at all."""

import ipaddress
from base64 import b64encode
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

from producers.console._desk import Desk, Here, SignedIn, Supervising
from producers.console._forms import fields_of
from producers.console._pages import page
from producers.console._refusals import sentence
from producers.console._sessions import Password, chosen, entrance_of, log, require_local_accounts
from producers.console._signature import ToSign, sealed
from rfr_stream.adapters import keys, passkeys, passwords
from rfr_stream.desk import Account, Operation
from rfr_stream.errors import Malformed, NotPermitted
from rfr_stream.events import UNSIGNED, Ref, Sha256, Signed
from rfr_stream.policy import Role
from rfr_stream.ports import Duty, Reviewer

MIN_ITERATIONS: Final = 600_000
"""Of PBKDF2 with SHA-256 (OWASP, Password Storage)."""
_SIGNERS: Final = frozenset({Role.REVIEWER, Role.SUPERVISOR})
_A_YEAR: Final = timedelta(days=365)

router = APIRouter()


class KeyOffered(Signed):
    """Somebody shows that they have the private half of a key. It is sent nowhere, and means nothing elsewhere."""

    account_id: Ref
    challenge: Sha256
    """Of this session, and of no other."""

    @property
    def signer(self) -> str:
        return self.account_id


class WrappedKey(BaseModel):
    """A private key (Ed25519, PKCS#8) as the browser locked it: AES-GCM under what PBKDF2 makes of a password."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    salt: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{22}==$")]
    iterations: Annotated[int, Field(ge=MIN_ITERATIONS, le=10 * MIN_ITERATIONS)]
    iv: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{16}$")]
    ciphertext: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{86}==$")]


@router.get("/account", response_class=HTMLResponse)
async def show(request: Request, desk: Here, account: SignedIn) -> HTMLResponse:
    """Show whoever is signed in their account, and where their key stands."""
    return await _account_page(request, desk, account)


# --- the key ----------------------------------------------------------------------------------------------------------
@router.post("/account/key", response_class=HTMLResponse)
async def offer(request: Request, desk: Here, account: SignedIn) -> Response:
    """Keep the public half of a new key, once it has signed for itself."""
    form = await fields_of(request)
    try:
        await _require_to_need_one(desk, account)
        challenge = _challenge(request, desk)
        public_key, where = _new_key(desk, form, challenge)
        _require_possession(desk, account, public_key, form=form, challenge=challenge)
        await _require_nobodys(desk, public_key)
    except (NotPermitted, Malformed) as error:
        return await _account_page(request, desk, account, flaw=sentence(error))
    detail = f"key: {keys.fingerprint(public_key)}"
    await desk.log(account, Operation.ALTERATION, account.account_id, detail)
    await desk.store.accounts.set_key(account.account_id, public_key, **where)
    log.event("account.changed", account=account.account_id, change="key")
    return RedirectResponse("/account", HTTPStatus.SEE_OTHER)


async def _require_to_need_one(desk: Desk, account: Account) -> None:
    if not account.roles & _SIGNERS:
        msg = "key: nothing is signed in your roles"
        raise NotPermitted(msg)
    if await desk.ledger.reviewer(account.account_id):
        msg = "key: you are registered with a key, which stays yours for good; a new key needs a new account"
        raise NotPermitted(msg)


async def _require_nobodys(desk: Desk, public_key: str) -> None:
    if any(each.public_key == public_key for each in (await desk.store.accounts.registered()).values()):
        msg = "key: this key is somebody's already"
        raise NotPermitted(msg)


def _new_key(desk: Desk, form: dict[str, str], challenge: str) -> tuple[str, dict[str, str]]:
    """Return the public half of what the browser made, and what it needs to find the private half again.

    Raises:
        NotPermitted: it is neither a locked key nor a passkey of this desk.
        Malformed: it is no public key.

    """
    try:
        if credential := form.get("credential"):
            url = desk.settings.public_url
            cose_key, credential_id = passkeys.made(credential, bytes.fromhex(challenge), desk_url=url)
            return keys.checked_public_text(b64encode(cose_key).decode()), {"credential_id": credential_id}
        wrapped = WrappedKey.model_validate_json(form.get("wrapped", ""))
    except ValueError as error:
        msg = "key: not a key that was made on this page; try again"
        raise NotPermitted(msg) from error
    return keys.checked_public_text(form.get("public_key", "")), {"wrapped_key": wrapped.model_dump_json()}


def _require_possession(desk: Desk, account: Account, public_key: str, *, form: dict[str, str], challenge: str) -> None:
    """Refuse a key that has not signed the words of this page.

    Raises:
        NotPermitted: it has not.

    """
    try:
        offered = KeyOffered.model_validate_json(form.get("draft", ""))
    except ValidationError:
        offered = None
    is_mine = offered and (offered.account_id, offered.challenge) == (account.account_id, challenge)
    if not offered or not is_mine or not desk.verifier.verify(public_key, sealed(offered, form)):
        msg = "key: it did not sign for itself on this page; try again"
        raise NotPermitted(msg)


def _challenge(request: Request, desk: Desk) -> str:
    """Return what is this session's alone, and tells nothing of its token."""
    return sha256(b"rfr-stream: a key is offered\n" + request.cookies[desk.cookie].encode()).hexdigest()


# --- the first supervisor ---------------------------------------------------------------------------------------------
@router.post("/account/registration", response_class=HTMLResponse)
async def register(request: Request, desk: Here, account: Supervising, until: Annotated[date, Form()]) -> Response:
    """Register the key of a desk's first supervisor, for whom nobody here can vouch."""
    try:
        await _register_first(desk, account, end_of(until))
    except NotPermitted as error:
        return await _account_page(request, desk, account, flaw=sentence(error), until=until)
    log.event("account.changed", account=account.account_id, change="supervisor")
    return RedirectResponse("/account", HTTPStatus.SEE_OTHER)


async def _register_first(desk: Desk, account: Account, until: datetime) -> None:
    if account.public_key is None or until <= desk.clock():
        msg = "until: a supervisor needs a key, and training that is in date"
        raise NotPermitted(msg)
    await desk.log(account, Operation.ALTERATION, account.account_id, "key: registered, the first supervisor's")
    first = Reviewer(account.account_id, account.public_key, until, Duty.SUPERVISE, recorded_at=desk.clock())
    if not await desk.store.accounts.register_first(first):
        msg = "key: there is a supervisor already; the command below registers another"
        raise NotPermitted(msg)


def end_of(day: date) -> datetime:
    """Return the last second of a day (UTC): whoever is in date until then is, all day."""
    return datetime.combine(day, time(23, 59, 59), UTC)


# --- the password -----------------------------------------------------------------------------------------------------
@router.post("/account/password", response_class=HTMLResponse)
async def change_password(
    request: Request, desk: Here, account: SignedIn, current: Password, password: Password, again: Password
) -> Response:
    """Keep another password; everybody who is in by the old one is out."""
    require_local_accounts(desk.settings)
    try:
        await _require_to_know(request, account, current)
        password_hash = await chosen(password, again)
    except NotPermitted as error:
        return await _account_page(request, desk, account, flaw=sentence(error))
    await desk.log(account, Operation.ALTERATION, account.account_id, "account: password changed")
    await desk.store.accounts.set_password(account.account_id, password_hash)
    log.event("account.changed", account=account.account_id, change="password")
    return RedirectResponse("/sign-in?next=/account", HTTPStatus.SEE_OTHER)


async def _require_to_know(request: Request, account: Account, current: SecretStr) -> None:
    if not await entrance_of(request).may_try(request, account.account_id):
        msg = "password: too many tries; wait a minute"
        raise NotPermitted(msg)
    if not await passwords.matches(account.password_hash, current.get_secret_value()):
        msg = "password: the present one is another"
        raise NotPermitted(msg)


# --- the page ---------------------------------------------------------------------------------------------------------
async def _account_page(
    request: Request, desk: Desk, account: Account, *, flaw: str = "", until: date | None = None
) -> HTMLResponse:
    registered = await desk.store.accounts.registered()
    today = desk.clock().date()
    offered = KeyOffered(
        occurred_at=desk.clock(),
        account_id=account.account_id,
        challenge=_challenge(request, desk),
        signature=UNSIGNED,
    )
    return page(
        request,
        "account.html",
        HTTPStatus.BAD_REQUEST if flaw else HTTPStatus.OK,
        flaw=flaw,
        signs=bool(account.roles & _SIGNERS),
        is_local=desk.settings.oidc_issuer is None,
        registered=registered.get(account.account_id),
        is_first=all(each.duty is not Duty.SUPERVISE for each in registered.values()),
        now=desk.clock(),
        today=today,
        until=until or today + _A_YEAR,
        offered=offered.model_dump_json(),
        to_sign=ToSign.of(offered),
        passkey_options=_passkey_options(desk, account, offered.challenge),
    )


def _passkey_options(desk: Desk, account: Account, challenge: str) -> str:
    """Return what a browser makes a passkey with; nothing where the desk has no name to bind it to."""
    url = desk.settings.public_url
    with suppress(ValueError):
        ipaddress.ip_address(urlsplit(url).hostname or "")
        return ""
    return passkeys.new_options(account.account_id, bytes.fromhex(challenge), desk_url=url)
