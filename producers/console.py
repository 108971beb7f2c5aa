"""The reviewers' door: one person's signed conclusion about the exact candidate list that they saw.

The private key never comes here: `sign` is wherever the reviewer keeps it.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, TypeAlias

from pydantic import ConfigDict, Field

from rfr_stream.errors import NotPermitted
from rfr_stream.events import CandidatesReady, Event, Observation, Ref, ReviewDecided, Support, Value
from rfr_stream.policy import objection

Sign: TypeAlias = Callable[[bytes], str]
"""Takes `signed_bytes`, returns the base64 of their Ed25519 signature by the reviewer's key."""

UNSIGNED: Final = "A" * 86 + "=="
"""A blank that no key verifies."""


class Judgement(Value):
    """What one reviewer concludes, in words, with what they saw; a lead, never an identification."""

    model_config = ConfigDict(hide_input_in_errors=True)

    reviewer_id: Ref
    support: Support
    person_id: Ref | None = None
    similarities: Annotated[tuple[Observation, ...], Field(max_length=64)] = ()
    dissimilarities: Annotated[tuple[Observation, ...], Field(max_length=64)] = ()


async def decide(
    judged: CandidatesReady,
    judgement: Judgement,
    *,
    sign: Sign,
    publish: Callable[[Sequence[Event]], Awaitable[None]],
) -> ReviewDecided:
    """Publish the signed decision and return it.

    Raises:
        NotPermitted: policy objects to it, whoever else has decided: the reviewer is told before they sign.

        ValueError: what `sign` returned is no signature.

        Unavailable: the bus is away; nothing is known of the decision, and the same call again says the same.

    """
    decision = seal(draft(judged, judgement), sign)
    await publish([decision])
    return decision


def draft(judged: CandidatesReady, judgement: Judgement) -> ReviewDecided:
    """Return the decision as it is to be signed; its signature is a blank that no key verifies.

    Raises:
        NotPermitted: as `decide`.

    """
    unsigned = ReviewDecided(
        occurred_at=datetime.now(UTC),
        submission_id=judged.submission.submission_id,
        list_digest=judged.list_digest,
        demo=judged.demo,
        signature=UNSIGNED,
        **dict(judgement),
    )
    if why_not := objection(unsigned, judged, ()):
        raise NotPermitted(why_not)
    return unsigned


def seal(unsigned: ReviewDecided, sign: Sign) -> ReviewDecided:
    """Return the decision with its signature.

    Raises:
        ValueError: what `sign` returned is no signature.

    """
    return ReviewDecided(**{**dict(unsigned), "signature": sign(unsigned.signed_bytes)})
