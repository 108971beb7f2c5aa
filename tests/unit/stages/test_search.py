"""Stage 3: leads from the galleries that the purpose opens, each lawfully held now."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain, combinations, product
from math import sqrt
from typing import Any, Final
from uuid import UUID

import builders
import house
import numpy as np
import pytest
from builders import NOW
from house import House, only
from hypothesis import given, settings
from hypothesis import strategies as st

from rfr_stream import policy
from rfr_stream.adapters.memory.gallery import MemoryGallery
from rfr_stream.adapters.memory.vision import DIMENSION, FakeEmbedder
from rfr_stream.errors import Malformed, MissingBlob, NotPermitted, Unavailable
from rfr_stream.events import (
    CandidatesReady,
    FaceEmbedded,
    GalleryName,
    ModelIdentity,
    Purpose,
    ReferenceSubmitted,
    Source,
    SubjectTemplate,
    Submission,
)
from rfr_stream.ports import Hit, NewBlob, Reference, Templates
from rfr_stream.stages import SearchRules

RULES: Final = house.SEARCH
SECOND: Final = timedelta(seconds=1)
CUSTODY, MISSING, DECEASED = GalleryName.CUSTODY, GalleryName.MISSING, GalleryName.DECEASED


class SpyGallery(MemoryGallery):
    """Remembers what was searched, and with which limits; nothing may be written while it is read only."""

    def __init__(self) -> None:
        super().__init__(embedder=FakeEmbedder.identity)
        self.searched: list[GalleryName] = []
        self.limits: list[int] = []
        self.read_only = False

    async def search(
        self, gallery: GalleryName, probes: Templates, *, embedder: ModelIdentity, limit: int, threshold: float
    ) -> list[list[Hit]]:
        self.searched.append(gallery)
        self.limits.append(limit)
        return await super().search(gallery, probes, embedder=embedder, limit=limit, threshold=threshold)

    async def enrol(
        self, gallery: GalleryName, ids: Sequence[UUID], templates: Templates, *, embedder: ModelIdentity
    ) -> None:
        assert not self.read_only
        await super().enrol(gallery, ids, templates, embedder=embedder)

    async def erase(self, gallery: GalleryName, ids: Sequence[UUID]) -> None:
        assert not self.read_only
        await super().erase(gallery, ids)


def direction(similarity: float) -> Templates:
    """Return a template of this similarity to every probe of these tests: float32 [128], L2 norm 1."""
    template = np.zeros(DIMENSION, np.float32)
    template[:2] = similarity, sqrt(1 - similarity**2)
    return template


async def hold(
    here: House,
    person: str,
    similarity: float,
    *,
    gallery: GalleryName = CUSTODY,
    image: str = "image",
    **record: Any,  # noqa: ANN401
) -> Reference:
    """Put a reference into the gallery and its hold record into the ledger."""
    blob = builders.blob(f"{person}-{image}")
    reference_id = ReferenceSubmitted.derive(person, gallery, blob.sha256)
    held = {"reference_id": reference_id, "gallery": gallery, "image": blob, **record}
    reference = builders.reference(person, **held)
    await here.gallery.enrol(gallery, [reference_id], direction(similarity)[None], embedder=FakeEmbedder.identity)
    await here.ledger.hold([reference])
    return reference


async def probe(here: House, *, data: bytes | None = None, **asked: Any) -> FaceEmbedded:  # noqa: ANN401
    """Return the event of a stored template, by default one that lies at similarity 1 to `direction(1)`."""
    event = builders.face_embedded(builders.submission(**asked))
    file = direction(1).tobytes() if data is None else data
    key = f"templates/{event.submission.submission_id}"
    (ref,) = await here.blobs.put([NewBlob(key, file, "application/octet-stream")])
    return event.model_copy(update={"template": SubjectTemplate(template=ref, embedder=FakeEmbedder.identity)})


async def found(here: House, event: FaceEmbedded, **how: Any) -> CandidatesReady:  # noqa: ANN401
    return only(CandidatesReady, await here.search(event, **how))


# --- the list -------------------------------------------------------------------------------------------------------
async def test_leads_come_best_first_and_are_ranked_without_gaps() -> None:
    here = House()
    for person, similarity in [("b", 0.8), ("c", 0.7), ("a", 0.9)]:
        await hold(here, person, similarity)
    ready = await found(here, await probe(here))
    assert [(lead.rank, lead.person_id) for lead in ready.candidates] == [(1, "a"), (2, "b"), (3, "c")]
    assert [lead.similarity for lead in ready.candidates] == pytest.approx([0.9, 0.8, 0.7], abs=1e-6)


async def test_the_threshold_is_inclusive() -> None:
    here = House()
    await hold(here, "at", 0.5)
    await hold(here, "below", float(np.nextafter(np.float32(0.5), np.float32(0))))
    assert await here.listed(await probe(here)) == ["at"]


async def test_a_far_probe_yields_an_honest_blank() -> None:
    here = House()
    await hold(here, "somebody", 0.2)
    ready = await found(here, await probe(here))
    assert ready.candidates == ()
    assert ready.gallery_sizes == {CUSTODY: 1}


async def test_an_empty_gallery_yields_a_blank() -> None:
    here = House()
    assert await here.listed(await probe(here)) == []


async def test_five_images_of_one_person_are_one_lead_with_the_nearest_image() -> None:
    here = House()
    images = [await hold(here, "anna", 0.6 + i / 20, image=f"{i}") for i in range(5)]
    (lead,) = (await found(here, await probe(here))).candidates
    assert (lead.person_id, lead.reference_id, lead.reference) == (
        "anna",
        images[-1].reference_id,
        images[-1].image,
    )


async def test_one_person_in_two_galleries_is_one_lead() -> None:
    here = House()
    await hold(here, "anna", 0.7, gallery=CUSTODY)
    nearest = await hold(here, "anna", 0.8, gallery=MISSING)
    (lead,) = (await found(here, await probe(here, purpose=Purpose.MISSING))).candidates
    assert (lead.reference_id, lead.gallery) == (nearest.reference_id, MISSING)


async def test_the_list_is_never_longer_than_policy_says() -> None:
    here = House()
    for i in range(10):
        await hold(here, f"person-{i}", 0.9 - i / 100)
    assert await here.listed(await probe(here)) == ["person-0", "person-1", "person-2"]


async def test_equally_near_people_come_in_the_order_of_their_references() -> None:
    here = House()
    references = [await hold(here, f"person-{i}", 0.75) for i in range(3)]
    expected = [reference.person_id for reference in sorted(references, key=lambda r: r.reference_id)]
    assert await here.listed(await probe(here)) == expected


async def test_the_event_says_how_the_list_was_made() -> None:
    here = House()
    await hold(here, "anna", 0.9)
    await hold(here, "bert", 0.9, gallery=MISSING)
    event = await probe(here)
    ready = await found(here, event)
    assert (ready.threshold, ready.list_length, ready.gallery_sizes) == (0.5, 3, {CUSTODY: 1})
    assert (ready.submission, ready.face, ready.template) == (event.submission, event.face, event.template)


async def test_the_digest_is_that_of_the_list() -> None:
    here = House()
    await hold(here, "anna", 0.9)
    ready = await found(here, await probe(here))
    about = ready.submission
    assert ready.list_digest == CandidatesReady.digest(about.submission_id, about.image.sha256, ready.candidates)
    assert CandidatesReady.model_validate_json(ready.model_dump_json()) == ready


# --- head-room ------------------------------------------------------------------------------------------------------
async def test_an_eligible_reference_behind_a_hundred_that_are_not_is_found() -> None:
    here = House(gallery=(gallery := SpyGallery()))
    for i in range(100):
        await hold(here, f"restricted-{i}", 0.99 - i / 1000, restricted=True)
    await hold(here, "anna", 0.6)
    assert await here.listed(await probe(here)) == ["anna"]
    assert gallery.limits == [6, 24, 96, 384]


async def test_a_gallery_of_ineligible_references_ends_as_a_blank() -> None:
    here = House(gallery=(gallery := SpyGallery()))
    for i in range(30):
        await hold(here, f"restricted-{i}", 0.9, restricted=True)
    assert await here.listed(await probe(here)) == []
    assert gallery.limits == [6, 24, 96]


async def test_a_person_with_many_images_does_not_crowd_out_the_others() -> None:
    here = House()
    for i in range(20):
        await hold(here, "anna", 0.99 - i / 1000, image=f"{i}")
    await hold(here, "bert", 0.8)
    await hold(here, "carl", 0.7)
    assert await here.listed(await probe(here)) == ["anna", "bert", "carl"]


async def test_a_list_filled_from_one_gallery_does_not_hide_nearer_people_of_another() -> None:
    here = House()
    for i in range(6):
        await hold(here, f"restricted-{i}", 0.99, restricted=True)
    await hold(here, "near", 0.9)
    for i in range(3):
        await hold(here, f"far-{i}", 0.7 - i / 100, gallery=MISSING)
    assert await here.listed(await probe(here, purpose=Purpose.MISSING)) == ["near", "far-0", "far-1"]


async def test_a_list_that_nobody_can_displace_is_not_searched_for_again() -> None:
    here = House(gallery=(gallery := SpyGallery()))
    for i in range(50):
        await hold(here, f"person-{i}", 0.95 - i / 200)
    await here.search(await probe(here))
    assert gallery.limits == [6]


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([CUSTODY, MISSING]), st.booleans()), max_size=20),
    st.integers(2, 5),
)
async def test_head_room_decides_how_often_is_searched_and_never_who_is_found(
    held: list[tuple[int, GalleryName, bool]], head_room: int
) -> None:
    here = House()
    for i, (person, gallery, restricted) in enumerate(held):
        await hold(here, f"{person}", 0.95 - i / 50, gallery=gallery, image=f"{i}", restricted=restricted)
    event = await probe(here, purpose=Purpose.MISSING)
    without = await here.listed(event, rules=replace(RULES, head_room=1))
    assert await here.listed(event, rules=replace(RULES, head_room=head_room)) == without


async def test_only_the_probes_that_need_more_are_searched_again() -> None:
    here = House(gallery=(gallery := SpyGallery()))
    for i in range(8):
        await hold(here, f"restricted-{i}", 0.9, restricted=True)
    await hold(here, "anna", 0.8)
    other = np.roll(direction(1), 64)
    batch = [await probe(here), await probe(here, case_ref="case-2", data=other.tobytes())]
    leads = [only(CandidatesReady, [result]).candidates for result in await here.search(*batch)]
    assert [[lead.person_id for lead in people] for people in leads] == [["anna"], []]
    assert gallery.limits == [6, 24]


# --- lawfully held, now ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("nothing", [None, ""])
@pytest.mark.parametrize("field", ["legal_basis", "source", "captured_at", "review_due", "restricted"])
async def test_a_hold_record_without_any_one_field_is_not_found(field: str, nothing: str | None) -> None:
    here = House()
    record: dict[str, Any] = {field: nothing}
    await hold(here, "anna", 0.9, **record)
    assert await here.listed(await probe(here)) == []


@pytest.mark.parametrize(("wait", "listed"), [(-SECOND, ["anna"]), (timedelta(), []), (SECOND, [])])
async def test_a_reference_drops_out_the_moment_its_review_is_due(wait: timedelta, listed: list[str]) -> None:
    here = House()
    reference = await hold(here, "anna", 0.9)
    assert reference.review_due
    assert await here.listed(await probe(here), now=reference.review_due + wait) == listed


async def test_a_reference_captured_in_the_future_is_not_found() -> None:
    here = House()
    await hold(here, "anna", 0.9, captured_at=NOW + SECOND)
    assert await here.listed(await probe(here)) == []


async def test_what_the_ledger_does_not_know_is_not_found() -> None:
    here = House()
    await here.gallery.enrol(CUSTODY, [UUID(int=1)], direction(0.9)[None], embedder=FakeEmbedder.identity)
    assert await here.listed(await probe(here)) == []


async def test_a_reference_that_the_ledger_holds_in_another_gallery_is_not_found() -> None:
    here = House()
    reference = await hold(here, "anna", 0.9)
    await here.ledger.hold([replace(reference, gallery=MISSING)])
    assert await here.listed(await probe(here)) == []


async def test_what_was_erased_between_two_searches_is_missed_by_the_second() -> None:
    here = House()
    reference, event = await hold(here, "anna", 0.9), await probe(here)
    assert await here.listed(event) == ["anna"]
    await here.ledger.erase([reference.reference_id])
    assert await here.listed(event) == []


async def test_a_changed_record_counts_at_once_and_without_indexing_anew() -> None:
    here = House(gallery=(gallery := SpyGallery()))
    reference, event = await hold(here, "anna", 0.9), await probe(here)
    gallery.read_only = True
    for restricted, listed in [(True, []), (False, ["anna"])]:
        await here.ledger.hold([replace(reference, restricted=restricted)])
        assert await here.listed(event) == listed


moments = st.none() | st.sampled_from([NOW - SECOND, NOW, NOW + SECOND])
records = st.fixed_dictionaries(
    {
        "legal_basis": st.sampled_from([None, "", "taken on arrest"]),
        "source": st.sampled_from([None, "", "custody-system"]),
        "captured_at": moments,
        "review_due": moments,
        "restricted": st.sampled_from([None, True, False]),
    }
)
lawful = st.just({"captured_at": NOW - SECOND, "review_due": NOW + SECOND})


def lawfully_held(record: dict[str, Any]) -> bool:
    """Say it again in other words than policy does."""
    whole = {"legal_basis": "x", "source": "x", "restricted": False, **record}
    captured: datetime | None = whole["captured_at"]
    due: datetime | None = whole["review_due"]
    grounds = bool(whole["legal_basis"]) and bool(whole["source"]) and whole["restricted"] is False
    return grounds and captured is not None and due is not None and captured <= NOW < due


@settings(max_examples=40)
@given(st.lists(records | lawful, max_size=8))
async def test_exactly_the_lawfully_held_are_found(held: list[dict[str, Any]]) -> None:
    here = House()
    for i, record in enumerate(held):
        await hold(here, f"person-{i}", 0.9 - i / 100, **record)
    expected = [f"person-{i}" for i, record in enumerate(held) if lawfully_held(record)]
    rules = SearchRules(threshold=0.5, list_length=8, head_room=1)
    assert await here.listed(await probe(here), rules=rules) == expected


# --- galleries that the purpose opens -------------------------------------------------------------------------------
def asked_for() -> Iterator[tuple[GalleryName, ...]]:
    """Yield every set of galleries that can be asked for; none means all that are permitted."""
    return chain.from_iterable(combinations(GalleryName, n) for n in range(len(GalleryName) + 1))


def is_permitted(submission: Submission) -> bool:
    rule = policy.RULES[submission.purpose]
    return (
        submission.source in rule.sources
        and rule.galleries.issuperset(submission.galleries)
        and bool((submission.authoriser and submission.necessity) or not rule.authoriser_required)
    )


@pytest.mark.parametrize("purpose", Purpose)
async def test_a_purpose_searches_what_it_opens_and_nothing_else(purpose: Purpose) -> None:
    here = House(gallery=(gallery := SpyGallery()))
    for source, galleries, authoriser in product(Source, asked_for(), [None, "inspector-1"]):
        gallery.searched.clear()
        asked: dict[str, Any] = {"purpose": purpose, "source": source, "galleries": galleries, "authoriser": authoriser}
        asked["necessity"] = "the only lead" if authoriser else None
        event = await probe(here, **asked)
        (result,) = await here.search(event)
        permitted = is_permitted(event.submission)
        assert isinstance(result, CandidatesReady if permitted else NotPermitted)
        expected = set(galleries) or policy.RULES[purpose].galleries
        assert set(gallery.searched) == (expected if permitted else set())


async def test_each_probe_of_a_batch_is_shown_only_its_own_galleries() -> None:
    here = House()
    await hold(here, "held", 0.9, gallery=CUSTODY)
    await hold(here, "lost", 0.8, gallery=MISSING)
    batch = [
        await probe(here, case_ref="case-1", purpose=Purpose.SUSPECT),
        await probe(here, case_ref="case-2", purpose=Purpose.MISSING),
        await probe(here, case_ref="case-3", purpose=Purpose.MISSING, galleries=(MISSING,)),
    ]
    results = [only(CandidatesReady, [result]) for result in await here.search(*batch)]
    people = [[lead.person_id for lead in ready.candidates] for ready in results]
    assert people == [["held"], ["held", "lost"], ["lost"]]
    assert [set(ready.gallery_sizes) for ready in results] == [{CUSTODY}, set(GalleryName), {MISSING}]


# --- probes never become gallery ------------------------------------------------------------------------------------
async def test_searching_changes_no_gallery_and_finds_no_other_probe() -> None:
    here = House(gallery=(gallery := SpyGallery()))
    await hold(here, "anna", 0.9)
    gallery.read_only = True
    for case in range(20):
        assert await here.listed(await probe(here, case_ref=f"case-{case}")) == ["anna"]
    assert await gallery.size(CUSTODY, embedder=FakeEmbedder.identity) == 1


# --- faults ---------------------------------------------------------------------------------------------------------
async def test_a_template_of_another_embedder_is_refused_unopened() -> None:
    here = House()
    event = await probe(here)
    house.take_away(here, "blobs", "get", Unavailable())
    other = SubjectTemplate(template=event.template.template, embedder=builders.identity("other"))
    only(NotPermitted, await here.search(event.model_copy(update={"template": other})))


async def test_a_template_that_is_gone_is_rejected() -> None:
    here = House()
    event = await probe(here)
    here.blobs.kept.clear()
    only(MissingBlob, await here.search(event))


BAD_TEMPLATES = {
    "empty": b"",
    "too short": direction(1).tobytes()[:-4],
    "too long": direction(1).tobytes() + bytes(4),
    "not a number": np.full(DIMENSION, np.nan, "<f4").tobytes(),
    "one entry not a number": np.append(direction(1)[:-1], np.float32(np.nan)).tobytes(),
    "infinite": np.append(direction(1)[:-1], np.float32(np.inf)).tobytes(),
    "so large that its squares overflow": np.full(DIMENSION, 3e38, "<f4").tobytes(),
    "zero": bytes(4 * DIMENSION),
    "not normalised": (2 * direction(1)).tobytes(),
    "float64": np.ones(DIMENSION // 2, "<f8").tobytes(),
}


@pytest.mark.parametrize("data", BAD_TEMPLATES.values(), ids=BAD_TEMPLATES)
async def test_a_template_that_is_none_is_rejected(data: bytes) -> None:
    here = House()
    only(Malformed, await here.search(await probe(here, data=data)))


@settings(max_examples=40)
@given(st.binary(min_size=4 * DIMENSION, max_size=4 * DIMENSION))
async def test_random_bytes_are_no_template(data: bytes) -> None:
    here = House()
    only(Malformed, await here.search(await probe(here, data=data)))


@pytest.mark.parametrize(
    ("part", "method"), [("blobs", "get"), ("gallery", "search"), ("gallery", "size"), ("ledger", "held")]
)
async def test_an_outage_passes_through_untouched(part: str, method: str) -> None:
    here, outage = House(), Unavailable("away")
    event = await probe(here)
    house.take_away(here, part, method, outage)
    with pytest.raises(Unavailable) as raised:
        await here.search(event)
    assert raised.value is outage


# --- batches --------------------------------------------------------------------------------------------------------
FATES = {
    "good": CandidatesReady,
    "far": CandidatesReady,
    "forbidden": NotPermitted,
    "missing": MissingBlob,
    "malformed": Malformed,
}


async def of_kind(here: House, kind: str, case_ref: str) -> FaceEmbedded:
    asked: dict[str, Any] = {"case_ref": case_ref}
    if kind == "forbidden":
        asked["purpose"] = Purpose.WITNESS
    if kind in {"far", "malformed"}:
        asked["data"] = np.roll(direction(1), 64).tobytes() if kind == "far" else b"none"
    event = await probe(here, **asked)
    if kind == "missing":
        here.blobs.kept.pop(f"templates/{event.submission.submission_id}")
    return event


@settings(max_examples=30)
@given(st.lists(st.sampled_from(sorted(FATES)), max_size=6))
async def test_a_batch_answers_as_its_items_would_alone(kinds: list[str]) -> None:
    here = House()
    await hold(here, "anna", 0.9)
    batch = [await of_kind(here, kind, f"case-{i}") for i, kind in enumerate(kinds)]
    results = await here.search(*batch)
    assert [type(result) for result in results] == [FATES[kind] for kind in kinds]
    for event, result in zip(batch, results, strict=True):
        if isinstance(result, CandidatesReady):
            assert [result] == await here.search(event)


async def test_an_empty_batch_asks_no_port() -> None:
    here = House()
    for part, method in [("blobs", "get"), ("gallery", "search"), ("gallery", "size"), ("ledger", "held")]:
        house.take_away(here, part, method, Unavailable())
    assert await here.search() == []


# --- again ----------------------------------------------------------------------------------------------------------
async def test_the_same_template_again_says_the_same() -> None:
    here = House()
    await hold(here, "anna", 0.9)
    event = await probe(here)
    first, again = [await found(here, event) for _ in range(2)]
    assert (first, first.event_id) == (again, again.event_id)


async def test_another_list_for_the_same_submission_keeps_the_id_so_that_the_first_stands() -> None:
    here = House()
    event = await probe(here)
    first = await found(here, event)
    await hold(here, "anna", 0.9)
    again = await found(here, event)
    assert first.list_digest != again.list_digest
    assert first.event_id == again.event_id


@pytest.mark.parametrize("demo", [True, False])
async def test_a_demonstration_stays_one(demo: bool) -> None:  # noqa: FBT001 - parametrised
    here = House()
    event = (await probe(here)).model_copy(update={"demo": demo})
    assert (await found(here, event)).demo is demo
