"""Outcomes told to clients, on a real broker: once, signed, and whatever becomes of somebody else's receiver."""

import asyncio
import hmac
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import uuid4

import builders
import lab
import pytest
from receiver import DOWN, OK, Receiver, Told, receiving

import topics
from consumers import callbacks
from rfr_stream.adapters import opening
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.reception import SqlReception
from rfr_stream.events import Outcome, SubmissionClosed
from rfr_stream.reception import Client, Door, token_of
from rfr_stream.settings import CallbackSettings, KafkaSettings, Settings
from topics import admin
from topics.bus import Bus
from topics.embedded import EmbeddedKafka
from topics.tail import Kept, read_tail

SOON: Final = {"attempts": 3, "first_wait_s": 0.2, "longest_wait_s": 0.5, "timeout_s": 1.0}


@dataclass
class Telling:
    """A ledger that knows who sent what, and a bus on which outcomes are said."""

    settings: Settings
    bus: Bus
    store: SqlReception

    async def sent_by(self, name: str, receiver: Receiver | None, *outcomes: Outcome) -> list[SubmissionClosed]:
        """Let a client have sent something that ended in these ways, one after the other."""
        callback = f"http://127.0.0.1:{receiver.port}/{name}" if receiver else None
        if await self.store.client(name) is None:
            await self.store.add(name, Door.OFFICER, callback)
        about = uuid4()
        await self.store.note(name, [about], builders.NOW)
        return [builders.closed(each, submission_id=about) for each in outcomes]

    async def said(self, *closed: SubmissionClosed) -> None:
        for each in closed:
            await self.bus.publish([each])

    async def dead(self) -> list[Kept]:
        return await read_tail(self.bus.options, topics.OUTCOMES.dead(callbacks.GROUP))

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Run the consumer in this process, on a connection of its own."""
        async with AsyncExitStack() as stack:
            bus = await stack.enter_async_context(Bus.from_settings(self.settings, client_id="callbacks"))
            receivers = await stack.enter_async_context(opening.callbacks(self.settings))
            stage = callbacks.mount(bus, self.settings, senders=self.store, callbacks=receivers)
            await bus.broker.start()
            stack.push_async_callback(bus.broker.stop)
            running = asyncio.create_task(stage.run())
            try:
                yield
            finally:
                stage.stop()
                await running


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """One of its own: a new group reads all that was ever said, and here others say what nobody may."""
    kafka = EmbeddedKafka(tmp_path_factory.mktemp("callbacks"))
    asyncio.run(kafka.start())
    yield kafka
    asyncio.run(kafka.stop())


@pytest.fixture
async def telling(broker: EmbeddedKafka, tmp_path: Path) -> AsyncIterator[Telling]:
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
    await admin.apply(kafka)
    settings = Settings(data_dir=tmp_path, kafka=kafka, callbacks=CallbackSettings(**SOON))
    ledger_file = tmp_path / "ledger.db"
    async with Bus.from_settings(settings, client_id="test") as bus, SqlLedger(f"sqlite:///{ledger_file}") as ledger:
        yield Telling(settings, bus, SqlReception(ledger))


def is_signed(told: Told, name: str, settings: Settings) -> bool:
    """Verify as a receiver would that has its token."""
    token = token_of(Client(name, Door.OFFICER), settings.intake_key_file.read_bytes())
    digest = f"sha-256=:{b64encode(sha256(told.body).digest()).decode()}:"
    lines = f"callback {told.headers['RFR-Id']}\n{told.headers['RFR-Timestamp']}\n{digest}"
    return hmac.new(token.encode(), lines.encode(), "sha256").hexdigest() == told.headers["RFR-Signature"]


def states(receiver: Receiver) -> list[str]:
    return [json.loads(told.body)["state"] for told in receiver.told]


async def test_each_outcome_is_told_once_signed_in_order_and_to_whoever_sent_it(telling: Telling) -> None:
    async with receiving(Receiver()) as mine, receiving(Receiver()) as theirs:
        silent = await telling.sent_by("no-callback", None, Outcome.NO_FACE)
        both = await telling.sent_by("portal-1", mine, Outcome.CONFIRMED, Outcome.WITHDRAWN)
        other = await telling.sent_by("portal-2", theirs, Outcome.NOT_CONFIRMED)
        nobodys = builders.closed(Outcome.EXPIRED, submission_id=uuid4())
        async with telling.at_work():
            await telling.said(*silent, nobodys, *both, *other)
            await mine.until(2)
            await theirs.until(1)
        async with telling.at_work():  # what was told and committed is not told again
            last = await telling.sent_by("portal-2", theirs, Outcome.UNREADABLE)
            await telling.said(*last)
            await theirs.until(2)
    assert states(mine) == ["confirmed", "withdrawn"]
    assert states(theirs) == ["not_confirmed", "unreadable"]
    assert [is_signed(told, "portal-1", telling.settings) for told in mine.told] == [True, True]
    assert [json.loads(told.body)["submission_id"] for told in mine.told] == [str(each.submission_id) for each in both]
    assert not is_signed(theirs.told[0], "portal-1", telling.settings)


async def test_a_receiver_that_was_away_is_told_when_it_is_back(telling: Telling) -> None:
    async with receiving(Receiver(lambda n: DOWN if n < 2 else OK)) as receiver, telling.at_work():
        await telling.said(*await telling.sent_by("portal-1", receiver, Outcome.NO_CANDIDATES))
        await receiver.until(3)
    assert len({told.headers["RFR-Id"] for told in receiver.told}) == 1


async def test_a_receiver_that_hangs_keeps_no_other_waiting_and_what_it_misses_is_set_aside(telling: Telling) -> None:
    async with receiving(Receiver(lambda _: None)) as hanging, receiving(Receiver()) as other, telling.at_work():
        missed = [(await telling.sent_by("hanging", hanging, Outcome.NO_FACE))[0] for _ in range(40)]
        heard = [(await telling.sent_by("portal-2", other, Outcome.NO_FACE))[0] for _ in range(40)]
        await hanging_first(telling, missed[0], hanging)
        began = time.monotonic()
        for one, another in zip(missed[1:], heard[1:], strict=True):
            await telling.said(one, another)
        await telling.said(heard[0])
        await other.until(40)
        took_s = time.monotonic() - began
        letters = await lab.until(telling.dead, lambda letters: len(letters) >= 40)
    assert took_s < 20
    assert {letter.record.fault("reason") for letter in letters} == {"undelivered"}
    assert {letter.record.fault("error").partition(":")[0] for letter in letters} == {"callback of hanging"}
    assert all(b"portal" not in (letter.record.value or b"") for letter in letters)
    assert len({told.headers["RFR-Id"] for told in hanging.told}) < 40, "one that is away is not asked for each"


async def hanging_first(telling: Telling, first: SubmissionClosed, hanging: Receiver) -> None:
    await telling.said(first)
    await hanging.until(1)
