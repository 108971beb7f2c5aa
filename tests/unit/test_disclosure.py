"""What is disclosed holds together, and whatever does not is named."""

import json
from dataclasses import replace
from typing import Any, Final

import builders
import dossier
import pytest
from builders import NOW

from rfr_stream import disclosure
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.desk import Examined
from rfr_stream.disclosure import LIMITS, NOT_EVALUATED, STILL_OPEN, Disclosure, Line, Search, limits_of
from rfr_stream.errors import Malformed
from rfr_stream.events import CAVEAT, ReviewDecided, Support, canonical
from rfr_stream.faces import Point
from rfr_stream.ports import Case, CaseState

DOCUMENT: Final = dossier.document()
SEARCH: Final = DOCUMENT.searches[0]
FIRST, SECOND = SEARCH.case.decisions


def faults(document: Disclosure) -> list[str]:
    """Return what whoever gets the document finds."""
    return list(disclosure.faults(disclosure.read(disclosure.write(document)), KeyVerifier(dossier.DESK_URL)))


def test_a_record_as_it_is_has_no_fault() -> None:
    assert faults(DOCUMENT) == []


def test_what_was_written_reads_as_it_was_and_writes_the_same() -> None:
    data = disclosure.write(DOCUMENT)

    assert disclosure.read(data) == DOCUMENT
    assert disclosure.write(disclosure.read(data)) == data


def test_the_caveat_is_in_it() -> None:
    assert json.loads(disclosure.write(DOCUMENT))["caveat"] == CAVEAT


# --- what is not as it must be --------------------------------------------------------------------------------------
def of(**fields: Any) -> Disclosure:  # noqa: ANN401 - any field of a search
    return DOCUMENT.model_copy(update={"searches": (SEARCH.model_copy(update=fields),)})


def of_case(**fields: Any) -> Disclosure:  # noqa: ANN401 - any field of a case
    return of(case=replace(SEARCH.case, **fields))


def second(**fields: Any) -> Disclosure:  # noqa: ANN401 - any field of a decision
    """Change the second decision behind its reviewer's back."""
    return of_case(decisions=(FIRST, SECOND.model_copy(update=fields)))


def instead(decision: ReviewDecided) -> Disclosure:
    """Put another decision of the same reviewer, signed by them, in the place of the second."""
    return of_case(decisions=(FIRST, decision))


def examined(**fields: Any) -> Disclosure:  # noqa: ANN401 - any field of an examination
    first, other = SEARCH.shown
    return of(shown=(first.model_copy(update={"examined": replace(first.examined, **fields)}), other))


def told(place: int, **fields: Any) -> Disclosure:  # noqa: ANN401 - any field of what was told
    changed = [*SEARCH.told]
    changed[place] = changed[place].model_copy(update=fields)
    return of(told=tuple(changed))


def logged(place: int, **fields: Any) -> Disclosure:  # noqa: ANN401 - any field of a line
    changed = [*DOCUMENT.log]
    changed[place] = Line(entry=replace(changed[place].entry, **fields), before=changed[place].before)
    return DOCUMENT.model_copy(update={"log": tuple(changed)})


ANOTHER: Final = dossier.ABANDONED
LISTED: Final = dossier.LEAD
FORGED: Final = {
    "decision 2: the signature is not reviewer-b's signature": second(support=Support.STRONG_DIFFERENT),
    "decision 2: no key of reviewer-c": second(reviewer_id="reviewer-c"),
    "decision 2: about another list": instead(dossier.decision(LISTED, "reviewer-b", list_digest="0" * 64)),
    "decision 2: about another submission": instead(dossier.decision(ANOTHER, "reviewer-b")),
    "decision 2: a version of reviewer-b is missing": instead(
        dossier.decision(LISTED, "reviewer-b", version=2, reason="looked again")
    ),
    "decision 2: the seed is not": instead(
        dossier.decision(LISTED, "reviewer-b", examination=builders.examination(order_seed="0" * 64))
    ),
    "waiting decision 1: the signature is not reviewer-a's": of_case(
        parked=(FIRST.model_copy(update={"support": Support.UNSUITABLE}),)
    ),
    "choice of the subject: the signature is not reviewer-a's": of_case(
        choice=builders.subject_chosen(LISTED.submission).model_copy(update={"subject": Point(1, 1)})
    ),
    "withdrawal: no key of reviewer-a that may sign it": of_case(
        withdrawal=builders.withdrawal(LISTED.submission, by="reviewer-a")
    ),
    "decision of reviewer-a that never counted: the signature": examined(
        draft=FIRST.model_copy(update={"support": Support.UNSUITABLE})
    ),
    "refused decision of reviewer-b: the signature": told(
        1, type=SECOND.ce_type, event=SECOND.model_copy(update={"support": Support.UNSUITABLE})
    ),
    "list: of another submission": of_case(candidates=ANOTHER),
    "is not about CR/2026/004417": of_case(case_ref="CR/2026/000001"),
    "has a known answer": of_case(seeded=True),
    "list as reviewer-a saw it: the seed is not": examined(order_seed="0" * 64),
    "list as reviewer-a saw it: not the order": of(
        shown=(SEARCH.shown[0].model_copy(update={"order": SEARCH.shown[0].order[::-1]}), SEARCH.shown[1])
    ),
    "event 1: its id is not": told(0, event_id=SEARCH.told[1].event_id),
    "event 2: its id is not": told(1, event=builders.closed(submission_id=ANOTHER.submission.submission_id)),
    "event 1: a lead that rests on a decision which is not here": of_case(decisions=(FIRST,)),
    "acknowledgement 1: of an event which is not here": of(told=SEARCH.told[1:]),
    "log line 2: does not follow from the line before it": logged(1, account_id="reviewer-b"),
    "log line 3: does not follow line 2": logged(1, digest="0" * 64),
    "log line 7: does not follow from the line before it": logged(0, sequence=7),
    "log line 1: does not follow line 2": DOCUMENT.model_copy(update={"log": DOCUMENT.log[1::-1]}),
}


@pytest.mark.parametrize("named", FORGED)
def test_what_is_not_as_it_must_be_is_named(named: str) -> None:
    assert any(named in fault for fault in faults(FORGED[named])), faults(FORGED[named])


def test_faults_are_told_in_the_order_of_the_record() -> None:
    both = of(case=replace(SEARCH.case, decisions=(SECOND, FIRST)), told=SEARCH.told[:0])
    both = both.model_copy(update={"log": logged(1, detail="x").log})

    found = faults(both)

    assert len(found) > 1
    assert found == sorted(found, key=lambda fault: fault.startswith("log"))


def test_lines_of_a_log_that_are_not_neighbours_are_checked_each_by_itself() -> None:
    apart = DOCUMENT.model_copy(update={"log": (DOCUMENT.log[0], DOCUMENT.log[2])})

    assert faults(apart) == []


# --- what does not even read ----------------------------------------------------------------------------------------
def changed(*path: str | int, to: object) -> bytes:
    """Return the document with another value in one place, in canonical form."""
    said = json.loads(disclosure.write(DOCUMENT))
    place = said
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return canonical(said)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (changed("searches", 0, "case", "candidates", "candidates", 0, "similarity", to=0.99), "list_digest"),
        (changed("searches", 0, "case", "candidates", "candidates", to=[]), "list_digest"),
        (changed("searches", 0, "case", "candidates", "submission", "purpose", to="witness"), "submission_id"),
        (changed("caveat", to="A match."), "caveat"),
        (changed("format", to="rfr-disclosure-v2"), "format"),
        (changed("searches", to=[]), "searches"),
        (changed("more", to=1), "more"),
        (disclosure.write(DOCUMENT) + b"\n", "canonical"),
        (disclosure.write(DOCUMENT).replace(b'"caveat":', b'"about":"CR/2026/004417","caveat":', 1), "canonical"),
        (b"[" * 100_000, "recursion"),
        (b"\xff", "JSON"),
        (b"", "JSON"),
    ],
)
def test_what_is_no_disclosure_says_where(data: bytes, named: str) -> None:
    with pytest.raises(Malformed, match=named):
        disclosure.read(data)


# --- limits ---------------------------------------------------------------------------------------------------------
def test_without_an_evaluation_report_it_says_so() -> None:
    assert limits_of([SEARCH]) == (NOT_EVALUATED, *LIMITS)


def test_a_lead_that_names_its_evaluation_report_says_no_such_thing() -> None:
    lead = SEARCH.told[0]
    evaluated = lead.model_copy(update={"event": builders.identification_confirmed(evaluation_ref="evaluation-7")})

    assert limits_of([SEARCH.model_copy(update={"told": (evaluated,)})]) == LIMITS


@pytest.mark.parametrize("state", CaseState)
def test_what_is_still_open_is_said_to_be(state: CaseState) -> None:
    search = Search(case=Case(LISTED.submission.submission_id, state, NOW))

    assert (STILL_OPEN in limits_of([search])) == state.startswith("awaiting")


def test_one_submission_is_no_whole_case() -> None:
    alone = DOCUMENT.model_copy(update={"about": str(LISTED.submission.submission_id)})

    assert DOCUMENT.is_of_case
    assert not alone.is_of_case
    assert faults(alone) == []


def test_the_last_line_of_the_log_is_known() -> None:
    assert DOCUMENT.log_until == len(DOCUMENT.log)
    assert DOCUMENT.model_copy(update={"log": ()}).log_until == 0


def test_a_list_that_nobody_saw_has_no_order() -> None:
    seen = SEARCH.shown[0].model_copy(update={"examined": Examined("0" * 64, NOW)})
    unseen = Search(case=replace(SEARCH.case, candidates=None, decisions=(), withdrawal=None), shown=(seen,))

    assert any("the seed is not" in fault for fault in faults(DOCUMENT.model_copy(update={"searches": (unseen,)})))
