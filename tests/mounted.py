"""The five stages as their consumers mount them, on fakes: what each group hears, and what it says to whom."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import builders
from bus import Heard, RecordingBus, run_stages
from faststream.kafka import TestKafkaBroker
from house import House

import topics
from consumers import appeals, callbacks, detection, embedding, enrolment, review, search
from consumers._pipeline import Pipeline, Stage
from consumers._relay import Relay
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.events import Event, HoldRecord, Signed, SubmissionClosed
from rfr_stream.reception import Client
from rfr_stream.settings import Settings
from topics import Record, Topic

E = TypeVar("E", bound=Event)


def lawful() -> HoldRecord:
    """Return a hold record by the real clock, which mounted stages go by."""
    now = datetime.now(UTC)
    return builders.hold_record(captured_at=now - timedelta(days=1), review_due=now + timedelta(days=1))


class Nobody:
    """No client has sent anything."""

    async def to_tell(self, outcomes: Sequence[SubmissionClosed]) -> Mapping[UUID, Sequence[Client]]:  # noqa: ARG002 - the port's
        return {}


class Silence:
    """Nobody is told anything."""

    async def tell(self, client: Client, closed: SubmissionClosed) -> None:  # noqa: ARG002 - the port's
        raise AssertionError


@dataclass
class Mounted:
    """A house whose stages are wired to their topics."""

    settings: Settings
    here: House = field(default_factory=House)
    bus: RecordingBus = field(default_factory=RecordingBus)

    def __post_init__(self) -> None:
        """Mount all."""
        blobs, vision, ledger = self.here.blobs, self.here.vision, self.here.ledger
        ports: dict[str, Any] = {"blobs": blobs, "vision": vision, "gallery": self.here.gallery}
        ports |= {"references": ledger, "standing": ledger, "models": ledger}
        pipelines: list[Pipeline] = [
            appeals.mount(self.bus, self.settings, blobs=blobs, vision=vision, appeals=ledger),
            detection.mount(self.bus, self.settings, blobs=blobs, vision=vision),
            embedding.mount(self.bus, self.settings, blobs=blobs, vision=vision, models=ledger),
            search.mount(self.bus, self.settings, **ports),
            *enrolment.mount(self.bus, self.settings, **ports),
        ]
        self.tasks = review.mount(self.bus, self.settings, ledger=ledger, verifier=KeyVerifier())
        pipelines += [task for task in self.tasks if isinstance(task, Pipeline)]
        pipelines.append(callbacks.mount(self.bus, self.settings, senders=Nobody(), callbacks=Silence()))
        self.stages: list[Stage] = [pipeline.stage for pipeline in pipelines]
        self.pipelines = {pipeline.stage.group: pipeline for pipeline in pipelines}

    @classmethod
    def at(cls, data_dir: Path, **settings: object) -> "Mounted":
        return cls(Settings.model_validate({"data_dir": data_dir, **settings}))

    async def hears(self, *said: Event | Record, groups: Iterable[str] = ()) -> Heard:
        """Let the pipelines of these groups (none: all) work until all is quiet."""
        wanted = set(groups) or set(self.pipelines)
        stages = [stage for stage in self.stages if stage.group in wanted]
        return await run_stages(stages, said, demo=self.settings.demo)

    @asynccontextmanager
    async def reviewing(self) -> AsyncIterator[None]:
        """Run the relay, and take decisions. Enter it before anything is owed: a relay looks back at Kafka for that."""
        (relay,) = (task for task in self.tasks if isinstance(task, Relay))
        async with TestKafkaBroker(self.bus.broker), running(relay.run()):
            yield

    async def decide(self, *words: Signed) -> None:
        """Say these on DECISIONS, one after the other."""
        for each in words:
            record = topics.DECISIONS.encode(each)
            headers = {name: value.decode() for name, value in record.headers}
            await self.bus.broker.publish(record.value, record.topic, key=record.key, headers=headers)

    async def told(self, topic: Topic, count: int) -> Sequence[Event]:
        """Wait until the bus has sent this many events on a topic, and return them."""
        async with asyncio.timeout(60):
            while len(sent := self.sent(topic)) < count:  # noqa: ASYNC110 - the relay tells nobody
                await asyncio.sleep(0.001)
        return sent

    def sent(self, topic: Topic) -> list[Event]:
        return [topic.decode(record) for record in self.bus.sent if record.topic == topic.name]

    def dead(self, topic: Topic, group: str) -> list[Record]:
        return [record for record in self.bus.sent if record.topic == topic.dead(group)]


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let this run meanwhile, from its first step; what it raises is raised here."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def said(heard: Heard, topic: Topic, kind: type[E]) -> list[E]:
    """Return what was heard on a topic, all of which must be of this kind."""
    events = heard.get(topic.name, [])
    assert all(isinstance(event, kind) for event in events), events
    return [event for event in events if isinstance(event, kind)]
