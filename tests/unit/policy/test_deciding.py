"""Who may decide, what counts as a decision, and what several of them amount to."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations, product
from typing import Final, TypeAlias

import builders
import pytest
from builders import NOW, amended

from rfr_stream import policy
from rfr_stream.errors import NotPermitted
from rfr_stream.events import Component, Feature, Finding, Outcome, ReviewDecided, Signed, Support
from rfr_stream.policy import LEAD_SUPPORT, MIN_COMPARED_S, SAME_SUPPORT
from rfr_stream.ports import Duty, Reviewer

FOUND = builders.candidates_ready()
MOMENT = timedelta(microseconds=1)
LEAST = timedelta(seconds=MIN_COMPARED_S)
NAMES_NOBODY: Final = sorted(set(Support) - SAME_SUPPORT)


def why_not(decision: ReviewDecided, *earlier: ReviewDecided) -> str | None:
    return policy.objection(decision, FOUND, earlier)


class TestCompetence:
    def test_a_registered_reviewer_in_date_is_returned(self) -> None:
        reviewer = builders.reviewer("reviewer-a")

        assert policy.require_competent(builders.decision(by="reviewer-a"), reviewer, NOW) is reviewer

    @pytest.mark.parametrize("other", [None, builders.reviewer("reviewer-b")])
    def test_an_unknown_reviewer_or_somebody_elses_record_is_refused(self, other: Reviewer | None) -> None:
        with pytest.raises(NotPermitted, match=r"^reviewer_id: .*rfr reviewers add"):
            policy.require_competent(builders.decision(by="reviewer-a"), other, NOW)

    def test_training_holds_until_its_last_moment_and_not_beyond(self) -> None:
        decision = builders.decision()

        policy.require_competent(decision, builders.reviewer(competent_until=NOW + MOMENT), NOW)
        with pytest.raises(NotPermitted, match=r"^reviewer_id: training has lapsed"):
            policy.require_competent(decision, builders.reviewer(competent_until=NOW), NOW)

    @pytest.mark.parametrize(
        ("said", "duty"),
        [
            (builders.decision(), Duty.REVIEW),
            (builders.subject_chosen(), Duty.REVIEW),
            (builders.withdrawal(), Duty.SUPERVISE),
            (builders.certified(), Duty.SUPERVISE),
        ],
    )
    def test_a_key_signs_what_its_duty_is_and_nothing_else(self, said: Signed, duty: Duty) -> None:
        (other,) = set(Duty) - {duty}
        signer = replace(builders.reviewer(said.signer), duty=duty)

        assert policy.require_competent(said, signer, NOW, duty) is signer
        with pytest.raises(NotPermitted, match=f"^reviewer_id: not registered to {duty}; "):
            policy.require_competent(said, replace(signer, duty=other), NOW, duty)


class TestObjection:
    def test_a_full_record_about_the_list_counts(self) -> None:
        assert why_not(builders.decision(FOUND)) is None

    @pytest.mark.parametrize(
        ("field", "decision"),
        [
            ("demo", builders.decision(FOUND, demo=True)),
            ("list_digest", builders.decision(FOUND, list_digest=builders.sha256("another"))),
            ("reviewer_id", builders.decision(FOUND, by=FOUND.submission.submitted_by)),
            ("person_id", builders.decision(FOUND, person_id="person-99")),
            ("person_id", builders.decision(FOUND, person_id=None)),
            ("person_id", builders.decision(FOUND, support=Support.LIMITED_SAME, person_id=None)),
            ("person_id", builders.decision(FOUND, support=Support.STRONG_DIFFERENT, person_id="person-1")),
            ("person_id", builders.decision(FOUND, support=Support.INCONCLUSIVE, person_id="person-1")),
            ("similarities", builders.decision(FOUND, similarities=())),
            ("dissimilarities", builders.decision(FOUND, dissimilarities=())),
            ("dissimilarities", builders.decision(FOUND, support=Support.MODERATE_SAME, dissimilarities=())),
        ],
    )
    def test_what_does_not_count_is_told_which_field_is_wrong(self, field: str, decision: ReviewDecided) -> None:
        assert (why_not(decision) or "").startswith(f"{field}: ")

    @pytest.mark.parametrize("support", sorted(set(Support) - LEAD_SUPPORT))
    def test_only_a_lead_needs_features_on_record(self, support: Support) -> None:
        decision = builders.decision(FOUND, support=support, similarities=(), dissimilarities=(), features=())

        assert why_not(decision) is None


class TestVersions:
    FIRST = builders.decision(FOUND, by="reviewer-a")

    def test_nobody_decides_twice(self) -> None:
        second = builders.decision(FOUND, by="reviewer-a", support=Support.STRONG_DIFFERENT)

        assert why_not(builders.decision(FOUND, by="reviewer-b"), self.FIRST) is None
        assert (why_not(second, self.FIRST) or "").startswith("reviewer_id: has decided")

    def test_whoever_decided_may_say_it_anew(self) -> None:
        assert why_not(amended(self.FIRST, support=Support.INCONCLUSIVE), self.FIRST) is None

    def test_versions_follow_one_upon_the_other(self) -> None:
        second = amended(self.FIRST)

        assert why_not(amended(self.FIRST, version=3), self.FIRST) == "version: must be 2, the next of this reviewer's"
        assert why_not(amended(self.FIRST, version=3), self.FIRST, second) is None
        assert why_not(second, self.FIRST, second) == "version: must be 3, the next of this reviewer's"

    def test_a_second_version_needs_a_first_of_the_same_reviewer(self) -> None:
        stranger = builders.decision(FOUND, by="reviewer-b", version=2, reason="looked again")

        assert why_not(stranger, self.FIRST) == "version: must be 1, the next of this reviewer's"

    def test_a_new_version_is_held_to_every_rule(self) -> None:
        other = amended(self.FIRST, person_id="person-99")

        assert why_not(other, self.FIRST) == "person_id: must be a person on the list"

    def test_what_each_reviewer_says_last_stands_in_the_order_in_which_they_spoke(self) -> None:
        other = builders.decision(FOUND, by="reviewer-b")
        last = amended(self.FIRST, support=Support.UNSUITABLE)

        assert policy.standing([]) == ()
        assert policy.standing([self.FIRST, other]) == (self.FIRST, other)
        assert policy.standing([self.FIRST, other, last]) == (last, other)


class TestExamination:
    """Whoever concludes has looked, first at the probe alone, then at the candidates; for a lead, long enough."""

    def examined(self, support: Support = Support.STRONG_SAME, **fields: object) -> str | None:
        return why_not(builders.decision(FOUND, support=support, examination=builders.examination(**fields)))

    @pytest.mark.parametrize("support", sorted(set(Support) - {Support.UNSUITABLE}))
    def test_a_conclusion_about_candidates_follows_an_examination(self, support: Support) -> None:
        decision = builders.decision(FOUND, support=support, examination=None)

        assert (why_not(decision) or "").startswith("examination: a conclusion about candidates follows")

    def test_that_a_probe_is_unsuitable_shows_before_any_candidate_does(self) -> None:
        assert why_not(builders.decision(FOUND, support=Support.UNSUITABLE, examination=None)) is None

    @pytest.mark.parametrize("support", NAMES_NOBODY)
    def test_whoever_names_nobody_may_be_quick_and_may_have_seen_the_scores(self, support: Support) -> None:
        assert self.examined(support, compared_s=0.0, revealed=True) is None

    @pytest.mark.parametrize("support", sorted(SAME_SUPPORT))
    def test_whoever_has_seen_the_scores_may_take_support_back_and_not_give_it(self, support: Support) -> None:
        assert self.examined(support, revealed=False) is None
        assert (self.examined(support, revealed=True) or "").startswith("support: ")

    def test_not_even_less_support_is_given_once_the_scores_were_seen(self) -> None:
        first = builders.decision(FOUND)
        seen = builders.examination(revealed=True)

        weaker = amended(first, support=Support.LIMITED_SAME, examination=seen)
        assert (why_not(weaker, first) or "").startswith("support: ")
        taken_back = amended(first, support=Support.INCONCLUSIVE, examination=seen)
        assert why_not(taken_back, first) is None

    def test_the_probe_is_analysed_before_the_candidates_are_shown(self) -> None:
        shown_at = builders.examination().shown_at

        assert self.examined(analysed_at=shown_at) is None
        assert (self.examined(analysed_at=shown_at + MOMENT) or "").startswith("examination: the probe is analysed")

    def test_nobody_decides_before_the_candidates_are_shown(self) -> None:
        assert (self.examined(analysed_at=NOW, shown_at=NOW + MOMENT) or "").startswith(
            "examination: the probe is analysed"
        )

    @pytest.mark.parametrize("support", sorted(SAME_SUPPORT))
    def test_a_comparison_takes_its_time(self, support: Support) -> None:
        too_short = f"examination: a comparison takes at least {MIN_COMPARED_S:g} s"
        early = {"analysed_at": NOW - LEAST, "shown_at": NOW - LEAST}

        assert self.examined(support, **early, compared_s=MIN_COMPARED_S) is None
        assert self.examined(support, **early, compared_s=MIN_COMPARED_S - 0.000_001) == too_short
        assert self.examined(support, **{**early, "shown_at": NOW - LEAST + MOMENT}) == too_short

    def test_a_claim_of_a_long_look_does_not_stretch_the_time_that_there_was(self) -> None:
        assert self.examined(shown_at=NOW, compared_s=3_600.0) is not None


class TestFeatures:
    """A lead needs every component gone through."""

    def compared(self, *features: Feature, support: Support = Support.STRONG_SAME) -> str | None:
        return why_not(builders.decision(FOUND, support=support, features=features))

    def with_(self, **fields: object) -> tuple[Feature, ...]:
        """Return a full comparison with this finding about the nose."""
        nose = Feature.model_validate({"component": Component.NOSE, "note": "broader at the root", **fields})
        return (nose, *(feature for feature in builders.features() if feature.component is not Component.NOSE))

    @pytest.mark.parametrize("component", Component)
    @pytest.mark.parametrize("support", sorted(LEAD_SUPPORT))
    def test_no_component_is_left_out(self, component: Component, support: Support) -> None:
        others = [feature for feature in builders.features() if feature.component is not component]

        assert (self.compared(*others, support=support) or "").startswith("features: a lead needs every component")

    def test_something_must_be_similar(self) -> None:
        hidden = [Feature(component=each, finding=Finding.NOT_VISIBLE) for each in Component]

        assert self.compared(*hidden) == "features: a lead needs at least one similar component"
        assert self.compared(*hidden[1:], Feature(component=hidden[0].component, finding=Finding.SIMILAR)) is None

    @pytest.mark.parametrize("support", sorted(LEAD_SUPPORT))
    def test_a_major_dissimilarity_that_nothing_explains_rules_out_a_lead(self, support: Support) -> None:
        major = self.with_(finding=Finding.DISSIMILAR, major=True)

        assert (self.compared(*major, support=support) or "").startswith("features: a major dissimilarity")
        assert self.compared(*major, support=Support.LIMITED_SAME) is None
        assert self.compared(*major, support=Support.STRONG_DIFFERENT) is None

    @pytest.mark.parametrize("finding", [Finding.DISSIMILAR, Finding.EXPLAINED])
    def test_a_minor_or_explained_dissimilarity_does_not(self, finding: Finding) -> None:
        assert self.compared(*self.with_(finding=finding)) is None


# --- what it amounts to ---------------------------------------------------------------------------------------------
Opinion: TypeAlias = tuple[Support, str | None]
OPINIONS: Final[list[Opinion]] = [
    *product((Support.STRONG_SAME, Support.MODERATE_SAME, Support.LIMITED_SAME), ("person-1", "person-2")),
    *((support, None) for support in NAMES_NOBODY),
]
PEOPLE: Final = ("reviewer-a", "reviewer-b", "reviewer-c")
SAID: Final = {
    (by, opinion): builders.decision(FOUND, by=by, support=opinion[0], person_id=opinion[1])
    for by, opinion in product(PEOPLE, OPINIONS)
}


def verdict(*opinions: Opinion) -> Outcome | None:
    return policy.verdict([SAID[by, opinion] for by, opinion in zip(PEOPLE, opinions, strict=False)])


def oracle(*opinions: Opinion) -> Outcome | None:
    """Say the same case by case: the first row that holds."""
    leads = [person for support, person in opinions if support in {Support.STRONG_SAME, Support.MODERATE_SAME}]
    others = {support for support, _ in opinions} - {Support.STRONG_SAME, Support.MODERATE_SAME}
    agreed = leads in (["person-1"] * 2, ["person-1"] * 3, ["person-2"] * 2, ["person-2"] * 3)
    rows: list[tuple[bool, Outcome | None]] = [
        (len(opinions) < 2, None),
        (not leads and others == {Support.INCONCLUSIVE}, Outcome.INCONCLUSIVE),
        (not leads, Outcome.NOT_CONFIRMED),
        (agreed and others <= {Support.INCONCLUSIVE, Support.UNSUITABLE}, Outcome.CONFIRMED),
        (len(opinions) == 2, None),
        (len(leads) == 1 and all(support.endswith("_different") for support in others), Outcome.NOT_CONFIRMED),
        (True, Outcome.INCONCLUSIVE),
    ]
    return next(outcome for holds, outcome in rows if holds)


class TestVerdict:
    @pytest.mark.parametrize("count", [0, 1, 2, 3])
    def test_it_is_what_an_oracle_says_of_every_combination(self, count: int) -> None:
        for opinions in product(OPINIONS, repeat=count):
            assert verdict(*opinions) is oracle(*opinions), opinions

    def test_one_person_alone_decides_nothing(self) -> None:
        assert {verdict(*opinions) for n in (0, 1) for opinions in product(OPINIONS, repeat=n)} == {None}

    def test_only_two_leads_to_the_same_person_confirm(self) -> None:
        confirming = {pair for pair in product(OPINIONS, repeat=2) if verdict(*pair) is Outcome.CONFIRMED}

        leads = [opinion for opinion in OPINIONS if opinion[0] in LEAD_SUPPORT]
        assert confirming == {(a, b) for a, b in product(leads, repeat=2) if a[1] == b[1]}

    def test_a_third_look_is_asked_for_only_where_one_of_two_made_a_lead_that_the_other_did_not(self) -> None:
        asked = {pair for pair in product(OPINIONS, repeat=2) if verdict(*pair) is None}

        assert asked == {
            (a, b)
            for a, b in product(OPINIONS, repeat=2)
            if (a[0] in LEAD_SUPPORT or b[0] in LEAD_SUPPORT)
            and not (a[0] in LEAD_SUPPORT and b[0] in LEAD_SUPPORT and a[1] == b[1])
        }
        assert all(verdict(*three) is not None for three in product(OPINIONS, repeat=3)), "there is no fourth"

    def test_of_three_two_must_lead_to_one_person_and_the_third_agree_or_not_be_able_to_tell(self) -> None:
        for three in product(OPINIONS, repeat=3):
            if verdict(*three) is Outcome.CONFIRMED:
                leads = [person for support, person in three if support in LEAD_SUPPORT]
                others = {support for support, _ in three} - LEAD_SUPPORT
                assert len(leads) >= 2
                assert len(set(leads)) == 1
                assert others <= {Support.INCONCLUSIVE, Support.UNSUITABLE}

    def test_whoever_saw_a_difference_or_somebody_else_is_never_outvoted(self) -> None:
        for three in product(OPINIONS, repeat=3):
            against = any(support.endswith("_different") for support, _ in three)
            named = {person for _, person in three if person}
            if against or len(named) > 1:
                assert verdict(*three) is not Outcome.CONFIRMED

    def test_it_does_not_matter_who_spoke_first(self) -> None:
        for three in product(OPINIONS, repeat=3):
            said = [SAID[by, opinion] for by, opinion in zip(PEOPLE, three, strict=True)]
            assert len({policy.verdict(order) for order in permutations(said)}) == 1

    def test_what_was_said_before_does_not_count(self) -> None:
        first, other = (SAID[by, (Support.STRONG_SAME, "person-1")] for by in PEOPLE[:2])
        again = amended(first, support=Support.STRONG_DIFFERENT)

        assert policy.verdict([first, other]) is Outcome.CONFIRMED
        assert policy.verdict([first, other, again]) is None
        assert policy.verdict([first, again]) is None, "one person who speaks twice is one person"
