"""Batches whose items may fall out: one item's fate never touches the others, and every item keeps its place."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypeVar

from rfr_stream.errors import Rejected, settle
from rfr_stream.events import SubjectUnclear, SubmissionClosed

T = TypeVar("T")
U = TypeVar("U")

Settled: TypeAlias = Rejected | SubmissionClosed | SubjectUnclear
"""The fate of an item that is known already; later steps pass it by."""


async def in_batch(
    step: Callable[[list[T]], Awaitable[Sequence[U | Settled]]], items: Sequence[T | Settled]
) -> list[U | Settled]:
    """Run a batch step over the items that still stand, and keep the places of those that do not.

    Raises:
        ValueError: the step did not answer each item once.

    """
    standing = [item for item in items if not isinstance(item, Settled)]
    answers = await step(standing) if standing else ()
    if len(answers) != len(standing):
        msg = f"a batch step gave {len(answers)} answers to {len(standing)} items"
        raise ValueError(msg)
    answer = iter(answers)
    return [item if isinstance(item, Settled) else next(answer) for item in items]


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
