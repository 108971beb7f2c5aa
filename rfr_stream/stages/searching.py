"""Stage 3: who may this be? Leads from the galleries that the purpose opens, each lawfully held now."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias
from uuid import UUID

import numpy as np

from rfr_stream import policy
from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import (
    BlobRef,
    Candidate,
    CandidatesReady,
    FaceEmbedded,
    GalleryName,
    ModelIdentity,
    Submission,
)
from rfr_stream.ports import BlobStore, Gallery, Hit, Reference, References, Standing, Templates
from rfr_stream.stages._batch import Settled, in_batch, one_by_one, paired
from rfr_stream.stages._fusion import RULE, Fused, fuse
from rfr_stream.stages._template import read_template

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
    stand_for: timedelta = timedelta(days=90)
    """How long somebody who is missing is searched for again by later enrolments."""


async def search(
    batch: Sequence[FaceEmbedded],
    *,
    blobs: BlobStore,
    gallery: Gallery,
    references: References,
    standing: Standing,
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
    probes = one_by_one(partial(_probe, embedder.dimension), paired(paired(batch, permitted), templates))
    await references.entrust(policy.entrusted(event.submission for event in batch))
    readable = [row[0] for row in paired(batch, probes) if not isinstance(row, Settled)]
    # They stand before they are searched with: whatever comes after this search has looked finds them standing.
    await standing.stand([each for each in readable if policy.stands(each.submission)], now + rules.stand_for)
    found = await in_batch(searcher.search, probes)
    sizes = {name: await gallery.size(name, embedder=embedder) for name in _wanted(permitted)}
    return one_by_one(partial(_candidates_ready, rules, sizes, now), paired(paired(batch, permitted), found))


async def people_found(
    templates: Templates,
    galleries: tuple[GalleryName, ...],
    *,
    gallery: Gallery,
    references: References,
    embedder: ModelIdentity,
    rules: SearchRules,
    now: datetime,
) -> list[list[str]]:
    """Return for each template, float32 [N, D], the people that a search would list, best first; it leaves no trace."""
    searcher = _Searcher(gallery, references, embedder, rules, now)
    found = await searcher.search([_Probe(Fused(template), galleries) for template in templates])
    return [[lead.reference.person_id for lead in leads] for leads in found]


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
    """What is searched, where, what was asked, and the templates that it was made of, by the variants' numbers."""

    fused: Fused
    galleries: tuple[GalleryName, ...]
    made_of: dict[int, Templates] = field(default_factory=dict)
    asked: Submission | None = None
    """None: of templates that nobody has submitted."""

    @property
    def alone(self) -> dict[int, "_Probe"]:
        """Return each template by itself, where there are several."""
        several = self.made_of if len(self.made_of) > 1 else {}
        return {number: _Probe(Fused(template), self.galleries) for number, template in several.items()}


def _probe(
    dimension: int, row: tuple[tuple[FaceEmbedded, tuple[GalleryName, ...]], dict[int, bytes | Rejected]]
) -> _Probe:
    (event, galleries), files = row
    made_of = {number: read_template(dimension, file) for number, file in files.items()}
    return _Probe(fuse(list(made_of.values())), galleries, made_of, event.submission)


def _wanted(permitted: Iterable[tuple[GalleryName, ...] | Settled]) -> list[GalleryName]:
    return sorted({name for names in permitted if isinstance(names, tuple) for name in names})


@dataclass(frozen=True, slots=True)
class _Lead:
    """A person of the gallery, by the reference of theirs that is nearest to the probe."""

    reference: Reference
    similarity: float
    found_by: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Alone:
    """Which of several templates find which reference by themselves; `is_whole`: as far as there are any."""

    found_by: dict[UUID, tuple[int, ...]]
    is_whole: bool

    def may_add(self, hits: _Hits) -> bool:
        """Whether somebody found together may be found alone, too, once more hits are fetched."""
        return not self.is_whole and any(id_ not in self.found_by for id_ in _ids([hits]))


def _alone(found: dict[int, _Hits], limit: int) -> _Alone:
    found_by: dict[UUID, tuple[int, ...]] = {}
    for number, hits in sorted(found.items()):
        for id_ in _ids([hits]):
            found_by[id_] = (*found_by.get(id_, ()), number)
    full = [len(rows) >= limit for hits in found.values() for rows in hits.values()]
    return _Alone(found_by, not any(full))


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
        limit = self.rules.list_length * self.rules.head_room
        while pending:
            asked = [probes[i] for i in pending]
            found, alone = await self._hits(asked, limit), await self._alone(asked, limit)
            known = await self.references.held(_ids(found))
            rows = list(zip(pending, found, alone, strict=True))
            for i, hits, by_itself in rows:
                leads[i] = self._leads(hits, _asked_about(known, probes[i]), by_itself)
            pending = [
                i
                for i, hits, by_itself in rows
                if self._may_improve(leads[i], hits, limit=limit) or (by_itself and by_itself.may_add(hits))
            ]
            limit *= _GROWTH
        return leads

    async def _alone(self, probes: Sequence[_Probe], limit: int) -> list[_Alone | None]:
        """Return what each template of a probe finds by itself; None: there is only one."""
        parts = [probe.alone for probe in probes]
        found = iter(await self._hits([single for each in parts for single in each.values()], limit))
        return [_alone({number: next(found) for number in each}, limit) if each else None for each in parts]

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

    def _leads(self, hits: _Hits, known: dict[UUID, Reference], alone: _Alone | None) -> list[_Lead]:
        flat = [(name, hit) for name, rows in hits.items() for hit in rows]
        best: dict[str, _Lead] = {}
        for name, hit in sorted(flat, key=lambda row: (-row[1].similarity, row[1].reference_id)):
            if len(best) == self.rules.list_length:
                break
            reference = known.get(hit.reference_id)
            if reference is None or reference.gallery != name or policy.ineligibility(reference, self.now):
                continue  # fail closed: what the ledger does not vouch for now is not found
            if alone and hit.reference_id not in alone.found_by:
                continue  # together they would let in strangers whom no image brings
            found_by = alone.found_by[hit.reference_id] if alone else ()
            best.setdefault(reference.person_id, _Lead(reference, hit.similarity, found_by))
        return list(best.values())

    def _may_improve(self, leads: Sequence[_Lead], hits: _Hits, *, limit: int) -> bool:
        """Whether a gallery that filled the limit may hold, beyond it, somebody who belongs on the list.

        A full list is not enough: it may have been filled from one gallery, while nearer people of another lie
        behind references that are not eligible.
        """
        full = len(leads) >= self.rules.list_length
        beaten_by = leads[-1].similarity if full else -1.0
        return any(len(rows) >= limit and rows[-1].similarity > beaten_by for rows in hits.values())


def _asked_about(known: dict[UUID, Reference], probe: _Probe) -> dict[UUID, Reference]:
    """Return what counts for this probe: not its own image; of what a standing search asks again, only what is new."""
    asked = probe.asked
    if asked is None:
        return known
    only = asked.renewal.references if asked.renewal else known.keys()
    return {id_: held for id_, held in known.items() if id_ in only and not policy.is_its_own(asked, held)}


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
