"""Asks a cluster whether it lets a process do what it must, before the first message.

A refused read can look like a topic on which nothing comes, and a refused dead letter shows with the first bad message.
Kafka says to whoever asks what they may do to a topic (KIP-430); aiokafka speaks older versions of that request.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from rfr_stream.errors import Unavailable
from topics._client import name_in, not_allowed
from topics.access import Resource, Right

_REFUSED: Final = 29
"""A topic's error code."""
_NOT_SAID: Final = -(2**31)
"""Instead of operations, from a cluster that does not tell."""

_TEXT: Final = String("utf-8")
_PARTITION: Final = (
    *(("error_code", Int16), ("partition", Int32), ("leader", Int32), ("leader_epoch", Int32)),
    *((name, Array(Int32)) for name in ("replicas", "in_sync", "offline")),
)
_TOPIC: Final = (
    *(("error_code", Int16), ("name", _TEXT), ("is_internal", Boolean)),
    *(("partitions", Array(*_PARTITION)), ("operations", Int32)),
)


class _Answer(Response):  # type: ignore[misc] # aiokafka is untyped
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT))),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        ("topics", Array(*_TOPIC)),
        ("cluster_operations", Int32),
    )


class _Question(RequestStruct):  # type: ignore[misc] # as above
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("topics", Array(_TEXT)), ("create", Boolean), ("cluster_operations", Boolean), ("topic_operations", Boolean)
    )


class _Metadata(Request[_Question]):  # type: ignore[misc] # as above
    API_KEY = 3

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = list(topics)

    def build(self, kind: type[_Question]) -> _Question:
        return kind(self._topics, False, False, True)  # noqa: FBT003 - in the schema's order


async def require(client: AIOKafkaClient, rights: Collection[Right], options: Mapping[str, Any]) -> None:
    """Return if the cluster lets whoever these options name do all of this.

    Raises:
        NotAllowed: it does not; every topic and group is named.

        Unavailable: it does not answer.

    """
    try:
        missing = [*await _missing_of_topics(client, rights), *await _missing_of_groups(client, rights)]
    except KafkaError as error:
        msg = f"cluster: {type(error).__name__}"
        raise Unavailable(msg) from error
    if missing:
        raise not_allowed(*map(str, missing), who=name_in(options))


async def _missing_of_topics(client: AIOKafkaClient, rights: Collection[Right]) -> list[Right]:
    wanted = [right for right in rights if right.resource is Resource.TOPIC]
    names = {right.name for right in wanted}
    answer = await client.send(client.get_random_node(), _Metadata(names)) if names else None
    permitted = {name: 0 if code == _REFUSED else bits for code, name, _, _, bits in (answer.topics if answer else ())}
    return [right for right in wanted if not _permits(permitted[right.name], right)]


def _permits(bits: int, right: Right) -> bool:
    return bits == _NOT_SAID or bool(bits >> right.operation & 1)


async def _missing_of_groups(client: AIOKafkaClient, rights: Collection[Right]) -> list[Right]:
    return [right for right in rights if right.resource is Resource.GROUP and not await _may_join(client, right.name)]


async def _may_join(client: AIOKafkaClient, group: str) -> bool:
    """Whether the cluster says where the group is kept; that it cannot say so at the moment is no refusal."""
    try:
        await client.coordinator_lookup(CoordinationType.GROUP, group)
    except GroupAuthorizationFailedError:
        return False
    except KafkaError:
        return True
    return True
