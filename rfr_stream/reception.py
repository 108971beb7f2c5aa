"""Machines that hand images in: which door is theirs, and what they are known by. No secret is kept of any."""

import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from rfr_stream.events import canonical

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
