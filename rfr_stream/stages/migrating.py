"""A change of model: every reference that is held gets a template of the new one, beside those that serve.

Nothing is noted on the way: what a reference still lacks, the gallery and the ledger say, however often this is killed.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from rfr_stream.errors import Rejected
from rfr_stream.events import GalleryName
from rfr_stream.ports import BlobStore, Chip, Gallery, Reference, References, Vision
from rfr_stream.stages._batch import Settled
from rfr_stream.stages._faces import Opening
from rfr_stream.stages._references import ReferenceFaces, Wanted

_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class ReferenceRules:
    """What a reference image must be, and how many are embedded at once."""

    min_score: float
    max_image_bytes: int
    batch_items: int


@dataclass(frozen=True, slots=True)
class Lacking:
    """A reference that the new model has no template of, and why."""

    reference_id: UUID
    gallery: GalleryName
    reason: str


class Migration:
    """Brings a model's collections up to what the ledger holds."""

    def __init__(
        self, *, blobs: BlobStore, vision: Vision, gallery: Gallery, references: References, rules: ReferenceRules
    ) -> None:
        """Remember the ports; `gallery` must have been opened for the model of `vision`."""
        self._gallery, self._references, self._embedder = gallery, references, vision.embedder
        opening = Opening(blobs, vision.codec, rules.max_image_bytes)
        self._faces = ReferenceFaces(opening, vision.detector, vision.aligner, rules.min_score)
        self._batch_items = rules.batch_items
        self._refused: dict[UUID, str] = {}
        self.lacking: list[Lacking] = []
        """Those that the last pass, once it is over, left without a template."""

    async def catch_up(self) -> AsyncIterator[int]:
        """Pass over all that is held, and bring what has no template; yield how many were looked at since.

        A reference that this process has refused is not tried again.
        """
        self.lacking = []
        page = await self._references.page(limit=_PAGE)
        while page:
            missing = await self.missing_among(page)
            yield len(page) - len(missing)
            for start in range(0, len(missing), self._batch_items):
                part = missing[start : start + self._batch_items]
                await self._bring([each for each in part if each.reference_id not in self._refused])
                self.lacking += await self._still_lacking(part)
                yield len(part)
            page = await self._references.page(after=page[-1].reference_id, limit=_PAGE)

    async def missing_among(self, page: Sequence[Reference]) -> list[Reference]:
        """Return those of which the model has no template."""
        ids: defaultdict[GalleryName, list[UUID]] = defaultdict(list)
        for each in page:
            ids[each.gallery].append(each.reference_id)
        known = {
            id_
            for name, mine in ids.items()
            for id_ in await self._gallery.known(name, mine, embedder=self._embedder.identity)
        }
        return [each for each in page if each.reference_id not in known]

    async def sweep(self) -> int:
        """Remove what was erased while its template was being made; return how many.

        Nobody could be found by it, since the ledger holds it no more.
        """
        swept = 0
        for name in GalleryName:
            page = await self._gallery.page(name, embedder=self._embedder.identity)
            while page:
                gone = await self._references.erased(page)
                await self._erase(gone)
                swept += len(gone)
                page = await self._gallery.page(name, embedder=self._embedder.identity, after=page[-1])
        return swept

    async def _bring(self, references: Sequence[Reference]) -> None:
        faces = await self._faces.upright([Wanted(each.image, each.subject) for each in references])
        rows: list[tuple[Reference, Chip]] = []
        for reference, face in zip(references, faces, strict=True):
            if isinstance(face, Settled):
                self._refused[reference.reference_id] = _why(face)
            else:
                rows.append((reference, face.chip))
        if rows:
            await self._enrol(rows)

    async def _enrol(self, rows: Sequence[tuple[Reference, Chip]]) -> None:
        templates = await self._embedder.embed([chip.pixels for _, chip in rows])
        for name in sorted({reference.gallery for reference, _ in rows}):
            mine = [i for i, (reference, _) in enumerate(rows) if reference.gallery == name]
            ids = [rows[i][0].reference_id for i in mine]
            await self._gallery.enrol(name, ids, templates[mine], embedder=self._embedder.identity)
        # Whoever was erased meanwhile was erased from a collection that did not have them yet.
        await self._erase(await self._references.erased([reference.reference_id for reference, _ in rows]))
        if corrected := await self._corrected([reference for reference, _ in rows]):
            await self._bring(corrected)

    async def _corrected(self, references: Sequence[Reference]) -> list[Reference]:
        """Return those that were held for another face when they were read, as they are held now."""
        held = await self._references.held([each.reference_id for each in references])
        now = [(each, held.get(each.reference_id)) for each in references]
        return [new for each, new in now if new and new.subject != each.subject]

    async def _erase(self, ids: set[UUID]) -> None:
        for name in GalleryName if ids else ():
            await self._gallery.erase(name, sorted(ids))

    async def _still_lacking(self, references: Sequence[Reference]) -> list[Lacking]:
        """Return those that were refused and are held all the same: an image that is gone may have been erased."""
        refused = [each for each in references if each.reference_id in self._refused]
        held = await self._references.held([each.reference_id for each in refused])
        return [
            Lacking(each.reference_id, each.gallery, self._refused[each.reference_id])
            for each in refused
            if each.reference_id in held
        ]


def _why(settled: Settled) -> str:
    return f"{settled.reason}: {settled}" if isinstance(settled, Rejected) else type(settled).__name__
