"""The gallery's own way in and out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from rfr_stream.errors import BadImage, NotPermitted
from rfr_stream.events import BlobRef, ReferenceErased, ReferenceSubmitted
from rfr_stream.faces import Face, subject_of
from rfr_stream.ports import (
    Aligner,
    BlobStore,
    Chip,
    Codec,
    Detector,
    Embedder,
    Gallery,
    Picture,
    Reference,
    References,
)
from rfr_stream.stages._batch import Settled, in_batch, one_by_one, paired
from rfr_stream.stages._faces import Subject, bring_upright, find_faces


async def enrol(
    batch: Sequence[ReferenceSubmitted | ReferenceErased],
    *,
    blobs: BlobStore,
    codec: Codec,
    detector: Detector,
    aligner: Aligner,
    embedder: Embedder,
    gallery: Gallery,
    references: References,
    min_score: float,
) -> list[Settled | None]:
    """Bring references into the gallery with their hold records, and erase them for good.

    Erasures of a batch come last: what was erased stays erased, so that order between the two cannot matter.
    """
    submitted = [event for event in batch if isinstance(event, ReferenceSubmitted)]
    enroller = _Enroller(embedder, gallery, references)
    permitted = _not_erased(submitted, await references.erased([event.reference_id for event in submitted]))
    pictures = await in_batch(codec.decode, await in_batch(blobs.get, permitted))
    faces = await in_batch(partial(find_faces, detector, min_score), pictures)
    chips = await in_batch(
        partial(bring_upright, aligner), one_by_one(_reference_subject, paired(paired(submitted, pictures), faces))
    )
    verdicts = iter(await in_batch(enroller.enrol, paired(submitted, chips)))
    results = [next(verdicts) if isinstance(event, ReferenceSubmitted) else None for event in batch]
    await _erase([event for event in batch if isinstance(event, ReferenceErased)], blobs, gallery, references)
    return results


def _not_erased(submitted: Sequence[ReferenceSubmitted], erased: set[UUID]) -> list[BlobRef | Settled]:
    refusal = NotPermitted("reference_id: was erased and may not be enrolled again")
    return [refusal if event.reference_id in erased else event.image for event in submitted]


def _reference_subject(row: tuple[tuple[ReferenceSubmitted, Picture], list[Face]]) -> Subject:
    (event, picture), faces = row
    face = subject_of(faces, event.subject.scaled(1 / picture.scale) if event.subject else None)
    if face is None:
        msg = f"image: {len(faces)} faces found where one is needed; send one face, or say which by subject"
        raise BadImage(msg)
    return Subject(picture, face)


@dataclass(frozen=True, slots=True)
class _Enroller:
    """Templates first, hold records second: a reference is found only once the ledger vouches for it."""

    embedder: Embedder
    gallery: Gallery
    references: References

    async def enrol(self, rows: Sequence[tuple[ReferenceSubmitted, Chip]]) -> list[None]:
        """Embed, enrol and hold; again is harmless."""
        templates = await self.embedder.embed([chip.pixels for _, chip in rows])
        for name in sorted({event.gallery for event, _ in rows}):
            mine = [i for i, (event, _) in enumerate(rows) if event.gallery == name]
            ids = [rows[i][0].reference_id for i in mine]
            await self.gallery.enrol(name, ids, templates[mine], embedder=self.embedder.identity)
        await self.references.hold([_reference(event) for event, _ in rows])
        return [None for _ in rows]


def _reference(event: ReferenceSubmitted) -> Reference:
    return Reference(
        reference_id=event.reference_id,
        person_id=event.person_id,
        gallery=event.gallery,
        image=event.image,
        legal_basis=event.hold.legal_basis,
        source=event.hold.source,
        captured_at=event.hold.captured_at,
        review_due=event.hold.review_due,
        restricted=event.hold.restricted,
    )


async def _erase(events: Sequence[ReferenceErased], blobs: BlobStore, gallery: Gallery, references: References) -> None:
    """Unsearchable first, then the image, then the record: a crash in between is finished by the redelivery."""
    ids = [event.reference_id for event in events]
    for name in sorted({event.gallery for event in events}):
        await gallery.erase(name, [event.reference_id for event in events if event.gallery == name])
    await blobs.delete([reference.image for reference in (await references.held(ids)).values()])
    await references.erase(ids)
