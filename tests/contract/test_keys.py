"""Signatures that only their owner can make, and private keys that only their owner can read."""

from base64 import b64encode
from pathlib import Path

import builders
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from rfr_stream.adapters import keys
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.errors import Malformed, NotPermitted
from rfr_stream.events import Signed
from rfr_stream.ports import Verifier


class Words(Signed):
    """Words of any bytes, with any signature."""

    body: bytes

    @property
    def signer(self) -> str:
        return "reviewer-a"

    @property
    def signed_bytes(self) -> bytes:
        return self.body


def words(body: bytes, signature: str) -> Words:
    return Words.model_construct(occurred_at=builders.NOW, body=body, signature=signature)


VERIFIER: Verifier = KeyVerifier()
MESSAGE = b"what was signed"
KEY = builders.private_key("reviewer-a")
PUBLIC = keys.public_text(KEY)
SIGNATURE = b64encode(KEY.sign(MESSAGE)).decode()
OURS, ANOTHER = "correct horse", "battery staple"


def test_a_signature_is_good_for_its_key_and_message_alone() -> None:
    assert VERIFIER.verify(PUBLIC, words(MESSAGE, SIGNATURE))
    assert not VERIFIER.verify(PUBLIC, words(MESSAGE + b"!", SIGNATURE))
    assert not VERIFIER.verify(keys.public_text(builders.private_key("reviewer-b")), words(MESSAGE, SIGNATURE))


def test_a_decision_that_was_signed_here_verifies() -> None:
    assert VERIFIER.verify(PUBLIC, builders.decision(by="reviewer-a"))


# The published vectors of RFC 8032, section 7.1: another implementation's signatures.
@pytest.mark.parametrize(
    ("public_key", "message", "signature"),
    [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            (
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"  # R, then
                "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
            ),  # S
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            (
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
            ),
        ),
    ],
)
def test_the_published_vectors_verify(public_key: str, message: str, signature: str) -> None:
    key, signed = (b64encode(bytes.fromhex(value)).decode() for value in (public_key, signature))

    assert VERIFIER.verify(key, words(bytes.fromhex(message), signed))


@given(st.text(max_size=100) | st.binary(max_size=80).map(lambda data: b64encode(data).decode()))
def test_whatever_is_malformed_is_not_valid_and_never_raises(text: str) -> None:
    assert not VERIFIER.verify(text, words(MESSAGE, SIGNATURE))
    assert not VERIFIER.verify(PUBLIC, words(MESSAGE, text))


@pytest.mark.parametrize("spelling", [SIGNATURE + "\n", " " + SIGNATURE, SIGNATURE[:-2], SIGNATURE.replace("=", "")])
def test_a_signature_has_one_spelling(spelling: str) -> None:
    assert not VERIFIER.verify(PUBLIC, words(MESSAGE, spelling))


def test_the_unused_bits_of_base64_cannot_make_a_second_spelling() -> None:
    # 64 bytes leave four bits of the last letter unused; most decoders ignore them.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet.index(SIGNATURE[-3])
    assert last % 16 == 0

    spellings = [f"{SIGNATURE[:-3]}{alphabet[last + bits]}==" for bits in range(16)]

    assert [VERIFIER.verify(PUBLIC, words(MESSAGE, spelling)) for spelling in spellings] == [True] + [False] * 15


def test_new_keys_differ() -> None:
    assert len({keys.public_text(keys.generate()) for _ in range(8)}) == 8


def test_a_saved_key_is_the_same_key_to_whoever_knows_the_passphrase(tmp_path: Path) -> None:
    keys.save(KEY, tmp_path / "key.pem", passphrase=OURS)

    loaded = keys.load(tmp_path / "key.pem", passphrase=OURS)

    assert keys.public_text(loaded) == PUBLIC


def test_a_saved_key_is_its_owners_and_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"

    keys.save(KEY, path, passphrase=OURS)

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert KEY.private_bytes_raw() not in path.read_bytes()


def test_a_wrong_passphrase_opens_nothing(tmp_path: Path) -> None:
    keys.save(KEY, tmp_path / "key.pem", passphrase=OURS)

    with pytest.raises(NotPermitted, match=r"^passphrase: "):
        keys.load(tmp_path / "key.pem", passphrase=ANOTHER)


def test_a_file_that_holds_no_such_key_is_refused(tmp_path: Path) -> None:
    other = X25519PrivateKey.generate()
    secret = BestAvailableEncryption(OURS.encode())
    (tmp_path / "other.pem").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    (tmp_path / "garbage.pem").write_bytes(b"garbage")

    for name in ("other.pem", "garbage.pem"):
        with pytest.raises(NotPermitted):
            keys.load(tmp_path / name, passphrase=OURS)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    keys.save(KEY, tmp_path / "key.pem", passphrase=OURS)

    with pytest.raises(FileExistsError):
        keys.save(keys.generate(), tmp_path / "key.pem", passphrase=OURS)

    assert keys.public_text(keys.load(tmp_path / "key.pem", passphrase=OURS)) == PUBLIC


def test_a_key_is_never_saved_without_a_passphrase(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"[Pp]assword"):
        keys.save(KEY, tmp_path / "key.pem", passphrase="")

    assert not (tmp_path / "key.pem").exists()


@pytest.mark.parametrize("text", ["", "junk", "AAAA", "tVhdEIN62PA4wfHXprzwg5IYbAHK/H7j9EuwXxlHas"])
def test_what_is_no_public_key_is_not_registered(text: str) -> None:
    with pytest.raises(Malformed, match="public key"):
        keys.checked_public_text(text)


def test_the_public_half_of_a_key_can_be_registered() -> None:
    public = keys.public_text(keys.generate())
    assert keys.checked_public_text(public) == public
