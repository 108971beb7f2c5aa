"""The reviewers' door: one person's signed conclusion about the exact candidate list that they saw.

The private key never comes here: `sign` is wherever the reviewer keeps it.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, TypeAlias

from pydantic import ConfigDict, Field

from rfr_stream.errors import NotPermitted
from rfr_stream.events import CandidatesReady, Event, Prose, Ref, ReviewDecided, Support, Value
from rfr_stream.policy import SAME_SUPPORT

Sign: TypeAlias = Callable[[bytes], str]
"""Takes `signed_bytes`, returns the base64 of their Ed25519 signature by the reviewer's key."""

_UNSIGNED: Final = "A" * 86 + "=="


class Judgement(Value):
    """What one reviewer concludes, in words, with what they saw; a lead, never an identification."""

    model_config = ConfigDict(hide_input_in_errors=True)

    reviewer_id: Ref
    support: Support
    person_id: Ref | None = None
    similarities: Annotated[tuple[Prose, ...], Field(max_length=64)] = ()
    dissimilarities: Annotated[tuple[Prose, ...], Field(max_length=64)] = ()


async def decide(
    judged: CandidatesReady,
    judgement: Judgement,
    *,
    sign: Sign,
    publish: Callable[[Sequence[Event]], Awaitable[None]],
) -> ReviewDecided:
    """Publish the signed decision and return it.

    Raises:
        NotPermitted: the submitter would judge their own request, or the person named is not on the list, or a
            conclusion that names somebody names nobody, or the other way round.

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
    _require_possible(judged, judgement)
    return ReviewDecided(
        occurred_at=datetime.now(UTC),
        submission_id=judged.submission.submission_id,
        list_digest=judged.list_digest,
        demo=judged.demo,
        signature=_UNSIGNED,
        **dict(judgement),
    )


def seal(unsigned: ReviewDecided, sign: Sign) -> ReviewDecided:
    """Return the decision with its signature.

    Raises:
        ValueError: what `sign` returned is no signature.

    """
    return ReviewDecided(**{**dict(unsigned), "signature": sign(unsigned.signed_bytes)})


def _require_possible(judged: CandidatesReady, judgement: Judgement) -> None:
    if judgement.reviewer_id == judged.submission.submitted_by:
        msg = "reviewer_id: nobody judges their own submission"
        raise NotPermitted(msg)
    if (judgement.support in SAME_SUPPORT) != (judgement.person_id is not None):
        msg = "person_id: named if, and only if, the support is for the same person"
        raise NotPermitted(msg)
    listed = {candidate.person_id for candidate in judged.candidates}
    if judgement.person_id is not None and judgement.person_id not in listed:
        msg = "person_id: not on the candidate list"
        raise NotPermitted(msg)
