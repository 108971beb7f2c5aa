"""Which images may be held in which gallery, and which of those may be found now. Whatever is missing fails closed."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import Enum
from typing import Final

from rfr_stream.errors import NotPermitted
from rfr_stream.events import CaseDisposed, Disposal, GalleryName, Purpose, Source, Submission
from rfr_stream.policy.searching import RULES
from rfr_stream.ports import Reference

# --- which door leads to which gallery --------------------------------------------------------------------------------
ENROLS: Final[dict[GalleryName, frozenset[Source]]] = {
    # Where suspects are sought: what the police took themselves. An image that somebody gave so that a person would
    # be found, or that the public sent in, is not turned against anybody.
    GalleryName.CUSTODY: frozenset({Source.OFFICER}),
    GalleryName.MISSING: frozenset({Source.OFFICER, Source.MISSING_PERSON, Source.PUBLIC_APPEAL}),
    GalleryName.DECEASED: frozenset({Source.OFFICER, Source.DECEASED_PERSON, Source.PUBLIC_APPEAL}),
}
"""Galleries x doors."""


def is_entrusted(door: Source) -> bool:
    """Whether what comes through this door was given to us to find somebody: never held where suspects are sought."""
    return door not in ENROLS[GalleryName.CUSTODY]


def entrusted(submissions: Iterable[Submission]) -> dict[str, Source]:
    """Return the images (SHA-256) that were given to us to find somebody, by the door that they came through."""
    given = [each for each in submissions if is_entrusted(each.source)]
    return {image: submission.source for submission in given for image in submission.image_digests}


def require_enrollable(gallery: GalleryName, door: Source, came_by: AbstractSet[Source] = frozenset()) -> None:
    """Refuse an image that came through a door which does not lead to this gallery.

    Where suspects are sought, every door counts that this very image is known to have `came_by`, whatever is said now.

    Raises:
        NotPermitted: one of them does not lead there.

    """
    doors = {door, *came_by} if gallery in RULES[Purpose.SUSPECT].galleries else {door}
    if closed := sorted(doors - ENROLS[gallery]):
        msg = f"door: what came through {', '.join(closed)} may not enter the gallery {gallery}"
        raise NotPermitted(msg)


def door_of(gallery: GalleryName, door: Source, came_by: AbstractSet[Source]) -> Source:
    """Return the door that goes on record: that an image was entrusted to us, no later word takes back."""
    entrusted = (came_by & ENROLS[gallery]) - ENROLS[GalleryName.CUSTODY]
    return min(entrusted) if entrusted and door in ENROLS[GalleryName.CUSTODY] else door


# --- what a case's end does to the images taken in it -----------------------------------------------------------------
class Effect(Enum):
    """What becomes of an image, from the moment that this is on record."""

    MAY_BE_SEARCHED = "may be searched"
    PRESUMED_DELETED = "may not be searched; is to be deleted, unless there is an exceptional reason to keep it"
    TO_BE_DELETED = "may not be searched; is to be deleted"


EFFECTS: Final[dict[Disposal, Effect]] = {
    Disposal.UNDER_INVESTIGATION: Effect.MAY_BE_SEARCHED,
    Disposal.CHARGED: Effect.MAY_BE_SEARCHED,
    Disposal.CONVICTED: Effect.MAY_BE_SEARCHED,
    Disposal.OUT_OF_COURT: Effect.MAY_BE_SEARCHED,
    Disposal.NO_FURTHER_ACTION: Effect.PRESUMED_DELETED,
    Disposal.DISCONTINUED: Effect.PRESUMED_DELETED,
    Disposal.ACQUITTED: Effect.PRESUMED_DELETED,
    Disposal.QUASHED: Effect.PRESUMED_DELETED,
    Disposal.DELETION_ACCEPTED: Effect.TO_BE_DELETED,
}

ADULT_AGE: Final = 18

_DISPOSABLE: Final = frozenset({GalleryName.CUSTODY})
"""What became of a case says nothing of an image that is held so that its person may be found."""


def _ended(reference: Reference) -> str | None:
    """Return which disposal forbids to find this image, or None."""
    if reference.gallery not in _DISPOSABLE:
        return None
    if reference.disposal and EFFECTS[reference.disposal] is not Effect.MAY_BE_SEARCHED:
        return reference.disposal
    heard = (said for said in reference.disposed if _is_about(said, reference))
    return next((said.disposal for said in heard if not _leaves_searchable(said, reference)), None)


def _is_about(said: CaseDisposed, reference: Reference) -> bool:
    return reference.person_id == said.person_id and reference.case_ref in {None, said.case_ref}


def _leaves_searchable(said: CaseDisposed, reference: Reference) -> bool:
    """Whether the image may still be found.

    Keeping the image of somebody who was not convicted needs an exceptional reason and, of a child, somebody else's
    word too; whose age nobody has written down is taken for a child.
    """
    effect = EFFECTS[said.disposal]
    if effect is not Effect.PRESUMED_DELETED:
        return effect is Effect.MAY_BE_SEARCHED
    is_adult = reference.age_at_capture is not None and reference.age_at_capture >= ADULT_AGE
    return said.exceptional_reason is not None and (is_adult or said.authorised_by is not None)


# --- now --------------------------------------------------------------------------------------------------------------
def ineligibility(reference: Reference | None, now: datetime) -> str | None:
    """Return why this reference may not be found now, or None. Whatever is missing fails closed; so does all of it."""
    if reference is None:
        return "not_held"
    return _incomplete(reference) or _not_now(reference, now) or _ended(reference)


def is_its_own(submission: Submission, reference: Reference) -> bool:
    """Whether this reference is one of the submission's own images, held in the submission's own case.

    Who hands in an image to search with it and to hold it says nothing new by being found: it never meets itself. The
    same image in another case is a lead, and another image in the same case may be of another of its people.
    """
    return reference.case_ref == submission.case_ref and reference.image.sha256 in submission.image_digests


def _incomplete(reference: Reference) -> str | None:
    for field in ("legal_basis", "source", "captured_at", "review_due", "restricted", "door"):
        if getattr(reference, field) in (None, ""):
            return f"{field}_missing"
    if reference.door not in ENROLS[reference.gallery]:
        return "wrong_door"
    return None


def _not_now(reference: Reference, now: datetime) -> str | None:
    if reference.restricted:
        return "restricted"
    if reference.captured_at > now:  # type: ignore[operator]  # what is incomplete was refused before
        return "captured_in_the_future"
    if reference.review_due <= now:  # type: ignore[operator]  # as above
        return "review_overdue"
    return None
