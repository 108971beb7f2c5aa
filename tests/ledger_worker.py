"""A process that applies cases to a ledger, and says so once each batch is acknowledged; made to be killed.

python ledger_worker.py URL FIRST COUNT
"""

import asyncio
import sys
from collections.abc import Iterable

import builders
from builders import NOW

from rfr_stream import review
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.events import CandidatesReady
from rfr_stream.ports import Change

BATCH = 4


def batch(number: int) -> list[CandidatesReady]:
    """Return the lists of the batch of this number: the same in every process."""
    return [builders.candidates_ready(builders.submission(f"{number}-{item}")) for item in range(BATCH)]


def changes(lists: Iterable[CandidatesReady]) -> list[Change]:
    """Return what confirms each of these cases."""
    made = []
    for found in lists:
        about = found.submission.submission_id
        made.append(Change(about, found.event_id, review.candidates_ready(found, NOW)))
        for by in ("reviewer-a", "reviewer-b"):
            decision = builders.decision(found, by=by)
            made.append(Change(about, decision.event_id, review.decided(decision, builders.reviewer(by), NOW)))
    return made


async def main(url: str, first: int, count: int) -> None:
    """Apply batches one by one."""
    async with SqlLedger(url) as ledger:
        for number in range(first, first + count):
            await ledger.apply(changes(batch(number)))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
