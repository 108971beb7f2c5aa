"""Stage 3: who may this be? Leads from the galleries that the purpose opens, each lawfully held now."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias
from uuid import UUID

import numpy as np

from rfr_stream import policy
from rfr_stream.errors import NotPermitted
from rfr_stream.events import BlobRef, Candidate, CandidatesReady, FaceEmbedded, GalleryName, ModelIdentity
from rfr_stream.ports import BlobStore, Gallery, Hit, Reference, References, Standing, Templates
from rfr_stream.stages._batch import Settled, in_batch, one_by_one, paired
from rfr_stream.stages._template import read_template

_GROWTH: Final = 4
"""How many times more hits are fetched in each further round."""

_Probe: TypeAlias = tuple[Templates, tuple[GalleryName, ...], frozenset[UUID] | None]
"""A template, the galleries to search, and the references that alone are asked about; None: all."""

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
    files = await in_batch(blobs.get, one_by_one(_template_ref, paired(batch, permitted)))
    templates = one_by_one(partial(read_template, embedder.dimension), files)
    readable = [row[0] for row in paired(batch, templates) if not isinstance(row, Settled)]
    # They stand before they are searched with: whatever comes after this search has looked finds them standing.
    await standing.stand([each for each in readable if policy.stands(each.submission)], now + rules.stand_for)
    found = await in_batch(searcher.search, one_by_one(_probe, paired(paired(batch, permitted), templates)))
    sizes = {name: await gallery.size(name, embedder=embedder) for name in _wanted(permitted)}
    return one_by_one(partial(_candidates_ready, rules, sizes, now), paired(paired(batch, permitted), found))


def _permitted_search(embedder: ModelIdentity, event: FaceEmbedded) -> tuple[GalleryName, ...]:
    if event.template.embedder != embedder:
        msg = "template.embedder: not the embedder of this gallery; templates of two models are never compared"
        raise NotPermitted(msg)
    return policy.searchable(event.submission)


def _template_ref(row: tuple[FaceEmbedded, tuple[GalleryName, ...]]) -> BlobRef:
    return row[0].template.template


def _probe(row: tuple[tuple[FaceEmbedded, tuple[GalleryName, ...]], Templates]) -> _Probe:
    (event, names), template = row
    renewal = event.submission.renewal
    return template, names, frozenset(renewal.references) if renewal else None


def _wanted(permitted: Iterable[tuple[GalleryName, ...] | Settled]) -> list[GalleryName]:
    return sorted({name for names in permitted if isinstance(names, tuple) for name in names})


@dataclass(frozen=True, slots=True)
class _Lead:
    """A person of the gallery, by the reference of theirs that is nearest to the probe."""

    reference: Reference
    similarity: float


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
            found = await self._hits([probes[i] for i in pending], limit)
            known = await self.references.held(_ids(found))
            for i, hits in zip(pending, found, strict=True):
                leads[i] = self._leads(hits, _asked_about(known, probes[i]))
            pending = [
                i for i, hits in zip(pending, found, strict=True) if self._may_improve(leads[i], hits, limit=limit)
            ]
            limit *= _GROWTH
        return leads

    async def _hits(self, probes: Sequence[_Probe], limit: int) -> list[_Hits]:
        hits: list[_Hits] = [{} for _ in probes]
        for name in _wanted(names for _, names, _ in probes):
            asking = [i for i, (_, names, _) in enumerate(probes) if name in names]
            found = await self.gallery.search(
                name,
                np.stack([probes[i][0] for i in asking]),
                embedder=self.embedder,
                limit=limit,
                threshold=self.rules.threshold,
            )
            for i, rows in zip(asking, found, strict=True):
                hits[i][name] = rows
        return hits

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


def _asked_about(known: dict[UUID, Reference], probe: _Probe) -> dict[UUID, Reference]:
    """Return what counts for this probe: of what a standing search asks again, only what came since."""
    _, _, only = probe
    return known if only is None else {id_: reference for id_, reference in known.items() if id_ in only}


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
        template=event.template,
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
    )
