"""One message at a time on a real broker: the same three ends as in batches, whatever FastStream would do."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import lab
import pytest
from lab import Lab
from prometheus_client import REGISTRY

import topics
from consumers._envelope import Result
from consumers._membership import Membership
from consumers._runtime import serve, subscribe
from rfr_stream.errors import Unavailable
from rfr_stream.events import ReviewDecided
from rfr_stream.settings import Settings
from topics.bus import Bus
from topics.embedded import EmbeddedKafka


@pytest.fixture
async def here(broker: EmbeddedKafka, tmp_path: Path) -> AsyncIterator[Lab]:
    """A topic, keys and a folder for this test alone."""
    await lab.create(broker.bootstrap_servers, {topics.OUTCOMES.name: 4})
    async with lab.opened(broker.bootstrap_servers, tmp_path) as one:
        yield one


async def one_at_a_time(event: ReviewDecided) -> Result:
    return (await lab.answer([event]))[0]


@asynccontextmanager
async def subscribed(
    here: Lab, handle: lab.Handle = one_at_a_time, *, instance: str = "0", membership: Membership = lab.BRIEF
) -> AsyncIterator[Bus]:
    """A subscription at work in this process."""
    settings = Settings(data_dir=here.folder, instance=instance)
    async with here.bus() as bus:
        subscribe(bus, here.topic, here.group, handle, settings=settings, membership=membership)
        await bus.broker.start()
        try:
            yield bus
        finally:
            await bus.broker.stop()


async def test_what_goes_in_comes_out_once_in_order(here: Lab) -> None:
    await here.say(here.decisions(range(100)))
    async with subscribed(here):
        found = await here.hear(range(100))
        await here.settle(100)
        lags = [
            REGISTRY.get_sample_value("rfr_lag_messages", {"group": here.group, "partition": str(n)}) for n in range(4)
        ]
    assert found == {key: list(range(n, 100, 8)) for n, key in enumerate(here.keys)}
    assert {lag for lag in lags if lag is not None} == {0}


async def test_poison_is_dead_lettered_even_where_its_headers_are_no_text(here: Lab) -> None:
    good = here.topic.encode(here.decisions([1])[0])
    garbage = replace(good, headers=(("ce_type", b"\xff\xfe"), ("x", None)))  # type: ignore[arg-type]
    await here.say(here.decisions(range(10)))
    await here.send([garbage, replace(good, value=b"{")])
    await here.say([lab.decision(here.keys[0], 98, "rejected")])
    await here.say(here.decisions(range(10, 20)))
    async with subscribed(here):
        await here.hear(range(20))
        letters = await here.bury(3)
        await here.settle(23)
    assert [letter.header("x-rfr-reason") for letter in letters].count("bad_image") == 1
    (kept,) = [letter for letter in letters if letter.headers[:2] == garbage.headers]
    assert kept.value == garbage.value


async def test_an_outage_longer_than_the_poll_interval_costs_neither_order_nor_membership(here: Lab) -> None:
    back, asked = asyncio.Event(), set[str]()

    async def until_back(event: ReviewDecided, *, member: str) -> Result:
        asked.add(member)
        if not back.is_set():
            raise Unavailable
        return await one_at_a_time(event)

    async def who_asked() -> set[str]:
        return asked

    impatient = replace(lab.BRIEF, max_poll_interval_ms=2_000)
    await here.say(here.decisions(range(40)))
    async with (
        subscribed(here, partial(until_back, member="0"), instance="0", membership=impatient),
        subscribed(here, partial(until_back, member="1"), instance="1", membership=impatient),
    ):
        await lab.until(who_asked, lambda members: members == {"0", "1"})
        await asyncio.sleep(6)  # three times as long as a member that does not poll would be kept
        back.set()
        found = await here.hear(range(40))
        await here.settle(40)
    assert found == {key: list(range(n, 40, 8)) for n, key in enumerate(here.keys)}
    assert not await here.dead()


async def test_a_bug_ends_the_process_with_the_offset_where_it_was(here: Lab) -> None:
    key = here.keys[0]  # one key is one partition: what follows the bug lies behind it
    await here.say([lab.decision(key, n, "bug" if n == 5 else "well") for n in range(10)])
    process = here.member(by_subscription=True)
    assert await asyncio.to_thread(process.wait, 30) == 1
    assert await here.committed() == 5
    assert (await here.heard())[key] == list(range(5))
    assert not await here.dead()
    assert (here.folder / "0.log").read_text().count('"task.failed"') == 1


async def test_a_message_that_kills_three_times_is_set_aside(here: Lab) -> None:
    key = here.keys[0]
    await here.say([lab.decision(key, n, "kills" if n == 5 else "well") for n in range(10)])
    for _ in range(3):
        assert await asyncio.to_thread(here.member(by_subscription=True).wait, 30) == -9
    process = here.member(by_subscription=True)
    (letter,) = await here.bury(1)
    await here.settle(10)
    process.terminate()
    assert await asyncio.to_thread(process.wait, 60) == 0
    assert letter.header("x-rfr-reason") == "poisonous"
    assert lab.without_repeats((await here.heard())[key]) == [0, 1, 2, 3, 4, 6, 7, 8, 9]


async def test_a_term_signal_ends_it_in_order(here: Lab) -> None:
    await here.say(here.decisions(range(200)))
    process = here.member(by_subscription=True, work_s=0.2)
    assert await here.hear_more(20) < 200
    process.terminate()
    assert await asyncio.to_thread(process.wait, 60) == 0
    async with subscribed(here):
        found = await here.hear(range(200))
    assert found == {key: list(range(n, 200, 8)) for n, key in enumerate(here.keys)}


class Resource:
    """Something that a stage needs, and that writes down when it is opened and closed."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self._name, self._diary = name, diary

    async def __aenter__(self) -> None:
        self._diary.append(f"open {self._name}")

    async def __aexit__(self, *_: object) -> None:
        self._diary.append(f"close {self._name}")


async def test_resources_are_open_before_the_first_message_and_closed_in_reverse_after_the_last(here: Lab) -> None:
    diary: list[str] = []

    async def noted(events: Sequence[ReviewDecided]) -> Sequence[Result]:
        diary.append("message")
        return await lab.answer(events)

    async def beside() -> None:
        diary.append("beside")
        await asyncio.Event().wait()

    await here.say(here.decisions(range(8)))
    bus = here.bus()
    app = serve(bus, Resource("store", diary), Resource("model", diary), tasks=[here.pipeline(bus, noted), beside])
    collects = gc.get_threshold()
    running = asyncio.create_task(app.run())
    await here.hear(range(8))
    app.exit()
    await running
    assert gc.get_threshold() == collects
    assert diary[:3] == ["open store", "open model", "beside"]
    assert diary[-2:] == ["close model", "close store"]
    assert set(diary[3:-2]) == {"message"}
    assert await here.committed() == 8


async def test_told_to_end_while_it_starts_it_ends_all_that_it_started_before_it_closes_anything(here: Lab) -> None:
    diary: list[str] = []

    async def beside() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            diary.append("beside ended")

    bus = here.bus()
    app = serve(bus, Resource("store", diary), tasks=[here.pipeline(bus, lab.answer), beside])
    app.exit()
    await app.run()
    assert diary == ["open store", "beside ended", "close store"]


async def test_when_one_stage_fails_the_others_are_drained_and_the_process_ends_with_an_error(
    here: Lab, broker: EmbeddedKafka, tmp_path: Path
) -> None:
    async with lab.opened(broker.bootstrap_servers, tmp_path) as other:
        await other.say(other.decisions(range(200)))
        process = here.member(work_s=0.5, beside=other.topic.noun)
        assert await other.hear_more(20) < 200
        await here.say([lab.decision(here.keys[0], 0, "bug")])
        assert await asyncio.to_thread(process.wait, 20) == 1
        assert await other.committed() == sum(map(len, (await other.heard()).values()))
        assert await here.committed() == 0
