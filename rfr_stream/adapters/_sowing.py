"""What may be planted as a known answer, and what it says once its turn has come: one truth for every ledger."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from rfr_stream.errors import NotPermitted
from rfr_stream.events import GalleryName, ImageSubmitted
from rfr_stream.policy import searchable
from rfr_stream.ports import CaseState, Seed

CAME: Final = frozenset(CaseState) - {CaseState.AWAITING_CANDIDATES, CaseState.AWAITING_SUBJECT, CaseState.CLOSED}
"""The states of cases whose list came to people."""


def require_sowable(seed: Seed, held_in: Collection[GalleryName], *, in_earnest: bool) -> None:
    """Refuse a seed that would swallow somebody's request, or whose answer nobody could give.

    Args:
        seed: what is to be planted.

        held_in: the galleries that hold references of the person it is said to show.

        in_earnest: whether the same request came through a door before.

    Raises:
        NotPermitted: it may not be planted.

    """
    if in_earnest:
        msg = "submission_id: submitted in earnest before; whoever asked waits for an answer"
        raise NotPermitted(msg)
    if seed.person_id and not set(held_in) & set(searchable(seed.event.submission)):
        msg = "person_id: none of the galleries that are searched holds this person; reviewers would be blamed for it"
        raise NotPermitted(msg)


def submitted(seed: Seed, now: datetime) -> ImageSubmitted:
    """Return the seed as if somebody submitted it now."""
    submission = seed.event.submission.model_copy(update={"submitted_at": now})
    return seed.event.model_copy(update={"occurred_at": now, "submission": submission})
