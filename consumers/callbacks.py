"""Beside the stages: OUTCOMES -> clients' callbacks. Needs the reception's tables and the key of its tokens.

Outcomes of one submission are told one after the other. All others are told at once, and batch beside batch, so that
nobody waits for a receiver that is not theirs: it has its attempts, then come the dead letters, and the status tells.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID
from weakref import WeakValueDictionary

from faststream import FastStream

import topics
from consumers._envelope import Result
from consumers._pipeline import Pipeline, Stage, mount_stage
from consumers._runtime import serve
from rfr_stream import telemetry
from rfr_stream.adapters import opening
from rfr_stream.errors import Rejected, Unavailable, Undelivered
from rfr_stream.events import SubmissionClosed
from rfr_stream.reception import Client
from rfr_stream.settings import Settings
from topics import access
from topics.bus import Bus

_, GROUP = topics.OUTCOMES.groups
BATCHES: Final = 16
"""In flight: more than one receiver fills while it has its attempts."""

log = telemetry.logger(__name__)


class Senders(Protocol):
    """Who sent what."""

    async def to_tell(self, outcomes: Sequence[SubmissionClosed]) -> Mapping[UUID, Sequence[Client]]:
        """Return, by event id, the clients that are to be told."""


class Callbacks(Protocol):
    """How clients are reached."""

    async def tell(self, client: Client, closed: SubmissionClosed) -> None:
        """Return once the client has it; `Undelivered` where it does not take it."""


@dataclass(slots=True, eq=False)
class Place:
    """Where a batch stands in the line of those that have yet to ask the ledger who sent them."""

    task: asyncio.Task[Any]
    about: frozenset[UUID]
    before: Sequence["Place"]
    """Earlier ones about the same."""
    has_turns: bool = False

    @property
    def is_next(self) -> bool:
        """Whether all of these have their turns. Abandoned ones never will, and come again: so must this one."""
        return all(each.has_turns or each.task.cancelled() for each in self.before)


class Teller:
    """Tells each outcome to whoever sent what it is about."""

    def __init__(self, senders: Senders, callbacks: Callbacks) -> None:
        """Take the ports; no I/O."""
        self._senders, self._callbacks = senders, callbacks
        self._asking = asyncio.Lock()
        self._turns = WeakValueDictionary[UUID, asyncio.Lock]()
        self._line: dict[asyncio.Task[Any], Place] = {}

    async def tell(self, batch: Sequence[SubmissionClosed]) -> Sequence[Result]:
        """Return for each outcome nothing, or why somebody has not heard it.

        Raises:
            Unavailable: the ledger is away, or was when an earlier outcome of the same submission asked; the same
                task asks again.

        """
        place = self._place(batch)
        async with self._asking:  # batch after batch, so that turns are asked for in the order of the topic
            clients = await self._clients(place, batch)
            told = [self._in_turn(closed, clients.get(closed.event_id, ())) for closed in batch]
            telling = asyncio.gather(*told)
        return await telling

    def _place(self, batch: Sequence[SubmissionClosed]) -> Place:
        """Return the place that this task took when it came first."""
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in one"  # noqa: S101
        self._line = {each: place for each, place in self._line.items() if not each.done()}
        if task not in self._line:
            about = frozenset(closed.submission_id for closed in batch)
            before = [place for place in self._line.values() if place.about & about]
            self._line[task] = Place(task, about, before)
        return self._line[task]

    async def _clients(self, place: Place, batch: Sequence[SubmissionClosed]) -> Mapping[UUID, Sequence[Client]]:
        if not place.is_next:
            msg = "an earlier outcome of the same submission still waits for the ledger"
            raise Unavailable(msg)
        clients = await self._senders.to_tell(batch)
        place.has_turns = True
        del self._line[place.task]
        return clients

    async def _in_turn(self, closed: SubmissionClosed, clients: Sequence[Client]) -> Rejected | None:
        if not clients:
            return None
        async with self._turns.setdefault(closed.submission_id, asyncio.Lock()):
            faults = await asyncio.gather(*(self._told(client, closed) for client in clients))
        return next((fault for fault in faults if fault), None)

    async def _told(self, client: Client, closed: SubmissionClosed) -> Rejected | None:
        try:
            await self._callbacks.tell(client, closed)
        except Undelivered as fault:
            telemetry.CALLBACKS.labels("failed").inc()
            log.event("callback.failed", level=logging.WARNING, error=fault, client=client.name)
            return fault
        telemetry.CALLBACKS.labels("told").inc()
        log.event("callback.told", client=client.name, state=closed.outcome)
        return None


def mount(bus: Bus, settings: Settings, *, senders: Senders, callbacks: Callbacks) -> Pipeline:
    """Wire it to its topic."""
    at_once = settings.pipeline.model_copy(update={"depth": BATCHES})
    stage = Stage(GROUP, topics.OUTCOMES, Teller(senders, callbacks).tell)
    return mount_stage(bus, stage, settings.model_copy(update={"pipeline": at_once}))


def create_app() -> FastStream:
    """Build its own application from the environment."""
    settings = Settings()
    bus = Bus.from_settings(settings, client_id=GROUP, rights=access.CALLBACK.rights)
    ledger, callbacks = opening.ledger(settings), opening.callbacks(settings)
    stage = mount(bus, settings, senders=opening.reception(ledger), callbacks=callbacks)
    return serve(bus, ledger, callbacks, tasks=[stage], metrics_port=settings.metrics_port)
