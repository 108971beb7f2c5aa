"""What a stage does while a dependency is away: wait, and ask again, for as long as it takes."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from rfr_stream import telemetry
from rfr_stream.errors import Unavailable

FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 10.0
_DOUBLINGS: Final = 8
"""More than lead to the longest wait; unbounded, an outage of hours would overflow the power."""

T = TypeVar("T")

log = telemetry.logger(__name__)


class Abandoned(Exception):
    """The stage must let go of its messages while their dependency is still away; they come again."""


async def patiently(attempt: Callable[[], Awaitable[T]], *, group: str, let_go: asyncio.Event) -> T:
    """Return what the attempt returns, however often its dependency was away before.

    Waits twice as long each time, with jitter, so that a fleet does not come back as one.

    Raises:
        Abandoned: `let_go` was set during an outage.

    """
    waits = 0
    while True:
        try:
            result = await attempt()
        except Unavailable as outage:
            wait_s = wait_after(waits)
            waits += 1
            telemetry.OUTAGES.labels(group).inc()
            log.event("stage.waiting", error=outage, group=group, waits=waits, wait_s=round(wait_s, 2))
            await _sleep(wait_s, let_go)
        else:
            if waits:
                log.event("stage.resumed", group=group, waits=waits)
            return result


def wait_after(waits: int) -> float:
    """Return how long to wait, in seconds, after so many waits: twice as long each time, with jitter."""
    return random.uniform(0.5, 1) * min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(waits, _DOUBLINGS))  # noqa: S311 - jitter


async def _sleep(wait_s: float, let_go: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(let_go.wait(), wait_s)
    except TimeoutError:
        return
    raise Abandoned
