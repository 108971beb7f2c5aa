"""A bus in memory for the tests of topology: stages among each other, with the wire contract between them.

Every record is encoded, decoded and answered by the code that runs on Kafka; there are no offsets, partitions,
groups or time. It proves who hears whom, and never delivery: that is proven in `kafka/`.
"""

import asyncio
import tempfile
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TypeAlias

from aiokafka import ConsumerRecord

import topics
from consumers._envelope import Incoming, Reading
from consumers._journal import Journal
from consumers._pipeline import Stage
from consumers._work import Work
from rfr_stream.errors import Malformed
from rfr_stream.events import Event
from rfr_stream.settings import KafkaSettings
from topics import Record
from topics.bus import Bus

Heard: TypeAlias = dict[str, list[Event | Record]]
"""By topic, in order: events, and records where the topic is one of dead letters."""


async def run_stages(stages: Sequence[Stage], said: Iterable[Event | Record], *, demo: bool = False) -> Heard:
    """Put these on their topics and let the stages work until all is quiet; return what every topic has heard."""
    heard: Heard = defaultdict(list)
    waiting = deque(map(_encoded, said))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as closing:
        works = [(stage, _work(stage, closing, Path(folder), demo=demo)) for stage in stages]
        while waiting:
            record = waiting.popleft()
            heard[record.topic].append(_decoded(record))
            for stage, work in works:
                if stage.source.name == record.topic:
                    message = as_message(record)
                    waiting += work.records([message], await work.answers([message], let_go=asyncio.Event()))
    return dict(heard)


_offsets = count()


def as_message(record: Record, *, partition: int = 0, offset: int | None = None) -> Incoming:
    """Return the record as a consumer is handed it."""
    place = next(_offsets) if offset is None else offset
    sizes = len(record.key or b""), len(record.value or b"")
    return ConsumerRecord(
        record.topic, partition, place, 1_767_225_600_000, 0, record.key, record.value, None, *sizes, record.headers
    )


def _work(stage: Stage, closing: ExitStack, folder: Path, *, demo: bool) -> Work:
    journal = Journal.open(folder, stage.group)
    closing.callback(journal.close, clean=True)
    return Work(Reading(stage.source, stage.group, demo), stage.run, journal=journal, ceiling=1_000)


def _encoded(said: Event | Record) -> Record:
    return said if isinstance(said, Record) else topics.topic_of(said).encode(said)


def _decoded(record: Record) -> Event | Record:
    topic = next((topic for topic in topics.ALL if topic.name == record.topic), None)
    if topic is None:
        return record
    try:
        return topic.decode(record)
    except Malformed:
        return record


class RecordingBus(Bus):
    """A bus that keeps what is sent instead of sending it, for FastStream's in-memory broker."""

    def __init__(self) -> None:
        """Connect nothing, ever."""
        super().__init__(KafkaSettings(), bootstrap_servers="nowhere:9092", client_id="test")
        self.sent: list[Record] = []

    async def queue(self, records: Sequence[Record]) -> Sequence["asyncio.Future[object]"]:
        """Keep them; all are acknowledged at once."""
        self.sent += records
        acknowledged: list[asyncio.Future[object]] = [asyncio.get_running_loop().create_future() for _ in records]
        for acknowledgement in acknowledged:
            acknowledgement.set_result(None)
        return acknowledged
