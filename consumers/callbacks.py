"""Beside the stages: OUTCOMES -> clients' callbacks. Needs the reception's tables and the key of its tokens.

Outcomes of one submission are told one after the other. All others are told at once, and batch beside batch, so that
nobody waits for a receiver that is not theirs: it has its attempts, then come the dead letters, and the status tells.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol
from uuid import UUID
from weakref import WeakValueDictionary

from faststream import FastStream

import topics
from consumers._envelope import Result
from consumers._pipeline import Pipeline, Stage, mount_stage
from consumers._runtime import serve
from rfr_stream import telemetry
from rfr_stream.adapters import opening
from rfr_stream.errors import Rejected, Undelivered
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

    async def to_tell(self, submissions: Collection[UUID]) -> Mapping[UUID, Sequence[Client]]:
        """Return the clients that sent these, and are to be told what became of them."""


class Callbacks(Protocol):
    """How clients are reached."""

    async def tell(self, client: Client, closed: SubmissionClosed) -> None:
        """Return once the client has it; `Undelivered` where it does not take it."""


class Teller:
    """Tells each outcome to whoever sent what it is about."""

    def __init__(self, senders: Senders, callbacks: Callbacks) -> None:
        """Take the ports; no I/O."""
        self._senders, self._callbacks = senders, callbacks
        self._asking = asyncio.Lock()
        self._turns = WeakValueDictionary[UUID, asyncio.Lock]()

    async def tell(self, batch: Sequence[SubmissionClosed]) -> Sequence[Result]:
        """Return for each outcome nothing, or why somebody has not heard it."""
        async with self._asking:  # batch after batch, so that turns are asked for in the order of the topic
            clients = await self._senders.to_tell([closed.submission_id for closed in batch])
            told = [self._in_turn(closed, clients.get(closed.submission_id, ())) for closed in batch]
            telling = asyncio.gather(*told)
        return await telling

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
