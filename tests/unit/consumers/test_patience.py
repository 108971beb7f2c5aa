"""A stage waits for a dependency for as long as it takes."""

import asyncio

import pytest

from consumers._patience import FIRST_WAIT_S, LONGEST_WAIT_S, Abandoned, patiently, wait_after
from rfr_stream.errors import Unavailable


@pytest.mark.parametrize("waits", [10, 1_100, 1_000_000])
def test_an_outage_of_days_is_asked_after_as_often_as_one_of_minutes(waits: int) -> None:
    assert LONGEST_WAIT_S / 2 <= wait_after(waits) <= LONGEST_WAIT_S


def test_a_fleet_does_not_come_back_as_one() -> None:
    first = {wait_after(0) for _ in range(50)}
    assert len(first) > 40
    assert all(FIRST_WAIT_S / 2 <= wait <= FIRST_WAIT_S for wait in first)


async def test_what_came_back_is_asked_again() -> None:
    outages = iter([Unavailable(), Unavailable()])

    async def attempt() -> str:
        if outage := next(outages, None):
            raise outage
        return "there"

    assert await patiently(attempt, group="rfr-test", let_go=asyncio.Event()) == "there"


async def test_a_stage_that_must_let_go_waits_no_longer() -> None:
    async def attempt() -> None:
        raise Unavailable

    let_go = asyncio.Event()
    waiting = asyncio.create_task(patiently(attempt, group="rfr-test", let_go=let_go))
    await asyncio.sleep(0)
    let_go.set()
    with pytest.raises(Abandoned):
        await waiting
