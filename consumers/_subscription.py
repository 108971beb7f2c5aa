"""Runs a stage over one message at a time, as a FastStream subscriber that no acknowledgement policy can betray.

FastStream reads and calls; what a message means, when its offset moves and when the process must end is decided here.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import nullcontext

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from faststream.exceptions import StopConsume
from faststream.kafka.message import KafkaAckableMessage

from consumers._envelope import Incoming, Reading
from consumers._journal import Journal
from consumers._membership import NOWHERE
from consumers._patience import Abandoned
from consumers._watermark import Watermark
from consumers._work import Run, Work
from rfr_stream import telemetry
from topics.bus import Bus

DRAIN_S = 8.0

log = telemetry.logger(__name__)


async def parse(message: Incoming) -> KafkaAckableMessage:
    """Wrap a record without reading its headers: FastStream's own parser loses a message whose headers are no text."""
    return KafkaAckableMessage(body=message.value or b"", raw_message=message, headers={}, consumer=None)


async def unwrap(message: KafkaAckableMessage) -> Incoming:
    """Hand the record itself to the stage."""
    return message.raw_message


class Subscription(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    """One stage that takes one message at a time; FastStream calls `consume` with each."""

    def __init__(
        self, bus: Bus, reading: Reading, run: Run, *, journal: Callable[[], Journal], ceiling: int, poll_every_s: float
    ) -> None:
        """Prepare; open nothing. `subscribe` is the way to make one."""
        self._bus, self._reading, self._run = bus, reading, run
        self._open_journal, self._ceiling, self._poll_every_s = journal, ceiling, poll_every_s
        self._work: Work | None = None
        self._epoch = 0
        self._watermark = Watermark(reading.group, reading.topic.name, self._kafka)
        self._idle, self._letting_go = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self.consumer: Callable[[], AIOKafkaConsumer | None] = lambda: None

    async def consume(self, message: Incoming) -> None:
        """Answer one message, publish, commit its offset.

        Raises:
            StopConsume: something failed that only a new process can mend; FastStream takes no further message.

        """
        if self._bus.failure is not None:
            raise StopConsume
        self._idle.clear()
        try:
            await self._consume(message)
        except Abandoned:
            return  # uncommitted: the partition is being taken away, and the message comes again
        except Exception as error:
            log.event("task.failed", level=logging.CRITICAL, error=error, task=self._reading.group)
            self._bus.fail(error)
            raise StopConsume from error
        finally:
            self._idle.set()

    async def _consume(self, message: Incoming) -> None:
        epoch = self._epoch
        self._work = self._work or Work(self._reading, self._run, journal=self._open_journal(), ceiling=self._ceiling)
        alive = asyncio.create_task(self._stay_member())
        try:
            async with self._bus.one_suspect if self._work.suspects(message) else nullcontext():
                answers = await self._work.answers([message], let_go=self._letting_go)
            await self._bus.send(self._work.records([message], answers))
        finally:
            alive.cancel()
        if epoch == self._epoch:
            self._watermark.rise([message])
            await self._watermark.commit()
            self._watermark.measure_lag()

    async def _stay_member(self) -> None:
        """Poll for nothing while the stage waits for a dependency."""
        while (consumer := self._kafka()) is not None:
            await asyncio.sleep(self._poll_every_s)
            if self._work is not None and self._work.longest_s() < 4 * self._poll_every_s:
                await consumer.getmany(NOWHERE)
            self._watermark.measure_lag()

    def _kafka(self) -> AIOKafkaConsumer | None:
        """Return the consumer; FastStream's in-memory broker has none, and no offsets either."""
        consumer = self.consumer()
        return consumer if isinstance(consumer, AIOKafkaConsumer) else None

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finish and commit the message in hand; what comes later counts no more."""
        self._letting_go.set()
        try:
            await asyncio.wait_for(self._idle.wait(), DRAIN_S)
        except TimeoutError:
            self._epoch += 1
        self._watermark.forget()
        if revoked:
            log.event("partitions.revoked", group=self._reading.group, count=len(revoked))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Go on with these."""
        self._letting_go.clear()
        log.event("partitions.assigned", group=self._reading.group, count=len(assigned))
