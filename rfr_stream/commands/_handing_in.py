"""Hands files in at a door, and says how each fared."""

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TextIO

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from producers._admission import images_in
from producers._handed_in import HandedIn
from producers._intake import Publish, Report, Verdict
from rfr_stream.adapters import opening
from rfr_stream.commands._context import CONSOLE, open_bus, run, say
from rfr_stream.ports import BlobStore
from rfr_stream.settings import Settings


class Door(Protocol):
    """What hands the images in, given where they are kept and how they are announced."""

    def __call__(
        self, *, blobs: BlobStore, publish: Publish, journal: HandedIn, max_bytes: int
    ) -> AsyncIterator[Report]: ...


SHOWN: Final = 100
"""Lines about single files, before the rest is only counted."""


def rejects_of(listed_in: Path) -> Path:
    """Return where the rejects of a manifest go."""
    return listed_in.with_name(f"{listed_in.name}.rejects.jsonl")


def total_of(images: Sequence[Path]) -> int:
    return sum(1 for _ in images_in(images))


def hand_in(settings: Settings, total: int, door: Door, rejects: Path | None = None) -> None:
    """Draw the progress, say what was rejected and why, and fail if anything was."""
    tally = Tally()
    began = time.monotonic()
    with ExitStack() as stack:
        report = stack.enter_context(rejects.open("w", encoding="utf-8")) if rejects else None
        run(_reports(settings, door, total, partial(_take_note, tally, report)))
    lines = [*tally.rejected, *tally.taken]
    for line in lines:
        say(line)
    unsaid = tally.counts.total() - len(lines)
    if unsaid > 0:
        say(f"... and {unsaid} more")
    counts = ", ".join(f"{tally.counts[verdict]} {verdict}" for verdict in Verdict)
    say(f"{counts} ({tally.counts.total() / max(time.monotonic() - began, 1e-3):.0f}/s)")
    if tally.counts[Verdict.REJECTED]:
        if rejects:
            say(f"Why, line by line: {rejects}")
        raise typer.Exit(1)


@dataclass
class Tally:
    """What became of all files, in memory that does not grow with them."""

    counts: Counter[Verdict] = field(default_factory=Counter)
    rejected: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)


def _take_note(tally: Tally, rejects: TextIO | None, report: Report) -> None:
    """Count a report, keep a line about it while there are few, and write down why it was rejected."""
    tally.counts[report.outcome] += 1
    is_rejected = report.outcome is Verdict.REJECTED
    lines = tally.rejected if is_rejected else tally.taken
    if len(lines) < SHOWN:
        where = f"line {report.line}" if report.path is None else report.path
        lines.append(f"{report.outcome}: {where}: {report.reason if is_rejected else report.ids}")
    if is_rejected and rejects:
        field, _, fix = (report.reason or "").partition(": ")
        said = {"line": report.line, "file": report.path and str(report.path), "field": field, "fix": fix}
        rejects.write(json.dumps(said) + "\n")


class Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


async def _reports(settings: Settings, door: Door, total: int, see: Callable[[Report], None]) -> None:
    columns = (TextColumn("handing in"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(*columns, console=CONSOLE, transient=True))
        journal = stack.enter_context(HandedIn(settings.data_dir / "handed-in.db"))
        task = progress.add_task("", total=total)
        async with open_bus(settings) as bus, opening.blobs(settings) as blobs:
            limit = settings.vision.max_image_bytes
            async for report in door(blobs=blobs, publish=bus.publish, journal=journal, max_bytes=limit):
                see(report)
                progress.advance(task)
