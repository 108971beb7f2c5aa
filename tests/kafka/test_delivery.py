"""Delivery on a real broker: whatever happens to a stage, each message ends once, and in one of three ways."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import builders
import lab
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError
from lab import Lab
from prometheus_client import REGISTRY

import topics
from consumers._envelope import Result
from consumers._pipeline import Stage, mount
from consumers._work import TooManyDeadLetters
from rfr_stream.errors import BadImage, Rejected, Unavailable
from rfr_stream.events import Event, Outcome, ReviewDecided, SubmissionClosed
from rfr_stream.settings import KafkaSettings, PipelineSettings
from topics import Record
from topics.bus import Bus, SendFailed
from topics.embedded import EmbeddedKafka
from topics.tail import read_tail

UNHURRIED_S = 1.0
"""How long a batch takes where something must happen in mid-work: the work left takes many times the looking."""


@pytest.fixture
async def here(broker: EmbeddedKafka, tmp_path: Path) -> AsyncIterator[Lab]:
    """A topic, keys and a folder for this test alone."""
    await lab.create(broker.bootstrap_servers, {topics.OUTCOMES.name: 4})
    async with lab.opened(broker.bootstrap_servers, tmp_path) as one:
        yield one


async def test_what_goes_in_comes_out_once_and_each_key_keeps_its_order(here: Lab) -> None:
    await here.say(here.decisions(range(400)))
    async with here.working(lab.answer):
        found = await here.hear(range(400))
        await here.settle(400)
    assert found == {key: list(range(n, 400, 8)) for n, key in enumerate(here.keys)}
    assert not await here.dead()


def spoiled(here: Lab) -> dict[str, Record]:
    """Return one record for each way of being no event; the names are what must be said of it."""
    good = here.topic.encode(here.decisions([1])[0])
    value, headers = good.value or b"", dict(good.headers)
    torn: dict[str, bytes] = {"ce_type": b"\xff\xfe", "ce_id": b"\x80", "x": b"\xc3\x28"}
    null: dict[str, bytes | None] = {**headers, "ce_type": None}
    return {
        "Invalid JSON": replace(good, value=value[:-9]),
        "?: Extra inputs": replace(good, value=value[:-1] + b',"surprise":1}'),
        "header ce_type": replace(good, headers=tuple(torn.items())),
        "header ce_type: must": replace(good, headers=tuple(null.items())),  # type: ignore[arg-type]
        "key: not": replace(good, key=b"somebody else's"),
        "value: must be 1": replace(good, value=None),
        "demo: True": here.topic.encode(here.decisions([1])[0].model_copy(update={"demo": True})),
    }


async def test_each_poisoned_message_is_kept_whole_with_its_reason_while_the_stage_goes_on(here: Lab) -> None:
    poison = spoiled(here)
    await here.say(here.decisions(range(10)))
    await here.send(list(poison.values()))
    await here.say(here.decisions(range(10, 20)))
    async with here.working(lab.answer):
        await here.hear(range(20))
        letters = await here.bury(len(poison))
        await here.settle(20 + len(poison))
    for reason, original in poison.items():
        (letter,) = [each for each in letters if is_made_of(each, original)]
        assert reason in letter.header("x-rfr-error")
        assert letter.header("x-rfr-topic") == here.topic.name
        assert letter.header("x-rfr-group") == here.group
        assert letter.header("x-rfr-attempt") == "1"
        assert letter.header("x-rfr-offset").isdecimal()
        assert letter.header("x-rfr-partition").isdecimal()
        assert letter.header("x-rfr-first-seen") <= letter.header("x-rfr-failed-at")
    assert {letter.header("x-rfr-reason") for letter in letters} == {"malformed", "not_permitted"}


def is_made_of(letter: Record, original: Record) -> bool:
    """Whether the dead letter holds the original, byte for byte, before what is said about it."""
    whole = letter.headers[: len(original.headers)] == original.headers
    return whole and (letter.key, letter.value) == (original.key, original.value)


async def test_a_message_without_key_and_value_is_dead_lettered_too(here: Lab) -> None:
    await send_nothing(here)
    async with here.working(lab.answer):
        (letter,) = await here.bury(1)
        await here.settle(1)
    assert (letter.key, letter.value) == (None, b"")
    assert letter.header("x-rfr-reason") == "malformed"


async def send_nothing(here: Lab) -> None:
    """Write a record that has neither key nor value, as other clients can."""
    async with AIOKafkaProducer(**here.options) as producer:
        batch = producer.create_batch()
        batch.append(key=None, value=None, timestamp=None)
        await (await producer.send_batch(batch, here.topic.name, partition=0))


async def test_the_sender_of_a_rejected_submission_is_told(here: Lab) -> None:
    await lab.create(here.servers, {topics.SUBMISSIONS.name: 4, topics.SUBMISSIONS.dead(here.group): 1})
    event = builders.image_submitted(builders.submission(str(here.keys[0])))
    await here.send([topics.SUBMISSIONS.encode(event)])

    async def refuse(events: Sequence[Event]) -> list[Rejected]:
        return [BadImage("image: the file is empty") for _ in events]

    async with here.bus() as bus:
        pipeline = mount(
            bus,
            Stage(here.group, topics.SUBMISSIONS, refuse),
            settings=PipelineSettings(),
            instance="0",
            demo=False,
            journal_dir=here.folder,
            membership=lab.BRIEF,
        )
        await bus.broker.start()
        running = asyncio.create_task(pipeline.run())
        here.keys = [event.submission.submission_id]
        told = await lab.until(partial(outcomes, here), bool)
        pipeline.stop()
        await running
        await bus.broker.stop()
    assert [closed.outcome for closed in told] == [Outcome.UNREADABLE]


async def outcomes(here: Lab) -> list[SubmissionClosed]:
    events = [topics.OUTCOMES.decode(kept.record) for kept in await read_tail(here.options, topics.OUTCOMES.name)]
    return [event for event in events if isinstance(event, SubmissionClosed) and event.submission_id in here.keys]


async def test_a_dependency_that_is_away_longer_than_the_poll_interval_costs_neither_order_nor_membership(
    here: Lab,
) -> None:
    back, calls = asyncio.Event(), 0

    async def until_back(events: Sequence[ReviewDecided]) -> Sequence[Result]:
        nonlocal calls
        calls += 1
        if not back.is_set():
            raise Unavailable
        return await lab.answer(events)

    async def both_ready() -> bool:
        return one.ready and other.ready

    impatient = replace(lab.BRIEF, max_poll_interval_ms=2_000)
    await here.say(here.decisions(range(100)))
    async with (
        here.working(until_back, membership=impatient, instance="0") as one,
        here.working(until_back, membership=impatient, instance="1") as other,
    ):
        await lab.until(both_ready, bool)
        given = one.times_assigned + other.times_assigned
        await asyncio.sleep(6)  # three times as long as a member that does not poll would be kept
        assert await both_ready()
        assert REGISTRY.get_sample_value("rfr_ready", {"group": here.group}) == 1
        back.set()
        found = await here.hear(range(100))
        await here.settle(100)
        assert one.times_assigned + other.times_assigned == given
    assert calls > 4
    assert found == {key: list(range(n, 100, 8)) for n, key in enumerate(here.keys)}
    assert not await here.dead()


async def test_too_many_dead_letters_in_a_row_stop_the_stage(here: Lab) -> None:
    await here.say(here.decisions(range(40), how="rejected"))
    async with here.bus() as bus:
        pipeline = here.pipeline(bus, lab.answer, dead_letter_ceiling=20)
        await bus.broker.start()
        with pytest.raises(TooManyDeadLetters):
            await asyncio.wait_for(pipeline.run(), 20)
        await bus.broker.stop()
    assert len(await here.dead()) < 20
    assert await here.committed() < 20


class UnansweredBus(Bus):
    """A bus whose records the cluster never acknowledges."""

    async def queue(self, records: Sequence[Record]) -> Sequence["asyncio.Future[object]"]:
        """Take the records; fail after longer than several commits would take."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[object]] = [loop.create_future() for _ in records]
        for future in futures:
            loop.call_later(1.0, future.set_exception, KafkaTimeoutError())
        return futures


async def test_a_failed_send_ends_the_stage_and_nothing_was_committed_meanwhile(here: Lab) -> None:
    await here.say(here.decisions(range(8)))
    async with UnansweredBus(KafkaSettings(), bootstrap_servers=here.servers, client_id="test") as bus:
        pipeline = here.pipeline(bus, lab.answer, commit_every_ms=20)
        await bus.broker.start()
        with pytest.raises(SendFailed):
            await asyncio.wait_for(pipeline.run(), 20)
        await bus.broker.stop()
    assert await here.committed() == 0


def supervise(here: Lab, *, times: int, beside: str | None = None) -> list[int]:
    """Start a process again whenever it dies, as a supervisor would; return how each ended."""
    return [here.member(beside=beside).wait(60) for _ in range(times)]


async def test_a_bug_ends_the_process_and_leaves_the_offset(here: Lab) -> None:
    await here.say(here.decisions(range(20)))
    await here.say([lab.decision(here.keys[0], 20, "bug")])
    (ended,) = await asyncio.to_thread(supervise, here, times=1)
    assert ended == 1
    assert await here.committed() <= 20
    assert not await here.dead()
    log = (here.folder / "0.log").read_text()
    assert log.count('"task.failed"') == 1
    assert "LookupError" in log
    assert str(here.keys[0]) not in log


async def test_what_was_in_flight_at_a_kill_comes_again(here: Lab) -> None:
    await here.say(here.decisions(range(400)))
    for _ in range(3):
        process = here.member(work_s=UNHURRIED_S)
        assert await here.hear_more(20) < 400
        process.kill()
        process.wait()
    process = here.member()
    found = await here.hear(range(400), within_s=60)
    process.terminate()
    assert await asyncio.to_thread(process.wait, 15) == 0
    for n, key in enumerate(here.keys):
        assert lab.without_repeats(found[key]) == list(range(n, 400, 8))
    assert not await here.dead()


async def test_a_message_that_kills_its_process_three_times_is_set_aside_and_its_neighbours_survive(here: Lab) -> None:
    await here.say(here.decisions(range(24)))
    await here.say([lab.decision(here.keys[0], 24, "kills")])
    await here.say(here.decisions(range(25, 50)))
    assert await asyncio.to_thread(supervise, here, times=3) == [-9, -9, -9]
    process = here.member()
    await here.hear({*range(24), *range(25, 50)})
    (letter,) = await here.bury(1)
    await here.settle(50)
    process.terminate()
    assert await asyncio.to_thread(process.wait, 15) == 0
    assert letter.header("x-rfr-reason") == "poisonous"
    assert b'"24"' in (letter.value or b"")


async def test_a_stage_beside_the_one_that_is_killed_is_not_taken_for_the_culprit(here: Lab, tmp_path: Path) -> None:
    async with lab.opened(here.servers, tmp_path) as other:
        await here.say([lab.decision(here.keys[0], 0, "kills later")])
        await other.say([lab.decision(other.keys[0], 0, "slow")])
        assert await asyncio.to_thread(supervise, here, times=3, beside=other.topic.noun) == [-9, -9, -9]
        process = here.member(beside=other.topic.noun)
        await here.bury(1)
        await other.hear([0])
        await other.settle(1)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 15) == 0
        assert not await other.dead()


async def test_a_term_signal_drains_within_a_supervisors_grace_and_nothing_is_lost_or_doubled(here: Lab) -> None:
    await here.say(here.decisions(range(400)))
    for _ in range(2):
        process = here.member(work_s=UNHURRIED_S)
        assert await here.hear_more(20) < 400
        process.terminate()
        assert await asyncio.to_thread(process.wait, lab.GRACE_S) == 0
    process = here.member()
    await here.hear(range(400))
    await here.settle(400)
    process.terminate()
    assert await asyncio.to_thread(process.wait, lab.GRACE_S) == 0
    assert await here.heard() == {key: list(range(n, 400, 8)) for n, key in enumerate(here.keys)}


async def test_a_broker_that_dies_and_comes_back_loses_nothing(here: Lab, broker: EmbeddedKafka) -> None:
    await here.say(here.decisions(range(200)))

    async def slowly(events: Sequence[ReviewDecided]) -> Sequence[Result]:
        await asyncio.sleep(UNHURRIED_S)
        return await lab.answer(events)

    async with here.working(slowly):
        assert await here.hear_more(20) < 200
        await asyncio.to_thread(broker.kill)
        await broker.restart()
        found = await here.hear(range(200), within_s=60)
        await here.settle(200, within_s=30)
    for n, key in enumerate(here.keys):
        assert lab.without_repeats(found[key]) == list(range(n, 200, 8))
