"""When a supervisor is told that somebody may be waving through what the machine proposes."""

from dataclasses import replace
from datetime import timedelta

import pytest
from at_work import MINUTE, case, in_a_row, said
from builders import NOW

from rfr_stream.conduct import LIMITS, DecisionFacts, remarks, unsaid
from rfr_stream.desk import AlertKind
from rfr_stream.events import Support

NONE = Support.MODERATE_DIFFERENT


def careful(n: int, *, every: timedelta = 4 * MINUTE) -> list[DecisionFacts]:
    """Return decisions of somebody who weighs: every third is none of these."""
    return [
        said(each.about, NONE if i % 3 else Support.STRONG_SAME, at=each.decided_at)
        for i, each in enumerate(in_a_row(n, every=every))
    ]


def test_nothing_is_said_of_careful_work() -> None:
    assert remarks(careful(25)) == {}


def test_nothing_is_said_of_nobody() -> None:
    assert remarks([]) == {}


class TestTooFast:
    def test_one_second_is_enough_to_be_told(self) -> None:
        """The test that the requirement names: approvals by a script."""
        found = remarks([*careful(2), said(case("last"), NONE, at=NOW + 30 * MINUTE, compared_s=1.0)])
        assert found == {AlertKind.TOO_FAST: "compared for 1.0 s"}

    def test_a_habit_shows_in_a_run(self) -> None:
        hasty = [replace(each, compared_s=9.0) for each in careful(LIMITS.run)]
        assert remarks(hasty) == {AlertKind.TOO_FAST: "compared for 9.0 s (median of 20)"}
        assert remarks(hasty[1:]) == {}

    def test_a_few_quick_ones_among_others_are_no_habit(self) -> None:
        mixed = [replace(each, compared_s=9.0 if i < 9 else 60.0) for i, each in enumerate(careful(LIMITS.run))]
        assert remarks(mixed) == {}

    def test_what_was_not_measured_was_not_quick(self) -> None:
        assert remarks([replace(each, compared_s=None) for each in careful(LIMITS.run)]) == {}


class TestNeverCloser:
    def test_a_run_without_going_closer_once(self) -> None:
        blunt = [replace(each, zoomed=False) for each in careful(LIMITS.run)]
        assert list(remarks(blunt)) == [AlertKind.NEVER_CLOSER]
        assert remarks(blunt[1:]) == {}

    def test_once_in_a_run_is_enough(self) -> None:
        assert remarks([replace(each, zoomed=i == 5) for i, each in enumerate(careful(LIMITS.run))]) == {}


class TestAlwaysFirst:
    def test_a_run_of_the_machines_first(self) -> None:
        assert list(remarks(in_a_row(LIMITS.run))) == [AlertKind.ALWAYS_FIRST]
        assert remarks(in_a_row(LIMITS.run - 1)) == {}

    @pytest.mark.parametrize(
        "other",
        [said(case("x"), NONE), said(case("x"), person_id="person-2"), said(case("x"), Support.INCONCLUSIVE)],
        ids=["none of these", "somebody else", "cannot tell"],
    )
    def test_one_other_conclusion_ends_the_run(self, other: DecisionFacts) -> None:
        *before, last = in_a_row(LIMITS.run)
        assert remarks([*before, replace(other, decided_at=last.decided_at, began_at=last.began_at)]) == {}

    def test_a_list_of_one_has_no_other(self) -> None:
        alone = [replace(each, about=case(f"{i}", listed=("person-1",))) for i, each in enumerate(in_a_row(40))]
        assert AlertKind.ALWAYS_FIRST not in remarks(alone)


class TestTooMuch:
    def test_more_in_an_hour_than_can_be_weighed(self) -> None:
        every = timedelta(minutes=60) / (LIMITS.per_hour + 1)
        assert remarks(careful(LIMITS.per_hour + 1, every=every)) == {AlertKind.TOO_MANY: "31 decisions in an hour"}
        assert remarks(careful(LIMITS.per_hour + 1, every=2 * every)) == {}

    def test_two_hours_without_a_break(self) -> None:
        long = careful(13, every=10 * MINUTE)
        assert remarks(long) == {AlertKind.TOO_LONG: "123 minutes without a break"}
        assert remarks(long[1:]) == {}

    def test_after_a_break_it_begins_anew(self) -> None:
        morning = careful(13, every=10 * MINUTE)
        after = said(case("after"), NONE, at=morning[-1].decided_at + 25 * MINUTE)
        assert remarks([*morning, after]) == {}


def test_what_is_said_again_of_a_case_is_no_decision_in_a_hurry() -> None:
    second = said(version=2, compared_s=1.0, at=NOW + MINUTE)
    assert remarks([said(compared_s=60.0), second]) == {}


def test_one_habit_is_told_once() -> None:
    found = {AlertKind.TOO_FAST: "fast", AlertKind.TOO_LONG: "long"}
    assert unsaid(found, {AlertKind.TOO_LONG, AlertKind.TOO_MANY}) == {AlertKind.TOO_FAST: "fast"}
