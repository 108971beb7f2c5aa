"""Everything that may come to one case, in every order: breadth first, until nothing new appears."""

from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import builders
from builders import LATER, NOW

from rfr_stream import review
from rfr_stream.errors import Rejected
from rfr_stream.events import IdentificationConfirmed, IdentificationWithdrawn, Outcome, ReviewDecided, Support
from rfr_stream.policy import LEAD_SUPPORT
from rfr_stream.ports import Case, CaseState, Step, Transition
from rfr_stream.review import NEXT

FOUND = builders.candidates_ready(people=("person-1", "person-2"))
OTHER = builders.candidates_ready(people=("person-2", "person-1"))
BLANK = builders.candidates_ready(people=())
SUBMITTER = FOUND.submission.submitted_by
REVIEWERS = ("reviewer-a", "reviewer-b", SUBMITTER)

ENDS = (CaseState.CLOSED, CaseState.NOT_CONFIRMED, CaseState.INCONCLUSIVE, CaseState.EXPIRED, CaseState.WITHDRAWN)

Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Edge:
    """One event's step from one case."""

    before: Case | None
    name: str
    step: Step


def decides(decision: ReviewDecided) -> Transition:
    return review.decided(decision, builders.reviewer(decision.reviewer_id), NOW)


def alphabet() -> dict[str, Transition]:
    """Return what machines, clocks and people may say, well and ill meant."""
    said = {
        "list": review.candidates_ready(FOUND, NOW),
        "other list": review.candidates_ready(OTHER, NOW),
        "blank": review.candidates_ready(BLANK, NOW),
        "unreadable": review.closed(builders.closed(Outcome.UNREADABLE), NOW),
        "no face": review.closed(builders.closed(Outcome.NO_FACE), NOW),
        "which subject?": review.closed(builders.closed(Outcome.SUBJECT_SELECTION_REQUIRED), NOW),
        "confirmed, says the bus": review.closed(builders.closed(Outcome.CONFIRMED), NOW),
        "time is up": review.expired(LATER),
        "withdrawn": review.withdrawn("error", "officer-2", LATER),
        "demonstration": decides(builders.decision(FOUND, by="reviewer-b", demo=True)),
        "of another list": decides(builders.decision(OTHER, by="reviewer-a")),
        "nobody listed": decides(builders.decision(FOUND, by="reviewer-a", person_id="person-99")),
        "too weak": decides(builders.decision(FOUND, by="reviewer-b", support=Support.LIMITED_SAME)),
    }
    for by in REVIEWERS:
        said[f"{by}: person 1"] = decides(builders.decision(FOUND, by=by, person_id="person-1"))
        said[f"{by}: person 2"] = decides(builders.decision(FOUND, by=by, person_id="person-2"))
        said[f"{by}: different"] = decides(builders.decision(FOUND, by=by, support=Support.STRONG_DIFFERENT))
    return said


def key(case: Case | None) -> Key:
    """Return what tells one case from another."""
    if case is None:
        return ()
    decided, parked = ([decision.event_id for decision in some] for some in (case.decisions, case.parked))
    shown = case.candidates.list_digest if case.candidates else None
    return (case.state, case.outcome, case.demo, case.opened_at, shown, *decided, "parked", *parked)


@cache
def edges() -> list[Edge]:
    """Return every step that any order of events can lead to."""
    said, seen, ahead = alphabet(), {key(None)}, deque[Case | None]([None])
    found = []
    while ahead:
        case = ahead.popleft()
        for name, transition in said.items():
            try:
                step = transition(case)
            except Rejected:
                continue
            found.append(Edge(case, name, step))
            if key(step.case) not in seen:
                seen.add(key(step.case))
                ahead.append(step.case)
    return found


def entering(state: CaseState) -> list[Edge]:
    """Return the steps into this state from another."""
    into = [edge for edge in edges() if edge.step.case.state is state]
    return [edge for edge in into if edge.before is None or edge.before.state is not state]


def test_every_state_is_reached() -> None:
    assert {edge.step.case.state for edge in edges()} == set(CaseState)
    assert len(entering(CaseState.CONFIRMED)) > 10


def test_every_path_to_a_lead_holds_two_decisions_that_count() -> None:
    for edge in entering(CaseState.CONFIRMED):
        case = edge.step.case
        assert case.candidates is not None
        first, second = case.decisions
        assert first.reviewer_id != second.reviewer_id
        assert SUBMITTER not in {first.reviewer_id, second.reviewer_id}
        assert {first.support, second.support} <= LEAD_SUPPORT
        assert first.person_id == second.person_id
        assert first.person_id in {candidate.person_id for candidate in case.candidates.candidates}
        assert {first.list_digest, second.list_digest} == {case.candidates.list_digest}
        assert (first.demo, second.demo) == (case.demo, case.demo)


def test_only_a_persons_decision_or_the_list_it_waited_for_leads_to_a_lead() -> None:
    for edge in entering(CaseState.CONFIRMED):
        waited = {decision.reviewer_id for decision in edge.before.parked} if edge.before else set()
        assert edge.name.startswith("reviewer-") or (edge.name.endswith("list") and len(waited) >= 2)


def test_a_lead_is_promised_on_entering_confirmed_and_at_no_other_time() -> None:
    promising = [edge for edge in edges() if any(isinstance(e, IdentificationConfirmed) for e in edge.step.emit)]

    assert promising == entering(CaseState.CONFIRMED)
    assert all(len([e for e in edge.step.emit if isinstance(e, IdentificationConfirmed)]) == 1 for edge in promising)


def test_a_recall_is_promised_on_entering_withdrawn_and_at_no_other_time() -> None:
    recalling = [edge for edge in edges() if any(isinstance(e, IdentificationWithdrawn) for e in edge.step.emit)]

    assert recalling == entering(CaseState.WITHDRAWN)


def test_nothing_moves_past_the_table() -> None:
    """A list that finds decisions waiting takes several steps of the table at once; every other event takes one."""
    moves = {
        (start(edge), edge.step.case.state)
        for edge in edges()
        if not (edge.before and edge.before.parked and edge.name.endswith("list"))
    }
    table = {(a, b) for a, following in NEXT.items() for b in following if b is not CaseState.AWAITING_CANDIDATES}

    assert {(a, b) for a, b in moves if a is not b} == table


def start(edge: Edge) -> CaseState:
    """Return where a step starts: what is new, or was set aside and comes again, awaits its list."""
    if edge.before is None or edge.before.outcome is Outcome.UNREADABLE:
        return CaseState.AWAITING_CANDIDATES
    return edge.before.state


def test_a_list_once_shown_never_changes_and_a_decision_never_goes() -> None:
    for edge in edges():
        if edge.before and edge.before.candidates:
            assert edge.step.case.candidates == edge.before.candidates
        if edge.before:
            assert edge.step.case.decisions[: len(edge.before.decisions)] == edge.before.decisions


def test_no_decision_is_lost() -> None:
    """Whatever was parked is counted, still waits, or is refused: in one place each."""
    for edge in edges():
        waited = edge.before.parked if edge.before else ()
        refused = tuple(decision for decision, _ in edge.step.refused)
        held = (*edge.step.case.decisions, *edge.step.case.parked, *refused)
        assert all(held.count(decision) == 1 for decision in waited)


def test_the_end_is_the_end() -> None:
    for edge in edges():
        if edge.before and edge.before.state in ENDS and edge.before.outcome is not Outcome.UNREADABLE:
            assert edge.step == Step(edge.before)
