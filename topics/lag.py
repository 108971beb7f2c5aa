"""How far a group of this house is behind on a topic, asked without being a member of it."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from rfr_stream.errors import Unavailable
from topics import Topic
from topics.tail import partitions_of


class Lag:
    """Asks one cluster, over connections of its own; an async context manager."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Remember where; nothing is connected yet."""
        self._consumer = AIOKafkaConsumer(**options, enable_auto_commit=False)
        self._admin = AIOKafkaAdminClient(**options)

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
            await self._admin.start()
        except KafkaError as error:
            await self._stop()
            msg = f"cluster: {type(error).__name__}"
            raise Unavailable(msg) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def messages(self, topic: Topic, group: str) -> int:
        """Return how many messages of the topic the group has not committed.

        Raises:
            Unavailable: the cluster does not answer, or does not have the topic.

        """
        try:
            partitions = await partitions_of(self._consumer, [topic.name])
            ends = await self._consumer.end_offsets(partitions)
            first = await self._consumer.beginning_offsets(partitions)
            committed = await self._admin.list_consumer_group_offsets(group)
        except KafkaError as error:
            msg = f"cluster: {type(error).__name__}"
            raise Unavailable(msg) from error
        reached = {place: max(known.offset, first.get(place, 0)) for place, known in committed.items()}
        return sum(ends[place] - reached.get(place, first[place]) for place in partitions)

    async def _stop(self) -> None:
        await self._consumer.stop()
        await self._admin.close()
