"""Carries what the ledger owes the world to Kafka: publish, then mark. Survives being killed at any point.

A crash between the two repeats the same record with the same `ce_id`. So that repeats stay rare, one relay carries at
a time, however many run; whoever gets the turn first reads back the topics' tails and marks what is already there. A
reminder is there already, and is sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Final, TypeVar

from consumers._dead_letters import refusal
from consumers._patience import patiently
from rfr_stream.ports import Outbox, Outgoing
from topics import DECISIONS, IDENTIFICATIONS, OUTCOMES, STANDING, SUBMISSIONS, TEMPLATES, topic_of
from topics.bus import Bus
from topics.tail import read_tail

TAIL_RECORDS: Final = 1_000
"""Read back from each partition: more than can have been sent and not marked."""
BATCH_ROWS: Final = 500
POLL_S: Final = 0.25
"""The longest that another process's change waits; this process's own changes wake the relay at once."""
(GROUP,) = DECISIONS.groups
PROMISED: Final = (IDENTIFICATIONS, OUTCOMES, STANDING, SUBMISSIONS, TEMPLATES)
"""Where what is owed goes, beside the dead letters."""

T = TypeVar("T")


class Relay:
    """One worker that empties the outbox, in order. A ledger that is away is waited for, step by step.

    Step by step, because marking must be tried again without sending again.
    """

    def __init__(self, bus: Bus, outbox: Outbox) -> None:
        """Take the bus and the ledger; no I/O."""
        self._bus, self._outbox = bus, outbox
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look at the outbox now."""
        self._wake.set()

    async def run(self) -> None:
        """Empty the outbox until cancelled; a failed send ends it, and leaves the rows unmarked."""
        while True:
            turn = await _patiently(self._outbox.take_turn)
            if turn is None:
                await asyncio.sleep(POLL_S)
                continue
            async with turn:
                await _patiently(self._mark_what_is_there)
                while await turn.holds():
                    await self._carry()

    async def _carry(self) -> None:
        self._wake.clear()
        owed = await _patiently(lambda: self._outbox.unpublished(BATCH_ROWS))
        if owed:
            await self._publish(owed)
        else:
            await self._rest()

    async def _publish(self, owed: Sequence[Outgoing]) -> None:
        await self._bus.publish([row.event for row in owed if row.refusal is None])
        await self._bus.send([refusal(row.event, row.refusal, DECISIONS, GROUP) for row in owed if row.refusal])
        await _patiently(lambda: self._outbox.published([row.event.event_id for row in owed]))

    async def _mark_what_is_there(self) -> None:
        owed = await self._outbox.unpublished(TAIL_RECORDS)
        if not owed:
            return
        tails = [
            await read_tail(self._bus.options, name, last=TAIL_RECORDS)
            for name in (*(topic.name for topic in PROMISED), DECISIONS.dead(GROUP))
        ]
        there = {(kept.record.topic, kept.record.header("ce_id")) for tail in tails for kept in tail}
        await self._outbox.published([row.event.event_id for row in owed if _lies_in(there, row)])

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):  # Python 3.11's `wait_for` swallows a cancellation that meets a wake
                await self._wake.wait()


def _lies_in(there: AbstractSet[tuple[str, str]], row: Outgoing) -> bool:
    """Whether a row's event is on the one topic where it belongs; elsewhere, a sender can have forged its id.

    A reminder never does: what lies there is what it reminds of.
    """
    if row.again:
        return False
    topic = DECISIONS.dead(GROUP) if row.refusal else topic_of(row.event).name
    return (topic, str(row.event.event_id)) in there


async def _patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Try until the ledger, or the cluster that is read back, is there; whoever runs the relay cancels it."""
    return await patiently(attempt, group=GROUP, let_go=asyncio.Event())
