"""The gallery's own way in."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from rfr_stream import policy
from rfr_stream.errors import Malformed, NotPermitted
from rfr_stream.events import CaseDisposed, ReferenceErased, ReferenceSubmitted, Source
from rfr_stream.ports import (
    Aligner,
    BlobStore,
    Codec,
    Conflict,
    Detector,
    Embedder,
    Gallery,
    Hit,
    Reference,
    References,
    Templates,
)
from rfr_stream.stages._batch import Settled, in_batch, one_by_one, paired
from rfr_stream.stages._faces import Opening
from rfr_stream.stages._references import ReferenceFaces, Upright, Wanted
from rfr_stream.stages.erasure import make_unsearchable, reference_folder, remove
from rfr_stream.stages.standing import Lookout, StandingRules

_LIKE: Final = 64
"""How many of the nearest are looked at for each reference: more images than one person should have."""


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
    lookout: Lookout,
    standing: StandingRules,
    min_score: float,
    max_image_bytes: int,
    conflict_threshold: float,
    notice: Callable[[Sequence[Conflict]], None],
    clock: Callable[[], datetime],
) -> list[Settled | None]:
    """Bring references into the gallery with their hold records; erasures pass by, which have a reader of their own.

    One face under two persons is reported, and given to `notice` the first time; it stops nobody, and nothing is
    merged: which of the two records is wrong is for people to find out. Whoever comes in is compared with the probes
    that stand, once every search can find them.

    What was erased stays erased, so that order between the two cannot matter. Order between batches does: they must
    not run at the same time.
    """
    submitted = [event for event in batch if isinstance(event, ReferenceSubmitted)]
    look_out = partial(lookout.meet, rules=standing)
    register = _Register(embedder, gallery, references, blobs, conflict_threshold, notice, look_out, clock)
    permitted = await register.admit(submitted)
    faces = ReferenceFaces(Opening(blobs, codec, max_image_bytes), detector, aligner, min_score)
    upright = await faces.upright(one_by_one(_wanted, permitted))
    verdicts = iter(await in_batch(register.enrol, paired(permitted, upright)))
    return [next(verdicts) if isinstance(event, ReferenceSubmitted) else None for event in batch]


def _wanted(event: ReferenceSubmitted) -> Wanted:
    return Wanted(event.image, event.subject)


@dataclass(frozen=True, slots=True)
class _Register:
    """Templates first, hold records second: a reference is found only once the ledger vouches for it."""

    embedder: Embedder
    gallery: Gallery
    references: References
    blobs: BlobStore
    conflict_threshold: float
    notice: Callable[[Sequence[Conflict]], None]
    meet: Callable[..., Awaitable[None]]
    clock: Callable[[], datetime]

    async def admit(self, events: Sequence[ReferenceSubmitted]) -> list[ReferenceSubmitted | Settled]:
        """Return what may be enrolled.

        A new hold record of a reference that is held already counts from here on: a restriction waits for no picture.
        """
        ids = [event.reference_id for event in events]
        erased, held = await self.references.erased(ids), await self.references.held(ids)
        await self._turn_away([event for event in events if event.reference_id in erased])
        doors = defaultdict(set, await self.references.doors([event.image.sha256 for event in events]))
        restricted = {key for key, reference in held.items() if reference.restricted}
        admitted = one_by_one(partial(_permitted, erased, doors, restricted), events)
        renewed = [event for event in admitted if isinstance(event, ReferenceSubmitted) and event.reference_id in held]
        if renewed:  # whose face it is, only the picture says
            await self.references.hold(list(map(as_held, renewed)))
        return admitted

    async def _turn_away(self, events: Sequence[ReferenceSubmitted]) -> None:
        """Keep no image of what was erased, but remember its door: an erasure may overtake what it is about."""
        if events:  # whoever hands in an erased image again has stored it already
            await self.blobs.delete_under([reference_folder(event.reference_id) for event in events])
            await self._remember_doors(events)

    async def enrol(self, rows: Sequence[tuple[ReferenceSubmitted, Upright]]) -> list[None]:
        """Embed, enrol and hold; again is harmless."""
        events = [event for event, _ in rows]
        templates = await self.embedder.embed([face.chip.pixels for _, face in rows])
        await self._correct(rows)
        for name in sorted({event.gallery for event in events}):
            mine = [i for i, event in enumerate(events) if event.gallery == name]
            ids = [events[i].reference_id for i in mine]
            await self.gallery.enrol(name, ids, templates[mine], embedder=self.embedder.identity)
        await self._remember_doors(events)
        await self._hold(rows)
        if new := await self.references.report(await self._conflicts(events, templates)):
            self.notice(new)
        # An erasure does not wait for what is in hand here.
        if late := await self.references.erased([event.reference_id for event in events]):
            await remove(late, blobs=self.blobs, gallery=self.gallery)
        await self._look_out(events, templates)
        return [None for _ in rows]

    async def _correct(self, rows: Sequence[tuple[ReferenceSubmitted, Upright]]) -> None:
        """Take those that were held for another face out of every model's collections: a template is made anew of each.

        Before the record says so, since by that alone a redelivery knows them; and behind it, since until then a change
        of model may have embedded the face that was meant before.
        """
        held = await self.references.held([event.reference_id for event, _ in rows])
        corrected = [
            (event, face)
            for event, face in rows
            if (before := held.get(event.reference_id)) and not face.is_at(before.subject)
        ]
        if corrected:
            ids = {event.reference_id for event, _ in corrected}
            await make_unsearchable(ids, gallery=self.gallery)
            await self._hold(corrected)
            await make_unsearchable(ids, gallery=self.gallery)

    async def _remember_doors(self, events: Sequence[ReferenceSubmitted]) -> None:
        await self.references.entrust({e.image.sha256: e.hold.door for e in events if policy.is_entrusted(e.hold.door)})

    async def _hold(self, rows: Sequence[tuple[ReferenceSubmitted, Upright]]) -> None:
        await self.references.hold([replace(as_held(event), subject=face.centre) for event, face in rows])

    async def _conflicts(self, events: Sequence[ReferenceSubmitted], templates: Templates) -> list[Conflict]:
        """Return where these meet a face that another person of the same gallery has; those of one batch meet too."""
        found: list[tuple[ReferenceSubmitted, list[Hit]]] = []
        for name in sorted({event.gallery for event in events}):
            mine = [i for i, event in enumerate(events) if event.gallery == name]
            hits = await self.gallery.search(
                name,
                templates[mine],
                embedder=self.embedder.identity,
                limit=_LIKE,
                threshold=self.conflict_threshold,
            )
            found += zip([events[i] for i in mine], hits, strict=True)
        known = await self.references.held(list({hit.reference_id for _, hits in found for hit in hits}))
        return [
            Conflict.between(as_held(event), other, round(hit.similarity, 6))
            for event, hits in found
            for hit in hits
            if (other := known.get(hit.reference_id)) and other.person_id != event.person_id
        ]

    async def _look_out(self, events: Sequence[ReferenceSubmitted], templates: Templates) -> None:
        """Compare what may be found now, by its newest hold record, with the probes that stand."""
        held = await self.references.held([event.reference_id for event in events])
        here = [held.get(event.reference_id) for event in events]
        now = self.clock()  # a batch takes its time: it is here, not when it began, that others may still come
        mine = [i for i, each in enumerate(here) if policy.ineligibility(each, now) is None]
        found = [each for i in mine if (each := here[i])]
        await self.meet(found, templates[mine], embedder=self.embedder.identity, now=now)


def _permitted(
    erased: AbstractSet[UUID], doors: defaultdict[str, set[Source]], restricted: set[UUID], event: ReferenceSubmitted
) -> ReferenceSubmitted:
    if event.reference_id in erased:
        msg = "reference_id: was erased and may not be enrolled again"
        raise NotPermitted(msg)
    if event.reference_id != ReferenceSubmitted.derive(event.person_id, event.gallery, event.image.sha256):
        msg = "reference_id: not the id of this image of this person in this gallery"
        raise Malformed(msg)
    if not _is_its_own(event):
        msg = "image: must be kept as references/<reference_id>/..., so that erasing takes it away, and nothing else"
        raise Malformed(msg)
    came_by = doors[event.image.sha256]
    policy.require_enrollable(event.gallery, event.hold.door, came_by)
    door = policy.door_of(event.gallery, event.hold.door, came_by)
    # Whoever gives us an image knows nothing of restrictions, and lifts none by saying the same again.
    is_kept = event.hold.restricted or (event.reference_id in restricted and policy.is_entrusted(event.hold.door))
    came_by.add(door)  # for the rest of the batch, as is this
    (restricted.add if is_kept else restricted.discard)(event.reference_id)
    return event.model_copy(update={"hold": event.hold.model_copy(update={"door": door, "restricted": is_kept})})


def _is_its_own(event: ReferenceSubmitted) -> bool:
    """Whether the image is kept in its reference's own folder, so that erasing that takes it away, and nothing else."""
    *_, key = event.image.uri.split("/", 3)  # <store>://<bucket>/<key>
    return key.startswith(f"{reference_folder(event.reference_id)}/")


def as_held(event: ReferenceSubmitted) -> Reference:
    """Return the reference as the ledger is to hold it, but for the place of the face, which the picture says."""
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
        recorded_at=event.occurred_at,
        age_at_capture=event.hold.age_at_capture,
        case_ref=event.hold.case_ref,
        disposal=event.hold.disposal,
        door=event.hold.door,
        regime=event.hold.regime,
        found=event.hold.found,
    )


async def dispose(batch: Sequence[CaseDisposed], *, references: References) -> list[None]:
    """Put on record what became of cases; every search from here on asks policy what that does to their images."""
    await references.dispose(batch)
    return [None for _ in batch]
