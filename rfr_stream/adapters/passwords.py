"""Passwords: Argon2id, with the parameters that the library recommends, which it raises over the years."""

import asyncio
import secrets
import unicodedata
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from rfr_stream.errors import NotPermitted

MIN_CHARACTERS: Final = 12
MAX_CHARACTERS: Final = 256

_HASHER: Final = PasswordHasher()


async def hashed(password: str) -> str:
    """Return what is kept of a new password.

    Raises:
        NotPermitted: it is too short, or too long.

    """
    text = _normal(password)
    if not MIN_CHARACTERS <= len(text) <= MAX_CHARACTERS:
        msg = f"password: must have {MIN_CHARACTERS} to {MAX_CHARACTERS} characters"
        raise NotPermitted(msg)
    return await asyncio.to_thread(_HASHER.hash, text)


async def matches(kept: str | None, password: str) -> bool:
    """Whether this is the password; where none is kept it is not, after the same work."""
    return await asyncio.to_thread(_matches, kept, _normal(password))


def is_outdated(kept: str) -> bool:
    """Whether the library has raised its parameters since."""
    return _HASHER.check_needs_rehash(kept)


def _matches(kept: str | None, text: str) -> bool:
    nobodys = _nobodys()
    try:
        _HASHER.verify(kept or nobodys, text)
    except (VerificationError, InvalidHashError):
        return False
    return kept is not None


@cache
def _nobodys() -> str:
    return _HASHER.hash(secrets.token_hex())


def _normal(password: str) -> str:
    """Return one spelling of what keyboards spell in several (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password)
