"""The rules a lawyer would ask to read."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import builders
import pytest
from builders import NOW

from rfr_stream import policy
from rfr_stream.errors import NotPermitted
from rfr_stream.events import GalleryName, Outcome, Purpose, ReviewDecided, Source, Support
from rfr_stream.policy import LEAD_SUPPORT, RULES, SAME_SUPPORT
from rfr_stream.ports import Reviewer

FOUND = builders.candidates_ready()


class TestSearchable:
    def test_asking_for_nothing_means_all_that_the_purpose_opens(self) -> None:
        asked = builders.submission(purpose=Purpose.MISSING)

        assert policy.searchable(asked) == (GalleryName.CUSTODY, GalleryName.DECEASED, GalleryName.MISSING)

    def test_what_is_asked_for_is_not_widened(self) -> None:
        asked = builders.submission(purpose=Purpose.MISSING, galleries=(GalleryName.MISSING,))

        assert policy.searchable(asked) == (GalleryName.MISSING,)

    def test_a_suspect_is_not_sought_among_the_missing(self) -> None:
        asked = builders.submission(galleries=(GalleryName.CUSTODY, GalleryName.MISSING))

        with pytest.raises(NotPermitted, match=r"^galleries: .*missing$"):
            policy.searchable(asked)

    @pytest.mark.parametrize("purpose", [Purpose.VICTIM, Purpose.WITNESS])
    def test_people_suspected_of_nothing_need_an_authoriser(self, purpose: Purpose) -> None:
        with pytest.raises(NotPermitted, match=r"^authoriser: "):
            policy.searchable(builders.submission(purpose=purpose))

        with pytest.raises(NotPermitted, match=r"^authoriser: somebody else"):
            policy.searchable(builders.submission(purpose=purpose, authoriser="officer-1", necessity="the only lead"))

        with pytest.raises(NotPermitted, match=r"^necessity: "):
            policy.searchable(builders.submission(purpose=purpose, authoriser="chief-1"))

        asked = builders.submission(purpose=purpose, authoriser="chief-1", necessity="the only lead")
        assert GalleryName.CUSTODY in policy.searchable(asked)

    def test_each_door_admits_its_own_purposes_alone(self) -> None:
        def admitted(purpose: Purpose, source: Source) -> bool:
            try:
                policy.searchable(builders.submission(purpose=purpose, source=source, authoriser="chief-1"))
            except NotPermitted as refusal:
                return not str(refusal).startswith("purpose: ")
            return True

        closed = {(p, s) for p, s in product(Purpose, Source) if not admitted(p, s)}

        assert closed == {
            (Purpose.SUSPECT, Source.MISSING_PERSON),
            (Purpose.SUSPECT, Source.DECEASED_PERSON),
            (Purpose.VICTIM, Source.MISSING_PERSON),
            (Purpose.VICTIM, Source.DECEASED_PERSON),
            (Purpose.WITNESS, Source.MISSING_PERSON),
            (Purpose.WITNESS, Source.DECEASED_PERSON),
            (Purpose.MISSING, Source.DECEASED_PERSON),
            (Purpose.DECEASED, Source.PUBLIC_APPEAL),
            (Purpose.DECEASED, Source.MISSING_PERSON),
        }

    def test_every_purpose_has_a_rule(self) -> None:
        assert set(RULES) == set(Purpose)


class TestIneligibility:
    def test_a_complete_record_in_date_may_be_found(self) -> None:
        assert policy.ineligibility(builders.reference(), NOW) is None

    @pytest.mark.parametrize("field", ["legal_basis", "source", "captured_at", "review_due", "restricted"])
    def test_whatever_is_missing_fails_closed(self, field: str) -> None:
        without: dict[str, Any] = {field: None}

        assert policy.ineligibility(builders.reference(**without), NOW) == f"{field}_missing"

    @pytest.mark.parametrize("field", ["legal_basis", "source"])
    def test_an_empty_text_is_missing_too(self, field: str) -> None:
        without: dict[str, Any] = {field: ""}

        assert policy.ineligibility(builders.reference(**without), NOW) == f"{field}_missing"

    def test_a_restricted_image_is_not_found(self) -> None:
        assert policy.ineligibility(builders.reference(restricted=True), NOW) == "restricted"

    def test_an_image_from_the_future_is_not_found(self) -> None:
        reference = builders.reference(captured_at=NOW + timedelta(seconds=1))

        assert policy.ineligibility(reference, NOW) == "captured_in_the_future"
        assert policy.ineligibility(replace(reference, captured_at=NOW), NOW) is None

    def test_an_image_is_not_found_from_the_moment_its_review_is_due(self) -> None:
        reference = builders.reference(review_due=NOW)

        assert policy.ineligibility(reference, NOW) == "review_overdue"
        assert policy.ineligibility(reference, NOW - timedelta(microseconds=1)) is None


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

        policy.require_competent(decision, builders.reviewer(competent_until=NOW + timedelta(microseconds=1)), NOW)
        with pytest.raises(NotPermitted, match=r"^reviewer_id: training has lapsed"):
            policy.require_competent(decision, builders.reviewer(competent_until=NOW), NOW)


class TestObjection:
    def test_a_full_record_about_the_list_counts(self) -> None:
        assert policy.objection(builders.decision(FOUND), FOUND, []) is None

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
        why = policy.objection(decision, FOUND, [])

        assert why is not None
        assert why.startswith(f"{field}: ")

    def test_nobody_decides_twice(self) -> None:
        first = builders.decision(FOUND, by="reviewer-a")
        second = builders.decision(FOUND, by="reviewer-a", support=Support.STRONG_DIFFERENT)

        assert policy.objection(builders.decision(FOUND, by="reviewer-b"), FOUND, [first]) is None
        assert (policy.objection(second, FOUND, [first]) or "").startswith("reviewer_id: ")

    @pytest.mark.parametrize("support", sorted(set(Support) - LEAD_SUPPORT))
    def test_only_a_lead_needs_features_on_record(self, support: Support) -> None:
        decision = builders.decision(FOUND, support=support, similarities=(), dissimilarities=())

        assert policy.objection(decision, FOUND, []) is None


class TestVerdict:
    def decided(self, *supports: Support, people: tuple[str, str] = ("person-1", "person-1")) -> Outcome | None:
        return policy.verdict(
            [
                builders.decision(FOUND, by=by, support=support, person_id=person if support in SAME_SUPPORT else None)
                for by, support, person in zip(("reviewer-a", "reviewer-b"), supports, people, strict=False)
            ]
        )

    @pytest.mark.parametrize("support", Support)
    def test_one_person_alone_decides_nothing(self, support: Support) -> None:
        assert policy.verdict([]) is None
        assert self.decided(support) is None

    def test_only_two_leads_to_the_same_person_confirm(self) -> None:
        pairs = product(Support, repeat=2)

        confirming = {pair for pair in pairs if self.decided(*pair) is Outcome.CONFIRMED}

        assert confirming == set(product({Support.STRONG_SAME, Support.MODERATE_SAME}, repeat=2))

    def test_leads_to_different_people_are_disagreement(self) -> None:
        supports = (Support.STRONG_SAME, Support.STRONG_SAME)

        assert self.decided(*supports, people=("person-1", "person-2")) is Outcome.INCONCLUSIVE

    @pytest.mark.parametrize("support", sorted(set(Support) - LEAD_SUPPORT))
    def test_one_lead_alone_is_disagreement(self, support: Support) -> None:
        assert self.decided(Support.STRONG_SAME, support) is Outcome.INCONCLUSIVE
        assert self.decided(support, Support.MODERATE_SAME) is Outcome.INCONCLUSIVE

    def test_two_who_cannot_tell_are_inconclusive(self) -> None:
        assert self.decided(Support.INCONCLUSIVE, Support.INCONCLUSIVE) is Outcome.INCONCLUSIVE

    @pytest.mark.parametrize(
        "pair",
        [
            pair
            for pair in product(sorted(set(Support) - LEAD_SUPPORT), repeat=2)
            if pair != (Support.INCONCLUSIVE, Support.INCONCLUSIVE)
        ],
    )
    def test_two_without_a_lead_confirm_nothing(self, pair: tuple[Support, Support]) -> None:
        assert self.decided(*pair) is Outcome.NOT_CONFIRMED
