"""A cluster of somebody else's, with TLS and credentials: the whole way in, and a plain word where there is none."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import lab
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from chain import variables
from pydantic import SecretStr
from secured import PLAIN_PASSWORD, SCRAM_PASSWORD, USER, Authority, SecuredKafka

import topics
from consumers._pipeline import Stage, mount
from rfr_stream.errors import Unavailable
from rfr_stream.settings import KafkaSettings, PipelineSettings, Settings
from topics import admin
from topics._client import NotLetIn, client_options
from topics.bus import Bus
from topics.tail import read_tail

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRONG = "wrong horse"
WAYS_IN = ["PLAIN", "SCRAM-SHA-512", "certificate"]


@dataclass(frozen=True)
class Cluster:
    """A secured broker, whom it trusts, and who is trusted."""

    kafka: SecuredKafka
    authority: Authority
    stranger: Authority

    def settings(self, way: str = "SCRAM-SHA-512", **changes: Any) -> KafkaSettings:  # noqa: ANN401 - any setting
        """Return the settings of a client that comes in this way, but for these changes."""
        if way == "certificate":
            client = self.authority.certify("client")
            ours = {
                "bootstrap_servers": self.kafka.mutual,
                "security_protocol": "SSL",
                "cert_file": client.certificate,
                "key_file": client.key,
            }
        else:
            password = PLAIN_PASSWORD if way == "PLAIN" else SCRAM_PASSWORD
            ours = {
                "bootstrap_servers": self.kafka.sasl,
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": way,
                "sasl_username": USER,
                "sasl_password": password,
            }
        return KafkaSettings.model_validate({**ours, "ca_file": self.authority.file, **changes})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    folder = tmp_path_factory.mktemp("secured")
    authority, stranger = Authority.founded(folder / "trusted"), Authority.founded(folder / "unknown")
    kafka = SecuredKafka(folder / "data", authority.certify("broker"), authority)
    await asyncio.to_thread(kafka.format)
    async with kafka:
        yield Cluster(kafka, authority, stranger)


@pytest.mark.parametrize("way", WAYS_IN)
async def test_the_table_is_applied_through_every_way_in(cluster: Cluster, way: str) -> None:
    assert await admin.apply(cluster.settings(way)) == ()
    assert await admin.plan(cluster.settings(way)) == ()


@pytest.mark.parametrize("way", WAYS_IN)
async def test_what_the_bus_publishes_a_pipeline_answers_through_every_way_in(
    cluster: Cluster, way: str, tmp_path: Path
) -> None:
    settings, topic = cluster.settings(way), lab.topic_named(f"secured-{way.lower()}")
    group = f"rfr-{topic.noun}"
    await create(settings, topic.name, topic.dead(group), topics.OUTCOMES.name)
    events = [lab.decision(uuid4(), number) for number in range(40)]
    async with opened(settings) as bus:
        await bus.send([topic.encode(event) for event in events])
        pipeline = mount(
            bus,
            Stage(group, topic, lab.answer),
            settings=PipelineSettings(),
            instance="0",
            demo=False,
            journal_dir=tmp_path,
            membership=lab.BRIEF,
        )
        await bus.broker.start()
        running = asyncio.create_task(pipeline.run())

        async def answered() -> set[str]:
            kept = await read_tail(bus.options, topics.OUTCOMES.name)
            return {(each.record.key or b"").decode() for each in kept}

        await lab.until(answered, {event.key for event in events}.issubset)
        pipeline.stop()
        await running
        await bus.broker.stop()


def opened(settings: KafkaSettings) -> Bus:
    assert settings.bootstrap_servers
    return Bus(settings, bootstrap_servers=settings.bootstrap_servers, client_id="test")


async def create(settings: KafkaSettings, *names: str) -> None:
    """Create topics that do not exist yet."""
    client = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers, **client_options(settings))
    await client.start()
    try:
        there = await client.list_topics()
        await client.create_topics([NewTopic(name, 4, 1) for name in names if name not in there])
    finally:
        await client.close()


def refused(cluster: Cluster, what: str) -> KafkaSettings:
    """Return settings that are wrong in one place."""
    elsewhere = cluster.kafka.sasl.replace("127.0.0.1", "localhost")
    return {
        "password, SCRAM": cluster.settings("SCRAM-SHA-512", sasl_password=SecretStr(WRONG)),
        "password, PLAIN": cluster.settings("PLAIN", sasl_password=SecretStr(WRONG)),
        "name": cluster.settings("SCRAM-SHA-512", sasl_username="nobody"),
        "mechanism": cluster.settings("SCRAM-SHA-512", sasl_mechanism="SCRAM-SHA-256"),
        "authority": cluster.settings(ca_file=cluster.stranger.file),
        "the system's authorities": cluster.settings(ca_file=None),
        "address": cluster.settings(bootstrap_servers=elsewhere),
        "plain text where TLS is spoken": cluster.settings(security_protocol="SASL_PLAINTEXT"),
        "TLS where plain text is spoken": cluster.settings(bootstrap_servers=cluster.kafka.bootstrap_servers),
        "no SASL": cluster.settings(security_protocol="SSL"),
        "no certificate": cluster.settings("certificate", cert_file=None, key_file=None),
    }[what]


CREDENTIALS = "RFR_KAFKA__SASL_USERNAME and RFR_KAFKA__SASL_PASSWORD: "
FAULTS = {
    "password, SCRAM": CREDENTIALS,
    "password, PLAIN": CREDENTIALS,
    "name": CREDENTIALS,
    "mechanism": "RFR_KAFKA__SASL_MECHANISM: ",
    "authority": "RFR_KAFKA__CA_FILE: ",
    "the system's authorities": "RFR_KAFKA__CA_FILE: ",
    "address": "RFR_KAFKA__BOOTSTRAP_SERVERS: ",
    "plain text where TLS is spoken": "RFR_KAFKA__SECURITY_PROTOCOL: ",
    "TLS where plain text is spoken": "RFR_KAFKA__SECURITY_PROTOCOL: ",
    "no certificate": "RFR_KAFKA__SECURITY_PROTOCOL or RFR_KAFKA__CERT_FILE: ",
    "no SASL": "RFR_KAFKA__SECURITY_PROTOCOL or RFR_KAFKA__CERT_FILE: ",
}
"""What can be wrong, and how the error begins."""


@pytest.mark.parametrize("what", FAULTS)
async def test_a_setting_that_is_refused_is_named_and_the_secret_is_not(
    cluster: Cluster, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    # Below, aiokafka writes what it sends; `telemetry` lets only its errors through.
    caplog.set_level(logging.INFO, "aiokafka")
    settings = refused(cluster, what)
    with pytest.raises(NotLetIn) as of_bus:
        await opened(settings).__aenter__()
    with pytest.raises(NotLetIn) as of_admin:
        await admin.apply(settings)
    for error in (of_bus.value, of_admin.value):
        assert str(error).startswith(FAULTS[what])
        assert "127.0.0.1" in str(error) or "localhost" in str(error)
    for secret in (WRONG, PLAIN_PASSWORD, SCRAM_PASSWORD):
        assert secret not in f"{of_bus.value} {of_admin.value} {caplog.text}"


async def test_a_cluster_that_is_away_is_no_fault_of_the_settings(cluster: Cluster) -> None:
    away = cluster.settings(bootstrap_servers="127.0.0.1:9")
    with pytest.raises(Unavailable):
        await admin.apply(away)


@pytest.mark.parametrize("command", [["topics", "apply"], ["up", "--stage", "detection"]])
async def test_the_command_line_says_it_in_a_sentence(cluster: Cluster, command: list[str], tmp_path: Path) -> None:
    done = await rfr(Settings(data_dir=tmp_path, kafka=refused(cluster, "password, SCRAM")), WRONG, *command)
    assert done.returncode == 1
    assert CREDENTIALS in done.stderr
    assert "Traceback" not in done.stderr
    assert WRONG not in done.stdout + done.stderr


async def test_the_command_line_comes_in(cluster: Cluster, tmp_path: Path) -> None:
    done = await rfr(Settings(data_dir=tmp_path, kafka=cluster.settings()), SCRAM_PASSWORD, "topics", "apply")
    assert (done.returncode, done.stderr) == (0, "")


async def rfr(settings: Settings, password: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as an operator would: the address as an option, everything else in the environment."""
    servers = settings.kafka.bootstrap_servers or ""
    said = [each for each in variables(settings) if "SASL_PASSWORD" not in each and "BOOTSTRAP" not in each]
    said.append(f"RFR_KAFKA__SASL_PASSWORD={password}")
    command = ["env", *said, "COLUMNS=300", sys.executable, "-m", "rfr_stream", "--bootstrap-servers", servers, *words]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)
