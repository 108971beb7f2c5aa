"""Connect and publish. One `Bus` per process: FastStream's broker for what is read, one producer for all that is sent.

The producer is aiokafka's own, opened with the broker's connection options. FastStream's costs four times as much per
message (a command object, a codec and a middleware chain for bytes that are encoded already) and can neither keep the
order of a batch nor hand out the acknowledgements; so its broker runs `consumer_only`.

Acknowledged by all in-sync replicas, idempotent, keyed by what the event is about: events of one key keep their order.
"""

import asyncio
import logging
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ClusterAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError
from aiokafka.partitioner import murmur2
from faststream.kafka import KafkaBroker
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from rfr_stream import telemetry
from rfr_stream.errors import Unavailable
from rfr_stream.events import Event
from rfr_stream.settings import KafkaSettings, Settings
from topics import Record, topic_of
from topics._client import NotAllowed, client_options, let_in, name_in, not_allowed
from topics._rights import require
from topics.access import Right

SEND_TIMEOUT_S: Final = 60
"""How long a record may wait for its acknowledgement; a broker's restart fits in."""

log = telemetry.logger(__name__)


class SendFailed(Exception):
    """Records were not acknowledged, and whether they were written is unknown.

    Not an `RfrError`: nobody may handle it. The process ends without committing, and the messages come again.
    """


class Bus:
    """The way to Kafka and back. An async context manager: inside, it can publish."""

    ask_again_s = 60.0
    """How long a right that is withdrawn may go unnoticed by a consumer, which would try for ever."""

    def __init__(
        self, settings: KafkaSettings, *, bootstrap_servers: str, client_id: str, rights: Collection[Right] = ()
    ) -> None:
        """Prepare; connect nothing.

        Args:
            settings: how to be let in

            bootstrap_servers: host:port,...

            client_id: for the broker's log

            rights: what this process must be allowed to do; the bus does not open without

        """
        options = client_options(settings)
        self.rights = rights
        self.options = {**options, "bootstrap_servers": bootstrap_servers, "client_id": client_id}
        self._producer: AIOKafkaProducer | None = None
        self._watching: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None
        self.failed = asyncio.Event()
        self.one_suspect = asyncio.Lock()
        """Held while a message runs that was in hand when a process died: one at a time among all stages here."""
        self.broker = KafkaBroker(
            bootstrap_servers,
            client_id=client_id,
            security=_security(options),
            consumer_only=True,  # ours is the producer, and topics are made by `rfr topics apply`
            apply_types=False,
            logger=logging.getLogger("faststream"),
            graceful_timeout=8.0,
        )

    @classmethod
    def from_settings(cls, settings: Settings, *, client_id: str, rights: Collection[Right] = ()) -> Self:
        """Prepare as the process's settings say.

        Raises:
            ValueError: they name no cluster.

        """
        servers = settings.kafka.bootstrap_servers
        if servers is None:
            msg = "RFR_KAFKA__BOOTSTRAP_SERVERS: name the cluster (host:port,...)"
            raise ValueError(msg)
        name = f"{client_id}-{settings.instance}"
        return cls(settings.kafka, bootstrap_servers=servers, client_id=name, rights=rights)

    def fail(self, error: BaseException) -> None:
        """Say that this process cannot go on; whoever serves the bus ends it, with nothing more committed."""
        self.failure = self.failure or error
        self.failed.set()

    async def publish(self, events: Sequence[Event]) -> None:
        """Send events to their topics; return once all are acknowledged.

        Raises:
            SendFailed: at least one was not.

            NotAllowed: as `queue`.

        """
        await self.send([topic_of(event).encode(event) for event in events])

    async def send(self, records: Sequence[Record]) -> None:
        """Send records as they are; return once all are acknowledged.

        Raises:
            SendFailed: at least one was not.

            NotAllowed: as `queue`.

        """
        await acknowledged(await self.queue(records))

    async def queue(self, records: Sequence[Record]) -> Sequence["asyncio.Future[object]"]:
        """Hand records to the producer in order; return their acknowledgements, to be awaited by `acknowledged`.

        Waits only while a partition's buffer is full, or for the first metadata of a topic.

        Raises:
            SendFailed: the producer takes no more.

            NotAllowed: this process may not write to one of the topics.

        """
        if self._producer is None:
            msg = "the bus is not open"
            raise SendFailed(msg)
        send = self._producer.send
        try:
            return [
                await send(record.topic, record.value, record.key, headers=list(record.headers)) for record in records
            ]
        except KafkaError as error:
            raise _failure(error) from error

    async def __aenter__(self) -> Self:
        producer = AIOKafkaProducer(
            **self.options,
            acks="all",
            enable_idempotence=True,
            linger_ms=1,  # a batch's records are queued in one step of the loop; this lets other stages join
            max_batch_size=262_144,
            max_request_size=2 * 2**20,  # a dead letter is its original and a few headers more
            request_timeout_ms=SEND_TIMEOUT_S * 1000,
            partitioner=_partition,
        )
        async with let_in(self.options):
            try:
                await self._start(producer)
            except BaseException:
                await producer.stop()  # it is half open
                raise
        self._producer = producer
        if self.rights:
            self._watching = asyncio.create_task(self._watch_rights(producer))
        return self

    async def _start(self, producer: AIOKafkaProducer) -> None:
        try:
            await producer.start()
        except ClusterAuthorizationFailedError as error:  # who may write no topic gets no producer's id
            await require(producer.client, self.rights, self.options)
            right = "write any topic"
            raise not_allowed(right, who=name_in(self.options)) from error
        await require(producer.client, self.rights, self.options)

    async def _watch_rights(self, producer: AIOKafkaProducer) -> None:
        """Ask now and then whether the cluster still allows what must be; this process cannot go on without."""
        while self.failure is None:
            await asyncio.sleep(self.ask_again_s)
            try:
                await require(producer.client, self.rights, self.options)
            except Unavailable:
                continue  # whoever needs the cluster now says so
            except NotAllowed as error:
                log.event("task.failed", level=logging.CRITICAL, error=error, task="rights")
                self.fail(error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watching is not None:
            self._watching.cancel()
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()


async def acknowledged(acknowledgements: Sequence["asyncio.Future[object]"]) -> None:
    """Wait until the cluster has all records.

    Raises:
        SendFailed: at least one was not acknowledged.

        NotAllowed: this process may not write to one of the topics.

    """
    try:
        for acknowledgement in acknowledgements:
            await acknowledgement
    except KafkaError as error:
        for other in acknowledgements:
            other.add_done_callback(_retrieve)
        raise _failure(error) from error


def _failure(error: KafkaError) -> SendFailed | NotAllowed:
    match error:
        case TopicAuthorizationFailedError(args=(str(topic), *_)):
            return not_allowed(f"write topic {topic}")
        case _:
            return SendFailed(type(error).__name__)


def _retrieve(acknowledgement: "asyncio.Future[object]") -> None:
    """Look at an error that stands for all the others, so that asyncio does not report each."""
    if not acknowledgement.cancelled():
        acknowledgement.exception()


_SUBMISSION: Final = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A key that is a submission's id."""

_remembered_hash = lru_cache(maxsize=4_096)(murmur2)


def _hash(key: bytes) -> int:
    """Return Kafka's own hash, pure Python in aiokafka and dear; a submission passes all stages, often in one process.

    Other keys name a case or a person, and are not remembered.
    """
    hashed: int = _remembered_hash(key) if _SUBMISSION.fullmatch(key) else murmur2(key)
    return hashed


def _partition(key: bytes | None, partitions: list[int], available: list[int]) -> int:
    """Choose as every Kafka client does, so that one key is one partition whoever sends."""
    if key is None:
        return (available or partitions)[0]
    return partitions[(_hash(key) & 0x7FFFFFFF) % len(partitions)]


def _security(options: dict[str, Any]) -> BaseSecurity:
    protocol = options.get("security_protocol", "PLAINTEXT")
    secure = {"ssl_context": options.get("ssl_context"), "use_ssl": protocol.endswith("SSL")}
    if not protocol.startswith("SASL"):
        return BaseSecurity(**secure)
    mechanisms = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
    mechanism = mechanisms[options["sasl_mechanism"]]
    return mechanism(options["sasl_plain_username"], options["sasl_plain_password"], **secure)
