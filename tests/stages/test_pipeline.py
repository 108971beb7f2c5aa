"""All five stages in one process: an image goes in, two people decide, a lead comes out. And all the other ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import builders
import pytest
from house import House, picture
from known_answers import sown
from mounted import Mounted, lawful, running, said

import topics
from consumers.review import Renewal
from rfr_stream.adapters.memory.vision import FakeEmbedder, PlantedFace
from rfr_stream.events import (
    CandidatesReady,
    Crop,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ImageSubmitted,
    ImageVariant,
    Outcome,
    Purpose,
    Recipe,
    RecipeVariant,
    Skip,
    Source,
    SubjectUnclear,
    SubmissionClosed,
    Support,
)
from rfr_stream.faces import Point
from rfr_stream.ports import CaseState
from topics import Record

ANNA = PlantedFace("anna")
BERT = PlantedFace("bert", x=100)
SOON = timedelta(days=1)


@pytest.fixture
async def house(tmp_path: Path) -> Mounted:
    return await with_anna(Mounted.at(tmp_path))


async def with_anna(mounted: Mounted) -> Mounted:
    """Let Anna be person-1 of the custody gallery, and three people competent to decide, and one to supervise them."""
    reference = await mounted.here.referenced(ANNA, hold=lawful())
    await mounted.hears(reference.model_copy(update={"demo": mounted.settings.demo}))
    for name in ("reviewer-a", "reviewer-b", "reviewer-c"):
        await mounted.here.ledger.register(builders.reviewer(name, competent_until=datetime.now(UTC) + SOON))
    await mounted.here.ledger.register(builders.supervisor(competent_until=datetime.now(UTC) + SOON))
    return mounted


async def outcomes(mounted: Mounted, *events: ImageSubmitted) -> list[Outcome]:
    return [end.outcome for end in said(await mounted.hears(*events), topics.OUTCOMES, SubmissionClosed)]


async def state(here: House, event: ImageSubmitted) -> CaseState:
    case = await here.ledger.case(event.submission.submission_id)
    assert case
    return case.state


# --- leads ----------------------------------------------------------------------------------------------------------
async def test_an_image_goes_in_two_people_decide_and_a_lead_comes_out(house: Mounted) -> None:
    asked = await house.here.submitted(BERT, ANNA, subject=Point(40, 40))
    heard = await house.hears(asked)
    (found,) = said(heard, topics.CANDIDATES, CandidatesReady)
    assert [candidate.person_id for candidate in found.candidates] == ["person-1"]
    async with house.reviewing():
        await house.decide(*(builders.decision(found, by=name) for name in ("reviewer-a", "reviewer-b")))
        (lead,) = await house.told(topics.IDENTIFICATIONS, 1)
        (end,) = await house.told(topics.OUTCOMES, 1)
    assert isinstance(lead, IdentificationConfirmed)
    assert (lead.person_id, lead.case_ref) == ("person-1", asked.submission.case_ref)
    assert isinstance(end, SubmissionClosed)
    assert end.outcome is Outcome.CONFIRMED


async def test_each_stage_says_its_own_event_once_and_nothing_goes_to_the_dead_letters(house: Mounted) -> None:
    heard = await house.hears(await house.here.submitted(ANNA))
    assert {topic: len(events) for topic, events in heard.items()} == {
        topics.SUBMISSIONS.name: 1,
        topics.FACES.name: 1,
        topics.TEMPLATES.name: 1,
        topics.CANDIDATES.name: 1,
    }


async def test_several_images_of_one_subject_are_one_event_a_stage_one_list_and_one_case(house: Mounted) -> None:
    cropped = RecipeVariant(recipe=Recipe(steps=(Crop(left=8, top=8, right=90, bottom=90),)))
    other = ImageVariant(image=await house.here.keep(picture(replace(ANNA, y=20), BERT)), subject=Point(40, 50))
    nobody = ImageVariant(image=await house.here.keep(picture()))
    heard = await house.hears(await house.here.submitted(ANNA, variants=(cropped, other, nobody)))
    assert [len(events) for events in heard.values()] == [1, 1, 1, 1]
    (found,) = said(heard, topics.CANDIDATES, CandidatesReady)
    (lead,) = found.candidates
    assert (lead.person_id, lead.found_by) == ("person-1", (0, 1, 2))
    assert [each.skipped for each in found.variants] == [None, None, Skip.NO_FACE]
    async with house.reviewing():
        await house.decide(*(builders.decision(found, by=name) for name in ("reviewer-a", "reviewer-b")))
        (confirmed,) = await house.told(topics.IDENTIFICATIONS, 1)
    assert isinstance(confirmed, IdentificationConfirmed)
    assert confirmed.probe_sha256 == found.submission.image.sha256, "the original is what was compared"


async def test_nothing_is_released_until_two_people_have_decided(house: Mounted) -> None:
    (found,) = said(await house.hears(await house.here.submitted(ANNA)), topics.CANDIDATES, CandidatesReady)
    async with house.reviewing():
        await house.decide(builders.decision(found, by="reviewer-a"), builders.decision(found, by="reviewer-a"))
    assert house.sent(topics.IDENTIFICATIONS) == []
    assert await house.here.ledger.unpublished(10) == []


async def test_people_who_disagree_release_nothing(house: Mounted) -> None:
    (found,) = said(await house.hears(await house.here.submitted(ANNA)), topics.CANDIDATES, CandidatesReady)
    async with house.reviewing():
        against = builders.decision(found, by="reviewer-b", support=Support.STRONG_DIFFERENT)
        await house.decide(builders.decision(found, by="reviewer-a"), against)
        assert house.sent(topics.OUTCOMES) == []
        await house.decide(builders.decision(found, by="reviewer-c"))
        (end,) = await house.told(topics.OUTCOMES, 1)
    assert isinstance(end, SubmissionClosed)
    assert end.outcome is Outcome.INCONCLUSIVE
    assert house.sent(topics.IDENTIFICATIONS) == []


async def test_a_redelivered_submission_leads_to_one_case_and_one_lead(house: Mounted) -> None:
    asked = await house.here.submitted(ANNA)
    found, again = said(await house.hears(asked, asked), topics.CANDIDATES, CandidatesReady)
    assert found.event_id == again.event_id
    async with house.reviewing():
        decisions = [builders.decision(found, by=name) for name in ("reviewer-a", "reviewer-b")]
        await house.decide(*decisions, *decisions)
        await house.told(topics.OUTCOMES, 1)
    assert len(house.sent(topics.IDENTIFICATIONS)) == 1


# --- other ends -----------------------------------------------------------------------------------------------------
async def test_a_stranger_is_an_honest_blank(house: Mounted) -> None:
    stranger = await house.here.submitted(PlantedFace("zoe"))
    async with house.reviewing():
        (found,) = said(await house.hears(stranger), topics.CANDIDATES, CandidatesReady)
        (end,) = await house.told(topics.OUTCOMES, 1)
    assert found.candidates == ()
    assert isinstance(end, SubmissionClosed)
    assert end.outcome is Outcome.NO_CANDIDATES
    assert await state(house.here, stranger) is CaseState.CLOSED


@dataclass(frozen=True)
class End:
    """A request that yields no list, and what becomes of it."""

    outcome: Outcome
    people: tuple[PlantedFace, ...] = (ANNA,)
    asked: Mapping[str, Any] = field(default_factory=dict)


ENDS: Final = [
    End(Outcome.NO_FACE, people=()),
    End(Outcome.UNSUITABLE_QUALITY, people=(PlantedFace("anna", side_px=20),)),
    End(Outcome.UNREADABLE, asked={"image": builders.blob("nowhere")}),
    End(Outcome.REFUSED, asked={"purpose": Purpose.WITNESS}),
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.outcome)
async def test_whoever_asked_is_told_why_there_is_no_list_and_the_ledger_knows(house: Mounted, end: End) -> None:
    event = await house.here.submitted(*end.people, **end.asked)
    assert await outcomes(house, event) == [end.outcome]
    assert await state(house.here, event) is CaseState.CLOSED


# --- whose face is meant --------------------------------------------------------------------------------------------
async def test_somebody_points_at_a_face_in_a_crowd_and_a_lead_comes_out(house: Mounted) -> None:
    crowd = await house.here.submitted(BERT, ANNA)
    async with house.reviewing():
        (question,) = said(await house.hears(crowd), topics.CANDIDATES, SubjectUnclear)
        (told,) = await house.told(topics.OUTCOMES, 1)
        where = next(box for box in question.faces if box.contains(Point(40, 40)))
        await house.decide(builders.subject_chosen(crowd.submission, subject=where.centre))
        (again,) = await house.told(topics.SUBMISSIONS, 1)
        (found,) = said(await house.hears(again), topics.CANDIDATES, CandidatesReady)
        await house.decide(*(builders.decision(found, by=name) for name in ("reviewer-a", "reviewer-b")))
        (lead,) = await house.told(topics.IDENTIFICATIONS, 1)
    assert isinstance(told, SubmissionClosed)
    assert told.outcome is Outcome.SUBJECT_SELECTION_REQUIRED
    assert isinstance(lead, IdentificationConfirmed)
    assert (lead.person_id, lead.submission_id) == ("person-1", crowd.submission.submission_id)
    assert len(found.face.masks) == 1


async def test_whoever_points_at_nobody_ends_the_case(house: Mounted) -> None:
    crowd = await house.here.submitted(BERT, ANNA)
    async with house.reviewing():
        await house.hears(crowd)
        await house.decide(builders.subject_chosen(crowd.submission, subject=Point(1, 1)))
        (again,) = await house.told(topics.SUBMISSIONS, 1)
        heard = await house.hears(again)
    assert [end.outcome for end in said(heard, topics.OUTCOMES, SubmissionClosed)] == [Outcome.NO_FACE]
    assert await state(house.here, crowd) is CaseState.CLOSED


async def test_asking_again_with_a_subject_answers_the_question_too(house: Mounted) -> None:
    crowd = await house.here.submitted(ANNA, BERT)
    assert len(said(await house.hears(crowd), topics.CANDIDATES, SubjectUnclear)) == 1
    assert await state(house.here, crowd) is CaseState.AWAITING_SUBJECT
    heard = await house.hears(await house.here.submitted(ANNA, BERT, subject=Point(40, 40)))
    (found,) = said(heard, topics.CANDIDATES, CandidatesReady)
    assert [candidate.person_id for candidate in found.candidates] == ["person-1"]


async def test_a_forged_decision_goes_to_the_dead_letters_and_changes_nothing(house: Mounted) -> None:
    asked = await house.here.submitted(ANNA)
    (found,) = said(await house.hears(asked), topics.CANDIDATES, CandidatesReady)
    forged = builders.decision(found).model_copy(update={"reviewer_id": "reviewer-b"})
    async with house.reviewing():
        await house.decide(forged)
    (letter,) = house.dead(topics.DECISIONS, "rfr-review")
    assert letter.header("x-rfr-reason") == "not_permitted"
    assert await state(house.here, asked) is CaseState.AWAITING_REVIEW


# --- after a lead ---------------------------------------------------------------------------------------------------
async def test_a_supervisor_recalls_a_lead_and_whoever_had_it_is_told(house: Mounted) -> None:
    asked = await house.here.submitted(ANNA)
    (found,) = said(await house.hears(asked), topics.CANDIDATES, CandidatesReady)
    async with house.reviewing():
        await house.decide(*(builders.decision(found, by=name) for name in ("reviewer-a", "reviewer-b")))
        await house.decide(builders.withdrawal(asked.submission))
        lead, recall = await house.told(topics.IDENTIFICATIONS, 2)
    assert isinstance(lead, IdentificationConfirmed)
    assert isinstance(recall, IdentificationWithdrawn)
    assert (recall.person_id, recall.withdrawn_by) == ("person-1", "supervisor-1")


async def test_a_known_answer_goes_the_whole_way_and_comes_out_nowhere(house: Mounted) -> None:
    planted = await house.here.submitted(ANNA)
    await sown(house.here.ledger, planted, "person-1")
    (found,) = said(await house.hears(planted), topics.CANDIDATES, CandidatesReady)
    async with house.reviewing():
        await house.decide(*(builders.decision(found, by=name) for name in ("reviewer-a", "reviewer-b")))
    assert await state(house.here, planted) is CaseState.ASSESSED
    assert await house.here.ledger.unpublished(10) == []
    assert house.bus.sent == []


# --- demonstrations -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("demo", [True, False])
async def test_a_house_refuses_the_others_events_at_every_door(tmp_path: Path, demo: bool) -> None:  # noqa: FBT001
    mounted = await with_anna(Mounted.at(tmp_path, demo=demo))
    foreign = [
        await mounted.here.submitted(ANNA, demo=not demo),
        builders.face_detected(demo=not demo),
        builders.face_embedded(demo=not demo),
        builders.subject_unclear(demo=not demo),
        builders.candidates_ready(demo=not demo),
        builders.acknowledged(builders.identification_confirmed(demo=not demo)),
        builders.closed(demo=not demo),
        builders.reference_submitted(demo=not demo),
    ]
    heard = await mounted.hears(*foreign)
    letters = [record for events in heard.values() for record in events if isinstance(record, Record)]
    assert len(letters) == sum(len(topics.topic_of(event).groups) for event in foreign), "one of each reader"
    assert {letter.header("x-rfr-reason") for letter in letters} == {"not_permitted"}


@pytest.mark.parametrize("demo", [True, False])
async def test_a_house_refuses_the_others_decisions(tmp_path: Path, demo: bool) -> None:  # noqa: FBT001
    mounted = await with_anna(Mounted.at(tmp_path, demo=demo))
    async with mounted.reviewing():
        await mounted.decide(
            builders.decision(builders.candidates_ready(demo=not demo)),
            builders.subject_chosen(demo=not demo),
            builders.withdrawal(demo=not demo),
            builders.signed(builders.certified().model_copy(update={"demo": not demo}), "supervisor-1"),
        )
    assert len(mounted.dead(topics.DECISIONS, "rfr-review")) == 4


async def test_a_demonstration_runs_through_to_a_lead_that_says_that_it_is_one(tmp_path: Path) -> None:
    mounted = await with_anna(Mounted.at(tmp_path, demo=True))
    heard = await mounted.hears(await mounted.here.submitted(ANNA, demo=True))
    (found,) = said(heard, topics.CANDIDATES, CandidatesReady)
    async with mounted.reviewing():
        await mounted.decide(*(builders.decision(found, by=name) for name in ("reviewer-a", "reviewer-b")))
        (lead,) = await mounted.told(topics.IDENTIFICATIONS, 1)
    assert lead.demo


# --- somebody who is still sought -------------------------------------------------------------------------------------
async def test_somebody_missing_is_found_by_a_later_enrolment_and_two_people_confirm_it(tmp_path: Path) -> None:
    house = Mounted.at(tmp_path, standing={"gather_s": 0, "look_every_s": 0.01})
    for name in ("reviewer-a", "reviewer-b"):
        await house.here.ledger.register(builders.reviewer(name, competent_until=datetime.now(UTC) + SOON))
    image = await house.here.keep(picture(ANNA, room=20))  # which came from her family, and is held by nobody
    asked = await house.here.submitted(image=image, purpose=Purpose.MISSING, source=Source.MISSING_PERSON)
    (renewal,) = (task for task in house.tasks if isinstance(task, Renewal))
    async with house.reviewing(), running(renewal.run()):
        await house.hears(asked)
        assert await state(house.here, asked) is CaseState.CLOSED
        await house.hears(await house.here.referenced(ANNA, hold=lawful()))
        (again,) = await house.told(topics.TEMPLATES, 1)
        (found,) = said(await house.hears(again), topics.CANDIDATES, CandidatesReady)
        assert [candidate.person_id for candidate in found.candidates] == ["person-1"]
        await house.decide(*(builders.decision(found, by=name) for name in ("reviewer-a", "reviewer-b")))
        (lead,) = await house.told(topics.IDENTIFICATIONS, 1)
    assert isinstance(lead, IdentificationConfirmed)
    assert (lead.submission_id, lead.case_ref) == (found.submission.submission_id, asked.submission.case_ref)
    assert await house.here.ledger.standing(FakeEmbedder.identity, datetime.now(UTC)) == set()
