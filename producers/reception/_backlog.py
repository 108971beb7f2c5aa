"""How long the line behind the doors is: asked every few seconds, and kept until the next time."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from rfr_stream.errors import Unavailable
from topics import SUBMISSIONS
from topics.lag import Lag

_ANSWER_S: Final = 10.0


class BacklogOnKafka:
    """What the first stage has not taken yet."""

    def __init__(self) -> None:
        """Know nothing, until somebody watches."""
        self._messages: int | None = None

    def messages(self) -> int:
        """Return how many submissions waited when the cluster last said so.

        Raises:
            Unavailable: it did not, the last time that it was asked.

        """
        if self._messages is None:
            msg = "cluster: it does not say how much waits"
            raise Unavailable(msg)
        return self._messages

    @asynccontextmanager
    async def watched(self, options: Mapping[str, Any], *, every_s: float) -> AsyncIterator[None]:
        """Ask for as long as this lasts; the first answer is there before it begins."""
        first = asyncio.Event()
        watching = asyncio.create_task(self._watch(options, every_s, first))
        try:
            await first.wait()
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _watch(self, options: Mapping[str, Any], every_s: float, first: asyncio.Event) -> None:
        while True:
            try:
                with suppress(Unavailable, TimeoutError):
                    async with Lag(options) as lag:
                        while True:
                            self._messages = await self._ask(lag)
                            first.set()
                            await asyncio.sleep(every_s)
            finally:
                self._messages = None
                first.set()
            await asyncio.sleep(every_s)

    @staticmethod
    async def _ask(lag: Lag) -> int:
        async with asyncio.timeout(_ANSWER_S):
            return max([await lag.messages(SUBMISSIONS, group) for group in SUBMISSIONS.groups])
