"""What delivery is proven with: numbered decisions in, numbered outcomes out, on a topic of the test's own.

The stage under test answers each `ReviewDecided` with a `SubmissionClosed` that repeats its number; how it
misbehaves on the way stands in the message. Whoever asks gets the real thing: a pipeline in this process, or a
process of its own that can be killed.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID, uuid4

import builders
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import BaseModel

import topics
from consumers._envelope import Result
from consumers._membership import Membership
from consumers._pipeline import Pipeline, Stage, mount
from consumers._work import Run
from rfr_stream.errors import BadImage, Unavailable
from rfr_stream.events import Outcome, ReviewDecided, SubmissionClosed
from rfr_stream.settings import KafkaSettings, PipelineSettings
from topics import Record, Topic
from topics.bus import Bus
from topics.tail import read_tail

MEMBER: Final = Path(__file__).with_name("lab_member.py")
GRACE_S: Final = 25.0
"""Supervisors wait 30 s before they kill; the drain has eight of them, on a machine that others use."""
BRIEF: Final = Membership(session_timeout_ms=3_000, heartbeat_interval_ms=300, rebalance_timeout_ms=10_000)
"""A member that is missed soon: tests cannot wait as long as operators can."""

_numbers = count()

T = TypeVar("T")

Handle: TypeAlias = Callable[[ReviewDecided], Awaitable[Result]]


class Job(BaseModel):
    """What a process of its own is told to do."""

    servers: str
    noun: str
    folder: Path
    instance: str = "0"
    work_s: float = 0.0
    batch_items: int = 8
    by_subscription: bool = False
    beside: str | None = None
    """The topic of a second stage in the same process."""


@dataclass
class Lab:
    """One test's topic, keys and folder on the shared broker."""

    servers: str
    folder: Path
    topic: Topic
    keys: list[UUID] = field(default_factory=lambda: [uuid4() for _ in range(8)])
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def group(self) -> str:
        """A group of its own too: a static member that comes back is given its old partitions, whatever it asks for."""
        return f"rfr-{self.topic.noun}"

    @property
    def options(self) -> Mapping[str, str]:
        return {"bootstrap_servers": self.servers}

    def bus(self) -> Bus:
        return Bus(KafkaSettings(), bootstrap_servers=self.servers, client_id="test")

    def decisions(self, numbers: Iterable[int], *, how: str = "well") -> list[ReviewDecided]:
        """Return numbered decisions, spread over the keys."""
        return [decision(self.keys[number % len(self.keys)], number, how) for number in numbers]

    async def say(self, events: Sequence[ReviewDecided]) -> None:
        """Put them on the test's topic."""
        await self.send([self.topic.encode(event) for event in events])

    async def send(self, records: Sequence[Record]) -> None:
        async with self.bus() as bus:
            await bus.send(records)

    async def heard(self) -> dict[UUID, list[int]]:
        """Return the numbers that came out, in order, by key."""
        found, mine = defaultdict[UUID, list[int]](list), {str(key).encode() for key in self.keys}
        for kept in await read_tail(self.options, topics.OUTCOMES.name):
            if kept.record.key in mine:  # other tests' are many, and not worth decoding
                closed = topics.OUTCOMES.decode(kept.record)
                assert isinstance(closed, SubmissionClosed)
                found[closed.submission_id].append(int(closed.detail))
        return found

    async def hear(self, numbers: Iterable[int], *, within_s: float = 120.0) -> dict[UUID, list[int]]:
        """Wait until all these numbers have come out; return all that came, in order, by key."""
        wanted = set(numbers)
        return await until(self.heard, lambda heard: wanted <= set(chain(*heard.values())), within_s)

    async def hear_more(self, n: int) -> int:
        """Wait until n numbers more have come out; return how many there are."""
        before = len(set(chain(*(await self.heard()).values())))
        heard = await until(self.heard, lambda heard: len(set(chain(*heard.values()))) >= before + n)
        return len(set(chain(*heard.values())))

    async def dead(self) -> list[Record]:
        """Return the dead letters of the test's topic."""
        return [kept.record for kept in await read_tail(self.options, self.topic.dead(self.group))]

    async def bury(self, n: int, *, within_s: float = 120.0) -> list[Record]:
        """Wait for this many dead letters."""
        return await until(self.dead, lambda letters: len(letters) >= n, within_s)

    async def committed(self) -> int:
        """Return how many messages the group has finished, over all partitions."""
        consumer = AIOKafkaConsumer(**self.options, group_id=self.group, enable_auto_commit=False)
        await consumer.start()
        try:
            places = [TopicPartition(self.topic.name, number) for number in range(self.topic.partitions)]
            return sum([await consumer.committed(place) or 0 for place in places])
        finally:
            await consumer.stop()

    async def settle(self, n: int, *, within_s: float = 60.0) -> None:
        """Wait until so many messages are committed."""
        await until(self.committed, lambda committed: committed >= n, within_s)

    def pipeline(
        self, bus: Bus, run: Run, *, instance: str = "0", membership: Membership = BRIEF, **settings: float
    ) -> Pipeline:
        return mount(
            bus,
            Stage(self.group, self.topic, run),
            settings=PipelineSettings(**{"batch_items": 8, "drain_s": 5, **settings}),
            instance=instance,
            demo=False,
            journal_dir=self.folder,
            membership=membership,
        )

    @asynccontextmanager
    async def working(self, run: Run, **how: Any) -> AsyncIterator[Pipeline]:  # noqa: ANN401 - passed through
        """A pipeline at work in this process; it is stopped in order, and a failure of its own is raised."""
        async with self.bus() as bus:
            pipeline = self.pipeline(bus, run, **how)
            await bus.broker.start()
            running = asyncio.create_task(pipeline.run())
            try:
                yield pipeline
            finally:
                pipeline.stop()
                try:
                    await running
                finally:
                    await bus.broker.stop()

    def member(self, **job: float | str | bool | None) -> "subprocess.Popen[bytes]":
        """Start a process of its own that serves the stage."""
        told = Job(servers=self.servers, noun=self.topic.noun, folder=self.folder, **job)
        errors = (self.folder / f"{told.instance}.log").open("ab")
        with errors:
            process = subprocess.Popen([sys.executable, str(MEMBER), told.model_dump_json()], stderr=errors)
        self.processes.append(process)
        return process

    def end(self) -> None:
        """Leave no process behind, however the test went."""
        for process in self.processes:
            process.kill()
            process.wait()


async def answer(events: Sequence[ReviewDecided]) -> list[Result]:
    """Answer as each message says."""
    for event in events:
        await asyncio.sleep({"kills later": 1.0, "slow": 3.0}.get(event.dissimilarities[0], 0))
    return [_answer(event) for event in events]


def _answer(event: ReviewDecided) -> Result:
    match event.dissimilarities[0]:
        case "kills" | "kills later":
            os.kill(os.getpid(), signal.SIGKILL)
        case "bug":
            raise LookupError(event.key)
        case "rejected":
            return BadImage("not an image")
        case "unavailable":
            raise Unavailable
    return closed(event)


def closed(event: ReviewDecided) -> SubmissionClosed:
    """Return the outcome that repeats the decision's number."""
    return SubmissionClosed(
        submission_id=event.submission_id,
        outcome=Outcome.NOT_CONFIRMED,
        detail=event.similarities[0],
        occurred_at=event.occurred_at,
    )


def decision(key: UUID, number: int, how: str = "well") -> ReviewDecided:
    return ReviewDecided(
        submission_id=key,
        reviewer_id="reviewer-a",
        list_digest=builders.sha256(),
        support="inconclusive",
        similarities=(str(number),),
        dissimilarities=(how,),
        signature="A" * 86 + "==",
        occurred_at=builders.NOW,
    )


def topic_named(noun: str) -> Topic:
    return Topic(noun, (ReviewDecided,), key="submission_id", purpose="a test's own", partitions=4)


@asynccontextmanager
async def opened(servers: str, folder: Path) -> AsyncIterator[Lab]:
    """A lab of its own."""
    lab = Lab(servers, folder, topic_named(f"test-{next(_numbers)}"))
    await create(servers, {lab.topic.name: lab.topic.partitions, lab.topic.dead(lab.group): 1})
    try:
        yield lab
    finally:
        lab.end()


async def until(look: Callable[[], Awaitable[T]], enough: Callable[[T], bool], within_s: float = 120.0) -> T:
    """Look until it is enough; return what was seen."""
    async with asyncio.timeout(within_s):
        while not enough(seen := await look()):  # noqa: ASYNC110 - Kafka sends no event for it
            await asyncio.sleep(0.1)
        return seen


async def create(servers: str, names: Mapping[str, int]) -> None:
    """Create topics that do not exist yet."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        there = await admin.list_topics()
        await admin.create_topics([NewTopic(name, n, 1) for name, n in names.items() if name not in there])
    finally:
        await admin.close()


def without_repeats(numbers: Sequence[int]) -> list[int]:
    """Return the numbers in the order in which each came first."""
    return list(dict.fromkeys(numbers))
