"""A dead letter is the original and the reason, and a rejected submission's sender is told."""

from uuid import uuid4

import builders
import pytest

import topics
from consumers._dead_letters import Origin, dead_letter, outcome_of, refusal
from rfr_stream.errors import BadImage, Malformed, NotPermitted, Poisonous, Rejected
from rfr_stream.events import Outcome
from topics import Record

WHEN = builders.LATER
ORIGIN = Origin(partition=3, offset=41, seen_at=builders.NOW)


def letter_of(record: Record, text: str = "value: not JSON") -> Record:
    return dead_letter(record, Malformed(text), topic=topics.FACES, group="rfr-embedding", now=WHEN, origin=ORIGIN)


def test_it_goes_to_the_dead_letters_of_this_topic_and_group() -> None:
    assert letter_of(Record("rfr-faces-v1", b"k", b"v")).topic == "rfr-faces-v1-embedding-dead"


def test_the_original_is_kept_byte_for_byte_before_what_is_said_about_it() -> None:
    original = Record("rfr-faces-v1", b"\xff\x00", b"\x80{", (("a", b"\xfe"), ("a", b""), ("ce_id", b"1")))
    letter = letter_of(original)
    assert (letter.key, letter.value, letter.headers[:3]) == (original.key, original.value, original.headers)
    assert {name: letter.header(name) for name, _ in letter.headers[3:]} == {
        "x-rfr-reason": "malformed",
        "x-rfr-error": "value: not JSON",
        "x-rfr-topic": "rfr-faces-v1",
        "x-rfr-partition": "3",
        "x-rfr-offset": "41",
        "x-rfr-attempt": "1",
        "x-rfr-first-seen": builders.NOW.isoformat(),
        "x-rfr-failed-at": WHEN.isoformat(),
        "x-rfr-group": "rfr-embedding",
    }


def test_a_replayed_message_that_fails_again_counts_on_and_keeps_when_it_was_first_seen() -> None:
    before = (("x-rfr-attempt", b"2"), ("x-rfr-first-seen", b"2026-01-01T00:00:00+00:00"), ("x-rfr-reason", b"old"))
    letter = letter_of(Record("rfr-faces-v1", b"k", b"v", before))
    assert letter.header("x-rfr-attempt") == "3"
    assert letter.header("x-rfr-first-seen") == "2026-01-01T00:00:00+00:00"
    assert [name for name, _ in letter.headers].count("x-rfr-reason") == 1


@pytest.mark.parametrize("forged", [b"-1", b"\xff", b"9" * 5_000], ids=["sign", "bytes", "long"])
def test_a_forged_attempt_counts_as_none(forged: bytes) -> None:
    assert letter_of(Record("t", b"k", b"v", (("x-rfr-attempt", forged),))).header("x-rfr-attempt") == "1"


def test_a_long_reason_is_cut() -> None:
    assert len(letter_of(Record("t", b"k", b"v"), "x" * 9_000).header("x-rfr-error")) == 500


def test_an_event_that_was_refused_long_after_it_was_read_is_kept_too() -> None:
    decision = builders.decision()
    letter = refusal(decision, NotPermitted("reviewer_id: unknown"), topics.DECISIONS, "rfr-review")
    assert letter.topic == "rfr-decisions-v1-review-dead"
    assert letter.header("ce_id") == str(decision.event_id)
    assert letter.header("x-rfr-reason") == "not_permitted"


EVENTS = {
    topics.SUBMISSIONS: builders.image_submitted,
    topics.FACES: builders.face_detected,
    topics.TEMPLATES: builders.face_embedded,
}


@pytest.mark.parametrize("topic", EVENTS, ids=lambda topic: topic.noun)
@pytest.mark.parametrize(("rejection", "said"), [(BadImage(), Outcome.UNREADABLE), (NotPermitted(), Outcome.REFUSED)])
def test_a_rejection_in_the_machines_half_closes_the_submission(
    topic: topics.Topic, rejection: Rejected, said: Outcome
) -> None:
    event = EVENTS[topic](builders.submission())
    outcome = outcome_of(topic.encode(event), rejection, topic=topic, now=WHEN, demo=False)
    assert outcome is not None
    assert (outcome.submission_id, outcome.outcome, outcome.demo) == (event.submission.submission_id, said, False)
    assert outcome.case_ref == event.submission.case_ref


def test_a_poisonous_record_closes_the_submission_of_its_key_unopened() -> None:
    key = uuid4()
    record = Record(topics.FACES.name, str(key).encode(), b"{")
    outcome = outcome_of(record, Poisonous(), topic=topics.FACES, now=WHEN, demo=False)
    assert outcome is not None
    assert (outcome.submission_id, outcome.case_ref) == (key, None)


def test_junk_under_somebodys_submission_closes_nothing() -> None:
    junk = Record(topics.FACES.name, str(uuid4()).encode(), b"{}")
    assert outcome_of(junk, Malformed(), topic=topics.FACES, now=WHEN, demo=False) is None


def test_a_demonstrations_event_closes_nothing_in_operation() -> None:
    record = topics.SUBMISSIONS.encode(builders.image_submitted(demo=True))
    assert outcome_of(record, NotPermitted(), topic=topics.SUBMISSIONS, now=WHEN, demo=False) is None


@pytest.mark.parametrize("topic", [topics.CANDIDATES, topics.DECISIONS, topics.ENROLMENTS, topics.OUTCOMES])
def test_a_rejection_elsewhere_closes_nothing(topic: topics.Topic) -> None:
    record = Record(topic.name, str(uuid4()).encode(), b"{}")
    assert outcome_of(record, Poisonous(), topic=topic, now=WHEN, demo=False) is None


@pytest.mark.parametrize("key", [None, b"", b"case-1", b"\xff\xfe"])
def test_a_key_that_names_no_submission_closes_nothing(key: bytes | None) -> None:
    assert outcome_of(Record("t", key, b"{}"), Poisonous(), topic=topics.FACES, now=WHEN, demo=False) is None
