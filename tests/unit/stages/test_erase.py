"""The gallery's way out: nothing stays of what is erased, however far it had come in, whatever is done meanwhile."""

from collections.abc import Coroutine, Generator
from contextlib import suppress
from copy import deepcopy
from inspect import CORO_CLOSED, getcoroutinestate, iscoroutinefunction
from itertools import product
from types import coroutine
from typing import Any, Final

import builders
import house
import pytest
from house import House, only, picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rfr_stream import stages
from rfr_stream.adapters.memory.vision import FakeEmbedder, PlantedFace
from rfr_stream.errors import BadImage, MissingBlob, NotPermitted, Unavailable
from rfr_stream.events import CandidatesReady, GalleryName, Purpose, ReferenceErased, ReferenceSubmitted, Source

ANNA: Final = PlantedFace("anna")
BERT: Final = PlantedFace("bert", x=100)
CUSTODY, MISSING = GalleryName.CUSTODY, GalleryName.MISSING


async def size(here: House, gallery: GalleryName = CUSTODY) -> int:
    return await here.gallery.size(gallery, embedder=FakeEmbedder.identity)


async def people_like(here: House, face: PlantedFace) -> list[str]:
    """Return who is found for a picture of this face."""
    return await here.listed(await here.embedded(face))


async def left_of(here: House, event: ReferenceSubmitted) -> set[str]:
    """Return where anything of this reference is left."""
    known = await here.gallery.known(event.gallery, [event.reference_id], embedder=FakeEmbedder.identity)
    conflicts = {id_ for each in await here.ledger.conflicts() for id_ in (each.reference_id, each.other_id)}
    left = {
        "template": event.reference_id in known,
        "record": event.reference_id in await here.ledger.held([event.reference_id]),
        "image": any(str(event.reference_id) in key for key in here.blobs.kept),
        "conflict": event.reference_id in conflicts,
        "meeting": any(event.reference_id in pair for pair in here.ledger._met),  # noqa: SLF001
    }
    return {where for where, is_there in left.items() if is_there}


async def test_what_is_erased_is_gone_from_gallery_ledger_and_store() -> None:
    here = House()
    event = await here.referenced(ANNA)
    await here.enrol(event)
    assert await here.erase(builders.erased(event)) == [None]
    assert await size(here) == 0
    assert await here.ledger.held([event.reference_id]) == {}
    assert isinstance((await here.blobs.get([event.image]))[0], MissingBlob)


async def test_erasing_one_reference_leaves_all_others() -> None:
    here = House()
    anna, bert = await here.referenced(ANNA), await here.referenced(BERT, person_id="person-2")
    await here.enrol(anna, bert)
    await here.erase(builders.erased(anna))
    assert await people_like(here, PlantedFace("bert")) == ["person-2"]
    assert isinstance((await here.blobs.get([bert.image]))[0], bytes)


async def test_erasing_a_reference_leaves_a_probe_of_the_same_image() -> None:
    here = House()
    probe = await here.submitted(ANNA)
    event = await here.referenced(ANNA)
    assert probe.submission.image.sha256 == event.image.sha256
    await here.enrol(event)
    await here.erase(builders.erased(event))
    assert isinstance((await here.blobs.get([probe.submission.image]))[0], bytes)


async def test_an_erasure_that_names_the_wrong_gallery_erases_all_the_same() -> None:
    here = House()
    event = await here.referenced(ANNA)
    await here.enrol(event)
    await here.erase(builders.erased(event, gallery=MISSING))
    assert await size(here, CUSTODY) == 0


async def test_an_erased_image_that_is_handed_in_again_does_not_stay_in_the_store() -> None:
    here = House()
    event = await here.referenced(ANNA)
    await here.enrol(event)
    await here.erase(builders.erased(event))
    again = await here.referenced(ANNA)
    only(NotPermitted, await here.enrol(again))
    assert isinstance((await here.blobs.get([again.image]))[0], MissingBlob)


async def test_an_erasure_that_names_another_person_erases_nothing() -> None:
    here = House()
    event = await here.referenced(ANNA)
    await here.enrol(event)
    refused = only(NotPermitted, await here.erase(builders.erased(event, person_id="person-2")))
    assert "person_id" in str(refused)
    assert await people_like(here, ANNA) == ["person-1"]
    assert isinstance((await here.blobs.get([event.image]))[0], bytes)


async def test_what_was_erased_stays_erased() -> None:
    here = House()
    event = await here.referenced(ANNA)
    await here.enrol(event)
    await here.erase(builders.erased(event))
    only(NotPermitted, await here.enrol(await here.referenced(ANNA)))
    assert await size(here) == 0
    assert await here.ledger.held([event.reference_id]) == {}


async def test_an_erasure_that_comes_before_its_reference_bars_it() -> None:
    here = House()
    event = await here.referenced(ANNA)
    await here.erase(builders.erased(event))
    only(NotPermitted, await here.enrol(event))


# --- however far it had come in -------------------------------------------------------------------------------------
async def test_of_an_erased_reference_that_was_refused_no_image_is_left() -> None:
    here = House()
    crowd = await here.referenced(ANNA, BERT)
    only(BadImage, await here.enrol(crowd))
    assert await left_of(here, crowd) == {"image"}
    assert await here.erase(builders.erased(crowd)) == [None]
    assert await left_of(here, crowd) == set()


async def test_nor_of_one_that_came_by_the_wrong_door() -> None:
    here = House()
    event = await here.referenced(ANNA, hold=builders.hold_record(door=Source.MISSING_PERSON))
    only(NotPermitted, await here.enrol(event))
    await here.erase(builders.erased(event))
    assert await left_of(here, event) == set()


async def test_what_is_handed_in_passes_the_erasure_by() -> None:
    here = House()
    anna, bert = await here.referenced(ANNA), await here.referenced(BERT, person_id="person-2")
    await here.enrol(anna)
    wrong = builders.erased(anna, person_id="person-3")
    results = await here.erase(bert, wrong, anna, builders.erased(anna))
    assert [type(result) for result in results] == [type(None), NotPermitted, type(None), type(None)]
    assert (await left_of(here, anna), await left_of(here, bert)) == (set(), {"image"})


async def test_where_nothing_is_erased_nothing_is_asked() -> None:
    here = House()
    for part, method in STEPS:
        house.take_away(here, part, method, Unavailable())
    assert await here.erase(await here.referenced(ANNA)) == [None]
    assert await here.erase() == []


async def test_an_erasure_passes_the_enrolment_by() -> None:
    here = House()
    anna = await here.referenced(ANNA)
    await here.enrol(anna)
    assert await here.enrol(builders.erased(anna), anna) == [None, None]
    assert await people_like(here, ANNA) == ["person-1"]


async def test_an_image_whose_erasure_overtook_it_is_turned_against_nobody() -> None:
    """The rule that what was given to find somebody never serves against a suspect outlives the erasure."""
    here = House()
    given = await here.referenced(ANNA, gallery=MISSING, hold=builders.hold_record(door=Source.MISSING_PERSON))
    await here.erase(builders.erased(given))
    turned = await here.referenced(ANNA)
    results = await here.enrol(given, turned)
    assert [type(result) for result in results] == [NotPermitted, NotPermitted]
    only(NotPermitted, await here.enrol(turned))


# --- whichever of the two comes first -------------------------------------------------------------------------------
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["submit", "erase", "crowd"])), max_size=8), st.data())
async def test_however_a_history_is_cut_into_batches_and_whoever_reads_first_what_was_erased_is_gone(
    history: list[tuple[int, str]], data: st.DataObject
) -> None:
    here = House()
    events = [await happening(here, person, what) for person, what in history]
    while events:
        cut = data.draw(st.integers(1, len(events)))
        batch, events = events[:cut], events[cut:]
        for is_erasure in data.draw(st.permutations([False, True])):
            assert len(await (here.erase(*batch) if is_erasure else here.enrol(*batch))) == cut
    gone = {person for person, what in history if what == "erase"}
    kept = {person for person, what in history if what == "submit"} - gone
    assert await size(here) == len(kept)
    for person in range(3):
        assert await people_like(here, PlantedFace(f"{person}")) == ([f"person-{person}"] if person in kept else [])


async def happening(here: House, person: int, what: str) -> ReferenceSubmitted | ReferenceErased:
    people = [PlantedFace(f"{person}")] + ([BERT] if what == "crowd" else [])
    event = await here.referenced(*people, person_id=f"person-{person}")
    return builders.erased(event) if what == "erase" else event


# --- step by step ---------------------------------------------------------------------------------------------------
STEPS: Final = [("ledger", "erase"), ("gallery", "erase"), ("blobs", "delete_under")]


class Trace:
    """Remembers in which order ports were asked to forget."""

    def __init__(self, here: House) -> None:
        self.steps: list[tuple[str, str]] = []
        for step in STEPS:
            self._follow(getattr(here, step[0]), step)

    def _follow(self, port: object, step: tuple[str, str]) -> None:
        original = getattr(port, step[1])

        async def followed(*args: object, **kwargs: object) -> object:
            if step not in self.steps:
                self.steps.append(step)
            return await original(*args, **kwargs)

        setattr(port, step[1], followed)


async def test_that_it_is_erased_is_on_record_before_template_and_image_go() -> None:
    here = House()
    event = await here.referenced(ANNA)
    await here.enrol(event)
    trace = Trace(here)
    await here.erase(builders.erased(event))
    assert trace.steps == STEPS


@pytest.mark.parametrize(("part", "method"), STEPS)
@pytest.mark.parametrize("people", [(ANNA,), (ANNA, BERT)], ids=["enrolled", "refused"])
async def test_an_erasure_that_was_interrupted_is_finished_by_the_redelivery(
    people: tuple[PlantedFace, ...], part: str, method: str
) -> None:
    here = House()
    event = await here.referenced(*people)
    await here.enrol(event)
    house.take_away(here, part, method, Unavailable())
    with pytest.raises(Unavailable):
        await here.erase(builders.erased(event))
    house.bring_back(here, part, method)
    assert [await here.erase(builders.erased(event)) for _ in range(2)] == [[None], [None]]
    assert await left_of(here, event) == set()


@pytest.mark.parametrize(("part", "method"), STEPS[1:])
async def test_from_its_first_step_on_nobody_is_found(part: str, method: str) -> None:
    here = House()
    event = await here.referenced(ANNA)
    await here.enrol(event)
    house.take_away(here, part, method, Unavailable())
    with pytest.raises(Unavailable):
        await here.erase(builders.erased(event))
    assert await people_like(here, ANNA) == []


# --- while its enrolment is in hand ---------------------------------------------------------------------------------
MANY: Final = 1_000


@coroutine
def turn() -> Generator[None]:
    """Let whoever drives this say when it goes on."""
    yield


class Turns:
    """A port each of whose calls waits for its turn."""

    def __init__(self, port: object) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        method = getattr(self._port, name)
        if not iscoroutinefunction(method):
            return method

        async def in_turn(*args: object, **kwargs: object) -> object:
            await turn()
            return await method(*args, **kwargs)

        return in_turn


def go(work: Coroutine[Any, Any, object], steps: int) -> None:
    """Let this do so many steps, or all that are left."""
    for _ in range(steps):
        if getcoroutinestate(work) != CORO_CLOSED:
            with suppress(StopIteration):
                work.send(None)


async def sought_and_held_under_another_name(here: House) -> None:
    """Let an enrolment of Anna leave all that it can: a conflict, and a meeting with a probe that stands."""
    await here.enrol(await here.referenced(PlantedFace("anna", x=60), person_id="person-2"))
    image = await here.keep(picture(ANNA, room=20))
    probe = await here.embedded(ANNA, image=image, purpose=Purpose.MISSING, source=Source.MISSING_PERSON)
    await stages.hold([only(CandidatesReady, await here.search(probe))], ledger=here.ledger, now=builders.NOW)


async def test_an_enrolment_leaves_all_that_an_erasure_must_remove() -> None:
    here = House()
    await sought_and_held_under_another_name(here)
    event = await here.referenced(ANNA)
    assert await here.enrol(event) == [None]
    assert await left_of(here, event) == {"template", "record", "image", "conflict", "meeting"}


async def test_whichever_step_comes_first_an_erasure_and_its_enrolment_leave_nothing() -> None:
    begun = House()
    await sought_and_held_under_another_name(begun)
    event = await begun.referenced(ANNA)

    async def left_after(enrolled_n: int, erased_n: int) -> set[str]:
        """Let so many steps of the enrolment be followed by so many of the erasure, then the rest of the two."""
        here = deepcopy(begun)
        ports: dict[str, Any] = {name: Turns(getattr(here, name)) for name in ("blobs", "gallery", "ledger")}
        enrolment, erasure = House(**ports).enrol(event), House(**ports).erase(builders.erased(event))
        for work, steps in [(enrolment, enrolled_n), (erasure, erased_n), (enrolment, MANY), (erasure, MANY)]:
            go(work, steps)
        return await left_of(here, event)

    left = {cut: await left_after(*cut) for cut in product(range(24), range(8))}
    assert {cut: each for cut, each in left.items() if each} == {}
