"""Standing searches: whoever is missing, or dead and unidentified, meets whoever is enrolled later."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import builders
import pytest
from builders import NOW
from house import STANDING, House, only, picture

from rfr_stream import review, stages
from rfr_stream.adapters.memory.vision import THRESHOLD, FakeEmbedder, PlantedFace
from rfr_stream.errors import Unavailable
from rfr_stream.events import (
    CandidatesReady,
    FaceEmbedded,
    GalleryName,
    ImageVariant,
    Purpose,
    ReferenceSubmitted,
    Source,
    SubmissionEvent,
    Support,
)
from rfr_stream.ports import CaseState, Change, Ending, Templates, Transition
from rfr_stream.stages._fusion import RULE

ANNA: Final = PlantedFace("anna")
BERT: Final = PlantedFace("bert", x=100)
MISSING: Final[dict[str, Any]] = {"purpose": Purpose.MISSING, "source": Source.MISSING_PERSON}
DECEASED: Final[dict[str, Any]] = {"purpose": Purpose.DECEASED, "source": Source.DECEASED_PERSON}
SOON: Final = NOW + STANDING.gather
PEOPLE_N: Final = 10


async def sought(here: House, face: PlantedFace = ANNA, *, now: datetime = NOW, **asked: Any) -> CandidatesReady:  # noqa: ANN401
    """Search for somebody with a picture that nobody holds, and hold the list."""
    of_its_own = await here.keep(picture(face, room=20))
    probe = await here.embedded(face, **{**MISSING, "image": of_its_own, **asked})
    found = only(CandidatesReady, await here.search(probe, now=now))
    await stages.hold([found], ledger=here.ledger, now=now)
    return found


async def asked_again(here: House, now: datetime = SOON) -> list[FaceEmbedded]:
    """Renew what is due, and return what the ledger owes to TEMPLATES."""
    await here.ledger.renew(people_n=PEOPLE_N, now=now)
    owed = await here.ledger.unpublished(100)
    await here.ledger.published([row.event.event_id for row in owed])
    return [row.event for row in owed if isinstance(row.event, FaceEmbedded)]


async def found_again(here: House, now: datetime = SOON) -> list[CandidatesReady]:
    """Renew what is due, and return the lists of which people are asked then."""
    again = await asked_again(here, now)
    lists = [only(CandidatesReady, await here.search(each, now=now)) for each in again]
    await stages.hold(lists, ledger=here.ledger, now=now)
    return lists


def people(lists: Sequence[CandidatesReady]) -> list[list[str]]:
    return [[each.person_id for each in found.candidates] for found in lists]


async def decide(here: House, found: CandidatesReady, support: Support, *by: str) -> CaseState:
    for name in by or ("reviewer-a", "reviewer-b"):
        await here.ledger.register(builders.reviewer(name))
        person = found.candidates[0].person_id if support.endswith("_same") else None
        await here.decide(builders.decision(found, by=name, support=support, person_id=person))
    case = await here.ledger.case(found.submission.submission_id)
    assert case
    return case.state


async def hold_anew(here: House, event: ReferenceSubmitted, *, restricted: bool) -> None:
    """Change what the ledger has of a reference, and nothing else."""
    await here.ledger.hold([replace(stages.as_held(event), restricted=restricted)])


async def image(here: House, number: int, person: str = "person-1", **fields: Any) -> ReferenceSubmitted:  # noqa: ANN401
    """Return another picture of Anna, of this person as the gallery has it."""
    return await here.referenced(PlantedFace("anna", x=16 + number), person_id=person, **fields)


# --- who meets whom ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("asked", [MISSING, DECEASED], ids=["missing", "deceased"])
@pytest.mark.parametrize("gallery", GalleryName)
async def test_whoever_comes_first_both_orders_lead_to_the_same_candidate(
    asked: dict[str, Any], gallery: GalleryName
) -> None:
    here, there = House(), House()
    await sought(here, **asked)
    await here.enrol(await here.referenced(ANNA, gallery=gallery))
    (later,) = await found_again(here)
    await there.enrol(await there.referenced(ANNA, gallery=gallery))
    earlier = await sought(there, **asked)
    assert later.candidates == earlier.candidates != ()


@pytest.mark.parametrize("purpose", [Purpose.SUSPECT, Purpose.VICTIM, Purpose.WITNESS])
async def test_nobody_keeps_watch_for_anybody_else(purpose: Purpose) -> None:
    here = House()
    why: dict[str, Any] = {"authoriser": "chief-1", "necessity": "the only lead"}
    await sought(here, purpose=purpose, source=Source.OFFICER, **why)
    await here.enrol(await here.referenced(ANNA))
    assert await asked_again(here) == []
    assert await here.ledger.stood() == []


async def test_whoever_does_not_look_alike_is_not_met() -> None:
    here = House()
    await sought(here)
    await here.enrol(await here.referenced(BERT))
    assert await asked_again(here) == []


async def test_only_the_galleries_asked_for_are_met() -> None:
    here = House()
    await sought(here, galleries=(GalleryName.MISSING,))
    await here.enrol(await here.referenced(ANNA, gallery=GalleryName.CUSTODY))
    assert await asked_again(here) == []
    await here.enrol(await here.referenced(ANNA, gallery=GalleryName.MISSING))
    assert people(await found_again(here)) == [["person-1"]]


async def test_what_may_not_be_found_meets_nobody() -> None:
    here = House()
    await sought(here)
    event = await here.referenced(ANNA, hold=builders.hold_record(restricted=True))
    await here.enrol(event)
    assert await asked_again(here) == []
    await hold_anew(here, event, restricted=False)  # it was not compared, so nothing is known of it
    assert await asked_again(here, NOW + timedelta(hours=1)) == []


async def test_a_restriction_that_is_lifted_lets_the_image_meet_whom_it_could_not() -> None:
    here = House()
    await sought(here)
    event = await here.referenced(ANNA, hold=builders.hold_record(restricted=True))
    free = event.model_copy(update={"hold": builders.hold_record(), "occurred_at": builders.LATER})
    await here.enrol(event)
    await here.enrol(free)
    assert people(await found_again(here)) == [["person-1"]]


async def test_two_probes_are_never_compared_and_no_gallery_has_one() -> None:
    here = House()
    await sought(here)
    await sought(here, case_ref="case-2")
    assert await asked_again(here, NOW + timedelta(days=1)) == []
    sizes = [await here.gallery.size(name, embedder=FakeEmbedder.identity) for name in GalleryName]
    assert sizes == [0, 0, 0]


async def test_templates_of_two_embedders_are_never_compared() -> None:
    here = House()
    probe = await here.embedded(ANNA, **MISSING)
    other = probe.template.model_copy(update={"embedder": builders.identity("another")})
    await here.ledger.stand([probe.model_copy(update={"template": other})], NOW + timedelta(days=1))
    blank = builders.candidates_ready(probe.submission, people=())
    await stages.hold([blank], ledger=here.ledger, now=NOW)
    await here.enrol(await here.referenced(ANNA))
    assert await asked_again(here) == []


async def test_a_template_that_is_gone_costs_nobody_else_the_comparison() -> None:
    here = House()
    gone, _ = await sought(here), await sought(here, case_ref="case-2")
    await here.blobs.delete([gone.template.template])
    assert await here.enrol(await here.referenced(ANNA)) == [None]
    (found,) = await found_again(here)
    assert found.submission.case_ref == "case-2"


# --- in time ----------------------------------------------------------------------------------------------------------
async def test_a_probe_stands_before_it_is_searched_with_so_that_nobody_slips_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = House()
    probe, reference = await here.embedded(ANNA, **MISSING), await image(here, 1)
    search = here.gallery.search

    async def enrolled_just_after(name: GalleryName, probes: Templates, **how: Any) -> Any:  # noqa: ANN401
        monkeypatch.undo()  # enrolment searches, too
        found = await search(name, probes, **how)
        await here.enrol(reference)
        return found

    monkeypatch.setattr(here.gallery, "search", enrolled_just_after)
    blank = only(CandidatesReady, await here.search(probe, rules=stages.SearchRules(THRESHOLD, 3, 2)))
    assert blank.candidates == ()
    assert await asked_again(here) == []  # its own list is on its way
    await stages.hold([blank], ledger=here.ledger, now=NOW)
    assert people(await found_again(here, NOW + timedelta(minutes=1))) == [["person-1"]]


async def test_whoever_the_probes_own_search_found_does_not_come_a_second_time() -> None:
    here = House()
    probe = await here.embedded(ANNA, **MISSING)
    await here.ledger.stand([probe], NOW + timedelta(days=1))
    await here.enrol(await here.referenced(ANNA))  # stands already, and has not been searched with
    found = only(CandidatesReady, await here.search(probe))
    await stages.hold([found], ledger=here.ledger, now=NOW)
    assert found.candidates
    assert await decide(here, found, Support.INCONCLUSIVE) is CaseState.INCONCLUSIVE
    assert await asked_again(here) == []


# --- what comes of it -------------------------------------------------------------------------------------------------
async def test_what_is_asked_again_is_about_all_that_was_asked_and_about_the_new_alone() -> None:
    here = House()
    await here.enrol(await image(here, 1, "person-2"))
    own = await sought(here)
    reference = await here.referenced(ANNA)
    await here.enrol(reference)
    (found,) = await found_again(here)
    asked = found.submission
    assert asked.renewal
    assert (asked.renewal.of, asked.renewal.references) == (own.submission.submission_id, (reference.reference_id,))
    assert asked.model_copy(update={"submission_id": asked.renewal.of, "renewal": None}) == own.submission
    assert (found.face, found.template) == (own.face, own.template)
    assert people([own, found]) == [["person-2"], ["person-1"]]


async def test_a_probe_with_variants_looks_out_with_its_main_template_and_asks_again_with_all() -> None:
    here = House()
    variant = ImageVariant(image=await here.keep(picture(BERT)))
    await sought(here, variants=(variant,))
    await here.enrol(await here.referenced(ANNA), await here.referenced(BERT, person_id="person-2"))
    (found,) = await found_again(here)
    assert [(each.person_id, each.found_by) for each in found.candidates] == [("person-1", (0,))]
    assert (found.submission.variants, found.fusion) == ((variant,), RULE)
    assert found.candidates[0].similarity < 0.9  # of the two together


async def test_whom_not_all_the_variants_together_find_comes_to_nobody() -> None:
    here = House()
    others = (PlantedFace(name) for name in ("bert", "carl", "dora", "emil"))
    await sought(here, variants=tuple([ImageVariant(image=await here.keep(picture(each))) for each in others]))
    await here.enrol(await here.referenced(ANNA))
    (found,) = await found_again(here)
    assert found.candidates == ()


async def test_several_who_come_together_make_one_list() -> None:
    here = House()
    await sought(here)
    for n, person in enumerate(("person-1", "person-2", "person-1")):
        await here.enrol(await image(here, n, person))  # a batch each
    (found,) = await found_again(here)
    assert sorted(each.person_id for each in found.candidates) == ["person-1", "person-2"]
    assert found.submission.renewal
    assert len(found.submission.renewal.references) == 3


async def test_nothing_comes_before_others_had_time_to_come_too() -> None:
    here = House()
    await sought(here)
    await here.enrol(await here.referenced(ANNA))
    assert await asked_again(here, SOON - timedelta(milliseconds=1)) == []


async def test_the_same_enrolment_never_opens_a_second_case() -> None:
    here = House()
    own, reference = await sought(here), await here.referenced(ANNA)
    await here.enrol(reference)
    (first,) = await found_again(here)
    for _ in range(3):  # from the first offset again, and again
        await here.search(FaceEmbedded(**_fields(own)))
        await here.enrol(reference)
        assert await asked_again(here, NOW + timedelta(days=1)) == []
    await decide(here, first, Support.INCONCLUSIVE)
    await here.enrol(reference)
    assert await asked_again(here, NOW + timedelta(days=1)) == []


def _fields(found: CandidatesReady) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("submission", "face", "template", "occurred_at", "demo")}


async def test_what_a_gallery_loses_before_the_search_comes_to_nobody() -> None:
    here = House()
    await sought(here)
    reference = await here.referenced(ANNA)
    await here.enrol(reference)
    await here.erase(builders.erased(reference))
    assert await asked_again(here) == []


async def test_what_may_not_be_found_any_more_waits_and_an_erasure_after_the_asking_leaves_a_blank() -> None:
    here = House()
    await sought(here)
    reference = await here.referenced(ANNA)
    await here.enrol(reference)
    await hold_anew(here, reference, restricted=True)
    assert await asked_again(here) == []
    await hold_anew(here, reference, restricted=False)
    (again,) = await asked_again(here, SOON + timedelta(minutes=1))
    await here.ledger.erase([reference.reference_id])
    blank = only(CandidatesReady, await here.search(again))
    await stages.hold([blank], ledger=here.ledger, now=NOW)
    case = await here.ledger.case(again.submission.submission_id)
    assert case
    assert (blank.candidates, case.state) == ((), CaseState.CLOSED)


# --- who does not come back -------------------------------------------------------------------------------------------
async def test_whoever_reviewers_rejected_does_not_come_back_with_another_image() -> None:
    here = House()
    await sought(here)
    await here.enrol(await image(here, 1))
    (first,) = await found_again(here)
    assert await decide(here, first, Support.STRONG_DIFFERENT) is CaseState.NOT_CONFIRMED
    await here.enrol(await image(here, 2))
    assert await asked_again(here, NOW + timedelta(days=1)) == []
    await here.enrol(await image(here, 3, "person-2"))
    assert people(await found_again(here, NOW + timedelta(days=2))) == [["person-2"]]


async def test_whoever_reviewers_could_not_tell_comes_back_with_another_image_alone() -> None:
    here = House()
    await sought(here)
    await here.enrol(await image(here, 1))
    (first,) = await found_again(here)
    assert await decide(here, first, Support.INCONCLUSIVE) is CaseState.INCONCLUSIVE
    await here.enrol(await image(here, 2))
    (second,) = await found_again(here, NOW + timedelta(days=1))
    assert [each.reference_id for each in second.candidates] != [each.reference_id for each in first.candidates]


async def test_a_probe_has_one_renewal_before_people_at_a_time_and_the_others_wait_for_its_end() -> None:
    here = House()
    await sought(here)
    await here.enrol(await image(here, 1))
    (first,) = await found_again(here)
    await here.enrol(await image(here, 2), await image(here, 3, "person-2"))
    assert await asked_again(here, NOW + timedelta(minutes=1)) == []
    await decide(here, first, Support.STRONG_DIFFERENT)
    assert people(await found_again(here, NOW + timedelta(minutes=2))) == [["person-2"]]


async def test_a_list_of_its_own_that_waits_holds_up_nobody_but_its_own_people() -> None:
    here = House()
    await here.enrol(await image(here, 1))
    own = await sought(here)
    await here.enrol(await image(here, 2), await image(here, 3, "person-2"))
    (found,) = await found_again(here)
    assert people([own, found]) == [["person-1"], ["person-2"]]


# --- the end ----------------------------------------------------------------------------------------------------------
async def test_whoever_is_confirmed_is_no_longer_sought_and_is_again_once_the_lead_is_withdrawn() -> None:
    here = House()
    await sought(here)
    await here.enrol(await image(here, 1))
    (first,) = await found_again(here)
    assert await decide(here, first, Support.STRONG_SAME) is CaseState.CONFIRMED
    await here.enrol(await image(here, 2, "person-2"))
    assert await asked_again(here, NOW + timedelta(days=1)) == []
    await here.ledger.register(builders.supervisor())
    await here.decide(builders.withdrawal(first.submission))
    await here.enrol(await image(here, 3, "person-3"))
    assert people(await found_again(here, NOW + timedelta(days=2))) == [["person-3"]]


async def test_whoever_is_found_is_no_longer_sought() -> None:
    here = House()
    own = await sought(here)
    await here.enrol(await image(here, 1))
    await here.ledger.end(own.submission.submission_id, Ending(NOW, "unit-1", "came home"))
    await here.enrol(await image(here, 2))
    assert await asked_again(here) == []


async def test_nobody_is_sought_beyond_the_review_date() -> None:
    here = House()
    await sought(here)
    later = NOW + timedelta(days=91)
    hold = builders.hold_record(review_due=later + timedelta(days=1))
    await here.enrol(await image(here, 1, hold=hold), now=later)
    assert await asked_again(here, later + timedelta(seconds=1)) == []


async def test_a_known_answer_never_stands() -> None:
    here = House()
    event = await here.submitted(ANNA, **MISSING)
    await here.enrol(await image(here, 0))
    probe = await here.embedded(ANNA, **MISSING)
    found = only(CandidatesReady, await here.search(probe))
    about = found.submission.submission_id
    transition = review.candidates_ready(found, NOW, seeded=True)
    await here.ledger.apply([_change(found, transition)])
    await here.enrol(await image(here, 1, "person-2"))
    assert event.submission.submission_id == about
    assert await asked_again(here) == []


def _change(event: SubmissionEvent, transition: Transition) -> Change:
    return Change(event.submission.submission_id, event.event_id, transition)


async def test_an_outage_of_the_ledger_lets_the_enrolment_come_again() -> None:
    here = House()
    await sought(here)

    async def away(*_: object, **__: object) -> None:
        msg = "ledger: away"
        raise Unavailable(msg)

    reference = await here.referenced(ANNA)
    here.ledger.meet = away  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await here.enrol(reference)
    del here.ledger.meet
    await here.enrol(reference)
    assert people(await found_again(here)) == [["person-1"]]


async def test_many_probes_are_one_product_and_each_template_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    here = House()
    for n in range(5):
        await sought(here, case_ref=f"case-{n}")
    read: list[int] = []
    get = here.blobs.get

    async def counted(refs: Sequence[Any]) -> Any:  # noqa: ANN401
        read.extend(ref.media_type == stages.TEMPLATE_MEDIA_TYPE for ref in refs)
        return await get(refs)

    monkeypatch.setattr(here.blobs, "get", counted)
    for n in range(3):
        await here.enrol(await image(here, n))
    assert sum(read) == 5
    assert len(await found_again(here)) == 5
