"""The supervisors' charts: what is drawn is what was counted, any page may hold it, and CSV says the same."""

import csv
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Final
from xml.etree import ElementTree as ET

import pytest
from at_work import case, said, seed
from builders import NOW

from producers.console import _drawing, charts
from producers.console.charts import CHARTS
from rfr_stream.conduct import Report, report
from rfr_stream.events import Outcome, Support
from rfr_stream.ports import CaseState

DAY: Final = timedelta(days=1)
NONE: Final = Support.MODERATE_DIFFERENT
SVG: Final = "{http://www.w3.org/2000/svg}"


def a_week() -> Report:
    """Return a week in which three people decided on real cases and on known answers."""
    real = [
        case(f"r{i}", state=CaseState.CONFIRMED, outcome=Outcome.CONFIRMED, opened_at=NOW - (i % 5 + 1) * DAY)
        for i in range(12)
    ]
    real += [
        case(f"n{i}", state=CaseState.NOT_CONFIRMED, outcome=Outcome.NOT_CONFIRMED, opened_at=NOW - DAY) for i in "ab"
    ]
    waiting = [case(f"w{i}", urgency=i % 5, opened_at=NOW - (i + 1) * timedelta(hours=7)) for i in range(9)]
    known = [seed(f"s{i}", answer="person-1" if i % 2 else None, opened_at=NOW - 2 * DAY) for i in range(8)]
    told = [
        said(about, Support.STRONG_SAME if about.answer != "person-1" else NONE, by=by, at=about.opened_at + DAY / 2)
        for about in [*real, *known]
        for by in ("reviewer-a", "reviewer-b")
    ]
    told.append(said(real[0], by="a-reviewer-with-a-long-reference", at=NOW - DAY / 2))
    told.sort(key=lambda each: each.decided_at)
    return report([*real, *waiting, *known], told, since=NOW - 7 * DAY, until=NOW)


WEEK: Final = a_week()
NOTHING: Final = report([], [], since=NOW - 7 * DAY, until=NOW)


def drawn(name: str, of: Report = WEEK) -> ET.Element:
    return ET.fromstring(charts.chart(name, of))  # noqa: S314 - our own


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def boxes(root: ET.Element, fill: str) -> list[tuple[float, float, float, float]]:
    """Return the filled rectangles, from the left: left, top, width and height."""
    found = []
    for path in root.iter(f"{SVG}path"):
        if path.get("fill") == fill:
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.attrib["d"])]
            xs, ys = numbers[::2], numbers[1::2]
            found.append((min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)))
    return sorted(found)


def strokes(root: ET.Element, stroke: str, cap: str) -> list[tuple[float, float, float]]:
    """Return level lines: where they begin and end, and how high they lie."""
    found = []
    for path in root.iter(f"{SVG}path"):
        if path.get("stroke") == stroke and path.get("stroke-linecap", "butt") == cap:
            x1, y1, x2, y2 = (float(number) for number in re.findall(r"-?[\d.]+", path.attrib["d"]))
            if y1 == pytest.approx(y2):
                found.append((x1, x2, y1))
    return found


def rows(name: str, of: Report = WEEK) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(charts.csv(name, of))))


@pytest.mark.parametrize("name", CHARTS)
class TestEveryChart:
    @pytest.mark.parametrize("of", [WEEK, NOTHING], ids=["a week", "nothing"])
    def test_any_page_may_hold_it(self, name: str, of: Report) -> None:
        """No inline style and no script, which the desk's policy forbids; nothing from elsewhere; no id twice."""
        root = drawn(name, of)

        for element in root.iter():
            assert element.tag.removeprefix(SVG) in {"svg", "title", "desc", "g", "path", "text"}, element.tag
            assert not {"style", "href", "class"} & {key.rpartition("}")[2] for key in element.attrib}
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert ids == [f"{name}-title", f"{name}-description"]
        assert b"url(" not in charts.chart(name, of)

    @pytest.mark.parametrize("of", [WEEK, NOTHING], ids=["a week", "nothing"])
    def test_it_is_named_and_described(self, name: str, of: Report) -> None:
        root = drawn(name, of)

        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == f"{name}-title {name}-description"
        assert root.findtext(f"{SVG}title") == CHARTS[name].title
        assert root.findtext(f"{SVG}desc") == CHARTS[name].says(of)

    def test_the_same_numbers_are_the_same_bytes(self, name: str) -> None:
        assert charts.chart(name, WEEK) == charts.chart(name, WEEK)
        assert charts.chart(name, WEEK) != charts.chart(name, NOTHING)

    def test_nothing_is_drawn_or_written_beside_the_sheet(self, name: str) -> None:
        root = drawn(name)
        width, height = (float(root.attrib[side]) for side in ("width", "height"))

        assert root.get("viewBox") == f"0 0 {width:.0f} {height:.0f}"
        assert width == 400
        for path in root.iter(f"{SVG}path"):
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.attrib["d"])]
            assert all(-1 <= x <= width + 1 for x in numbers[::2])
            assert all(-1 <= y <= height + 1 for y in numbers[1::2])
        for text in root.iter(f"{SVG}text"):
            assert 0 <= float(text.attrib["x"]) <= width
            assert 8 <= float(text.attrib["y"]) <= height - 2
            assert float(text.attrib["font-size"].removesuffix("px")) >= 11

    def test_no_cell_begins_as_a_formula_does(self, name: str) -> None:
        for row in csv.reader(StringIO(charts.csv(name, WEEK))):
            assert not [cell for cell in row if cell[:1] in {"=", "+", "-", "@", "\t"}]


def test_there_is_no_chart_of_another_name() -> None:
    with pytest.raises(KeyError):
        charts.chart("merit", WEEK)


class TestThroughput:
    def test_columns_are_as_high_as_their_counts(self) -> None:
        root = drawn("throughput")
        counts = [day.decisions for day in WEEK.days if day.decisions]

        heights = [height for _, _, _, height in boxes(root, _drawing.ACCENT)]

        assert [height / heights[0] for height in heights] == pytest.approx([n / counts[0] for n in counts], rel=1e-3)

    def test_both_rows_have_one_scale(self) -> None:
        root = drawn("throughput")
        decided, came = (boxes(root, color)[-1][3] for color in (_drawing.ACCENT, _drawing.GREY))
        assert decided / WEEK.days[-1].decisions == pytest.approx(came / WEEK.days[-1].came, rel=1e-3)

    def test_its_numbers_say_the_same(self) -> None:
        assert [int(row["decisions"]) for row in rows("throughput")] == [day.decisions for day in WEEK.days]
        assert f"{sum(day.decisions for day in WEEK.days)} decisions" in texts(drawn("throughput"))


class TestTheQueue:
    def test_every_case_is_in_a_column(self) -> None:
        root = drawn("queue")

        columns = boxes(root, _drawing.ACCENT)

        one = min(height for _, _, _, height in columns)
        assert sum(round(height / one) for _, _, _, height in columns) == 9 == len(rows("queue"))

    def test_each_urgency_says_how_many_wait_and_the_oldest(self) -> None:
        said_of = texts(drawn("queue"))
        assert said_of.count("2 wait") == 4
        assert "oldest 2 d" in said_of

    def test_older_is_to_the_right(self) -> None:
        one = replace(WEEK, waiting={4: (3 * DAY,)})
        other = replace(WEEK, waiting={4: (DAY / 24,)})
        ((old, *_),), ((young, *_),) = (boxes(drawn("queue", of), _drawing.ACCENT) for of in (one, other))
        assert old > young


class TestOutcomes:
    def test_bars_are_as_long_as_their_counts(self) -> None:
        root = drawn("outcomes")
        ((_, _, confirmed, _),), ((_, _, other, _),) = (boxes(root, c) for c in (_drawing.ACCENT, _drawing.GREY))
        assert confirmed / other == pytest.approx(12 / 2, rel=1e-3)
        assert {"Confirmed", "12", "86%", "Not confirmed", "2", "14%"} <= set(texts(root))

    def test_its_numbers_say_the_same(self) -> None:
        counts = {row["outcome"]: int(row["cases"]) for row in rows("outcomes")}
        assert counts == {each.value: WEEK.outcomes.get(each, 0) for each in Outcome}


@pytest.mark.parametrize("name", ["agreement", "errors"])
class TestReviewers:
    def test_dots_and_lines_lie_where_the_shares_and_their_intervals_do(self, name: str) -> None:
        root = drawn(name)
        expected = [
            tuple(float(row[column]) for column in ("share", "low_95", "high_95")) for row in rows(name) if row["share"]
        ]

        dots = strokes(root, _drawing.ACCENT, "round")
        lines = strokes(root, _drawing.ACCENT, "butt")

        found = []
        for (x, _, y), (low, high, height) in zip(dots, lines, strict=True):
            assert y == pytest.approx(height)
            left = max(start for start in charts._COLUMNS if start <= low + 0.01)  # noqa: SLF001 - the layout's own
            found.append(tuple((each - left) / charts._SPAN for each in (x, low, high)))  # noqa: SLF001
        assert sorted(found) == [pytest.approx(each, abs=1e-3) for each in sorted(expected)]

    def test_rows_stand_by_reference_and_the_whole_at_the_foot(self, name: str) -> None:
        root = drawn(name)
        names = [text for text in texts(root) if text.startswith(("reviewer", "a-rev", "All"))]
        assert names == ["a-reviewer-w\N{HORIZONTAL ELLIPSIS}", "reviewer-a", "reviewer-b", "All together"]
        assert [row["reviewer"] for row in rows(name)[::2]] == [each.reviewer_id for each in WEEK.reviewers]

    def test_where_nothing_was_counted_nothing_is_drawn(self, name: str) -> None:
        assert strokes(drawn(name, NOTHING), _drawing.ACCENT, "round") == []
        assert texts(drawn(name, NOTHING)).count("none yet") == 2


def test_a_scale_is_no_longer_than_it_must_be_for_what_is_drawn() -> None:
    many = [seed(f"s{i}", answer=None, opened_at=NOW - DAY) for i in range(60)]
    told = [said(each, NONE, at=NOW - DAY / 2) for each in many]
    few = report(many, told, since=NOW - 7 * DAY, until=NOW)

    assert "10%" in texts(drawn("errors", few))
    ((x1, x2, _),) = strokes(drawn("errors", few), _drawing.ACCENT, "butt")
    upper = few.reviewers[0].on_seeds.false_positives.interval[1]
    assert (x2 - x1) / charts._SPAN == pytest.approx(upper / 0.1, abs=1e-3)  # noqa: SLF001


def test_ages_are_said_in_one_unit() -> None:
    lengths = [timedelta(minutes=5), timedelta(minutes=119), timedelta(hours=2), timedelta(hours=47), 2 * DAY]
    assert [charts._long(each) for each in lengths] == ["5 min", "119 min", "2 h", "47 h", "2 d"]  # noqa: SLF001


def test_several_are_drawn_at_once() -> None:
    """A page asks for all of them, each in a thread of its own."""
    alone = {name: charts.chart(name, WEEK) for name in CHARTS}

    with ThreadPoolExecutor(8) as threads:
        drawings = [(name, threads.submit(charts.chart, name, WEEK)) for name in [*CHARTS] * 3]

    for name, drawing in drawings:
        assert drawing.result() == alone[name]
