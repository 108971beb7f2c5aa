"""The gallery on a Qdrant server or cluster (1.18 or newer): for several processes, or for more than one machine.

The same collections and the same scan as the embedded engine's. On a server the scan follows from `m=0`: with no
graph to walk, a search that is not `exact` scores every code of every segment, one thread a segment.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import grpc  # type: ignore[import-untyped]  # comes with qdrant-client, without types
import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from rfr_stream.adapters._gallery import (
    begins_after,
    best_first,
    collection_name,
    collection_prefix,
    cuts_a_tie,
    just_below,
    latest,
    require_embedder,
    require_question,
    require_templates,
)
from rfr_stream.errors import RfrError, Unavailable
from rfr_stream.events import GalleryName, ModelIdentity
from rfr_stream.ports import Hit, Templates
from rfr_stream.settings import GallerySettings

T = TypeVar("T")

_ROWS: Final = 256
"""References or probes in one request: half a megabyte of 512 float32."""

_QUANTISED: Final = models.SearchParams(  # rescoring is off unless asked for, and then scores are the codes'
    exact=False, quantization=models.QuantizationSearchParams(rescore=True, oversampling=4.0)
)
_CALLERS_FAULT: Final = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
}
_NOT_LET_IN: Final = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
_REFUSED: Final = "the Qdrant server refused this client: check RFR_GALLERY__API_KEY and what it may do"

_patiently: Final = retry(
    retry=retry_if_exception_type(Unavailable),
    stop=stop_after_attempt(3),
    wait=wait_random_exponential(multiplier=0.1, max=1.0),
    reraise=True,
)
"""Every request is repeatable: points are written and deleted by id."""


def connect(settings: GallerySettings) -> AsyncQdrantClient:
    """Return a client of the server that the settings name; nothing is sent yet.

    Raises:
        RfrError: an API key would travel in the clear.

    """
    url = urlsplit(settings.url or "")
    if settings.api_key and url.scheme != "https" and url.hostname not in {"localhost", "127.0.0.1", "::1"}:
        msg = "RFR_GALLERY__URL: must be https where RFR_GALLERY__API_KEY is set"
        raise RfrError(msg)
    return AsyncQdrantClient(
        url=settings.url,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        https=url.scheme == "https",
        prefer_grpc=settings.prefer_grpc,
        grpc_port=settings.grpc_port,
        timeout=settings.timeout_s,
        check_compatibility=False,  # it would ask from a thread that outlives us, and only warn
    )


class QdrantGallery:
    """A gallery on a server; once `enrol` or `erase` returns, a majority of the replicas have it.

    Searching needs no right to write: a collection that does not exist is an empty gallery.
    """

    def __init__(
        self,
        settings: GallerySettings,
        embedder: ModelIdentity,
        *,
        connect: Callable[[GallerySettings], AsyncQdrantClient] = connect,
    ) -> None:
        self._settings = settings
        self._embedders = {embedder}
        self._connect = connect
        self._known: set[str] = set()

    async def __aenter__(self) -> Self:
        """Make the client; the first request connects."""
        self._client = self._connect(self._settings)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._client.close()

    async def open_for(self, embedder: ModelIdentity) -> None:
        """Lend another model's collections too."""
        self._embedders.add(embedder)

    async def enrol(
        self, gallery: GalleryName, ids: Sequence[UUID], templates: Templates, *, embedder: ModelIdentity
    ) -> None:
        """Add or replace references; visible to the next search once this returns.

        Raises:
            NotPermitted: another embedder.

            Malformed: a template that is none; nothing was written.

            Unavailable: the server is away, or too few replicas are.

        """
        require_embedder(self._embedders, embedder)
        names, rows = latest(ids, require_templates(templates, embedder.dimension))
        if not names:
            return
        collection = collection_name(gallery, embedder)
        await self._ensure(collection, embedder.dimension)
        for start in range(0, len(names), _ROWS):
            await self._upsert(collection, names[start : start + _ROWS], rows[start : start + _ROWS])

    async def search(
        self, gallery: GalleryName, probes: Templates, *, embedder: ModelIdentity, limit: int, threshold: float
    ) -> list[list[Hit]]:
        """Return for each probe at most `limit` hits of similarity >= threshold, best first, ties by id.

        Raises:
            NotPermitted: another embedder.

            Malformed: a probe that is no template.

            Unavailable: the server is away.

        """
        require_embedder(self._embedders, embedder)
        rows = require_templates(probes, embedder.dimension)
        floor = require_question(limit, threshold)
        collection = collection_name(gallery, embedder)
        if not len(rows) or not await self._exists(collection):
            return [[] for _ in rows]
        hits: list[list[Hit]] = []
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            # One more than asked for shows whether the last place is a tie that the server cut as it liked.
            found = await self._query(collection, part, limit + 1, floor)
            for probe, points in zip(part, found, strict=True):
                whole = await self._whole_ties(collection, probe, points, limit=limit, threshold=floor)
                scores = ((UUID(str(point.id)), point.score) for point in whole)
                hits.append(best_first(scores, limit=limit, threshold=floor))
        return hits

    async def erase(self, gallery: GalleryName, ids: Sequence[UUID]) -> None:
        """Remove references, of every embedder; unknown ids are no error.

        The server rewrites its files once a thousandth of a collection is erased; until then, and in its write-ahead
        log for a while longer, bytes of erased templates stay on its disks: encrypt them.

        Raises:
            Unavailable: the server is away, or too few replicas are.

        """
        if not ids:
            return
        for name in await self._names():
            if name.startswith(collection_prefix(gallery)):
                await self._delete(name, ids)

    async def size(self, gallery: GalleryName, *, embedder: ModelIdentity) -> int:
        """Return how many references can be found.

        Raises:
            NotPermitted: another embedder.

            Unavailable: the server is away.

        """
        require_embedder(self._embedders, embedder)
        collection = collection_name(gallery, embedder)
        if not await self._exists(collection):
            return 0
        return (await self._ask(lambda client: client.count(collection, exact=True))).count

    async def known(self, gallery: GalleryName, ids: Sequence[UUID], *, embedder: ModelIdentity) -> set[UUID]:
        """Return which of these references have a template of this embedder.

        Raises:
            NotPermitted: another embedder.

            Unavailable: the server is away.

        """
        require_embedder(self._embedders, embedder)
        collection, asked = collection_name(gallery, embedder), [str(reference_id) for reference_id in ids]
        if not asked or not await self._exists(collection):
            return set()
        found = await self._ask(
            lambda client: client.retrieve(
                collection,
                asked,
                with_payload=False,
                with_vectors=False,
                consistency=models.ReadConsistencyType.MAJORITY,
            )
        )
        return {UUID(str(record.id)) for record in found}

    async def page(
        self, gallery: GalleryName, *, embedder: ModelIdentity, after: UUID | None = None, limit: int = 1_000
    ) -> list[UUID]:
        """Return the next of all references that have a template of this embedder, in the order of their ids.

        Raises:
            NotPermitted: another embedder.

            Unavailable: the server is away.

        """
        require_embedder(self._embedders, embedder)
        collection, begin = collection_name(gallery, embedder), begins_after(after)
        if not await self._exists(collection):
            return []
        found, _ = await self._ask(
            lambda client: client.scroll(
                collection,
                limit=limit,
                offset=str(begin) if begin else None,
                with_payload=False,
                with_vectors=False,
                consistency=models.ReadConsistencyType.MAJORITY,
            )
        )
        return [UUID(str(record.id)) for record in found]

    async def keep_only(self, embedder: ModelIdentity) -> None:
        """Remove the collections of every other embedder, for good.

        Raises:
            Unavailable: the server is away.

        """
        kept = {collection_name(gallery, embedder) for gallery in GalleryName}
        ours = tuple(map(collection_prefix, GalleryName))  # the server may have others that are not ours
        for name in await self._names():
            if name.startswith(ours) and name not in kept:
                await self._remove(name)

    async def _names(self) -> list[str]:
        listed = await self._ask(lambda client: client.get_collections())
        return sorted(collection.name for collection in listed.collections)

    async def _remove(self, collection: str) -> None:
        await self._ask(lambda client: client.delete_collection(collection))
        self._known.discard(collection)

    async def _upsert(self, collection: str, ids: Sequence[UUID], templates: Templates) -> None:
        points = models.Batch(ids=[str(reference_id) for reference_id in ids], vectors=templates.tolist())
        await self._ask(lambda client: client.upsert(collection, points, wait=True))

    async def _delete(self, collection: str, ids: Sequence[UUID]) -> None:
        points = models.PointIdsList(points=[str(reference_id) for reference_id in ids])
        await self._ask(lambda client: client.delete(collection, points, wait=True))

    async def _query(
        self, collection: str, probes: Templates, limit: int, threshold: float
    ) -> list[list[models.ScoredPoint]]:
        requests = [
            models.QueryRequest(query=probe, limit=limit, params=_QUANTISED, score_threshold=just_below(threshold))
            for probe in probes.tolist()
        ]
        answers = await self._ask(
            # Written by a majority, read by a majority: what was enrolled is seen, whichever node is asked.
            lambda client: client.query_batch_points(
                collection, requests, consistency=models.ReadConsistencyType.MAJORITY
            )
        )
        return [answer.points for answer in answers]

    async def _whole_ties(
        self, collection: str, probe: Templates, points: list[models.ScoredPoint], *, limit: int, threshold: float
    ) -> list[models.ScoredPoint]:
        asked = limit + 1
        while cuts_a_tie(points, limit=limit, asked=asked):
            asked *= 2
            [points] = await self._query(collection, probe[np.newaxis], asked, threshold)
        return points

    async def _exists(self, collection: str) -> bool:
        if collection not in self._known and await self._ask(lambda client: client.collection_exists(collection)):
            self._known.add(collection)
        return collection in self._known

    async def _ensure(self, collection: str, dimension: int) -> None:
        """Create the collection unless it is there; of several processes that try, one does and all go on."""
        if await self._exists(collection):
            return
        try:
            await self._ask(self._create(collection, dimension))
        except (UnexpectedResponse, grpc.RpcError, ValueError):
            if not await self._exists(collection):
                raise

    def _create(self, collection: str, dimension: int) -> Callable[[AsyncQdrantClient], Awaitable[bool]]:
        return lambda client: client.create_collection(
            collection,
            # Dot, not Cosine: templates are unit already, and are stored as they came.
            vectors_config=models.VectorParams(size=dimension, distance=models.Distance.DOT),
            hnsw_config=models.HnswConfigDiff(m=0),
            # Unlike int8, TurboQuant needs no optimiser run: each point is coded when it is written.
            quantization_config=models.TurboQuantization(
                turbo=models.TurboQuantQuantizationConfig(
                    bits=models.TurboQuantBitSize.BITS4, memory=models.Memory.PINNED
                )
            ),
            optimizers_config=models.OptimizersConfigDiff(deleted_threshold=0.001, vacuum_min_vector_number=100),
            shard_number=self._settings.shards,
            replication_factor=self._settings.replicas,
            write_consistency_factor=self._settings.replicas // 2 + 1,
        )

    async def _ask(self, call: Callable[[AsyncQdrantClient], Awaitable[T]]) -> T:
        async def once() -> T:
            with _translated():
                return await call(self._client)

        return await _patiently(once)()


@contextmanager
def _translated() -> Iterator[None]:
    """Sort what the client raises: away, not let in (which no message can help), or our own mistake, as it is."""
    away = "the Qdrant server cannot be reached or cannot serve"
    try:
        yield
    except (ResponseHandlingException, ResourceExhaustedResponse) as error:
        raise Unavailable(away) from error
    except UnexpectedResponse as error:
        if error.status_code in {401, 403}:
            raise Unavailable(_REFUSED) from error
        if error.status_code is None or error.status_code >= 500 or error.status_code in {408, 429}:  # noqa: PLR2004 - HTTP's own
            raise Unavailable(away) from error
        raise
    except grpc.aio.AioRpcError as error:
        if error.code() in _NOT_LET_IN:
            raise Unavailable(_REFUSED) from error
        if error.code() not in _CALLERS_FAULT:
            raise Unavailable(away) from error
        raise
