"""Stages 4 and 5 of 5: CANDIDATES, OUTCOMES, DECISIONS, ACKNOWLEDGEMENTS -> IDENTIFICATIONS, OUTCOMES, and back.

Back to SUBMISSIONS goes what somebody has chosen a face of, and to TEMPLATES what a standing search asks again.
Needs ledger and verifier. Four readers, each with its own group, so that a burst of lists never delays a decision; one
relay, which alone writes what the ledger has promised.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
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
from rfr_stream.events import CandidatesReady, LeadAcknowledged, Signed, SubjectUnclear, SubmissionClosed
from rfr_stream.ports import Ledger, Verifier
from rfr_stream.settings import ReviewSettings, Settings
from topics import access
from topics.bus import Bus

(HOLD_GROUP,) = topics.CANDIDATES.groups
NOTE_GROUP, _ = topics.OUTCOMES.groups
(REVIEW_GROUP,) = topics.DECISIONS.groups
(ACKNOWLEDGEMENT_GROUP,) = topics.ACKNOWLEDGEMENTS.groups


@dataclass(frozen=True, slots=True)
class Sweep:
    """What time brings: cases expire, searches lapse, seeds are sown, subscribers are reminded of withdrawals."""

    ledger: Ledger
    relay: Relay
    settings: ReviewSettings

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            now = datetime.now(UTC)
            opened_before = now - timedelta(days=self.settings.expire_after_days)
            expire = partial(stages.expire, cases=self.ledger, opened_before=opened_before, now=now)
            expired = await _patiently(expire)
            sown = await _patiently(partial(self.ledger.sow, self.settings.seeded_share, now))
            unanswered = now - timedelta(hours=self.settings.remind_after_hours)
            reminded = await _patiently(partial(self.ledger.remind, unanswered))
            lapsed = await _patiently(partial(self.ledger.lapse, now))
            if expired or sown or reminded or lapsed:
                self.relay.wake()
            if not expired:
                await asyncio.sleep(self.settings.sweep_every_s)


@dataclass(frozen=True, slots=True)
class Renewal:
    """Asks again for whoever is still sought, once references that met their probe have been gathered."""

    ledger: Ledger
    relay: Relay
    settings: Settings

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            people_n = self.settings.search.list_length
            renew = partial(self.ledger.renew, people_n=people_n, now=datetime.now(UTC))
            if await _patiently(renew):
                self.relay.wake()
            await asyncio.sleep(self.settings.standing.look_every_s)


async def _patiently(attempt: Callable[[], Awaitable[int]]) -> int:
    return await patiently(attempt, group=REVIEW_GROUP, let_go=asyncio.Event())


def mount(bus: Bus, settings: Settings, *, ledger: Ledger, verifier: Verifier) -> list[Task]:
    """Wire the stage to its topics; returns what must run."""
    relay = Relay(bus, ledger)

    async def hold(batch: Sequence[CandidatesReady | SubjectUnclear]) -> Sequence[Result]:
        held = await stages.hold(batch, ledger=ledger, now=datetime.now(UTC))
        relay.wake()
        return held

    async def note(batch: Sequence[SubmissionClosed]) -> Sequence[Result]:
        return await stages.note(batch, cases=ledger, now=datetime.now(UTC))

    async def acknowledge(batch: Sequence[LeadAcknowledged]) -> Sequence[Result]:
        return await stages.acknowledge(batch, subscribers=ledger)

    async def decide(said: Signed) -> None:
        await stages.decide(said, ledger=ledger, verifier=verifier, now=datetime.now(UTC))
        relay.wake()

    subscribe(bus, topics.DECISIONS, REVIEW_GROUP, decide, settings=settings)
    return [
        mount_stage(bus, Stage(HOLD_GROUP, topics.CANDIDATES, hold), settings),
        mount_stage(bus, Stage(NOTE_GROUP, topics.OUTCOMES, note), settings),
        mount_stage(bus, Stage(ACKNOWLEDGEMENT_GROUP, topics.ACKNOWLEDGEMENTS, acknowledge), settings),
        relay,
        Sweep(ledger, relay, settings.review),
        Renewal(ledger, relay, settings),
    ]


def create_app() -> FastStream:
    """Build the stage's own application from the environment."""
    settings = Settings()
    bus = Bus.from_settings(settings, client_id=REVIEW_GROUP, rights=access.REVIEW.rights)
    ledger = opening.ledger(settings)
    return serve(
        bus,
        ledger,
        tasks=mount(bus, settings, ledger=ledger, verifier=opening.verifier(settings)),
        metrics_port=settings.metrics_port,
    )
