"""Quick work on the loop, slow work in threads; the results in the order of the items either way."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, sleep

import pytest

from rfr_stream.adapters import _threads
from rfr_stream.adapters._threads import SLICE_S, SMALL_BYTES, each

LOOP = threading.main_thread().name


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3, thread_name_prefix="aside") as executor:
        yield executor


def weightless(_: object) -> int:
    return 0


def spin(seconds: float) -> str:
    until = perf_counter() + seconds
    while perf_counter() < until:
        pass
    return threading.current_thread().name


async def test_quick_items_stay_on_the_loop(threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "SLICE_S", 60.0)  # however busy the machine is
    assert set(await each(lambda _: spin(0), range(50), threads=threads, bytes_of=weightless)) == {LOOP}


async def test_what_follows_slow_items_goes_to_threads(threads: ThreadPoolExecutor) -> None:
    where = await each(spin, [2 * SLICE_S] * 7, threads=threads, bytes_of=weightless)
    assert where[0] == LOOP
    assert LOOP not in where[1:]


async def test_a_large_item_is_not_even_begun_on_the_loop(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_threads, "SLICE_S", 60.0)
    sizes = [1, SMALL_BYTES, SMALL_BYTES + 1, 1]
    where = await each(lambda _: spin(0), sizes, threads=threads, bytes_of=int)
    assert where[:2] == [LOOP, LOOP]
    assert LOOP not in where[2:]


async def test_the_loop_turns_between_slices_of_quick_work_and_what_others_do_then_is_not_held_against_it(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slice_s = 0.1
    monkeypatch.setattr(_threads, "SLICE_S", slice_s)
    monkeypatch.setattr(_threads, "QUICK", 2)  # a busy machine may take most of a slice for itself
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            spin(2 * slice_s)
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    where = await each(spin, [slice_s / 20] * 100, threads=threads, bytes_of=weightless)
    other.cancel()
    assert turns >= 3
    assert set(where) == {LOOP}


@pytest.mark.parametrize("seconds", [0.0, SLICE_S])
async def test_results_keep_the_order_of_their_items(threads: ThreadPoolExecutor, seconds: float) -> None:
    def numbered(number: int) -> int:
        spin(seconds)
        return number

    assert await each(numbered, range(20), threads=threads, bytes_of=weightless) == list(range(20))


async def test_no_items_are_no_work(threads: ThreadPoolExecutor) -> None:
    assert await each(spin, [], threads=threads, bytes_of=weightless) == []


async def test_an_error_is_the_callers_on_the_loop_and_in_threads_alike(threads: ThreadPoolExecutor) -> None:
    for size in (0, SMALL_BYTES + 1):
        with pytest.raises(ZeroDivisionError):
            await each(lambda divisor: 1 // (divisor * 0), [size], threads=threads, bytes_of=int)


async def test_an_error_is_raised_once_no_thread_is_at_work_any_more(threads: ThreadPoolExecutor) -> None:
    finished: list[int] = []

    def fail_at_once_or_finish_late(number: int) -> None:
        if number == 0:
            raise LookupError
        sleep(0.05)
        finished.append(number)

    with pytest.raises(LookupError):
        await each(fail_at_once_or_finish_late, range(3), threads=threads, bytes_of=lambda _: SMALL_BYTES + 1)
    assert sorted(finished) == [1, 2]
