"""What becomes of a message that is itself at fault: kept whole beside the reason, and its sender is told.

A dead letter is the original's key, value and headers, byte for byte, with `x-rfr-*` headers that say why and whence.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from rfr_stream.errors import Poisonous, Rejected, settle
from rfr_stream.events import Event, Submission, SubmissionClosed, SubmissionEvent
from rfr_stream.stages import closed_by
from topics import FACES, FAULT, SUBMISSIONS, TEMPLATES, Record, Topic

MAX_ERROR: Final = 500
MAX_ATTEMPT_DIGITS: Final = 4

MACHINE_HALF: Final = (SUBMISSIONS, FACES, TEMPLATES)
"""Where a rejected message means that a submission ends; keyed by submission_id.

Not CANDIDATES: a list that the ledger refuses (another one is under review already) must end nothing.
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record lay when it was rejected, and since when it is there."""

    partition: int
    offset: int
    seen_at: datetime


def dead_letter(
    record: Record, rejection: Rejected, *, topic: Topic, group: str, now: datetime, origin: Origin | None = None
) -> Record:
    """Return the record for this topic's and group's dead letters.

    A message that was replayed and fails again keeps its first-seen time, and its attempts are counted on.
    """
    before = record.fault("attempt")
    facts = {
        "reason": rejection.reason,
        "error": str(rejection)[:MAX_ERROR],
        "topic": record.topic,
        "attempt": str(int(before) + 1 if _is_count(before) else 1),
        "first-seen": record.fault("first-seen")[:MAX_ERROR] or (origin.seen_at if origin else now).isoformat(),
        "failed-at": now.isoformat(),
        "group": group,
    }
    if origin is not None:
        facts |= {"partition": str(origin.partition), "offset": str(origin.offset)}
    kept = tuple((name, value) for name, value in record.headers if not name.startswith(FAULT))
    why = tuple((FAULT + name, fact.encode()) for name, fact in facts.items())
    # Kafka can hold a record without key and value, but no client of ours can send one.
    value = b"" if record.key is None and record.value is None else record.value
    return Record(topic.dead(group), record.key, value, kept + why)


def _is_count(text: str) -> bool:
    """Whether this can be our own count of attempts; a sender may have written anything there."""
    return text.isdecimal() and len(text) <= MAX_ATTEMPT_DIGITS


def refusal(event: Event, rejection: Rejected, topic: Topic, group: str) -> Record:
    """Return the dead letter of an event that was rejected long after it was read, and knows its record no more."""
    return dead_letter(topic.encode(event), rejection, topic=topic, group=group, now=event.occurred_at)


def outcome_of(
    record: Record, rejection: Rejected, *, topic: Topic, now: datetime, demo: bool
) -> SubmissionClosed | None:
    """Return what the submission's sender is told, where the record is an event of a submission of this world.

    What is none was sent by somebody who need not be the submission's sender, whatever its key says.
    """
    if topic not in MACHINE_HALF:
        return None
    if isinstance(rejection, Poisonous):  # never opened again; nobody who cannot kill a process gets one called so
        submission_id = _key_of(record)
        return None if submission_id is None else closed_by(rejection, submission_id, now=now, demo=demo)
    about = _submission_of(record, topic, demo=demo)
    if about is None:
        return None
    return closed_by(rejection, about.submission_id, now=now, demo=demo, case_ref=about.case_ref)


def _key_of(record: Record) -> UUID | None:
    try:
        return UUID((record.key or b"").decode())
    except ValueError:
        return None


def _submission_of(record: Record, topic: Topic, *, demo: bool) -> Submission | None:
    event = settle(topic.decode, record)
    if isinstance(event, SubmissionEvent) and event.demo is demo:
        return event.submission
    return None
