"""A submission whose answer is known, and whose turn has come."""

from typing import Final

import builders
from builders import NOW

from rfr_stream import stages
from rfr_stream.events import ImageSubmitted, Submission
from rfr_stream.ports import Ledger, Seed

HALF: Final = 0.5
"""The largest share: one for each real case."""


async def sown(ledger: Ledger, planted: ImageSubmitted, shows: str | None = None) -> Submission:
    """Plant it, let a real case come to people to hide it among, and let the ledger say it; return what was said."""
    if shows:
        await ledger.hold([builders.reference(shows)])
    await ledger.plant([Seed(planted, shows)])
    crowd = builders.candidates_ready(builders.submission(f"crowd-of-{planted.event_id}"), demo=planted.demo)
    assert await stages.hold([crowd], ledger=ledger, now=NOW) == [None]
    assert await ledger.sow(HALF, NOW) == 1
    (owed,) = await ledger.unpublished(2)
    await ledger.published([owed.event.event_id])
    assert isinstance(owed.event, ImageSubmitted)
    return owed.event.submission
