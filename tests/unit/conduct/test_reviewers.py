"""One reviewer's numbers: what each counts, and all of them against a count by hand."""

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta

import pytest
from at_work import MINUTE, case, said, seed
from builders import NOW
from hypothesis import given, settings
from hypothesis import strategies as st

from rfr_stream.conduct import (
    DecisionFacts,
    OnSeeds,
    Proportion,
    ReviewerFacts,
    Spread,
    on_seeds,
    reviewer_facts,
    stretches,
)
from rfr_stream.events import Support
from rfr_stream.policy import LEAD_SUPPORT, SAME_SUPPORT, UNDECIDED_SUPPORT

NONE = Support.MODERATE_DIFFERENT


def facts(*decisions: DecisionFacts, of: str = "reviewer-a") -> ReviewerFacts:
    """Return the numbers of one of those who decided."""
    by_case = defaultdict(list)
    for each in decisions:
        by_case[each.about.submission_id].append(each)
    return reviewer_facts(of, [each for each in decisions if each.reviewer_id == of], by_case)


class TestPace:
    def test_decisions_in_an_hour_are_of_the_hours_at_work(self) -> None:
        """Fifteen minutes, a night, and again fifteen minutes."""
        evening = [said(case(f"e{i}"), at=NOW + i * 4 * MINUTE) for i in range(4)]
        morning = [said(case(f"m{i}"), at=NOW + timedelta(hours=12) + i * 4 * MINUTE) for i in range(4)]

        numbers = facts(*evening, *morning)

        assert numbers.hours == pytest.approx(0.5)
        assert numbers.per_hour == pytest.approx(16)

    def test_nobody_has_a_pace_who_took_no_time(self) -> None:
        assert facts(said(began_at=NOW)).per_hour is None

    def test_what_is_taken_up_within_the_break_is_one_stretch(self) -> None:
        first, second = said(at=NOW), said(case("next"), at=NOW + 23 * MINUTE)
        assert stretches([first, second]) == [(first.began_at, second.decided_at)]
        assert len(stretches([first, replace(second, began_at=NOW + 21 * MINUTE)])) == 2

    def test_a_case_that_was_begun_before_another_was_decided_is_no_second_stretch(self) -> None:
        first, second = said(at=NOW), said(case("next"), at=NOW + MINUTE, began_at=NOW - 30 * MINUTE)
        assert stretches([first, second]) == [(NOW - 30 * MINUTE, NOW + MINUTE)]

    def test_times_are_given_by_their_middle_and_their_shortest_tenth(self) -> None:
        decisions = [said(case(f"{i}"), compared_s=float(10 * i), dwell_ms=(1_000 * i,)) for i in range(1, 12)]

        numbers = facts(*decisions, said(case("terminal"), compared_s=None, dwell_ms=()))

        assert numbers.compared_s == Spread(median=60.0, p10=20.0)
        assert numbers.dwell_s == Spread(median=6.0, p10=2.0)

    def test_a_candidate_that_was_never_in_front_has_no_dwell(self) -> None:
        assert facts(said(dwell_ms=(4_000, 0))).dwell_s == Spread(4.0, 4.0)


class TestCare:
    def test_looked_at_is_counted_by_candidates(self) -> None:
        assert facts(said(viewed_n=1), said(case("next"), viewed_n=3)).viewed == Proportion(4, 6)

    def test_going_closer_is_counted_by_decisions(self) -> None:
        assert facts(said(zoomed=True), said(case("next"), zoomed=False)).zoomed == Proportion(1, 2)


class TestAgreement:
    def test_two_leads_to_one_person_agree_whatever_their_strength(self) -> None:
        both = said(by="reviewer-a"), said(support=Support.MODERATE_SAME, by="reviewer-b")
        assert facts(*both).agreed == Proportion(1, 1)

    @pytest.mark.parametrize(
        "other",
        [
            said(person_id="person-2", by="reviewer-b"),
            said(support=Support.LIMITED_SAME, by="reviewer-b"),
            said(support=NONE, by="reviewer-b"),
            said(support=Support.INCONCLUSIVE, by="reviewer-b"),
        ],
        ids=["somebody else", "no lead", "none of these", "cannot tell"],
    )
    def test_anything_else_does_not(self, other: DecisionFacts) -> None:
        assert facts(said(), other).agreed == Proportion(0, 1)

    def test_a_third_reviewer_is_compared_with_both(self) -> None:
        three = [said(by="reviewer-a"), said(support=NONE, by="reviewer-b"), said(by="reviewer-c")]
        assert facts(*three, of="reviewer-c").agreed == Proportion(1, 2)

    def test_what_was_said_after_the_scores_were_shown_counts_for_nothing(self) -> None:
        blind = said(support=NONE), said(by="reviewer-b")
        numbers = facts(*blind, said(version=2))
        assert (numbers.agreed, numbers.decisions, numbers.revised) == (Proportion(0, 1), 1, 1)

    def test_nobody_agrees_alone(self) -> None:
        assert facts(said()).agreed == Proportion(0, 0)


class TestTheMachine:
    def test_its_first_is_counted_among_those_named(self) -> None:
        numbers = facts(
            said(), said(case("b"), person_id="person-2"), said(case("c"), NONE), said(case("d"), Support.INCONCLUSIVE)
        )
        assert numbers.named_first == Proportion(1, 2)
        assert numbers.none == Proportion(1, 4)
        assert numbers.overrides == Proportion(2, 3), "somebody else, and none of these; not: cannot tell"


class TestKnownAnswers:
    def test_a_false_positive_is_anybody_named_where_nobody_was_there(self) -> None:
        nobody = [seed(f"n{i}", answer=None) for i in range(3)]
        told = [said(nobody[0], Support.LIMITED_SAME), said(nobody[1], NONE), said(nobody[2], Support.UNSUITABLE)]
        assert on_seeds(told) == OnSeeds(
            false_positives=Proportion(1, 3),
            false_negatives=Proportion(0, 0),
            mistaken=Proportion(0, 0),
            undecided=Proportion(1, 3),
        )

    def test_a_false_negative_is_a_person_spoken_against_or_mistaken_for_another(self) -> None:
        shown = [seed(f"m{i}") for i in range(4)]
        told = [
            said(shown[0]),
            said(shown[1], NONE),
            said(shown[2], person_id="person-2"),
            said(shown[3], Support.INCONCLUSIVE),
        ]
        assert on_seeds(told) == OnSeeds(
            false_positives=Proportion(0, 0),
            false_negatives=Proportion(2, 4),
            mistaken=Proportion(1, 4),
            undecided=Proportion(1, 4),
        )

    def test_nobody_is_blamed_for_a_person_whom_the_machine_did_not_list(self) -> None:
        missed = seed(answer="person-9")
        assert on_seeds([said(missed, NONE)]).false_positives == Proportion(0, 1)
        assert on_seeds([said(missed, NONE)]).false_negatives == Proportion(0, 0)
        assert on_seeds([said(missed)]).false_positives == Proportion(1, 1)

    def test_real_cases_say_nothing_about_errors(self) -> None:
        assert on_seeds([said(), said(case("b"), NONE)]).undecided == Proportion(0, 0)

    def test_the_first_word_counts_not_the_one_after_the_scores(self) -> None:
        shown = seed()
        assert facts(said(shown, NONE), said(shown, version=2)).on_seeds.false_negatives == Proportion(1, 1)


# --- by hand --------------------------------------------------------------------------------------------------------
CASES = [
    *(case(f"case-{i}") for i in range(3)),
    case("alone", listed=("person-1",)),
    seed("mated", answer="person-2"),
    seed("missed", answer="person-9"),
    seed("nobody", answer=None),
]
decisions = st.builds(
    lambda about, support, place, who, minutes, version, viewed, zoomed: said(
        about,
        support,
        person_id=about.listed[place % len(about.listed)] if support in SAME_SUPPORT else None,
        by=who,
        at=NOW + minutes * MINUTE,
        version=version,
        viewed_n=viewed % (len(about.listed) + 1),
        zoomed=zoomed,
    ),
    st.sampled_from(CASES),
    st.sampled_from(Support),
    st.integers(0, 2),
    st.sampled_from(["reviewer-a", "reviewer-b", "reviewer-c"]),
    st.integers(0, 600),
    st.integers(1, 2),
    st.integers(0, 3),
    st.booleans(),
)


def of_everybody(drawn: list[DecisionFacts]) -> list[DecisionFacts]:
    """Return each version of each reviewer and case once, in the order of time."""
    once = {(each.about.submission_id, each.reviewer_id, each.version): each for each in drawn}
    return sorted(once.values(), key=lambda each: each.decided_at)


everybody = st.lists(decisions, max_size=40).map(of_everybody)


@settings(max_examples=40)
@given(everybody)
def test_counts_of_decisions_are_those_of_a_count_by_hand(everything: list[DecisionFacts]) -> None:
    numbers = facts(*everything)

    n = listed = viewed = zoomed = named = first = none = concluded = against = 0
    for each in everything:
        if each.reviewer_id == "reviewer-a" and each.version == 1:
            n += 1
            listed += len(each.about.listed)
            viewed += each.viewed_n
            zoomed += each.zoomed
            named += each.support in SAME_SUPPORT
            first += each.support in SAME_SUPPORT and each.person_id == each.about.listed[0]
            if each.support not in UNDECIDED_SUPPORT:
                concluded += 1
                none += each.person_id is None
                against += each.person_id != each.about.listed[0]

    assert numbers.decisions == n
    assert numbers.revised == sum(each.reviewer_id == "reviewer-a" for each in everything) - n
    assert numbers.viewed == Proportion(viewed, listed)
    assert numbers.zoomed == Proportion(zoomed, n)
    assert numbers.named_first == Proportion(first, named)
    assert numbers.none == Proportion(none, n)
    assert numbers.overrides == Proportion(against, concluded)


@settings(max_examples=40)
@given(everybody)
def test_agreement_is_that_of_a_count_by_hand(everything: list[DecisionFacts]) -> None:
    agreed = compared = 0
    for mine in (each for each in everything if each.reviewer_id == "reviewer-a" and each.version == 1):
        for theirs in everything:
            if theirs.about is mine.about and theirs.version == 1 and theirs.reviewer_id != "reviewer-a":
                compared += 1
                leads = [each.support in LEAD_SUPPORT for each in (mine, theirs)]
                unsure = [each.support in UNDECIDED_SUPPORT for each in (mine, theirs)]
                if all(leads):
                    agreed += mine.person_id == theirs.person_id
                elif not any(leads):
                    agreed += unsure[0] == unsure[1]

    assert facts(*everything).agreed == Proportion(agreed, compared)


@settings(max_examples=40)
@given(everybody)
def test_errors_on_known_answers_are_those_of_a_count_by_hand(everything: list[DecisionFacts]) -> None:
    numbers = facts(*everything).on_seeds

    wrongly_named = without = wrongly_passed = with_person = undecided = known = 0
    for each in everything:
        if each.reviewer_id == "reviewer-a" and each.version == 1 and each.about.is_seed:
            known += 1
            undecided += each.support in UNDECIDED_SUPPORT
            if each.about.answer is not None and each.about.answer in each.about.listed:
                with_person += 1
                wrongly_passed += each.support not in UNDECIDED_SUPPORT and each.person_id != each.about.answer
            else:
                without += 1
                wrongly_named += each.person_id is not None

    assert numbers.false_positives == Proportion(wrongly_named, without)
    assert numbers.false_negatives == Proportion(wrongly_passed, with_person)
    assert numbers.undecided == Proportion(undecided, known)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 600), st.integers(0, 60)), max_size=30))
def test_stretches_are_the_minutes_at_work(moments: list[tuple[int, int]]) -> None:
    """By hand, minute by minute: at work from each beginning to its decision, and in breaks of at most 20 minutes."""
    work = sorted((end, end - took) for end, took in moments)
    told = [
        said(case(f"{i}"), at=NOW + end * MINUTE, began_at=NOW + start * MINUTE) for i, (end, start) in enumerate(work)
    ]

    found = stretches(told)

    assert len(told) == 0 or found[-1][1] == told[-1].decided_at
    for _, end in found[:-1]:
        following = [each for each in told if each.decided_at > end]
        assert following[0].began_at > end + 20 * MINUTE
    for each in told:
        assert any(start <= each.began_at and each.decided_at <= end for start, end in found)
