"""A passkey in software: what an authenticator and a browser do when somebody signs, and what either may do wrong.

Source: W3C WebAuthn, level 2, sections 5.8.1 (client data), 6.1 (authenticator data), 6.3.3 (an assertion) and 6.5
(attestation); RFC 9053 for the keys.
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
PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


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

    def client_data(self, challenge: bytes) -> bytes:
        """Return what the browser says of the place."""
        about = {"challenge": bytes_to_base64url(challenge), "origin": self.origin, "crossOrigin": False}
        return json.dumps({"type": self.kind, **about}, separators=(",", ":")).encode()

    def authenticator_data(self, *, more: int = 0) -> bytes:
        """Return what the authenticator says of itself; `more` flags say that something follows."""
        flags = bytes([self.flags | more])
        return hashlib.sha256(self.rp_id.encode()).digest() + flags + self.sign_count.to_bytes(4)


def public_text(key: Key) -> str:
    """Return the public half as the ledger stores it."""
    return b64encode(key.cose).decode()


def made(key: Key, challenge: bytes, ceremony: Ceremony | None = None) -> str:
    """Return what a browser says of a passkey that it has made (JSON), without attestation."""
    how = ceremony or Ceremony(kind="webauthn.create")
    credential_id = hashlib.sha256(key.cose).digest()
    attested = bytes(16) + len(credential_id).to_bytes(2) + credential_id + key.cose
    data = how.authenticator_data(more=ATTESTED) + attested
    response = {
        "clientDataJSON": bytes_to_base64url(how.client_data(challenge)),
        "attestationObject": bytes_to_base64url(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})),
    }
    name = bytes_to_base64url(credential_id)
    return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})


def signed(words: S, key: Key, ceremony: Ceremony | None = None) -> S:
    """Return the words as this passkey signs them."""
    how = ceremony or Ceremony()
    client_data = how.client_data(passkeys.challenge_of(words) if how.challenge is None else how.challenge)
    authenticator_data = how.authenticator_data()
    signature = key.sign(authenticator_data + hashlib.sha256(client_data).digest())
    around = Passkey(
        authenticator_data=b64encode(authenticator_data).decode(), client_data=b64encode(client_data).decode()
    )
    return signing.seal(words, b64encode(signature).decode(), around)
