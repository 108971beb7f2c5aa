"""What may be held where, and which of it may be found now."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import builders
import pytest
from builders import NOW

from rfr_stream import policy
from rfr_stream.events import Disposal, GalleryName
from rfr_stream.policy import EFFECTS, Effect
from rfr_stream.ports import Reference

ENDED: Final = tuple(disposal for disposal, effect in EFFECTS.items() if effect is not Effect.MAY_BE_SEARCHED)
PRESUMED: Final = tuple(disposal for disposal, effect in EFFECTS.items() if effect is Effect.PRESUMED_DELETED)


class TestIneligibility:
    def test_a_complete_record_in_date_may_be_found(self) -> None:
        assert policy.ineligibility(builders.reference(), NOW) is None

    @pytest.mark.parametrize("field", ["legal_basis", "source", "captured_at", "review_due", "restricted", "door"])
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


def of_case(*disposals: Disposal, age: int | None = 30, **said: Any) -> Reference:  # noqa: ANN401
    """Return an image that was taken in the case of which this was said."""
    heard = tuple(builders.case_disposed(disposal=disposal, **said) for disposal in disposals)
    return builders.reference(case_ref="arrest-1", age_at_capture=age, disposed=heard)


class TestDisposals:
    def test_whoever_was_not_convicted_is_not_found(self) -> None:
        assert set(ENDED) == {
            Disposal.NO_FURTHER_ACTION,
            Disposal.DISCONTINUED,
            Disposal.ACQUITTED,
            Disposal.QUASHED,
            Disposal.DELETION_ACCEPTED,
        }

    def test_every_disposal_has_an_effect(self) -> None:
        assert set(EFFECTS) == set(Disposal)

    @pytest.mark.parametrize("disposal", Disposal)
    def test_what_became_of_the_case_says_whether_its_image_is_found(self, disposal: Disposal) -> None:
        expected = disposal if disposal in ENDED else None

        assert policy.ineligibility(of_case(disposal), NOW) == expected
        assert policy.ineligibility(builders.reference(disposal=disposal), NOW) == expected

    def test_another_case_says_nothing_of_the_image(self) -> None:
        assert policy.ineligibility(of_case(Disposal.ACQUITTED, case_ref="arrest-2"), NOW) is None

    def test_another_person_says_nothing_of_the_image(self) -> None:
        assert policy.ineligibility(of_case(Disposal.ACQUITTED, person_id="person-2"), NOW) is None

    def test_an_image_of_no_known_case_ends_with_any_of_its_persons_cases(self) -> None:
        unknown = replace(of_case(Disposal.CONVICTED, Disposal.ACQUITTED), case_ref=None)

        assert policy.ineligibility(unknown, NOW) == "acquitted"

    @pytest.mark.parametrize("gallery", [GalleryName.MISSING, GalleryName.DECEASED])
    def test_a_case_says_nothing_of_an_image_held_to_find_its_person(self, gallery: GalleryName) -> None:
        reference = replace(of_case(Disposal.ACQUITTED), gallery=gallery, disposal=Disposal.ACQUITTED)

        assert policy.ineligibility(reference, NOW) is None

    @pytest.mark.parametrize("disposal", PRESUMED)
    def test_an_exceptional_reason_on_record_keeps_an_adults_image(self, disposal: Disposal) -> None:
        assert policy.ineligibility(of_case(disposal, exceptional_reason="a current threat"), NOW) is None

    @pytest.mark.parametrize("age", [0, 17, None])
    def test_a_childs_image_needs_somebody_elses_word_too(self, age: int | None) -> None:
        reason = {"exceptional_reason": "a current threat"}

        assert policy.ineligibility(of_case(Disposal.ACQUITTED, age=age, **reason), NOW) == "acquitted"
        agreed = of_case(Disposal.ACQUITTED, age=age, authorised_by="chief-1", **reason)
        assert policy.ineligibility(agreed, NOW) is None

    def test_no_reason_keeps_an_image_whose_deletion_was_accepted(self) -> None:
        kept = of_case(Disposal.DELETION_ACCEPTED, exceptional_reason="any", authorised_by="chief-1")

        assert policy.ineligibility(kept, NOW) == "deletion_accepted"

    def test_an_exceptional_reason_keeps_no_image_whose_own_record_has_lapsed(self) -> None:
        kept = replace(of_case(Disposal.ACQUITTED, exceptional_reason="any"), review_due=NOW)

        assert policy.ineligibility(kept, NOW) == "review_overdue"
