"""Everything that may come to one case, in every order: breadth first, until nothing new appears."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

import builders
import pytest
from builders import LATER, NOW

from rfr_stream import review
from rfr_stream.errors import Rejected
from rfr_stream.events import (
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ImageSubmitted,
    Outcome,
    ReviewDecided,
    SubmissionClosed,
    Support,
)
from rfr_stream.policy import LEAD_SUPPORT, UNDECIDED_SUPPORT, standing
from rfr_stream.ports import Case, CaseState, Step, Transition
from rfr_stream.review import NEXT

FOUND = builders.candidates_ready(people=("person-1", "person-2"))
OTHER = builders.candidates_ready(people=("person-2", "person-1"))
BLANK = builders.candidates_ready(people=())
SUBMITTER = FOUND.submission.submitted_by

ENDS = frozenset({state for state, following in NEXT.items() if not following} | {CaseState.CLOSED})

Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Edge:
    """One event's step from one case."""

    before: Case | None
    name: str
    step: Step

    @property
    def moves(self) -> bool:
        """Whether the case is in another state than before."""
        return self.before is None or self.before.state is not self.step.case.state

    def emits(self, kind: type[object]) -> int:
        """Return how many events of this kind it promises."""
        return sum(isinstance(event, kind) for event in self.step.emit)


# --- what may come --------------------------------------------------------------------------------------------------
def decides(decision: ReviewDecided) -> Transition:
    return review.decided(decision, builders.reviewer(decision.reviewer_id), NOW)


def first(by: str, support: Support = Support.STRONG_SAME, person: str = "person-1") -> Transition:
    named = person if support.endswith("_same") else None
    return decides(builders.decision(FOUND, by=by, support=support, person_id=named))


def again(by: str, support: Support = Support.STRONG_SAME, person: str = "person-1") -> Transition:
    named = person if support.endswith("_same") else None
    return decides(builders.amended(builders.decision(FOUND, by=by), FOUND, support=support, person_id=named))


def machines(*, seeded: bool) -> dict[str, Transition]:
    """Return what stages and clocks may say."""
    return {
        "list": review.candidates_ready(FOUND, NOW, seeded=seeded),
        "other list": review.candidates_ready(OTHER, NOW, seeded=seeded),
        "blank": review.candidates_ready(BLANK, NOW, seeded=seeded),
        "which subject?": review.subject_unclear(builders.subject_unclear(FOUND.submission), NOW, seeded=seeded),
        "unreadable": review.closed(builders.closed(Outcome.UNREADABLE), NOW),
        "no face": review.closed(builders.closed(Outcome.NO_FACE), NOW),
        "confirmed, says the bus": review.closed(builders.closed(Outcome.CONFIRMED), NOW),
        "time is up": review.expired(LATER),
    }


EARLY: Final[Mapping[str, Transition]] = {
    "reviewer-a: person 1": first("reviewer-a"),
    "reviewer-a: different": first("reviewer-a", Support.STRONG_DIFFERENT),
    "reviewer-a, of another list": decides(builders.decision(OTHER, by="reviewer-a")),
    "reviewer-b: person 1": first("reviewer-b"),
    "reviewer-b: person 2": first("reviewer-b", person="person-2"),
    "reviewer-b: cannot tell": first("reviewer-b", Support.INCONCLUSIVE),
    "reviewer-b, a demonstration": decides(builders.decision(FOUND, by="reviewer-b", demo=True)),
    f"{SUBMITTER}: person 1": first(SUBMITTER),
    "face chosen": review.subject_chosen(builders.subject_chosen(), builders.reviewer(), NOW),
    "no face is meant": review.subject_chosen(builders.subject_chosen(subject=None), builders.reviewer(), NOW),
}
LATE: Final[Mapping[str, Transition]] = {
    "reviewer-a again: cannot tell": again("reviewer-a", Support.INCONCLUSIVE),
    "reviewer-a again: person 1": again("reviewer-a"),
    "reviewer-a again: person 2": again("reviewer-a", person="person-2"),
    "reviewer-b: nobody listed": first("reviewer-b", person="person-99"),
    "reviewer-b: too weak": first("reviewer-b", Support.LIMITED_SAME),
    "reviewer-b again: cannot tell": again("reviewer-b", Support.UNSUITABLE),
    "reviewer-c: person 1": first("reviewer-c"),
    "reviewer-c: different": first("reviewer-c", Support.LIMITED_DIFFERENT),
    "reviewer-c again: person 2": again("reviewer-c", person="person-2"),
    "reviewer-c, once the scores were seen": decides(
        builders.decision(FOUND, by="reviewer-c", examination=builders.examination(revealed=True))
    ),
    "withdrawn": review.withdrawn(builders.withdrawal(), builders.supervisor(), LATER),
    "withdrawn by a reviewer": review.withdrawn(
        builders.withdrawal(by="reviewer-a"), builders.reviewer("reviewer-a"), LATER
    ),
}
"""What comes once there is a list. What waits for one is not looked into before, so that `EARLY` stands for all."""
NEVER_COUNTS: Final = {
    "other list",
    "reviewer-b: nobody listed",
    "reviewer-c, once the scores were seen",
    "withdrawn by a reviewer",
}


# --- every order ----------------------------------------------------------------------------------------------------
def key(case: Case | None) -> Key:
    """Return what tells one case from another; the decisions are the alphabet's own, so that their ids tell them."""
    if case is None:
        return ()
    decided, parked = (tuple(map(id, some)) for some in (case.decisions, case.parked))
    known = tuple(part is not None for part in (case.candidates, case.faces, case.withdrawal))
    return (case.state, case.outcome, case.demo, case.opened_at, known, id(case.choice), decided, parked)


def edges() -> list[Edge]:
    """Return every step of an operational case."""
    return explored(seeded=False)


@cache
def explored(*, seeded: bool) -> list[Edge]:
    """Return every step that any order of events can lead to.

    Of a case that has ended every step is taken, but what such steps only keep is not gone into further.
    """
    early = {**machines(seeded=seeded), **EARLY}
    seen, ahead = {key(None)}, deque[Case | None]([None])
    found = []
    while ahead:
        case = ahead.popleft()
        for name, transition in (early if case is None or case.candidates is None else {**early, **LATE}).items():
            try:
                step = transition(case)
            except Rejected:
                continue
            found.append(Edge(case, name, step))
            if key(step.case) not in seen and not (case and case.state is step.case.state and case.state in ENDS):
                seen.add(key(step.case))
                ahead.append(step.case)
    return found


def entering(state: CaseState) -> list[Edge]:
    """Return the steps into this state from another."""
    return [edge for edge in edges() if edge.step.case.state is state and edge.moves]


def everything() -> list[Edge]:
    return [*edges(), *explored(seeded=True)]


def test_every_state_is_reached() -> None:
    assert {edge.step.case.state for edge in edges()} == set(CaseState) - {CaseState.ASSESSED}
    reached = {edge.step.case.state for edge in explored(seeded=True)}
    assert set(CaseState) - reached == {
        CaseState.CONFIRMED,
        CaseState.NOT_CONFIRMED,
        CaseState.INCONCLUSIVE,
        CaseState.WITHDRAWN,
    }
    assert len(entering(CaseState.CONFIRMED)) > 100


def takes(says: Transition, case: Case) -> bool:
    try:
        says(case)
    except Rejected:
        return False
    return True


@pytest.mark.parametrize("outcome", Outcome)
def test_what_a_stage_says_is_overtaken_exactly_where_the_case_refuses_it(outcome: Outcome) -> None:
    says = review.closed(builders.closed(outcome), NOW)
    for case in {key(edge.step.case): edge.step.case for edge in edges()}.values():
        assert review.is_overtaken(outcome, case.state, case.outcome) is not takes(says, case)


# --- leads ----------------------------------------------------------------------------------------------------------
def test_every_path_to_a_lead_holds_two_standing_decisions_that_count() -> None:
    for edge in entering(CaseState.CONFIRMED):
        case = edge.step.case
        assert case.candidates is not None
        said = standing(case.decisions)
        leads = [decision for decision in said if decision.support in LEAD_SUPPORT]
        assert len({lead.reviewer_id for lead in leads}) == len(leads) >= 2
        assert len({lead.person_id for lead in leads}) == 1
        (lead,) = (event for event in edge.step.emit if isinstance(event, IdentificationConfirmed))
        assert lead.person_id == leads[0].person_id
        assert lead.person_id in {candidate.person_id for candidate in case.candidates.candidates}
        assert {decision.support for decision in said} - LEAD_SUPPORT <= UNDECIDED_SUPPORT
        assert SUBMITTER not in {decision.reviewer_id for decision in said}
        assert {decision.list_digest for decision in case.decisions} == {case.candidates.list_digest}
        assert {decision.demo for decision in case.decisions} == {case.demo}


def test_only_a_persons_decision_or_the_list_it_waited_for_leads_to_a_lead() -> None:
    for edge in entering(CaseState.CONFIRMED):
        waited = {decision.reviewer_id for decision in edge.before.parked} if edge.before else set()
        assert edge.name.startswith("reviewer-") or (edge.name.endswith("list") and len(waited) >= 2)


def test_leads_are_made_by_second_and_third_reviewers_and_never_by_second_words() -> None:
    makers = {edge.name for edge in entering(CaseState.CONFIRMED)}

    assert {"reviewer-a: person 1", "reviewer-b: person 1", "reviewer-c: person 1"} < makers
    assert not [name for name in makers if "again" in name]
    assert {edge.before.state for edge in entering(CaseState.CONFIRMED) if edge.before} >= {
        CaseState.AWAITING_SECOND_REVIEW,
        CaseState.AWAITING_THIRD_REVIEW,
    }


def test_a_lead_is_promised_on_entering_confirmed_and_at_no_other_time() -> None:
    promising = [edge for edge in edges() if edge.emits(IdentificationConfirmed)]

    assert promising == entering(CaseState.CONFIRMED)
    assert all(edge.emits(IdentificationConfirmed) == 1 for edge in promising)


def test_a_recall_is_promised_on_entering_withdrawn_and_at_no_other_time() -> None:
    recalling = [edge for edge in edges() if edge.emits(IdentificationWithdrawn)]

    assert recalling == entering(CaseState.WITHDRAWN)
    assert {edge.name for edge in recalling} > {"withdrawn", "reviewer-a again: cannot tell"}


def test_from_a_lead_there_is_one_way_out() -> None:
    after = {edge.step.case.state for edge in edges() if edge.before and edge.before.state is CaseState.CONFIRMED}

    assert after == {CaseState.CONFIRMED, CaseState.WITHDRAWN}


def test_a_recall_names_whom_the_lead_named() -> None:
    named: dict[Key, str] = {}
    for edge in edges():  # breadth first: a case is entered before it is left
        for event in edge.step.emit:
            if isinstance(event, IdentificationConfirmed):
                named[key(edge.step.case)] = event.person_id
            if isinstance(event, IdentificationWithdrawn):
                assert event.person_id == named[key(edge.before)]
        if edge.before and edge.before.state is edge.step.case.state is CaseState.CONFIRMED:
            assert named.setdefault(key(edge.step.case), named[key(edge.before)]) == named[key(edge.before)]


def test_what_never_counts_moves_no_case_that_has_a_list() -> None:
    for edge in everything():
        if edge.name in NEVER_COUNTS and edge.before and edge.before.candidates:
            assert edge.step == Step(edge.before)
    assert not [edge for edge in edges() if edge.name == "withdrawn by a reviewer"]


# --- known answers --------------------------------------------------------------------------------------------------
def test_a_seeded_case_tells_nobody_anything_ever() -> None:
    for edge in explored(seeded=True):
        assert not edge.step.emit or edge.name == "face chosen"
        assert edge.emits(ImageSubmitted) == len(edge.step.emit), "an image that goes round again inside the house"


def test_a_seeded_case_is_reviewed_step_by_step_as_any_other() -> None:
    """Whoever reviews it can never tell: each case has its twin, which takes the same words."""
    as_one = {CaseState.CONFIRMED, CaseState.NOT_CONFIRMED, CaseState.INCONCLUSIVE}
    waiting = {CaseState.AWAITING_REVIEW, CaseState.AWAITING_SECOND_REVIEW, CaseState.AWAITING_THIRD_REVIEW}

    def taken(*, seeded: bool) -> set[tuple[Key, str, object]]:
        return {
            (
                key(edge.before)[6:],
                edge.name,
                CaseState.ASSESSED if edge.step.case.state in as_one else edge.step.case.state,
            )
            for edge in explored(seeded=seeded)
            if edge.before and edge.before.state in waiting
        }

    assert taken(seeded=True) == taken(seeded=False)


# --- moving ---------------------------------------------------------------------------------------------------------
def test_nothing_moves_past_the_table() -> None:
    """A list that finds decisions waiting takes several steps of the table at once; every other event takes one."""
    moves = {
        (start(edge), edge.step.case.state)
        for edge in everything()
        if not (edge.before and edge.before.parked and edge.name.endswith("list"))
    }
    table = {(a, b) for a, following in NEXT.items() for b in following}

    assert {(a, b) for a, b in moves if a is not b} == table - {(CaseState.CLOSED, CaseState.AWAITING_CANDIDATES)}


def start(edge: Edge) -> CaseState:
    """Return where a step starts: what is new, or was set aside and comes again, awaits its list."""
    if edge.before is None or edge.before.outcome is Outcome.UNREADABLE:
        return CaseState.AWAITING_CANDIDATES
    return edge.before.state


def test_an_image_goes_round_again_once_somebody_has_chosen_and_at_no_other_time() -> None:
    for edge in everything():
        assert edge.emits(ImageSubmitted) == (edge.name == "face chosen")


def test_nobody_is_asked_again_once_there_is_an_answer_or_a_list() -> None:
    for edge in entering(CaseState.AWAITING_SUBJECT):
        assert edge.step.case.choice is None
        assert edge.step.case.candidates is None
        assert edge.emits(SubmissionClosed) == 1


def test_a_list_once_shown_never_changes_and_a_decision_never_goes() -> None:
    for edge in everything():
        if edge.before and edge.before.candidates:
            assert edge.step.case.candidates == edge.before.candidates
        if edge.before:
            assert edge.step.case.decisions[: len(edge.before.decisions)] == edge.before.decisions


def test_no_decision_is_lost() -> None:
    """Whatever was parked is counted, still waits, or is refused: in one place each."""
    for edge in everything():
        waited = edge.before.parked if edge.before else ()
        refused = tuple(decision for decision, _ in edge.step.refused)
        held = (*edge.step.case.decisions, *edge.step.case.parked, *refused)
        assert all(held.count(decision) == 1 for decision in waited)


def test_each_reviewers_words_are_counted_one_upon_the_other() -> None:
    for edge in everything():
        spoken: dict[str, int] = {}
        for decision in edge.step.case.decisions:
            spoken[decision.reviewer_id] = spoken.get(decision.reviewer_id, 0) + 1
            assert decision.version == spoken[decision.reviewer_id]
        assert len(spoken) <= 3


def test_the_end_is_the_end_and_a_second_word_is_only_kept() -> None:
    for edge in everything():
        if edge.before and edge.before.state in ENDS and edge.before.outcome is not Outcome.UNREADABLE:
            assert (edge.step.case.state, edge.step.case.outcome) == (edge.before.state, edge.before.outcome)
            assert (edge.step.emit, edge.step.refused) == ((), ())
            added = edge.step.case.decisions[len(edge.before.decisions) :]
            assert all(decision.version > 1 for decision in added)
