"""The law of galleries: one suite, every implementation."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import builders
import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from rfr_stream.adapters.memory.gallery import Collections, MemoryGallery
from rfr_stream.adapters.qdrant.edge import EdgeGallery
from rfr_stream.adapters.qdrant.server import QdrantGallery
from rfr_stream.errors import Malformed, NotPermitted
from rfr_stream.events import GalleryName, ModelIdentity, derive_id
from rfr_stream.ports import Gallery, Templates
from rfr_stream.settings import GallerySettings

# The stand-in scans exactly, whatever it is asked, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")

CUSTODY, MISSING = GalleryName.CUSTODY, GalleryName.MISSING
OURS = builders.identity("ours", dimension=8)
THEIRS = builders.identity("theirs", dimension=16)

Open: TypeAlias = Callable[[ModelIdentity], AbstractAsyncContextManager[Gallery]]
"""Opens the same store for an embedder; one at a time."""


def memory(_: Path) -> Open:
    collections: Collections = {}
    return lambda embedder: MemoryGallery(embedder, collections=collections)


def edge(path: Path) -> Open:
    return lambda embedder: EdgeGallery(path / "gallery", embedder)


class StandIn(AsyncQdrantClient):
    """The client library's own stand-in for a server: the same API, in memory."""

    async def close(self, grpc_grace: float | None = None, **_: object) -> None:
        """Keep everything, as a server does when a client leaves."""


def local(_: Path) -> Open:
    server = StandIn(location=":memory:")
    return lambda embedder: QdrantGallery(GallerySettings(), embedder, connect=lambda _: server)


@pytest.fixture(params=[memory, edge, local], ids=lambda param: str(param.__name__))
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Every implementation, over a store of its own."""
    implementation: Callable[[Path], Open] = request.param
    return implementation(tmp_path)


@pytest.fixture
async def gallery(opened: Open) -> AsyncIterator[Gallery]:
    async with opened(OURS) as gallery:
        yield gallery


def ref(n: int) -> UUID:
    return derive_id("reference", n)


def refs(n: int) -> list[UUID]:
    return [ref(i) for i in range(n)]


def unit(*numbers: float, dimension: int = 8) -> Templates:
    """Return float32 [1, D] that begins with these numbers and has norm 1."""
    row = np.zeros(dimension)
    row[: len(numbers)] = numbers
    row[-1] = np.sqrt(max(0.0, 1 - (row**2).sum()))
    return row[np.newaxis].astype(np.float32)


def faces(n: int, *, dimension: int = 8, seed: int = 0) -> Templates:
    """Return float32 [N, D], uniform on the sphere."""
    rows = np.random.default_rng(seed).standard_normal((n, dimension))
    templates: Templates = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return templates


X = unit(1.0)
HALF = unit(0.5)  # similarity to X: exactly 0.5


async def found(
    gallery: Gallery,
    probe: Templates,
    *,
    name: GalleryName = CUSTODY,
    limit: int = 10,
    threshold: float = -1.0,
    embedder: ModelIdentity = OURS,
) -> list[UUID]:
    [hits] = await gallery.search(name, probe, embedder=embedder, limit=limit, threshold=threshold)
    return [hit.reference_id for hit in hits]


# --- enrolling ------------------------------------------------------------------------------------------------------
async def test_what_is_enrolled_is_found_by_the_next_search(gallery: Gallery) -> None:
    for n, row in enumerate(faces(50)):
        await gallery.enrol(CUSTODY, [ref(n)], row[np.newaxis], embedder=OURS)
        assert await found(gallery, row[np.newaxis], limit=1) == [ref(n)]


async def test_enrolling_again_changes_nothing(gallery: Gallery) -> None:
    for _ in range(3):
        await gallery.enrol(CUSTODY, refs(20), faces(20), embedder=OURS)
    assert await gallery.size(CUSTODY, embedder=OURS) == 20
    assert len(await found(gallery, X, limit=100)) == 20


async def test_a_new_template_replaces_the_old_one(gallery: Gallery) -> None:
    await gallery.enrol(CUSTODY, [ref(1)], X, embedder=OURS)
    await gallery.enrol(CUSTODY, [ref(1)], HALF, embedder=OURS)
    [[hit]] = await gallery.search(CUSTODY, X, embedder=OURS, limit=10, threshold=-1.0)
    assert hit.similarity == 0.5


async def test_of_an_id_that_comes_twice_in_one_batch_the_last_template_counts(gallery: Gallery) -> None:
    await gallery.enrol(CUSTODY, [ref(1), ref(1)], np.vstack([X, HALF]), embedder=OURS)
    [[hit]] = await gallery.search(CUSTODY, X, embedder=OURS, limit=10, threshold=-1.0)
    assert hit.similarity == 0.5


async def test_a_batch_larger_than_any_page_is_enrolled_whole(gallery: Gallery) -> None:
    await gallery.enrol(CUSTODY, refs(1_500), faces(1_500), embedder=OURS)
    assert await gallery.size(CUSTODY, embedder=OURS) == 1_500
    assert len(await found(gallery, X, limit=2_000)) == 1_500


async def test_nothing_to_enrol_is_no_error(gallery: Gallery) -> None:
    await gallery.enrol(CUSTODY, [], faces(0), embedder=OURS)
    assert await gallery.size(CUSTODY, embedder=OURS) == 0


NO_TEMPLATES = {
    "not a number": np.where(np.arange(8) == 3, np.nan, X).astype(np.float32),
    "infinite": np.where(np.arange(8) == 3, np.inf, X).astype(np.float32),
    "zero": np.zeros((1, 8), dtype=np.float32),
    "too long": X * np.float32(1.01),
    "too short": X * np.float32(0.99),
    "of another dimension": unit(1.0, dimension=16),
    "flat": X[0],
}


@pytest.mark.parametrize("wrong", NO_TEMPLATES.values(), ids=NO_TEMPLATES.keys())
async def test_what_is_no_template_is_refused_before_anything_is_written(gallery: Gallery, wrong: Templates) -> None:
    batch = np.vstack([X, wrong]) if wrong.shape == X.shape else wrong
    with pytest.raises(Malformed, match="templates: "):
        await gallery.enrol(CUSTODY, refs(len(batch)), batch, embedder=OURS)
    with pytest.raises(Malformed, match="templates: "):
        await gallery.search(CUSTODY, wrong, embedder=OURS, limit=1, threshold=0.0)
    assert await gallery.size(CUSTODY, embedder=OURS) == 0


async def test_an_id_without_a_template_is_the_callers_mistake(gallery: Gallery) -> None:
    with pytest.raises(ValueError, match="2 ids for 1 templates"):
        await gallery.enrol(CUSTODY, refs(2), X, embedder=OURS)


# --- searching ------------------------------------------------------------------------------------------------------
async def test_an_empty_gallery_answers_every_probe_with_an_empty_list(gallery: Gallery) -> None:
    assert await gallery.search(CUSTODY, faces(3), embedder=OURS, limit=5, threshold=-1.0) == [[], [], []]


async def test_no_probes_no_lists(gallery: Gallery) -> None:
    await gallery.enrol(CUSTODY, [ref(1)], X, embedder=OURS)
    assert await gallery.search(CUSTODY, faces(0), embedder=OURS, limit=5, threshold=-1.0) == []


async def test_hits_are_those_of_a_brute_force_search_best_first(gallery: Gallery) -> None:
    templates, probes = faces(300), faces(70, seed=1)
    await gallery.enrol(CUSTODY, refs(300), templates, embedder=OURS)
    answers = await gallery.search(CUSTODY, probes, embedder=OURS, limit=7, threshold=0.2)
    for probe, hits in zip(probes, answers, strict=True):
        expected = sorted(zip(templates @ probe, refs(300), strict=True), reverse=True)[:7]
        assert [hit.reference_id for hit in hits] == [name for score, name in expected if score >= 0.2]
        assert [hit.similarity for hit in hits] == pytest.approx([score for score, _ in expected if score >= 0.2])


async def test_the_threshold_is_inclusive(gallery: Gallery) -> None:
    await gallery.enrol(CUSTODY, refs(2), np.vstack([X, HALF]), embedder=OURS)
    assert await found(gallery, X, threshold=0.5) == [ref(0), ref(1)]
    assert await found(gallery, X, threshold=0.500001) == [ref(0)]


async def test_a_threshold_that_float32_cannot_write_is_inclusive_too(gallery: Gallery) -> None:
    await gallery.enrol(CUSTODY, [ref(1)], unit(0.7), embedder=OURS)  # float32 has 0.699999988
    assert await found(gallery, X, threshold=0.7) == [ref(1)]


async def test_ties_go_by_id_even_where_the_limit_cuts_them(gallery: Gallery) -> None:
    await gallery.enrol(CUSTODY, refs(200), np.repeat(HALF, 200, axis=0), embedder=OURS)
    await gallery.enrol(CUSTODY, [ref(999)], X, embedder=OURS)
    assert await found(gallery, X, limit=6) == [ref(999), *sorted(refs(200))[:5]]


async def test_similarity_never_leaves_the_range_of_a_cosine(gallery: Gallery) -> None:
    templates = faces(200) * np.float32(1.0009)  # within what is taken for rounding
    await gallery.enrol(CUSTODY, refs(200), templates, embedder=OURS)
    answers = await gallery.search(CUSTODY, np.vstack([templates, -templates]), embedder=OURS, limit=200, threshold=-1)
    assert max(hit.similarity for hits in answers for hit in hits) == 1.0
    assert min(hit.similarity for hits in answers for hit in hits) == -1.0


@pytest.mark.parametrize(("limit", "threshold"), [(0, 0.5), (1, 1.5), (1, float("nan"))])
async def test_a_question_without_sense_is_the_callers_mistake(gallery: Gallery, limit: int, threshold: float) -> None:
    with pytest.raises(ValueError, match="limit must be at least 1"):
        await gallery.search(CUSTODY, X, embedder=OURS, limit=limit, threshold=threshold)


async def test_a_thousand_searches_leave_nothing_behind(gallery: Gallery) -> None:
    await gallery.enrol(CUSTODY, refs(10), faces(10), embedder=OURS)
    for probe in faces(1_000, seed=2):
        await gallery.search(CUSTODY, probe[np.newaxis], embedder=OURS, limit=3, threshold=-1.0)
    assert await gallery.size(CUSTODY, embedder=OURS) == 10
    assert set(await found(gallery, X, limit=100)) == set(refs(10))


async def test_galleries_are_kept_apart(gallery: Gallery) -> None:
    await gallery.enrol(CUSTODY, [ref(1)], X, embedder=OURS)
    assert await found(gallery, X, name=MISSING) == []
    assert await gallery.size(MISSING, embedder=OURS) == 0


# --- embedders ------------------------------------------------------------------------------------------------------
OTHERS = {
    "name": OURS.model_copy(update={"name": "other"}),
    "version": OURS.model_copy(update={"version": "2"}),
    "weights": OURS.model_copy(update={"weights_sha256": builders.sha256("other")}),
    "dimension": OURS.model_copy(update={"dimension": 16}),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
async def test_templates_of_another_embedder_are_refused(gallery: Gallery, other: ModelIdentity) -> None:
    with pytest.raises(NotPermitted, match="embedder: "):
        await gallery.enrol(CUSTODY, [ref(1)], X, embedder=other)
    with pytest.raises(NotPermitted, match="embedder: "):
        await gallery.search(CUSTODY, X, embedder=other, limit=1, threshold=0.0)
    with pytest.raises(NotPermitted, match="embedder: "):
        await gallery.size(CUSTODY, embedder=other)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
async def test_a_template_is_never_found_through_another_embedder(opened: Open, other: ModelIdentity) -> None:
    async with opened(OURS) as gallery:
        await gallery.enrol(CUSTODY, [ref(1)], X, embedder=OURS)
    async with opened(other) as gallery:
        probe = unit(1.0, dimension=other.dimension)
        assert await found(gallery, probe, embedder=other) == []


# --- erasing --------------------------------------------------------------------------------------------------------
async def test_what_is_erased_is_not_found_again(gallery: Gallery) -> None:
    templates = faces(30)
    await gallery.enrol(CUSTODY, refs(30), templates, embedder=OURS)
    await gallery.erase(CUSTODY, [ref(3), ref(5)])
    assert await gallery.size(CUSTODY, embedder=OURS) == 28
    assert set(await found(gallery, templates[3:4], limit=100)) == set(refs(30)) - {ref(3), ref(5)}


async def test_erasing_what_was_never_there_is_no_error(gallery: Gallery) -> None:
    await gallery.erase(CUSTODY, [ref(1)])
    await gallery.enrol(CUSTODY, [ref(1)], X, embedder=OURS)
    await gallery.erase(CUSTODY, [ref(2)])
    await gallery.erase(CUSTODY, [])
    await gallery.erase(MISSING, [ref(1)])
    assert await found(gallery, X) == [ref(1)]


async def test_what_was_erased_may_be_enrolled_again(gallery: Gallery) -> None:
    await gallery.enrol(CUSTODY, [ref(1)], X, embedder=OURS)
    await gallery.erase(CUSTODY, [ref(1)])
    await gallery.enrol(CUSTODY, [ref(1)], HALF, embedder=OURS)
    assert await found(gallery, X) == [ref(1)]


async def test_erasure_reaches_the_templates_of_other_embedders(opened: Open) -> None:
    async with opened(THEIRS) as gallery:
        await gallery.enrol(CUSTODY, refs(2), faces(2, dimension=16), embedder=THEIRS)
        await gallery.enrol(MISSING, [ref(0)], faces(1, dimension=16), embedder=THEIRS)
    async with opened(OURS) as gallery:
        await gallery.enrol(CUSTODY, refs(2), faces(2), embedder=OURS)
        await gallery.erase(CUSTODY, [ref(0)])
        assert await found(gallery, X) == [ref(1)]
    async with opened(THEIRS) as gallery:
        probe = unit(1.0, dimension=16)
        assert await found(gallery, probe, embedder=THEIRS) == [ref(1)]
        assert await found(gallery, probe, embedder=THEIRS, name=MISSING) == [ref(0)]


# --- opening again --------------------------------------------------------------------------------------------------
async def test_opening_again_finds_everything(opened: Open) -> None:
    templates = faces(300)
    async with opened(OURS) as gallery:
        await gallery.enrol(CUSTODY, refs(300), templates, embedder=OURS)
        await gallery.erase(CUSTODY, [ref(7)])
    for _ in range(2):
        async with opened(OURS) as gallery:
            assert await gallery.size(CUSTODY, embedder=OURS) == 299
            answers = await gallery.search(CUSTODY, templates, embedder=OURS, limit=1, threshold=0.999)
            assert [hits[0].reference_id if hits else None for hits in answers] == [
                None if n == 7 else ref(n) for n in range(300)
            ]


# --- two models beside each other -----------------------------------------------------------------------------------
@pytest.fixture
async def both(opened: Open) -> AsyncIterator[Gallery]:
    """A gallery of ours that lends theirs too."""
    async with opened(OURS) as gallery:
        await gallery.open_for(THEIRS)
        yield gallery


async def test_a_second_model_is_enrolled_and_searched_beside_the_first(both: Gallery) -> None:
    await both.enrol(CUSTODY, [ref(1)], X, embedder=OURS)
    await both.enrol(CUSTODY, [ref(1), ref(2)], faces(2, dimension=16), embedder=THEIRS)
    assert await found(both, X) == [ref(1)]
    assert await found(both, faces(2, dimension=16)[1:], embedder=THEIRS, limit=1) == [ref(2)]
    assert (await both.size(CUSTODY, embedder=OURS), await both.size(CUSTODY, embedder=THEIRS)) == (1, 2)


async def test_what_another_model_has_is_there_when_it_is_lent_later(opened: Open) -> None:
    async with opened(THEIRS) as gallery:
        await gallery.enrol(CUSTODY, [ref(1)], unit(1.0, dimension=16), embedder=THEIRS)
    async with opened(OURS) as gallery:
        with pytest.raises(NotPermitted):
            await gallery.known(CUSTODY, [ref(1)], embedder=THEIRS)
        with pytest.raises(NotPermitted):
            await gallery.page(CUSTODY, embedder=THEIRS)
        await gallery.open_for(THEIRS)
        await gallery.open_for(THEIRS)
        assert await gallery.known(CUSTODY, [ref(1)], embedder=THEIRS) == {ref(1)}


async def test_what_a_model_has_is_known_by_gallery_and_model(both: Gallery) -> None:
    assert await both.known(CUSTODY, refs(3), embedder=THEIRS) == set()
    await both.enrol(CUSTODY, refs(2), faces(2), embedder=OURS)
    assert await both.known(CUSTODY, refs(3), embedder=OURS) == {ref(0), ref(1)}
    assert await both.known(CUSTODY, [], embedder=OURS) == set()
    assert await both.known(MISSING, refs(3), embedder=OURS) == set()
    assert await both.known(CUSTODY, refs(3), embedder=THEIRS) == set()


async def test_everything_that_a_model_has_is_paged_by_id(both: Gallery) -> None:
    assert await both.page(CUSTODY, embedder=OURS) == []
    await both.enrol(CUSTODY, refs(25), faces(25), embedder=OURS)
    paged: list[UUID] = []
    for size in (10, 10, 5, 0):
        page = await both.page(CUSTODY, embedder=OURS, after=paged[-1] if paged else None, limit=10)
        assert len(page) == size
        paged += page
    assert paged == sorted(refs(25))
    assert await both.page(CUSTODY, embedder=THEIRS) == []


async def test_whoever_is_erased_is_erased_from_both_models(both: Gallery) -> None:
    await both.enrol(CUSTODY, refs(2), faces(2), embedder=OURS)
    await both.enrol(CUSTODY, refs(2), faces(2, dimension=16), embedder=THEIRS)
    await both.erase(CUSTODY, [ref(0)])
    assert [await both.page(CUSTODY, embedder=model) for model in (OURS, THEIRS)] == [[ref(1)], [ref(1)]]


async def test_of_two_models_one_is_kept_and_the_other_is_gone_for_good(opened: Open) -> None:
    async with opened(OURS) as gallery:
        await gallery.open_for(THEIRS)
        await gallery.enrol(CUSTODY, [ref(1)], X, embedder=OURS)
        await gallery.enrol(MISSING, [ref(1)], unit(1.0, dimension=16), embedder=THEIRS)
        for _ in range(2):
            await gallery.keep_only(OURS)
        assert await found(gallery, X) == [ref(1)]
        assert await gallery.size(MISSING, embedder=THEIRS) == 0
        await gallery.enrol(MISSING, [ref(2)], unit(1.0, dimension=16), embedder=THEIRS)
        await gallery.keep_only(OURS)
    async with opened(THEIRS) as gallery:
        assert await gallery.page(MISSING, embedder=THEIRS) == []
