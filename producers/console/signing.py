"""The reviewers' door: what one person concludes becomes words, the words are signed, and the signed event is sent.

The private key never comes here: a signature is made wherever the person keeps their key.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Final, TypeAlias, TypeVar

from pydantic import ConfigDict, Field

from rfr_stream.errors import NotPermitted
from rfr_stream.events import (
    UNSIGNED,
    CandidatesReady,
    Examination,
    Feature,
    Finding,
    Passkey,
    Prose,
    Ref,
    ReviewDecided,
    Signed,
    Support,
    Value,
)
from rfr_stream.policy import objection

S = TypeVar("S", bound=Signed)

Sign: TypeAlias = Callable[[bytes], str]
"""Takes `signed_bytes`, returns the base64 of their Ed25519 signature by the signer's key."""

_NONE_FOUND: Final = "none found in a search, component by component"


class Judgement(Value):
    """What one reviewer concludes, in words, with what they saw; a lead, never an identification."""

    model_config = ConfigDict(hide_input_in_errors=True)

    reviewer_id: Ref
    support: Support
    person_id: Ref | None = None
    features: Annotated[tuple[Feature, ...], Field(max_length=64)] = ()
    examination: Examination | None = None
    version: int = 1
    reason: Prose | None = None


def draft(
    judged: CandidatesReady, judgement: Judgement, now: datetime, *, earlier: Sequence[ReviewDecided] = ()
) -> ReviewDecided:
    """Return the decision as it is to be signed; its signature is a blank that no key verifies.

    Raises:
        NotPermitted: policy objects to it, whoever else has decided: the reviewer is told before they sign.

    """
    unsigned = ReviewDecided(
        occurred_at=now,
        submission_id=judged.submission.submission_id,
        list_digest=judged.list_digest,
        similarities=_observed(judgement.features, Finding.SIMILAR),
        dissimilarities=_dissimilarities(judgement.features),
        demo=judged.demo,
        signature=UNSIGNED,
        **dict(judgement),
    )
    if why_not := objection(unsigned, judged, earlier):
        raise NotPermitted(why_not)
    return unsigned


def seal(unsigned: S, signature: str, passkey: Passkey | None = None) -> S:
    """Return the same words with their signature.

    Raises:
        ValueError: it has not the form of one.

    """
    said = {**dict(unsigned), "signature": signature, "passkey": passkey}
    return type(unsigned)(**said)


def _observed(features: Sequence[Feature], *findings: Finding) -> tuple[str, ...]:
    return tuple(_in_words(feature) for feature in features if feature.finding in findings)


def _dissimilarities(features: Sequence[Feature]) -> tuple[str, ...]:
    """Looking and finding none is an entry of its own; where nobody looked, there is none."""
    found = _observed(features, Finding.DISSIMILAR, Finding.EXPLAINED)
    return found or ((_NONE_FOUND,) if features else ())


def _in_words(feature: Feature) -> str:
    what = f"{feature.component.replace('_', ' ')}: {feature.finding.replace('_', ' ')}"
    return f"{what}: {feature.note}"[:500] if feature.note else what
