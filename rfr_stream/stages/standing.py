"""Beside the gallery: does a reference that has just come show somebody who is still sought? One matrix product."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np

from rfr_stream import policy
from rfr_stream.errors import Rejected, settle
from rfr_stream.events import FaceEmbedded, GalleryName, ModelIdentity
from rfr_stream.ports import BlobStore, Meeting, Reference, Standing, Templates
from rfr_stream.stages._template import read_template


@dataclass(frozen=True, slots=True)
class StandingRules:
    """From which similarity a reference meets a probe, and how long it waits for others to make one list with."""

    threshold: float
    gather: timedelta


@dataclass(frozen=True, slots=True)
class _Watched:
    """A probe that stands: where it may be found, and its template."""

    galleries: AbstractSet[GalleryName]
    template: Templates


class Lookout:
    """The templates of the probes that stand, kept between batches. Probes are never compared with each other.

    They lie in the blob store and in the memory of whoever enrols; no gallery ever has one. Each batch asks the ledger
    anew who stands, after its references can be found: a probe that begins to stand later, searches later.

    Of a probe with variants, the main template alone is compared here; who is asked about is for the renewed search to
    say, which searches with all of them. A reference that only a variant would find goes unmet.
    """

    def __init__(self, blobs: BlobStore, standing: Standing) -> None:
        """Remember where; no I/O."""
        self._blobs, self._standing = blobs, standing
        self._watched: dict[UUID, _Watched | None] = {}
        """None of a probe whose template cannot be read."""

    async def meet(
        self,
        references: Sequence[Reference],
        templates: Templates,
        *,
        embedder: ModelIdentity,
        rules: StandingRules,
        now: datetime,
    ) -> None:
        """Put on record which of these references, each found lawfully now, lie near a probe that stands.

        `templates` float32 [N, D], L2 norm 1, one of each reference.
        """
        await self._refresh(await self._standing.standing(embedder, now), embedder)
        watched = [(id_, each) for id_, each in self._watched.items() if each]
        if not watched or not references:
            return
        similarities = templates @ np.stack([each.template for _, each in watched]).T  # [N, P]
        near = [
            Meeting(watched[p][0], references[n].reference_id, references[n].person_id, float(similarities[n, p]))
            for n, p in np.argwhere(similarities >= rules.threshold)
            if references[n].gallery in watched[p][1].galleries
        ]
        if near:
            await self._standing.meet(near, now + rules.gather)

    async def _refresh(self, standing: AbstractSet[UUID], embedder: ModelIdentity) -> None:
        self._watched = {id_: each for id_, each in self._watched.items() if id_ in standing}
        new = await self._standing.probes(standing - self._watched.keys())
        files = await self._blobs.get([probe.template.template for probe in new.values()])
        for (id_, probe), file in zip(new.items(), files, strict=True):
            self._watched[id_] = _watch(probe, file, embedder.dimension)


def _watch(probe: FaceEmbedded, file: bytes | Rejected, dimension: int) -> _Watched | None:
    template = settle(read_template, dimension, file)
    galleries = settle(policy.searchable, probe.submission)
    if isinstance(template, Rejected) or isinstance(galleries, Rejected):
        return None
    return _Watched(frozenset(galleries), template)
