"""Shares and their intervals, against published values, a second formula and another implementation."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfr_stream.conduct import Proportion, Spread, proportion, spread


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # R. G. Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17 (1998),
        # table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_the_one_that_newcombe_printed(k: int, n: int, low: float, high: float) -> None:
    assert Proportion(k, n).interval == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (0, 100, 0, 0.0369935),
        (0, 3_000, 0, 0.00127885),
        (1, 100, 0.00176743, 0.0544862),
        (5, 100, 0.02154368, 0.11175047),
        (7, 7_000, 0.00048449, 0.00206289),
    ],
)
def test_the_interval_is_what_our_requirements_say(k: int, n: int, low: float, high: float) -> None:
    assert Proportion(k, n).interval == pytest.approx((low, high), abs=1e-7)


counts = st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(max_examples=40)
@given(counts)
def test_the_interval_holds_the_rates_that_a_test_of_the_count_would_not_reject(count: tuple[int, int]) -> None:
    """Wilson's own definition: at either end the count lies 1.96 standard errors of that rate from it."""
    k, n = count
    low, high = Proportion(k, n).interval

    assert 0 <= low <= k / n <= high <= 1
    for rate in {low, high} - {0.0, 1.0}:
        assert abs(k / n - rate) == pytest.approx(1.959964 * math.sqrt(rate * (1 - rate) / n), rel=1e-5)


def test_of_nothing_counted_nothing_is_known() -> None:
    assert Proportion(0, 0).share is None
    assert Proportion(0, 0).interval == (0.0, 1.0)


@settings(max_examples=40)
@given(st.lists(st.booleans()))
def test_a_proportion_counts(hits: list[bool]) -> None:
    assert proportion(hits) == Proportion(sum(hits), len(hits))


def test_a_spread_is_the_middle_and_the_shortest_tenth() -> None:
    assert spread([*map(float, range(1, 12)), None]) == Spread(median=6.0, p10=2.0)
    assert spread([None]) is None
