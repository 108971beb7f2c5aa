"""What a passkey signed counts if everything about it is right, and nothing else does; nothing raises."""

from base64 import b64decode, b64encode
from dataclasses import replace
from typing import Final

import builders
import cbor2
import pytest
from authenticator import DESK, PRESENT, VERIFIED, Ceremony, EdDsa, Es256, Key, public_text, signed
from hypothesis import given
from hypothesis import strategies as st

from rfr_stream.adapters import keys, passkeys
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.events import Passkey, ReviewDecided, Signed
from rfr_stream.ports import Verifier

VERIFIER: Verifier = KeyVerifier(DESK)
KEYS: Final[dict[str, Key]] = {"ES256": Es256(), "EdDSA": EdDsa()}
WORDS: Final = builders.decision()
every_key = pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)


def is_valid(key: Key, said: Signed) -> bool:
    return VERIFIER.verify(public_text(key), said)


@every_key
@pytest.mark.parametrize(
    "words",
    [WORDS, builders.subject_chosen(), builders.withdrawal(), builders.certified()],
    ids=lambda words: type(words).__name__,
)
def test_what_a_passkey_signed_is_valid_for_its_key_and_its_words_alone(key: Key, words: Signed) -> None:
    said = signed(words, key)

    assert is_valid(key, said)
    assert not any(is_valid(other, said) for other in (Es256(), EdDsa()))
    assert not is_valid(key, said.model_copy(update={"demo": True}))


@every_key
def test_an_authenticator_that_counts_is_welcome(key: Key) -> None:
    assert is_valid(key, signed(WORDS, key, Ceremony(sign_count=7)))


RIGHT: Final = Ceremony()
WRONG: Final = {
    "for other words": replace(RIGHT, challenge=passkeys.challenge_of(builders.withdrawal())),
    "for the words, unhashed": replace(RIGHT, challenge=WORDS.signed_bytes),
    "for no words": replace(RIGHT, challenge=b""),
    "at another desk": replace(RIGHT, origin="https://desk.example.org"),
    "at another port": replace(RIGHT, origin="https://desk.example:8443"),
    "on an open line": replace(RIGHT, origin="http://desk.example"),
    "nowhere": replace(RIGHT, origin=""),
    "by a passkey of another house": replace(RIGHT, rp_id="desk.example.org"),
    "by a passkey of the whole domain": replace(RIGHT, rp_id="example"),
    "by a user who was not verified": replace(RIGHT, flags=PRESENT),
    "by a user who was not there": replace(RIGHT, flags=VERIFIED),
    "by nobody": replace(RIGHT, flags=0),
    "with data that is not there": replace(RIGHT, flags=PRESENT | VERIFIED | 0x40),
    "with extensions that are not there": replace(RIGHT, flags=PRESENT | VERIFIED | 0x80),
    "to register": replace(RIGHT, kind="webauthn.create"),
}


@every_key
@pytest.mark.parametrize("ceremony", WRONG.values(), ids=WRONG)
def test_a_ceremony_that_was_not_this_one_is_not_valid(key: Key, ceremony: Ceremony) -> None:
    assert not is_valid(key, signed(WORDS, key, ceremony))


def flipped(text: str, bit: int) -> str:
    data = bytearray(b64decode(text))
    data[bit // 8] ^= 1 << bit % 8
    return b64encode(bytes(data)).decode()


def bits(text: str) -> range:
    return range(8 * len(b64decode(text)))


@every_key
def test_no_bit_of_it_can_be_changed(key: Key) -> None:
    said = signed(WORDS, key)
    around = said.passkey
    assert around is not None
    tampered = [said.model_copy(update={"signature": flipped(said.signature, bit)}) for bit in bits(said.signature)]
    for field in ("authenticator_data", "client_data"):
        text = getattr(around, field)
        changes = [around.model_copy(update={field: flipped(text, bit)}) for bit in bits(text)]
        tampered += [said.model_copy(update={"passkey": change}) for change in changes]

    assert not any(is_valid(key, other) for other in tampered)


def test_small_numbers_are_signatures_too() -> None:
    """One in 128 has an r or an s that begins with a zero, which DER leaves out."""
    key = KEYS["ES256"]

    assert all(is_valid(key, signed(WORDS, key)) for _ in range(400))


# --- one kind for the other -----------------------------------------------------------------------------------------
PLAIN: Final = EdDsa()
RAW: Final = keys.public_text(PLAIN.private)
"""The same key as `PLAIN`, registered as a plain one."""


def plainly(words: ReviewDecided) -> ReviewDecided:
    return words.model_copy(update={"signature": keys.sign_bytes(PLAIN.private, words.signed_bytes)})


def test_a_plain_signature_is_not_valid_for_a_passkey_not_even_of_the_same_key() -> None:
    assert VERIFIER.verify(RAW, plainly(WORDS))
    assert not is_valid(PLAIN, plainly(WORDS))
    assert not is_valid(KEYS["ES256"], plainly(WORDS))


def test_a_passkeys_signature_is_not_valid_for_a_plain_key_not_even_the_same() -> None:
    said = signed(WORDS, PLAIN)

    assert is_valid(PLAIN, said)
    assert not VERIFIER.verify(RAW, said)
    assert not VERIFIER.verify(RAW, said.model_copy(update={"passkey": None}))


def test_a_plain_signature_with_a_passkeys_parts_beside_it_is_not_valid_for_either() -> None:
    dressed = plainly(WORDS).model_copy(update={"passkey": signed(WORDS, PLAIN).passkey})

    assert not VERIFIER.verify(RAW, dressed)
    assert not is_valid(PLAIN, dressed)


@every_key
def test_without_its_parts_a_passkeys_signature_is_none(key: Key) -> None:
    bare = signed(WORDS, key).model_copy(update={"passkey": None})

    assert not is_valid(key, bare)
    assert not passkeys.verify(key.cose, bare, b64decode(bare.signature), desk_url=DESK)


# --- where the desk is ----------------------------------------------------------------------------------------------
@every_key
def test_a_house_without_a_desk_takes_no_passkeys(key: Key) -> None:
    assert not KeyVerifier().verify(public_text(key), signed(WORDS, key))


@pytest.mark.parametrize("url", ["http://localhost:8470", "https://desk.example:8443"])
def test_a_passkey_is_bound_to_the_desks_own_address(url: str) -> None:
    key, there = KEYS["ES256"], Ceremony(origin=url, rp_id=passkeys.relying_party(url))

    assert KeyVerifier(url).verify(public_text(key), signed(WORDS, key, there))
    assert not KeyVerifier("https://other.example").verify(public_text(key), signed(WORDS, key, there))


# --- whatever comes -------------------------------------------------------------------------------------------------
def base64(data: st.SearchStrategy[bytes]) -> st.SearchStrategy[str]:
    return data.filter(lambda some: len(some) > 2).map(lambda some: b64encode(some).decode())


JUNK: Final = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=40), st.just([])
)
COSE: Final = st.one_of(
    st.binary(max_size=80),
    JUNK.map(cbor2.dumps),
    st.dictionaries(st.sampled_from([1, 3, -1, -2, -3]), st.one_of(JUNK, st.sampled_from([1, 2, 3, 6, -7, -8, -257])))
    .map(lambda parts: {1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)} | parts)
    .map(cbor2.dumps),
    st.lists(st.sampled_from([1, 3, -1, -2, -3]), max_size=5).map(lambda names: cbor2.dumps(dict.fromkeys(names, 1))),
)
AROUND: Final = st.builds(
    Passkey,
    authenticator_data=base64(st.binary(max_size=80)) | st.just("AAAAA"),
    client_data=base64(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
    | st.sampled_from(["bnVsbA==", "W10="]),
)


@given(COSE.map(lambda data: b64encode(data).decode()) | st.text(max_size=100))
def test_whatever_is_no_key_is_not_valid_and_never_raises(public_key: str) -> None:
    assert not VERIFIER.verify(public_key, signed(WORDS, KEYS["ES256"]))
    assert not VERIFIER.verify(public_key, signed(WORDS, KEYS["EdDSA"]))
    assert not VERIFIER.verify(public_key, WORDS)


@given(AROUND, st.sampled_from(sorted(KEYS)))
def test_whatever_is_said_around_the_words_is_not_valid_and_never_raises(around: Passkey, name: str) -> None:
    said = signed(WORDS, KEYS[name]).model_copy(update={"passkey": around})

    assert not is_valid(KEYS[name], said)
    assert not VERIFIER.verify(RAW, said)


@pytest.mark.parametrize("nested", [b"\x81" * 3_000, b"\x9b" + b"\xff" * 8, b"\x5b" + b"\x7f" * 8, b"\xa1\x01" * 999])
def test_a_key_that_is_deep_or_claims_to_be_large_is_none(nested: bytes) -> None:
    assert not VERIFIER.verify(b64encode(nested).decode(), signed(WORDS, KEYS["ES256"]))


def test_client_data_that_is_deep_is_none() -> None:
    deep = b64encode(b"[" * 3_000).decode()
    said = signed(WORDS, KEYS["ES256"])

    assert not is_valid(
        KEYS["ES256"], said.model_copy(update={"passkey": Passkey(authenticator_data=deep, client_data=deep)})
    )
