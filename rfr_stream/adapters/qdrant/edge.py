"""The embedded gallery: Qdrant's engine in this process, for a directory that one process owns.

The engine (0.9) holds Python's interpreter lock while it works, so that a thread does not keep the event loop free:
what does is asking little at once. Probes go in slices of about `SLICE_MS`, references in sub-batches, and the loop
turns in between. Writing, opening and compacting have a thread of their own, for the disk they wait on. Searching has
none: a thread added two switches and freed nothing (10,000 x 128: 0.2 ms became 0.4 to 1.1). Should a later engine
let go of the lock, searching belongs in a thread too.

Nor is a batch one matrix product beside the engine: its similarities would differ in their last bits from those of
the same probe alone, and a submission that comes again must get the very same list.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, ParamSpec, Self, TypeVar
from uuid import UUID

from rfr_stream.adapters._gallery import (
    begins_after,
    collection_name,
    collection_prefix,
    latest,
    require_embedder,
    require_question,
    require_templates,
)
from rfr_stream.adapters.qdrant._collection import Collection
from rfr_stream.adapters.qdrant._owner import owned
from rfr_stream.errors import Unavailable
from rfr_stream.events import GalleryName, ModelIdentity
from rfr_stream.ports import Hit, Templates

P = ParamSpec("P")
T = TypeVar("T")

SLICE_MS: Final = 20.0
"""How long the event loop may stand still for one call of the engine."""
_PROBE_MS: Final = 0.1
_SCANNED_PER_MS: Final = 25_000_000
"""What a probe costs whatever the size, and how many coded components a busy core scans (27 to 33 million measured)."""
_ENROL_ROWS: Final = 256
"""References written at once: about 10 ms."""


class EdgeGallery:
    """A gallery on the local disk; `async with` owns the directory, and leaving it flushes.

    Once `enrol` or `erase` returns, its effect survives the death of this process.
    """

    def __init__(self, directory: Path, embedder: ModelIdentity) -> None:
        self._directory = directory
        self._embedders = {embedder}
        self._collections: dict[str, Collection] = {}
        self._stack = ExitStack()
        self._writing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Take the directory and load its collections.

        Raises:
            RfrError: another process owns the directory, or it is damaged.

        """
        self._thread = self._stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="rfr-gallery"))
        try:
            await self._run(self._open)
        except BaseException:
            self._stack.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Flush, close and give the directory back."""
        async with self._writing:
            await self._run(self._owned.close)
        self._stack.close()

    async def open_for(self, embedder: ModelIdentity) -> None:
        """Lend another model's collections too.

        Raises:
            RfrError: one of them is damaged.

        """
        if embedder in self._embedders:
            return
        async with self._writing:
            await self._run(self._open_collections, embedder)
            self._embedders.add(embedder)

    async def enrol(
        self, gallery: GalleryName, ids: Sequence[UUID], templates: Templates, *, embedder: ModelIdentity
    ) -> None:
        """Add or replace references; on disk and visible to the next search once this returns.

        Raises:
            NotPermitted: another embedder.

            Malformed: a template that is none; nothing was written.

            Unavailable: the disk would not take it.

        """
        require_embedder(self._embedders, embedder)
        names, rows = latest(ids, require_templates(templates, embedder.dimension))
        async with self._writing:
            for start in range(0, len(names), _ENROL_ROWS):
                part = slice(start, start + _ENROL_ROWS)
                await self._run(self._upsert, gallery, embedder, names[part], rows[part])

    async def search(
        self, gallery: GalleryName, probes: Templates, *, embedder: ModelIdentity, limit: int, threshold: float
    ) -> list[list[Hit]]:
        """Return for each probe at most `limit` hits of similarity >= threshold, best first, ties by id.

        Raises:
            NotPermitted: another embedder.

            Malformed: a probe that is no template.

            Unavailable: the engine failed.

        """
        require_embedder(self._embedders, embedder)
        rows = require_templates(probes, embedder.dimension)
        floor = require_question(limit, threshold)
        collection = self._collections.get(collection_name(gallery, embedder))
        if collection is None:
            return [[] for _ in rows]
        hits: list[list[Hit]] = []
        step = _probes_per_slice(collection.size, embedder.dimension)
        for start in range(0, len(rows), step):
            await asyncio.sleep(0)
            with _translated():
                hits += collection.search(rows[start : start + step], limit, floor)
        return hits

    async def erase(self, gallery: GalleryName, ids: Sequence[UUID]) -> None:
        """Remove references, of every embedder; unknown ids are no error. `compact` removes their bytes.

        Raises:
            Unavailable: the disk would not take it.

        """
        if not ids:
            return
        async with self._writing:
            for name in self._names(collection_prefix(gallery)):
                async with self._opened(name) as collection:
                    await self._run(collection.delete, ids)

    async def size(self, gallery: GalleryName, *, embedder: ModelIdentity) -> int:
        """Return how many references can be found.

        Raises:
            NotPermitted: another embedder.

        """
        require_embedder(self._embedders, embedder)
        collection = self._collections.get(collection_name(gallery, embedder))
        return collection.size if collection else 0

    async def known(self, gallery: GalleryName, ids: Sequence[UUID], *, embedder: ModelIdentity) -> set[UUID]:
        """Return which of these references have a template of this embedder.

        Raises:
            NotPermitted: another embedder.

        """
        require_embedder(self._embedders, embedder)
        collection = self._collections.get(collection_name(gallery, embedder))
        return await self._run(collection.known, ids) if collection and ids else set()

    async def page(
        self, gallery: GalleryName, *, embedder: ModelIdentity, after: UUID | None = None, limit: int = 1_000
    ) -> list[UUID]:
        """Return the next of all references that have a template of this embedder, in the order of their ids.

        Raises:
            NotPermitted: another embedder.

        """
        require_embedder(self._embedders, embedder)
        collection = self._collections.get(collection_name(gallery, embedder))
        return await self._run(collection.page, begins_after(after), limit) if collection else []

    async def keep_only(self, embedder: ModelIdentity) -> None:
        """Remove the collections of every other embedder, files and all; nobody may be searching them.

        Raises:
            Unavailable: the disk would not take it.

        """
        kept = {collection_name(gallery, embedder) for gallery in GalleryName}
        async with self._writing:
            for name in self._names():
                if name not in kept:
                    await self._run(self._remove, name)

    async def compact(self) -> None:
        """Remove the bytes of erased and replaced templates from the files, of every embedder.

        Rebuilds each collection that holds such bytes. Searches go on meanwhile; enrolment waits. A kill at any
        point leaves the old collection or the new one. What a disk keeps of removed files is the disk's affair:
        encrypt it.

        Raises:
            Unavailable: the disk would not take it; the old collection stays.

        """
        async with self._writing:
            for name in self._names():
                await self._compact(name)

    async def _compact(self, name: str) -> None:
        async with self._opened(name) as collection:
            if not collection.has_remains:
                return
            rebuild = await self._run(collection.rebuild)
            while await self._run(rebuild.copy_some):
                pass
            await self._run(rebuild.commit)
            with _translated():  # on the loop, where searches run: none can meet the old shard half closed
                collection.go_over()
            await self._run(collection.tidy_up)

    @asynccontextmanager
    async def _opened(self, name: str) -> AsyncIterator[Collection]:
        """Lend a collection of whichever embedder; another's is open only as long as it is needed."""
        if name in self._collections:
            yield self._collections[name]
            return
        collection = await self._run(Collection, self._directory / name)
        try:
            yield collection
        finally:
            await self._run(collection.close)

    def _open(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(owned(self._directory))
            stack.callback(self._close_collections)
            Collection.remove_unfinished(self._directory)
            for embedder in self._embedders:
                self._open_collections(embedder)
            self._owned = stack.pop_all()

    def _open_collections(self, embedder: ModelIdentity) -> None:
        for name in (collection_name(gallery, embedder) for gallery in GalleryName):
            if name not in self._collections and (self._directory / name).exists():
                self._collections[name] = Collection(self._directory / name)

    def _close_collections(self) -> None:
        while self._collections:
            self._collections.popitem()[1].close()

    def _upsert(self, gallery: GalleryName, embedder: ModelIdentity, ids: Sequence[UUID], templates: Templates) -> None:
        name = collection_name(gallery, embedder)
        if name not in self._collections:
            self._collections[name] = Collection.create(self._directory / name, embedder)
        self._collections[name].upsert(ids, templates)

    def _remove(self, name: str) -> None:
        if collection := self._collections.pop(name, None):
            collection.close()
        Collection.remove(self._directory / name)

    def _names(self, prefix: str = "rfr-") -> list[str]:
        return sorted(path.name for path in self._directory.glob(f"{prefix}*") if path.is_dir())

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def translated() -> T:
            with _translated():
                return work(*args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._thread, translated)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what the engine and the disk raise into `Unavailable`; our own errors and bugs pass."""
    try:
        yield
    except OSError as error:
        msg = "the gallery's directory cannot be read or written"
        raise Unavailable(msg) from error
    except Exception as error:
        if type(error) is not Exception:  # the engine's errors have no class of their own
            raise
        msg = "the embedded gallery engine failed"
        raise Unavailable(msg) from error


def _probes_per_slice(size: int, dimension: int) -> int:
    probe_ms = _PROBE_MS + size * dimension / _SCANNED_PER_MS
    return max(1, int(SLICE_MS / probe_ms))
