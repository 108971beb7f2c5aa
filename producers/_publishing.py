"""How a server hands events to the bus: to whoever waits for its answer, a bus that does not acknowledge is away."""

import asyncio
from collections.abc import Sequence

from producers._intake import Publish
from rfr_stream.errors import Unavailable
from rfr_stream.events import Event
from topics.bus import SEND_TIMEOUT_S, Bus, SendFailed


def publishing(bus: Bus, *, wait_s: float = SEND_TIMEOUT_S) -> Publish:
    """Return what sends events, and waits so long; the same words again do no harm, since their ids are derived."""

    async def publish(events: Sequence[Event]) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await bus.publish(events)
        except (SendFailed, TimeoutError) as error:
            msg = "the message bus did not acknowledge"
            raise Unavailable(msg) from error

    return publish
