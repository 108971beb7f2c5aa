"""Quick work on the event loop, slow work in threads.

A hop into a thread and back costs more than a small file does; and a thread that makes many short calls waits for the
interpreter lock after each of them while the loop works, and makes the loop wait in turn. So what is quick is done
where it stands, in slices between which the loop turns; once items turn out to be slow, the rest goes to threads.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

SLICE_S: Final = 0.005
"""After how long the loop turns."""
QUICK: Final = 5
"""So many items must fit into a slice: one that takes a millisecond is worth a hop."""
SMALL_BYTES: Final = 131_072
"""What is larger is never begun on the loop; a picture of 200 x 200 is smaller, and so is every embedder's chip."""


async def each(
    function: Callable[[T], R], items: Sequence[T], *, threads: ThreadPoolExecutor, bytes_of: Callable[[T], int]
) -> list[R]:
    """Apply the function to every item; results in the order of the items.

    Args:
        function: what is to be done with each.

        items: in any number.

        threads: where slow and large ones go.

        bytes_of: what an item weighs: the most that the function may have to read, write or make of it.

    """
    done: list[R] = []
    slice_began, in_slice = perf_counter(), 0
    for item in items:
        if bytes_of(item) > SMALL_BYTES:
            break
        if perf_counter() - slice_began > SLICE_S:
            if in_slice < QUICK:
                break
            await asyncio.sleep(0)
            slice_began, in_slice = perf_counter(), 0
        done.append(function(item))
        in_slice += 1
    return done + await _in_threads(function, items[len(done) :], threads)


async def _in_threads(function: Callable[[T], R], items: Sequence[T], threads: ThreadPoolExecutor) -> list[R]:
    """Apply the function to every item in threads; results in the order of the items.

    Items are dealt out like cards, one hand to a thread: a hop costs as much as a small item. If one fails, its error
    is raised once no thread is at work any more.
    """
    hands = min(len(items), threads._max_workers)  # noqa: SLF001 - the executor does not tell otherwise
    loop = asyncio.get_running_loop()
    played = await asyncio.gather(
        *(loop.run_in_executor(threads, _apply, function, items[hand::hands]) for hand in range(hands)),
        return_exceptions=True,
    )
    for hand in played:
        if isinstance(hand, BaseException):
            raise hand
    return [played[place % hands][place // hands] for place in range(len(items))]  # type: ignore[index]  # none failed


def _apply(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [function(item) for item in items]
