"""What a supervisor signs when leads are taken back."""

from dataclasses import replace

import builders
import pytest
from builders import LATER, NOW
from pydantic import ValidationError

from producers.console.recalling import orders
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.desk import Lead
from rfr_stream.events import WithdrawalOrdered

SUPERVISOR = builders.supervisor()
REASON = "the threshold was set too low"


def lead(name: str = "probe", *, demo: bool = False) -> Lead:
    found = builders.candidates_ready(builders.submission(name), demo=demo)
    return Lead(builders.identification_confirmed(found), 0.5, withdrawal=None, ineligible=None, recipients=())


def ordered(*leads: Lead, reason: str = REASON, by: str = SUPERVISOR.reviewer_id) -> list[WithdrawalOrdered]:
    return orders(leads, reason=reason, ordered_by=by, now=LATER)


def test_each_lead_is_an_order_of_its_own() -> None:
    leads = [lead(name) for name in "abc"]
    made = ordered(*leads)
    assert [order.submission_id for order in made] == [each.said.submission_id for each in leads]
    assert {(order.reason, order.ordered_by, order.occurred_at) for order in made} == {
        (REASON, SUPERVISOR.reviewer_id, LATER)
    }


def test_what_is_made_is_unsigned_and_counts_once_it_is_signed() -> None:
    (unsigned,) = ordered(lead())
    verifier = KeyVerifier()
    assert not verifier.verify(SUPERVISOR.public_key, unsigned)
    assert verifier.verify(SUPERVISOR.public_key, builders.signed(unsigned, SUPERVISOR.reviewer_id))


def test_a_lead_that_is_withdrawn_already_needs_no_order() -> None:
    gone = replace(lead(), withdrawal=builders.identification_withdrawn())
    assert ordered(gone, lead("other")) == ordered(lead("other"))


def test_a_demonstrations_lead_is_withdrawn_by_a_demonstrations_order() -> None:
    assert [order.demo for order in ordered(lead(demo=True), lead("other"))] == [True, False]


@pytest.mark.parametrize(("reason", "by"), [("", "supervisor-1"), ("\x00", "supervisor-1"), (REASON, "A. Name")])
def test_an_order_says_why_and_who_by_a_reference(reason: str, by: str) -> None:
    with pytest.raises(ValidationError):
        ordered(lead(), reason=reason, by=by)


def test_the_same_order_again_is_the_same_event_and_a_later_one_is_another() -> None:
    (first,), (again,) = ordered(lead()), ordered(lead())
    (later,) = orders([lead()], reason=REASON, ordered_by=SUPERVISOR.reviewer_id, now=NOW)
    assert first.event_id == again.event_id != later.event_id
