"""A change of model, on fakes: what is held gets a template of the new model, and nothing else does."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import builders
import house
import numpy as np
import pytest
from house import FakeVision, House

from rfr_stream import stages
from rfr_stream.adapters.memory.gallery import MemoryGallery
from rfr_stream.adapters.memory.vision import FakeDetector, FakeEmbedder, PlantedFace
from rfr_stream.errors import Unavailable
from rfr_stream.events import GalleryName, ModelIdentity, ReferenceErased, ReferenceSubmitted
from rfr_stream.faces import Box, Face, ImageHwc, Point
from rfr_stream.ports import Templates

CUSTODY, MISSING = GalleryName.CUSTODY, GalleryName.MISSING
NEW = builders.identity("new-embedder")
ANNA, BERT = PlantedFace("anna"), PlantedFace("bert", x=120)
RULES = stages.ReferenceRules(house.RULES.min_score, house.RULES.max_image_bytes, batch_items=2)


class NewEmbedder(FakeEmbedder):
    """Another model: it counts what it is given, and lets a test act while it works."""

    identity = NEW

    def __init__(self) -> None:
        self.embedded_n = 0
        self.meanwhile: list[ReferenceErased | ReferenceSubmitted] = []
        self.here: House | None = None

    async def embed(self, chips: Sequence[ImageHwc]) -> Templates:
        self.embedded_n += len(chips)
        templates = await super().embed(chips)
        while self.here and self.meanwhile:
            event = self.meanwhile.pop()
            await (self.here.erase(event) if isinstance(event, ReferenceErased) else self.here.enrol(event))
        return templates


@dataclass
class Moving(House):
    """A house, and the model that it is to have."""

    new: NewEmbedder = field(default_factory=NewEmbedder)

    async def migration(self) -> stages.Migration:
        await self.gallery.open_for(NEW)
        vision = FakeVision(embedder=self.new)
        return stages.Migration(
            blobs=self.blobs, vision=vision, gallery=self.gallery, references=self.ledger, rules=RULES
        )

    async def moved(self, migration: stages.Migration | None = None) -> stages.Migration:
        """Pass once, and sweep."""
        migration = migration or await self.migration()
        looked_at = [n async for n in migration.catch_up()]
        assert sum(looked_at) >= (await self.ledger.extent()).held
        await migration.sweep()
        return migration

    async def people(self, *names: str, gallery: GalleryName = CUSTODY) -> list[ReferenceSubmitted]:
        events = [await self.referenced(PlantedFace(name), person_id=name, gallery=gallery) for name in names]
        await self.enrol(*events)
        return events

    async def new_ids(self, gallery: GalleryName = CUSTODY) -> set[UUID]:
        return set(await self.gallery.page(gallery, embedder=NEW))


def ids(events: Sequence[ReferenceSubmitted]) -> set[UUID]:
    return {event.reference_id for event in events}


async def test_every_reference_gets_a_template_of_the_new_model_in_its_own_gallery() -> None:
    here = Moving()
    taken, lost = await here.people("anna", "bert", "carl"), await here.people("dora", gallery=MISSING)
    moved = await here.moved()
    assert (await here.new_ids(), await here.new_ids(MISSING)) == (ids(taken), ids(lost))
    assert moved.lacking == []
    assert await here.gallery.size(CUSTODY, embedder=FakeEmbedder.identity) == 3


async def test_what_is_there_is_not_made_again() -> None:
    here = Moving()
    await here.people("anna", "bert", "carl")
    migration = await here.migration()
    async for _ in migration.catch_up():
        if here.new.embedded_n:
            break  # killed after the first batch of two
    assert here.new.embedded_n == 2
    await here.moved()
    await here.moved()
    assert here.new.embedded_n == 3


async def test_whoever_is_enrolled_meanwhile_comes_with_the_next_pass() -> None:
    here = Moving()
    first = await here.people("anna")
    migration = await here.moved()
    second = await here.people("bert")
    assert await migration.missing_among(await here.ledger.page()) != []
    await here.moved(migration)
    assert await here.new_ids() == ids([*first, *second])


async def test_whoever_is_erased_is_in_no_model_whenever_that_happens() -> None:
    here = Moving()
    people = sorted(await here.people("anna", "bert", "carl", "dora"), key=lambda event: event.reference_id)
    before, during, after, stays = people  # in the order in which they are embedded
    await here.erase(builders.erased(before))
    here.new.here, here.new.meanwhile = here, [builders.erased(during)]
    migration = await here.migration()
    assert sum([n async for n in migration.catch_up()]) == 3
    assert await here.new_ids() == ids([after, stays])
    await here.erase(builders.erased(after))
    assert await here.new_ids() == ids([stays])


async def test_what_an_erasure_could_not_meet_is_swept() -> None:
    here = Moving()
    (event,) = await here.people("anna")
    migration = await here.moved()
    await here.ledger.erase([event.reference_id])  # as if the pass was killed before it asked
    assert await here.new_ids() == ids([event])
    assert await migration.sweep() == 1
    assert await here.new_ids() == set()


async def test_what_the_new_model_refuses_is_named_with_its_reason_and_tried_once() -> None:
    here = Moving()
    gone, whole = await here.people("anna", "bert")
    await here.blobs.delete([gone.image])
    migration = await here.moved()
    await here.moved(migration)
    (lacking,) = migration.lacking
    assert (lacking.reference_id, lacking.gallery) == (gone.reference_id, CUSTODY)
    assert lacking.reason.startswith("missing_blob: ")
    assert await here.new_ids() == ids([whole])


async def test_an_image_that_is_gone_because_it_was_erased_is_not_missed() -> None:
    here = Moving()
    (event,) = await here.people("anna")
    migration = await here.migration()
    passing = migration.catch_up()
    await anext(passing)  # it has read who is held
    await here.erase(builders.erased(event))
    assert [n async for n in passing] == [1]
    assert migration.lacking == []


async def test_the_face_that_was_meant_is_the_one_that_is_embedded() -> None:
    here = Moving()
    await here.enrol(await here.referenced(ANNA, BERT, person_id="bert", subject=Box(120, 16, 184, 80)))
    moved = await here.moved()
    assert moved.lacking == []
    assert (await similarities(here, BERT))[0] > 0.99


async def similarities(here: Moving, face: PlantedFace, embedder: ModelIdentity = NEW) -> list[float]:
    """Return how near the references of a model are to this face."""
    (file,) = await here.blobs.get([(await here.embedded(face)).template.template])
    assert isinstance(file, bytes)
    template = np.frombuffer(file, "<f4")[np.newaxis]
    (hits,) = await here.gallery.search(CUSTODY, template, embedder=embedder, limit=9, threshold=-1)
    return [hit.similarity for hit in hits]


class FirstOnly(FakeDetector):
    """Sees the first face of each picture alone."""

    async def detect(self, images: Sequence[ImageHwc]) -> list[list[Face]]:
        return [sorted(faces, key=lambda face: face.box.x1)[:1] for faces in await super().detect(images)]


async def test_a_face_that_the_old_model_saw_alone_is_found_among_those_that_the_new_one_sees() -> None:
    here = Moving()
    here.vision = FakeVision(detector=FirstOnly())
    await here.enrol(await here.referenced(BERT, ANNA, person_id="anna"))
    here.vision = FakeVision()
    assert (await here.moved()).lacking == []
    assert (await similarities(here, ANNA))[0] > 0.99
    assert (await similarities(here, BERT))[0] < 0.5


async def test_of_several_faces_none_is_guessed() -> None:
    here = Moving()
    event = await here.referenced(ANNA, BERT, person_id="bert")
    await here.ledger.hold([stages.as_held(event)])
    (lacking,) = (await here.moved()).lacking
    assert "faces found: 2" in lacking.reason


# --- a correction: the reference was enrolled with the face of somebody else -----------------------------------------
AT_ANNA, AT_BERT = Point(48, 48), Point(152, 48)


async def held_for_the_wrong_face(here: Moving) -> ReferenceSubmitted:
    """Hold Anna by a picture of two, with the face of Bert who stands beside her."""
    await here.enrol(event := await here.referenced(ANNA, BERT, person_id="anna", subject=AT_BERT))
    return event


def again(event: ReferenceSubmitted, subject: Point) -> ReferenceSubmitted:
    return event.model_copy(update={"subject": subject, "occurred_at": builders.LATER})


async def test_whoever_is_corrected_meanwhile_is_found_by_the_right_face_in_both_models() -> None:
    here = Moving()
    event = await held_for_the_wrong_face(here)
    migration = await here.moved()
    assert (await similarities(here, BERT))[0] > 0.99
    seen = await here.ledger.extent()
    await here.enrol(again(event, AT_ANNA))
    assert await here.ledger.extent() != seen, "so that nothing is switched past it"
    await here.moved(migration)
    for embedder in (NEW, FakeEmbedder.identity):
        assert (await similarities(here, ANNA, embedder))[0] > 0.99


@pytest.mark.parametrize("part", ["erase", "hold", "enrol"])
async def test_a_correction_that_is_cut_off_is_finished_by_its_redelivery(part: str) -> None:
    here = Moving()
    event = await held_for_the_wrong_face(here)
    migration = await here.moved()
    owner = "ledger" if part == "hold" else "gallery"
    house.take_away(here, owner, part, Unavailable("away"))
    with pytest.raises(Unavailable):
        await here.enrol(again(event, AT_ANNA))
    house.bring_back(here, owner, part)
    await here.enrol(again(event, AT_ANNA))
    await here.moved(migration)
    assert (await similarities(here, ANNA))[0] > 0.99


async def test_whoever_is_corrected_while_the_other_face_is_embedded_is_embedded_again() -> None:
    here = Moving()
    event = await held_for_the_wrong_face(here)
    here.new.here, here.new.meanwhile = here, [again(event, AT_ANNA)]
    await here.moved()
    assert (await similarities(here, ANNA))[0] > 0.99


class Crowded(MemoryGallery):
    """Lets a test act right behind the first removal."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def erase(self, gallery: GalleryName, ids: Sequence[UUID]) -> None:
        await super().erase(gallery, ids)
        if act := self.meanwhile:
            self.meanwhile = None
            await act()


async def test_the_other_face_that_is_embedded_before_the_record_is_corrected_does_not_stay() -> None:
    here = Moving(gallery=(gallery := Crowded(FakeEmbedder.identity)))
    event = await held_for_the_wrong_face(here)
    gallery.meanwhile = here.moved
    await here.enrol(again(event, AT_ANNA))
    await here.moved()
    assert (await similarities(here, ANNA))[0] > 0.99


async def test_a_renewal_of_the_same_face_leaves_its_templates() -> None:
    here = Moving()
    event = await held_for_the_wrong_face(here)
    await here.moved()
    await here.enrol(again(event, Point(AT_BERT.x + 9, AT_BERT.y)))
    assert await here.new_ids() == {event.reference_id}
