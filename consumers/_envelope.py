"""From Kafka's record to an event, and from a stage's result to records. Pure: both runtimes and the tests share it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from random import getrandbits
from typing import TypeAlias

from aiokafka import ConsumerRecord

from consumers._dead_letters import Origin, dead_letter, outcome_of
from rfr_stream.errors import NotPermitted, Rejected, settle
from rfr_stream.events import Event
from topics import Record, Topic, topic_of
from topics.tail import moment

Result: TypeAlias = Event | Rejected | None
"""What a stage makes of one message: what follows, why nothing can, or nothing because its effect is the result."""

Incoming: TypeAlias = "ConsumerRecord[bytes, bytes]"

_TRACEPARENT_PARTS = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """A result, and the records that say it, in order."""

    result: Result
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """One group's reading of one topic: all that is needed to open a message and to answer it."""

    topic: Topic
    group: str
    demo: bool

    def open(self, message: Incoming) -> Event | Rejected:
        """Return the event, or why it may not be opened here."""
        event = settle(self.topic.decode, as_record(message))
        if isinstance(event, Rejected):
            return event
        if event.demo is not self.demo:
            return NotPermitted(f"demo: {event.demo} where the stage's is {self.demo}")
        return event

    def answer(self, message: Incoming, result: Result, *, now: datetime) -> Answer:
        """Return the result with the records that say it."""
        if isinstance(result, Rejected):
            return Answer(result, tuple(self._refuse(message, result, now)))
        if result is None:
            return Answer(None, ())
        return Answer(result, (topic_of(result).encode(result, traceparent=next_span(message)),))

    def _refuse(self, message: Incoming, fault: Rejected, now: datetime) -> Iterator[Record]:
        record, origin = as_record(message), Origin(message.partition, message.offset, moment(message.timestamp))
        outcome = outcome_of(record, fault, topic=self.topic, now=now, demo=self.demo)
        if outcome is not None:
            yield topic_of(outcome).encode(outcome, traceparent=next_span(message))
        yield dead_letter(record, fault, topic=self.topic, group=self.group, origin=origin, now=now)


def as_record(message: Incoming) -> Record:
    """Return the part of a consumer's record that its sender wrote."""
    return Record(message.topic, message.key, message.value, tuple(message.headers))


def next_span(message: Incoming) -> str:
    """Return a W3C traceparent: the message's own trace, or a new one, with a span of its own."""
    inherited = next((value for name, value in message.headers if name == "traceparent" and value), b"")
    parts = inherited.decode(errors="replace").split("-")
    span = f"{getrandbits(64) | 1:016x}"
    if len(parts) >= _TRACEPARENT_PARTS and len(parts[1]) == 32 and parts[1].isalnum():  # noqa: PLR2004 - hex digits
        return f"00-{parts[1]}-{span}-{parts[3][:2]}"
    return f"00-{getrandbits(128) | 1:032x}-{span}-01"
