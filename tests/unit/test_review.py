"""The review machine: what leads where, and that only two people lead to a lead."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import builders
import pytest
from builders import LATER, NOW

from rfr_stream import review
from rfr_stream.errors import NotPermitted
from rfr_stream.events import (
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ImageSubmitted,
    Outcome,
    ReviewDecided,
    SubjectChoice,
    SubmissionClosed,
    Support,
)
from rfr_stream.faces import Box, Point
from rfr_stream.policy import LEAD_SUPPORT
from rfr_stream.ports import Case, CaseState, Duty, Step, Transition
from rfr_stream.review import CAN_EXPIRE, NEXT, SET_ASIDE, UNDER_REVIEW

FOUND = builders.candidates_ready()
LIST = review.candidates_ready(FOUND, NOW)
SEEDED = review.candidates_ready(FOUND, NOW, seeded=True)
UNCLEAR = builders.subject_unclear()
QUESTION = review.subject_unclear(UNCLEAR, NOW)
BLANK = builders.candidates_ready(people=())
SUBMITTER = FOUND.submission.submitted_by
EARLY = (Outcome.REFUSED, Outcome.UNREADABLE, Outcome.NO_FACE, Outcome.UNSUITABLE_QUALITY)
OWN = set(Outcome) - set(EARLY)


def decides(decision: ReviewDecided) -> Transition:
    return review.decided(decision, builders.reviewer(decision.reviewer_id), NOW)


def leads(by: str, *, person: str = "person-1") -> Transition:
    return decides(builders.decision(FOUND, by=by, person_id=person))


def concludes(by: str, support: Support) -> Transition:
    return decides(builders.decision(FOUND, by=by, support=support))


def amends(by: str, **fields: Any) -> Transition:  # noqa: ANN401 - any field of a decision
    """Return this reviewer's second word; the first was a lead to person 1 if nothing else is said."""
    return decides(builders.amended(builders.decision(FOUND, by=by), FOUND, **fields))


def chooses(subject: Point | None = builders.IN_THE_FIRST_FACE, *, by: str = "reviewer-a") -> Transition:
    return review.subject_chosen(builders.subject_chosen(by=by, subject=subject), builders.reviewer(by), NOW)


def recalls(*, by: str = "supervisor-1") -> Transition:
    return review.withdrawn(builders.withdrawal(by=by), builders.supervisor(by), LATER)


def says(outcome: Outcome) -> Transition:
    return review.closed(builders.closed(outcome), NOW)


def after(*transitions: Transition) -> Step:
    """Return the last step of these, one upon the other."""
    step: Step | None = None
    for transition in transitions:
        step = transition(step.case if step else None)
    assert step is not None
    return step


DIFFERS = (LIST, leads("reviewer-a"), concludes("reviewer-b", Support.STRONG_DIFFERENT))
AGREED = (LIST, leads("reviewer-a"), leads("reviewer-b"))
STATES: Mapping[CaseState, Case] = {
    CaseState.AWAITING_CANDIDATES: after(leads("reviewer-a")).case,
    CaseState.AWAITING_SUBJECT: after(QUESTION).case,
    CaseState.AWAITING_REVIEW: after(LIST).case,
    CaseState.AWAITING_SECOND_REVIEW: after(LIST, leads("reviewer-a")).case,
    CaseState.AWAITING_THIRD_REVIEW: after(*DIFFERS).case,
    CaseState.CLOSED: after(says(Outcome.NO_FACE)).case,
    CaseState.CONFIRMED: after(*AGREED).case,
    CaseState.NOT_CONFIRMED: after(
        LIST, concludes("reviewer-a", Support.STRONG_DIFFERENT), concludes("reviewer-b", Support.UNSUITABLE)
    ).case,
    CaseState.INCONCLUSIVE: after(*DIFFERS, leads("reviewer-c")).case,
    CaseState.EXPIRED: after(LIST, review.expired(LATER)).case,
    CaseState.WITHDRAWN: after(*AGREED, recalls()).case,
    CaseState.ASSESSED: after(SEEDED, *AGREED[1:]).case,
}
"""One case in each state."""
LISTED = [state for state in CaseState if STATES[state].candidates]
ENDED = [state for state in CaseState if not NEXT[state]]


def test_each_case_is_in_the_state_it_stands_for() -> None:
    assert {state: case.state for state, case in STATES.items()} == {state: state for state in CaseState}


class TestList:
    def test_a_list_opens_a_review(self) -> None:
        step = after(LIST)

        assert step == Step(
            Case(
                FOUND.submission.submission_id,
                CaseState.AWAITING_REVIEW,
                opened_at=NOW,
                candidates=FOUND,
                case_ref="case-1",
            )
        )

    def test_an_honest_blank_closes_the_case_and_tells_the_submitter(self) -> None:
        step = after(review.candidates_ready(BLANK, NOW))

        assert (step.case.state, step.case.outcome) == (CaseState.CLOSED, Outcome.NO_CANDIDATES)
        assert [told.outcome for told in step.emit if isinstance(told, SubmissionClosed)] == [Outcome.NO_CANDIDATES]

    @pytest.mark.parametrize("state", LISTED)
    def test_the_same_list_again_changes_nothing(self, state: CaseState) -> None:
        assert LIST(STATES[state]) == Step(STATES[state])

    def test_the_first_word_about_a_list_stands(self) -> None:
        again = FOUND.model_copy(update={"occurred_at": LATER, "threshold": 0.9})

        assert review.candidates_ready(again, LATER)(STATES[CaseState.AWAITING_REVIEW]).case.candidates is FOUND

    def test_the_same_blank_again_changes_nothing(self) -> None:
        blank = review.candidates_ready(BLANK, NOW)
        case = blank(None).case

        assert blank(case) == Step(case)

    @pytest.mark.parametrize("state", LISTED)
    def test_the_list_of_a_case_never_changes(self, state: CaseState) -> None:
        other = builders.candidates_ready(people=("person-2", "person-1"))

        with pytest.raises(NotPermitted, match=r"^list_digest: "):
            review.candidates_ready(other, NOW)(STATES[state])

    def test_a_case_that_ended_early_takes_no_list(self) -> None:
        with pytest.raises(NotPermitted, match="closed does not lead to awaiting_review"):
            LIST(STATES[CaseState.CLOSED])

    def test_a_demonstration_and_an_operational_case_never_meet(self) -> None:
        demonstration = review.candidates_ready(builders.candidates_ready(demo=True), NOW)

        with pytest.raises(NotPermitted, match=r"^demo: "):
            demonstration(STATES[CaseState.AWAITING_SUBJECT])


ENDED_EARLY = review.closed(builders.closed(Outcome.NO_FACE, case_ref="case-1"), NOW)
UNOPENED = review.closed(builders.closed(Outcome.UNREADABLE), NOW)


class TestWhose:
    """Whose record a case is: a disclosure of a case must find all that was ever asked for it."""

    def test_what_ended_before_any_list_still_belongs_to_its_case(self) -> None:
        assert after(ENDED_EARLY).case.case_ref == "case-1"

    def test_a_question_whose_face_is_meant_belongs_to_its_case(self) -> None:
        asked = review.subject_unclear(builders.subject_unclear(), NOW)

        assert after(asked).case.case_ref == "case-1"

    def test_a_submission_that_could_not_be_opened_belongs_to_none_until_it_can(self) -> None:
        unopened = after(UNOPENED).case

        assert unopened.case_ref is None
        assert LIST(unopened).case.case_ref == "case-1"

    def test_an_end_that_does_not_say_whose_it_is_takes_nothing_away(self) -> None:
        early = after(ENDED_EARLY).case

        assert UNOPENED(replace(early, outcome=Outcome.REFUSED)).case.case_ref == "case-1"

    def test_the_list_knows_better_than_an_end(self) -> None:
        """Its submission's id is derived from the case; an end only says so."""
        foreign = replace(after(UNOPENED).case, case_ref="case-2")

        assert LIST(foreign).case.case_ref == "case-1"

    def test_a_decision_that_waits_for_its_list_vouches_for_no_case(self) -> None:
        parked = after(decides(builders.decision(FOUND))).case

        assert parked.case_ref is None
        assert LIST(parked).case.case_ref == "case-1"

    def test_whoever_sent_it_is_told_of_which_case(self) -> None:
        (told,) = after(review.candidates_ready(BLANK, NOW)).emit

        assert isinstance(told, SubmissionClosed)
        assert told.case_ref == "case-1"


class TestParking:
    def test_a_decision_before_its_list_waits(self) -> None:
        decision = builders.decision(FOUND)

        step = after(decides(decision))

        assert step.case.state is CaseState.AWAITING_CANDIDATES
        assert step.case.parked == (decision,)
        assert step.case.decisions == ()

    def test_a_decision_waits_beside_the_choice_of_a_subject_too(self) -> None:
        step = after(QUESTION, leads("reviewer-a"))

        assert step.case.state is CaseState.AWAITING_SUBJECT
        assert len(step.case.parked) == 1

    def test_nobody_parks_two_decisions(self) -> None:
        with pytest.raises(NotPermitted, match=r"^reviewer_id: "):
            after(leads("reviewer-a"), concludes("reviewer-a", Support.UNSUITABLE))

    def test_a_case_that_ended_early_parks_nothing(self) -> None:
        with pytest.raises(NotPermitted, match=r"^submission_id: .*ended"):
            after(says(Outcome.NO_FACE), leads("reviewer-a"))

    def test_parked_decisions_are_weighed_in_the_order_in_which_they_came(self) -> None:
        first, second, third = (builders.decision(FOUND, by=f"reviewer-{letter}") for letter in "cab")

        step = after(decides(first), decides(second), decides(third), LIST)

        assert step.case.state is CaseState.CONFIRMED
        assert step.case.decisions == (first, second)
        assert step.case.parked == ()
        assert [decision for decision, _ in step.refused] == [third]
        assert [type(event) for event in step.emit] == [IdentificationConfirmed, SubmissionClosed]

    def test_a_parked_decision_that_does_not_count_is_refused_and_the_others_stand(self) -> None:
        stale = builders.decision(FOUND, by="reviewer-a", list_digest=builders.sha256("another"))

        step = after(decides(stale), leads("reviewer-b"), LIST)

        assert step.case.state is CaseState.AWAITING_SECOND_REVIEW
        ((refused, why),) = step.refused
        assert refused == stale
        assert isinstance(why, NotPermitted)
        assert str(why).startswith("list_digest: ")

    def test_whose_parked_decision_was_refused_may_still_decide(self) -> None:
        stale = builders.decision(FOUND, by="reviewer-a", list_digest=builders.sha256("another"))

        assert after(decides(stale), LIST, leads("reviewer-a")).case.state is CaseState.AWAITING_SECOND_REVIEW

    def test_a_parked_demonstration_does_not_shut_out_an_operational_list(self) -> None:
        planted = builders.decision(FOUND, demo=True)

        step = after(decides(planted), LIST)

        assert (step.case.state, step.case.demo) == (CaseState.AWAITING_REVIEW, False)
        assert str(step.refused[0][1]).startswith("demo: ")

    @pytest.mark.parametrize("ending", [says(Outcome.NO_FACE), review.candidates_ready(BLANK, NOW)])
    def test_a_case_that_ends_without_a_list_refuses_what_was_parked(self, ending: Transition) -> None:
        step = after(leads("reviewer-a"), ending)

        assert step.case.state is CaseState.CLOSED
        assert step.case.parked == ()
        assert [str(why) for _, why in step.refused] == [
            "submission_id: the case ended before there was a list to decide about"
        ]

    def test_competence_is_asked_when_the_decision_comes(self) -> None:
        decision = builders.decision(FOUND)
        lapses = builders.reviewer(competent_until=LATER)

        in_time = review.decided(decision, lapses, NOW)
        assert after(in_time, review.candidates_ready(FOUND, LATER)).case.decisions == (decision,)

        with pytest.raises(NotPermitted, match="training"):
            review.decided(decision, lapses, LATER)(None)


class TestDeciding:
    @pytest.mark.parametrize("state", sorted(UNDER_REVIEW))
    @pytest.mark.parametrize(
        ("field", "decision"),
        [
            ("reviewer_id", builders.decision(FOUND, by=SUBMITTER)),
            ("list_digest", builders.decision(FOUND, by="reviewer-z", list_digest=builders.sha256("another"))),
            ("person_id", builders.decision(FOUND, by="reviewer-z", person_id="person-99")),
            ("demo", builders.decision(FOUND, by="reviewer-z", demo=True)),
            ("examination", builders.decision(FOUND, by="reviewer-z", examination=None)),
            ("similarities", builders.decision(FOUND, by="reviewer-z", similarities=())),
            ("features", builders.decision(FOUND, by="reviewer-z", features=())),
            ("version", builders.decision(FOUND, by="reviewer-z", version=2, reason="looked again")),
        ],
    )
    def test_what_does_not_count_is_refused(self, state: CaseState, field: str, decision: ReviewDecided) -> None:
        with pytest.raises(NotPermitted, match=f"^{field}: "):
            decides(decision)(STATES[state])

    def test_a_changed_mind_is_refused(self) -> None:
        with pytest.raises(NotPermitted, match=r"^reviewer_id: has decided"):
            after(LIST, leads("reviewer-a"), concludes("reviewer-a", Support.INCONCLUSIVE))

    def test_an_unregistered_reviewer_is_refused(self) -> None:
        with pytest.raises(NotPermitted, match=r"^reviewer_id: not registered"):
            review.decided(builders.decision(FOUND), None, NOW)(STATES[CaseState.AWAITING_REVIEW])

    @pytest.mark.parametrize("state", [*ENDED, CaseState.CONFIRMED])
    def test_a_case_that_has_ended_takes_no_decision(self, state: CaseState) -> None:
        with pytest.raises(NotPermitted, match=r"^submission_id: .*ended"):
            leads("reviewer-z")(STATES[state])

    def test_one_decision_waits_for_another_and_says_nothing(self) -> None:
        step = after(LIST, leads("reviewer-a"))

        assert step.case.state is CaseState.AWAITING_SECOND_REVIEW
        assert step.emit == ()

    def test_two_people_who_name_the_same_person_make_a_lead(self) -> None:
        first = builders.decision(FOUND, by="reviewer-a", support=Support.MODERATE_SAME, person_id="person-2")
        second = builders.decision(FOUND, by="reviewer-b", person_id="person-2", similarities=("nose",))

        step = review.decided(second, builders.reviewer("reviewer-b"), LATER)(after(LIST, decides(first)).case)

        lead, told = step.emit
        named = FOUND.candidates[1]
        assert step.case.outcome is Outcome.CONFIRMED
        assert lead == IdentificationConfirmed(
            occurred_at=LATER,
            case_ref=FOUND.submission.case_ref,
            submission_id=FOUND.submission.submission_id,
            person_id="person-2",
            reference_id=named.reference_id,
            gallery=named.gallery,
            subject_category=FOUND.submission.purpose,
            reviews=(
                builders.review_summary("reviewer-a", support=Support.MODERATE_SAME).model_copy(
                    update={"signature": first.signature}
                ),
                builders.review_summary("reviewer-b").model_copy(
                    update={"signature": second.signature, "similarities_n": 1}
                ),
            ),
            candidates_shown=3,
            probe_sha256=FOUND.submission.image.sha256,
            quality=FOUND.face.quality,
            detector=FOUND.face.detector,
            embedder=FOUND.template.embedder,
        )
        assert isinstance(told, SubmissionClosed)
        assert told.outcome is Outcome.CONFIRMED
        assert "person-2" not in told.model_dump_json()

    @pytest.mark.parametrize(
        ("supports", "outcome"),
        [
            ((Support.INCONCLUSIVE, Support.INCONCLUSIVE), Outcome.INCONCLUSIVE),
            ((Support.LIMITED_SAME, Support.LIMITED_SAME), Outcome.NOT_CONFIRMED),
            ((Support.STRONG_DIFFERENT, Support.INCONCLUSIVE), Outcome.NOT_CONFIRMED),
        ],
    )
    def test_two_without_a_lead_end_the_case_and_name_nobody(
        self, supports: tuple[Support, Support], outcome: Outcome
    ) -> None:
        step = after(
            LIST, *(concludes(by, said) for by, said in zip(("reviewer-a", "reviewer-b"), supports, strict=True))
        )

        assert step.case.outcome is outcome
        assert [type(event) for event in step.emit] == [SubmissionClosed]

    def test_a_demonstrations_events_are_demonstrations(self) -> None:
        found = builders.candidates_ready(demo=True)
        decisions = [decides(builders.decision(found, by=by)) for by in ("reviewer-a", "reviewer-b")]

        step = after(review.candidates_ready(found, NOW), *decisions)

        assert [event.demo for event in step.emit] == [True, True]
        recalled = review.withdrawn(builders.withdrawal(demo=True), builders.supervisor(), NOW)(step.case)
        assert [event.demo for event in recalled.emit] == [True, True]


class TestClosing:
    @pytest.mark.parametrize("outcome", EARLY)
    def test_an_early_end_opens_a_closed_case_and_repeats_nothing(self, outcome: Outcome) -> None:
        step = after(says(outcome))

        assert (step.case.state, step.case.outcome, step.emit) == (CaseState.CLOSED, outcome, ())

    @pytest.mark.parametrize("outcome", sorted(SET_ASIDE))
    def test_what_was_set_aside_and_put_back_goes_on_to_review(self, outcome: Outcome) -> None:
        case = after(says(outcome), review.candidates_ready(FOUND, LATER)).case

        assert (case.state, case.outcome, case.opened_at) == (CaseState.AWAITING_REVIEW, None, LATER)

    @pytest.mark.parametrize("outcome", sorted(SET_ASIDE))
    def test_what_was_set_aside_and_put_back_may_end_as_any_other(self, outcome: Outcome) -> None:
        case = after(says(outcome), says(Outcome.NO_FACE)).case

        assert (case.state, case.outcome) == (CaseState.CLOSED, Outcome.NO_FACE)

    @pytest.mark.parametrize("outcome", sorted(set(EARLY) - SET_ASIDE))
    def test_a_result_stands_whatever_is_put_back(self, outcome: Outcome) -> None:
        with pytest.raises(NotPermitted, match=r"^submission_id: closed does not lead"):
            after(says(outcome), LIST)

    @pytest.mark.parametrize("outcome", EARLY)
    def test_the_same_outcome_again_changes_nothing(self, outcome: Outcome) -> None:
        case = after(says(outcome)).case

        assert says(outcome)(case) == Step(case)

    def test_a_case_that_waits_for_a_subject_may_still_fail(self) -> None:
        step = after(QUESTION, says(Outcome.UNSUITABLE_QUALITY))

        assert (step.case.state, step.case.outcome) == (CaseState.CLOSED, Outcome.UNSUITABLE_QUALITY)

    @pytest.mark.parametrize("outcome", EARLY)
    @pytest.mark.parametrize("state", LISTED)
    def test_no_stage_can_end_what_people_look_at_or_have_decided(self, state: CaseState, outcome: Outcome) -> None:
        with pytest.raises(NotPermitted, match=r"^submission_id: .*does not lead to"):
            says(outcome)(STATES[state])

    @pytest.mark.parametrize("outcome", sorted(OWN))
    @pytest.mark.parametrize("state", CaseState)
    def test_the_reviews_own_outcomes_come_round_and_change_nothing(self, state: CaseState, outcome: Outcome) -> None:
        assert says(outcome)(STATES[state]) == Step(STATES[state])

    @pytest.mark.parametrize("outcome", sorted(OWN))
    def test_an_outcome_of_the_reviews_about_no_case_is_refused(self, outcome: Outcome) -> None:
        with pytest.raises(NotPermitted, match="no such case"):
            says(outcome)(None)

    def test_a_demonstrations_outcome_does_not_touch_an_operational_case(self) -> None:
        closing = review.closed(builders.closed(Outcome.UNREADABLE, demo=True), NOW)

        with pytest.raises(NotPermitted, match=r"^demo: "):
            closing(STATES[CaseState.AWAITING_SUBJECT])


class TestExpiry:
    @pytest.mark.parametrize("state", sorted(CAN_EXPIRE))
    def test_what_waits_for_people_can_expire(self, state: CaseState) -> None:
        step = review.expired(LATER)(STATES[state])

        assert (step.case.state, step.case.outcome) == (CaseState.EXPIRED, Outcome.EXPIRED)
        (told,) = step.emit
        assert isinstance(told, SubmissionClosed)
        assert (told.outcome, told.occurred_at) == (Outcome.EXPIRED, LATER)

    def test_what_was_parked_is_refused_on_expiry(self) -> None:
        step = after(QUESTION, leads("reviewer-a"), review.expired(LATER))

        assert len(step.refused) == 1

    @pytest.mark.parametrize("state", sorted(set(CaseState) - CAN_EXPIRE))
    def test_nothing_else_can(self, state: CaseState) -> None:
        with pytest.raises(NotPermitted, match="does not lead to expired"):
            review.expired(LATER)(STATES[state])

    def test_waiting_for_a_machine_never_expires(self) -> None:
        assert CaseState.AWAITING_CANDIDATES not in CAN_EXPIRE

    def test_what_does_not_exist_does_not_expire(self) -> None:
        with pytest.raises(NotPermitted, match="no such case"):
            review.expired(LATER)(None)


class TestWithdrawal:
    def test_a_lead_is_recalled_and_the_submitter_told(self) -> None:
        order = builders.withdrawal()

        step = review.withdrawn(order, builders.supervisor(), LATER)(STATES[CaseState.CONFIRMED])

        recall, told = step.emit
        assert step.case.withdrawal == order
        assert recall == IdentificationWithdrawn(
            occurred_at=LATER,
            case_ref=FOUND.submission.case_ref,
            submission_id=FOUND.submission.submission_id,
            person_id="person-1",
            reason=order.reason,
            withdrawn_by="supervisor-1",
        )
        assert isinstance(told, SubmissionClosed)
        assert told.outcome is Outcome.WITHDRAWN
        assert step.case.outcome is Outcome.WITHDRAWN

    @pytest.mark.parametrize("state", sorted(set(CaseState) - {CaseState.CONFIRMED, CaseState.WITHDRAWN}))
    def test_only_a_lead_can_be_withdrawn(self, state: CaseState) -> None:
        with pytest.raises(NotPermitted, match="does not lead to withdrawn"):
            recalls()(STATES[state])

    def test_what_was_withdrawn_stays_so_by_the_first_order(self) -> None:
        withdrawn = STATES[CaseState.WITHDRAWN]

        assert recalls()(withdrawn) == Step(withdrawn)
        assert recalls(by="supervisor-2")(withdrawn) == Step(withdrawn)

    def test_a_case_that_only_says_it_is_confirmed_gave_no_lead_to_recall(self) -> None:
        hollow = replace(STATES[CaseState.CONFIRMED], candidates=None)

        with pytest.raises(NotPermitted, match="no list, so no lead"):
            recalls()(hollow)

    def test_what_does_not_exist_is_not_withdrawn(self) -> None:
        with pytest.raises(NotPermitted, match="no such case"):
            recalls()(None)

    @pytest.mark.parametrize("state", [CaseState.CONFIRMED, CaseState.WITHDRAWN])
    def test_it_takes_a_supervisor_in_date(self, state: CaseState) -> None:
        order = builders.withdrawal()
        reviewing = replace(builders.supervisor(), duty=Duty.REVIEW)

        for nobody in (None, reviewing, builders.supervisor("supervisor-2")):
            with pytest.raises(NotPermitted, match=r"^reviewer_id: not registered to supervise"):
                review.withdrawn(order, nobody, LATER)(STATES[state])
        with pytest.raises(NotPermitted, match=r"^reviewer_id: training has lapsed"):
            review.withdrawn(order, builders.supervisor(competent_until=LATER), LATER)(STATES[state])

    def test_a_demonstrations_order_does_not_touch_an_operational_lead(self) -> None:
        order = review.withdrawn(builders.withdrawal(demo=True), builders.supervisor(), LATER)

        with pytest.raises(NotPermitted, match=r"^demo: "):
            order(STATES[CaseState.CONFIRMED])


class TestSubject:
    def test_a_crowd_waits_for_somebody_to_say_who_is_meant_and_its_sender_is_told(self) -> None:
        step = after(QUESTION)

        (told,) = step.emit
        assert (step.case.state, step.case.faces) == (CaseState.AWAITING_SUBJECT, UNCLEAR)
        assert isinstance(told, SubmissionClosed)
        assert told.outcome is step.case.outcome is Outcome.SUBJECT_SELECTION_REQUIRED
        assert told.detail == "faces found: 2; somebody must say which one is meant"

    @pytest.mark.parametrize("subject", [Point(50, 50), Box(110, 12, 180, 94)])
    def test_a_choice_sends_the_image_round_again_with_the_face_that_is_meant(self, subject: Point | Box) -> None:
        choice = builders.subject_chosen(by="reviewer-b").model_copy(update={"subject": subject})

        step = after(QUESTION, review.subject_chosen(choice, builders.reviewer("reviewer-b"), LATER))

        assert step.emit == (
            ImageSubmitted(
                occurred_at=LATER,
                submission=UNCLEAR.submission,
                choice=SubjectChoice(subject=subject, chosen_by="reviewer-b"),
            ),
        )
        assert (step.case.state, step.case.choice) == (CaseState.AWAITING_CANDIDATES, choice)
        assert (step.case.faces, step.case.outcome) == (None, None), "where people are is forgotten"

    def test_a_chosen_subject_goes_on_to_review(self) -> None:
        case = after(QUESTION, chooses(), review.candidates_ready(FOUND, LATER)).case

        assert (case.state, case.outcome, case.opened_at) == (CaseState.AWAITING_REVIEW, None, LATER)

    def test_a_list_that_comes_before_the_answer_makes_the_question_void(self) -> None:
        case = after(QUESTION, review.candidates_ready(FOUND, LATER)).case

        assert (case.state, case.outcome, case.faces) == (CaseState.AWAITING_REVIEW, None, None)

    def test_where_none_of_the_faces_is_meant_the_case_ends_and_its_sender_is_told(self) -> None:
        step = after(QUESTION, leads("reviewer-b"), chooses(None))

        (told,) = step.emit
        assert isinstance(told, SubmissionClosed)
        assert (told.outcome, told.detail) == (
            Outcome.NO_FACE,
            "somebody looked: none of the faces is the one meant",
        )
        assert (step.case.state, step.case.outcome, step.case.faces) == (CaseState.CLOSED, Outcome.NO_FACE, None)
        assert step.case.choice is not None
        assert len(step.refused) == 1, "what waited for a list waits no longer"

    @pytest.mark.parametrize("answer", [chooses(), chooses(None), chooses(Point(1, 1), by="reviewer-b")])
    def test_the_first_answer_stands(self, answer: Transition) -> None:
        for first in (chooses(), chooses(None)):
            with pytest.raises(NotPermitted, match=r"^submission_id: nobody needs to say"):
                after(QUESTION, first, answer)

    @pytest.mark.parametrize("state", sorted(set(CaseState) - {CaseState.AWAITING_SUBJECT}))
    def test_nobody_answers_what_was_not_asked(self, state: CaseState) -> None:
        with pytest.raises(NotPermitted, match=r"^submission_id: nobody needs to say"):
            chooses()(STATES[state])

    def test_nobody_answers_about_what_does_not_exist(self) -> None:
        with pytest.raises(NotPermitted, match="no such case"):
            chooses()(None)

    def test_a_case_from_before_questions_were_kept_cannot_be_answered(self) -> None:
        with pytest.raises(NotPermitted, match=r"^submission_id: nobody needs to say"):
            chooses()(replace(STATES[CaseState.AWAITING_SUBJECT], faces=None))

    def test_it_takes_a_reviewer_in_date(self) -> None:
        case, choice = STATES[CaseState.AWAITING_SUBJECT], builders.subject_chosen()

        for nobody in (None, builders.reviewer("reviewer-b"), replace(builders.reviewer(), duty=Duty.SUPERVISE)):
            with pytest.raises(NotPermitted, match=r"^reviewer_id: not registered to review"):
                review.subject_chosen(choice, nobody, NOW)(case)
        with pytest.raises(NotPermitted, match=r"^reviewer_id: training has lapsed"):
            review.subject_chosen(choice, builders.reviewer(competent_until=NOW), NOW)(case)

    def test_a_demonstrations_choice_does_not_touch_an_operational_case(self) -> None:
        choice = review.subject_chosen(builders.subject_chosen(demo=True), builders.reviewer(), NOW)

        with pytest.raises(NotPermitted, match=r"^demo: "):
            choice(STATES[CaseState.AWAITING_SUBJECT])

    def test_the_same_question_again_changes_nothing_whether_it_was_answered_or_not(self) -> None:
        for before in (after(QUESTION), after(QUESTION, chooses()), after(QUESTION, chooses(None))):
            assert QUESTION(before.case) == Step(before.case)

    @pytest.mark.parametrize("state", LISTED)
    def test_a_question_cannot_take_a_case_from_those_who_look_at_it(self, state: CaseState) -> None:
        with pytest.raises(NotPermitted, match="does not lead to awaiting_subject"):
            QUESTION(STATES[state])

    @pytest.mark.parametrize("outcome", sorted(SET_ASIDE))
    def test_what_was_set_aside_may_be_asked_about_when_it_is_put_back(self, outcome: Outcome) -> None:
        assert after(says(outcome), QUESTION).case.state is CaseState.AWAITING_SUBJECT

    def test_a_result_is_not_asked_about(self) -> None:
        with pytest.raises(NotPermitted, match="closed does not lead to awaiting_subject"):
            after(says(Outcome.NO_FACE), QUESTION)


class TestThirdReview:
    """Two disagree, and a third looks."""

    @pytest.mark.parametrize("support", sorted(set(Support) - LEAD_SUPPORT))
    def test_one_lead_and_one_that_is_none_wait_for_a_third_and_nothing_is_said(self, support: Support) -> None:
        for step in (
            after(LIST, leads("reviewer-a"), concludes("reviewer-b", support)),
            after(LIST, concludes("reviewer-a", support), leads("reviewer-b")),
        ):
            assert (step.case.state, step.case.outcome) == (CaseState.AWAITING_THIRD_REVIEW, None)
            assert step.emit == ()

    def test_leads_to_two_people_wait_for_a_third(self) -> None:
        step = after(LIST, leads("reviewer-a"), leads("reviewer-b", person="person-2"))

        assert (step.case.state, step.emit) == (CaseState.AWAITING_THIRD_REVIEW, ())

    @pytest.mark.parametrize("undecided", [Support.INCONCLUSIVE, Support.UNSUITABLE])
    def test_whoever_could_not_tell_does_not_stand_in_the_way_of_two_who_could(self, undecided: Support) -> None:
        step = after(LIST, leads("reviewer-a"), concludes("reviewer-b", undecided), leads("reviewer-c"))

        lead, told = step.emit
        assert isinstance(lead, IdentificationConfirmed)
        assert isinstance(told, SubmissionClosed)
        assert (told.outcome, lead.person_id) == (Outcome.CONFIRMED, "person-1")
        assert [(each.reviewer_ref, each.support) for each in lead.reviews] == [
            ("reviewer-a", Support.STRONG_SAME),
            ("reviewer-b", undecided),
            ("reviewer-c", Support.STRONG_SAME),
        ]

    @pytest.mark.parametrize(
        ("second", "third", "outcome"),
        [
            (concludes("reviewer-b", Support.STRONG_DIFFERENT), leads("reviewer-c"), Outcome.INCONCLUSIVE),
            (concludes("reviewer-b", Support.LIMITED_DIFFERENT), leads("reviewer-c"), Outcome.INCONCLUSIVE),
            (concludes("reviewer-b", Support.LIMITED_SAME), leads("reviewer-c"), Outcome.INCONCLUSIVE),
            (leads("reviewer-b", person="person-2"), leads("reviewer-c"), Outcome.INCONCLUSIVE),
            (
                concludes("reviewer-b", Support.STRONG_DIFFERENT),
                concludes("reviewer-c", Support.LIMITED_DIFFERENT),
                Outcome.NOT_CONFIRMED,
            ),
        ],
    )
    def test_nobody_is_outvoted(self, second: Transition, third: Transition, outcome: Outcome) -> None:
        step = after(LIST, leads("reviewer-a"), second, third)

        assert step.case.outcome is outcome
        assert [type(event) for event in step.emit] == [SubmissionClosed]

    def test_whoever_was_first_or_second_is_not_the_third(self) -> None:
        with pytest.raises(NotPermitted, match=r"^reviewer_id: has decided"):
            after(*DIFFERS, leads("reviewer-b"))

    def test_there_is_no_fourth(self) -> None:
        with pytest.raises(NotPermitted, match=r"^submission_id: the case has ended"):
            after(*DIFFERS, leads("reviewer-c"), leads("reviewer-d"))

    def test_three_that_waited_for_their_list_are_weighed_as_they_came(self) -> None:
        step = after(leads("reviewer-a"), concludes("reviewer-b", Support.INCONCLUSIVE), leads("reviewer-c"), LIST)

        assert step.case.state is CaseState.CONFIRMED
        assert step.refused == ()


class TestAmending:
    """Whoever decided may say it anew, with a reason; what they said before is kept, and counts no more."""

    def test_the_only_one_who_has_decided_may_change_their_mind(self) -> None:
        step = after(LIST, leads("reviewer-a"), amends("reviewer-a", support=Support.INCONCLUSIVE))

        assert (step.case.state, step.emit) == (CaseState.AWAITING_SECOND_REVIEW, ())
        assert [decision.support for decision in step.case.decisions] == [Support.STRONG_SAME, Support.INCONCLUSIVE]

    def test_what_counts_with_the_second_is_the_last_word_of_the_first(self) -> None:
        amended = amends("reviewer-a", person_id="person-2")

        step = after(LIST, leads("reviewer-a"), amended, leads("reviewer-b", person="person-2"))

        assert [event.person_id for event in step.emit if isinstance(event, IdentificationConfirmed)] == ["person-2"]
        assert after(LIST, leads("reviewer-a"), amended, leads("reviewer-b")).case.outcome is None

    def test_one_who_speaks_twice_is_one(self) -> None:
        assert after(LIST, leads("reviewer-a"), amends("reviewer-a")).case.state is CaseState.AWAITING_SECOND_REVIEW

    @pytest.mark.parametrize(
        "then",
        [
            amends("reviewer-b"),
            amends("reviewer-b", support=Support.LIMITED_SAME),
            amends("reviewer-a", support=Support.STRONG_DIFFERENT),
        ],
    )
    def test_what_two_disagreed_about_is_not_settled_between_them(self, then: Transition) -> None:
        step = after(*DIFFERS, then)

        assert (step.case.state, step.emit) == (CaseState.AWAITING_THIRD_REVIEW, ())

    def test_the_third_is_weighed_with_what_the_two_say_last(self) -> None:
        step = after(*DIFFERS, amends("reviewer-b"), leads("reviewer-c"))

        assert step.case.state is CaseState.CONFIRMED

    @pytest.mark.parametrize("by", ["reviewer-a", "reviewer-b"])
    @pytest.mark.parametrize("support", sorted(set(Support) - LEAD_SUPPORT))
    def test_whoever_takes_their_support_back_recalls_the_lead(self, by: str, support: Support) -> None:
        step = after(*AGREED, amends(by, support=support))

        recall, told = step.emit
        assert isinstance(recall, IdentificationWithdrawn)
        assert isinstance(told, SubmissionClosed)
        assert (recall.person_id, recall.reason, recall.withdrawn_by) == ("person-1", "looked again", by)
        assert told.outcome is step.case.outcome is Outcome.WITHDRAWN
        assert step.case.state is CaseState.WITHDRAWN
        assert step.case.withdrawal is None, "nobody ordered it"

    def test_whoever_names_somebody_else_recalls_the_lead_that_was_given_out(self) -> None:
        step = after(*AGREED, amends("reviewer-b", person_id="person-2"))

        assert [event.person_id for event in step.emit if isinstance(event, IdentificationWithdrawn)] == ["person-1"]

    def test_a_lead_of_three_outlives_a_word_that_leaves_two(self) -> None:
        three = (LIST, leads("reviewer-a"), concludes("reviewer-b", Support.INCONCLUSIVE), leads("reviewer-c"))
        joined = amends("reviewer-b")
        left = amends("reviewer-a", support=Support.UNSUITABLE)

        step = after(*three, joined, left)

        assert (step.case.state, step.emit) == (CaseState.CONFIRMED, ())
        recalled = after(*three, joined, left, amends("reviewer-c", support=Support.INCONCLUSIVE))
        assert recalled.case.state is CaseState.WITHDRAWN
        assert [event.person_id for event in recalled.emit if isinstance(event, IdentificationWithdrawn)] == [
            "person-1"
        ]

    def test_more_support_for_the_same_person_is_kept_and_nothing_is_said(self) -> None:
        step = after(*AGREED, amends("reviewer-b", support=Support.MODERATE_SAME))

        assert (step.case.state, step.emit, len(step.case.decisions)) == (CaseState.CONFIRMED, (), 3)

    @pytest.mark.parametrize(
        "ended",
        [
            (*DIFFERS, leads("reviewer-c")),
            (LIST, *(concludes(by, Support.INCONCLUSIVE) for by in ("reviewer-a", "reviewer-b"))),
            (LIST, *(concludes(by, Support.STRONG_DIFFERENT) for by in ("reviewer-a", "reviewer-b"))),
            (LIST, concludes("reviewer-a", Support.INCONCLUSIVE), review.expired(LATER)),
            (*AGREED, recalls()),
        ],
    )
    def test_no_second_word_makes_a_lead_of_a_case_that_has_ended(self, ended: tuple[Transition, ...]) -> None:
        before = after(*ended).case
        case = before
        for by in {decision.reviewer_id for decision in before.decisions}:
            step = amends(by)(case)
            assert step.emit == ()
            case = step.case

        assert (case.state, case.outcome) == (before.state, before.outcome)
        assert len(case.decisions) == len(before.decisions) + len({each.reviewer_id for each in before.decisions})

    def test_a_second_word_is_held_to_every_rule(self) -> None:
        with pytest.raises(NotPermitted, match=r"^person_id: "):
            after(*AGREED, amends("reviewer-b", person_id="person-99"))
        with pytest.raises(NotPermitted, match=r"^version: must be 1"):
            after(*AGREED, amends("reviewer-z"))
        with pytest.raises(NotPermitted, match=r"^version: must be 3"):
            after(LIST, leads("reviewer-a"), amends("reviewer-a"), amends("reviewer-a", person_id="person-2"))

    def test_support_that_rests_on_what_lapsed_may_be_taken_back_and_not_given(self) -> None:
        by, case = builders.reviewer("reviewer-b"), STATES[CaseState.CONFIRMED]
        again = builders.amended(builders.decision(FOUND, by="reviewer-b"), FOUND)

        with pytest.raises(NotPermitted, match="the reference has gone"):
            review.decided(again, by, NOW, lapsed={"person-1": "person_id: the reference has gone"})(case)

    def test_a_third_who_cannot_tell_gives_out_no_lead_to_a_reference_that_has_lapsed(self) -> None:
        case = after(*DIFFERS, amends("reviewer-b")).case
        unsure = builders.decision(FOUND, by="reviewer-c", support=Support.INCONCLUSIVE, person_id=None)
        third = partial(review.decided, unsure, builders.reviewer("reviewer-c"), NOW)

        with pytest.raises(NotPermitted, match="the reference has gone"):
            third(lapsed={"person-1": "person_id: the reference has gone"})(case)
        assert third(lapsed={"person-2": "person_id: another has gone"})(case).case.state is CaseState.CONFIRMED

    def test_a_lead_names_whom_its_reviewers_name_last(self) -> None:
        step = after(
            *DIFFERS,
            amends("reviewer-b"),
            amends("reviewer-a", person_id="person-2"),
            amends("reviewer-b", person_id="person-2", version=3),
            concludes("reviewer-c", Support.INCONCLUSIVE),
        )

        assert [event.person_id for event in step.emit if isinstance(event, IdentificationConfirmed)] == ["person-2"]


class TestSeeded:
    """A case whose answer is known measures those who review it, and says nothing to anybody."""

    def test_it_is_reviewed_as_any_other(self) -> None:
        step = after(SEEDED)

        assert (step.case.state, step.case.seeded, step.emit) == (CaseState.AWAITING_REVIEW, True, ())

    @pytest.mark.parametrize("support", Support)
    def test_it_ends_assessed_whatever_its_reviewers_say(self, support: Support) -> None:
        step = after(SEEDED, *(concludes(by, support) for by in ("reviewer-a", "reviewer-b")))

        assert (step.case.state, step.case.outcome, step.emit) == (CaseState.ASSESSED, None, ())

    def test_it_has_a_third_review_too(self) -> None:
        step = after(SEEDED, *DIFFERS[1:])

        assert step.case.state is CaseState.AWAITING_THIRD_REVIEW
        assert leads("reviewer-c")(step.case).case.state is CaseState.ASSESSED

    def test_a_second_word_after_the_end_is_kept_and_moves_nothing(self) -> None:
        step = after(SEEDED, *AGREED[1:], amends("reviewer-b", support=Support.STRONG_DIFFERENT))

        assert (step.case.state, step.emit, len(step.case.decisions)) == (CaseState.ASSESSED, (), 3)

    @pytest.mark.parametrize(
        "transitions",
        [
            (review.candidates_ready(BLANK, NOW, seeded=True),),
            (SEEDED, review.expired(LATER)),
            (SEEDED, leads("reviewer-a"), review.expired(LATER)),
            (review.subject_unclear(UNCLEAR, NOW, seeded=True),),
            (review.subject_unclear(UNCLEAR, NOW, seeded=True), chooses(None)),
            (review.subject_unclear(UNCLEAR, NOW, seeded=True), review.expired(LATER)),
        ],
    )
    def test_nobody_is_told_how_it_ends_otherwise(self, transitions: tuple[Transition, ...]) -> None:
        assert after(*transitions).emit == ()

    def test_a_face_chosen_in_it_goes_round_again_inside_the_house(self) -> None:
        step = after(review.subject_unclear(UNCLEAR, NOW, seeded=True), chooses())

        assert [type(event) for event in step.emit] == [ImageSubmitted]
        assert after(review.subject_unclear(UNCLEAR, NOW, seeded=True), chooses(), SEEDED).case.seeded

    @pytest.mark.parametrize("transitions", [AGREED, DIFFERS, (*DIFFERS, leads("reviewer-c")), (LIST,)])
    def test_to_whoever_asks_it_ended_as_its_twin_did(self, transitions: tuple[Transition, ...]) -> None:
        twin, seeded = after(*transitions).case, after(SEEDED, *transitions[1:]).case

        assert review.as_told(seeded) is review.as_told(twin) is twin.outcome

    def test_it_gives_no_lead_that_could_be_recalled(self) -> None:
        with pytest.raises(NotPermitted, match="assessed does not lead to withdrawn"):
            recalls()(STATES[CaseState.ASSESSED])
