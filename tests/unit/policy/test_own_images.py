"""What is handed in to be searched with and held never meets itself, whichever comes first, and all others do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import builders
from builders import NOW
from house import STANDING, House, only
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rfr_stream import policy, stages
from rfr_stream.adapters.memory.vision import PlantedFace
from rfr_stream.events import CandidatesReady, FaceEmbedded, GalleryName, ImageVariant, Purpose, Source

SHOTS: Final = tuple(PlantedFace("anna", x=16 + number) for number in range(3))
"""Three pictures of one person: another place makes another image."""


@dataclass(frozen=True)
class Held:
    """One of the pictures, held for a person in a case."""

    shot: int
    case_ref: str | None
    person_id: str
    gallery: GalleryName


held = st.builds(
    Held,
    st.integers(0, len(SHOTS) - 1),
    st.sampled_from([None, "case-1", "case-2"]),
    st.sampled_from(["person-1", "person-2"]),
    st.sampled_from([GalleryName.MISSING, GalleryName.DECEASED]),
)


@given(
    earlier=st.lists(held, max_size=3),
    later=st.lists(held, max_size=3),
    others=st.sets(st.integers(1, len(SHOTS) - 1), max_size=2),
)
@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
async def test_no_image_meets_itself_in_its_own_case_and_all_others_are_found(
    earlier: Sequence[Held], later: Sequence[Held], others: set[int]
) -> None:
    here = House()
    own = {0, *others}
    await enrol(here, earlier)
    found = only(CandidatesReady, await here.search(await probe(here, others)))
    await stages.hold([found], ledger=here.ledger, now=NOW)
    await enrol(here, later)
    # Who is before people waits until they have said; for the rest of the law, only whether anybody is asked again.
    again = await met(here)
    assert {each.person_id for each in found.candidates} == people(here_held(earlier), own)
    assert again <= people(here_held([*earlier, *later]), own)
    assert bool(again) is bool(people(here_held([*earlier, *later]), own) - people(here_held(earlier), own))


def here_held(said: Sequence[Held]) -> list[Held]:
    """Return what is held in the end: the same picture of the same person there has one record, the last."""
    return list({(each.shot, each.person_id, each.gallery): each for each in said}.values())


def people(said: Sequence[Held], own: set[int]) -> set[str]:
    return {each.person_id for each in said if not (each.shot in own and each.case_ref == "case-1")}


async def enrol(here: House, said: Sequence[Held]) -> None:
    for number, each in enumerate(said):
        hold = builders.hold_record(case_ref=each.case_ref)
        event = await here.referenced(SHOTS[each.shot], person_id=each.person_id, gallery=each.gallery, hold=hold)
        assert await here.enrol(event) == [None], number


async def probe(here: House, others: set[int]) -> FaceEmbedded:
    images = [await here.submitted(SHOTS[number]) for number in sorted(others)]
    variants = tuple(ImageVariant(image=each.submission.image) for each in images)
    asked = {"purpose": Purpose.MISSING, "source": Source.MISSING_PERSON, "case_ref": "case-1"}
    return await here.embedded(SHOTS[0], variants=variants, **asked)


async def met(here: House) -> set[str]:
    """Return whom people are asked about once more."""
    soon = NOW + STANDING.gather
    await here.ledger.renew(people_n=10, now=soon)
    owed = [row.event for row in await here.ledger.unpublished(100) if isinstance(row.event, FaceEmbedded)]
    lists = [only(CandidatesReady, await here.search(each, now=soon)) for each in owed]
    assert all(found.candidates for found in lists), "nobody is asked about nothing"
    return {each.person_id for found in lists for each in found.candidates}


def test_own_is_the_same_image_in_the_same_case() -> None:
    asked = builders.submission(variants=builders.variants())
    mine = builders.reference(image=asked.image, case_ref=asked.case_ref)
    assert policy.is_its_own(asked, mine)
    assert policy.is_its_own(asked, builders.reference(image=builders.blob("second-image"), case_ref=asked.case_ref))
    assert not policy.is_its_own(asked, builders.reference(image=asked.image, case_ref="case-2"))
    assert not policy.is_its_own(asked, builders.reference(image=asked.image))
    assert not policy.is_its_own(asked, builders.reference(case_ref=asked.case_ref))
