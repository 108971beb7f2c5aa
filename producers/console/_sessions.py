"""Who has shown who they are is let in: how, how often one may try, and where one goes from there."""

import asyncio
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final, TypeAlias

from fastapi import Form, Request
from fastapi.responses import RedirectResponse, Response
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from pydantic import SecretStr

from producers.console._desk import Desk, digest_of
from producers.console._guard import network_of
from rfr_stream import telemetry
from rfr_stream.adapters import passwords
from rfr_stream.desk import Account, Operation
from rfr_stream.errors import NotPermitted
from rfr_stream.settings import DeskSettings

NOBODY: Final = "nobody"
"""In the log, whoever is not known; what they called themselves may be a password in the wrong field."""

_PER_ACCOUNT: Final = RateLimitItemPerMinute(5)
_PER_NETWORK: Final = RateLimitItemPerMinute(20)
_LOCAL: Final = re.compile(r"/(?:[A-Za-z0-9_.~-][A-Za-z0-9_.~/?=&%:@+-]*)?")

Password: TypeAlias = Annotated[SecretStr, Form(max_length=1_024)]

log = telemetry.logger(__name__)


def new_code() -> str:
    """Return 256 random bits for a cookie or a link."""
    return secrets.token_urlsafe(32)


@dataclass
class Entrance:
    """What coming in needs between requests; this process's own."""

    tries: MovingWindowRateLimiter = field(default_factory=lambda: MovingWindowRateLimiter(MemoryStorage()))
    set_up_sha256: str = ""
    set_up_until: datetime | None = None
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    secret: str = field(default_factory=new_code)

    async def may_come(self, request: Request) -> bool:
        """Whether somebody may try to come in once more, from this network."""
        return await self.tries.hit(_PER_NETWORK, network_of(request.scope))

    async def may_try(self, request: Request, account_id: str) -> bool:
        """Whether somebody may try a password once more, from this network and for this account."""
        return await self.may_come(request) and await self.tries.hit(_PER_ACCOUNT, account_id)

    async def forget_tries(self, account_id: str) -> None:
        """Begin anew for somebody who has shown who they are."""
        await self.tries.clear(_PER_ACCOUNT, account_id)


def entrance_of(request: Request) -> Entrance:
    """Return the entrance of the application."""
    entrance: Entrance = request.app.state.entrance
    return entrance


def local_path(text: str) -> str:
    """Return a path of this desk; whatever a browser could read as another host's is the front page."""
    return text if _LOCAL.fullmatch(text) else "/"


async def let_in(desk: Desk, request: Request, account: Account, answer: Response) -> Response:
    """Return the answer with a new session's cookie; the session that this browser had is over."""
    await desk.log(account, Operation.SESSION, account.account_id, "signed in")
    log.event("session.opened", account=account.account_id)
    await desk.store.accounts.leave(digest_of(request.cookies.get(desk.cookie, "")))
    token = new_code()
    await desk.store.accounts.enter(account.account_id, digest_of(token), desk.clock())
    answer.set_cookie(desk.cookie, token, httponly=True, samesite="strict", secure=desk.is_https)
    return answer


async def keep_out(desk: Desk, account: Account | None, why: str) -> None:
    """Write down that somebody was not let in."""
    name = account.account_id if account else NOBODY
    await desk.store.log.write(name, Operation.SESSION, name, f"not let in: {why}", desk.clock())
    log.event("session.refused", account=name, reason=why)


async def let_out(desk: Desk, request: Request, account: Account) -> Response:
    """End this session."""
    await desk.log(account, Operation.SESSION, account.account_id, "signed out")
    log.event("session.ended", account=account.account_id)
    await desk.store.accounts.leave(digest_of(request.cookies.get(desk.cookie, "")))
    answer = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(desk.cookie, httponly=True, samesite="strict", secure=desk.is_https)
    return answer


async def chosen(password: SecretStr, again: SecretStr) -> str:
    """Return the hash of a new password.

    Raises:
        NotPermitted: the two differ, or it is too short.

    """
    if password.get_secret_value() != again.get_secret_value():
        msg = "password: the two are not the same"
        raise NotPermitted(msg)
    return await passwords.hashed(password.get_secret_value())


def require_local_accounts(settings: DeskSettings) -> None:
    """Refuse what has no meaning where a provider says who people are.

    Raises:
        NotPermitted: one does.

    """
    if settings.oidc_issuer:
        msg = "account: your organisation's sign-in says who you are here; this desk keeps no passwords"
        raise NotPermitted(msg)
