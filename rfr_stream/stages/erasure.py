"""The gallery's way out: who was held, and must go."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from rfr_stream.errors import NotPermitted, Rejected, settle
from rfr_stream.events import GalleryName, ReferenceErased, ReferenceSubmitted
from rfr_stream.ports import BlobStore, Gallery, Reference, References


async def erase(
    batch: Sequence[ReferenceSubmitted | ReferenceErased],
    *,
    blobs: BlobStore,
    gallery: Gallery,
    references: References,
) -> list[Rejected | None]:
    """Erase references for good, enrolled or not; what is handed in beside them passes by.

    On record first: every search asks the ledger, so that from there on nobody finds them. What is left of them then
    goes by their ids alone, so that the redelivery finishes what a crash interrupts, although it finds nothing held.
    An enrolment may be at work on the same reference: either it finds it erased once its template is in, and removes
    that itself, or its template is in before the record, and so before what is removed here.
    """
    ends = [event for event in batch if isinstance(event, ReferenceErased)]
    held = await references.held([event.reference_id for event in ends])
    verdicts = [settle(_require_person, held, event) for event in ends]
    ids = {event.reference_id for event, verdict in zip(ends, verdicts, strict=True) if verdict is None}
    if ids:
        await references.erase(sorted(ids))
        await remove(ids, blobs=blobs, gallery=gallery)
    verdict_of = iter(verdicts)
    return [next(verdict_of) if isinstance(event, ReferenceErased) else None for event in batch]


async def remove(ids: Collection[UUID], *, blobs: BlobStore, gallery: Gallery) -> None:
    """Remove the templates and the images of references that are on record as erased."""
    await make_unsearchable(ids, gallery=gallery)
    await blobs.delete_under(list(map(reference_folder, ids)))


async def make_unsearchable(ids: Collection[UUID], *, gallery: Gallery) -> None:
    """Take references out of every model's collections."""
    for name in GalleryName:  # wherever it lies: what names the wrong gallery must be erased all the same
        await gallery.erase(name, sorted(ids))


def reference_folder(reference_id: UUID) -> str:
    """Return the folder of the store in which a reference's image is kept, and nothing else."""
    return f"references/{reference_id}"


def _require_person(held: Mapping[UUID, Reference], event: ReferenceErased) -> None:
    known = held.get(event.reference_id)
    if known and known.person_id != event.person_id:
        msg = "person_id: the reference is not of this person; nothing was erased"
        raise NotPermitted(msg)
