"""Stages 4 and 5, with the human gap between them: what is held, counted and ended, with real signatures."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import builders
import house
import pytest
from builders import LATER, NOW
from house import House
from known_answers import sown

from rfr_stream import stages
from rfr_stream.adapters.memory.ledger import MemoryLedger
from rfr_stream.errors import NotPermitted, Rejected, Unavailable
from rfr_stream.events import (
    CandidatesReady,
    Event,
    IdentificationConfirmed,
    ImageSubmitted,
    Outcome,
    ReviewDecided,
    Signed,
    SubjectUnclear,
    SubmissionClosed,
    Support,
)
from rfr_stream.ports import Case, CaseState, Duty, Reviewer
from rfr_stream.review import CAN_EXPIRE


class Bench(House):
    """A house with a list before its reviewers."""

    async def prepare(self, *lists: CandidatesReady, reviewers: str = "ab") -> None:
        for name in reviewers:
            await self.ledger.register(builders.reviewer(f"reviewer-{name}"))
        await self.ledger.hold([reference for found in (FOUND, OTHER) for reference in builders.references_of(found)])
        if lists:
            assert await self.hold(*lists) == [None] * len(lists)

    async def hold(self, *found: CandidatesReady | SubjectUnclear) -> list[Rejected | None]:
        return await stages.hold(found, ledger=self.ledger, now=NOW)

    async def note(self, *ends: SubmissionClosed) -> list[Rejected | None]:
        return await stages.note(ends, cases=self.ledger, now=NOW)

    async def case(self, found: CandidatesReady) -> Case:
        case = await self.ledger.case(found.submission.submission_id)
        assert case
        return case

    async def said(self) -> list[Event]:
        return [owed.event for owed in await self.ledger.unpublished(100)]

    async def outcomes(self) -> list[Outcome]:
        return [event.outcome for event in await self.said() if isinstance(event, SubmissionClosed)]

    async def leads(self) -> list[IdentificationConfirmed]:
        return [event for event in await self.said() if isinstance(event, IdentificationConfirmed)]


FAR_AWAY = datetime(2999, 1, 1, tzinfo=UTC)
"""After whatever the real clock says, which a ledger goes by."""
FOUND = builders.candidates_ready()
OTHER = builders.candidates_ready(builders.submission("other"))


async def test_a_reference_that_was_erased_since_the_search_supports_no_lead() -> None:
    """Lists outlive hold records: nobody is named by an image that is not held any more."""
    here = Bench()
    await here.prepare(FOUND)
    first, second = (builders.decision(FOUND, by=f"reviewer-{name}") for name in "ab")
    await here.decide(first)
    await here.ledger.erase([candidate.reference_id for candidate in FOUND.candidates])
    with pytest.raises(NotPermitted, match="person_id: the reference may no longer be used: not_held"):
        await here.decide(second)
    assert await here.leads() == []


async def test_a_reference_that_was_restricted_since_the_search_supports_no_lead() -> None:
    here = Bench()
    await here.prepare(FOUND)
    await here.decide(builders.decision(FOUND, by="reviewer-a"))
    await here.ledger.hold([replace(reference, restricted=True) for reference in builders.references_of(FOUND)])
    with pytest.raises(NotPermitted, match="restricted"):
        await here.decide(builders.decision(FOUND, by="reviewer-b"))
    assert await here.leads() == []


async def test_a_decision_that_counted_is_absorbed_even_if_the_reference_has_gone_since() -> None:
    here = Bench()
    await here.prepare(FOUND)
    decision = builders.decision(FOUND, by="reviewer-a")
    await here.decide(decision)
    await here.ledger.erase([candidate.reference_id for candidate in FOUND.candidates])
    await here.decide(decision)
    assert len((await here.case(FOUND)).decisions) == 1


# --- hold -----------------------------------------------------------------------------------------------------------
async def test_a_list_waits_for_people_and_nothing_is_said() -> None:
    here = Bench()
    await here.prepare(FOUND)
    assert (await here.case(FOUND)).state is CaseState.AWAITING_REVIEW
    assert await here.said() == []


async def test_an_empty_list_is_an_honest_blank() -> None:
    here, blank = Bench(), builders.candidates_ready(people=())
    assert await here.hold(blank) == [None]
    assert (await here.case(blank)).state is CaseState.CLOSED
    assert await here.outcomes() == [Outcome.NO_CANDIDATES]


async def test_the_same_list_again_changes_nothing() -> None:
    here = Bench()
    await here.prepare(FOUND)
    before = await here.case(FOUND)
    assert await here.hold(FOUND, FOUND) == [None, None]
    assert await here.case(FOUND) == before


async def test_the_first_list_of_a_submission_stands() -> None:
    here, another = Bench(), builders.candidates_ready(people=("person-9",))
    await here.prepare(FOUND)
    assert await here.hold(another) == [None]
    assert (await here.case(FOUND)).candidates == FOUND


async def test_a_list_for_a_closed_submission_is_rejected_and_the_others_are_held() -> None:
    here = Bench()
    await here.note(builders.closed(Outcome.NO_FACE))
    first, second = await here.hold(FOUND, OTHER)
    assert isinstance(first, NotPermitted)
    assert second is None
    assert (await here.case(OTHER)).state is CaseState.AWAITING_REVIEW


# --- note -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.REFUSED, CaseState.CLOSED),
        (Outcome.UNREADABLE, CaseState.CLOSED),
        (Outcome.NO_FACE, CaseState.CLOSED),
        (Outcome.UNSUITABLE_QUALITY, CaseState.CLOSED),
    ],
)
async def test_the_ledger_keeps_how_a_submission_ended(outcome: Outcome, state: CaseState) -> None:
    here = Bench()
    assert await here.note(builders.closed(outcome)) == [None]
    case = await here.case(FOUND)
    assert (case.state, case.outcome) == (state, outcome)


async def test_what_the_review_itself_said_comes_back_and_changes_nothing() -> None:
    here = Bench()
    blank = builders.candidates_ready(people=())
    await here.hold(blank)
    before = await here.case(blank)
    (told,) = [event for event in await here.said() if isinstance(event, SubmissionClosed)]
    assert await here.note(told) == [None]
    assert await here.case(blank) == before


async def test_a_stage_cannot_end_a_case_that_people_look_at() -> None:
    here = Bench()
    await here.prepare(FOUND)
    (verdict,) = await here.note(builders.closed(Outcome.NO_FACE))
    assert isinstance(verdict, NotPermitted)
    assert (await here.case(FOUND)).state is CaseState.AWAITING_REVIEW


# --- decide ---------------------------------------------------------------------------------------------------------
async def test_two_people_who_name_the_same_person_make_one_lead() -> None:
    here = Bench()
    await here.prepare(FOUND)
    await here.decide(builders.decision(FOUND, by="reviewer-a"))
    assert await here.leads() == []
    await here.decide(builders.decision(FOUND, by="reviewer-b"))
    (lead,) = await here.leads()
    assert lead.person_id == "person-1"
    assert lead.evidential_status == "INTELLIGENCE_LEAD"
    assert await here.outcomes() == [Outcome.CONFIRMED]


async def test_a_decision_again_is_one_decision() -> None:
    here = Bench()
    await here.prepare(FOUND)
    for _ in range(3):
        await here.decide(builders.decision(FOUND, by="reviewer-a"))
    assert (await here.case(FOUND)).state is CaseState.AWAITING_SECOND_REVIEW
    assert await here.said() == []


async def test_disagreement_makes_no_lead_and_waits_for_a_third() -> None:
    here = Bench()
    await here.prepare(FOUND, reviewers="abc")
    await here.decide(builders.decision(FOUND, by="reviewer-a"))
    await here.decide(builders.decision(FOUND, by="reviewer-b", person_id="person-2"))
    assert (await here.case(FOUND)).state is CaseState.AWAITING_THIRD_REVIEW
    assert await here.said() == []
    await here.decide(builders.decision(FOUND, by="reviewer-c"))
    assert await here.leads() == []
    assert await here.outcomes() == [Outcome.INCONCLUSIVE]


async def test_a_decision_before_its_list_waits_for_it() -> None:
    here = Bench()
    await here.prepare()
    for name in ("reviewer-a", "reviewer-b"):
        await here.decide(builders.decision(FOUND, by=name))
    assert await here.leads() == []
    await here.hold(FOUND)
    assert len(await here.leads()) == 1


def forged(decision: ReviewDecided) -> ReviewDecided:
    return decision.model_copy(update={"signature": "A" * 86 + "=="})


def tampered(decision: ReviewDecided) -> ReviewDecided:
    return decision.model_copy(update={"person_id": "person-2"})


def borrowed(decision: ReviewDecided) -> ReviewDecided:
    return decision.model_copy(update={"reviewer_id": "reviewer-b"})


@pytest.mark.parametrize("spoil", [forged, tampered, borrowed])
async def test_a_signature_that_is_not_the_reviewers_own_does_not_count(
    spoil: Callable[[ReviewDecided], ReviewDecided],
) -> None:
    here = Bench()
    await here.prepare(FOUND)
    before = await here.case(FOUND)
    with pytest.raises(NotPermitted, match="signature"):
        await here.decide(spoil(builders.decision(FOUND)))
    assert await here.case(FOUND) == before


async def test_nobody_unknown_decides() -> None:
    here = Bench()
    await here.prepare(FOUND, reviewers="b")
    with pytest.raises(NotPermitted, match="not registered"):
        await here.decide(builders.decision(FOUND, by="reviewer-a"))


async def test_nobody_whose_training_has_lapsed_decides() -> None:
    here = Bench()
    await here.prepare(FOUND, reviewers="")
    await here.ledger.register(builders.reviewer("reviewer-a", competent_until=NOW))
    with pytest.raises(NotPermitted, match="lapsed"):
        await here.decide(builders.decision(FOUND, by="reviewer-a"))


async def test_whoever_asked_may_not_answer() -> None:
    here, found = Bench(), builders.candidates_ready(builders.submission(submitted_by="reviewer-a"))
    await here.prepare(found)
    with pytest.raises(NotPermitted, match="may not review"):
        await here.decide(builders.decision(found, by="reviewer-a"))


async def test_a_decision_about_another_list_does_not_count() -> None:
    here = Bench()
    await here.prepare(FOUND)
    stale = builders.decision(FOUND, list_digest="0" * 64)
    with pytest.raises(NotPermitted, match="list_digest"):
        await here.decide(stale)


async def test_whoever_takes_their_support_back_recalls_the_lead() -> None:
    here = Bench()
    await here.prepare(FOUND)
    await decided(here, Support.STRONG_SAME, Support.STRONG_SAME)
    first = builders.decision(FOUND, by="reviewer-b")
    await here.decide(builders.amended(first, FOUND, support=Support.INCONCLUSIVE))
    assert await here.outcomes() == [Outcome.CONFIRMED, Outcome.WITHDRAWN]


async def test_support_may_be_taken_back_though_the_reference_has_gone_and_not_be_said_anew() -> None:
    here = Bench()
    await here.prepare(FOUND)
    await decided(here, Support.STRONG_SAME, Support.STRONG_SAME)
    await here.ledger.erase([candidate.reference_id for candidate in FOUND.candidates])
    first = builders.decision(FOUND, by="reviewer-b")
    with pytest.raises(NotPermitted, match="not_held"):
        await here.decide(builders.amended(first, FOUND, support=Support.MODERATE_SAME))
    await here.decide(builders.amended(first, FOUND, support=Support.INCONCLUSIVE))
    assert (await here.case(FOUND)).state is CaseState.WITHDRAWN


# --- whose face is meant --------------------------------------------------------------------------------------------
async def test_a_crowd_waits_for_somebody_to_say_who_is_meant_and_its_sender_is_told_once() -> None:
    here, question = Bench(), builders.subject_unclear()
    assert await here.hold(question, question) == [None, None]
    case = await here.case(FOUND)
    assert (case.state, case.faces) == (CaseState.AWAITING_SUBJECT, question)
    assert await here.outcomes() == [Outcome.SUBJECT_SELECTION_REQUIRED]


async def test_a_choice_sends_the_image_round_again_once() -> None:
    here = Bench()
    await here.prepare()
    await here.hold(builders.subject_unclear())
    for _ in range(2):
        await here.decide(builders.subject_chosen())
    (again,) = [event for event in await here.said() if isinstance(event, ImageSubmitted)]
    assert again.subject == builders.IN_THE_FIRST_FACE
    assert again.submission == FOUND.submission


async def test_what_comes_of_a_choice_is_reviewed_as_any_other() -> None:
    here = Bench()
    await here.prepare()
    await here.hold(builders.subject_unclear())
    await here.decide(builders.subject_chosen())
    assert await here.hold(FOUND) == [None]
    await decided(here, Support.STRONG_SAME, Support.STRONG_SAME)
    assert len(await here.leads()) == 1


async def test_a_choice_where_no_face_is_ends_the_case() -> None:
    here = Bench()
    await here.prepare()
    await here.hold(builders.subject_unclear())
    await here.decide(builders.subject_chosen())
    assert await here.note(builders.closed(Outcome.NO_FACE)) == [None]
    case = await here.case(FOUND)
    assert (case.state, case.outcome) == (CaseState.CLOSED, Outcome.NO_FACE)


async def test_the_answer_that_none_is_meant_comes_back_round_and_changes_nothing() -> None:
    here = Bench()
    await here.prepare()
    await here.hold(builders.subject_unclear())
    await here.decide(builders.subject_chosen(subject=None))
    _, told = [event for event in await here.said() if isinstance(event, SubmissionClosed)]
    before = await here.case(FOUND)
    assert told.outcome is Outcome.NO_FACE
    assert await here.note(told) == [None]
    assert await here.case(FOUND) == before


# --- withdrawal and competence --------------------------------------------------------------------------------------
async def test_a_supervisors_order_recalls_a_lead_once() -> None:
    here = Bench()
    await here.prepare(FOUND)
    await here.ledger.register(builders.supervisor())
    await decided(here, Support.STRONG_SAME, Support.STRONG_SAME)
    for _ in range(2):
        await here.decide(builders.withdrawal())
    assert await here.outcomes() == [Outcome.CONFIRMED, Outcome.WITHDRAWN]
    assert (await here.case(FOUND)).withdrawal == builders.withdrawal()


async def test_whom_a_supervisor_certifies_may_decide_and_nothing_else() -> None:
    here = Bench()
    await here.prepare(FOUND, reviewers="")
    await here.ledger.register(builders.supervisor())
    with pytest.raises(NotPermitted, match="not registered"):
        await here.decide(builders.decision(FOUND))
    await here.decide(builders.certified("reviewer-a"))
    reviewer = await here.ledger.reviewer("reviewer-a")
    assert reviewer == replace(builders.reviewer(), recorded_at=NOW)
    assert reviewer.duty is Duty.REVIEW
    await here.decide(builders.decision(FOUND))
    assert (await here.case(FOUND)).state is CaseState.AWAITING_SECOND_REVIEW


@pytest.mark.parametrize("supervisor", [None, builders.reviewer("supervisor-1"), builders.supervisor("supervisor-2")])
async def test_only_a_supervisor_certifies(supervisor: Reviewer | None) -> None:
    here = Bench()
    if supervisor:
        await here.ledger.register(supervisor)
    with pytest.raises(NotPermitted, match="not registered to supervise"):
        await here.decide(builders.certified("reviewer-a"))
    assert await here.ledger.reviewer("reviewer-a") is None


async def test_nobody_certifies_themselves() -> None:
    here = Bench()
    await here.ledger.register(builders.supervisor())
    with pytest.raises(NotPermitted, match="nobody certifies themselves"):
        await here.decide(builders.certified("supervisor-1"))


class Remark(Signed):
    """A word that no stage knows."""

    about: UUID

    @property
    def signer(self) -> str:
        return "reviewer-a"


async def test_a_word_that_nothing_follows_from_is_a_bug() -> None:
    here = Bench()
    await here.prepare(FOUND)
    words = Remark.model_construct(occurred_at=NOW, demo=False, about=FOUND.submission.submission_id, signature="")
    with pytest.raises(TypeError, match="nothing follows from Remark"):
        await stages.decide(words, ledger=here.ledger, verifier=Credulous(), now=NOW)


class Credulous:
    """Believes every signature."""

    def verify(self, public_key: str, said: Signed) -> bool:  # noqa: ARG002 - a verifier's signature
        return True


# --- known answers --------------------------------------------------------------------------------------------------
async def test_a_case_whose_answer_is_known_is_reviewed_and_says_nothing() -> None:
    here = Bench()
    await sown(here.ledger, builders.image_submitted(FOUND.submission), "person-1")
    await here.prepare(FOUND, OTHER)
    for found in (FOUND, OTHER):
        for name in "ab":
            await here.decide(builders.decision(found, by=f"reviewer-{name}"))
    assert (await here.case(FOUND)).state is CaseState.ASSESSED
    (lead,) = await here.leads()
    assert lead.submission_id == OTHER.submission.submission_id
    assert await here.outcomes() == [Outcome.CONFIRMED]


async def test_nobody_is_told_that_a_known_answer_shows_several_people() -> None:
    here, question = Bench(), builders.subject_unclear()
    await sown(here.ledger, builders.image_submitted(question.submission))
    await here.hold(question)
    assert (await here.case(FOUND)).seeded
    assert await here.said() == []


# --- who was told ---------------------------------------------------------------------------------------------------
async def test_who_has_received_a_withdrawal_is_remembered() -> None:
    here = Bench()
    await here.prepare(FOUND)
    await here.ledger.register(builders.supervisor())
    await decided(here, Support.STRONG_SAME, Support.STRONG_SAME)
    await here.decide(builders.withdrawal())
    lead, _, recall, _ = await here.said()
    await here.ledger.published([event.event_id for event in await here.said()])
    received = [builders.acknowledged(lead, subscriber=name) for name in ("one", "other")]
    assert await stages.acknowledge(received, subscribers=here.ledger) == [None, None]
    assert await here.ledger.remind(FAR_AWAY) == 1
    assert await here.said() == [recall]


# --- expire ---------------------------------------------------------------------------------------------------------
async def expire(here: Bench, *, limit: int = 100) -> int:
    return await stages.expire(cases=here.ledger, opened_before=LATER, now=LATER, limit=limit)


async def test_a_case_that_waited_too_long_is_closed_and_its_sender_told_once() -> None:
    here = Bench()
    await here.prepare(FOUND)
    assert [await expire(here), await expire(here)] == [1, 0]
    assert (await here.case(FOUND)).state is CaseState.EXPIRED
    assert await here.outcomes() == [Outcome.EXPIRED]


async def test_a_case_that_is_still_young_goes_on() -> None:
    here = Bench()
    await here.prepare(FOUND)
    assert await stages.expire(cases=here.ledger, opened_before=NOW, now=LATER) == 0
    assert (await here.case(FOUND)).state is CaseState.AWAITING_REVIEW


async def test_one_decision_is_not_enough_to_survive_the_time_limit() -> None:
    here = Bench()
    await here.prepare(FOUND)
    await here.decide(builders.decision(FOUND))
    assert await expire(here) == 1
    assert await here.leads() == []


async def test_a_question_that_nobody_answered_expires_too() -> None:
    here = Bench()
    await here.hold(builders.subject_unclear())
    assert await expire(here) == 1
    assert await here.outcomes() == [Outcome.SUBJECT_SELECTION_REQUIRED, Outcome.EXPIRED]


async def test_a_decision_after_the_end_does_not_count() -> None:
    here = Bench()
    await here.prepare(FOUND)
    await expire(here)
    with pytest.raises(NotPermitted):
        await here.decide(builders.decision(FOUND))


async def decided(here: Bench, *supports: Support) -> None:
    for name, support in zip("ab", supports, strict=False):
        await here.decide(builders.decision(FOUND, by=f"reviewer-{name}", support=support))


ENDED = [
    (Support.STRONG_SAME, Support.STRONG_SAME),
    (Support.INCONCLUSIVE, Support.INCONCLUSIVE),
    (Support.STRONG_DIFFERENT, Support.STRONG_DIFFERENT),
]


@pytest.mark.parametrize("supports", ENDED)
async def test_time_changes_no_case_that_people_have_ended(supports: tuple[Support, ...]) -> None:
    here = Bench()
    await here.prepare(FOUND)
    await decided(here, *supports)
    before, said = await here.case(FOUND), await here.said()
    assert await expire(here) == 0
    assert (await here.case(FOUND), await here.said()) == (before, said)


@pytest.mark.parametrize(
    "supports", [(), *((support,) for support in Support), (Support.STRONG_SAME, Support.STRONG_DIFFERENT)]
)
async def test_time_never_confirms_whatever_has_been_said(supports: tuple[Support, ...]) -> None:
    here = Bench()
    await here.prepare(FOUND)
    await decided(here, *supports)
    assert await expire(here) == 1
    assert (await here.case(FOUND)).state is CaseState.EXPIRED
    assert await here.leads() == []


async def test_a_sweep_takes_no_more_than_its_limit() -> None:
    here = Bench()
    lists = [builders.candidates_ready(builders.submission(f"probe-{i}")) for i in range(5)]
    await here.prepare(*lists)
    assert [await expire(here, limit=2) for _ in range(4)] == [2, 2, 1, 0]


class OvertakenLedger(MemoryLedger):
    """Lets two people decide between the sweep's look and its act."""

    async def cases(self, states: Sequence[CaseState], **how: Any) -> list[Case]:  # noqa: ANN401
        waiting = await super().cases(states, **how)
        await decided(Bench(ledger=self), Support.STRONG_SAME, Support.STRONG_SAME)
        return waiting


async def test_people_who_decide_at_the_last_moment_are_not_overruled_by_the_clock() -> None:
    here = Bench(ledger=OvertakenLedger())
    await here.prepare(FOUND)
    assert await expire(here) == 0
    assert (await here.case(FOUND)).state is CaseState.CONFIRMED


# --- outages --------------------------------------------------------------------------------------------------------
async def hold_another(here: Bench) -> None:
    await here.hold(OTHER)


async def decide_one(here: Bench) -> None:
    await here.decide(builders.decision(FOUND))


async def certify(here: Bench) -> None:
    await here.ledger.register(builders.supervisor())
    await here.decide(builders.certified("reviewer-n"))


async def acknowledge(here: Bench) -> None:
    await stages.acknowledge([builders.acknowledged(builders.identification_confirmed())], subscribers=here.ledger)


async def sweep(here: Bench) -> None:
    await expire(here)


@pytest.mark.parametrize(
    ("act", "method"),
    [
        (hold_another, "seeded"),
        (hold_another, "apply"),
        (decide_one, "reviewer"),
        (decide_one, "apply"),
        (certify, "register"),
        (acknowledge, "acknowledge"),
        (sweep, "cases"),
        (sweep, "apply"),
    ],
)
async def test_an_outage_passes_through_untouched(act: Callable[[Bench], Awaitable[None]], method: str) -> None:
    here, outage = Bench(), Unavailable("away")
    await here.prepare(FOUND)
    house.take_away(here, "ledger", method, outage)
    with pytest.raises(Unavailable) as raised:
        await act(here)
    assert raised.value is outage


def test_only_cases_that_wait_for_people_can_expire() -> None:
    assert {
        CaseState.AWAITING_SUBJECT,
        CaseState.AWAITING_REVIEW,
        CaseState.AWAITING_SECOND_REVIEW,
        CaseState.AWAITING_THIRD_REVIEW,
    } == CAN_EXPIRE
