"""A process that runs stages of the chain, as the environment says: `python chain_stages.py LATE_S [STAGE...]`."""

import asyncio
import sys
from collections.abc import Sequence

from consumers import together
from rfr_stream.settings import Settings
from topics import Record
from topics.bus import Bus

LATE_S = float(sys.argv[1])


class LateBus(Bus):
    """A bus whose records leave late, as over a bad line: whoever is killed had some in hand that were never sent."""

    async def queue(self, records: Sequence[Record]) -> Sequence["asyncio.Future[object]"]:
        """Take the records, and send them later, in the same order."""
        sent = asyncio.create_task(self._late(records))
        return [asyncio.create_task(_acknowledged(sent, place)) for place in range(len(records))]

    async def _late(self, records: Sequence[Record]) -> Sequence["asyncio.Future[object]"]:
        await asyncio.sleep(LATE_S)
        return await super().queue(records)


async def _acknowledged(sent: "asyncio.Task[Sequence[asyncio.Future[object]]]", place: int) -> object:
    return await (await sent)[place]


if __name__ == "__main__":
    if LATE_S:
        setattr(together, "Bus", LateBus)  # noqa: B010 - this process alone; its application makes its own bus
    asyncio.run(together.create_app(Settings(), sys.argv[2:] or together.STAGES).run())
