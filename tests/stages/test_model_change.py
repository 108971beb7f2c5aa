"""Stages hold to the model that serves: they start with no other, and nothing that another makes counts."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import builders
import pytest
from house import FakeVision, House
from mounted import Mounted, lawful

from consumers._serving import Serving
from rfr_stream.adapters.memory.gallery import Collections, MemoryGallery
from rfr_stream.adapters.memory.vision import THRESHOLD, FakeEmbedder, PlantedFace
from rfr_stream.errors import NotPermitted, Unavailable
from rfr_stream.events import CandidatesReady, FaceEmbedded, GalleryName
from rfr_stream.faces import ImageHwc
from rfr_stream.ports import Served, Templates

ANNA = PlantedFace("anna")
OURS = Served("ours", FakeEmbedder.identity, THRESHOLD, builders.NOW)
NEW = Served("new", builders.identity("new"), 0.6, builders.NOW)
WAITS = "RFR_VISION__PACK: the gallery is served by the pack new"


class NewEmbedder(FakeEmbedder):
    """Another model, which makes the same templates."""

    identity = NEW.embedder


class OvertakenEmbedder(FakeEmbedder):
    """Our model; another one begins to serve while it works."""

    def __init__(self, here: House) -> None:
        """Remember where."""
        self._here = here

    async def embed(self, chips: Sequence[ImageHwc]) -> Templates:
        await switch(self._here, NEW, OURS)
        return await super().embed(chips)


async def switch(here: House, coming: Served, leaving: Served) -> None:
    assert await here.ledger.serve(coming, leaving, seen=await here.ledger.extent())


@pytest.fixture
def house(tmp_path: Path) -> Mounted:
    return Mounted.at(tmp_path)


async def asked(house: Mounted, group: str, *events: object) -> Sequence[object]:
    """Give a batch to the stage of this group."""
    return await house.pipelines[group].stage.run(events)


async def test_a_process_starts_with_the_model_that_serves_and_with_no_other() -> None:
    here = House()
    async with Serving(here.ledger, here.vision):
        pass  # no model was ever changed
    await switch(here, NEW, OURS)
    with pytest.raises(Unavailable, match=WAITS):
        await Serving(here.ledger, here.vision).__aenter__()
    async with Serving(here.ledger, FakeVision(embedder=NewEmbedder())):
        pass
    await switch(here, OURS, NEW)
    async with Serving(here.ledger, here.vision):
        pass


async def test_a_stage_at_work_waits_once_another_model_serves_and_goes_on_when_its_own_does_again(
    house: Mounted,
) -> None:
    here = house.here
    work = {
        "rfr-embedding": await here.detected(ANNA),
        "rfr-search": await here.embedded(ANNA),
        "rfr-enrolment": await here.referenced(ANNA, hold=lawful()),
    }
    await switch(here, NEW, OURS)
    for group, event in work.items():
        with pytest.raises(Unavailable, match=WAITS):
            await asked(house, group, event)
    await switch(here, OURS, NEW)
    for group, event in work.items():
        (result,) = await asked(house, group, event)
        assert not isinstance(result, Exception)


async def test_neither_an_erasure_nor_what_became_of_a_case_waits_for_a_model(house: Mounted) -> None:
    reference = await house.here.referenced(ANNA, hold=lawful())
    await house.here.enrol(reference)
    await switch(house.here, NEW, OURS)
    assert await asked(house, "rfr-erasure", builders.erased(reference)) == [None]
    assert await house.here.ledger.held([reference.reference_id]) == {}
    assert await asked(house, "rfr-disposal", builders.case_disposed()) == [None]


async def test_an_enrolment_that_a_change_of_model_overtakes_is_not_committed(tmp_path: Path) -> None:
    here = House()
    here.vision = FakeVision(embedder=OvertakenEmbedder(here))
    house = Mounted.at(tmp_path)
    house = replace(house, here=here)
    event = await here.referenced(ANNA, hold=lawful())
    with pytest.raises(Unavailable, match=WAITS):
        await asked(house, "rfr-enrolment", event)
    # It comes again, to whoever has the new model.
    here.vision = FakeVision(embedder=NewEmbedder())
    await here.gallery.open_for(NEW.embedder)
    assert await asked(replace(house, here=here), "rfr-enrolment", event) == [None]
    assert await here.gallery.known(GalleryName.CUSTODY, [event.reference_id], embedder=NEW.embedder)


async def test_a_template_that_was_on_its_way_is_searched_among_its_own_at_its_own_threshold(tmp_path: Path) -> None:
    collections: Collections = {}
    here = House(gallery=MemoryGallery(OURS.embedder, collections=collections))
    late = await here.embedded(ANNA)
    stranger = late.template.model_copy(update={"embedder": builders.identity("stranger")})
    await here.enrol(await here.referenced(ANNA, hold=lawful()))
    here.vision = FakeVision(embedder=NewEmbedder(), threshold=0.6)
    here.gallery = MemoryGallery(NEW.embedder, collections=collections)
    house = replace(Mounted.at(tmp_path), here=here)
    await switch(here, NEW, replace(OURS, threshold=0.55))
    new = await here.embedded(ANNA, case_ref="case-2")
    found = await asked(house, "rfr-search", new, late, late.model_copy(update={"template": stranger}))
    assert [each.threshold for each in found if isinstance(each, CandidatesReady)] == [0.6, 0.55]
    assert [_people(each) for each in found[:2]] == [[], ["person-1"]]
    assert isinstance(found[2], NotPermitted)
    await here.ledger.retire()
    assert isinstance((await asked(house, "rfr-search", late))[0], NotPermitted)


def _people(found: object) -> list[str]:
    assert isinstance(found, CandidatesReady)
    return [each.person_id for each in found.candidates]


async def test_a_probe_with_a_late_template_is_asked_about_anew_when_the_serving_model_is_named_again(
    house: Mounted,
) -> None:
    here = house.here
    late = await here.embedded(ANNA, purpose="missing")
    await switch(here, NEW, OURS)
    await here.ledger.stand([late], datetime(2999, 1, 1, tzinfo=UTC))
    assert await here.ledger.unpublished(9) == []
    await switch(here, NEW, NEW)
    (owed,) = await here.ledger.unpublished(9)
    assert not isinstance(owed.event, FaceEmbedded)
    assert [each.embedder for each in await here.ledger.served()] == [NEW.embedder, OURS.embedder]
