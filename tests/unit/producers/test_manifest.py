"""A gallery in one file: each line for itself, in memory that does not grow."""

import json
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers import manifest
from producers._intake import Report, Verdict
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.errors import Malformed
from rfr_stream.events import Disposal, Event, GalleryName, ReferenceSubmitted, Source
from rfr_stream.ports import BlobStore

HEADER: Final = "path,person,gallery,basis,source,captured_at,review_due"
SAID: Final = {
    "path": "a.png",
    "person": "person-1",
    "gallery": "custody",
    "basis": "taken on arrest",
    "source": "custody-system",
    "captured_at": "2026-01-31",
    "review_due": "2999-01-31",
}


class Recorder:
    def __init__(self) -> None:
        self.events: list[ReferenceSubmitted] = []

    async def publish(self, events: Sequence[Event]) -> None:
        self.events += cast(Sequence[ReferenceSubmitted], events)


def image(number: int = 0) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + str(number).encode().ljust(92, b".")


def listed(folder: Path, *lines: str | bytes, name: str = "gallery.csv") -> Path:
    """Write a manifest, and the image that its lines name."""
    (folder / "a.png").write_bytes(image())
    file = folder / name
    header = [] if name.endswith(".jsonl") else [HEADER]
    file.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in [*header, *lines]))
    return file


def csv(**fields: str) -> str:
    return ",".join({**SAID, **fields}.values())


async def enrol(file: Path, bus: Recorder, *, blobs: BlobStore | None = None, **how: Any) -> list[Report]:  # noqa: ANN401
    run = manifest.enrol(file, submitted_by="gallery-admin", blobs=blobs or MemoryBlobs(), publish=bus.publish, **how)
    return [report async for report in run]


# --- a line -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["gallery.csv", "gallery.jsonl"])
async def test_a_line_says_all_that_a_hold_record_has(tmp_path: Path, name: str) -> None:
    more = {"age_at_capture": "17", "case": "arrest-1", "disposal": "charged", "door": "officer", "restricted": "true"}
    said = {**SAID, **more}
    file = listed(tmp_path, json.dumps(said), name=name)
    if name.endswith(".csv"):
        file.write_text("\ufeff" + ",".join(said) + "\r\n" + ",".join(said.values()) + "\r\n", encoding="utf-8")
    bus = Recorder()
    (report,) = await enrol(file, bus)
    assert report.outcome is Verdict.ACCEPTED, report
    (event,) = bus.events
    assert (event.person_id, event.gallery, event.submitted_by) == ("person-1", GalleryName.CUSTODY, "gallery-admin")
    hold = event.hold
    assert (hold.age_at_capture, hold.case_ref, hold.disposal, hold.door, hold.restricted) == (
        *(17, "arrest-1", Disposal.CHARGED, Source.OFFICER),
        True,
    )
    assert hold.captured_at.isoformat() == "2026-01-31T00:00:00+00:00"


FAULTS: Final[Mapping[str, tuple[str | bytes, str]]] = {
    "no such person": (csv(person="Jane Doe"), "person: String should match pattern"),
    "no date": (csv(captured_at="yesterday"), "captured_at: must be a date"),
    "no gallery": (csv(gallery="cellar"), "gallery: Input should be"),
    "overdue": (csv(review_due="2020-01-31"), "hold: review_overdue"),
    "not taken yet": (csv(captured_at="2998-01-31"), "hold: captured_in_the_future"),
    "nothing said": (csv(basis=""), "basis: Field required"),
    "too few cells": ("a.png,person-1", "line: 2 cells for 7 columns"),
    "an open quote": (csv(basis='"taken'), "line: not CSV"),
    "other bytes": (b"\xff\xfe," + csv().encode(), "line: not UTF-8"),
    "too long": (csv(basis="x" * 70_000), "line: longer than 65536 bytes"),
    "no file": (csv(path="none.png"), "image: cannot be read: No such file or directory"),
    "no file's name": (csv(path="a\x00.png"), "image: no file can have this name"),
    "no image": (csv(path="gallery.csv"), "image: does not begin like"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_one_bad_line_is_its_own_reason_and_not_the_end(tmp_path: Path, fault: str) -> None:
    line, reason = FAULTS[fault]
    bus = Recorder()
    reports = await enrol(listed(tmp_path, csv(), line, csv(person="person-2")), bus)
    assert [report.outcome for report in reports] == [Verdict.ACCEPTED, Verdict.REJECTED, Verdict.ACCEPTED]
    assert [report.line for report in reports] == [2, 3, 4]
    assert (reports[1].reason or "").startswith(reason), reports[1].reason
    assert [event.person_id for event in bus.events] == ["person-1", "person-2"]


@pytest.mark.parametrize("line", ["{", "[]", '"text"', "[" * 60_000, "{}", '{"name": "Jane Doe"}'])
async def test_a_line_that_is_no_json_object_of_these_keys_is_rejected(tmp_path: Path, line: str) -> None:
    reports = await enrol(listed(tmp_path, line, json.dumps(SAID), name="g.jsonl"), Recorder())
    assert [report.outcome for report in reports] == [Verdict.REJECTED, Verdict.ACCEPTED]
    assert "Jane" not in (reports[0].reason or "")


async def test_what_may_not_enter_that_gallery_is_a_reason_too(tmp_path: Path) -> None:
    line = json.dumps({**SAID, "door": "public_appeal"})
    (report,) = await enrol(listed(tmp_path, line, name="g.jsonl"), Recorder())
    assert report.reason == "door: what came through public_appeal may not enter the gallery custody"


@given(junk=st.lists(st.binary(max_size=80).filter(lambda line: b"\n" not in line), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
async def test_whatever_the_bytes_every_line_gets_one_report_and_the_last_is_heard(
    tmp_path: Path, junk: list[bytes]
) -> None:
    bus = Recorder()
    reports = await enrol(listed(tmp_path, *junk, csv()), bus)
    lines = [number for number, line in enumerate(junk, start=2) if line.strip()]
    assert [report.line for report in reports] == [*lines, len(junk) + 2]
    assert reports[-1].outcome is Verdict.ACCEPTED


@pytest.mark.parametrize("header", ["path,person", HEADER + ",hair", HEADER + ",path", "", '"path'])
async def test_a_header_that_nobody_understands_ends_the_run_before_it_begins(tmp_path: Path, header: str) -> None:
    (tmp_path / "g.csv").write_text(f"{header}\n{csv()}\n")
    bus = Recorder()
    with pytest.raises(Malformed, match=r"^(header|line): "):
        await enrol(tmp_path / "g.csv", bus)
    assert bus.events == []


async def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gallery.xlsx").write_bytes(b"PK")
    with pytest.raises(Malformed, match=r"\.csv or \.jsonl or \.ndjson"):
        await enrol(tmp_path / "gallery.xlsx", Recorder())


def test_how_many_there_are_is_known_before_the_first_is_read(tmp_path: Path) -> None:
    assert manifest.count(listed(tmp_path, csv(), "", csv())) == 2
    assert manifest.count(listed(tmp_path, json.dumps(SAID), name="g.jsonl")) == 1


# --- many -------------------------------------------------------------------------------------------------------------
class Forgetful:
    """A bus and a store that keep nothing, so that only the way in can hold memory."""

    def __init__(self) -> None:
        self.seen = 0

    async def publish(self, events: Sequence[Event]) -> None:
        self.seen += len(events)


async def test_memory_does_not_grow_with_the_manifest(tmp_path: Path) -> None:
    async def peak_of(n: int) -> int:
        file = tmp_path / f"{n}.csv"
        with file.open("w") as lines:
            lines.write(HEADER + "\n")
            lines.writelines(csv(person=f"person-{number}", path="none.png") + "\n" for number in range(n))
        tracemalloc.start()
        async for _ in manifest.enrol(file, submitted_by="a", blobs=MemoryBlobs(), publish=Forgetful().publish):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    few, many = await peak_of(500), await peak_of(2_500)
    assert many < few * 1.5
