"""Puts dead letters back after a fix: by filter, at a limited rate, each at most once.

What was put back is noted on the dead letters' own topic (a receipt: no value, one header), so that a second run, by
whomever, passes it by. A message that fails again comes back as a new dead letter with its attempts counted on.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from topics import FAULT, Record, Topic
from topics.bus import Bus
from topics.tail import Kept, read_tail

RECEIPT: Final = "replayed"
CARRIED_ON: Final = frozenset({FAULT + "attempt", FAULT + "first-seen"})
"""Marks of the first failure that stay with the message; the others described that failure alone."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters to put back; what is not given does not matter."""

    reason: str | None = None
    key: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, record: Record) -> bool:
        """Whether this dead letter is meant."""
        failed_at = datetime.fromisoformat(record.fault("failed-at"))
        return (
            (self.reason is None or record.fault("reason") == self.reason)
            and (self.key is None or record.key == self.key.encode())
            and (self.since is None or failed_at >= self.since)
            and (self.until is None or failed_at <= self.until)
        )


async def find(options: Mapping[str, Any], topic: Topic, group: str, wanted: Wanted) -> list[Kept]:
    """Return the dead letters of this topic and group that are wanted and were not put back yet, oldest first."""
    letters = await read_tail(options, topic.dead(group))
    done = {kept.record.fault(RECEIPT) for kept in letters}
    return [
        kept
        for kept in letters
        if not kept.record.fault(RECEIPT) and _place(kept) not in done and wanted.matches(kept.record)
    ]


async def replay(bus: Bus, topic: Topic, letters: Sequence[Kept], *, per_second: int) -> None:
    """Put these dead letters back on their topic, and note it; a crash in between may repeat a second's worth."""
    for some in _chunks(letters, per_second):
        await bus.send([restored(kept.record, topic) for kept in some])
        await bus.send([_receipt(kept) for kept in some])
        if some[-1] is not letters[-1]:
            await asyncio.sleep(1)


def restored(record: Record, topic: Topic) -> Record:
    """Return the message as it was sent: key, value and headers, byte for byte."""
    headers = tuple((name, value) for name, value in record.headers if not name.startswith(FAULT) or name in CARRIED_ON)
    return Record(topic.name, record.key, record.value, headers)


def _receipt(kept: Kept) -> Record:
    return Record(kept.record.topic, kept.record.key or b"receipt", b"", ((FAULT + RECEIPT, _place(kept).encode()),))


def _place(kept: Kept) -> str:
    return f"{kept.partition}:{kept.offset}"


def _chunks(letters: Sequence[Kept], size: int) -> Iterator[Sequence[Kept]]:
    for start in range(0, len(letters), size):
        yield letters[start : start + size]
