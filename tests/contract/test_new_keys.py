"""New keys: passkeys that were made at this desk by somebody who was there, and public halves that are some."""

from base64 import b64encode
from dataclasses import replace
from typing import Final

import cbor2
import pytest
from authenticator import DESK, PRESENT, Ceremony, EdDsa, Es256, Key, made, public_text
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from webauthn.helpers import base64url_to_bytes

from rfr_stream.adapters import keys, passkeys
from rfr_stream.errors import Malformed

CHALLENGE: Final = b"a challenge of this session's own"
RIGHT: Final = Ceremony(kind="webauthn.create")
every_key = pytest.mark.parametrize("key", [Es256(), EdDsa()], ids=["ES256", "EdDSA"])


@every_key
def test_a_passkey_tells_its_public_half_and_its_name(key: Key) -> None:
    cose, credential_id = passkeys.made(made(key, CHALLENGE), CHALLENGE, desk_url=DESK)

    assert cose == key.cose
    assert len(base64url_to_bytes(credential_id)) == 32
    assert keys.checked_public_text(public_text(key)) == public_text(key)


@every_key
@pytest.mark.parametrize(
    "ceremony",
    [
        replace(RIGHT, origin="https://elsewhere.example"),
        replace(RIGHT, rp_id="elsewhere.example"),
        replace(RIGHT, flags=PRESENT),
        replace(RIGHT, flags=0),
        replace(RIGHT, kind="webauthn.get"),
    ],
)
def test_one_that_was_made_otherwise_is_none(key: Key, ceremony: Ceremony) -> None:
    with pytest.raises(ValueError, match="authenticator"):
        passkeys.made(made(key, CHALLENGE, ceremony), CHALLENGE, desk_url=DESK)


@every_key
def test_one_that_was_made_for_another_challenge_is_none(key: Key) -> None:
    with pytest.raises(ValueError, match="authenticator"):
        passkeys.made(made(key, b"another"), CHALLENGE, desk_url=DESK)


@given(st.text(max_size=200) | st.sampled_from(["{}", "[]", "null", "[" * 5_000]))
def test_whatever_is_malformed_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="authenticator"):
        passkeys.made(text, CHALLENGE, desk_url=DESK)


def test_a_browser_is_told_to_make_one_that_signs_here_and_knows_its_owner() -> None:
    options = passkeys.new_options("r-ash", CHALLENGE, desk_url=DESK)

    assert '"id": "desk.example"' in options
    assert '"userVerification": "required"' in options
    assert '"alg": -7' in options
    assert '"alg": -257' not in options


@given(st.binary(max_size=120).filter(lambda data: len(data) != 32))
def test_what_is_no_key_is_not_registered(data: bytes) -> None:
    with pytest.raises(Malformed, match="public key"):
        keys.checked_public_text(b64encode(data).decode())


def test_a_key_that_signs_otherwise_is_not_registered() -> None:
    numbers = rsa.generate_private_key(65_537, 2_048).public_key().public_numbers()
    cose = cbor2.dumps({1: 3, 3: -257, -1: numbers.n.to_bytes(256), -2: numbers.e.to_bytes(3)})

    with pytest.raises(Malformed, match="public key"):
        keys.checked_public_text(b64encode(cose).decode())


def test_two_people_read_the_same_fingerprint_of_one_key_alone() -> None:
    one, other = public_text(Es256()), public_text(Es256())

    assert keys.fingerprint(one) != keys.fingerprint(other)
    assert [len(group) for group in keys.fingerprint(one).split()] == [4] * 5
