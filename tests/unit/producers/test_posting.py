"""A list of the unit's images: searched with, held, or both; several of one subject together; each line for itself."""

import csv as comma
import io
import json
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers import posting
from producers._handed_in import HandedIn
from producers._intake import CHUNK_FILES, Report, Verdict
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.errors import Malformed, NotPermitted, Unavailable
from rfr_stream.events import (
    Event,
    Found,
    GalleryName,
    ImageSubmitted,
    ImageVariant,
    Purpose,
    ReferenceSubmitted,
    Regime,
    Source,
)
from rfr_stream.policy import Stated

MISSING: Final = {
    "path": "a.png",
    "action": "search",
    "purpose": "missing",
    "harm": "life_at_risk",
    "case_ref": "MP-1",
    "legal_basis": "safeguarding a missing person",
    "regime": "uk_gdpr",
    "necessity": "Last seen at the station; no card was used since, and the family knows of no friends there.",
    "provenance.origin": "phone",
    "provenance.obtained": "Given by the family.",
    "provenance.exhibit_ref": "AB/1",
    "submitted_by": "unit-3",
}
HELD: Final = {
    "enrol.person_id": "mp-1",
    "enrol.basis": "given so that she is found",
    "enrol.source": "unit-register",
    "enrol.captured_at": "2026-01-31",
    "enrol.review_due": "2999-01-31",
}
FOUND: Final = {"purpose": "deceased", "found.where": "Foreshore", "found.when": "2026-02-01T06:40:00Z"}


class Recorder:
    """A bus that keeps what it is given, until it is away."""

    def __init__(self, *, until: int = 10_000) -> None:
        self.events: list[Event] = []
        self._until = until

    async def publish(self, events: Sequence[Event]) -> None:
        if len(self.events) + len(events) > self._until:
            msg = "away"
            raise Unavailable(msg)
        self.events += events

    @property
    def probes(self) -> list[ImageSubmitted]:
        return [event for event in self.events if isinstance(event, ImageSubmitted)]

    @property
    def references(self) -> list[ReferenceSubmitted]:
        return [event for event in self.events if isinstance(event, ReferenceSubmitted)]


def image(name: str) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + name.encode().ljust(92, b".")


def line(path: str = "a.png", **fields: str) -> dict[str, str]:
    """Return a line; two underscores stand for a dot."""
    return {**MISSING, "path": path, **{name.replace("__", "."): value for name, value in fields.items()}}


def both(path: str = "a.png", **fields: str) -> dict[str, str]:
    return {**HELD, **line(path, action="both", **fields)}


def listed(folder: Path, *lines: Mapping[str, str], name: str = "unit.csv", files: bool = True) -> Path:
    """Write a list with all columns that its lines have, and the images that they name."""
    for each in lines if files else ():
        (folder / each["path"]).write_bytes(image(each["path"]))
    if name.endswith(".jsonl"):
        (folder / name).write_text("".join(json.dumps(each) + "\n" for each in lines))
        return folder / name
    text = io.StringIO()
    columns = dict.fromkeys(column for each in lines for column in each)
    table = comma.DictWriter(text, list(columns), restval="")
    table.writeheader()
    table.writerows(lines)
    (folder / name).write_text(text.getvalue())
    return folder / name


async def any_words(submitted_by: str, words: Stated) -> None:
    """Nobody has said the same before."""


async def post(file: Path, bus: Recorder, **how: Any) -> list[Report]:  # noqa: ANN401
    ports: dict[str, Any] = {"own_words": any_words, "blobs": MemoryBlobs(), **how}
    return [report async for report in posting.post(file, publish=bus.publish, **ports)]


def outcomes(reports: Sequence[Report]) -> list[Verdict]:
    return [report.outcome for report in reports]


# --- one line ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["unit.csv", "unit.jsonl"])
async def test_one_line_searches_and_enrols_the_same_image(tmp_path: Path, name: str) -> None:
    bus, blobs = Recorder(), MemoryBlobs()
    said = both(age_at_capture="17", galleries="missing deceased")
    if name == "unit.jsonl":
        said |= {"galleries": ["missing", "deceased"]}  # type: ignore[dict-item]
    (report,) = await post(listed(tmp_path, said, name=name), bus, blobs=blobs)
    (probe,), (reference,) = bus.probes, bus.references
    asked, hold = probe.submission, reference.hold
    assert report == Report(
        tmp_path / "a.png",
        Verdict.ACCEPTED,
        asked.submission_id,
        line=2 - (name != "unit.csv"),
        reference_id=reference.reference_id,
    )
    assert (asked.source, asked.purpose, asked.regime) == (Source.MISSING_PERSON, Purpose.MISSING, Regime.GENERAL)
    assert asked.galleries == (GalleryName.MISSING, GalleryName.DECEASED)
    assert (reference.person_id, reference.gallery, hold.door) == ("mp-1", GalleryName.MISSING, Source.MISSING_PERSON)
    assert (hold.case_ref, hold.regime, hold.age_at_capture) == ("MP-1", Regime.GENERAL, asked.age_at_capture)
    assert asked.age_at_capture == 17
    assert asked.image.sha256 == reference.image.sha256
    assert await blobs.get([asked.image, reference.image]) == [image("a.png")] * 2
    assert asked.image.uri != reference.image.uri, "erasing what is held leaves what was searched with"


@pytest.mark.parametrize("same_subject", ["", "her"])
@pytest.mark.parametrize("action", ["search", "enrol", "both"])
async def test_each_report_says_by_which_reference_the_image_is_held(
    tmp_path: Path, action: str, same_subject: str
) -> None:
    said = [{**(line if action == "search" else both)(name), "action": action} for name in ("a.png", "b.png")]
    file = listed(tmp_path, *(each | {"same_subject": same_subject} for each in said))
    bus = Recorder()
    with HandedIn() as journal:
        reports, again = [await post(file, bus, journal=journal) for _ in range(2)]
    held = [event.reference_id for event in bus.references]
    for each in (reports, again):
        assert [report.reference_id for report in each] == (held if action != "search" else [None, None])
    assert set(outcomes(again)) == {Verdict.SKIPPED}


async def test_of_the_deceased_it_is_held_where_they_were_found(tmp_path: Path) -> None:
    bus = Recorder()
    said = {**both(), **FOUND, "action": "enrol"}
    assert outcomes(await post(listed(tmp_path, said), bus)) == [Verdict.ACCEPTED]
    ((reference,), probes) = bus.references, bus.probes
    assert probes == []
    assert (reference.gallery, reference.hold.door) == (GalleryName.DECEASED, Source.DECEASED_PERSON)
    assert reference.hold.found == Found.model_validate({"where": "Foreshore", "when": "2026-02-01T06:40:00Z"})


@pytest.mark.parametrize("purpose", ["missing", "deceased"])
@pytest.mark.parametrize("action", ["enrol", "both"])
async def test_nothing_that_the_unit_posts_is_for_where_suspects_are_sought(
    tmp_path: Path, purpose: str, action: str
) -> None:
    bus = Recorder()
    said = both() | (FOUND if purpose == "deceased" else {}) | {"action": action}
    await post(listed(tmp_path, said), bus)
    (reference,) = bus.references
    assert reference.gallery is not GalleryName.CUSTODY
    assert reference.hold.door is not Source.OFFICER


FAULTS: Final = {
    "no law": (line(regime=""), "regime: for purpose missing, say"),
    "a suspect": (line(purpose="suspect"), "purpose: Input should be"),
    "not found": (line(purpose="deceased"), "found: say where and when"),
    "few words": (line(necessity="to find her"), "necessity: String should have at least 40"),
    "not held": (line(action="both"), "action: say by enrol.* why"),
    "held for nothing": ({**HELD, **line()}, "action: say by enrol.* why"),
    "overdue": (both(enrol__review_due="2020-01-31"), "enrol: review_overdue"),
    "a name": (both(enrol__person_id="Jane Doe"), "enrol.person_id: String should match"),
    "no date": (both(enrol__captured_at="May"), "enrol.captured_at: must be a date"),
    "another gallery": (line(galleries="cellar"), "galleries.0: Input should be"),
    "no file": (line("none.png"), "image: cannot be read: No such file"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_bad_line_is_its_own_reason_and_not_the_end(tmp_path: Path, fault: str) -> None:
    bad, reason = FAULTS[fault]
    bus = Recorder()
    (tmp_path / "a.png").write_bytes(image("a"))
    reports = await post(listed(tmp_path, line(), bad, line(case_ref="MP-2"), files=False), bus)
    assert outcomes(reports) == [Verdict.ACCEPTED, Verdict.REJECTED, Verdict.ACCEPTED], reports
    assert [report.line for report in reports] == [2, 3, 4]
    assert (reports[1].reason or "").startswith(reason), reports[1].reason
    assert "Jane" not in (reports[1].reason or "")
    assert [event.submission.case_ref for event in bus.probes] == ["MP-1", "MP-2"]
    assert bus.references == []


async def test_what_was_said_of_another_case_is_said_of_none(tmp_path: Path) -> None:
    async def said_before(submitted_by: str, words: Stated) -> None:
        assert submitted_by == "unit-3"
        if words.case_ref == "MP-2":
            msg = "necessity: the same was said of another case"
            raise NotPermitted(msg)

    bus = Recorder()
    reports = await post(listed(tmp_path, both("a.png"), both("b.png", case_ref="MP-2")), bus, own_words=said_before)
    assert outcomes(reports) == [Verdict.ACCEPTED, Verdict.REJECTED]
    assert [event.hold.case_ref for event in bus.references] == ["MP-1"]


@pytest.mark.parametrize("header", ["path,action", "path,action,hair", "path,action,found.whom"])
async def test_a_header_that_nobody_understands_ends_the_run_before_it_begins(tmp_path: Path, header: str) -> None:
    (tmp_path / "unit.csv").write_text(f"{header}\na.png,search\n")
    with pytest.raises(Malformed, match=r"^header: "):
        await post(tmp_path / "unit.csv", Recorder())


async def test_a_lists_word_on_what_a_demonstration_is_does_not_count(tmp_path: Path) -> None:
    bus = Recorder()
    await post(listed(tmp_path, both(demo="true"), name="unit.jsonl"), bus)
    assert [event.demo for event in bus.events] == [False, False]


# --- one subject ------------------------------------------------------------------------------------------------------
def of_one(*paths: str, **fields: str) -> list[dict[str, str]]:
    return [both(path, same_subject="her", **fields) for path in paths]


async def test_images_of_one_subject_are_one_submission_and_each_is_held(tmp_path: Path) -> None:
    bus = Recorder()
    lines = of_one("a.png", "b.png", "c.png")
    lines[1] |= {"age_at_capture": "12", "enrol.captured_at": "2025-06-30"}
    reports = await post(listed(tmp_path, line("z.png", case_ref="MP-2"), *lines), bus)
    other, (probe, *more) = bus.probes[0], bus.probes[1:]
    assert more == []
    assert other.submission.case_ref == "MP-2"
    images = [probe.submission.image, *(v.image for v in probe.submission.variants if isinstance(v, ImageVariant))]
    assert [each.sha256 for each in images] == [event.image.sha256 for event in bus.references]
    assert [event.hold.age_at_capture for event in bus.references] == [None, 12, None]
    assert {report.derived_id for report in reports[1:]} == {probe.submission.submission_id}
    assert [report.line for report in reports] == [2, 3, 4, 5]


async def test_with_one_image_refused_none_of_a_subject_is_handed_in_and_all_others_are(tmp_path: Path) -> None:
    file = listed(tmp_path, *of_one("a.png", "b.png"), line("z.png", case_ref="MP-2"))
    (tmp_path / "b.png").write_bytes(b"no image")
    bus = Recorder()
    reports = await post(file, bus)
    assert outcomes(reports) == [Verdict.REJECTED, Verdict.REJECTED, Verdict.ACCEPTED]
    assert (reports[0].reason or "").startswith("same_subject: not handed in")
    assert (reports[1].reason or "").startswith("image: ")
    assert [event.submission.case_ref for event in bus.probes] == ["MP-2"]
    assert bus.references == []


WRONG_FIELDS: Final = {
    "an age": {"age_at_capture": "soon"},
    "a date": {"enrol.captured_at": "May"},
    "a hold record": {"enrol.review_due": "2020-01-31"},
    "an action": {"action": "look"},
    "no action": {"action": ""},
}


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("name", WRONG_FIELDS)
async def test_with_one_line_wrong_none_of_a_subject_is_handed_in_until_it_is_mended(
    tmp_path: Path, name: str, place: int
) -> None:
    good, other = of_one("a.png", "b.png", "c.png"), line("z.png", case_ref="MP-2")
    lines = [each | WRONG_FIELDS[name] if n == place else each for n, each in enumerate(good)]
    reports = await post(listed(tmp_path, *lines, other), bus := Recorder())
    assert outcomes(reports) == [Verdict.REJECTED] * 3 + [Verdict.ACCEPTED]
    assert [report.line for report in reports] == [2, 3, 4, 5]
    assert [(report.reason or "").startswith("same_subject: not handed in") for report in reports[:3]] == [
        n != place for n in range(3)
    ]
    assert [event.submission.case_ref for event in bus.probes] == ["MP-2"]
    assert bus.references == []
    assert set(outcomes(await post(listed(tmp_path, *good), bus := Recorder()))) == {Verdict.ACCEPTED}
    assert len(bus.probes) == 1, "nobody is searched for twice"


@pytest.mark.parametrize(
    ("text", "handed_in"),
    [
        ("A ? A", []),
        ("A A ? z", ["z"]),
        ("z ? A A", ["z"]),
        ("A ? B", []),
        ("A ? ? B z C", ["z", "C"]),
        ("A z ? y B", ["A", "z", "y", "B"]),
        ("? ?", []),
    ],
)
@pytest.mark.parametrize("wrong", ["{", json.dumps(line(same_subject="her", case_ref="M P"))])
async def test_a_line_that_does_not_say_whose_it_is_may_be_of_the_subjects_beside_it(
    tmp_path: Path, text: str, handed_in: list[str], wrong: str
) -> None:
    (tmp_path / "a.png").write_bytes(image("a"))
    said = {each: line(case_ref=each) | ({"same_subject": each} if each.isupper() else {}) for each in text.split()}
    lines = [wrong if each == "?" else json.dumps(said[each]) for each in text.split()]
    (tmp_path / "unit.jsonl").write_text("\n".join(lines))
    reports = await post(tmp_path / "unit.jsonl", bus := Recorder())
    assert [report.line for report in reports] == list(range(1, len(lines) + 1))
    assert [event.submission.case_ref for event in bus.probes] == handed_in
    assert outcomes(reports).count(Verdict.ACCEPTED) == len(handed_in)


async def test_a_line_that_is_wrong_and_only_to_be_held_is_no_matter_of_the_subjects(tmp_path: Path) -> None:
    lines = of_one("a.png", "b.png")
    wrong = lines[1] | {"action": "enrol", "age_at_capture": "soon"}
    reports = await post(listed(tmp_path, lines[0], wrong), bus := Recorder())
    assert outcomes(reports) == [Verdict.ACCEPTED, Verdict.REJECTED]
    assert len(bus.probes) == 1


SUBJECT_FAULTS: Final = {
    "another word": ({"legal_basis": "something else"}, "same_subject: its lines say the same"),
    "another person": ({"enrol.person_id": "mp-2"}, "same_subject: its lines say the same"),
    "not held": ({"action": "search", **dict.fromkeys(HELD, "")}, "same_subject: its lines say the same"),
}


@pytest.mark.parametrize("fault", SUBJECT_FAULTS)
async def test_lines_of_one_subject_say_the_same(tmp_path: Path, fault: str) -> None:
    fields, reason = SUBJECT_FAULTS[fault]
    first, second = of_one("a.png", "b.png")
    reports = await post(listed(tmp_path, first, second | fields), bus := Recorder())
    assert outcomes(reports) == [Verdict.REJECTED] * 2
    assert all((report.reason or "").startswith(reason) for report in reports), reports
    assert bus.events == []


async def test_a_place_in_one_image_is_no_place_in_the_others(tmp_path: Path) -> None:
    reports = await post(listed(tmp_path, *of_one("a.png", "b.png", subject__x="1", subject__y="2")), Recorder())
    assert {report.reason for report in reports} == {
        "same_subject: `subject` and `media` are about one image; post it by itself"
    }


async def test_the_same_image_twice_would_count_twice(tmp_path: Path) -> None:
    file = listed(tmp_path, *of_one("a.png", "b.png"))
    (tmp_path / "b.png").write_bytes(image("a.png"))
    reports = await post(file, bus := Recorder())
    assert {report.reason for report in reports} == {"images: the same one twice; it would count twice"}
    assert bus.events == []


async def test_more_lines_of_one_subject_than_a_submission_has_images_are_refused_before_a_file_is_opened(
    tmp_path: Path,
) -> None:
    many = of_one(*(f"{number}.png" for number in range(30)))
    reports = await post(listed(tmp_path, *many, files=False), bus := Recorder())
    assert {report.reason for report in reports} == {"same_subject: at most 9 lines of one subject"}
    assert (len(reports), bus.events) == (30, [])


@pytest.mark.parametrize("text", ["9" * 5_000, '{"path": ' + "9" * 5_000 + "}", "[" * 50_000])
async def test_a_line_that_no_reader_of_json_can_take_is_that_lines_reason(tmp_path: Path, text: str) -> None:
    file = listed(tmp_path, line(), name="unit.jsonl")
    file.write_text(text + "\n" + file.read_text())
    reports = await post(file, Recorder())
    assert outcomes(reports) == [Verdict.REJECTED, Verdict.ACCEPTED]


async def test_lines_that_come_after_others_are_another_subject_or_nobodys(tmp_path: Path) -> None:
    between = line("z.png", case_ref="MP-2")
    reports = await post(listed(tmp_path, *of_one("a.png"), between, *of_one("b.png")), bus := Recorder())
    assert outcomes(reports) == [Verdict.ACCEPTED, Verdict.ACCEPTED, Verdict.REJECTED]
    assert (reports[2].reason or "").startswith("same_subject: its lines must follow one another")
    assert len(bus.probes) == 2


async def test_what_is_only_held_is_no_subject_of_a_search(tmp_path: Path) -> None:
    held = of_one("a.png", "b.png")
    held[1] |= {"legal_basis": "something else"}
    bus = Recorder()
    await post(listed(tmp_path, *(each | {"action": "enrol"} for each in held)), bus)
    assert (bus.probes, len(bus.references)) == ([], 2)


# --- again ------------------------------------------------------------------------------------------------------------
def ids(bus: Recorder) -> list[UUID]:
    return [event.event_id for event in bus.events]


def many(n: int) -> list[dict[str, str]]:
    alone = [both(f"{number}.png", case_ref=f"MP-{number}") for number in range(n)]
    return [*alone, *of_one("x.png", "y.png"), line("z.png", case_ref="MP-z")]


async def test_an_interrupted_run_goes_on_where_it_stopped_and_doubles_nothing(tmp_path: Path) -> None:
    n = 2 * CHUNK_FILES
    file = listed(tmp_path, *many(n))
    whole, first, second = Recorder(), Recorder(until=CHUNK_FILES + 10), Recorder()
    await post(file, whole)
    with HandedIn(tmp_path / "journal.db") as journal, pytest.raises(Unavailable):
        await post(file, first, journal=journal)
    with HandedIn(tmp_path / "journal.db") as journal:
        reports = await post(file, second, journal=journal)
        third = await post(file, last := Recorder(), journal=journal)
    assert sorted(ids(first) + ids(second)) == sorted(set(ids(whole)))
    assert len(reports) == n + 3
    assert set(outcomes(third)) == {Verdict.SKIPPED}
    assert last.events == []
    assert [report.derived_id for report in third] == [report.derived_id for report in reports]


async def test_without_a_journal_the_same_list_says_the_same_with_the_same_ids(tmp_path: Path) -> None:
    file = listed(tmp_path, *many(3))
    await post(file, first := Recorder())
    await post(file, second := Recorder())
    assert ids(first) == ids(second)


# --- many, and anything -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "said", [{}, {"case_ref": "MP-1", "same_subject": "her"}, {"same_subject": "her", "case_ref": "M P"}]
)
async def test_memory_does_not_grow_with_the_list(tmp_path: Path, said: dict[str, str]) -> None:
    async def peak_of(n: int) -> int:
        lines = (both("none.png", case_ref=f"MP-{number}") | said for number in range(n))
        file = tmp_path / f"{n}.jsonl"
        with file.open("w") as out:
            out.writelines(json.dumps(each) + "\n" for each in lines)
        tracemalloc.start()
        async for _ in posting.post(file, own_words=any_words, blobs=MemoryBlobs(), publish=Recorder().publish):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    await peak_of(10)
    few, many_ = await peak_of(200), await peak_of(1_000)
    assert many_ < few * 1.5


@given(
    st.dictionaries(
        st.sampled_from([*MISSING, *HELD, ".", "found.", ".when", "found.where.x", "media", "subject.x"]) | st.text(),
        st.none()
        | st.text(max_size=50)
        | st.integers()
        | st.lists(st.integers())
        | st.dictionaries(st.text(), st.text()),
        max_size=6,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
async def test_whatever_a_line_says_it_gets_one_report_and_the_next_is_heard(
    tmp_path: Path, said: dict[str, object]
) -> None:
    (tmp_path / "a.png").write_bytes(image("a"))
    file = tmp_path / "unit.jsonl"
    file.write_text(json.dumps(line() | said) + "\n" + json.dumps(line()) + "\n")
    reports = await post(file, Recorder())
    assert [report.line for report in reports] == [1, 2]
    assert reports[-1].outcome is not Verdict.REJECTED
