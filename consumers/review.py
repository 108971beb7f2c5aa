"""Stages 4 and 5 of 5: CANDIDATES, OUTCOMES, DECISIONS -> IDENTIFICATIONS, OUTCOMES. Needs ledger, verifier.

Three readers, each with its own group, so that a burst of lists never delays a decision; one relay, which alone
writes what the ledger has promised.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from faststream import FastStream

import topics
from consumers._envelope import Result
from consumers._patience import patiently
from consumers._pipeline import Stage, mount_stage
from consumers._relay import Relay
from consumers._runtime import Task, serve, subscribe
from rfr_stream import stages
from rfr_stream.adapters import opening
from rfr_stream.events import CandidatesReady, ReviewDecided, SubmissionClosed
from rfr_stream.ports import Cases, Ledger, Verifier
from rfr_stream.settings import ReviewSettings, Settings
from topics.bus import Bus

(HOLD_GROUP,) = topics.CANDIDATES.groups
(NOTE_GROUP,) = topics.OUTCOMES.groups
(REVIEW_GROUP,) = topics.DECISIONS.groups


@dataclass(frozen=True, slots=True)
class Sweep:
    """Closes cases that waited too long for people."""

    cases: Cases
    relay: Relay
    settings: ReviewSettings

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            now = datetime.now(UTC)
            opened_before = now - timedelta(days=self.settings.expire_after_days)
            expire = partial(stages.expire, cases=self.cases, opened_before=opened_before, now=now)
            if await patiently(expire, group=REVIEW_GROUP, let_go=asyncio.Event()):
                self.relay.wake()
            else:
                await asyncio.sleep(self.settings.sweep_every_s)


def mount(bus: Bus, settings: Settings, *, ledger: Ledger, verifier: Verifier) -> list[Task]:
    """Wire the stage to its topics; returns what must run."""
    relay = Relay(bus, ledger)

    async def hold(batch: Sequence[CandidatesReady]) -> Sequence[Result]:
        held = await stages.hold(batch, cases=ledger, now=datetime.now(UTC))
        relay.wake()
        return held

    async def note(batch: Sequence[SubmissionClosed]) -> Sequence[Result]:
        return await stages.note(batch, cases=ledger, now=datetime.now(UTC))

    async def decide(decision: ReviewDecided) -> None:
        await stages.decide(decision, ledger=ledger, verifier=verifier, now=datetime.now(UTC))
        relay.wake()

    subscribe(bus, topics.DECISIONS, REVIEW_GROUP, decide, settings=settings)
    return [
        mount_stage(bus, Stage(HOLD_GROUP, topics.CANDIDATES, hold), settings),
        mount_stage(bus, Stage(NOTE_GROUP, topics.OUTCOMES, note), settings),
        relay,
        Sweep(ledger, relay, settings.review),
    ]


def create_app() -> FastStream:
    """Build the stage's own application from the environment."""
    settings = Settings()
    bus = Bus.from_settings(settings, client_id=REVIEW_GROUP)
    ledger = opening.ledger(settings)
    return serve(
        bus,
        ledger,
        tasks=mount(bus, settings, ledger=ledger, verifier=opening.verifier()),
        metrics_port=settings.metrics_port,
    )
