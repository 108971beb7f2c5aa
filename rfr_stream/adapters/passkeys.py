"""What a passkey signed, checked with `webauthn` (W3C WebAuthn, level 2, section 7.2)."""

import hashlib
from base64 import b64decode
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from webauthn import verify_authentication_response
from webauthn.helpers import bytes_to_base64url, decode_credential_public_key
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import AuthenticationCredential, AuthenticatorAssertionResponse

from rfr_stream.events import Passkey, Signed

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


def verify(cose_key: bytes, said: Signed, signature: bytes, *, desk_url: str) -> bool:
    """Whether the passkey of this COSE key, its user verified, signed these words at this desk."""
    if said.passkey is None:
        return False
    try:
        verify_authentication_response(
            credential=_credential(cose_key, said.passkey, signature),
            expected_challenge=challenge_of(said),
            expected_rp_id=relying_party(desk_url),
            expected_origin=origin(desk_url),
            credential_public_key=cose_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except WebAuthnException:
        return False
    return True


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
