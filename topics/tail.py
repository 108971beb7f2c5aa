"""Reads topics without being a member of any group: the tail of one, or everything from now on."""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from rfr_stream.errors import Unavailable
from topics import Record
from topics._client import not_allowed

_LAST_MS: Final = 253_402_300_799_000
"""The last second of the year 9999, in Kafka's milliseconds."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A record, and where it lies."""

    record: Record
    partition: int
    offset: int
    at: datetime
    """When it was sent, by its sender's clock."""


def moment(timestamp_ms: int) -> datetime:
    """Return a record's timestamp, which its sender chose freely, as the nearest moment from 1970 to 9999."""
    return datetime.fromtimestamp(min(max(timestamp_ms, 0), _LAST_MS) / 1000, UTC)


async def read_tail(options: Mapping[str, Any], name: str, *, last: int = sys.maxsize) -> list[Kept]:
    """Return at most the `last` records of each partition, oldest first within one; without `last`, all of them.

    Raises:
        Unavailable: the cluster does not answer, or does not have the topic.

        NotAllowed: this process may not read it.

    """
    async with _reader(options) as consumer:
        partitions = await partitions_of(consumer, [name])
        consumer.assign(partitions)
        first = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, max(first[partition], ends[partition] - last))
        kept: list[Kept] = []
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            batches = await consumer.getmany(timeout_ms=200)
            kept += [_kept(each) for each in chain(*batches.values())]
        return kept


async def follow(options: Mapping[str, Any], names: Sequence[str], *, from_start: bool = False) -> AsyncIterator[Kept]:
    """Yield the records of these topics as they come: from now on, or from the first that is kept.

    Raises:
        Unavailable: the cluster does not answer, or does not have one of the topics.

        NotAllowed: this process may not read one of them.

    """
    async with _reader(options) as consumer:
        partitions = await partitions_of(consumer, names)
        consumer.assign(partitions)
        await (consumer.seek_to_beginning(*partitions) if from_start else consumer.seek_to_end(*partitions))
        async for message in consumer:
            yield _kept(message)


@asynccontextmanager
async def _reader(options: Mapping[str, Any]) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(**options, enable_auto_commit=False, isolation_level="read_committed")
    try:
        await consumer.start()
        yield consumer
    except TopicAuthorizationFailedError as error:
        right = f"read topic {error.args[0]}"
        raise not_allowed(right) from error
    except KafkaError as error:
        msg = f"cluster: {type(error).__name__}"
        raise Unavailable(msg) from error
    finally:
        await consumer.stop()


async def partitions_of(consumer: AIOKafkaConsumer, names: Sequence[str]) -> list[TopicPartition]:
    """Return all partitions of these topics.

    Raises:
        Unavailable: the cluster does not have one of them.

        TopicAuthorizationFailedError: this process may not describe one.

    """
    client = consumer._client  # noqa: SLF001 - no public way to ask for topics before assigning them
    await client.set_topics(names)
    for name in names:
        if name in client.cluster.unauthorized_topics:
            raise TopicAuthorizationFailedError(name)
        if not consumer.partitions_for_topic(name):
            msg = f"cluster: no topic {name}; `rfr topics apply` creates what is missing"
            raise Unavailable(msg)
    return [TopicPartition(name, number) for name in names for number in sorted(consumer.partitions_for_topic(name))]


def _kept(message: "ConsumerRecord[bytes, bytes]") -> Kept:
    record = Record(message.topic, message.key, message.value, tuple(message.headers))
    return Kept(record, message.partition, message.offset, moment(message.timestamp))
