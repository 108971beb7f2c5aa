"""The review machine: what leads where, and that only two people lead to a lead."""

from collections.abc import Mapping

import builders
import pytest
from builders import LATER, NOW

from rfr_stream import review
from rfr_stream.errors import NotPermitted
from rfr_stream.events import (
    IdentificationConfirmed,
    IdentificationWithdrawn,
    Outcome,
    ReviewDecided,
    SubmissionClosed,
    Support,
)
from rfr_stream.ports import Case, CaseState, Step, Transition
from rfr_stream.review import CAN_EXPIRE, NEXT, SET_ASIDE, UNDER_REVIEW

FOUND = builders.candidates_ready()
LIST = review.candidates_ready(FOUND, NOW)
BLANK = builders.candidates_ready(people=())
SUBMITTER = FOUND.submission.submitted_by
EARLY = (Outcome.REFUSED, Outcome.UNREADABLE, Outcome.NO_FACE, Outcome.UNSUITABLE_QUALITY)
OWN = set(Outcome) - set(EARLY) - {Outcome.SUBJECT_SELECTION_REQUIRED}


def decides(decision: ReviewDecided) -> Transition:
    return review.decided(decision, builders.reviewer(decision.reviewer_id), NOW)


def leads(by: str, *, person: str = "person-1") -> Transition:
    return decides(builders.decision(FOUND, by=by, person_id=person))


def concludes(by: str, support: Support) -> Transition:
    return decides(builders.decision(FOUND, by=by, support=support))


def says(outcome: Outcome) -> Transition:
    return review.closed(builders.closed(outcome), NOW)


def after(*transitions: Transition) -> Step:
    """Return the last step of these, one upon the other."""
    step: Step | None = None
    for transition in transitions:
        step = transition(step.case if step else None)
    assert step is not None
    return step


STATES: Mapping[CaseState, Case] = {
    CaseState.AWAITING_CANDIDATES: after(leads("reviewer-a")).case,
    CaseState.AWAITING_SUBJECT: after(says(Outcome.SUBJECT_SELECTION_REQUIRED)).case,
    CaseState.AWAITING_REVIEW: after(LIST).case,
    CaseState.AWAITING_SECOND_REVIEW: after(LIST, leads("reviewer-a")).case,
    CaseState.CLOSED: after(says(Outcome.NO_FACE)).case,
    CaseState.CONFIRMED: after(LIST, leads("reviewer-a"), leads("reviewer-b")).case,
    CaseState.NOT_CONFIRMED: after(
        LIST, concludes("reviewer-a", Support.STRONG_DIFFERENT), concludes("reviewer-b", Support.UNSUITABLE)
    ).case,
    CaseState.INCONCLUSIVE: after(LIST, leads("reviewer-a"), concludes("reviewer-b", Support.STRONG_DIFFERENT)).case,
    CaseState.EXPIRED: after(LIST, review.expired(LATER)).case,
    CaseState.WITHDRAWN: after(
        LIST, leads("reviewer-a"), leads("reviewer-b"), review.withdrawn("error", "officer-2", LATER)
    ).case,
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
            Case(FOUND.submission.submission_id, CaseState.AWAITING_REVIEW, opened_at=NOW, candidates=FOUND)
        )

    def test_an_honest_blank_closes_the_case_and_tells_the_submitter(self) -> None:
        step = after(review.candidates_ready(BLANK, NOW))

        assert (step.case.state, step.case.outcome) == (CaseState.CLOSED, Outcome.NO_CANDIDATES)
        assert [told.outcome for told in step.emit if isinstance(told, SubmissionClosed)] == [Outcome.NO_CANDIDATES]

    def test_a_chosen_subject_goes_on_to_review(self) -> None:
        case = after(says(Outcome.SUBJECT_SELECTION_REQUIRED), review.candidates_ready(FOUND, LATER)).case

        assert (case.state, case.outcome, case.opened_at) == (CaseState.AWAITING_REVIEW, None, LATER)

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


class TestParking:
    def test_a_decision_before_its_list_waits(self) -> None:
        decision = builders.decision(FOUND)

        step = after(decides(decision))

        assert step.case.state is CaseState.AWAITING_CANDIDATES
        assert step.case.parked == (decision,)
        assert step.case.decisions == ()

    def test_a_decision_waits_beside_the_choice_of_a_subject_too(self) -> None:
        step = after(says(Outcome.SUBJECT_SELECTION_REQUIRED), leads("reviewer-a"))

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
            ("list_digest", builders.decision(FOUND, by="reviewer-b", list_digest=builders.sha256("another"))),
            ("person_id", builders.decision(FOUND, by="reviewer-b", person_id="person-99")),
            ("demo", builders.decision(FOUND, by="reviewer-b", demo=True)),
            ("similarities", builders.decision(FOUND, by="reviewer-b", similarities=())),
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
        ("second", "outcome"),
        [
            (leads("reviewer-b", person="person-2"), Outcome.INCONCLUSIVE),
            (concludes("reviewer-b", Support.LIMITED_SAME), Outcome.INCONCLUSIVE),
            (concludes("reviewer-b", Support.STRONG_DIFFERENT), Outcome.INCONCLUSIVE),
            (concludes("reviewer-b", Support.INCONCLUSIVE), Outcome.INCONCLUSIVE),
        ],
    )
    def test_disagreement_ends_without_a_lead(self, second: Transition, outcome: Outcome) -> None:
        step = after(LIST, leads("reviewer-a"), second)

        assert step.case.outcome is outcome
        assert [type(event) for event in step.emit] == [SubmissionClosed]

    def test_a_demonstrations_events_are_demonstrations(self) -> None:
        found = builders.candidates_ready(demo=True)
        decisions = [decides(builders.decision(found, by=by)) for by in ("reviewer-a", "reviewer-b")]

        step = after(review.candidates_ready(found, NOW), *decisions)

        assert [event.demo for event in step.emit] == [True, True]
        assert all(event.demo for event in review.withdrawn("error", "officer-2", NOW)(step.case).emit)


class TestClosing:
    @pytest.mark.parametrize("outcome", EARLY)
    def test_an_early_end_opens_a_closed_case_and_repeats_nothing(self, outcome: Outcome) -> None:
        step = after(says(outcome))

        assert (step.case.state, step.case.outcome, step.emit) == (CaseState.CLOSED, outcome, ())

    def test_a_crowd_waits_for_somebody_to_choose(self) -> None:
        step = after(says(Outcome.SUBJECT_SELECTION_REQUIRED))

        assert (step.case.state, step.emit) == (CaseState.AWAITING_SUBJECT, ())

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

    @pytest.mark.parametrize("outcome", [*EARLY, Outcome.SUBJECT_SELECTION_REQUIRED])
    def test_the_same_outcome_again_changes_nothing(self, outcome: Outcome) -> None:
        case = after(says(outcome)).case

        assert says(outcome)(case) == Step(case)

    def test_a_case_that_waits_for_a_subject_may_still_fail(self) -> None:
        step = after(says(Outcome.SUBJECT_SELECTION_REQUIRED), says(Outcome.UNSUITABLE_QUALITY))

        assert (step.case.state, step.case.outcome) == (CaseState.CLOSED, Outcome.UNSUITABLE_QUALITY)

    @pytest.mark.parametrize("outcome", [*EARLY, Outcome.SUBJECT_SELECTION_REQUIRED])
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
        step = after(says(Outcome.SUBJECT_SELECTION_REQUIRED), leads("reviewer-a"), review.expired(LATER))

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
        step = review.withdrawn("excluded by alibi", "officer-2", LATER)(STATES[CaseState.CONFIRMED])

        recall, told = step.emit
        assert recall == IdentificationWithdrawn(
            occurred_at=LATER,
            case_ref=FOUND.submission.case_ref,
            submission_id=FOUND.submission.submission_id,
            person_id="person-1",
            reason="excluded by alibi",
            withdrawn_by="officer-2",
        )
        assert isinstance(told, SubmissionClosed)
        assert told.outcome is Outcome.WITHDRAWN
        assert step.case.outcome is Outcome.WITHDRAWN

    @pytest.mark.parametrize("state", sorted(set(CaseState) - {CaseState.CONFIRMED}))
    def test_only_a_lead_can_be_withdrawn(self, state: CaseState) -> None:
        with pytest.raises(NotPermitted, match=r"does not lead to withdrawn|no list, so no lead"):
            review.withdrawn("error", "officer-2", LATER)(STATES[state])

    def test_what_does_not_exist_is_not_withdrawn(self) -> None:
        with pytest.raises(NotPermitted, match="no such case"):
            review.withdrawn("error", "officer-2", LATER)(None)
