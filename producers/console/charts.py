"""The supervisors' charts, each with its numbers as CSV. They count people's work, and rank nobody."""

import csv as comma
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from producers.console import _drawing as draw
from producers.console._drawing import ACCENT, GREY, SMALL, SOFT, WIDTH
from producers.console._pages import URGENCY
from rfr_stream.conduct import Proportion, Report, ReviewerFacts
from rfr_stream.events import Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell: TypeAlias = str | int | float | None
Row: TypeAlias = Sequence[Cell]


@dataclass(frozen=True, slots=True)
class Chart:
    """One of them."""

    title: str
    says: Callable[[Report], str]
    """What it shows, in words."""
    drawn: Callable[[Report], "Figure"]
    columns: Row
    rows: Callable[[Report], Iterable[Row]]


def chart(name: str, report: Report) -> bytes:
    """Return a chart of these numbers as SVG. It blocks: a tenth of a second, the first time some seconds.

    Raises:
        KeyError: there is none of this name.

    """
    this = CHARTS[name]
    return draw.svg(this.drawn(report), name, this.title, this.says(report))


def csv(name: str, report: Report) -> str:
    """Return a chart's numbers as CSV; no reference can begin as a formula does.

    Raises:
        KeyError: there is no chart of this name.

    """
    this, text = CHARTS[name], StringIO()
    comma.writer(text, lineterminator="\n").writerows([this.columns, *this.rows(report)])
    return text.getvalue()


# --- what each day brought ------------------------------------------------------------------------------------------
_COLUMN: Final = 14
"""The width of a day, at most."""


def _throughput(report: Report) -> "Figure":
    """Draw two rows of columns on one scale: what was decided, and what came to be decided."""
    days = (0, len(report.days))
    width = min(0.75, _COLUMN * len(report.days) / WIDTH)
    rows = (
        ("decisions", [day.decisions for day in report.days], ACCENT),
        ("cases came to people", [day.came for day in report.days], GREY),
    )
    most = max(max(counts) for _, counts, _ in rows) or 1
    heights = [max(4.0, 60 * max(counts) / most) for _, counts, _ in rows]
    sheet, top = draw.sheet(round(sum(heights)) + 84), 24.0
    for (what, counts, color), height in zip(rows, heights, strict=True):
        panel = draw.panel(sheet, (0, top, WIDTH, height), x=days, y=(0, most * height / 60))
        draw.columns(panel, np.arange(len(counts)) + (1 - width) / 2, counts, width, color=color)
        draw.line(panel, days, (0, 0))
        draw.words(sheet, 0, top - 10, f"{sum(counts):,} {what}")
        if peak := max(counts):
            on = report.days[counts.index(peak)].day
            draw.words(sheet, WIDTH, top - 10, f"at most {peak:,}, on {on:%-d %B}", ha="right", color=SOFT, size=SMALL)
        top += height + 36
    for x, day, side in ((0, report.days[0].day, "left"), (WIDTH, report.days[-1].day, "right")):
        draw.words(sheet, x, top - 20, f"{day:%-d %B %Y}", ha=side, color=SOFT, size=SMALL)
    return sheet


def _throughput_says(report: Report) -> str:
    decisions, came = (sum(getattr(day, name) for day in report.days) for name in ("decisions", "came"))
    return f"{decisions:,} decisions and {came:,} cases in {len(report.days)} days."


# --- how long the queue waits ---------------------------------------------------------------------------------------
_TICKS: Final = (
    ("5 min", timedelta(minutes=5)),
    ("1 h", timedelta(hours=1)),
    ("1 d", timedelta(days=1)),
    ("1 w", timedelta(weeks=1)),
    ("1 mo", timedelta(days=30)),
    ("6 mo", timedelta(days=182)),
)
_BINS: Final = 45


def _queue(report: Report) -> "Figure":
    """Draw a row for each urgency; older is to the right, by ratios: after a month, a day matters less."""
    sheet = draw.sheet(238)
    youngest, oldest = _TICKS[0][1], max(report.oldest or timedelta(0), _TICKS[3][1] * 1.1)
    edges = np.geomspace(youngest.total_seconds(), oldest.total_seconds(), _BINS + 1)
    ages = [report.waiting.get(urgency, ()) for urgency in range(len(URGENCY))]
    heights = [
        np.histogram(np.clip([age.total_seconds() for age in row], edges[0], edges[-1]), edges)[0] for row in ages
    ]
    most = max(4, *(int(row.max()) for row in heights))  # of a single case, a speck
    scale = draw.panel(sheet, (88, 10, 220, 196), x=(edges[0], edges[-1]), y=(0, 1), xscale="log")
    for label, age in _TICKS:
        if age <= oldest:
            draw.line(scale, (age.total_seconds(),) * 2, (0, 1))
            scale.text(age.total_seconds(), -0.075, label, ha="center", color=SOFT, size=SMALL)
    for foot, row, waiting, urgency in zip(range(46, 240, 40), heights, ages, URGENCY, strict=True):
        panel = draw.panel(sheet, (88, foot - 30, 220, 30), x=(edges[0], edges[-1]), y=(0, most), xscale="log")
        draw.columns(panel, edges[:-1], row, np.diff(edges) * 0.85, color=ACCENT)
        draw.line(panel, (edges[0], edges[-1]), (0, 0))
        draw.words(sheet, 0, foot, urgency)
        if waiting:
            draw.words(sheet, WIDTH, foot - 15, f"{len(waiting):,} wait", ha="right")
            draw.words(sheet, WIDTH, foot, f"oldest {_long(waiting[0])}", ha="right", color=SOFT, size=SMALL)
        else:
            draw.words(sheet, WIDTH, foot, "none", ha="right", color=SOFT, size=SMALL)
    return sheet


def _long(age: timedelta) -> str:
    """Say how long, in one unit."""
    for unit, length in (("d", timedelta(days=1)), ("h", timedelta(hours=1))):
        if age >= 2 * length:
            return f"{age // length} {unit}"
    return f"{age // timedelta(minutes=1)} min"


def _queue_says(report: Report) -> str:
    if report.oldest is None or report.age_s is None:
        return "Nothing waits."
    n, median = sum(map(len, report.waiting.values())), timedelta(seconds=report.age_s.median)
    return f"{n:,} cases wait, half of them for longer than {_long(median)}; the oldest for {_long(report.oldest)}."


# --- how cases ended ------------------------------------------------------------------------------------------------
def _outcomes(report: Report) -> "Figure":
    ended = [(outcome, report.outcomes.get(outcome, 0)) for outcome in Outcome if report.outcomes.get(outcome)]
    ended.sort(key=lambda row: -row[1])
    sheet = draw.sheet(max(60, 24 * len(ended) + 14))
    total = sum(n for _, n in ended)
    if not ended:
        draw.words(sheet, 0, 30, "No case has ended yet.", color=SOFT)
    for foot, (outcome, n) in enumerate(ended):
        y = 22 + 24 * foot
        panel = draw.panel(sheet, (118, y - 11, 196, 14), x=(0, ended[0][1]), y=(0, 1))
        panel.barh(0.5, n, height=1, color=ACCENT if outcome is Outcome.CONFIRMED else GREY, clip_on=False)
        draw.words(sheet, 0, y, outcome.replace("_", " ").capitalize())
        draw.words(sheet, 356, y, f"{n:,}", ha="right")
        draw.words(sheet, WIDTH, y, _percent(n, total), ha="right", color=SOFT, size=SMALL)
    return sheet


def _percent(n: int, total: int) -> str:
    return f"{n / total:.0%}" if n * 100 >= total or not n else "<1%"


def _outcomes_says(report: Report) -> str:
    total = sum(report.outcomes.values())
    confirmed = report.outcomes.get(Outcome.CONFIRMED, 0)
    return f"{total:,} cases ended, {confirmed:,} of them with a lead that two people support."


# --- shares of each reviewer ----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Measure:
    """A column of dots."""

    heading: tuple[str, str]
    """In two lines."""
    of: Callable[[ReviewerFacts], Proportion]

    def everybody(self, report: Report) -> Proportion:
        """Count all reviewers together."""
        shares = [self.of(each) for each in report.reviewers]
        return Proportion(sum(each.k for each in shares), sum(each.n for each in shares))

    def __str__(self) -> str:
        return " ".join(self.heading)


_AGREEMENT: Final = (
    _Measure(("Agrees with the", "other reviewer"), lambda each: each.agreed),
    _Measure(("Of those named,", "the machine's first"), lambda each: each.named_first),
)
_ERRORS: Final = (
    _Measure(("Named somebody", "who was not there"), lambda each: each.on_seeds.false_positives),
    _Measure(("Did not name", "somebody who was"), lambda each: each.on_seeds.false_negatives),
)
_SCALES: Final = (0.1, 0.2, 0.5, 1.0)
_ROW, _HEAD = 22, 44
_COLUMNS: Final = (94, 254)
_SPAN: Final = 76
"""Of the scale, in each column; its counts stand to the right of it."""
_ROOM: Final = 13
"""Letters of a reviewer's reference."""


def _dots(report: Report, measures: Sequence[_Measure]) -> "Figure":
    """Draw a dot for each reviewer and measure, and the interval in which the rate lies; at the foot, for all."""
    names = [*(_short(each.reviewer_id) for each in report.reviewers), "All together"]
    sheet = draw.sheet(_HEAD + _ROW * len(names) + 24)
    for row, name in enumerate(names):
        draw.words(sheet, 0, _HEAD + _ROW * row + 15, name)
    for left, measure in zip(_COLUMNS, measures, strict=True):
        _column(sheet, left, report, measure)
    return sheet


def _column(sheet: "Figure", left: int, report: Report, measure: _Measure) -> None:
    everybody = measure.everybody(report)
    shares = [*(measure.of(each) for each in report.reviewers), everybody]
    reach = max((each.interval[1] for each in shares if each.n), default=1.0)
    most, rows = next(scale for scale in _SCALES if reach <= scale), (len(shares) - 0.5, -0.5)
    panel = draw.panel(sheet, (left, _HEAD, _SPAN, _ROW * len(shares)), x=(0, most), y=rows)
    for y, heading in zip((12, 27), measure.heading, strict=True):
        draw.words(sheet, left, y, heading, size=SMALL)
    for x, share, label in ((left, 0.0, "0"), (left + _SPAN, most, f"{most:.0%}")):
        draw.line(panel, (share, share), rows)
        draw.words(sheet, x, _HEAD + _ROW * len(shares) + 16, label, ha="center", color=SOFT, size=SMALL)
    if everybody.share is not None:
        draw.line(panel, (everybody.share, everybody.share), rows, color=GREY)
    for row, each in enumerate(shares):
        color = GREY if each is everybody else ACCENT
        if each.share is not None:
            draw.line(panel, each.interval, (row, row), color=color, linewidth=1.5)
            draw.dot(panel, each.share, row, color=color)
        draw.words(sheet, left + 144, _HEAD + _ROW * row + 15, _counted(each), ha="right", color=SOFT, size=SMALL)


def _counted(share: Proportion) -> str:
    """Say how many of how many, as far as there is room for it."""
    if not share.n:
        return "none yet"
    return f"{share.k} of {share.n}" if share.n < 1_000 else _percent(share.k, share.n)  # noqa: PLR2004 - three digits


def _short(reference: str) -> str:
    return reference if len(reference) <= _ROOM else f"{reference[: _ROOM - 1]}\N{HORIZONTAL ELLIPSIS}"


def _dots_say(report: Report, measures: Sequence[_Measure]) -> str:
    counts = ((str(measure).lower(), measure.everybody(report)) for measure in measures)
    shares = "; ".join(f"{what}, {counted.k:,} of {counted.n:,}" for what, counted in counts)
    return f"{len(report.reviewers)} reviewers. All together: {shares}. Lines are 95 % intervals."


def _dots_rows(report: Report, measures: Sequence[_Measure]) -> Iterator[Row]:
    for each in report.reviewers:
        for measure in measures:
            counted = measure.of(each)
            yield each.reviewer_id, str(measure), counted.k, counted.n, counted.share, *counted.interval


# --- all of them ----------------------------------------------------------------------------------------------------
_OF_REVIEWERS: Final = ("reviewer", "measure", "count", "of", "share", "low_95", "high_95")

CHARTS: Final[dict[str, Chart]] = {
    "throughput": Chart(
        title="What each day brought",
        says=_throughput_says,
        drawn=_throughput,
        columns=("day", "decisions", "cases_came"),
        rows=lambda report: [(day.day.isoformat(), day.decisions, day.came) for day in report.days],
    ),
    "queue": Chart(
        title="How long cases wait",
        says=_queue_says,
        drawn=_queue,
        columns=("urgency", "waits_s"),
        rows=lambda report: [
            (URGENCY[urgency], round(age.total_seconds())) for urgency, ages in report.waiting.items() for age in ages
        ],
    ),
    "outcomes": Chart(
        title="How cases ended",
        says=_outcomes_says,
        drawn=_outcomes,
        columns=("outcome", "cases"),
        rows=lambda report: [(outcome.value, report.outcomes.get(outcome, 0)) for outcome in Outcome],
    ),
    "agreement": Chart(
        title="Agreement, reviewer by reviewer",
        says=partial(_dots_say, measures=_AGREEMENT),
        drawn=partial(_dots, measures=_AGREEMENT),
        columns=_OF_REVIEWERS,
        rows=partial(_dots_rows, measures=_AGREEMENT),
    ),
    "errors": Chart(
        title="Errors where the answer is known, reviewer by reviewer",
        says=partial(_dots_say, measures=_ERRORS),
        drawn=partial(_dots, measures=_ERRORS),
        columns=_OF_REVIEWERS,
        rows=partial(_dots_rows, measures=_ERRORS),
    ),
}
