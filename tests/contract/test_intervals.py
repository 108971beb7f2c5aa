"""Our score interval and SciPy's are the same, wherever SciPy is (no dependency: scikit-image brings it)."""

import pytest

from rfr_stream.conduct import Proportion


def test_the_interval_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")

    for n in (1, 2, 5, 19, 100, 2_319, 29_956):
        for k in {0, 1, n // 7, n // 2, n - 1, n}:
            expected = stats.binomtest(k, n).proportion_ci(method="wilson")
            assert Proportion(k, n).interval == pytest.approx((expected.low, expected.high), abs=1e-12)
