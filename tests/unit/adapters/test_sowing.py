"""What may be planted as a known answer, and what it says once its turn has come."""

import builders
import pytest

from rfr_stream.adapters import _sowing as sowing
from rfr_stream.errors import NotPermitted
from rfr_stream.events import GalleryName, Purpose
from rfr_stream.ports import Seed


def test_a_seed_says_that_it_was_submitted_now() -> None:
    planted = Seed(builders.image_submitted(), "person-1")

    event = sowing.submitted(planted, builders.LATER)

    assert (event.occurred_at, event.submission.submitted_at) == (builders.LATER, builders.LATER)
    assert event.event_id == planted.event.event_id
    as_planted = event.submission.model_copy(update={"submitted_at": planted.event.submission.submitted_at})
    assert as_planted == planted.event.submission


class TestWhatMayBePlanted:
    def test_a_person_who_is_held_where_the_search_goes(self) -> None:
        sowing.require_sowable(Seed(builders.image_submitted(), "person-1"), {GalleryName.CUSTODY}, in_earnest=False)

    def test_nobody_needs_no_reference(self) -> None:
        sowing.require_sowable(Seed(builders.image_submitted(), None), set(), in_earnest=False)

    @pytest.mark.parametrize("held_in", [set(), {GalleryName.MISSING}])
    def test_nobody_is_blamed_for_an_answer_that_could_not_be_given(self, held_in: set[GalleryName]) -> None:
        suspect = builders.image_submitted(builders.submission(purpose=Purpose.SUSPECT))  # custody alone

        with pytest.raises(NotPermitted, match=r"^person_id: none of the galleries"):
            sowing.require_sowable(Seed(suspect, "person-1"), held_in, in_earnest=False)

    def test_a_request_that_somebody_waits_for_is_none(self) -> None:
        with pytest.raises(NotPermitted, match=r"^submission_id: submitted in earnest"):
            sowing.require_sowable(Seed(builders.image_submitted(), None), set(), in_earnest=True)
