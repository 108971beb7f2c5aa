"""Stage 3: who may this be? Leads from the galleries that the purpose opens, each lawfully held now."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias
from uuid import UUID

import numpy as np

from rfr_stream import policy
from rfr_stream.errors import Malformed, NotPermitted, Rejected
from rfr_stream.events import BlobRef, Candidate, CandidatesReady, FaceEmbedded, GalleryName, ModelIdentity
from rfr_stream.ports import BlobStore, Gallery, Hit, Reference, References, Templates
from rfr_stream.stages._batch import Settled, in_batch, one_by_one, paired
from rfr_stream.stages._fusion import RULE, Fused, fuse

_NORM_TOLERANCE: Final = 1e-3
_GROWTH: Final = 4
"""How many times more hits are fetched in each further round."""

_Hits: TypeAlias = dict[GalleryName, list[Hit]]
"""What one probe found in each gallery, best first."""


@dataclass(frozen=True, slots=True)
class SearchRules:
    """T and L of the candidate list, and how many hits are fetched for each place on it before eligibility."""

    threshold: float
    list_length: int
    head_room: int


async def search(
    batch: Sequence[FaceEmbedded],
    *,
    blobs: BlobStore,
    gallery: Gallery,
    references: References,
    embedder: ModelIdentity,
    rules: SearchRules,
    now: datetime,
) -> list[CandidatesReady | Settled]:
    """Search the galleries that the purpose opens; list at most L people at or above T, each lawfully held now."""
    searcher = _Searcher(gallery, references, embedder, rules, now)
    permitted = one_by_one(partial(_permitted_search, embedder), batch)
    parts = [_template_refs(*row) for row in zip(batch, permitted, strict=True)]
    files = iter(await _fetched(blobs, [ref for each in parts for ref in each.values()]))
    templates = [{number: next(files) for number in each} for each in parts]
    probes = one_by_one(partial(_probe, embedder.dimension), paired(permitted, templates))
    found = await in_batch(searcher.search, probes)
    sizes = {name: await gallery.size(name, embedder=embedder) for name in _wanted(permitted)}
    return one_by_one(partial(_candidates_ready, rules, sizes, now), paired(paired(batch, permitted), found))


async def _fetched(blobs: BlobStore, refs: Sequence[BlobRef]) -> list[bytes | Rejected]:
    return await blobs.get(refs) if refs else []


def _permitted_search(embedder: ModelIdentity, event: FaceEmbedded) -> tuple[GalleryName, ...]:
    made = [event.template, *(each.template for each in event.variants if each.template)]
    if any(template.embedder != embedder for template in made):
        msg = "template.embedder: not the embedder of this gallery; templates of two models are never compared"
        raise NotPermitted(msg)
    return policy.searchable(event.submission)


def _template_refs(event: FaceEmbedded, permitted: tuple[GalleryName, ...] | Settled) -> dict[int, BlobRef]:
    """Return where each template lies: of the original (0) and of its variants, by their numbers."""
    if isinstance(permitted, Settled):
        return {}
    own = {event.face_in: event.template.template}
    return own | {each.number: each.template.template for each in event.variants if each.template}


@dataclass(frozen=True, slots=True)
class _Probe:
    """What is searched, where, and the templates that it was made of, by the numbers of their variants."""

    fused: Fused
    galleries: tuple[GalleryName, ...]
    made_of: dict[int, Templates] = field(default_factory=dict)

    @property
    def alone(self) -> dict[int, "_Probe"]:
        """Return each template by itself, where there are several."""
        several = self.made_of if len(self.made_of) > 1 else {}
        return {number: _Probe(Fused(template), self.galleries) for number, template in several.items()}


def _probe(dimension: int, row: tuple[tuple[GalleryName, ...], dict[int, bytes | Rejected]]) -> _Probe:
    galleries, files = row
    made_of = {number: _template(dimension, file) for number, file in files.items()}
    return _Probe(fuse(list(made_of.values())), galleries, made_of)


def _wanted(permitted: Iterable[tuple[GalleryName, ...] | Settled]) -> list[GalleryName]:
    return sorted({name for names in permitted if isinstance(names, tuple) for name in names})


def _template(dimension: int, data: bytes | Rejected) -> Templates:
    """Read float32 [D] back, L2 norm 1."""
    if isinstance(data, Rejected):
        raise data
    if len(data) != 4 * dimension:
        msg = f"template: must be {dimension} float32 values"
        raise Malformed(msg)
    template = np.frombuffer(data, dtype="<f4")
    if not (np.isfinite(template).all() and abs(_norm(template) - 1.0) < _NORM_TOLERANCE):
        msg = "template: must be finite and of L2 norm 1"
        raise Malformed(msg)
    return template


def _norm(template: Templates) -> float:
    return float(np.linalg.norm(template.astype(np.float64)))  # the squares of large float32 overflow


@dataclass(frozen=True, slots=True)
class _Lead:
    """A person of the gallery, by the reference of theirs that is nearest to the probe."""

    reference: Reference
    similarity: float
    found_by: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Searcher:
    """Searches unfiltered with head-room, checks every hit's hold record now, and fetches more where too few remain.

    Filtering inside the scan costs several times the search, and would look at copies of the records: the ledger is
    the truth.
    """

    gallery: Gallery
    references: References
    embedder: ModelIdentity
    rules: SearchRules
    now: datetime

    async def search(self, probes: Sequence[_Probe]) -> list[list[_Lead]]:
        """Return for each probe its leads, best first; none is a result too."""
        leads: list[list[_Lead]] = [[] for _ in probes]
        pending = list(range(len(probes)))
        limit = self._first_limit
        while pending:
            found = await self._hits([probes[i] for i in pending], limit)
            known = await self.references.held(_ids(found))
            for i, hits in zip(pending, found, strict=True):
                leads[i] = self._leads(hits, known)
            pending = [
                i for i, hits in zip(pending, found, strict=True) if self._may_improve(leads[i], hits, limit=limit)
            ]
            limit *= _GROWTH
        return [await self._credited(*row) if row[0].alone else row[1] for row in zip(probes, leads, strict=True)]

    @property
    def _first_limit(self) -> int:
        return self.rules.list_length * self.rules.head_room

    async def _credited(self, probe: _Probe, leads: Sequence[_Lead]) -> list[_Lead]:
        """Say of each lead which templates find that person by themselves, among their own nearest."""
        found = await self._hits(list(probe.alone.values()), self._first_limit)
        known = await self.references.held(_ids(found))
        people = [{known[id_].person_id for id_ in _ids([hits]) if id_ in known} for hits in found]
        numbers = [
            [n for n, seen in zip(probe.alone, people, strict=True) if lead.reference.person_id in seen]
            for lead in leads
        ]
        return [replace(lead, found_by=tuple(sorted(own))) for lead, own in zip(leads, numbers, strict=True)]

    async def _hits(self, probes: Sequence[_Probe], limit: int) -> list[_Hits]:
        hits: list[_Hits] = [{} for _ in probes]
        for name in _wanted(probe.galleries for probe in probes):
            asking = [i for i, probe in enumerate(probes) if name in probe.galleries]
            found = await self.gallery.search(
                name,
                np.stack([probes[i].fused.template for i in asking]),
                embedder=self.embedder,
                limit=limit,
                threshold=self.rules.threshold,
            )
            for i, rows in zip(asking, found, strict=True):
                hits[i][name] = self._weighed(rows, probes[i].fused.weight)
        return hits

    def _weighed(self, rows: list[Hit], weight: float) -> list[Hit]:
        """Weigh what was found; whoever no longer reaches the threshold was not found."""
        if weight == 1:
            return rows
        weighed = [Hit(hit.reference_id, hit.similarity * weight) for hit in rows]
        return [hit for hit in weighed if hit.similarity >= self.rules.threshold]

    def _leads(self, hits: _Hits, known: dict[UUID, Reference]) -> list[_Lead]:
        flat = [(name, hit) for name, rows in hits.items() for hit in rows]
        best: dict[str, _Lead] = {}
        for name, hit in sorted(flat, key=lambda row: (-row[1].similarity, row[1].reference_id)):
            if len(best) == self.rules.list_length:
                break
            reference = known.get(hit.reference_id)
            if reference is None or reference.gallery != name or policy.ineligibility(reference, self.now):
                continue  # fail closed: what the ledger does not vouch for now is not found
            best.setdefault(reference.person_id, _Lead(reference, hit.similarity))
        return list(best.values())

    def _may_improve(self, leads: Sequence[_Lead], hits: _Hits, *, limit: int) -> bool:
        """Whether a gallery that filled the limit may hold, beyond it, somebody who belongs on the list.

        A full list is not enough: it may have been filled from one gallery, while nearer people of another lie
        behind references that are not eligible.
        """
        full = len(leads) >= self.rules.list_length
        beaten_by = leads[-1].similarity if full else -1.0
        return any(len(rows) >= limit and rows[-1].similarity > beaten_by for rows in hits.values())


def _ids(found: Iterable[_Hits]) -> list[UUID]:
    return list({hit.reference_id for hits in found for rows in hits.values() for hit in rows})


def _candidates_ready(
    rules: SearchRules,
    sizes: dict[GalleryName, int],
    now: datetime,
    row: tuple[tuple[FaceEmbedded, tuple[GalleryName, ...]], list[_Lead]],
) -> CandidatesReady:
    (event, names), leads = row
    candidates = tuple(_candidate(rank, lead) for rank, lead in enumerate(leads, start=1))
    submission = event.submission
    return CandidatesReady(
        submission=submission,
        face=event.face,
        face_in=event.face_in,
        variants=event.variants,
        template=event.template,
        fusion=RULE if len(_template_refs(event, names)) > 1 else None,
        candidates=candidates,
        threshold=rules.threshold,
        list_length=rules.list_length,
        gallery_sizes={name: sizes[name] for name in names},
        list_digest=CandidatesReady.digest(submission.submission_id, submission.image.sha256, candidates),
        occurred_at=now,
        demo=event.demo,
    )


def _candidate(rank: int, lead: _Lead) -> Candidate:
    return Candidate(
        rank=rank,
        person_id=lead.reference.person_id,
        reference_id=lead.reference.reference_id,
        gallery=lead.reference.gallery,
        reference=lead.reference.image,
        similarity=round(lead.similarity, 6),  # float32 has no more to say
        found_by=lead.found_by,
    )
