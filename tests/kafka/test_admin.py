"""Plan and apply against a real cluster: the table is brought about, and nothing is ever taken away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

import topics
from rfr_stream.errors import Unavailable
from rfr_stream.settings import KafkaSettings
from topics import admin
from topics.admin import Difference, Kind
from topics.embedded import EmbeddedKafka

FACES = topics.FACES.name


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    """A cluster of this file alone, empty at first."""
    kafka = EmbeddedKafka(tmp_path_factory.mktemp("admin"))
    asyncio.run(kafka.start())
    yield KafkaSettings(bootstrap_servers=kafka.bootstrap_servers)
    asyncio.run(kafka.stop())


@asynccontextmanager
async def operator(cluster: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Somebody who changes the cluster by hand."""
    client = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the brokers have heard of it: the controller answers before they do."""
    async with asyncio.timeout(20):
        while not await done():  # noqa: ASYNC110 - Kafka tells nobody
            await asyncio.sleep(0.1)


async def create(cluster: KafkaSettings, name: str, partitions: int) -> None:
    async with operator(cluster) as client:
        await client.create_topics([NewTopic(name, partitions, 1)])

        async def there() -> bool:
            return name in await client.list_topics()

        await until(there)


async def delete(cluster: KafkaSettings, *names: str) -> None:
    async with operator(cluster) as client:
        await client.delete_topics(list(names))

        async def gone() -> bool:
            return not set(names) & set(await client.list_topics())

        await until(gone)


async def configure(cluster: KafkaSettings, name: str, **settings: str) -> None:
    async with operator(cluster) as client:
        values = {key.replace("_", "."): value for key, value in settings.items()}
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, values)])

    async def changed() -> bool:
        return values.items() <= (await read(cluster, name)).items()

    await until(changed)


async def read(cluster: KafkaSettings, name: str) -> dict[str, str]:
    async with operator(cluster) as client:
        (answer,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        return {entry[0]: entry[1] for entry in answer.resources[0][4]}


async def test_an_empty_cluster_lacks_the_whole_table_and_planning_changes_nothing(cluster: KafkaSettings) -> None:
    expected = {Difference(Kind.MISSING, spec.name) for spec in admin.specs()}
    assert set(await admin.plan(cluster)) == expected
    assert set(await admin.plan(cluster)) == expected


async def test_applying_brings_the_table_about_and_again_changes_nothing(cluster: KafkaSettings) -> None:
    assert await admin.apply(cluster) == ()
    assert await admin.plan(cluster) == ()
    assert await admin.apply(cluster) == ()


async def test_dead_letters_are_kept_thirty_days_and_hold_whatever_came_in(cluster: KafkaSettings) -> None:
    await admin.apply(cluster)
    main, dead = await read(cluster, FACES), await read(cluster, topics.FACES.dead("rfr-embedding"))
    assert dead["retention.ms"] == str(30 * 86_400_000)
    assert int(dead["max.message.bytes"]) > int(main["max.message.bytes"])


async def test_every_reader_of_a_topic_has_dead_letters_of_its_own(cluster: KafkaSettings) -> None:
    await admin.apply(cluster)
    async with operator(cluster) as client:
        there = set(await client.list_topics())
    assert {topic.dead(group) for topic in topics.ALL for group in topic.groups} <= there


async def test_a_setting_changed_by_hand_is_found_and_put_right_and_others_stay(cluster: KafkaSettings) -> None:
    await admin.apply(cluster)
    await configure(cluster, FACES, retention_ms="1000", cleanup_policy="compact", segment_ms="3600000")
    found = await admin.plan(cluster)
    assert {(each.kind, each.topic, each.setting) for each in found} == {
        (Kind.CONFIG, FACES, "retention.ms"),
        (Kind.CONFIG, FACES, "cleanup.policy"),
        (Kind.CONFIG, FACES, "max.message.bytes"),  # the request by hand replaced all settings
    }
    assert f"{FACES}: retention.ms is 1000, should be 604800000" in map(str, found)
    assert await admin.apply(cluster) == ()
    assert (await read(cluster, FACES))["segment.ms"] == "3600000"


async def test_partitions_are_added_only_when_told_to(cluster: KafkaSettings) -> None:
    await delete(cluster, FACES)
    await create(cluster, FACES, 3)
    few = Difference(Kind.PARTITIONS, FACES, "partitions", "12", "3")
    assert await admin.apply(cluster) == (few,)
    assert await admin.apply(cluster, add_partitions=True) == ()


async def test_too_many_partitions_are_reported_and_left(cluster: KafkaSettings) -> None:
    await delete(cluster, FACES)
    await create(cluster, FACES, 13)
    many = Difference(Kind.PARTITIONS, FACES, "partitions", "12", "13")
    assert await admin.apply(cluster, add_partitions=True) == (many,)
    await delete(cluster, FACES)


async def test_a_topic_that_is_not_in_the_table_is_reported_and_never_deleted(cluster: KafkaSettings) -> None:
    await admin.apply(cluster)
    await create(cluster, "rfr-forgotten-v0", 1)
    await create(cluster, "somebody-elses", 1)
    assert await admin.apply(cluster) == (Difference(Kind.UNKNOWN, "rfr-forgotten-v0"),)
    await delete(cluster, "rfr-forgotten-v0", "somebody-elses")


async def test_fewer_replicas_than_wanted_are_reported(cluster: KafkaSettings) -> None:
    await admin.apply(cluster)
    found = await admin.plan(cluster.model_copy(update={"replication_factor": 3}))
    assert len([each for each in found if each.kind is Kind.REPLICATION]) == len(admin.specs())


async def test_with_three_replicas_two_must_have_a_record_before_it_is_acknowledged(cluster: KafkaSettings) -> None:
    await admin.apply(cluster)
    found = await admin.plan(cluster.model_copy(update={"replication_factor": 3}))
    settings = {(each.setting, each.wanted, each.found) for each in found if each.kind is Kind.CONFIG}
    assert settings == {("min.insync.replicas", "2", "1")}


async def test_a_cluster_that_refuses_is_an_error_and_not_a_silence(cluster: KafkaSettings) -> None:
    await admin.apply(cluster)
    await delete(cluster, FACES)
    with pytest.raises(Unavailable, match="InvalidReplicationFactor"):
        await admin.apply(cluster.model_copy(update={"replication_factor": 3}))
    assert Difference(Kind.MISSING, FACES) in await admin.plan(cluster)


async def test_a_cluster_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9: KafkaConnectionError"):
        await admin.plan(KafkaSettings(bootstrap_servers="127.0.0.1:9"))


async def test_without_an_address_the_setting_is_named() -> None:
    with pytest.raises(ValueError, match="RFR_KAFKA__BOOTSTRAP_SERVERS"):
        await admin.plan(KafkaSettings())


def test_a_difference_reads_as_one_line() -> None:
    missing = Difference(Kind.MISSING, FACES)
    assert str(missing) == f"{FACES}: missing"
    assert str(replace(missing, kind=Kind.UNKNOWN)) == f"{FACES}: not in the table"
