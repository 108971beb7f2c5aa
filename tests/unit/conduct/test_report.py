"""What a supervisor is shown of a period."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from at_work import case, said, seed
from builders import NOW
from hypothesis import given, settings
from hypothesis import strategies as st

from rfr_stream.conduct import CaseFacts, DecisionFacts, Proportion, Report, report
from rfr_stream.events import Outcome, Support
from rfr_stream.ports import CaseState

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
NONE = Support.MODERATE_DIFFERENT


def of(cases: list[CaseFacts], told: list[DecisionFacts] | None = None, **period: Any) -> Report:  # noqa: ANN401
    """Return the report of the ten days before noon."""
    return report(cases, told or [], **{"since": NOW - 10 * DAY, "until": NOW, **period})


class TestDays:
    def test_each_day_stands_there_also_where_nothing_happened(self) -> None:
        first = case("first", opened_at=NOW - 2 * DAY)
        blank = case("blank", opened_at=NOW - 2 * DAY, listed=(), state=CaseState.CLOSED)

        days = of([first, blank], [said(first, at=NOW - DAY), said(first, at=NOW - DAY, version=2)]).days

        assert [(day.day.day, day.came, day.decisions) for day in days[-4:]] == [
            (26, 0, 0),
            (27, 1, 0),
            (28, 0, 1),
            (1, 0, 0),
        ]
        assert len(days) == 11

    def test_what_was_opened_earlier_is_no_part_of_the_period(self) -> None:
        assert sum(day.came for day in of([case(opened_at=NOW - 11 * DAY)]).days) == 0


class TestTheQueue:
    def test_what_waits_is_counted_whenever_it_was_opened(self) -> None:
        waiting = [
            case("a", urgency=0, opened_at=NOW - HOUR),
            case("b", urgency=0, opened_at=NOW - 30 * DAY, state=CaseState.AWAITING_SUBJECT),
            case("c", urgency=4, opened_at=NOW - 2 * HOUR, state=CaseState.AWAITING_THIRD_REVIEW),
            case("d", state=CaseState.CONFIRMED, opened_at=NOW - HOUR),
        ]

        found = of(waiting)

        assert found.waiting == {0: (30 * DAY, HOUR), 4: (2 * HOUR,)}
        assert found.oldest == 30 * DAY
        assert found.age_s
        assert found.age_s.median == pytest.approx(7_200)

    def test_an_empty_queue_has_no_age(self) -> None:
        found = of([])
        assert (found.waiting, found.oldest, found.age_s) == ({}, None, None)


class TestEnds:
    def test_outcomes_are_of_real_cases_that_have_ended(self) -> None:
        opened: Any = {"opened_at": NOW - DAY}
        ended = [
            case("a", state=CaseState.CONFIRMED, outcome=Outcome.CONFIRMED, **opened),
            case("b", state=CaseState.CLOSED, outcome=Outcome.NO_FACE, listed=(), **opened),
            case("c", state=CaseState.AWAITING_SUBJECT, outcome=Outcome.SUBJECT_SELECTION_REQUIRED, **opened),
            case("d", state=CaseState.AWAITING_REVIEW, **opened),
            seed("e", state=CaseState.EXPIRED, outcome=Outcome.EXPIRED, **opened),
        ]
        assert of(ended).outcomes == {Outcome.CONFIRMED: 1, Outcome.NO_FACE: 1}

    def test_third_reviews_are_counted_among_cases_that_two_have_looked_at(self) -> None:
        three, two, one = (case(name, opened_at=NOW - DAY) for name in ("three", "two", "one"))
        told = [
            *(said(three, by=by) for by in "abc"),
            *(said(two, by=by) for by in "ab"),
            said(two, by="a", version=2),
            said(one, by="a"),
        ]
        assert of([three, two, one], told).third_reviews == Proportion(1, 2)


class TestKnownAnswers:
    def test_their_share_is_of_what_came_to_people(self) -> None:
        opened: Any = {"opened_at": NOW - DAY}
        cases = [case("a", **opened), case("b", **opened), seed(**opened), case("blank", listed=(), **opened)]
        assert of(cases).seeded == Proportion(1, 3)

    def test_a_lead_to_somebody_who_is_not_there_is_a_false_one(self) -> None:
        nobody = [seed(f"n{i}", answer=None, opened_at=NOW - DAY) for i in range(3)]
        told = [
            *(said(nobody[0], by=by) for by in "ab"),
            *(said(nobody[1], support, by=by) for support, by in ((Support.STRONG_SAME, "a"), (NONE, "b"))),
        ]
        found = of(nobody, told).together
        assert (found.false_leads, found.missed) == (Proportion(1, 3), Proportion(0, 0))

    def test_what_the_machine_or_people_do_not_find_is_missed(self) -> None:
        opened: Any = {"opened_at": NOW - DAY}
        found_, passed, mistaken = (seed(name, **opened) for name in "abc")
        unlisted = seed("d", listed=(), state=CaseState.CLOSED, outcome=Outcome.NO_CANDIDATES, **opened)
        told = [
            *(said(found_, by=by) for by in "xy"),
            *(said(passed, NONE, by=by) for by in "xy"),
            *(said(mistaken, person_id="person-2", by=by) for by in "xy"),
        ]
        result = of([found_, passed, mistaken, unlisted], told).together
        assert result.missed == Proportion(3, 4)
        assert result.mistaken == Proportion(1, 4)
        assert result.listed == Proportion(3, 4)

    @pytest.mark.parametrize("state", [CaseState.AWAITING_REVIEW, CaseState.EXPIRED])
    def test_one_that_nobody_has_assessed_measures_nothing(self, state: CaseState) -> None:
        assert of([seed(state=state, opened_at=NOW - DAY)]).together.missed == Proportion(0, 0)


def test_reviewers_stand_by_their_reference_not_by_merit() -> None:
    about = case(opened_at=NOW - DAY)
    told = [said(about, by=by) for by in ("zoe", "adam", "mia")]
    assert [each.reviewer_id for each in of([about], told).reviewers] == ["adam", "mia", "zoe"]


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(CaseState), st.integers(0, 20 * 24), st.integers(0, 4), st.booleans()), max_size=30
    )
)
def test_every_case_is_counted_once(drawn: list[tuple[CaseState, int, int, bool]]) -> None:
    """By hand: what waits stands in the queue, and what came in the period stands on its day."""
    cases = [
        case(f"{i}", state=state, opened_at=NOW - hours * HOUR, urgency=urgency, is_seed=is_seed)
        for i, (state, hours, urgency, is_seed) in enumerate(drawn)
    ]

    found = of(cases)

    waits = [row for row in drawn if row[0].startswith("awaiting") and row[0] is not CaseState.AWAITING_CANDIDATES]
    assert {urgency: len(ages) for urgency, ages in found.waiting.items()} == Counter(row[2] for row in waits)
    assert found.oldest == (max(row[1] for row in waits) * HOUR if waits else None)
    came = [row for row in drawn if 0 < row[1] <= 240]
    assert sum(day.came for day in found.days) == len(came) == found.seeded.n
    assert found.seeded.k == sum(row[3] for row in came)
