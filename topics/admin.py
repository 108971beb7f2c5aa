"""Bring a cluster in line with the table: plan | apply; and the table onto file: export.

`plan` compares and changes nothing. `apply` creates what is missing and corrects settings; it adds partitions only
when told to, since that moves keys to other partitions, and it never deletes.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

import topics
from rfr_stream.errors import Unavailable
from rfr_stream.settings import KafkaSettings
from topics._client import client_options, let_in
from topics._compatibility import compatible
from topics._schemas import export
from topics._topic import DAY_MS, MAX_EVENT_BYTES

__all__ = ["Difference", "Kind", "TopicSpec", "apply", "compatible", "export", "plan", "specs"]

DEAD_RETENTION_DAYS: Final = 30
DEAD_PARTITIONS: Final = 1
"""Few, rare, and read by people: one partition keeps them in order of arrival."""
MAX_RECORD_BYTES: Final = 2 * MAX_EVENT_BYTES
"""Of one record on the wire, headers included; larger than any event, so that `decode` is what refuses."""
MAX_DEAD_BYTES: Final = 2 * MAX_RECORD_BYTES
"""A dead letter is the original and what is said about it: whatever could come in can be set aside."""
REQUEST_TIMEOUT_MS: Final = 20_000
SETTLE_S: Final = 30.0
LOOK_EVERY_S: Final = 0.1
_DYNAMIC_TOPIC_CONFIG: Final = 1
"""The protocol's mark of a setting that was made on the topic itself."""
_TOPIC_ALREADY_EXISTS: Final = 36

D = TypeVar("D")


class Kind(StrEnum):
    """How a cluster can differ from the table."""

    MISSING = "missing"
    CONFIG = "config"
    PARTITIONS = "partitions"
    REPLICATION = "replication"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the table says and the cluster does not, or the other way round."""

    kind: Kind
    topic: str
    setting: str = ""
    wanted: str = ""
    found: str = ""

    def __str__(self) -> str:
        """Return one line for people."""
        if self.kind is Kind.MISSING:
            return f"{self.topic}: missing"
        if self.kind is Kind.UNKNOWN:
            return f"{self.topic}: not in the table"
        return f"{self.topic}: {self.setting} is {self.found}, should be {self.wanted}"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic of the cluster should be: one of the table, or the dead letters of one and a group."""

    name: str
    partitions: int
    configs: Mapping[str, str]


def specs(replication_factor: int = 1) -> tuple[TopicSpec, ...]:
    """Return every topic that the table asks for, each followed by its dead letters.

    With replicas, all but one must have a record before it is acknowledged: one broker may be lost, no message may.
    """
    in_sync = {"min.insync.replicas": str(max(1, replication_factor - 1))}
    return tuple(
        TopicSpec(spec.name, spec.partitions, {**spec.configs, **in_sync})
        for topic in topics.ALL
        for spec in _specs_of(topic)
    )


async def plan(settings: KafkaSettings) -> tuple[Difference, ...]:
    """Return what differs between the table and the cluster; empty: nothing.

    Raises:
        Unavailable: the cluster does not answer, or does not permit the question.

    """
    async with connected(settings) as client:
        return await _compare(client, settings)


async def apply(settings: KafkaSettings, *, add_partitions: bool = False) -> tuple[Difference, ...]:
    """Create missing topics, correct settings, and return what still differs.

    Raises:
        Unavailable: the cluster does not answer, or refuses.

    """
    async with connected(settings) as client:
        kinds = {Kind.MISSING, Kind.CONFIG} | ({Kind.PARTITIONS} if add_partitions else set())
        to_do = [each for each in await _compare(client, settings) if each.kind in kinds and not _would_shrink(each)]
        await _create(client, {each.topic for each in to_do if each.kind is Kind.MISSING}, settings)
        await _configure(client, {each.topic for each in to_do if each.kind is Kind.CONFIG}, settings)
        await _grow(client, [each for each in to_do if each.kind is Kind.PARTITIONS])
        return await settled(partial(_compare, client, settings), to_do)


def _specs_of(topic: topics.Topic) -> Iterator[TopicSpec]:
    yield TopicSpec(topic.name, topic.partitions, _configs(topic.retention_days, MAX_RECORD_BYTES))
    for group in topic.groups:
        yield TopicSpec(topic.dead(group), DEAD_PARTITIONS, _configs(DEAD_RETENTION_DAYS, MAX_DEAD_BYTES))


def _configs(retention_days: int, max_bytes: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_days * DAY_MS),
        "retention.bytes": "-1",
        "max.message.bytes": str(max_bytes),
    }


@asynccontextmanager
async def connected(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield a client of this cluster.

    Raises:
        Unavailable: the cluster does not answer, or refuses what is asked of it inside.

    """
    if settings.bootstrap_servers is None:
        msg = "RFR_KAFKA__BOOTSTRAP_SERVERS: which cluster?"
        raise ValueError(msg)
    options = {"bootstrap_servers": settings.bootstrap_servers, "client_id": "rfr-topics", **client_options(settings)}
    client = AIOKafkaAdminClient(request_timeout_ms=REQUEST_TIMEOUT_MS, **options)
    try:
        async with let_in(options):
            await client.start()
        yield client
    except (KafkaError, TimeoutError) as error:
        msg = f"Kafka at {settings.bootstrap_servers}: {type(error).__name__}: {error}"
        raise Unavailable(msg) from error
    finally:
        await client.close()


async def _compare(client: AIOKafkaAdminClient, settings: KafkaSettings) -> tuple[Difference, ...]:
    wanted = {spec.name: spec for spec in specs(settings.replication_factor)}
    there = {each["topic"]: each["partitions"] for each in await client.describe_topics()}
    configs = await _read_configs(client, [name for name in wanted if name in there])
    return (
        *(Difference(Kind.MISSING, name) for name in wanted if name not in there),
        *(
            difference
            for name, values in configs.items()
            for difference in _differences(wanted[name], there[name], values, settings.replication_factor)
        ),
        *(Difference(Kind.UNKNOWN, name) for name in sorted(there) if name.startswith("rfr-") and name not in wanted),
    )


def _differences(
    spec: TopicSpec, partitions: Sequence[Mapping[str, Any]], configs: Mapping[str, str], replication: int
) -> Iterator[Difference]:
    if len(partitions) != spec.partitions:
        yield Difference(Kind.PARTITIONS, spec.name, "partitions", str(spec.partitions), str(len(partitions)))
    replicas = min(len(each["replicas"]) for each in partitions)
    if replicas < replication:
        yield Difference(Kind.REPLICATION, spec.name, "replication", str(replication), str(replicas))
    for setting, wanted in spec.configs.items():
        if configs.get(setting) != wanted:
            yield Difference(Kind.CONFIG, spec.name, setting, wanted, configs.get(setting, "not set"))


async def _read_configs(client: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the settings in force, per topic."""
    return {
        name: {entry[0]: entry[1] for entry in entries} for name, entries in (await _entries(client, names)).items()
    }


async def _entries(client: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, list[tuple[Any, ...]]]:
    """Return the protocol's entries per topic: name, value, read only, source, sensitive, synonyms."""
    if not names:
        return {}
    answers = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    resources = [resource for answer in answers for resource in answer.resources]
    for code, message, _, name, _ in resources:
        raise_on(code, f"{name}: {message}")
    return {resource[3]: resource[4] for resource in resources}


async def _create(client: AIOKafkaAdminClient, names: set[str], settings: KafkaSettings) -> None:
    new = [
        NewTopic(spec.name, spec.partitions, settings.replication_factor, topic_configs=dict(spec.configs))
        for spec in specs(settings.replication_factor)
        if spec.name in names
    ]
    if new:
        answer = await client.create_topics(new, timeout_ms=REQUEST_TIMEOUT_MS)
        for name, code, message in answer.topic_errors:
            if code != _TOPIC_ALREADY_EXISTS:  # another one applied at the same moment
                raise_on(code, f"{name}: {message}")


async def _configure(client: AIOKafkaAdminClient, names: set[str], settings: KafkaSettings) -> None:
    """Set what the table says; what else an operator has set on the topic stays.

    The request replaces all settings of a topic, so the others are sent along.
    """
    entries = await _entries(client, sorted(names))
    changes = [
        ConfigResource(
            ConfigResourceType.TOPIC,
            spec.name,
            {entry[0]: entry[1] for entry in entries[spec.name] if entry[3] == _DYNAMIC_TOPIC_CONFIG}
            | dict(spec.configs),
        )
        for spec in specs(settings.replication_factor)
        if spec.name in names
    ]
    if changes:
        for answer in await client.alter_configs(changes):
            for code, message, _, name in answer.resources:
                raise_on(code, f"{name}: {message}")


def _would_shrink(difference: Difference) -> bool:
    return difference.kind is Kind.PARTITIONS and int(difference.wanted) < int(difference.found)


async def _grow(client: AIOKafkaAdminClient, differences: Sequence[Difference]) -> None:
    if differences:
        more = {each.topic: NewPartitions(int(each.wanted)) for each in differences}
        await client.create_partitions(more, timeout_ms=REQUEST_TIMEOUT_MS)


async def settled(compare: Callable[[], Awaitable[tuple[D, ...]]], done: Collection[D]) -> tuple[D, ...]:
    """Return what differs once the brokers have heard of what was done: the controller answers before they do."""
    async with asyncio.timeout(SETTLE_S):
        while set(done).intersection(left := await compare()):  # noqa: ASYNC110 - Kafka tells nobody
            await asyncio.sleep(LOOK_EVERY_S)
        return left


def raise_on(code: int, message: str) -> None:
    """Raise what Kafka's error code stands for, unless that is nothing."""
    if code:
        raise for_code(code)(message)
