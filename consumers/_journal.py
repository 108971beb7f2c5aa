"""Remembers what was in a stage's hands when its process died, so that a message that kills is found and set aside.

Every batch writes down which offsets it takes before it opens them. Whoever starts after a death finds them there:
each has one death more, and runs alone, so that the next death names the culprit. Three, and it is not opened again.
A message that only waits (for a dependency, for its results' acknowledgement) is in nobody's hands.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self, TypeAlias, TypeVar

from rfr_stream import telemetry

DEADLY: Final = 3
"""Deaths after which a message is dead-lettered unopened."""

Place: TypeAlias = tuple[int, int]
"""Partition and offset of a message on the stage's topic."""


class Positioned(Protocol):
    """A message that knows its place."""

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...


R = TypeVar("R", bound=Positioned)

log = telemetry.logger(__name__)


@dataclass(slots=True)
class Journal:
    """The offsets in one stage's hands, on file; written in place, in one call, so that a kill cannot tear it."""

    file: int
    deaths: dict[Place, int]
    _in_hand: dict[int, list[Place]]

    @classmethod
    def open(cls, directory: Path, name: str) -> Self:
        """Return the journal of this group and instance, with a death more for all that was in hand."""
        directory.mkdir(parents=True, exist_ok=True)
        file = os.open(directory / f"{name}.json", os.O_RDWR | os.O_CREAT, 0o600)
        journal = cls(file, _after_death(os.pread(file, 2**24, 0)), {})
        for (partition, offset), deaths in journal.deaths.items():
            log.event("message.killed", journal=name, partition=partition, offset=offset, deaths=deaths)
        journal._write()
        return journal

    def take(self, records: Sequence[Positioned]) -> int:
        """Write down that these are about to be opened; return a handle for `put_back`."""
        handle = id(records)
        self._in_hand[handle] = [(record.partition, record.offset) for record in records]
        self._write()
        return handle

    def put_back(self, handle: int, *, finished: bool) -> None:
        """Write down that they are in nobody's hands; what has finished is a suspect no more."""
        places = self._in_hand.pop(handle, [])
        if finished and self.deaths:
            for place in places:
                self.deaths.pop(place, None)
        self._write()

    def apart(self, records: Sequence[R]) -> Iterator[tuple[Sequence[R], bool]]:
        """Cut into runs, in order; with each, whether it is one suspect that must run alone."""
        run: list[R] = []
        for record in records:
            if self.deaths and (record.partition, record.offset) in self.deaths:
                if run:
                    yield run, False
                yield [record], True
                run = []
            else:
                run.append(record)
        if run:
            yield run, False

    def is_deadly(self, record: Positioned) -> bool:
        """Whether it has killed its process too often to be opened again."""
        return self.deaths.get((record.partition, record.offset), 0) >= DEADLY

    def close(self, *, clean: bool) -> None:
        """Let the file go; after a clean stop it holds nothing, after a bug it holds what was in hand."""
        if clean:
            self._in_hand.clear()
            self._write()
        os.close(self.file)

    def _write(self) -> None:
        in_hand = [place for places in self._in_hand.values() for place in places]
        deaths = [[*place, deaths] for place, deaths in self.deaths.items()]
        line = json.dumps({"in_hand": _ranges(in_hand), "deaths": deaths}).encode() + b"\n"
        os.pwrite(self.file, line, 0)  # the first line counts; an older, longer one may show behind it


def _after_death(content: bytes) -> dict[Place, int]:
    line, _, _ = content.partition(b"\n")
    try:
        state = json.loads(line) if line else {"in_hand": [], "deaths": []}
    except ValueError:
        state = {"in_hand": [], "deaths": []}  # torn by a crash of the machine; the counts begin anew
    deaths = {(partition, offset): count for partition, offset, count in state["deaths"]}
    for partition, first, last in state["in_hand"]:
        for offset in range(first, last + 1):
            deaths[partition, offset] = deaths.get((partition, offset), 0) + 1
    return deaths


def _ranges(places: Iterable[Place]) -> list[tuple[int, int, int]]:
    """Fold neighbours: partition, first and last offset of each unbroken run."""
    folded: list[tuple[int, int, int]] = []
    for partition, offset in sorted(places):
        if folded and folded[-1][0] == partition and folded[-1][2] == offset - 1:
            folded[-1] = (partition, folded[-1][1], offset)
        else:
            folded.append((partition, offset, offset))
    return folded
