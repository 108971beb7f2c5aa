"""Runs a stage over batches: reads ahead, keeps several batches in flight, answers and commits in order.

    feed --(batch)--> compute (up to `depth` at once) --> emit (publish, in order) --> settle (acknowledged) --> commit

Batches leave each step in the order in which they came, so whatever is settled is settled up to there: the watermark
that is committed has no gaps, and the order of a key is kept. FastStream owns connection, security and subscription
(a subscriber without a handler); its consumer is driven here, because FastStream's own loop gathers no batches,
commits past failures and cannot drain.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from faststream import AckPolicy

from consumers._envelope import Answer, Incoming, Reading
from consumers._journal import Journal
from consumers._membership import NOWHERE, Membership
from consumers._patience import Abandoned
from consumers._watermark import Watermark
from consumers._work import Run, Work
from rfr_stream import telemetry
from rfr_stream.settings import PipelineSettings, Settings
from topics import Topic
from topics.bus import Bus, acknowledged

UNSETTLED_BATCHES = 8
"""How many batches may wait for the cluster's acknowledgement beside those that compute."""
IDLE_POLL_MS = 500
READY_POLL_S = 30.0

log = telemetry.logger(__name__)


@dataclass(frozen=True)
class Stage:
    """One function of the system, and the topic it reads."""

    group: str
    source: Topic
    run: Run


@dataclass(slots=True, eq=False)
class Batch:
    """Messages that go through the steps together."""

    messages: Sequence[Incoming]
    epoch: int
    computed: "asyncio.Task[Sequence[Answer]]"
    acknowledgements: Sequence["asyncio.Future[object]"] = ()


class Pipeline(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    """One stage at work. `run` it once the bus's broker has started; `stop` it to let go in order."""

    def __init__(
        self, bus: Bus, stage: Stage, *, settings: PipelineSettings, demo: bool, journal: Callable[[], Journal]
    ) -> None:
        """Prepare; open nothing. `mount` is the way to make one."""
        self.stage = stage
        self._bus, self._settings, self._open_journal = bus, settings, journal
        self._reading = Reading(stage.source, stage.group, demo)
        self._subscriber: Any = None
        self._watermark = Watermark(stage.group, stage.source.name, self._consumer)
        self._poll_every_s = READY_POLL_S
        self._epoch = 0
        self._abandoned_epoch = -1
        self.times_assigned = 0
        self._polled_at = float("-inf")
        self._computing: set[asyncio.Task[Sequence[Answer]]] = set()
        self._unsettled = 0
        self._device = asyncio.Semaphore(settings.depth)
        self._room = asyncio.Semaphore(settings.depth + UNSETTLED_BATCHES)
        self._to_emit: asyncio.Queue[Batch] = asyncio.Queue()
        self._to_settle: asyncio.Queue[Batch] = asyncio.Queue()
        self._idle, self._letting_go, self._stopping = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._idle.set()

    def subscribe(self, instance: str, membership: Membership) -> None:
        """Join the stage's group, once the broker starts."""
        self._subscriber = self._bus.broker.subscriber(
            self.stage.source.name,
            ack_policy=AckPolicy.MANUAL,
            listener=self,
            **membership.options(self.stage.group, instance),
        )
        self._poll_every_s = membership.poll_every_s

    def _consumer(self) -> AIOKafkaConsumer | None:
        return self._subscriber and self._subscriber.consumer

    @property
    def ready(self) -> bool:
        """Whether the group has said which partitions are ours, they are being polled, and no batch hangs."""
        return self.times_assigned > 0 and time.monotonic() - self._polled_at < READY_POLL_S and not self._hangs()

    def _hangs(self) -> bool:
        """Whether the stage has had a batch in hand for longer than a member may be silent."""
        return self._work.longest_s() > 4 * self._poll_every_s

    async def run(self) -> None:
        """Work until stopped.

        Raises:
            Exception: a bug, a failed send, or too many dead letters; nothing unfinished was committed.

        """
        self._journal, clean = self._open_journal(), False
        self._work = Work(
            self._reading, self.stage.run, journal=self._journal, ceiling=self._settings.dead_letter_ceiling
        )
        telemetry.READY.labels(self.stage.group).set_function(lambda: self.ready)
        log.event("stage.started", group=self.stage.group)
        try:
            await self._until_stopped()
            clean = True
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            await _cancel(self._computing)
            self._journal.close(clean=clean)
            log.event("stage.stopped", group=self.stage.group, clean=clean)

    def stop(self) -> None:
        """Begin to let go: take no more, finish, publish, commit; `run` returns when that is done or time is up."""
        self._stopping.set()

    async def _until_stopped(self) -> None:
        steps = (self._feed, self._emit, self._settle, self._commit_regularly, self._stay_member)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step()) for step in steps]
            await self._stopping.wait()
            await self._drain()
            for task in tasks:
                task.cancel()

    # feed

    async def _feed(self) -> None:
        while not self._stopping.is_set():
            await self._until_room()  # first, so that the next batch grows while all is busy
            messages, epoch = await self._gather()
            for run, alone in self._journal.apart(messages):
                await (self._start_alone(run, epoch) if alone else self._start(run, epoch))

    async def _until_room(self) -> None:
        async with self._room, self._device:
            return  # only the feed takes room, so what is free now stays free

    async def _gather(self) -> tuple[list[Incoming], int]:
        """Return up to `batch_items` messages: those that came within `batch_wait_ms` of the first."""
        messages: list[Incoming] = []
        epoch, wait_ms, until = self._epoch, float(IDLE_POLL_MS), 0.0
        while wait_ms > 0 and (wanted := self._settings.batch_items - len(messages)):
            fetched = await self._poll(timeout_ms=wait_ms, max_records=wanted)
            if epoch != self._epoch:  # what came before was revoked, and will be fetched again by its new owner
                messages.clear()
                epoch = self._epoch
            now_ms = time.monotonic() * 1000
            if fetched and not messages:
                until = now_ms + self._settings.batch_wait_ms
            messages += fetched
            wait_ms = until - now_ms
        return messages, epoch

    async def _poll(self, *partitions: TopicPartition, timeout_ms: float, max_records: int) -> list[Incoming]:
        """Return what the consumer has; its errors are final.

        aiokafka recovers by itself from a cluster that is away. What it does raise may have cost records that it had
        taken from its buffers already, so that to go on would skip them.
        """
        consumer = self._consumer()
        assert consumer is not None, "the bus's broker has not been started"  # noqa: S101
        fetched = await consumer.getmany(*partitions, timeout_ms=timeout_ms, max_records=max_records)
        self._polled_at = time.monotonic()
        return list(chain.from_iterable(fetched.values()))

    async def _start_alone(self, messages: Sequence[Incoming], epoch: int) -> None:
        """Run a suspect with nothing else in flight, here or in a stage beside, that could be taken for the culprit."""
        async with self._bus.one_suspect:
            await self._idle.wait()
            await self._start(messages, epoch)
            await self._idle.wait()

    async def _start(self, messages: Sequence[Incoming], epoch: int) -> None:
        await self._until_room()
        if epoch != self._epoch or self._letting_go.is_set():
            return  # uncommitted, so they come again, here or elsewhere
        await self._room.acquire()
        await self._device.acquire()
        self._unsettled += 1
        self._idle.clear()
        computed = asyncio.create_task(self._work.answers(messages, let_go=self._letting_go))
        computed.add_done_callback(self._has_computed)
        self._computing.add(computed)
        self._to_emit.put_nowait(Batch(messages, epoch, computed))

    def _has_computed(self, computed: "asyncio.Task[Sequence[Answer]]") -> None:
        self._computing.discard(computed)
        self._device.release()

    # emit, settle, commit

    async def _emit(self) -> None:
        while True:
            batch = await self._to_emit.get()
            await asyncio.wait([batch.computed])
            if self._is_lost(batch):
                self._finish()
                continue
            batch.acknowledgements = await self._bus.queue(self._work.records(batch.messages, batch.computed.result()))
            self._to_settle.put_nowait(batch)

    def _is_lost(self, batch: Batch) -> bool:
        """Whether its messages will come again; then so must all that came after them."""
        given_up = batch.computed.cancelled() or isinstance(batch.computed.exception(), Abandoned)
        if given_up:
            self._abandoned_epoch = batch.epoch
        return given_up or batch.epoch != self._epoch or batch.epoch == self._abandoned_epoch

    async def _settle(self) -> None:
        while True:
            batch = await self._to_settle.get()
            await acknowledged(batch.acknowledgements)
            telemetry.EVENTS.labels(self.stage.group).inc(len(batch.acknowledgements))
            if batch.epoch == self._epoch:
                self._watermark.rise(batch.messages)
            self._finish()

    def _finish(self) -> None:
        self._room.release()
        self._unsettled -= 1
        if not self._unsettled:
            self._idle.set()

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._settings.commit_every_ms / 1000)
            await self._watermark.commit()
            self._watermark.measure_lag()

    # membership

    async def _stay_member(self) -> None:
        """Poll for nothing, so that an outage may last; not while a batch hangs, so that others may take over."""
        while True:
            await asyncio.sleep(min(self._poll_every_s, READY_POLL_S / 4))
            if not self._hangs():
                await self._poll(NOWHERE, timeout_ms=0, max_records=1)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finish, publish and commit what is in flight; then whatever comes late counts no more."""
        try:
            await self._drain()
        finally:
            self._epoch += 1
            self._watermark.forget()
        if revoked:
            log.event("partitions.revoked", group=self.stage.group, count=len(revoked), late=self._unsettled)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Go on with these."""
        self.times_assigned += 1
        if not self._stopping.is_set():
            self._letting_go.clear()
        telemetry.REBALANCES.labels(self.stage.group).inc()
        log.event("partitions.assigned", group=self.stage.group, count=len(assigned))

    async def _drain(self) -> None:
        self._letting_go.set()
        try:
            async with asyncio.timeout(self._settings.drain_s):
                await self._idle.wait()
                await self._watermark.commit()
        except TimeoutError:
            for task in self._computing:
                task.cancel()


async def _cancel(tasks: set["asyncio.Task[Sequence[Answer]]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def mount(
    bus: Bus,
    stage: Stage,
    *,
    settings: PipelineSettings,
    instance: str,
    demo: bool,
    journal_dir: Path,
    membership: Membership = Membership(),  # noqa: B008 - frozen
) -> Pipeline:
    """Wire a stage to its topic. Nothing is opened before the bus's broker starts and the pipeline runs."""

    def journal() -> Journal:
        return Journal.open(journal_dir, f"{stage.group}-{instance}")

    pipeline = Pipeline(bus, stage, settings=settings, demo=demo, journal=journal)
    pipeline.subscribe(instance, membership)
    return pipeline


def mount_stage(bus: Bus, stage: Stage, settings: Settings) -> Pipeline:
    """Wire a stage to its topic as the process's settings say."""
    return mount(
        bus,
        stage,
        settings=settings.pipeline,
        instance=settings.instance,
        demo=settings.demo,
        journal_dir=settings.journal_dir,
    )
