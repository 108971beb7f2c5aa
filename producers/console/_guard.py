"""What stands before every page: one name, same-origin writes, bounded bodies, rates, headers that a browser obeys."""

import ipaddress
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES: Final = 256 * 1024
PER_MINUTE: Final = 1_200
"""Requests from one address; a page of a review is a dozen, and an office may share one address."""
READS: Final = frozenset({"GET", "HEAD"})

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": (
        "camera=(), microphone=(), geolocation=(), "
        "publickey-credentials-get=(self), publickey-credentials-create=(self)"
    ),
}
STATIC: Final = "/static/"
_IPV6_NETWORK: Final = 64
"""What one subscriber is given: whoever has one address of it has all of them."""


class Guard:
    """ASGI middleware. Whoever writes must come from a page of this desk; nobody writes much, or often."""

    def __init__(self, app: ASGIApp, *, public_url: str, per_minute: int = PER_MINUTE) -> None:
        """Stand before an application that browsers know by this address."""
        url = urlsplit(public_url)
        self._app, self._is_https = app, url.scheme == "https"
        self._origin, self._host = public_url, url.netloc
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._rate = RateLimitItemPerMinute(per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or say why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = await self._refusal(scope) or self._app
        await answer(scope, _bounded(receive), self._with_headers(scope, send))

    async def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        if headers.get("host", "").lower() != self._host:  # a name that somebody pointed here (DNS rebinding)
            return _plain("This is not the name of the desk.", HTTPStatus.MISDIRECTED_REQUEST)
        if scope["method"] not in READS and not self._is_own(headers):
            return _plain("This request did not come from a page of the desk.", HTTPStatus.FORBIDDEN)
        if not (length.isascii() and length.isdecimal()):
            return _plain("The length is no number.", HTTPStatus.BAD_REQUEST)
        if int(length[:20]) > MAX_BODY_BYTES:
            return _plain(f"More than {MAX_BODY_BYTES} bytes.", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if not await self._limiter.hit(self._rate, network_of(scope)):
            return _plain("Too many requests; wait a minute.", HTTPStatus.TOO_MANY_REQUESTS, {"retry-after": "60"})
        return None

    def _is_own(self, headers: Headers) -> bool:
        """Whether a browser says that the request comes from this origin; one that says nothing is refused.

        Fetch Metadata where the browser has it, else the origin: with a SameSite cookie, no token is needed
        (OWASP, Cross-Site Request Forgery Prevention).
        """
        site = headers.get("sec-fetch-site")
        return site == "same-origin" if site else headers.get("origin") == self._origin

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if self._is_https:
                    headers.setdefault("strict-transport-security", "max-age=31536000; includeSubDomains")
                # A page and the scripts that sign on it are of one release: ask each time, and mostly get a 304.
                headers.setdefault("cache-control", "no-cache" if scope["path"].startswith(STATIC) else "no-store")
            await send(message)

        return sending


def network_of(scope: Scope) -> str:
    """Return whom rates are counted for: an IPv4 address, or the network of an IPv6 one.

    Behind a reverse proxy that is the proxy, unless the server is told to believe its `X-Forwarded-For`
    (`uvicorn --forwarded-allow-ips`): this never reads a header that anybody can write.
    """
    address = (scope.get("client") or ("", 0))[0]
    try:
        known = ipaddress.ip_address(address)
    except ValueError:  # a socket of this machine
        return address
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is None:
        return str(ipaddress.ip_network((known, _IPV6_NETWORK), strict=False))
    return address


def _plain(why: str, status: HTTPStatus, headers: dict[str, str] | None = None) -> PlainTextResponse:
    return PlainTextResponse(why, status, headers)


def _bounded(receive: Receive) -> Receive:
    """Stop reading a body that says less of its length than it is, or nothing."""
    read = 0

    async def receiving() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MAX_BODY_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return message

    return receiving
