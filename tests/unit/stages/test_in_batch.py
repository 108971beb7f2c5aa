"""Batches whose items may fall out."""

from collections.abc import Sequence

import builders
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfr_stream.errors import BadImage, Malformed, Unavailable
from rfr_stream.stages._batch import Settled, in_batch, one_by_one, paired

FALLEN: list[Settled] = [Malformed("field: wrong"), builders.closed()]
items = st.lists(st.one_of(st.integers(-9, 9), st.sampled_from(FALLEN)), max_size=8)


async def double(numbers: list[int]) -> list[int | Settled]:
    return [FALLEN[0] if number < 0 else 2 * number for number in numbers]


def doubled(item: int | Settled) -> int | Settled:
    return item if isinstance(item, Settled) else FALLEN[0] if item < 0 else 2 * item


@settings(max_examples=40)
@given(items)
async def test_every_item_keeps_its_place(batch: list[int | Settled]) -> None:
    assert await in_batch(double, batch) == list(map(doubled, batch))


async def test_a_step_sees_only_what_still_stands() -> None:
    seen: list[list[int]] = []

    async def step(numbers: list[int]) -> list[int]:
        seen.append(numbers)
        return numbers

    await in_batch(step, [1, FALLEN[0], 2, FALLEN[1]])
    assert seen == [[1, 2]]


@pytest.mark.parametrize("batch", [[], FALLEN])
async def test_a_step_is_not_called_where_nothing_stands(batch: list[Settled]) -> None:
    async def step(numbers: list[int]) -> list[int]:
        raise AssertionError(numbers)

    assert await in_batch(step, batch) == batch


@pytest.mark.parametrize("answers", [[], [1], [1, 2, 3]])
async def test_a_step_that_does_not_answer_each_item_once_is_a_bug(answers: list[int]) -> None:
    async def step(_: list[int]) -> list[int]:
        return answers

    with pytest.raises(ValueError, match="answers to 2 items"):
        await in_batch(step, [1, FALLEN[0], 2])


def test_one_rejected_item_does_not_touch_the_others() -> None:
    fault = BadImage("image: wrong")

    def picky(number: int) -> int:
        if number == 2:
            raise fault
        return number

    assert one_by_one(picky, [1, 2, FALLEN[1], 3]) == [1, fault, FALLEN[1], 3]


def test_an_outage_is_no_items_fault() -> None:
    def away(_: int) -> int:
        raise Unavailable

    with pytest.raises(Unavailable):
        one_by_one(away, [1])


def test_a_row_falls_out_where_either_side_has() -> None:
    left: Sequence[int | Settled] = [1, FALLEN[0], 3, FALLEN[0]]
    right: Sequence[str | Settled] = ["a", "b", FALLEN[1], FALLEN[1]]
    assert paired(left, right) == [(1, "a"), FALLEN[0], FALLEN[1], FALLEN[0]]


def test_columns_of_two_lengths_are_a_bug() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired([1], [1, 2])
