"""A gallery in memory: exact, and gone with its process. For tests and for galleries that fit a page of numpy."""

from collections.abc import Sequence
from typing import Self
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from rfr_stream.adapters._gallery import (
    best_first,
    collection_name,
    collection_prefix,
    latest,
    require_embedder,
    require_question,
    require_templates,
)
from rfr_stream.events import GalleryName, ModelIdentity
from rfr_stream.ports import Hit, Templates

Collections = dict[str, dict[UUID, NDArray[np.float64]]]
"""Collection name to reference id to template; two galleries may share one, as two embedders share a server."""


class MemoryGallery:
    """Scores every reference in float64, so that equal templates tie exactly whatever BLAS does with the rows."""

    def __init__(self, embedder: ModelIdentity, *, collections: Collections | None = None) -> None:
        self._embedders = {embedder}
        self._collections: Collections = {} if collections is None else collections

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Keep everything: whoever shares the collections still has them."""

    async def open_for(self, embedder: ModelIdentity) -> None:
        """Lend another model's collections too."""
        self._embedders.add(embedder)

    async def enrol(
        self, gallery: GalleryName, ids: Sequence[UUID], templates: Templates, *, embedder: ModelIdentity
    ) -> None:
        """Add or replace references.

        Raises:
            NotPermitted: another embedder.

            Malformed: a template that is none; nothing was written.

        """
        require_embedder(self._embedders, embedder)
        names, rows = latest(ids, require_templates(templates, embedder.dimension))
        held = self._collections.setdefault(collection_name(gallery, embedder), {})
        held.update(zip(names, rows.astype(np.float64), strict=True))

    async def search(
        self, gallery: GalleryName, probes: Templates, *, embedder: ModelIdentity, limit: int, threshold: float
    ) -> list[list[Hit]]:
        """Return for each probe at most `limit` hits of similarity >= threshold, best first, ties by id.

        Raises:
            NotPermitted: another embedder.

            Malformed: a probe that is no template.

        """
        require_embedder(self._embedders, embedder)
        rows = require_templates(probes, embedder.dimension)
        floor = require_question(limit, threshold)
        held = self._collections.get(collection_name(gallery, embedder))
        if not held:
            return [[] for _ in rows]
        scores = (rows.astype(np.float64) @ np.stack(list(held.values())).T).astype(np.float32)  # [P, N]
        return [best_first(zip(held, map(float, row), strict=True), limit=limit, threshold=floor) for row in scores]

    async def erase(self, gallery: GalleryName, ids: Sequence[UUID]) -> None:
        """Remove references, of every embedder; unknown ids are no error."""
        for name, held in self._collections.items():
            if name.startswith(collection_prefix(gallery)):
                for reference_id in ids:
                    held.pop(reference_id, None)

    async def size(self, gallery: GalleryName, *, embedder: ModelIdentity) -> int:
        """Return how many references can be found.

        Raises:
            NotPermitted: another embedder.

        """
        require_embedder(self._embedders, embedder)
        return len(self._collections.get(collection_name(gallery, embedder), {}))

    async def known(self, gallery: GalleryName, ids: Sequence[UUID], *, embedder: ModelIdentity) -> set[UUID]:
        """Return which of these references have a template of this embedder."""
        require_embedder(self._embedders, embedder)
        return self._collections.get(collection_name(gallery, embedder), {}).keys() & set(ids)

    async def page(
        self, gallery: GalleryName, *, embedder: ModelIdentity, after: UUID | None = None, limit: int = 1_000
    ) -> list[UUID]:
        """Return the next of all references that have a template of this embedder, in the order of their ids."""
        require_embedder(self._embedders, embedder)
        held = self._collections.get(collection_name(gallery, embedder), {})
        return sorted(id_ for id_ in held if after is None or id_ > after)[:limit]

    async def keep_only(self, embedder: ModelIdentity) -> None:
        """Remove the collections of every other embedder."""
        kept = {collection_name(gallery, embedder) for gallery in GalleryName}
        for name in self._collections.keys() - kept:
            del self._collections[name]
