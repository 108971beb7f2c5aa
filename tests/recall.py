"""A lead that is given out and taken back, the whole way on a real broker: what people do, and what is heard."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import builders
from chain import Chain, Talk, variables

import topics
from consumers._relay import Relay
from rfr_stream.events import (
    CandidatesReady,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ReviewDecided,
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


def a_list() -> CandidatesReady:
    """Return the list of a new submission."""
    return builders.candidates_ready(builders.submission(case_ref=f"case-{uuid4()}"))


async def listed(talk: Talk) -> CandidatesReady:
    """Say such a list, whose references are held, and wait until people may decide."""
    found = a_list()
    await talk.ledger.hold(builders.references_of(found))
    await talk.say(found)
    async with asyncio.timeout(60):
        while await talk.ledger.case(found.submission.submission_id) is None:  # noqa: ASYNC110 - a database tells nobody
            await asyncio.sleep(0.05)
    return found


async def given_out(talk: Talk) -> CandidatesReady:
    """Let two people confirm a new submission, and hear the lead."""
    found = await listed(talk)
    await talk.say(*(builders.decision(found, by=by) for by in ("reviewer-a", "reviewer-b")))
    await talk.ear.until(lambda: leads_of(talk, found), within_s=60)
    return found


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
    async with asyncio.timeout(30):
        while await talk.ledger.unpublished(1):  # noqa: ASYNC110 - a database tells nobody
            await asyncio.sleep(0.05)
