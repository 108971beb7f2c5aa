"""How a submission ends when one of its messages is rejected."""

import builders
import pytest

from rfr_stream.errors import BadImage, Malformed, MissingBlob, NotPermitted, Poisonous, Rejected
from rfr_stream.events import Outcome, SubmissionClosed
from rfr_stream.stages import closed_by

ID = builders.submission().submission_id


def closed(rejection: Rejected, *, demo: bool = False) -> SubmissionClosed:
    return closed_by(rejection, ID, now=builders.NOW, demo=demo)


def test_what_policy_forbids_is_refused() -> None:
    assert closed(NotPermitted("purpose: not through this door")).outcome is Outcome.REFUSED


@pytest.mark.parametrize("fault", [Malformed(), BadImage(), MissingBlob(), Poisonous(), Rejected()])
def test_every_other_fault_is_unreadable(fault: Rejected) -> None:
    assert closed(fault).outcome is Outcome.UNREADABLE


def test_the_sender_is_told_which_field_is_wrong() -> None:
    told = closed(BadImage("image: the file is empty; submit the original file"))
    assert told.detail == "image: the file is empty; submit the original file"
    assert (told.submission_id, told.occurred_at) == (ID, builders.NOW)


def test_a_fault_without_a_message_still_says_something() -> None:
    assert closed(Poisonous()).detail.startswith("The message has killed its process")


def test_a_very_long_fault_is_cut_to_what_an_event_may_hold() -> None:
    assert closed(Malformed("x" * 5_000)).detail == "x" * 500


@pytest.mark.parametrize("demo", [True, False])
def test_a_demonstration_ends_as_one(demo: bool) -> None:  # noqa: FBT001 - parametrised
    assert closed(Malformed(), demo=demo).demo is demo
