"""Who is told what became of a submission: each outcome in its turn, and nobody waits for somebody else's receiver."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import builders
import pytest
from prometheus_client import REGISTRY

from consumers._patience import Abandoned, patiently
from consumers.callbacks import GROUP, Teller
from rfr_stream.errors import Unavailable, Undelivered
from rfr_stream.events import Outcome, SubmissionClosed
from rfr_stream.reception import Client, Door

SLOW, QUICK = Client("slow", Door.UNIT), Client("quick", Door.OFFICER)
CONFIRMED: Final = builders.closed(Outcome.CONFIRMED)
WITHDRAWN: Final = builders.closed(Outcome.WITHDRAWN)
OTHER: Final = builders.closed(Outcome.NO_FACE, submission_id=UUID(int=7))


@dataclass
class Sent:
    """Who sent what."""

    by: Mapping[UUID, Sequence[Client]]
    is_away: bool = False
    waits: Iterator[float] = field(default_factory=lambda: iter([0.01] + [0] * 99))
    """Whoever asks first waits longest."""

    async def to_tell(self, outcomes: Sequence[SubmissionClosed]) -> Mapping[UUID, Sequence[Client]]:
        if self.is_away:
            msg = "ledger"
            raise Unavailable(msg)
        await asyncio.sleep(next(self.waits))
        sent = [closed for closed in outcomes if closed.submission_id in self.by]
        return {closed.event_id: self.by[closed.submission_id] for closed in sent}


@dataclass
class Receivers:
    """Remember what they were told; the slow one has something only once it is let go, or never takes it."""

    told: defaultdict[str, list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    go: asyncio.Event = field(default_factory=asyncio.Event)
    is_down: bool = False

    async def tell(self, client: Client, closed: SubmissionClosed) -> None:
        if client is SLOW:
            await self.go.wait()
            await asyncio.sleep(0.01 if closed is CONFIRMED else 0)  # what comes later would come first
        if client is SLOW and self.is_down:
            msg = "callback of slow: answered 503, 5 times"
            raise Undelivered(msg)
        self.told[client.name].append(closed.outcome)


def sent(**by: Sequence[Client]) -> Sent:
    ids = {"confirmed": CONFIRMED.submission_id, "other": OTHER.submission_id}
    return Sent({ids[name]: clients for name, clients in by.items()})


async def test_nobody_is_told_what_nobody_sent() -> None:
    receivers = Receivers()
    assert await Teller(sent(), receivers).tell([CONFIRMED, OTHER]) == [None, None]
    assert receivers.told == {}


async def test_everybody_is_told_who_sent_the_same() -> None:
    receivers = Receivers()
    receivers.go.set()
    assert await Teller(sent(confirmed=[SLOW, QUICK]), receivers).tell([CONFIRMED]) == [None]
    assert receivers.told == {"slow": [Outcome.CONFIRMED], "quick": [Outcome.CONFIRMED]}


async def test_a_receiver_that_hangs_keeps_nobody_else_waiting() -> None:
    receivers = Receivers()
    teller = Teller(sent(confirmed=[SLOW], other=[QUICK]), receivers)
    first = asyncio.create_task(teller.tell([CONFIRMED]))
    assert await teller.tell([OTHER]) == [None]
    assert receivers.told == {"quick": [Outcome.NO_FACE]}
    assert not first.done()
    receivers.go.set()
    assert await first == [None]


@pytest.mark.parametrize("is_one_batch", [True, False])
async def test_outcomes_of_one_submission_are_told_in_their_order(*, is_one_batch: bool) -> None:
    receivers = Receivers()
    teller = Teller(sent(confirmed=[SLOW]), receivers)
    batches = [[CONFIRMED, WITHDRAWN]] if is_one_batch else [[CONFIRMED], [WITHDRAWN]]
    telling = [asyncio.create_task(teller.tell(batch)) for batch in batches]
    await asyncio.sleep(0.02)
    receivers.go.set()
    await asyncio.gather(*telling)
    assert receivers.told == {"slow": [Outcome.CONFIRMED, Outcome.WITHDRAWN]}


async def test_what_is_not_taken_is_set_aside_with_the_reason_and_counted() -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("rfr_callbacks_total", {"result": "failed"}) or 0

    before = counted()
    receivers = Receivers(is_down=True)
    receivers.go.set()
    (fault, fine) = await Teller(sent(confirmed=[SLOW, QUICK], other=[QUICK]), receivers).tell([CONFIRMED, OTHER])
    assert isinstance(fault, Undelivered)
    assert "answered 503" in str(fault)
    assert fine is None
    assert receivers.told == {"quick": [Outcome.CONFIRMED, Outcome.NO_FACE]}
    assert counted() == before + 1


async def test_while_the_ledger_is_away_the_batch_waits_and_nothing_goes_on_behind_its_back() -> None:
    receivers = Receivers()
    senders = sent(confirmed=[QUICK])
    senders.is_away = True
    with pytest.raises(Unavailable):
        await Teller(senders, receivers).tell([CONFIRMED, OTHER])
    assert receivers.told == {}


def telling(teller: Teller, let_go: asyncio.Event, *outcomes: SubmissionClosed) -> "asyncio.Task[Any]":
    """Have a batch in hand as the stage has."""
    patient: Coroutine[Any, Any, Any] = patiently(lambda: teller.tell(outcomes), group=GROUP, let_go=let_go)
    return asyncio.create_task(patient)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whoever waits for the ledger ask again soon; the first of them last."""
    waits = iter([0.3])
    monkeypatch.setattr("consumers._patience.wait_after", lambda _: next(waits, 0.001))


@pytest.mark.usefixtures("soon")
async def test_a_later_outcome_waits_for_an_earlier_one_that_waits_for_the_ledger_and_others_do_not() -> None:
    receivers, let_go = Receivers(), asyncio.Event()
    senders = sent(confirmed=[QUICK], other=[QUICK])
    senders.is_away = True
    teller = Teller(senders, receivers)
    first = telling(teller, let_go, CONFIRMED)
    await asyncio.sleep(0.01)
    senders.is_away = False
    await asyncio.gather(telling(teller, let_go, WITHDRAWN), telling(teller, let_go, OTHER), first)
    assert receivers.told == {"quick": [Outcome.NO_FACE, Outcome.CONFIRMED, Outcome.WITHDRAWN]}


@pytest.mark.usefixtures("soon")
async def test_behind_one_that_was_abandoned_nothing_is_told_and_both_come_again() -> None:
    receivers, let_go = Receivers(), asyncio.Event()
    senders = sent(confirmed=[QUICK])
    senders.is_away = True
    teller = Teller(senders, receivers)
    both = [telling(teller, let_go, each) for each in (CONFIRMED, WITHDRAWN)]
    await asyncio.sleep(0.01)
    senders.is_away = False
    let_go.set()
    assert [type(each) for each in await asyncio.gather(*both, return_exceptions=True)] == [Abandoned, Abandoned]
    assert receivers.told == {}
    async with asyncio.timeout(5):
        await asyncio.gather(*(telling(teller, asyncio.Event(), each) for each in (CONFIRMED, WITHDRAWN)))
    assert receivers.told == {"quick": [Outcome.CONFIRMED, Outcome.WITHDRAWN]}


@pytest.mark.usefixtures("soon")
async def test_behind_one_that_was_abandoned_while_another_batch_asked_nothing_is_told_either() -> None:
    receivers, let_go = Receivers(), asyncio.Event()
    senders = sent(confirmed=[QUICK], other=[QUICK])
    senders.is_away = True
    teller = Teller(senders, receivers)
    first = telling(teller, let_go, CONFIRMED)
    await asyncio.sleep(0.01)
    senders.is_away = False
    asking, second = telling(teller, let_go, OTHER), telling(teller, let_go, WITHDRAWN)
    await asyncio.sleep(0.001)  # the one asks, and the other is in line
    let_go.set()
    ends = await asyncio.gather(first, asking, second, return_exceptions=True)
    assert [type(each) for each in ends] == [Abandoned, list, Abandoned]
    assert receivers.told == {"quick": [Outcome.NO_FACE]}


@pytest.mark.usefixtures("soon")
async def test_what_comes_again_does_not_wait_for_what_was_cancelled() -> None:
    receivers, let_go = Receivers(), asyncio.Event()
    senders = sent(confirmed=[QUICK])
    senders.is_away = True
    teller = Teller(senders, receivers)
    first = telling(teller, let_go, CONFIRMED)
    await asyncio.sleep(0.01)
    senders.is_away = False
    again = telling(teller, let_go, CONFIRMED)
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(5):
        assert await again == [None]
