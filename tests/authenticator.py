"""A passkey in software: what an authenticator and a browser do when somebody signs, and what either may do wrong.

Source: W3C WebAuthn, level 2, sections 5.8.1 (client data), 6.1 (authenticator data) and 6.3.3 (an assertion); RFC 9053
for the keys.
"""

import hashlib
import json
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import bytes_to_base64url

from producers.console import signing
from rfr_stream.adapters import passkeys
from rfr_stream.events import Passkey, Signed

S = TypeVar("S", bound=Signed)

DESK: Final = "https://desk.example"
PRESENT, VERIFIED = 0x01, 0x04


class Key(Protocol):
    """A credential's private key."""

    @property
    def cose(self) -> bytes:
        """Its public half, as an authenticator says it."""

    def sign(self, message: bytes) -> bytes:
        """Return 64 bytes, as events carry them."""


@dataclass(frozen=True)
class Es256:
    """ECDSA with SHA-256 on P-256: what nearly every passkey is."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def cose(self) -> bytes:
        point = self.private.public_key().public_numbers()
        return cbor2.dumps({1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32), -3: point.y.to_bytes(32)})

    def sign(self, message: bytes) -> bytes:
        r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)


@dataclass(frozen=True)
class EdDsa:
    """Ed25519, as some security keys do it."""

    private: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)

    @property
    def cose(self) -> bytes:
        return cbor2.dumps({1: 1, 3: -8, -1: 6, -2: self.private.public_key().public_bytes_raw()})

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message)


@dataclass(frozen=True)
class Ceremony:
    """Where and how a passkey is used; whatever is not said is as it should be."""

    origin: str = DESK
    rp_id: str = "desk.example"
    flags: int = PRESENT | VERIFIED
    kind: str = "webauthn.get"
    challenge: bytes | None = None
    sign_count: int = 0


def public_text(key: Key) -> str:
    """Return the public half as the ledger stores it."""
    return b64encode(key.cose).decode()


def signed(words: S, key: Key, ceremony: Ceremony | None = None) -> S:
    """Return the words as this passkey signs them."""
    how = ceremony or Ceremony()
    challenge = passkeys.challenge_of(words) if how.challenge is None else how.challenge
    said = {"type": how.kind, "challenge": bytes_to_base64url(challenge), "origin": how.origin, "crossOrigin": False}
    client_data = json.dumps(said, separators=(",", ":")).encode()
    authenticator_data = hashlib.sha256(how.rp_id.encode()).digest() + bytes([how.flags]) + how.sign_count.to_bytes(4)
    signature = key.sign(authenticator_data + hashlib.sha256(client_data).digest())
    around = Passkey(
        authenticator_data=b64encode(authenticator_data).decode(), client_data=b64encode(client_data).decode()
    )
    return signing.seal(words, b64encode(signature).decode(), around)
