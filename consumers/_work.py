"""Opens messages, lets a stage answer them, and keeps its failures apart. Both runtimes work through this."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from consumers._envelope import Answer, Incoming, Reading, Result
from consumers._journal import Journal
from consumers._patience import patiently
from rfr_stream import telemetry
from rfr_stream.errors import Poisonous, Rejected, Unavailable
from rfr_stream.events import Event
from topics import Record

Run: TypeAlias = Callable[[Sequence[Any]], Awaitable[Sequence[Result]]]
"""One result for each event, in order. `Any`, because each stage names the events of its own topic."""


log = telemetry.logger(__name__)


class TooManyDeadLetters(Exception):
    """So many messages in a row were rejected that the fault must be ours (a bad deployment), not theirs."""


def each(handle: Callable[[Any], Awaitable[Result]]) -> Run:
    """Make a batch function of one that takes a single event; the events of a batch are handled concurrently."""

    async def settled(event: Event) -> Result:
        try:
            return await handle(event)
        except Rejected as fault:
            return fault

    async def run(events: Sequence[Event]) -> Sequence[Result]:
        return await asyncio.gather(*map(settled, events))

    return run


class Work:
    """A stage's function between a reading and a journal."""

    def __init__(self, reading: Reading, run: Run, *, journal: Journal, ceiling: int) -> None:
        self._reading, self._run, self._journal = reading, run, journal
        self._ceiling, self._dead_in_a_row = ceiling, 0
        self._begun: dict[int, float] = {}

    async def answers(self, messages: Sequence[Incoming], *, let_go: asyncio.Event) -> Sequence[Answer]:
        """Return one answer to each message, in order, however long a dependency is away.

        Raises:
            Abandoned: `let_go` was set during an outage.
            Exception: a bug; the messages stay in the journal, as they would after a death.

        """
        with telemetry.STAGE_SECONDS.labels(self._reading.group).time():
            return await patiently(lambda: self._attempt(messages), group=self._reading.group, let_go=let_go)

    def records(self, messages: Sequence[Incoming], answers: Sequence[Answer]) -> list[Record]:
        """Return what must be published for these answers, in order.

        Raises:
            TooManyDeadLetters: the ceiling is reached; none of it may be published.

        """
        telemetry.MESSAGES.labels(self._reading.group).inc(len(answers))
        telemetry.BATCH.labels(self._reading.group).observe(len(answers))
        for message, answer in zip(messages, answers, strict=True):
            if not isinstance(answer.result, Rejected):
                self._dead_in_a_row = 0
                continue
            self._dead_in_a_row += answer.result.is_ours_in_a_row
            self._report(message, answer.result)
        return [record for answer in answers for record in answer.records]

    def _report(self, message: Incoming, fault: Rejected) -> None:
        group, place = self._reading.group, {"partition": message.partition, "offset": message.offset}
        telemetry.REJECTIONS.labels(group, fault.reason).inc()
        log.event("message.rejected", level=logging.WARNING, group=group, reason=fault.reason, **place)
        if self._dead_in_a_row >= self._ceiling:
            raise TooManyDeadLetters(group)

    def suspects(self, message: Incoming) -> bool:
        """Whether the message was in hand when a process died."""
        return (message.partition, message.offset) in self._journal.deaths

    def longest_s(self) -> float:
        """For how long the stage has had its oldest messages in hand; waiting for a dependency does not count."""
        return time.monotonic() - min(self._begun.values(), default=time.monotonic())

    async def _attempt(self, messages: Sequence[Incoming]) -> Sequence[Answer]:
        """Answer within the journal's sight: what fails here, records included, counts as a death of its messages."""
        taken = self._journal.take(messages)
        self._begun[taken] = time.monotonic()
        try:
            answers = await self._answers(messages)
        except (Unavailable, asyncio.CancelledError):
            self._journal.put_back(taken, finished=False)
            raise
        finally:
            del self._begun[taken]
        self._journal.put_back(taken, finished=True)
        return answers

    async def _answers(self, messages: Sequence[Incoming]) -> list[Answer]:
        results, now = await self._results(messages), datetime.now(UTC)
        answer = self._reading.answer
        return [answer(message, result, now=now) for message, result in zip(messages, results, strict=True)]

    async def _results(self, messages: Sequence[Incoming]) -> list[Result]:
        deadly, open_ = self._journal.is_deadly, self._reading.open
        opened = [Poisonous() if deadly(message) else open_(message) for message in messages]
        events = [item for item in opened if not isinstance(item, Rejected)]
        answers = iter(await self._ask(events) if events else ())
        return [item if isinstance(item, Rejected) else next(answers) for item in opened]

    async def _ask(self, events: Sequence[Event]) -> Sequence[Result]:
        """Return one result for each event; if the stage rejects a batch as a whole, its events go one by one."""
        try:
            results = await self._run(events)
        except Rejected as fault:
            if len(events) == 1:
                return [fault]
            return [(await self._ask([event]))[0] for event in events]
        if len(results) != len(events):
            msg = f"{self._reading.group} gave {len(results)} results for {len(events)} events"
            raise RuntimeError(msg)
        return results
