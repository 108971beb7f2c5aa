"""The process: what it opens, in which order, and how it ends. And the runtime for one message at a time.

serve      resources -> broker -> pipelines ... SIGTERM ... pipelines drain -> broker -> resources, in reverse
subscribe  a FastStream subscriber inside a wrapper that commits explicit offsets, and nothing after a bug
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Protocol, TypeAlias, runtime_checkable

from faststream import AckPolicy, FastStream
from prometheus_client import start_http_server

from consumers._envelope import Reading, Result
from consumers._journal import Journal
from consumers._membership import Membership
from consumers._patience import patiently
from consumers._pipeline import Pipeline
from consumers._subscription import Subscription, parse, unwrap
from consumers._work import each
from rfr_stream import telemetry
from rfr_stream.settings import Settings
from topics import Topic
from topics.bus import Bus

Resource: TypeAlias = AbstractAsyncContextManager[Any]
Subscriber: TypeAlias = Any
"""FastStream's, of a class that it does not export."""


@runtime_checkable
class Runs(Protocol):
    """Something that works until it is cancelled."""

    async def run(self) -> None:
        """Work."""


Task: TypeAlias = Runs | Callable[[], Coroutine[Any, Any, None]]

log = telemetry.logger(__name__)


def serve(bus: Bus, *resources: Resource, tasks: Sequence[Task] = (), metrics_port: int = 0) -> FastStream:
    """Return the application: `faststream run --factory consumers.detection:create_app`, or `await app.run()`.

    Resources are entered in their order before the first message is read, and left in reverse once the last is
    committed. If a task fails, the pipelines are drained and the process ends with exit code 1, so that its
    supervisor starts it again; nothing that was unfinished is committed.
    """
    service = _Service(bus, resources, tasks)
    app = FastStream(
        bus.broker,
        logger=None,
        lifespan=partial(service.lifespan, metrics_port),
        after_startup=[service.start],
        on_shutdown=[service.drain],
    )
    service.end = app.exit
    return app


class _Service:
    """What one process runs."""

    end: Callable[[], None]

    def __init__(self, bus: Bus, resources: Sequence[Resource], tasks: Sequence[Task]) -> None:
        self._bus, self._resources, self._tasks = bus, resources, tasks
        self._running: dict[asyncio.Task[None], Task] = {}
        self._watching: tuple[asyncio.Task[None], ...] = ()
        self._started = asyncio.Event()

    @asynccontextmanager
    async def lifespan(self, metrics_port: int) -> AsyncIterator[None]:
        """Open everything; end the process with an error code if something failed meanwhile."""
        if not telemetry.configured():
            telemetry.configure()
        if metrics_port:
            start_http_server(metrics_port)
        async with AsyncExitStack() as open_:
            for resource in (self._bus, *self._resources):
                await open_.enter_async_context(resource)
            open_.enter_context(_calm_collector())
            log.event("app.started", tasks=len(self._tasks))
            yield
        log.event("app.stopped")
        if self._bus.failure is not None:
            raise SystemExit(1)

    async def start(self) -> None:
        """Set the tasks to work; the broker is there."""
        self._running = {asyncio.create_task(self._watch(task)): task for task in self._tasks}
        self._watching = (asyncio.create_task(self._end_on_failure()),)
        self._started.set()

    async def drain(self) -> None:
        """Let the pipelines finish what they hold, then end the rest, which only serves them."""
        await self._started.wait()  # FastStream may shut down beside a start that is not over yet
        pipelines = [running for running, task in self._running.items() if isinstance(task, Pipeline)]
        for task in self._tasks:
            if isinstance(task, Pipeline):
                task.stop()
        await asyncio.gather(*pipelines)
        for running in (*self._running, *self._watching):
            running.cancel()
        await asyncio.gather(*self._running, *self._watching, return_exceptions=True)

    async def _watch(self, task: Task) -> None:
        try:
            await patiently(task.run if isinstance(task, Runs) else task, group=_name(task), let_go=asyncio.Event())
        except Exception as error:  # noqa: BLE001 - whatever it is, the process ends with it
            log.event("task.failed", level=logging.CRITICAL, error=error, task=_name(task))
            self._bus.fail(error)

    async def _end_on_failure(self) -> None:
        await self._bus.failed.wait()
        log.event("app.failed", level=logging.CRITICAL)
        self.end()


def _name(task: Task) -> str:
    return task.stage.group if isinstance(task, Pipeline) else getattr(task, "__name__", type(task).__name__)


def subscribe(
    bus: Bus,
    source: Topic,
    group: str,
    handle: Callable[[Any], Awaitable[Result]],
    *,
    settings: Settings,
    membership: Membership = Membership(),  # noqa: B008 - frozen
) -> Subscriber:
    """Wire a function of one event to a topic; it is called once the bus's broker starts, one message at a time."""
    reading = Reading(source, group, settings.demo)
    subscription = Subscription(
        bus,
        reading,
        each(handle),
        journal=lambda: Journal.open(settings.journal_dir, f"{group}-{settings.instance}"),
        ceiling=settings.pipeline.dead_letter_ceiling,
        poll_every_s=membership.poll_every_s,
    )
    subscriber = bus.broker.subscriber(
        source.name,
        ack_policy=AckPolicy.MANUAL,
        parser=parse,
        decoder=unwrap,
        listener=subscription,
        **membership.options(group, settings.instance),
    )
    subscriber(subscription.consume)
    subscription.consumer = lambda: subscriber.consumer
    return subscriber


@contextmanager
def _calm_collector() -> Iterator[None]:
    """Keep what lives for ever out of garbage collection, and collect seldom: half of a small message's cost."""
    usual = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()  # a native library that counts its objects at exit must find them gone
