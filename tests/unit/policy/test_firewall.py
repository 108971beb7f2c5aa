"""No image that somebody gave so that a person would be found is ever turned against a suspect.

The tables are gone through whole; then the stages are given whatever hypothesis thinks of, and policy's tables are not
asked what to expect: the rule is written down here a second time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import builders
import pytest
from house import House, only, picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers import references
from rfr_stream import policy, stages
from rfr_stream.adapters.memory.gallery import MemoryGallery
from rfr_stream.adapters.memory.vision import FakeEmbedder, PlantedFace
from rfr_stream.errors import Malformed, NotPermitted
from rfr_stream.events import CandidatesReady, Event, GalleryName, ModelIdentity, Purpose, ReferenceSubmitted, Source
from rfr_stream.policy import ENROLS, RULES
from rfr_stream.ports import Hit, Templates

CUSTODY: Final = GalleryName.CUSTODY
ENTRUSTED: Final = {Source.MISSING_PERSON, Source.DECEASED_PERSON, Source.PUBLIC_APPEAL}
NOT_FOR_SUSPECTS: Final = {GalleryName.MISSING, GalleryName.DECEASED}
FACES: Final = (PlantedFace("anna"), PlantedFace("bert"))


# --- the tables -----------------------------------------------------------------------------------------------------
def test_no_door_leads_from_those_who_want_to_help_to_where_suspects_are_sought() -> None:
    for door, gallery in product(ENTRUSTED, GalleryName):
        assert not (door in ENROLS[gallery] and gallery in RULES[Purpose.SUSPECT].galleries), (door, gallery)


def test_a_suspect_is_sought_in_custody_and_nowhere_else() -> None:
    assert RULES[Purpose.SUSPECT].galleries == {GalleryName.CUSTODY}


def test_every_gallery_says_which_doors_lead_to_it() -> None:
    assert set(ENROLS) == set(GalleryName)
    assert all(ENROLS.values())


@given(
    purpose=st.sampled_from(Purpose),
    source=st.sampled_from(Source),
    galleries=st.sets(st.sampled_from(GalleryName)).map(tuple),
    authoriser=st.sampled_from([None, "chief-1", "officer-1"]),
)
def test_no_request_whatever_opens_another_gallery_to_a_search_for_a_suspect(
    purpose: Purpose, source: Source, galleries: tuple[GalleryName, ...], authoriser: str | None
) -> None:
    asked = builders.submission(
        purpose=purpose, source=source, galleries=galleries, authoriser=authoriser, necessity="the only lead"
    )
    try:
        opened = set(policy.searchable(asked))
    except NotPermitted:
        return
    assert opened
    if purpose is Purpose.SUSPECT:
        assert opened == {GalleryName.CUSTODY}
        assert source not in {Source.MISSING_PERSON, Source.DECEASED_PERSON}


# --- the stages -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Said:
    """One image handed in for a gallery, and the door that it is said to have come through."""

    face: PlantedFace
    door: Source
    gallery: GalleryName
    person_id: str


class WatchedGallery(MemoryGallery):
    """Remembers what was read."""

    def __init__(self) -> None:
        super().__init__(embedder=FakeEmbedder.identity)
        self.read: set[GalleryName] = set()

    async def search(
        self, gallery: GalleryName, probes: Templates, *, embedder: ModelIdentity, limit: int, threshold: float
    ) -> list[list[Hit]]:
        self.read.add(gallery)
        return await super().search(gallery, probes, embedder=embedder, limit=limit, threshold=threshold)


enrolments = st.builds(
    Said,
    st.sampled_from(FACES),
    st.sampled_from(Source),
    st.sampled_from(GalleryName),
    st.sampled_from(["person-1", "person-2", "person-3"]),
)


@given(
    batches=st.lists(st.lists(enrolments, max_size=4), max_size=4),
    source=st.sampled_from(Source),
    galleries=st.sets(st.sampled_from(GalleryName)).map(tuple),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
async def test_whatever_is_enrolled_a_suspect_is_found_by_what_the_police_took_alone(
    batches: list[list[Said]], source: Source, galleries: tuple[GalleryName, ...]
) -> None:
    here = House(gallery=(gallery := WatchedGallery()))
    for batch in batches:
        await here.enrol(*[await event_of(here, said) for said in batch])
    gallery.read.clear()  # enrolment looks for conflicts in its own gallery
    for face in FACES:
        probe = await here.embedded(face)
        forged = probe.submission.model_copy(update={"source": source, "galleries": galleries})  # past the first stage
        (found,) = await here.search(probe.model_copy(update={"submission": forged}))
        people = {each.person_id for each in found.candidates} if isinstance(found, CandidatesReady) else set()
        assert people <= may_be_found([said for batch in batches for said in batch if said.face == face])
    assert not gallery.read & NOT_FOR_SUSPECTS


def may_be_found(said: Sequence[Said]) -> set[str]:
    """Return who of these, all of one image, may be found as a suspect: the rule, written down a second time."""
    people: set[str] = set()
    was_entrusted = False
    for each in said:
        if each.gallery is GalleryName.CUSTODY and each.door not in ENTRUSTED and not was_entrusted:
            people.add(each.person_id)
        was_entrusted |= each.gallery is not GalleryName.CUSTODY and each.door in ENROLS[each.gallery] & ENTRUSTED
    return people


async def event_of(here: House, said: Said) -> ReferenceSubmitted:
    hold = builders.hold_record(door=said.door)
    return await here.referenced(said.face, person_id=said.person_id, gallery=said.gallery, hold=hold)


@pytest.mark.parametrize("door", sorted(ENTRUSTED))
async def test_the_stage_refuses_what_an_entrusted_door_brings_for_custody(door: Source) -> None:
    here = House()
    refused = only(NotPermitted, await here.enrol(await event_of(here, Said(FACES[0], door, CUSTODY, "person-1"))))
    assert str(refused) == f"door: what came through {door} may not enter the gallery custody"


@pytest.mark.parametrize("together", [True, False])
async def test_another_door_named_later_does_not_turn_an_entrusted_image_against_anybody(*, together: bool) -> None:
    here = House()
    given_to_find = Said(FACES[0], Source.MISSING_PERSON, GalleryName.MISSING, "person-1")
    turned = Said(FACES[0], Source.OFFICER, CUSTODY, "person-2")
    events = [await event_of(here, given_to_find), await event_of(here, turned)]
    results = await here.enrol(*events) if together else [(await here.enrol(event))[0] for event in events]
    assert results[0] is None
    assert "missing_person" in str(only(NotPermitted, results[1:]))


@pytest.mark.parametrize("source", Source)
async def test_an_image_that_somebody_was_searched_for_with_does_not_enter_custody_by_another_word(
    source: Source,
) -> None:
    here = House()
    purpose = Purpose.DECEASED if source is Source.DECEASED_PERSON else Purpose.MISSING
    await here.search(await here.embedded(FACES[0], source=source, purpose=purpose))
    results = await here.enrol(await event_of(here, Said(FACES[0], Source.OFFICER, CUSTODY, "person-1")))
    assert (results == [None]) is (source not in ENTRUSTED)


async def test_nor_by_its_reference_being_erased_first() -> None:
    here = House()
    given = await event_of(here, Said(FACES[0], Source.MISSING_PERSON, GalleryName.MISSING, "person-1"))
    await here.enrol(given)
    await here.ledger.erase([given.reference_id])
    turned = await event_of(here, Said(FACES[0], Source.OFFICER, CUSTODY, "person-1"))
    only(NotPermitted, await here.enrol(turned))


async def test_nor_while_nobody_has_said_yet_who_in_it_is_meant() -> None:
    here = House()
    asked = builders.submission(source=Source.MISSING_PERSON, purpose=Purpose.MISSING)
    await stages.hold([builders.subject_unclear(asked)], ledger=here.ledger, now=builders.NOW)
    assert await here.ledger.doors([asked.image.sha256]) == {asked.image.sha256: {Source.MISSING_PERSON}}


async def test_a_picture_taken_in_custody_may_look_for_its_person_and_is_held_on() -> None:
    here = House()
    event = await event_of(here, Said(FACES[0], Source.OFFICER, CUSTODY, "person-1"))
    await here.enrol(event)
    await here.search(await here.embedded(FACES[0], source=Source.MISSING_PERSON, purpose=Purpose.MISSING))
    assert await here.enrol(event) == [None]


@pytest.mark.parametrize("source", Source)
async def test_no_probe_of_any_door_becomes_a_reference(source: Source) -> None:
    here = House()
    probe = await here.submitted(FACES[0], source=source, purpose=Purpose.MISSING)
    event = await event_of(here, Said(FACES[0], Source.OFFICER, CUSTODY, "person-1"))
    only(Malformed, await here.enrol(event.model_copy(update={"image": probe.submission.image})))


@pytest.mark.parametrize("door", sorted(ENTRUSTED))
async def test_the_producer_refuses_it_before_a_file_is_opened(door: Source) -> None:
    published: list[Event] = []

    async def publish(events: Sequence[Event]) -> None:
        published.extend(events)

    far_off = builders.hold_record(door=door, review_due=builders.MUCH_LATER)
    entry = references.Enrolment(person_id="person-1", gallery=CUSTODY, hold=far_off, submitted_by="unit-1")
    with pytest.raises(NotPermitted, match=r"^door: "):
        [r async for r in references.enrol([(picture(FACES[0]), entry)], blobs=House().blobs, publish=publish)]
    assert published == []


@pytest.mark.parametrize("door", [*sorted(ENTRUSTED), None])
def test_a_record_that_should_not_be_there_is_not_found_either(door: Source | None) -> None:
    assert policy.ineligibility(builders.reference(door=door), builders.NOW)


@pytest.mark.parametrize("entrusted", [Source.MISSING_PERSON, Source.PUBLIC_APPEAL])
async def test_no_later_word_makes_an_entrusted_image_one_that_the_police_took(entrusted: Source) -> None:
    here = House()
    for door, gallery in (
        (entrusted, GalleryName.MISSING),
        (Source.OFFICER, GalleryName.MISSING),
        (Source.OFFICER, GalleryName.CUSTODY),
    ):
        await here.enrol(await event_of(here, Said(FACES[0], door, gallery, "person-1")))

    (found,) = await here.search(await here.embedded(FACES[0]))
    assert isinstance(found, CandidatesReady)
    assert found.candidates == ()
