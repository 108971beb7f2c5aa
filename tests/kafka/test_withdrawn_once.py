"""A reviewer who takes support back withdraws the lead that rested on it: once, whatever dies in between.

Only who has not acknowledged it makes it be said again.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import builders
import pytest
import pytest_asyncio
from chain import Chain, Talk, running
from recall import (
    confirmed,
    decides,
    given_out,
    leads_of,
    nothing_owed,
    relaying,
    reviewing,
    takes_back,
    withdrawals_of,
)

from rfr_stream.events import CandidatesReady
from rfr_stream.ports import Outbox, Outgoing, Turn

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with running(tmp_path_factory.mktemp("amendment")) as (chain, _):
        yield chain


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(chain: Chain) -> AsyncIterator[Talk]:
    async with chain.talking() as talk:
        await talk.register_reviewers()
        await talk.ledger.register(builders.supervisor(competent_until=datetime.now(UTC) + timedelta(days=1)))
        yield talk


class Died(Exception):
    """The process died here."""


@dataclass(frozen=True)
class DiesUnmarked:
    """An outbox whose relay dies between sending and marking."""

    inner: Outbox

    async def take_turn(self) -> Turn | None:
        return await self.inner.take_turn()

    async def unpublished(self, limit: int) -> list[Outgoing]:
        return await self.inner.unpublished(limit)

    async def published(self, event_ids: Sequence[UUID]) -> None:
        if event_ids:
            raise Died


async def withdrawn_once(talk: Talk, found: CandidatesReady) -> None:
    """Wait until all was said, and then a little longer: it may have been said once."""
    await talk.ear.until(lambda: withdrawals_of(talk, found), within_s=120)
    await nothing_owed(talk)
    await asyncio.sleep(1)
    assert len(withdrawals_of(talk, found)) == len(leads_of(talk, found)) == 1


async def test_a_second_version_withdraws_the_lead_once_however_often_it_and_a_supervisor_say_so(
    chain: Chain, talk: Talk
) -> None:
    with reviewing(chain):
        found = await given_out(talk)
        await talk.say(takes_back(found), takes_back(found), builders.withdrawal(found.submission), takes_back(found))
        await withdrawn_once(talk, found)

    case = await talk.ledger.case(found.submission.submission_id)
    assert case
    assert [said.version for said in case.decisions if said.reviewer_id == "reviewer-b"] == [1, 2]
    assert case.withdrawal is None, "the reviewer was first; nobody had to order it"


async def test_a_withdrawal_that_was_promised_and_never_sent_is_sent_once(chain: Chain, talk: Talk) -> None:
    found = await confirmed(talk)
    await decides(talk, takes_back(found))
    with reviewing(chain):
        await withdrawn_once(talk, found)


async def test_a_withdrawal_that_was_sent_and_not_marked_is_not_sent_again(chain: Chain, talk: Talk) -> None:
    found = await confirmed(talk)
    await decides(talk, takes_back(found))
    async with relaying(talk, DiesUnmarked(talk.ledger)) as dies:
        with pytest.raises(Died):
            await dies
    await talk.ear.until(lambda: withdrawals_of(talk, found))
    assert [out.event.event_id for out in await talk.ledger.unpublished(1)] == withdrawals_of(talk, found)

    with reviewing(chain):
        await withdrawn_once(talk, found)


async def test_a_reminder_is_sent_by_whoever_starts_after_it_was_promised(talk: Talk) -> None:
    """What it reminds of lies at the topic's end; a relay that takes it for sent would silence it."""
    await talk.ledger.subscribe("forgetful", datetime.now(UTC))
    found = await confirmed(talk)
    await decides(talk, builders.withdrawal(found.submission))
    async with relaying(talk):
        await talk.ear.until(lambda: withdrawals_of(talk, found))
        await nothing_owed(talk)
    assert await talk.ledger.remind(datetime.now(UTC)) >= 1

    async with relaying(talk):
        await nothing_owed(talk)
        await talk.ear.until(lambda: len(withdrawals_of(talk, found)) == 2)


async def test_kill_9_somewhere_in_between_leaves_one_withdrawal_with_one_id(chain: Chain, talk: Talk) -> None:
    found: list[CandidatesReady] = []
    for wait_s in (0.0, 0.02, 0.05, 0.1, 0.3):
        with reviewing(chain) as process:  # it first finishes what the one before it left
            found.append(await given_out(talk))
            await talk.say(takes_back(found[-1]))
            await asyncio.sleep(wait_s)
            process.kill()
    with reviewing(chain):
        for each in found:
            await talk.ear.until(lambda each=each: withdrawals_of(talk, each), within_s=120)  # type: ignore[misc]
        await nothing_owed(talk)

    for each in found:
        said = withdrawals_of(talk, each)
        assert len(set(said)) == 1
        assert len(said) <= 2, "one kill repeats it once at most"
