"""What the relay takes for published."""

from dataclasses import replace

import builders

from consumers._relay import GROUP, _lies_in
from rfr_stream.errors import NotPermitted
from rfr_stream.ports import Outgoing
from topics import DECISIONS, IDENTIFICATIONS, OUTCOMES, SUBMISSIONS

LEAD = Outgoing(builders.identification_confirmed())
SOWN = Outgoing(builders.image_submitted())
REFUSED = Outgoing(builders.decision(), NotPermitted())
DEAD = DECISIONS.dead(GROUP)


def there(row: Outgoing, *topics: str) -> set[tuple[str, str]]:
    return {(topic, str(row.event.event_id)) for topic in topics}


def test_a_lead_is_published_once_it_lies_on_its_own_topic() -> None:
    assert _lies_in(there(LEAD, IDENTIFICATIONS.name), LEAD)
    assert not _lies_in(there(LEAD), LEAD)


def test_an_image_that_goes_round_again_is_published_once_it_lies_among_the_submissions() -> None:
    assert _lies_in(there(SOWN, SUBMISSIONS.name), SOWN)
    assert not _lies_in(there(SOWN, OUTCOMES.name), SOWN)


def test_a_forged_id_on_another_topic_swallows_no_lead() -> None:
    assert not _lies_in(there(LEAD, DEAD, OUTCOMES.name), LEAD)


def test_a_refusal_is_published_once_it_lies_among_the_dead_letters() -> None:
    assert _lies_in(there(REFUSED, DEAD), REFUSED)
    assert not _lies_in(there(REFUSED, IDENTIFICATIONS.name, OUTCOMES.name, DECISIONS.name), REFUSED)


def test_a_reminder_is_sent_though_what_it_reminds_of_lies_on_its_topic() -> None:
    """Or whoever restarts the relay at the wrong moment would silence it until the next one."""
    withdrawal = Outgoing(builders.identification_withdrawn())
    assert _lies_in(there(withdrawal, IDENTIFICATIONS.name), withdrawal)
    assert not _lies_in(there(withdrawal, IDENTIFICATIONS.name), replace(withdrawal, again=True))
