"""Who was told of a lead, and who must hear of its withdrawal again: one law for every ledger."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import builders
import ledger_worker
import pytest
from builders import LATER, NOW

from rfr_stream import review
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.memory.ledger import MemoryLedger
from rfr_stream.events import CandidatesReady, IdentificationConfirmed, IdentificationWithdrawn, Support
from rfr_stream.ports import Case, Change, Ledger

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield MemoryLedger()
        elif request.param == "sqlite":
            yield await stack.enter_async_context(SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}"))
        else:
            url = request.getfixturevalue("postgresql_server").fresh()
            yield await stack.enter_async_context(SqlLedger(url))


async def publish(ledger: Ledger) -> list[str]:
    """Say what is owed, and return its kinds."""
    owed = await ledger.unpublished(100)
    await ledger.published([out.event.event_id for out in owed])
    return [out.event.ce_type for out in owed]


async def given_out(ledger: Ledger, found: CandidatesReady | None = None) -> IdentificationConfirmed:
    """Confirm a case and publish its lead."""
    found = found or builders.candidates_ready()
    await ledger.apply(ledger_worker.changes([found]))
    promised = [out.event for out in await ledger.unpublished(100)]
    await publish(ledger)
    (lead,) = [event for event in promised if isinstance(event, IdentificationConfirmed)]
    return lead


async def withdrawn(ledger: Ledger, lead: IdentificationConfirmed) -> IdentificationWithdrawn:
    """Withdraw a lead, and publish that."""
    order = builders.withdrawal(builders.submission(case_ref=lead.case_ref))
    assert order.submission_id == lead.submission_id
    recall = review.withdrawn(order, builders.supervisor(), LATER)
    (case,) = await ledger.apply([Change(order.submission_id, order.event_id, recall)])
    assert isinstance(case, Case)
    promised = [out.event for out in await ledger.unpublished(100)]
    await publish(ledger)
    (withdrawal,) = [event for event in promised if isinstance(event, IdentificationWithdrawn)]
    return withdrawal


def soon() -> datetime:
    """Return a moment after everything that was published so far."""
    return datetime.now(UTC) + timedelta(minutes=1)


class TestSubscribers:
    async def test_a_subscriber_is_registered_since_the_earliest_moment_that_was_said(self, ledger: Ledger) -> None:
        for since in (LATER, NOW, LATER):
            await ledger.subscribe("case-system-2", since)
        await ledger.subscribe("case-system-1", LATER)

        assert await ledger.subscribed() == {"case-system-1": LATER, "case-system-2": NOW}
        assert list(await ledger.subscribed()) == ["case-system-1", "case-system-2"]

    async def test_nobody_is_registered_at_first(self, ledger: Ledger) -> None:
        assert await ledger.subscribed() == {}


class TestReminders:
    async def test_a_withdrawal_is_promised_again_until_whoever_had_the_lead_has_it(self, ledger: Ledger) -> None:
        lead = await given_out(ledger)
        await ledger.acknowledge([builders.acknowledged(lead)])
        withdrawal = await withdrawn(ledger, lead)

        for _ in range(2):
            assert await ledger.remind(soon()) == 1
            (owed,) = await ledger.unpublished(10)
            assert (owed.event, owed.again) == (withdrawal, True)
            assert await ledger.remind(soon()) == 0, "it is owed already"
            assert await publish(ledger) == [withdrawal.ce_type]

        await ledger.acknowledge([builders.acknowledged(withdrawal)])
        assert await ledger.remind(soon()) == 0
        assert await ledger.unpublished(10) == []

    async def test_a_registered_subscriber_is_reminded_though_it_never_acknowledged_the_lead(
        self, ledger: Ledger
    ) -> None:
        await ledger.subscribe("case-system-1", LONG_AGO)
        withdrawal = await withdrawn(ledger, await given_out(ledger))

        assert await ledger.remind(soon()) == 1
        await ledger.acknowledge([builders.acknowledged(withdrawal, subscriber="case-system-2")])
        await publish(ledger)
        assert await ledger.remind(soon()) == 1, "somebody else's word is not theirs"

        await publish(ledger)
        await ledger.acknowledge([builders.acknowledged(withdrawal)])
        assert await ledger.remind(soon()) == 0

    async def test_nobody_is_reminded_who_subscribed_after_the_lead(self, ledger: Ledger) -> None:
        lead = await given_out(ledger)
        await ledger.subscribe("case-system-1", datetime.now(UTC) + timedelta(seconds=1))
        await withdrawn(ledger, lead)

        assert await ledger.remind(soon()) == 0

    async def test_all_must_have_it_each_by_its_own_word(self, ledger: Ledger) -> None:
        await ledger.subscribe("case-system-1", LONG_AGO)
        lead = await given_out(ledger)
        await ledger.acknowledge([builders.acknowledged(lead, subscriber=f"case-system-{n}") for n in (2, 3)])
        withdrawal = await withdrawn(ledger, lead)

        for n in (3, 1, 2):
            assert await ledger.remind(soon()) == 1
            await publish(ledger)
            await ledger.acknowledge([builders.acknowledged(withdrawal, subscriber=f"case-system-{n}")])
        assert await ledger.remind(soon()) == 0

    async def test_nothing_is_said_again_before_its_time(self, ledger: Ledger) -> None:
        await ledger.subscribe("case-system-1", LONG_AGO)
        before = datetime.now(UTC)
        await withdrawn(ledger, await given_out(ledger))

        assert await ledger.remind(before) == 0

    async def test_a_lead_that_stands_is_no_reminder(self, ledger: Ledger) -> None:
        await ledger.subscribe("case-system-1", LONG_AGO)
        await given_out(ledger)

        assert await ledger.remind(soon()) == 0

    async def test_a_withdrawal_that_was_never_published_is_owed_for_the_first_time(self, ledger: Ledger) -> None:
        await ledger.subscribe("case-system-1", LONG_AGO)
        found = builders.candidates_ready()
        order = builders.withdrawal()
        recall = review.withdrawn(order, builders.supervisor(), LATER)
        await ledger.apply(ledger_worker.changes([found]))
        await ledger.apply([Change(order.submission_id, order.event_id, recall)])

        assert await ledger.remind(soon()) == 0
        assert not [out for out in await ledger.unpublished(10) if out.again]

    async def test_only_the_withdrawals_that_somebody_lacks_are_said_again(self, ledger: Ledger) -> None:
        await ledger.subscribe("case-system-1", LONG_AGO)
        lists = [builders.candidates_ready(builders.submission(case_ref=f"case-{n}")) for n in range(3)]
        recalled = [await withdrawn(ledger, await given_out(ledger, found)) for found in lists]
        await ledger.acknowledge([builders.acknowledged(recalled[1])])
        await ledger.published([uuid4()])

        assert await ledger.remind(soon()) == 2
        assert [out.event for out in await ledger.unpublished(10)] == [recalled[0], recalled[2]]

    async def test_a_lead_that_its_own_reviewer_takes_back_is_reminded_of_too(self, ledger: Ledger) -> None:
        await ledger.subscribe("case-system-1", LONG_AGO)
        found = builders.candidates_ready()
        await given_out(ledger, found)
        amended = builders.decision(
            found, support=Support.STRONG_DIFFERENT, version=2, reason="a scar is on the other side"
        )
        takes_back = review.decided(amended, builders.reviewer(), LATER)
        await ledger.apply([Change(amended.submission_id, amended.event_id, takes_back)])
        await publish(ledger)

        assert await ledger.remind(soon()) == 1
