"""What a page needs to have something signed, and what is done with the signature that comes back."""

from base64 import b64encode
from dataclasses import dataclass
from typing import Self, TypeVar

from pydantic import ValidationError

from producers.console import signing
from producers.console._desk import Desk
from rfr_stream import policy
from rfr_stream.adapters.passkeys import challenge_of
from rfr_stream.desk import Account
from rfr_stream.errors import NotPermitted
from rfr_stream.events import Passkey, Signed
from rfr_stream.ports import Duty

S = TypeVar("S", bound=Signed)


@dataclass(frozen=True, slots=True)
class ToSign:
    """The words to sign: for a person, for an Ed25519 key (base64), and for a passkey (base64 of their SHA-256)."""

    text: str
    words: str
    challenge: str

    @classmethod
    def of(cls, said: Signed) -> Self:
        """Return these words in each form."""
        return cls(
            text=said.signed_bytes.decode(),
            words=b64encode(said.signed_bytes).decode(),
            challenge=b64encode(challenge_of(said)).decode(),
        )


async def sealed_by(desk: Desk, account: Account, said: S, form: dict[str, str], *, duty: Duty = Duty.REVIEW) -> S:
    """Return the words with the signature that a form brought, once it is seen to be this person's.

    Raises:
        NotPermitted: it is none, is not by the key that they are registered with, or their training has lapsed.

    """
    signed = sealed(said, form)
    registered = policy.require_competent(signed, await desk.ledger.reviewer(account.account_id), desk.clock(), duty)
    if not desk.verifier.verify(registered.public_key, signed):
        msg = "signature: not of these words, or not by the key that you are certified with; go back, and sign again"
        raise NotPermitted(msg)
    return signed


def sealed(said: S, form: dict[str, str]) -> S:
    """Return the words with the signature that a form brought, whoever's it is.

    Raises:
        NotPermitted: it is none.

    """
    passkey = None
    try:
        if form.get("authenticator_data"):
            passkey = Passkey(authenticator_data=form["authenticator_data"], client_data=form.get("client_data", ""))
        return signing.seal(said, form.get("signature", ""), passkey)
    except ValidationError as error:
        msg = "signature: not a signature; sign on this page"
        raise NotPermitted(msg) from error
