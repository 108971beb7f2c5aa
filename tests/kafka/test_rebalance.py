"""Members of a group come and go under load: nothing is lost, each key keeps its order, repeats are rare."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from uuid import UUID

import lab
import pytest
from lab import Lab

import topics
from consumers._envelope import Result
from consumers._pipeline import Pipeline
from rfr_stream.events import ReviewDecided
from topics.embedded import EmbeddedKafka

MOST_IN_FLIGHT = (2 + 8) * 8
"""Batches of one member between taken and committed, times their size."""


@pytest.fixture
async def here(broker: EmbeddedKafka, tmp_path: Path) -> AsyncIterator[Lab]:
    """A topic, keys and a folder for this test alone."""
    await lab.create(broker.bootstrap_servers, {topics.OUTCOMES.name: 4})
    async with lab.opened(broker.bootstrap_servers, tmp_path) as one:
        yield one


def repeats(found: dict[UUID, list[int]]) -> int:
    said = list(chain(*found.values()))
    return len(said) - len(set(said))


def in_order(here: Lab, found: dict[UUID, list[int]], n: int) -> bool:
    return all(
        lab.without_repeats(found[key]) == list(range(first, n, len(here.keys))) for first, key in enumerate(here.keys)
    )


async def test_members_that_join_and_leave_in_order_lose_and_repeat_nothing(here: Lab) -> None:
    both_have_worked = asyncio.Event()

    async def slowly(events: Sequence[ReviewDecided]) -> Sequence[Result]:
        await asyncio.sleep(0 if both_have_worked.is_set() else 0.5)
        return await lab.answer(events)

    await here.say(here.decisions(range(2_000)))
    async with here.working(slowly, instance="0") as first:
        await here.hear_more(100)
        async with here.working(slowly, instance="1") as second:
            await lab.until(partial(times_assigned, first, second), lambda times: times >= (2, 1))
            assert await here.hear_more(100) < 2_000
            both_have_worked.set()
        found = await here.hear(range(2_000), within_s=60)
        await here.settle(2_000)
    assert in_order(here, found, 2_000)
    assert repeats(found) == 0


async def times_assigned(*members: Pipeline) -> tuple[int, ...]:
    return tuple(member.times_assigned for member in members)


async def test_when_a_member_is_killed_another_takes_over_and_repeats_no_more_than_was_in_flight(here: Lab) -> None:
    await here.say(here.decisions(range(600)))
    one, other = (here.member(instance=name, work_s=0.5) for name in ("0", "1"))
    await lab.until(partial(both_at_work, here), bool)
    assert await here.hear_more(40) < 600
    one.kill()
    one.wait()
    found = await here.hear(range(600), within_s=60)
    await here.settle(600)
    other.terminate()
    assert await asyncio.to_thread(other.wait, 60) == 0
    assert in_order(here, found, 600)
    assert repeats(found) <= MOST_IN_FLIGHT


async def both_at_work(here: Lab) -> bool:
    """Whether each of two processes has been given its half of the four partitions."""
    logs = [here.folder / f"{name}.log" for name in ("0", "1")]
    given = [[line for line in log.read_text().splitlines() if '"partitions.assigned"' in line] for log in logs]
    return all(lines and '"count":2' in lines[-1].replace(" ", "") for lines in given)


async def test_what_comes_later_than_the_drain_allows_is_neither_published_nor_committed(here: Lab) -> None:
    hanging = asyncio.Event()

    async def hangs_at_first(events: Sequence[ReviewDecided]) -> Sequence[Result]:
        if not hanging.is_set():
            hanging.set()
            with suppress(asyncio.CancelledError):  # deaf to being told to stop: its answer comes after all
                await asyncio.Event().wait()
        return await lab.answer(events)

    await here.say(here.decisions(range(200)))
    async with here.working(hangs_at_first, instance="0", drain_s=1, depth=1) as first:
        await hanging.wait()
        async with here.working(lab.answer, instance="1", drain_s=1) as second:
            await lab.until(partial(times_assigned, first, second), lambda times: times >= (2, 1))
            found = await here.hear(range(200))
            await here.settle(200)
            await asyncio.sleep(2)
            assert await here.committed() == 200
    assert in_order(here, found, 200)
    assert repeats(await here.heard()) == 0
