"""One collection of the embedded engine, on disk. Synchronous; one caller writes at a time.

    <collection>/embedder.json          the whole identity that the templates belong to
    <collection>/CURRENT                the generation that counts, replaced atomically
    <collection>/<generation>/shard/    the engine's files
    <collection>/<generation>/remains   there are bytes of erased or replaced templates in this generation

Deleting is a mark in the engine's files, and its write-ahead log keeps what was written: bytes go only when a
generation goes. So a rebuild copies the survivors into a new generation, makes it CURRENT and removes the old one.
Whatever CURRENT does not name is an unfinished rebuild or a finished one's leftover, and goes on opening.
"""

import os
import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, Self, cast
from uuid import UUID

import numpy as np
import qdrant_edge as engine

from rfr_stream.adapters._gallery import best_first, cuts_a_tie, just_below
from rfr_stream.errors import RfrError
from rfr_stream.events import ModelIdentity
from rfr_stream.ports import Hit, Templates

EXACT_BELOW: Final = 4_096
"""Below this many references the scan reads the templates themselves: it costs less than it could lose."""
OVERSAMPLING: Final = 2.5
"""Codes preselect this many times the hits asked for: of 100,000 x 512, recall@30 0.9995, where 2.0 gave 0.9951."""
PRESELECTED: Final = 64
"""And never fewer, since a short list has less to lose: of 100,000 x 512, recall@10 1.0000, where 28 gave 0.9961."""
COPY_ROWS: Final = 512
"""References that a rebuild copies at a time; searches run in between."""

_BUILDING: Final = ".building-"
_CURRENT: Final = "CURRENT"
_REMAINS: Final = "remains"
_FIRST: Final = "000001"

_EXACT: Final = engine.SearchParams(exact=True)


class Collection:
    """The templates of one gallery and one embedder; open from construction to `close`."""

    def __init__(self, path: Path) -> None:
        """Open what is there, and finish what a killed rebuild left.

        Raises:
            RfrError: the directory is damaged.

        """
        self._path = path
        self._generation = _current(path)
        self.embedder = ModelIdentity.model_validate_json((path / "embedder.json").read_bytes())
        self.tidy_up()
        self._shard = engine.EdgeShard.load(str(self._generation / "shard"))

    @classmethod
    def create(cls, path: Path, embedder: ModelIdentity) -> Self:
        """Make an empty collection; a kill on the way leaves nothing that counts."""
        building = path.with_name(_BUILDING + path.name)
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        _new_shard(building / _FIRST, embedder.dimension).close()
        (building / "embedder.json").write_text(embedder.model_dump_json())
        _write_current(building, _FIRST)
        building.rename(path)
        _sync(path.parent)
        return cls(path)

    @staticmethod
    def remove(path: Path) -> None:
        """Remove a collection that nobody has open; a kill on the way leaves nothing that counts."""
        going = path.with_name(_BUILDING + path.name)
        shutil.rmtree(going, ignore_errors=True)
        path.rename(going)
        _sync(path.parent)
        shutil.rmtree(going)

    @staticmethod
    def remove_unfinished(directory: Path) -> None:
        """Remove collections whose creation, or removal, was killed."""
        for unfinished in directory.glob(f"{_BUILDING}*"):
            shutil.rmtree(unfinished)

    def close(self) -> None:
        """Flush and let go."""
        self._shard.flush()
        self._shard.close()

    @property
    def size(self) -> int:
        """How many references can be found."""
        return int(self._shard.info().points_count)

    @property
    def has_remains(self) -> bool:
        """Whether bytes of erased or replaced templates may still lie in the files."""
        return (self._generation / _REMAINS).exists()

    def upsert(self, ids: Sequence[UUID], templates: Templates) -> None:
        """Add or replace references, none of them twice; on disk once this returns."""
        self._will_leave_remains(ids)
        points = [engine.Point(*row) for row in zip(ids, templates, strict=True)]
        self._shard.update(engine.UpdateOperation.upsert_points(points))
        self._shard.flush()

    def delete(self, ids: Sequence[UUID]) -> None:
        """Make references unfindable; unknown ids are no error."""
        if self._will_leave_remains(ids):
            self._shard.update(engine.UpdateOperation.delete_points(list(ids)))
            self._shard.flush()

    def search(self, probes: Templates, limit: int, threshold: float) -> list[list[Hit]]:
        """Return for each probe at most `limit` hits of similarity >= threshold, best first, ties by id."""
        # One more than asked for shows whether the last place is a tie that the engine cut as it liked.
        found = self._query(probes, limit + 1, threshold)
        return [
            best_first(
                ((cast("UUID", point.id), point.score) for point in self._whole_ties(probe, points, limit, threshold)),
                limit=limit,
                threshold=threshold,
            )
            for probe, points in zip(probes, found, strict=True)
        ]

    def known(self, ids: Sequence[UUID]) -> set[UUID]:
        """Return which of these references are here."""
        found = self._shard.retrieve(list(ids), with_payload=False, with_vector=False)
        return {cast("UUID", record.id) for record in found}

    def page(self, begin: UUID | None, limit: int) -> list[UUID]:
        """Return the next references from there on, by id."""
        asked = engine.ScrollRequest(offset=begin, limit=limit, with_vector=False, with_payload=False)
        records, _ = self._shard.scroll(asked)
        return [cast("UUID", record.id) for record in records]

    def rebuild(self) -> "Rebuild":
        """Begin a new generation."""
        return Rebuild(self, self._path / f"{int(self._generation.name) + 1:06d}")

    def scroll(self, offset: UUID | None) -> tuple[list[UUID], Templates, UUID | None]:
        """Return the next references by id and where to go on, or None at the end."""
        records, following = self._shard.scroll(
            engine.ScrollRequest(offset=offset, limit=COPY_ROWS, with_vector=True, with_payload=False)
        )
        rows = np.array([record.vector for record in records], dtype=np.float32)
        ids = [cast("UUID", record.id) for record in records]
        return ids, rows.reshape(len(ids), self.embedder.dimension), cast("UUID | None", following)

    def commit(self, generation: Path) -> None:
        """Make a finished generation the one that counts, for whoever opens the collection next."""
        _write_current(self._path, generation.name)

    def go_over(self) -> None:
        """Serve the generation that counts from now on."""
        self._shard.close()
        self._generation = _current(self._path)
        self._shard = engine.EdgeShard.load(str(self._generation / "shard"))

    def tidy_up(self) -> None:
        """Remove every generation but the one that counts."""
        for other in self._path.iterdir():
            if other.is_dir() and other != self._generation:
                shutil.rmtree(other)
        _sync(self._path)

    def _query(self, probes: Templates, limit: int, threshold: float) -> list[list[engine.ScoredPoint]]:
        params = _EXACT if self.size < EXACT_BELOW else _quantised(limit)
        requests = [
            engine.QueryRequest(
                limit, query=engine.Query.Nearest(probe), params=params, score_threshold=just_below(threshold)
            )
            for probe in probes.tolist()  # the engine takes twice as long to read an array
        ]
        answers: list[list[engine.ScoredPoint]] = self._shard.query_batch(engine.QueryBatchRequest(requests))
        return answers

    def _whole_ties(
        self, probe: Templates, points: list[engine.ScoredPoint], limit: int, threshold: float
    ) -> list[engine.ScoredPoint]:
        asked = limit + 1
        while cuts_a_tie(points, limit=limit, asked=asked):
            asked *= 2
            [points] = self._query(probe[np.newaxis], asked, threshold)
        return points

    def _will_leave_remains(self, ids: Sequence[UUID]) -> bool:
        known = bool(self.known(ids))
        if known:
            (self._generation / _REMAINS).touch()
        return known


class Rebuild:
    """Copies the survivors of a collection into a new generation; no one may write to the collection meanwhile."""

    def __init__(self, source: Collection, generation: Path) -> None:
        self._source = source
        self._generation = generation
        shutil.rmtree(generation, ignore_errors=True)
        self._shard = _new_shard(generation, source.embedder.dimension)
        self._offset: UUID | None = None

    def copy_some(self) -> bool:
        """Copy the next references; return whether there are more."""
        ids, templates, self._offset = self._source.scroll(self._offset)
        points = [engine.Point(*row) for row in zip(ids, templates, strict=True)]
        self._shard.update(engine.UpdateOperation.upsert_points(points))
        self._shard.flush()
        return self._offset is not None

    def commit(self) -> None:
        """Make the new generation the one that counts.

        Raises:
            RfrError: the copy is not complete; the old generation stays.

        """
        copied = self._shard.info().points_count
        self._shard.flush()
        self._shard.close()
        if copied != self._source.size:
            msg = "the rebuilt collection is not complete; the old one stays in use"
            raise RfrError(msg)
        self._source.commit(self._generation)


def _new_shard(generation: Path, dimension: int) -> engine.EdgeShard:
    """Create an empty shard that scans everything, through codes that are made as points arrive."""
    (generation / "shard").mkdir(parents=True)
    config = engine.EdgeConfig(
        # Dot, not Cosine: templates are unit already, and are stored as they came.
        vectors=engine.EdgeVectorParams(dimension, engine.Distance.Dot),
        hnsw_config=engine.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=0),
        # Unlike int8, TurboQuant needs no optimiser run: each point is coded when it is written.
        quantization_config=engine.TurboQuantQuantizationConfig(
            bits=engine.TurboQuantBitSize.Bits4, memory=engine.Memory.Pinned
        ),
        optimizers=engine.EdgeOptimizersConfig(default_segment_number=1),
        max_search_threads=1,
        wal_enabled=True,
    )
    return engine.EdgeShard.create(str(generation / "shard"), config)


@lru_cache
def _quantised(limit: int) -> engine.SearchParams:
    """Score again what the codes preselect; unless asked for that, the engine returns the codes' own scores."""
    oversampling = max(OVERSAMPLING, PRESELECTED / limit)
    return engine.SearchParams(quantization=engine.QuantizationSearchParams(rescore=True, oversampling=oversampling))


def _current(path: Path) -> Path:
    try:
        generation = path / (path / _CURRENT).read_text().strip()
    except OSError as error:
        msg = f"{path} has no readable {_CURRENT}: restore the gallery from its backup, or enrol it again"
        raise RfrError(msg) from error
    return generation


def _write_current(path: Path, generation: str) -> None:
    following = path / f"{_CURRENT}.next"
    with following.open("w") as file:
        file.write(generation)
        file.flush()
        os.fsync(file.fileno())
    following.replace(path / _CURRENT)
    _sync(path)


def _sync(directory: Path) -> None:
    """Make renames within the directory survive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
