"""Tells clients at an address of theirs what became of what they sent, and trusts nothing that this address leads to.

    POST <the client's callback>
    RFR-Id: <uuid>                     the same outcome again has the same: whoever keeps it drops repeats
    RFR-Timestamp: 1767225600          seconds since 1970, of this attempt
    Content-Digest: sha-256=:<...>:    of the body (RFC 9530)
    RFR-Signature: <hex>               HMAC-SHA256, by the client's token, of the lines `callback <id>`, timestamp and
                                       Content-Digest, joined by newlines

A name is resolved here, anew for each attempt, and the connection goes to an address that was looked at: what else a
name may lead to a moment later does not count. Nothing is followed, and of the answer nothing but its status is read.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv4Address, IPv6Network
from types import TracebackType
from typing import Final, Self, TypeAlias

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random

from rfr_stream.adapters._names import Address, Names
from rfr_stream.errors import Malformed, Undelivered
from rfr_stream.events import SubmissionClosed, canonical
from rfr_stream.reception import LOOPBACK, Client, callback_lines, digest_of, require_callback, signature_of, token_of
from rfr_stream.settings import CallbackSettings

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[Address]]]

_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
"""Where a translator reaches the IPv4 internet, or what is behind it (RFC 6052)."""
_SITE_LOCAL: Final = IPv6Network("fec0::/10")
"""What one's own networks were called before `fc00::/7` (RFC 3879); Python takes it for global."""


class HttpCallbacks:
    """POSTs over connections of its own, one for each attempt. A receiver that is away is left alone for a while."""

    def __init__(self, settings: CallbackSettings, *, key: bytes, resolve: Resolve | None = None) -> None:
        """Remember what tokens are made with; nothing is connected yet."""
        self._settings, self._key, self._resolve = settings, key, resolve or Names().addresses
        self._away_until: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        trusted = ssl.create_default_context(cafile=self._settings.ca_file)
        alone = httpx.Limits(max_keepalive_connections=0)  # an address serves many names; a connection is of one
        self._http = httpx.AsyncClient(
            verify=trusted,
            trust_env=False,
            limits=alone,
            timeout=self._settings.timeout_s,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # takes none: they would be of the address, too
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def tell(self, client: Client, closed: SubmissionClosed) -> None:
        """Tell a client how one of its submissions ended; once this returns, its receiver has said that it has it.

        Raises:
            Undelivered: it has not, after as many attempts as there are.

        """
        if time.monotonic() < self._away_until.get(client.name, 0):
            msg = f"callback of {client.name}: not tried, its receiver was away a moment ago"
            raise Undelivered(msg)
        try:
            await self._tell(client, closed)
        except _Failed as failed:
            self._away_until[client.name] = time.monotonic() + self._settings.away_s
            msg = f"callback of {client.name}: {failed}, {self._settings.attempts} times"
            raise Undelivered(msg) from failed
        self._away_until.pop(client.name, None)

    async def _tell(self, client: Client, closed: SubmissionClosed) -> None:
        settings = self._settings
        doubling = wait_exponential(multiplier=settings.first_wait_s, max=settings.longest_wait_s)
        wait = doubling + wait_random(0, settings.first_wait_s)
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(settings.attempts), wait=wait, retry=retry_if_exception_type(_Failed), reraise=True
        ):
            with attempt:
                await self._attempt(client, closed, attempt.retry_state.attempt_number)

    async def _attempt(self, client: Client, closed: SubmissionClosed, number: int) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                status = await self._post(client, closed, number)
        except (httpx.HTTPError, OSError, UnicodeError) as error:  # the latter two: no name, or no way there in time
            raise _Failed(type(error).__name__) from error
        if not httpx.codes.is_success(status):
            msg = f"answered {status}"
            raise _Failed(msg)

    async def _post(self, client: Client, closed: SubmissionClosed, number: int) -> int:
        url = _url_of(client)
        body = body_of(closed)
        request = self._http.build_request(
            "POST",
            url.copy_with(host=str(await self._address(url, number))),
            content=body,
            headers={"Host": url.netloc.decode(), **self._headers(client, closed, body)},
            extensions={"sni_hostname": url.host},  # whose certificate is asked for
        )
        answer = await self._http.send(request, stream=True)
        await answer.aclose()
        return answer.status_code

    def _headers(self, client: Client, closed: SubmissionClosed, body: bytes) -> dict[str, str]:
        timestamp, digest = str(int(datetime.now(UTC).timestamp())), digest_of(sha256(body).digest())
        said = callback_lines(closed.event_id, timestamp, digest)
        return {
            "Content-Type": "application/json",
            "RFR-Id": str(closed.event_id),
            "RFR-Timestamp": timestamp,
            "Content-Digest": digest,
            "RFR-Signature": signature_of(token_of(client, self._key), said),
        }

    async def _address(self, url: httpx.URL, number: int) -> Address:
        """Return an address of this name at which somebody may be told; the next attempt has the next one.

        Raises:
            Undelivered: there is none.

        """
        addresses = await self._resolve(url.host)
        may = [each for each in addresses if self._may_connect(url.host, each)]
        if not may:
            msg = "callback: no address of the public internet; RFR_CALLBACKS__PRIVATE_NETWORKS lets in one's own"
            raise Undelivered(msg)
        return may[(number - 1) % len(may)]

    def _may_connect(self, host: str, address: Address) -> bool:
        """Whether this is where it says: on the public internet; on one's own networks, or this machine, if allowed."""
        meant = _meant(address)
        if host in LOOPBACK:
            return meant.is_loopback
        if meant.is_loopback or meant.is_link_local or meant.is_unspecified or meant.is_multicast or meant.is_reserved:
            return False
        return self._settings.private_networks or (meant.is_global and meant not in _SITE_LOCAL)


class _Failed(Exception):
    """An attempt that another one may mend."""


def body_of(closed: SubmissionClosed) -> bytes:
    """Return all that is said: which submission, the word that its status has, and since when."""
    at = closed.occurred_at.isoformat()
    return canonical({"submission_id": str(closed.submission_id), "state": closed.outcome, "at": at})


def _url_of(client: Client) -> httpx.URL:
    try:
        require_callback(client.callback or "")
        return httpx.URL(client.callback or "")
    except (Malformed, httpx.InvalidURL) as error:
        msg = "callback: no address that may be told"
        raise Undelivered(msg) from error


def _meant(address: Address) -> Address:
    """Return where a packet ends: some addresses wrap another one."""
    if isinstance(address, IPv4Address):
        return address
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
