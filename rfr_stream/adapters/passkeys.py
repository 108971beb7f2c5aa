"""Passkeys, made and checked with `webauthn` (W3C WebAuthn, level 2, sections 7.1 and 7.2)."""

import hashlib
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from webauthn import (
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import bytes_to_base64url, decode_credential_public_key, decoded_public_key_to_cryptography
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AuthenticationCredential,
    AuthenticatorAssertionResponse,
    AuthenticatorSelectionCriteria,
    UserVerificationRequirement,
)

from rfr_stream.events import Passkey, Signed

ALGORITHMS: Final = (COSEAlgorithmIdentifier.ECDSA_SHA_256, COSEAlgorithmIdentifier.EDDSA)
"""What a passkey may sign with."""
_ANY_CREDENTIAL: Final = b"\x00"
"""The library wants an id; which credential it was is what the key says."""


def challenge_of(said: Signed) -> bytes:
    """Return what the passkey is asked to sign: the SHA-256 of the words."""
    return hashlib.sha256(said.signed_bytes).digest()


def relying_party(desk_url: str) -> str:
    """Return the host to which passkeys are bound."""
    return urlsplit(desk_url).hostname or ""


def origin(desk_url: str) -> str:
    """Return the origin of the page on which a passkey signs."""
    parts = urlsplit(desk_url)
    return f"{parts.scheme}://{parts.netloc}"


def require_usable(cose_key: bytes) -> None:
    """Refuse what is no public key of ECDSA on P-256 or of Ed25519, as COSE writes it.

    Raises:
        ValueError: it is none.

    """
    with _malformed_is_value_error():
        decoded = decode_credential_public_key(cose_key)
        decoded_public_key_to_cryptography(decoded)
    if decoded.alg not in ALGORITHMS:
        msg = "not a key of an algorithm that signs here"
        raise ValueError(msg)


def new_options(account_id: str, challenge: bytes, *, desk_url: str) -> str:
    """Return what a browser is told to make a passkey with (JSON)."""
    return options_to_json(
        generate_registration_options(
            rp_id=relying_party(desk_url),
            rp_name="rfr-stream review desk",
            user_name=account_id,
            user_id=hashlib.sha256(account_id.encode()).digest(),
            challenge=challenge,
            authenticator_selection=AuthenticatorSelectionCriteria(
                user_verification=UserVerificationRequirement.REQUIRED
            ),
            supported_pub_key_algs=list(ALGORITHMS),
        )
    )


def made(credential: str, challenge: bytes, *, desk_url: str) -> tuple[bytes, str]:
    """Return the COSE key and the id (base64url) of a passkey that a browser made (JSON).

    Raises:
        ValueError: it was not made here, or not for this challenge, or its user was not verified.

    """
    with _malformed_is_value_error():
        new = verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=relying_party(desk_url),
            expected_origin=origin(desk_url),
            require_user_verification=True,
            supported_pub_key_algs=list(ALGORITHMS),
        )
    return new.credential_public_key, bytes_to_base64url(new.credential_id)


def verify(cose_key: bytes, said: Signed, signature: bytes, *, desk_url: str) -> bool:
    """Whether the passkey of this COSE key, its user verified, signed these words at this desk."""
    if said.passkey is None:
        return False
    with suppress(ValueError), _malformed_is_value_error():
        verify_authentication_response(
            credential=_credential(cose_key, said.passkey, signature),
            expected_challenge=challenge_of(said),
            expected_rp_id=relying_party(desk_url),
            expected_origin=origin(desk_url),
            credential_public_key=cose_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
        return True
    return False


@contextmanager
def _malformed_is_value_error() -> Iterator[None]:
    """What takes foreign bytes apart raises whatever comes up: KeyError, IndexError, an error of CBOR, its own."""
    try:
        yield
    except Exception as error:
        msg = "not what an authenticator makes"
        raise ValueError(msg) from error


def _credential(cose_key: bytes, passkey: Passkey, signature: bytes) -> AuthenticationCredential:
    return AuthenticationCredential(
        id=bytes_to_base64url(_ANY_CREDENTIAL),
        raw_id=_ANY_CREDENTIAL,
        response=AuthenticatorAssertionResponse(
            client_data_json=b64decode(passkey.client_data),
            authenticator_data=b64decode(passkey.authenticator_data),
            signature=_as_signed(cose_key, signature),
        ),
    )


def _as_signed(cose_key: bytes, signature: bytes) -> bytes:
    """Return the signature as the authenticator wrote it: events carry r and s of ECDSA, it says them in DER."""
    if decode_credential_public_key(cose_key).alg != COSEAlgorithmIdentifier.ECDSA_SHA_256:
        return signature
    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
