"""One line per submission, advancing as its events pass: what `rfr watch` and the demonstration show."""

from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Final

from rich.table import Table

import topics
from rfr_stream.errors import Rejected
from rfr_stream.events import (
    CandidatesReady,
    Event,
    FaceDetected,
    FaceEmbedded,
    IdentificationConfirmed,
    ImageSubmitted,
    ReviewDecided,
    SubmissionClosed,
)

STEPS: Final[dict[type[Event], str]] = {
    ImageSubmitted: "submitted",
    FaceDetected: "face",
    FaceEmbedded: "template",
    CandidatesReady: "list",
}
FOLLOWED: Final = [topic.name for topic in topics.ALL if topic is not topics.ENROLMENTS]
_BY_NAME: Final = {topic.name: topic for topic in topics.ALL}


@dataclass
class Line:
    """What is known of one submission."""

    source: str = ""
    times: dict[str, datetime] = field(default_factory=dict)
    candidates: int | None = None
    decisions: int = 0
    outcome: str = ""

    @property
    def standing(self) -> str:
        """Where it stands, in words."""
        if self.outcome:
            return self.outcome
        if self.candidates:
            return f"held for review, {self.decisions} of 2 decided"
        return "on its way"


class Board:
    """Collects events and draws them."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.confirmed: list[IdentificationConfirmed] = []

    def see(self, record: topics.Record) -> Event | None:
        """Take in one record; return its event, or None where it is not one."""
        try:
            event = _BY_NAME[record.topic].decode(record)
        except Rejected:
            return None
        self._advance(event)
        return event

    def _advance(self, event: Event) -> None:
        if isinstance(event, IdentificationConfirmed):
            self.confirmed.append(event)
            return
        line = self.lines.setdefault(event.key, Line())
        if step := STEPS.get(type(event)):
            line.times.setdefault(step, event.occurred_at)
        match event:
            case ImageSubmitted():
                line.source = event.submission.source
            case CandidatesReady():
                line.candidates = len(event.candidates)
            case ReviewDecided():
                line.decisions += 1
            case SubmissionClosed():
                line.outcome = event.outcome
                line.times.setdefault("outcome", event.occurred_at)

    def table(self) -> Table:
        """Draw every submission, and the milliseconds from being submitted to each step."""
        table = Table(title="Submissions, and milliseconds since each was submitted", title_justify="left")
        table.add_column("id", no_wrap=True)
        table.add_column("source", no_wrap=True)
        steps = list(STEPS.values())[1:]
        for step in steps:
            table.add_column(step, justify="right", no_wrap=True)
        table.add_column("stands at")
        for key, line in self.lines.items():
            table.add_row(key[:8], line.source, *(_since(line, step) for step in steps), line.standing)
        return table

    def latencies(self) -> Table:
        """Draw the median time of each stage, from the event before it to its own."""
        table = Table(title="Latency by stage", title_justify="left")
        for column in ("stage", "median ms", "slowest ms", "submissions"):
            table.add_column(column, justify="left" if column == "stage" else "right")
        steps = list(STEPS.values())
        for before, after in pairwise(steps):
            spans = [span for line in self.lines.values() if (span := _span_ms(line, before, after)) is not None]
            if spans:
                table.add_row(f"{before} -> {after}", f"{median(spans):.0f}", f"{max(spans):.0f}", str(len(spans)))
        return table


def _since(line: Line, step: str) -> str:
    span = _span_ms(line, "submitted", step)
    return "" if span is None else f"{span:.0f}"


def _span_ms(line: Line, before: str, after: str) -> float | None:
    if before not in line.times or after not in line.times:
        return None
    return (line.times[after] - line.times[before]).total_seconds() * 1000
