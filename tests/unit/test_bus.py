"""What the bus decides before any cluster is asked: where a key goes, and how the house is let in."""

import asyncio
from uuid import uuid4

import pytest
from aiokafka.errors import KafkaTimeoutError, TopicAuthorizationFailedError
from aiokafka.partitioner import DefaultPartitioner
from faststream.security import SASLScram512

from rfr_stream.settings import KafkaSettings, Settings
from topics._client import NotAllowed
from topics.bus import Bus, SendFailed, _partition, _remembered_hash, _security, acknowledged


def test_a_key_goes_where_every_kafka_client_sends_it() -> None:
    partitions = list(range(12))
    keys = [str(uuid4()).encode() for _ in range(200)] + [b"", b"a", b"\xff\x00\xfe"]
    assert [_partition(key, partitions, partitions) for key in keys] == [
        DefaultPartitioner()(key, partitions, partitions) for key in keys
    ]


def test_a_key_that_names_a_case_or_a_person_is_not_remembered() -> None:
    before = _remembered_hash.cache_info().currsize
    _partition(b"case-to-be-forgotten", [0, 1], [0, 1])
    assert _remembered_hash.cache_info().currsize == before
    _partition(str(uuid4()).encode(), [0, 1], [0, 1])
    assert _remembered_hash.cache_info().currsize == before + 1


def test_credentials_reach_the_broker_object_as_they_reach_the_producer() -> None:
    security = _security(
        {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": "rfr",
            "sasl_plain_password": "secret",
        }
    )
    assert isinstance(security, SASLScram512)
    assert (security.username, security.password, security.use_ssl) == ("rfr", "secret", False)


def test_settings_without_a_cluster_name_what_is_missing() -> None:
    with pytest.raises(ValueError, match="RFR_KAFKA__BOOTSTRAP_SERVERS"):
        Bus.from_settings(Settings(), client_id="x")


async def test_nothing_is_sent_before_the_bus_is_open() -> None:
    with pytest.raises(SendFailed):
        await Bus(KafkaSettings(), bootstrap_servers="nowhere:1", client_id="x").send([])


async def test_one_failed_acknowledgement_fails_them_all_and_is_reported_once() -> None:
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[object]] = [loop.create_future() for _ in range(3)]
    for future in futures:
        future.set_exception(KafkaTimeoutError())
    with pytest.raises(SendFailed, match="KafkaTimeoutError"):
        await acknowledged(futures)


async def test_a_send_that_is_refused_names_the_topic() -> None:
    refused: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    refused.set_exception(TopicAuthorizationFailedError("rfr-faces-v1"))
    with pytest.raises(NotAllowed, match="may not write topic rfr-faces-v1; `rfr topics acls plan`"):
        await acknowledged([refused])


def test_the_first_failure_is_the_one_that_counts() -> None:
    bus = Bus(KafkaSettings(), bootstrap_servers="nowhere:1", client_id="x")
    bus.fail(LookupError())
    bus.fail(ValueError())
    assert isinstance(bus.failure, LookupError)
    assert bus.failed.is_set()
