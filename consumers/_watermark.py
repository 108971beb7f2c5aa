"""How far a group has come on each partition, and telling Kafka so: explicit offsets, and only of what is finished."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from consumers._envelope import Incoming
from rfr_stream import telemetry

log = telemetry.logger(__name__)


class Watermark:
    """Everything below it is finished. Whoever raises it does so in the order in which messages came."""

    def __init__(self, group: str, topic: str, consumer: Callable[[], AIOKafkaConsumer | None]) -> None:
        self._group, self._topic, self._consumer = group, topic, consumer
        self._finished: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._committing = asyncio.Lock()

    def rise(self, messages: Sequence[Incoming]) -> None:
        """Count these as finished, and with them all that came before."""
        self._finished.update((message.partition, message.offset + 1) for message in messages)

    def forget(self) -> None:
        """Count nothing as ours: the partitions are somebody else's now."""
        self._finished, self._committed = {}, {}

    async def commit(self) -> None:
        """Tell Kafka what it does not know yet; a refusal means that the messages come again elsewhere."""
        async with self._committing:
            consumer, known = self._consumer(), self._committed
            news = dict(self._finished.items() - known.items())
            if not news or consumer is None:
                return
            try:
                await consumer.commit({TopicPartition(self._topic, part): offset for part, offset in news.items()})
            except (CommitFailedError, IllegalStateError) as refusal:
                log.event("commit.refused", level=logging.WARNING, error=refusal, group=self._group)
            else:
                known |= news

    def measure_lag(self) -> None:
        """Say how much lies above it, where that is known."""
        consumer = self._consumer()
        if consumer is None:
            return
        for place in consumer.assignment():
            end, finished = consumer.highwater(place), self._finished.get(place.partition)
            if end is not None and finished is not None:
                telemetry.LAG.labels(self._group, place.partition).set(max(0, end - finished))
