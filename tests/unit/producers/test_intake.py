"""What every door promises: each file once, acknowledged only when durable, and none holds up the others."""

import os
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import builders
import pytest
from pydantic import ValidationError

from producers import officer
from producers._handed_in import HandedIn
from producers._intake import CHUNK_FILES, Report, Verdict
from producers.officer import OfficerRequest
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.errors import NotPermitted, Unavailable
from rfr_stream.events import Event, GalleryName, ImageSubmitted, Purpose, Submission
from rfr_stream.ports import BlobStore, NewBlob

PNG = b"\x89PNG\r\n\x1a\n"


class Recorder:
    """A bus that keeps what was published, and goes away after so many events."""

    def __init__(self, until: int | None = None) -> None:
        self.events: list[Event] = []
        self.until = until

    async def publish(self, events: Sequence[Event]) -> None:
        if self.until is not None and len(self.events) >= self.until:
            msg = "the bus is away"
            raise Unavailable(msg)
        self.events += events

    @property
    def submissions(self) -> list[Submission]:
        return [cast(ImageSubmitted, event).submission for event in self.events]


def asking(**fields: object) -> OfficerRequest:
    return OfficerRequest.model_validate(builders.asked(**{"submitted_by": "officer-1", **fields}))


def image(number: int = 0, *, size: int = 100) -> bytes:
    return PNG + str(number).encode().ljust(size - len(PNG), b".")


def images(folder: Path, count: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:05}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(image(number))
    return paths


async def submit(
    files: Iterable[Path | bytes],
    bus: Recorder,
    *,
    request: OfficerRequest | None = None,
    blobs: BlobStore | None = None,
    journal: HandedIn | None = None,
) -> list[Report]:
    run = officer.submit(
        files, request or asking(), blobs=blobs or MemoryBlobs(), publish=bus.publish, journal=journal, max_bytes=1_000
    )
    return [report async for report in run]


async def test_the_original_is_kept_unaltered_under_its_digest_and_its_event_refers_to_it() -> None:
    bus, blobs = Recorder(), MemoryBlobs()
    (report,) = await submit([image()], bus, blobs=blobs)
    (submission,) = bus.submissions
    assert await blobs.get([submission.image]) == [image()]
    digest = submission.image.sha256
    assert submission.image.uri == f"memory://rfr/originals/{digest[:2]}/{digest}"
    assert report == Report(None, Verdict.ACCEPTED, submission.submission_id)


async def test_the_id_is_the_one_every_other_part_of_the_house_derives() -> None:
    bus = Recorder()
    await submit([image()], bus, request=asking(galleries=(GalleryName.CUSTODY,)))
    (submission,) = bus.submissions
    assert submission.submission_id == Submission.derive(
        image_sha256=submission.image.sha256,
        source=submission.source,
        purpose=Purpose.SUSPECT,
        case_ref="case-1",
        submitted_by=submission.submitted_by,
        galleries=(GalleryName.CUSTODY,),
    )


async def test_a_forbidden_request_is_refused_before_any_file_is_opened() -> None:
    def never() -> Iterator[Path | bytes]:
        pytest.fail("a file was asked for")
        yield b""

    with pytest.raises(NotPermitted, match="authoriser"):
        await submit(never(), Recorder(), request=asking(purpose=Purpose.WITNESS))


async def test_an_interrupted_run_goes_on_where_it_stopped_and_hands_in_every_file_once(tmp_path: Path) -> None:
    files = images(tmp_path / "in", 5 * CHUNK_FILES // 2)
    first, second = Recorder(until=CHUNK_FILES), Recorder()
    with HandedIn(tmp_path / "journal.sqlite") as journal, pytest.raises(Unavailable):
        await submit(files, first, journal=journal)
    with HandedIn(tmp_path / "journal.sqlite") as journal:
        reports = await submit(files, second, journal=journal)
    ids = [submission.submission_id for submission in (*first.submissions, *second.submissions)]
    assert len(ids) == len(set(ids)) == len(files)
    assert [report.derived_id for report in reports] == ids
    assert [report.outcome for report in reports].count(Verdict.SKIPPED) == CHUNK_FILES


async def test_what_was_kept_but_not_published_is_not_acknowledged(tmp_path: Path) -> None:
    with HandedIn(tmp_path / "journal.sqlite") as journal:
        with pytest.raises(Unavailable):
            await submit([image()], Recorder(until=0), journal=journal)
        (report,) = await submit([image()], Recorder(), journal=journal)
    assert report.outcome is Verdict.ACCEPTED


async def test_without_a_journal_a_second_run_says_the_same_with_the_same_ids() -> None:
    first, second = Recorder(), Recorder()
    await submit([image(1), image(2)], first)
    await submit([image(1), image(2)], second)
    assert [event.event_id for event in first.events] == [event.event_id for event in second.events]


async def test_a_changed_request_is_not_mistaken_for_the_old_one(tmp_path: Path) -> None:
    with HandedIn(tmp_path / "journal.sqlite") as journal:
        await submit([image()], Recorder(), journal=journal)
        (report,) = await submit(
            [image()],
            Recorder(),
            journal=journal,
            request=asking(necessity="strictly, and nothing else has helped so far"),
        )
    assert report.outcome is Verdict.ACCEPTED


@pytest.mark.parametrize("apart", [1, CHUNK_FILES], ids=["in one chunk", "in two chunks"])
async def test_the_same_image_twice_in_a_run_is_handed_in_once(apart: int) -> None:
    bus = Recorder()
    reports = await submit([image(0), *(image(n) for n in range(1, apart)), image(0)], bus)
    assert reports[-1].outcome is Verdict.SKIPPED
    assert reports[-1].derived_id == reports[0].derived_id
    assert len(bus.events) == apart


async def test_each_refused_file_is_reported_with_its_reason_and_the_run_goes_on(tmp_path: Path) -> None:
    good = images(tmp_path, 2)
    (tmp_path / "notes.png").write_text("not an image, whatever its name says")
    (tmp_path / "empty.png").touch()
    (tmp_path / "large.png").write_bytes(image(size=1_001))
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(good[0])
    refused = [tmp_path / f"{name}.png" for name in ("notes", "empty", "large", "pipe", "link", "absent")]
    bus = Recorder()
    reports = await submit([good[0], *refused, tmp_path / ("n" * 300), Path("a\0b"), good[1]], bus)
    said = [report.reason for report in reports if report.outcome is Verdict.REJECTED]
    expected = ("begin like", "empty", "larger", "not a regular", "symbolic", "No such", "too long", "no file can")
    assert all(word in (reason or "") for word, reason in zip(expected, said, strict=True))
    assert [reports[0].outcome, reports[-1].outcome] == [Verdict.ACCEPTED] * 2
    assert len(bus.events) == 2


async def test_a_reason_never_quotes_the_name_of_the_file(tmp_path: Path) -> None:
    (report,) = await submit([tmp_path / "john-doe.png"], Recorder())
    assert "john" not in (report.reason or "john")


@pytest.mark.parametrize(
    "name", ["{}\n.png", "[bold]{}.png", "$({}).png", "..{}", "{}\udce9.png", "-rf {}", "{}\x1b[2J"]
)
async def test_a_hostile_name_goes_nowhere(tmp_path: Path, name: str) -> None:
    path = tmp_path / name.format("smuggled")
    path.write_bytes(image())
    bus, blobs = Recorder(), MemoryBlobs()
    (report,) = await submit([tmp_path], bus, blobs=blobs)
    assert (report.path, report.outcome) == (path, Verdict.ACCEPTED)
    assert "smuggled" not in bus.events[0].model_dump_json()
    assert not any("smuggled" in key for key in blobs.kept)


async def test_a_folder_stands_for_what_lies_in_it_in_the_order_of_names(tmp_path: Path) -> None:
    images(tmp_path / "b", 2)
    images(tmp_path / "a", 1)
    (tmp_path / "c").mkdir()
    reports = await submit([tmp_path], Recorder())
    named = [str(report.path and report.path.relative_to(tmp_path)) for report in reports]
    assert named == ["a/00000.png", "b/00000.png", "b/00001.png"]


async def test_a_link_found_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    images(tmp_path / "elsewhere", 3)
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "loop").symlink_to(tmp_path / "given", target_is_directory=True)
    (tmp_path / "given" / "out").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    reports = await submit([tmp_path / "given"], Recorder())
    assert [report.outcome for report in reports] == [Verdict.REJECTED] * 2


@pytest.mark.parametrize(
    ("beginning", "media_type"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (PNG, "image/png"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"II*\x00", "image/tiff"),
        (b"MM\x00*", "image/tiff"),
        (b"BM", "image/bmp"),
        (b"\x00\x00\x00\x18ftypheic", "image/heic"),
        (b"\x00\x00\x00\x1cftypavif", "image/avif"),
    ],
)
async def test_the_type_is_told_by_content_and_not_by_name(tmp_path: Path, beginning: bytes, media_type: str) -> None:
    path = tmp_path / "picture.txt"
    path.write_bytes(beginning + bytes(64))
    bus = Recorder()
    await submit([path], bus)
    assert bus.submissions[0].image.media_type == media_type


class Sink:
    """A store that keeps nothing but the size of the largest batch."""

    def __init__(self) -> None:
        self._inner = MemoryBlobs()
        self.largest = 0

    async def put(self, blobs: Sequence[NewBlob]) -> list[object]:
        self.largest = max(self.largest, len(blobs))
        self._inner.kept.clear()
        return list(await self._inner.put(blobs))


async def test_thousands_of_files_stream_in_bounded_memory() -> None:
    async def forget(events: Sequence[Event]) -> None:
        del events

    sink, count, size = Sink(), 2_000, 50_000
    files = (image(number, size=size) for number in range(count))
    tracemalloc.start()
    try:
        run = officer.submit(files, asking(), blobs=cast(BlobStore, sink), publish=forget)
        accepted = [report.outcome async for report in run].count(Verdict.ACCEPTED)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (accepted, sink.largest) == (count, CHUNK_FILES)
    assert peak_bytes < 5 * CHUNK_FILES * size < count * size / 4


def test_a_wrong_field_is_named_without_its_value() -> None:
    with pytest.raises(ValidationError) as caught:
        asking(submitted_by="John Doe, sergeant")
    assert "submitted_by" in str(caught.value)
    assert "John" not in str(caught.value)
