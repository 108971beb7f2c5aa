"""How many of how many, and what that says of the rate behind it."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

_Z: Final = 1.959963984540054
"""Between this and its negative lie 95 % of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Proportion:
    """A count out of another."""

    k: int
    n: int

    @property
    def share(self) -> float | None:
        """Return k / n; None: nothing was counted."""
        return self.k / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % score interval; where nothing was counted, it is everything.

        Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of the
        American Statistical Association 22 (1927), 209-212.
        """
        if not self.n:
            return 0.0, 1.0
        share, spare = self.k / self.n, _Z**2 / self.n
        centre = (share + spare / 2) / (1 + spare)
        half = _Z * math.sqrt(share * (1 - share) / self.n + spare / (4 * self.n)) / (1 + spare)
        # At the ends the formula gives 0 and 1, and floating point nearly.
        return (centre - half if self.k else 0.0), (centre + half if self.k < self.n else 1.0)


def proportion(hits: Iterable[bool]) -> Proportion:
    """Count those that are true, and all."""
    counted = Counter(hits)
    return Proportion(counted[True], counted.total())


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some seconds, and how short the shortest tenth is."""

    median: float
    p10: float


def spread(seconds: Iterable[float | None]) -> Spread | None:
    """Return the spread of what was measured; None: nothing was."""
    measured = [value for value in seconds if value is not None]
    if not measured:
        return None
    p10, median = np.percentile(measured, [10, 50])
    return Spread(median=float(median), p10=float(p10))
