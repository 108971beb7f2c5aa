"""Frames on their way to a door: the record by which each is taken again, and the best shots of those who pass."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from fractions import Fraction
from importlib import import_module
from io import BytesIO
from pathlib import Path

import builders
import numpy as np
import pytest
from filmed import LIMITS, film
from PIL import Image

from producers import footage
from producers._admission import images_in
from producers._handed_in import HandedIn
from producers._intake import Verdict
from producers._request import Request
from rfr_stream.__main__ import main
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.adapters.memory.vision import FakeAligner, FakeDetector, PlantedFace, plant
from rfr_stream.commands import intake
from rfr_stream.errors import BadVideo, Malformed
from rfr_stream.events import Event, ImageSubmitted, Source, Still
from rfr_stream.faces import Box, ImageHwc
from rfr_stream.vision import loading
from rfr_stream.vision.video import Clip

SECOND = Fraction(1)


def clip(path: Path) -> Clip:
    return Clip(path, LIMITS)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return film(tmp_path / "film.mkv", options={"x264-params": "interlaced=1:tff=1:keyint=12"})


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- records ----------------------------------------------------------------------------------------------------------
def test_a_record_names_the_video_the_moment_the_steps_the_tools_and_both_digests(video: Path) -> None:
    ((png, record),) = footage.take(clip(video), at=[Fraction("0.41")])
    assert record.video_sha256 == digest(video.read_bytes())
    assert (record.frame_time_s, record.time) == (0.4, Fraction(2, 5))
    assert [step.partition("=")[0] for step in record.steps] == ["bwdif", "scale", "format"]
    assert all(tool in record.tools for tool in ("rfr-stream ", "PyAV ", "FFmpeg ", "Pillow "))
    assert record.sha256 == digest(png)
    pixels = np.asarray(Image.open(BytesIO(png)))
    assert record.pixels_sha256 == digest(pixels.tobytes())
    assert (record.height, record.width) == pixels.shape[:2]


def test_a_record_taken_again_from_the_same_video_gives_the_same_file(video: Path, tmp_path: Path) -> None:
    for taken in footage.take(clip(video), at=[SECOND], every=Fraction("0.3")):
        kept = footage.keep(taken, tmp_path / "frames")
        record = footage.read_record(footage.record_path(kept))
        assert footage.replayed(record, clip(video)).png == kept.read_bytes()


def test_the_steps_of_the_record_are_the_ones_that_are_taken_again(video: Path) -> None:
    ((_, record),) = footage.take(clip(video), at=[SECOND])
    other = record.model_copy(update={"steps": (*record.steps, "hflip")})
    with pytest.raises(Malformed, match="not the same frame again"):
        footage.replayed(other, clip(video))


def test_another_video_or_another_frame_is_told_from_the_recorded_one(video: Path, tmp_path: Path) -> None:
    ((_, record),) = footage.take(clip(video), at=[SECOND])
    with pytest.raises(Malformed, match="the record is of another video"):
        footage.replayed(record, clip(film(tmp_path / "other.mkv", 40)))
    with pytest.raises(Malformed, match="not the same frame again"):
        footage.replayed(record.model_copy(update={"pts": record.pts + 40}), clip(video))


def test_a_record_beside_another_image_is_refused(video: Path, tmp_path: Path) -> None:
    first, second = (footage.keep(taken, tmp_path) for taken in footage.take(clip(video), at=[SECOND, SECOND / 2]))
    assert footage.record_of(first) is not None
    first.write_bytes(second.read_bytes())
    with pytest.raises(Malformed, match="of another file than the image beside it"):
        footage.record_of(first)
    footage.record_path(first).write_text("{}")
    with pytest.raises(Malformed, match="not the record of a frame"):
        footage.record_of(first)
    footage.record_path(first).unlink()
    assert footage.record_of(first) is None


def test_frames_before_the_damage_are_given_before_the_refusal(tmp_path: Path) -> None:
    data = film(tmp_path / "film.mkv", codec="mjpeg", pixels="yuvj420p").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    frames = footage.take(clip(tmp_path / "cut.mkv"), every=Fraction(1, 5))
    given: list[float] = []
    with pytest.raises(BadVideo, match="truncated"):
        given.extend(taken.record.frame_time_s for taken in frames)
    assert given[:3] == [0, 0.2, 0.4]


async def test_beside_an_event_loop_every_frame_is_a_step_in_a_thread(video: Path) -> None:
    frames = footage.take(clip(video), every=SECOND / 2)
    times = []
    while taken := await asyncio.to_thread(next, frames, None):
        times.append(taken.record.frame_time_s)
    assert times == [0, 0.48, 1, 1.48]


# --- best shots -------------------------------------------------------------------------------------------------------
def passing(place: int) -> ImageHwc:
    """Return a picture of two who pass: one goes to the right and is largest in the ninth frame, one stands still."""
    side = 80 if place == 9 else 60
    return plant(PlantedFace("walker", 4 + 8 * place, 10, side), PlantedFace("waiter", 20, 150, 60))


async def shots_of(path: Path, count: int, step: Fraction = Fraction(1, 25)) -> list[footage.Taken]:
    rules = footage.ShotRules(count=count, step=step, min_score=0.5, min_interocular_px=10)
    return await footage.best_shots(clip(path), rules, detector=FakeDetector(), aligner=FakeAligner())


async def test_each_who_passes_has_one_shot_the_best_with_the_place_of_the_face(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", [passing(place) for place in range(16)], codec="ffv1", pixels="bgr0")
    first, second = [taken.record for taken in await shots_of(path, 10)]
    assert (first.frame_time_s, first.subject) == (0.36, Box(76, 10, 156, 90))
    assert second.subject == Box(20, 150, 80, 210)
    assert first.merit is not None
    assert second.merit is not None
    assert first.merit > second.merit
    assert first.detector == FakeDetector.identity


async def test_no_more_shots_than_asked_for_and_none_without_faces(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", [passing(place) for place in range(4)], codec="ffv1", pixels="bgr0")
    assert len(await shots_of(path, 1)) == 1
    assert await shots_of(film(tmp_path / "nobody.mkv", 4), 3) == []


async def test_a_best_shot_is_taken_again_as_every_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", [passing(place) for place in range(4)], codec="ffv1", pixels="bgr0")
    (shot,) = await shots_of(path, 1)
    assert footage.replayed(shot.record, clip(path)).png == shot.png


# --- the command line -------------------------------------------------------------------------------------------------
@pytest.fixture
def rfr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Rfr":
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RFR_VISION__DEVICE", "cpu")
    return Rfr(capsys)


class Rfr:
    """`rfr frames`, and what it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str | Path) -> tuple[int, str]:
        """Return the exit code, and everything that was printed."""
        with pytest.raises(SystemExit) as ended:
            main(["frames", *map(str, words)])
        said = self._capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err


def test_moments_are_given_as_people_write_them(rfr: Rfr, video: Path, tmp_path: Path) -> None:
    code, said = rfr(video, "--at", "00:00:01.2", "--at", "0.5", "--at", "0:01.9s")
    assert code == 0
    records = [json.loads(Path(f"{line}.json").read_text()) for line in said.split()]
    assert [record["frame_time_s"] for record in records] == [1.2, 0.48, 1.88]
    assert {path.parent for path in map(Path, said.split())} == {Path("frames")}
    assert len(list((tmp_path / "frames").iterdir())) == 6


def test_regular_samples_and_a_frame_taken_again(rfr: Rfr, video: Path) -> None:
    _, said = rfr(video, "--every", "0.5s", "--to", "here")
    assert len(said.split()) == 4
    code, told = rfr(video, "--replay", f"{said.split()[2]}.json")
    assert code == 0
    assert told.startswith("the same frame again: 1.000000 s")


@pytest.mark.parametrize("words", [[], ["--at", "1:2:x"], ["--every", "soon"], ["--at", "-1"], ["--every", "0"]])
def test_what_is_not_said_rightly_is_asked_for_again(rfr: Rfr, video: Path, words: list[str]) -> None:
    assert rfr(video, *words)[0] == 2


def test_a_bad_file_is_one_sentence(rfr: Rfr, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_text("no film")
    code, said = rfr("film.mp4", "--every", "1")
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("BadVideo: video: not one of MP4")


def test_best_shots_of_a_real_face_come_without_any_embedder(
    rfr: Rfr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        msg = "a bystander was about to be embedded"
        raise AssertionError(msg)

    monkeypatch.setattr(loading, "embedder", never)
    portrait = np.ascontiguousarray(import_module("skimage.data").astronaut())
    walk = [np.roll(portrait, 12 * place, axis=1)[:320, :448] for place in range(8)]
    path = film(tmp_path / "walk.mp4", walk, rate=5)
    code, said = rfr(path, "--best", "3", "--every", "0.4")
    assert code == 0
    (kept,) = map(Path, said.split())
    record = footage.record_of(kept)
    assert record is not None
    assert record.subject is not None
    face = Box(170, 65, 275, 200)  # of the portrait as it is
    shift = 12 * round(record.frame_time_s * 5)
    assert record.subject.iou(Box(face.x1 + shift, face.y1, face.x2 + shift, face.y2)) > 0.5


# --- on to `rfr submit` -----------------------------------------------------------------------------------------------
def asking(**fields: object) -> Request:
    return intake.request_of(Source.OFFICER, "officer-1", builders.asked(**fields))


def test_a_frame_is_handed_in_with_what_its_record_says(video: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    ((png, record),) = footage.take(clip(video), at=[SECOND])
    box = Box(10, 20, 30, 40)
    frame = footage.keep(footage.Taken(png, record.model_copy(update={"subject": box})), folder, number=1)
    (folder / "photograph.png").write_bytes(png)
    listed = intake.without_records(images_in([folder]))
    (plain, as_asked), (framed, of_video) = intake.asked_of_each(listed, asking())
    assert (plain, as_asked.media, as_asked.subject) == ([folder / "photograph.png"], Still(), None)
    assert (framed, of_video.subject) == ([frame], box)
    assert of_video.media == record.media
    assert record.media.steps == record.steps


async def test_what_is_handed_in_names_the_video_and_how_its_frame_was_developed(video: Path, tmp_path: Path) -> None:
    (taken,) = footage.take(clip(video), at=[SECOND])
    frame = footage.keep(taken, tmp_path / "frames")
    published: list[Event] = []

    async def publish(events: Sequence[Event]) -> None:
        published.extend(events)

    entries = list(intake.asked_of_each([frame], asking()))
    with HandedIn() as journal:
        reports = intake.hand_in_each(
            entries, blobs=MemoryBlobs(), publish=publish, journal=journal, max_bytes=1_000_000
        )
        assert [report.outcome async for report in reports] == [Verdict.ACCEPTED]
    (event,) = published
    assert isinstance(event, ImageSubmitted)
    assert event.submission.media == taken.record.media
    assert event.submission.image.sha256 == taken.record.sha256


def test_what_the_options_say_goes_before_what_a_record_says(video: Path, tmp_path: Path) -> None:
    (taken,) = footage.take(clip(video), at=[SECOND])
    frame = footage.keep(taken, tmp_path / "frames")
    said = asking(media={"kind": "video_frame", "video_sha256": "0" * 64, "frame_time_s": 3}, subject=Box(1, 1, 2, 2))
    assert list(intake.asked_of_each([frame], said)) == [([frame], said)]
    pointed = asking(subject=Box(1, 1, 2, 2))
    _, (_, of_video) = intake.asked_of_each([frame], pointed)
    assert of_video.subject == pointed.subject


def test_every_file_that_is_no_record_of_a_frame_stays_on_the_list(tmp_path: Path) -> None:
    for name in ("a.png", "a.png.json", "b.json"):
        (tmp_path / name).write_bytes(b"...")
    assert [path.name for path in intake.without_records(images_in([tmp_path]))] == ["a.png", "b.json"]
