"""Keys and signatures, reviewers' and the house's own: Ed25519 with `cryptography`, and passkeys.

A public key is base64 of its 32 raw bytes. A private key leaves memory only as a PEM file (PKCS#8) that a passphrase
encrypts and that only its owner may read. The house's key has no passphrase, since nobody is there to type it: who may
read the data directory may seal.
"""

import hashlib
import os
from base64 import b64decode, b64encode
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes
from tempfile import NamedTemporaryFile
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from rfr_stream.adapters import passkeys
from rfr_stream.errors import Malformed, NotPermitted
from rfr_stream.events import Signed

__all__ = [
    "Ed25519PrivateKey",
    "KeyVerifier",
    "checked_public_text",
    "fingerprint",
    "generate",
    "is_signed",
    "load",
    "of_house",
    "public_text",
    "save",
    "sign_bytes",
]

_ED25519_BYTES: Final = 32


class KeyVerifier:
    """Checks signatures, of Ed25519 keys and of passkeys; whatever is malformed is not valid.

    Args:
        desk_url: where reviewers sign; a passkey's signature is bound to it. None: passkeys are not valid.

    """

    def __init__(self, desk_url: str | None = None) -> None:
        """Remember where people sign."""
        self._desk_url = desk_url

    def verify(self, public_key: str, said: Signed) -> bool:
        """Whether what was said is signed by this key (base64: 32 bytes of Ed25519, or a passkey's COSE key)."""
        try:
            if said.passkey is None:
                return is_signed(public_key, said.signature, said.signed_bytes)
            url, cose_key, signature = self._desk_url, _strictly(public_key), _strictly(said.signature)
            return url is not None and passkeys.verify(cose_key, said, signature, desk_url=url)
        except (InvalidSignature, ValueError):
            return False


_SECRET_BYTES: Final = 32


def generate() -> Ed25519PrivateKey:
    """Return a new private key from the system's random source."""
    return Ed25519PrivateKey.generate()


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public half as the ledger stores it: base64 of 32 bytes."""
    return b64encode(key.public_key().public_bytes_raw()).decode()


def checked_public_text(text: str) -> str:
    """Return the public half as it was given.

    Raises:
        Malformed: it is neither an Ed25519 public key nor a passkey's.

    """
    try:
        data = _strictly(text)
        if len(data) == _ED25519_BYTES:
            Ed25519PublicKey.from_public_bytes(data)
        else:
            passkeys.require_usable(data)
    except ValueError as error:
        msg = "public key: must be the base64 of 32 bytes, as `rfr reviewers key` says it, or of a passkey's COSE key"
        raise Malformed(msg) from error
    return text


def fingerprint(public_key: str) -> str:
    """Return what two people read to each other to know that they mean one key: 80 bits of its SHA-256."""
    digits = hashlib.sha256(public_key.encode()).hexdigest()[:20]
    return " ".join(digits[n : n + 4] for n in range(0, len(digits), 4))


def is_signed(public_key: str, signature: str, message: bytes) -> bool:
    """Whether this key, base64 of 32 bytes, signed this message; whatever is malformed is not signed."""
    try:
        Ed25519PublicKey.from_public_bytes(_strictly(public_key)).verify(_strictly(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def sign_bytes(key: Ed25519PrivateKey, message: bytes) -> str:
    """Return the base64 of this key's signature of a message."""
    return b64encode(key.sign(message)).decode()


def save(key: Ed25519PrivateKey, path: Path, *, passphrase: str) -> None:
    """Write the private key to a new file of mode 0600, encrypted with the passphrase.

    Raises:
        FileExistsError: there is a file already; a key is never overwritten.
        ValueError: the passphrase is empty.

    """
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode()))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())


def load(path: Path, *, passphrase: str) -> Ed25519PrivateKey:
    """Return the private key of a file that `save` wrote.

    Raises:
        NotPermitted: the passphrase is not the file's, or the file holds no Ed25519 key in such a form.

    """
    try:
        key = load_pem_private_key(path.read_bytes(), passphrase.encode())
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        msg = "passphrase: does not open an Ed25519 key in this file"
        raise NotPermitted(msg)
    return key


def of_house(path: Path) -> Ed25519PrivateKey:
    """Return the key that the house seals with, made when it is first asked for.

    Raises:
        NotPermitted: what lies there is no such key.

    """
    if not path.exists():
        _keep_new(path, generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        msg = f"{path}: holds no Ed25519 key without a passphrase"
        raise NotPermitted(msg)
    return key


def secret_of_house(path: Path) -> bytes:
    """Return the secret that codes are made with, made when it is first asked for.

    Raises:
        NotPermitted: what lies there is too short for one.

    """
    if not path.exists():
        _keep_new(path, token_bytes(_SECRET_BYTES))
    secret = path.read_bytes()
    if len(secret) < _SECRET_BYTES:
        msg = f"{path}: a secret has {_SECRET_BYTES} bytes or more"
        raise NotPermitted(msg)
    return secret


def _keep_new(path: Path, key: bytes) -> None:
    """Put a new key there whole, or leave the one that somebody else has put there meanwhile."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent) as file:  # which only its owner may read
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(file.name, path)


def _strictly(text: str) -> bytes:
    """Return the bytes of canonical base64; one value has one spelling."""
    data = b64decode(text, validate=True)
    if b64encode(data).decode() != text:
        msg = "not canonical base64"
        raise ValueError(msg)
    return data
