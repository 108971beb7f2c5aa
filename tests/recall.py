"""A lead that is given out and taken back, the whole way on a real broker: what people do, and what is heard."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import builders
import ledger_worker
from chain import Chain, Talk, variables

import topics
from consumers._relay import Relay
from rfr_stream import stages
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.events import (
    CandidatesReady,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ReviewDecided,
    Signed,
    Support,
)
from rfr_stream.ports import Outbox

REVIEW = "import asyncio; from consumers import review; asyncio.run(review.create_app().run())"


@contextlib.contextmanager
def reviewing(chain: Chain) -> Iterator["subprocess.Popen[bytes]"]:
    """The review stage in a process of its own, without any model; killed in the end, as a power cut would."""
    command = ["env", *variables(chain.settings), sys.executable, "-c", REVIEW]
    with (chain.settings.data_dir / "review.log").open("ab") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            yield process
        finally:
            process.kill()


@asynccontextmanager
async def relaying(talk: Talk, outbox: Outbox | None = None) -> AsyncIterator["asyncio.Task[None]"]:
    """A relay at work; it is killed in the end."""
    running = asyncio.create_task(Relay(talk.bus, outbox or talk.ledger).run())
    try:
        yield running
    finally:
        running.cancel()
        await asyncio.wait([running])


def a_list(person: str = "person-1") -> CandidatesReady:
    """Return the list of a new submission."""
    return builders.candidates_ready(builders.submission(case_ref=f"case-{uuid4()}"), people=(person,))


async def given_out(talk: Talk, person: str = "person-1") -> CandidatesReady:
    """Let two people confirm a new submission at the review stage, and hear the lead."""
    found = a_list(person)
    await talk.ledger.hold(builders.references_of(found))
    await talk.say(found)
    async with asyncio.timeout(120):
        while await talk.ledger.case(found.submission.submission_id) is None:  # noqa: ASYNC110 - a database tells nobody
            await asyncio.sleep(0.05)
    await talk.say(*(builders.decision(found, by=by, person_id=person) for by in ("reviewer-a", "reviewer-b")))
    await talk.ear.until(lambda: leads_of(talk, found), within_s=120)
    return found


async def confirmed(talk: Talk) -> CandidatesReady:
    """Let the ledger alone confirm a new submission, and a relay say so."""
    found = a_list()
    await talk.ledger.hold(builders.references_of(found))
    await talk.ledger.apply(ledger_worker.changes([found]))
    async with relaying(talk):
        await nothing_owed(talk)
    return found


async def decides(talk: Talk, said: Signed) -> None:
    """Let the ledger count what somebody signed, in a process that dies before its relay looks."""
    await stages.decide(said, ledger=talk.ledger, verifier=KeyVerifier(), now=builders.LATER)


def takes_back(found: CandidatesReady) -> ReviewDecided:
    """Return the second version of a reviewer who changed their mind."""
    return builders.decision(
        found, by="reviewer-b", support=Support.STRONG_DIFFERENT, version=2, reason="the scar is on the other side"
    )


def leads_of(talk: Talk, found: CandidatesReady) -> list[UUID]:
    return said_of(talk, found, IdentificationConfirmed)


def withdrawals_of(talk: Talk, found: CandidatesReady) -> list[UUID]:
    """Return the `ce_id` of each record that withdraws this lead, repeats included."""
    return said_of(talk, found, IdentificationWithdrawn)


def said_of(
    talk: Talk, found: CandidatesReady, kind: type[IdentificationConfirmed | IdentificationWithdrawn]
) -> list[UUID]:
    said = [event for event in talk.ear.events[topics.IDENTIFICATIONS] if isinstance(event, kind)]
    return [event.event_id for event in said if event.submission_id == found.submission.submission_id]


async def nothing_owed(talk: Talk) -> None:
    async with asyncio.timeout(120):
        while await talk.ledger.unpublished(1):  # noqa: ASYNC110 - a database tells nobody
            await asyncio.sleep(0.05)
