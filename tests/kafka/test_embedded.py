"""The embedded broker: a real one, and never an orphan."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from rfr_stream.errors import Unavailable
from topics.embedded import EmbeddedKafka

OWNER = """
import asyncio, sys
from pathlib import Path
from topics.embedded import EmbeddedKafka

async def main():
    async with EmbeddedKafka(Path(sys.argv[1])) as kafka:
        print(kafka.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""
"""A process that owns a broker, prints the JVM's pid and waits to be ended."""


async def create(broker: EmbeddedKafka, topic: str) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await client.start()
    try:
        await client.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await client.close()


async def say(broker: EmbeddedKafka, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap_servers, acks="all", request_timeout_ms=5_000
    ) as out:
        await out.send_and_wait(topic, value)


async def hear(broker: EmbeddedKafka, topic: str) -> bytes:
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=broker.bootstrap_servers, group_id="listeners", auto_offset_reset="earliest"
    ) as heard:
        async with asyncio.timeout(30):
            value = (await heard.getone()).value
            assert isinstance(value, bytes)
            return value


def brokers_of(data_dir: Path) -> list[psutil.Process]:
    """Every process that names the data directory on its command line, guard and JVM."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() in {"java", "python", "python3"} and process.pid != os.getpid():
                found += [process] * (f"{data_dir}/kafka" in " ".join(process.cmdline()))
    return found


def eventually(condition: Callable[[], bool], within_s: float = 30.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Another process that owns a broker, and the JVM's pid."""
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone, so that it may damage it."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


async def test_a_group_reads_what_was_written(broker: EmbeddedKafka) -> None:
    await create(broker, "greetings")
    await say(broker, "greetings", b"hello")
    assert await hear(broker, "greetings") == b"hello"


async def test_data_and_address_survive_a_power_cut(broker: EmbeddedKafka) -> None:
    await create(broker, "lasting")
    await say(broker, "lasting", b"still here")
    address, before = broker.bootstrap_servers, broker.pid
    broker.kill()
    await broker.restart()
    assert broker.bootstrap_servers == address
    assert broker.pid != before
    assert await hear(broker, "lasting") == b"still here"


async def test_a_topic_nobody_created_does_not_come_into_being(broker: EmbeddedKafka) -> None:
    with pytest.raises(KafkaError):
        await say(broker, "never-created", b"?")
    client = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await client.start()
    try:
        assert "never-created" not in await client.list_topics()
    finally:
        await client.close()


async def test_a_later_broker_of_the_same_data_has_the_same_address(tmp_path: Path) -> None:
    async with EmbeddedKafka(tmp_path) as first:
        address = first.bootstrap_servers
        await create(first, "lasting")
        await say(first, "lasting", b"still here")
    assert brokers_of(tmp_path) == []
    async with EmbeddedKafka(tmp_path) as second:
        assert second.bootstrap_servers == address
        assert await hear(second, "lasting") == b"still here"


async def test_one_data_directory_has_one_broker(broker: EmbeddedKafka) -> None:
    second = EmbeddedKafka(broker.data_dir)
    with pytest.raises(Unavailable, match="another process runs the embedded broker"):
        await second.start()
    assert len(brokers_of(broker.data_dir)) == 2, "guard and JVM of the first, still running"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_broker_outlives_its_owner(owner: tuple["subprocess.Popen[str]", int], how: int, tmp_path: Path) -> None:
    process, jvm = owner
    assert psutil.pid_exists(jvm)
    process.send_signal(how)
    process.wait(60)
    assert eventually(lambda: not psutil.pid_exists(jvm))
    assert eventually(lambda: brokers_of(tmp_path) == [])


def test_no_broker_outlives_its_guard(owner: tuple["subprocess.Popen[str]", int]) -> None:
    _, jvm = owner
    guard = psutil.Process(jvm).parent()
    assert guard is not None
    guard.kill()
    assert eventually(lambda: not psutil.pid_exists(jvm))


def test_a_ctrl_c_in_the_terminal_reaches_the_owner_alone(owner: tuple["subprocess.Popen[str]", int]) -> None:
    process, jvm = owner
    assert os.getsid(jvm) != os.getsid(process.pid)
    assert os.getpgid(jvm) != os.getpgid(process.pid)


async def test_after_its_owner_was_killed_the_next_broker_waits_for_the_data(
    owner: tuple["subprocess.Popen[str]", int], tmp_path: Path
) -> None:
    process, jvm = owner
    process.kill()
    process.wait()
    async with EmbeddedKafka(tmp_path) as successor:
        assert successor.pid != jvm
        assert not psutil.pid_exists(jvm)


async def test_a_port_that_is_taken_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port}: already in use"):
            await EmbeddedKafka(tmp_path, port=port).start()
    assert brokers_of(tmp_path) == []


async def test_a_broker_that_cannot_start_says_why_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"(?s)ended before it answered.*heap"):
        await EmbeddedKafka(tmp_path, heap_mb=1).start()
    assert brokers_of(tmp_path) == []


def cut_short(cache: Path) -> None:
    (archive,) = cache.rglob("classes-*.jsa")
    archive.chmod(0o600)
    os.truncate(archive, 200_000)


async def test_an_archive_of_classes_that_was_cut_short_costs_one_start(tmp_path: Path, own_cache: Path) -> None:
    async with EmbeddedKafka(tmp_path):
        pass
    cut_short(own_cache)
    with pytest.raises(Unavailable, match="ended before it answered"):
        await EmbeddedKafka(tmp_path).start()
    async with EmbeddedKafka(tmp_path) as kafka:
        await create(kafka, "after")


async def test_a_broker_that_takes_too_long_is_taken_down(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"did not answer within 0\.1 s"):
        await EmbeddedKafka(tmp_path, start_s=0.1).start()
    assert brokers_of(tmp_path) == []


async def test_without_java_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"java: not found.*apt-get install"):
        await EmbeddedKafka(tmp_path).start()


def test_only_the_owner_may_look_into_the_brokers_folder(broker: EmbeddedKafka) -> None:
    assert (broker.data_dir / "kafka").stat().st_mode & 0o077 == 0
