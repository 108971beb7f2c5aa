"""Batches whose items may fall out: one item's fate never touches the others, and every item keeps its place."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypeVar

from rfr_stream.errors import Rejected, settle
from rfr_stream.events import SubmissionClosed

T = TypeVar("T")
U = TypeVar("U")

Settled: TypeAlias = Rejected | SubmissionClosed
"""The fate of an item that is known already; later steps pass it by."""


async def in_batch(
    step: Callable[[list[T]], Awaitable[Sequence[U | Settled]]], items: Sequence[T | Settled]
) -> list[U | Settled]:
    """Run a batch step over the items that still stand, and keep the places of those that do not."""
    standing = [item for item in items if not isinstance(item, Settled)]
    done = iter(await step(standing)) if standing else iter(())
    results = [item if isinstance(item, Settled) else next(done) for item in items]
    if next(done, None) is not None:
        msg = "a batch step must answer each item once"
        raise ValueError(msg)
    return results


def one_by_one(function: Callable[[T], U | Settled], items: Sequence[T | Settled]) -> list[U | Settled]:
    """Apply a function to the items that still stand; one that it rejects falls out."""
    return [item if isinstance(item, Settled) else settle(function, item) for item in items]


def paired(left: Sequence[T | Settled], right: Sequence[U | Settled]) -> list[tuple[T, U] | Settled]:
    """Pair two columns; a row falls out where either side has."""
    rows: list[tuple[T, U] | Settled] = []
    for one, other in zip(left, right, strict=True):
        if isinstance(one, Settled):
            rows.append(one)
        elif isinstance(other, Settled):
            rows.append(other)
        else:
            rows.append((one, other))
    return rows
