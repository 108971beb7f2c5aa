"""What stands before every page: same-origin writes, bounded bodies, rates, and headers that a browser obeys."""

from typing import Final
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
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
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), publickey-credentials-get=(self)",
}
STATIC: Final = "/static/"


class Guard:
    """ASGI middleware. Whoever writes must come from a page of this desk; nobody writes much, or often."""

    def __init__(self, app: ASGIApp, *, public_url: str, per_minute: int = PER_MINUTE) -> None:
        """Stand before an application that browsers know by this address."""
        self._app, self._origin = app, public_url.rstrip("/")
        self._is_https = urlsplit(public_url).scheme == "https"
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._rate = RateLimitItemPerMinute(per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or say why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = await self._refusal(scope)
        answer = refusal or self._app
        await answer(scope, _bounded(receive), self._with_headers(scope, send))

    async def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if scope["method"] not in READS and not self._is_own(headers):
            return PlainTextResponse("This request did not come from a page of the desk.", 403)
        if int(headers.get("content-length") or 0) > MAX_BODY_BYTES:
            return PlainTextResponse(f"More than {MAX_BODY_BYTES} bytes.", 413)
        if not await self._limiter.hit(self._rate, (scope.get("client") or ("", 0))[0]):
            return PlainTextResponse("Too many requests; wait a minute.", 429, {"retry-after": "60"})
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
                kept = scope["path"].startswith(STATIC)
                headers.setdefault("cache-control", "public, max-age=3600" if kept else "no-store")
            await send(message)

        return sending


def _bounded(receive: Receive) -> Receive:
    """Stop reading a body that says less of its length than it is."""
    read = 0

    async def receiving() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        return message if read <= MAX_BODY_BYTES else {"type": "http.disconnect"}

    return receiving
