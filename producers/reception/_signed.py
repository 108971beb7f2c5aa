"""Requests that their sender signed: the secret never travels, and what was overheard is of no use later.

    RFR-Client: portal-1
    RFR-Timestamp: 1767225600                         seconds since 1970; five minutes beside our clock at most
    Content-Digest: sha-256=:<base64 of 32 bytes>:    of the body (RFC 9530)
    RFR-Signature: <hex>                              HMAC-SHA256, by the client's token, of the lines
                                                      `POST <path>`, timestamp and Content-Digest, joined by newlines

All of it is checked before the first byte of the body is read; then the body must have the digest.
"""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Header, Request

from producers.reception._answered import WINDOW
from producers.reception._reception import Here
from producers.reception._refusals import Refused
from rfr_stream.reception import Client, Door, digest_of, is_name, is_signature_of

SCHEME: Final = "RFR-Signature"
_DIGEST: Final = re.compile(r"sha-256=:[A-Za-z0-9+/]{43}=:")
_SECONDS: Final = re.compile(r"\d{1,12}")

NAME: Final = Header(alias="RFR-Client", max_length=64, description="the client's name")
TIMESTAMP: Final = Header(alias="RFR-Timestamp", max_length=12, description="seconds since 1970, UTC")
DIGEST: Final = Header(alias="Content-Digest", max_length=64, description="`sha-256=:<base64>:` of the body (RFC 9530)")
SIGNATURE: Final = Header(
    alias="RFR-Signature",
    max_length=64,
    description="hex of HMAC-SHA256, by the client's token, of `POST <path>`, timestamp and Content-Digest as lines",
)


@dataclass(frozen=True, slots=True)
class Signed:
    """Who signed a request, and which body it must have."""

    client: Client
    digest: str
    signature: str

    async def whole(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield a body, and refuse it in the end if it is another than was signed."""
        read = sha256()
        async for chunk in body:
            read.update(chunk)
            yield chunk
        if digest_of(read.digest()) != self.digest:
            raise Refused(HTTPStatus.BAD_REQUEST, "Content-Digest", "the digest of the body that is sent")


def lines(path: str, timestamp: str, digest: str) -> bytes:
    """Return what is signed."""
    return f"POST {path}\n{timestamp}\n{digest}".encode()


def signed_at(door: Door) -> Callable[..., object]:
    """Return a dependency that lets in what this door's own clients have signed, just now."""

    async def check(  # noqa: PLR0917 - headers
        http: Request,
        here: Here,
        name: Annotated[str, NAME] = "",
        timestamp: Annotated[str, TIMESTAMP] = "",
        digest: Annotated[str, DIGEST] = "",
        signature: Annotated[str, SIGNATURE] = "",
    ) -> Signed:
        _require_fresh(timestamp, here.clock())
        if not _DIGEST.fullmatch(digest):
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                "Content-Digest",
                "sha-256=:<base64 of the body's SHA-256>:",
                www_authenticate=SCHEME,
            )
        known = await here.store.client(name) if is_name(name) else None
        # One that is not known is compared all the same, so that nobody finds out by the clock who is.
        said = lines(http.url.path, timestamp, digest)
        is_right = is_signature_of(known or Client("nobody", door), signature, said, here.key)
        if known is None or not is_right:
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                "RFR-Signature",
                "HMAC-SHA256 by the client's token; `rfr clients add` makes one",
                www_authenticate=SCHEME,
            )
        if known.door is not door:
            raise Refused(HTTPStatus.FORBIDDEN, "RFR-Client", "this client has another door")
        return Signed(known, digest, signature)

    return check


def _require_fresh(timestamp: str, now: datetime) -> None:
    said = int(timestamp) if _SECONDS.fullmatch(timestamp) else 0
    if abs(now.timestamp() - said) > WINDOW.total_seconds():
        raise Refused(
            HTTPStatus.UNAUTHORIZED,
            "RFR-Timestamp",
            f"seconds since 1970, at most {WINDOW.total_seconds():.0f} beside the clock here",
            www_authenticate=SCHEME,
        )
