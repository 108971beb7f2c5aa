"""What is known of each submission from the events that passed: for `rfr watch` and the demonstration."""

from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Final
from uuid import UUID

from rich import box
from rich.table import Table

import topics
from rfr_stream.errors import Rejected
from rfr_stream.events import (
    CandidatesReady,
    Event,
    FaceDetected,
    FaceEmbedded,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ImageSubmitted,
    Outcome,
    ReferenceErased,
    ReferenceSubmitted,
    ReviewDecided,
    SearchEnded,
    SubjectChosen,
    SubjectUnclear,
    SubmissionClosed,
    SubmissionEvent,
    WithdrawalOrdered,
)
from topics.tail import Kept

STEPS: Final[dict[type[Event], str]] = {
    ImageSubmitted: "submitted",
    FaceDetected: "face",
    FaceEmbedded: "template",
    CandidatesReady: "candidates",
    SubjectUnclear: "unclear",
    SubjectChosen: "chosen",
    WithdrawalOrdered: "withdrawal",
    ReviewDecided: "decision",
    SubmissionClosed: "outcome",
    SearchEnded: "over",
}
SPANS: Final = (
    ("detection", "submitted", "face"),
    ("embedding", "face", "template"),
    ("search", "template", "candidates"),
    ("review", "decision", "outcome"),
)
"""Each stage, and the events that it takes and gives."""
_NOT_ENROLLED: Final = topics.ENROLMENTS.dead("rfr-enrolment")
_BY_NAME: Final = {topic.name: topic for topic in topics.ALL if topic is not topics.ENROLMENTS} | {
    _NOT_ENROLLED: topics.ENROLMENTS  # a reference says nothing of itself unless it was refused
}
FOLLOWED: Final = list(_BY_NAME)
_REPEATED: Final = frozenset({"decision"})
"""Steps of which the last counts: the second decision is what review acts on."""


@dataclass
class Line:
    """What is known of one submission."""

    source: str = ""
    times: dict[str, datetime] = field(default_factory=dict)
    candidates: int | None = None
    outcome: Outcome | None = None

    @property
    def standing(self) -> str:
        """Where it stands, in words."""
        if self.outcome:
            return self.outcome
        if self.candidates:
            return "held for review"
        return "on its way"

    @property
    def settled(self) -> bool:
        """Whether nothing more happens to it without people."""
        return bool(self.outcome or self.candidates)

    def span_ms(self, before: str, after: str) -> float | None:
        """Return the milliseconds from one step to another, or None where one of them has not come."""
        if before not in self.times or after not in self.times:
            return None
        return (self.times[after] - self.times[before]).total_seconds() * 1000


class Board:
    """Collects events and draws them."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.confirmed: list[IdentificationConfirmed] = []
        self.refused: dict[UUID, str] = {}
        """References that were not enrolled, and why."""

    def see(self, kept: Kept) -> str | None:
        """Take in one record; return a line about it for people, or None where it is no event."""
        try:
            event = _BY_NAME[kept.record.topic].decode(kept.record)
        except Rejected:
            return None
        if isinstance(event, ReferenceSubmitted | ReferenceErased):
            self.refused[event.reference_id] = kept.record.header("x-rfr-reason")
            return None
        if isinstance(event, IdentificationConfirmed | IdentificationWithdrawn):
            return self._identify(event, kept.at)
        step = STEPS.get(type(event))
        if step is None:
            return None  # it is about no submission
        line = self.lines.setdefault(event.key, Line())
        if step in _REPEATED or step not in line.times:
            line.times[step] = kept.at
        said = _note(line, event)
        after = line.span_ms("submitted", step)
        since = f"+{after:.0f} ms" if after else ""
        return f"{kept.at:%H:%M:%S}  {event.key[:8]}  {line.source:<15} {step:<11} {since:>9}  {said}".rstrip()

    def _identify(self, event: IdentificationConfirmed | IdentificationWithdrawn, at: datetime) -> str:
        word = "withdrawn"
        if isinstance(event, IdentificationConfirmed):
            self.confirmed.append(event)
            word = "confirmed: an intelligence lead"
        return f"{at:%H:%M:%S}  {str(event.submission_id)[:8]}  {'':<15} identification {'':>6}  {word}"

    def table(self) -> Table:
        """Draw every submission, and the milliseconds from being submitted to each step."""
        title = "Submissions, and milliseconds since each was submitted"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for column in ("id", "source"):
            table.add_column(column, no_wrap=True)
        steps = ("face", "template", "candidates")
        for heading in ("face", "template", "list"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("stands at", no_wrap=True)
        for key, line in self.lines.items():
            if not line.source:  # known by its outcome alone: a submission of long ago
                continue
            spans = (line.span_ms("submitted", step) for step in steps)
            table.add_row(key[:8], line.source, *(_whole(span) for span in spans), line.standing)
        return table

    def latencies(self) -> Table:
        """Draw the time that each stage took, from the event that it takes to the event that it gives."""
        table = Table(title="Latency by stage", title_justify="left", box=box.SIMPLE_HEAD)
        for column in ("stage", "median ms", "slowest ms", "submissions"):
            table.add_column(column, justify="left" if column == "stage" else "right")
        for stage, before, after in SPANS:
            spans = [span for line in self.lines.values() if (span := line.span_ms(before, after)) is not None]
            if spans:
                table.add_row(stage, _whole(median(spans)), _whole(max(spans)), str(len(spans)))
        return table


def _note(line: Line, event: Event) -> str:
    """Remember what the event says of its submission, and return it in words."""
    if isinstance(event, SubmissionEvent):
        line.source = event.submission.source
    match event:
        case CandidatesReady():
            line.candidates = len(event.candidates)
            return f"{line.candidates} to be looked at" if event.candidates else "none: an honest blank"
        case SubjectUnclear():
            return f"{len(event.faces)} faces: somebody must say which is meant"
        case ReviewDecided() | SubjectChosen() | WithdrawalOrdered():
            return "signed"
        case SubmissionClosed():
            line.outcome = event.outcome
            return event.outcome
        case SearchEnded():
            return "the standing search has lapsed" if event.lapsed else "somebody ended the standing search"
    return ""


def _whole(number: float | None) -> str:
    return "" if number is None else f"{number:.0f}"
