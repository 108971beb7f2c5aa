"""What every door does: admit, hash, keep the original, publish, acknowledge; in chunks, so that thousands stream.

A file is acknowledged only once its blob and its event are durable. An interrupted run is simply run again: the same
file under the same request has the same ids, and the journal passes over what was acknowledged.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol, TypeAlias
from uuid import UUID

from producers._admission import Original, admit
from producers._handed_in import HandedIn
from rfr_stream.errors import Rejected
from rfr_stream.events import BlobRef, Event, derive_id
from rfr_stream.ports import BlobStore, NewBlob

Publish: TypeAlias = Callable[[Sequence[Event]], Awaitable[None]]
"""Returns once every event is durable on its topic; whatever it raises ends the run, which may then be run again."""

CHUNK_FILES: Final = 64
CHUNK_BYTES: Final = 64 * 2**20
"""A chunk ends at whichever comes first, so that memory holds at most this and one file more."""
MAX_IMAGE_BYTES: Final = 64 * 2**20


class Verdict(StrEnum):
    """How a file fared at the door."""

    ACCEPTED = "accepted"
    SKIPPED = "skipped"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Report:
    """How one file fared; `path` stays on this machine, for whoever handed it in. None for bytes without a name."""

    path: Path | None
    outcome: Verdict
    derived_id: UUID | None = None
    """Of the submission or reference; None where it was rejected unread."""
    reason: str | None = None
    line: int | None = None
    """Of the manifest that named it."""
    reference_id: UUID | None = None
    """By which it is held, where that was asked at a door for probes."""

    @property
    def ids(self) -> str:
        """By which submission it is searched with, and by which reference it is held."""
        searched = [] if self.derived_id == self.reference_id else [str(self.derived_id)]
        held = [f"reference {self.reference_id}"] if self.reference_id else []
        return ", ".join(searched + held)


class Form(Protocol):
    """What is said about an image when it is handed in."""

    @property
    def statement(self) -> tuple[object, ...]:
        """Everything it says, to tell one request from another."""

    def derive(self, image_sha256: str) -> UUID:
        """Return the id of saying this of this image."""

    def key(self, image_sha256: str) -> str:
        """Return where the original is kept: the same image again is the same blob, and never another in its place."""

    def event(self, image: BlobRef, at: datetime) -> Event:
        """Return the event that says this of the image kept there."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One file and what is said about it."""

    file: Path | bytes
    form: Form
    line: int | None = None
    """Of the manifest that named it."""

    @property
    def path(self) -> Path | None:
        """Where it came from, if it has a name."""
        return self.file if isinstance(self.file, Path) else None

    def report(self, verdict: Verdict, derived_id: UUID | None = None, reason: str | None = None) -> Report:
        """Return how it fared."""
        return Report(self.path, verdict, derived_id, reason, self.line)


@dataclass(frozen=True, slots=True)
class _Admitted:
    arrival: Arrival
    original: Original
    derived_id: UUID
    mark: UUID
    """Stands for all that is said of the image."""


async def take_in(
    arrivals: Iterable[Arrival | Report],
    *,
    blobs: BlobStore,
    publish: Publish,
    journal: HandedIn | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> AsyncIterator[Report]:
    """Yield one report for each arrival as its chunk is done, in order; what is refused does not hold up the others.

    Args:
        arrivals: drawn lazily, from a thread of its own; a `Rejected` that it raises ends the run, and a report in
            an arrival's place stands for what was refused before its file was looked for.

        blobs: where originals are kept, under their digest.

        publish: durable once it returns.

        journal: entered; none: nothing is remembered beyond this run.

        max_bytes: of one file.

    Raises:
        Unavailable: store, bus or journal are away; run it again later.

    """
    with HandedIn() as short_memory:
        remembered = journal or short_memory
        waiting = iter(arrivals)
        while chunk := await asyncio.to_thread(_draw, waiting, remembered, max_bytes):
            admitted = [item for item in chunk if isinstance(item, _Admitted)]
            await hand_in([(item.arrival.form, item.original) for item in admitted], blobs=blobs, publish=publish)
            await asyncio.to_thread(remembered.acknowledge, [(item.derived_id, item.mark) for item in admitted])
            for item in chunk:
                yield item if isinstance(item, Report) else _accepted(item)


def _draw(waiting: Iterator[Arrival | Report], journal: HandedIn, max_bytes: int) -> list[_Admitted | Report]:
    """Return the next chunk, empty at the end."""
    chunk: list[_Admitted | Report] = []
    said: dict[UUID, UUID] = {}
    size = 0
    while len(chunk) < CHUNK_FILES and size < CHUNK_BYTES:
        arrival = next(waiting, None)
        if arrival is None:
            break
        item = arrival if isinstance(arrival, Report) else _look_at(arrival, max_bytes)
        if isinstance(item, _Admitted):
            if _is_known(item, said, journal):
                item = item.arrival.report(Verdict.SKIPPED, item.derived_id, "handed in before")
            else:
                said[item.derived_id] = item.mark
                size += len(item.original.data) if isinstance(item.original.data, bytes) else 0
        chunk.append(item)
    return chunk


def _look_at(arrival: Arrival, max_bytes: int) -> _Admitted | Report:
    try:
        original = admit(arrival.file, max_bytes=max_bytes)
    except Rejected as refusal:
        return arrival.report(Verdict.REJECTED, reason=str(refusal))
    mark = derive_id("intake", original.sha256, *arrival.form.statement)
    return _Admitted(arrival, original, arrival.form.derive(original.sha256), mark)


def _is_known(item: _Admitted, said: dict[UUID, UUID], journal: HandedIn) -> bool:
    """Whether the last that was said under this id, in this chunk or before, is the same."""
    if item.derived_id in said:
        return said[item.derived_id] == item.mark
    return journal.holds(item.derived_id, item.mark)


def _accepted(item: _Admitted) -> Report:
    return item.arrival.report(Verdict.ACCEPTED, item.derived_id)


async def hand_in(said: Sequence[tuple[Form, Original]], *, blobs: BlobStore, publish: Publish) -> None:
    """Keep originals and announce what is said of each; once this returns, both are durable.

    Raises:
        Unavailable: store or bus are away; the same again does no harm.

    """
    if not said:
        return
    refs = await blobs.put([NewBlob(form.key(file.sha256), file.data, file.media_type) for form, file in said])
    now = datetime.now(UTC)
    await publish([form.event(ref, now) for (form, _), ref in zip(said, refs, strict=True)])
