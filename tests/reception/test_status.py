"""How a submission stands: said to the client that sent it, and in words that give nothing away."""

from dataclasses import replace
from hashlib import sha256
from typing import Final
from uuid import UUID, uuid4

import builders
import pytest
from builders import NOW
from reception_house import REQUEST, ReceptionHouse, form, picture

from producers.reception.status import state_of
from rfr_stream import stages
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.events import CandidatesReady, Outcome, Source, Submission
from rfr_stream.ports import Case, CaseState
from rfr_stream.reception import Door

WITH_REVIEWERS: Final = {CaseState.AWAITING_REVIEW, CaseState.AWAITING_SECOND_REVIEW, CaseState.AWAITING_THIRD_REVIEW}


async def sent(house: ReceptionHouse) -> Submission:
    async with house.client() as client:
        assert (await client.post("/officer/submissions", files=form())).status_code == 202
    return house.behind.submissions[-1]


async def standing(
    house: ReceptionHouse, submission_id: UUID, name: str = "portal-1", door: Door = Door.OFFICER
) -> str | int:
    """Return the state that a client is told, or the status of the refusal."""
    async with house.client(name, door) as client:
        answer = await client.get(f"/submissions/{submission_id}")
    return str(answer.json()["state"]) if answer.status_code == 200 else answer.status_code


async def listed(house: ReceptionHouse, submission: Submission) -> CandidatesReady:
    found = builders.candidates_ready(submission)
    assert await stages.hold([found], ledger=house.here.ledger, now=NOW) == [None]
    return found


async def test_what_is_under_way_is_received(house: ReceptionHouse) -> None:
    assert await standing(house, (await sent(house)).submission_id) == "received"


async def test_what_another_client_sent_is_not_there(house: ReceptionHouse) -> None:
    about = (await sent(house)).submission_id
    assert await standing(house, about, "portal-2") == 404
    assert await standing(house, about, "mortuary", Door.UNIT) == 404
    assert await standing(house, uuid4()) == 404


async def test_whose_it_is_is_known_before_the_bus_has_it_so_that_no_outcome_comes_too_early(
    house: ReceptionHouse,
) -> None:
    said = {name: REQUEST[name] for name in ("purpose", "case_ref", "submitted_by")}
    about = Submission.derive(image_sha256=sha256(picture()).hexdigest(), source=Source.OFFICER, **said)
    house.behind.is_away = True
    async with house.client() as client:
        assert (await client.post("/officer/submissions", files=form())).status_code == 503
    assert await house.here.store.has_sent("portal-1", about)
    house.behind.is_away = False
    assert (await sent(house)).submission_id == about


async def test_two_clients_that_sent_the_same_are_told_the_same(house: ReceptionHouse) -> None:
    about = (await sent(house)).submission_id
    async with house.client("portal-2") as client:
        await client.post("/officer/submissions", files=form())
    assert await standing(house, about, "portal-2") == await standing(house, about) == "received"


async def test_nobody_hears_how_far_reviewers_are(house: ReceptionHouse) -> None:
    found = await listed(house, await sent(house))
    about = found.submission.submission_id
    before = await standing(house, about)
    await house.here.ledger.hold([builders.reference(each.person_id) for each in found.candidates])
    await house.here.ledger.register(builders.reviewer("reviewer-a"))
    decision = builders.decision(found, by="reviewer-a")
    await stages.decide(decision, ledger=house.here.ledger, verifier=KeyVerifier("http://localhost:8470"), now=NOW)
    case = await house.here.ledger.case(about)
    assert case
    assert case.state is CaseState.AWAITING_SECOND_REVIEW
    assert before == await standing(house, about) == "with_reviewers"


@pytest.mark.parametrize("state", CaseState)
def test_a_state_is_a_word_that_its_sender_may_hear(state: CaseState) -> None:
    case = Case(uuid4(), state, NOW)
    ended = {each.value for each in Outcome}
    expected = {"with_reviewers"} if state in WITH_REVIEWERS else {"received", "with_reviewers", *ended}
    assert state_of(case) in expected


@pytest.mark.parametrize("outcome", Outcome)
def test_what_has_ended_is_told_as_to_everybody(outcome: Outcome) -> None:
    case = Case(uuid4(), CaseState.CLOSED, NOW, outcome=outcome)
    assert state_of(case) == outcome


def test_a_known_answer_looks_like_all_others() -> None:
    seeded = Case(uuid4(), CaseState.AWAITING_REVIEW, NOW, seeded=True)
    assert state_of(seeded) == state_of(replace(seeded, seeded=False)) == "with_reviewers"
