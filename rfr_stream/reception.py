"""Machines that hand images in: which door is theirs, and what they are known by. No secret is kept of any."""

import hmac
import re
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from rfr_stream.errors import Malformed
from rfr_stream.events import canonical

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_URL: Final = re.compile(r"[!-~]{1,2048}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


class Door(StrEnum):
    """Where a client may hand in; nobody's client uses another's."""

    OFFICER = "officer"
    UNIT = "unit"
    APPEAL = "appeal"


@dataclass(frozen=True, slots=True)
class Client:
    """A machine that may hand images in; of another generation, it has another token."""

    name: str
    door: Door
    generation: int = 1
    revoked_at: datetime | None = None
    callback: str | None = None
    """Where it is told what became of its submissions; None: nowhere, it asks."""


def signature_of(token: str, said: bytes) -> str:
    """Return what proves that these bytes are of whoever has the token, without showing it."""
    return hmac.digest(token.encode(), said, "sha256").hex()


def is_signature_of(client: Client, signature: str, said: bytes, key: bytes) -> bool:
    """Whether this client signed these bytes, by a comparison that takes as long whatever is wrong with it."""
    is_right = hmac.compare_digest(signature_of(token_of(client, key), said).encode(), signature.encode())
    return is_right and client.revoked_at is None


def digest_of(body_sha256: bytes) -> str:
    """Return a body's digest as a header says it (RFC 9530)."""
    return f"sha-256=:{b64encode(body_sha256).decode()}:"


def callback_lines(id_: UUID, timestamp: str, digest: str) -> bytes:
    """Return what is signed of a callback: nothing that a client could be made to say at a door."""
    return f"callback {id_}\n{timestamp}\n{digest}".encode()


def require_callback(url: str) -> None:
    """Refuse an address at which nobody may be told.

    Raises:
        Malformed: it is no URL of https; of http, on loopback alone; with somebody's name or a fragment in it.

    """
    try:
        parts = urlsplit(url)
        plain = parts.scheme == "http" and parts.hostname in LOOPBACK
        is_good = bool(parts.hostname) and (parts.scheme == "https" or plain) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or parts.username is not None or "#" in url or not _URL.fullmatch(url):
        msg = "callback: https://..., at most 2048 characters; http on loopback alone; no name, password or fragment"
        raise Malformed(msg)


def is_name(text: str) -> bool:
    """Whether a client may be called so."""
    return _NAME.fullmatch(text) is not None


def token_of(client: Client, key: bytes) -> str:
    """Return what the client shows to get in: its name, and a code that only whoever has the house's key can make."""
    said = canonical([client.name, client.door, client.generation])
    code = urlsafe_b64encode(hmac.digest(key, said, "sha256")).rstrip(b"=")
    return f"{client.name}.{code.decode()}"


def named_in(token: str) -> str:
    """Return the name that a token claims."""
    return token.partition(".")[0]


def is_token_of(client: Client, token: str, key: bytes) -> bool:
    """Whether this is its token, by a comparison that takes as long whatever is wrong with it."""
    is_right = hmac.compare_digest(token_of(client, key).encode(), token.encode())
    return is_right and client.revoked_at is None
