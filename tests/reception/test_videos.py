"""A video at the door: of its frames each is a submission, or nothing is; and no video harms whoever is at the door."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import av
import httpx
import numpy as np
import psutil
import pytest
import reception_house
from filmed import LIMITS, film, numbered
from reception_house import REQUEST, ReceptionHouse, faults, form, picture, streamed, video_form

from producers import footage
from producers._admission import VIDEO_BEGINNING_BYTES, video_type
from producers.officer import OfficerRequest
from producers.reception._wanted import Wanted
from rfr_stream.errors import BadVideo
from rfr_stream.events import Source, Submission, VideoFrame
from rfr_stream.faces import Box
from rfr_stream.reception import Door
from rfr_stream.vision.video import Clip

OFFICER: Final = "/officer/videos"
UNIT: Final = "/unit/videos"
FIRST: Final = {"at": [0]}


def is_untouched(house: ReceptionHouse, folder: Path) -> bool:
    """Whether nothing was kept, announced or left behind."""
    kept = [path for path in (folder / "blobs").rglob("*") if path.is_file()]
    return (kept, house.behind.events, house.is_tidy) == ([], [], True)


def media_of(submission: Submission) -> VideoFrame:
    assert isinstance(submission.media, VideoFrame)
    return submission.media


class TestWhatIsTaken:
    async def test_each_moment_is_a_submission_of_its_own(
        self, house: ReceptionHouse, client: httpx.AsyncClient, video: bytes
    ) -> None:
        answer = await client.post(OFFICER, files=video_form(video, frames={"at": [1.48, 0]}))
        assert answer.status_code == 202
        announced = house.behind.submissions
        assert answer.json()["submissions"] == [
            {
                "submission_id": str(each.submission_id),
                "status_url": f"/submissions/{each.submission_id}",
                "frame_time_s": media_of(each).frame_time_s,
            }
            for each in announced
        ]
        assert [media_of(each).frame_time_s for each in announced] == [1.48, 0]
        assert {each.case_ref for each in announced} == {REQUEST["case_ref"]}
        status = await client.get(answer.json()["submissions"][0]["status_url"])
        assert status.json()["state"] == "received"

    async def test_video_frames_and_records_are_kept_so_that_each_frame_can_be_taken_again(
        self, house: ReceptionHouse, client: httpx.AsyncClient, video: bytes, tmp_path: Path
    ) -> None:
        answer = await client.post(OFFICER, files=video_form(video, frames={"at": [0.5]}))
        digest, store = answer.json()["video_sha256"], tmp_path / "blobs" / "rfr"
        original = store / "videos" / digest[:2] / digest
        assert original.read_bytes() == video
        (submission,) = house.behind.submissions
        name = str(submission.submission_id)
        record = footage.read_record(store / "frames" / name[:2] / f"{name}.json")
        assert record.media == submission.media
        assert record.video_sha256 == digest
        assert await house.kept() == [footage.replayed(record, Clip(original, LIMITS)).png]

    async def test_frames_at_regular_steps(
        self, house: ReceptionHouse, client: httpx.AsyncClient, video: bytes
    ) -> None:
        answer = await client.post(OFFICER, files=video_form(video, frames={"every": 0.5}))
        assert [each["frame_time_s"] for each in answer.json()["submissions"]] == [0, 0.48, 1, 1.48]
        assert len(house.behind.events) == 4

    async def test_best_shots_say_where_the_face_is(
        self, house: ReceptionHouse, client: httpx.AsyncClient, video: bytes
    ) -> None:
        """The null pack sees one face in the middle of every frame."""
        answer = await client.post(OFFICER, files=video_form(video, frames={"best": 3}))
        assert answer.status_code == 202
        (submission,) = house.behind.submissions
        assert submission.subject is not None

    async def test_best_shots_by_the_packs_own_detector(self, tmp_path: Path) -> None:
        """In the memory that a decoder has, torch included; the frames before anybody came are nobody's."""
        portrait = np.ascontiguousarray(import_module("skimage.data").astronaut())
        seen = film(tmp_path / "seen.mp4", [np.full_like(portrait, 90)] * 10 + [portrait] * 10).read_bytes()
        async with reception_house.opened(tmp_path, pack="baseline") as house, house.client() as client:
            answer = await client.post(OFFICER, files=video_form(seen, frames={"best": 3}))
            assert answer.status_code == 202, answer.text
            (submission,) = house.behind.submissions
        assert media_of(submission).frame_time_s >= 0.4
        assert isinstance(submission.subject, Box)
        assert (180 < submission.subject.centre.x < 270, 80 < submission.subject.centre.y < 160) == (True, True)

    async def test_the_same_video_again_is_the_same_submissions(
        self, house: ReceptionHouse, client: httpx.AsyncClient, video: bytes
    ) -> None:
        first = await client.post(OFFICER, files=video_form(video, frames={"at": [0, 1]}))
        second = await client.post(OFFICER, files=video_form(video, frames={"every": 1}))
        assert first.json() == second.json()
        assert len({event.event_id for event in house.behind.events}) == 2

    async def test_a_frame_is_the_submission_that_the_command_line_would_make_of_it(
        self, house: ReceptionHouse, client: httpx.AsyncClient, video: bytes, tmp_path: Path
    ) -> None:
        await client.post(OFFICER, files=video_form(video, frames={"at": [1]}))
        (tmp_path / "film").write_bytes(video)
        ((_, record),) = footage.take(Clip(tmp_path / "film", LIMITS), at=[Fraction(1)])
        by_command = footage.asked_of(record, OfficerRequest.model_validate_json(json.dumps(REQUEST))).form()
        assert by_command.derive(record.sha256) == house.behind.submissions[0].submission_id

    async def test_the_unit_asks_by_its_own_door(self, house: ReceptionHouse, video: bytes) -> None:
        said = {"purpose": "missing", "regime": "uk_gdpr", "submitted_by": "unit-3", "frames": FIRST}
        async with house.client("portal-of-the-unit", Door.UNIT) as client:
            assert (await client.post(UNIT, files=video_form(video, **said))).status_code == 202
            assert (await client.post(OFFICER, files=video_form(video, frames=FIRST))).status_code == 403
        (submission,) = house.behind.submissions
        assert submission.source is Source.MISSING_PERSON

    async def test_one_moment_may_say_which_face_is_meant(
        self, house: ReceptionHouse, client: httpx.AsyncClient, video: bytes
    ) -> None:
        answer = await client.post(OFFICER, files=video_form(video, frames=FIRST, subject={"x": 3, "y": 4}))
        assert answer.status_code == 202
        assert house.behind.submissions[0].subject is not None

    async def test_a_video_never_lies_in_memory(self, house: ReceptionHouse, video: bytes) -> None:
        padding = 32 * 2**20
        files = video_form(video + padding.to_bytes(4, "big") + b"free" + bytes(padding - 8), frames=FIRST)
        answer, peak = await streamed(house, OFFICER, files)
        assert answer == 202
        assert peak < 16 * 2**20
        assert house.is_tidy


BEGINNINGS: Final = {
    b"\x00\x00\x00\x18ftypmp42": "video/mp4",
    b"\x00\x00\x00\x14ftypqt  ": "video/quicktime",
    b"\x00\x00\x00\x08wide\x00\x01": "video/quicktime",
    b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm": "video/webm",
    b"\x1aE\xdf\xa3\xa3B\x86\x81\x01B\x82\x88matroska": "video/matroska",
    b"RIFF\x00\x00\x10\x00AVI LIST": "video/x-msvideo",
    b"\x00\x00\x01\xbaD": "video/mpeg",
    b"0&\xb2u\x8ef\xcf\x11": "video/x-ms-asf",
    b"FLV\x01\x05": "video/x-flv",
    b"\x06\x0e+4\x02\x05\x01\x01\r": "application/mxf",
    b"OggS\x00": "video/ogg",
    b"G" + bytes(187) + b"G": "video/mp2t",
    bytes(4) + b"G" + bytes(191) + b"G": "video/mp2t",
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_what_a_video_is_its_first_bytes_say(beginning: bytes) -> None:
    assert video_type(beginning.ljust(VIDEO_BEGINNING_BYTES, b"\0")) == BEGINNINGS[beginning]


@pytest.mark.parametrize("beginning", [b"\x00\x00\x00\x18ftypavif", b"RIFF\x00\x00\x10\x00WAVE", b"GG", b""])
def test_what_begins_otherwise_is_none(beginning: bytes) -> None:
    with pytest.raises(BadVideo, match="does not begin like"):
        video_type(beginning.ljust(VIDEO_BEGINNING_BYTES, b"\0"))


def sound(folder: Path) -> bytes:
    with av.open(folder / "sound.mp4", "w") as file:
        stream = file.add_stream("aac", rate=44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1_024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return (folder / "sound.mp4").read_bytes()


def large(folder: Path) -> bytes:
    return film(folder / "large.mp4", [numbered(0, 1_200, 1_000)]).read_bytes()


def long(folder: Path) -> bytes:
    return film(folder / "long.mkv", 2, times=[0, 61_000]).read_bytes()


def cut_off(folder: Path) -> bytes:
    whole = film(folder / "whole.mkv").read_bytes()
    return whole[: len(whole) // 2]


def without_an_index(folder: Path) -> bytes:
    whole = film(folder / "whole.mp4").read_bytes()
    return whole[: len(whole) // 2]


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("sent", "status", "fix"),
        [
            (b"", 422, "empty"),
            (b"<!doctype html><title>x</title>", 415, "does not begin like"),
            (picture(1), 415, "does not begin like"),
            (b"\x00\x00\x00\x18ftypmp42" + bytes(400), 422, "index cannot be read"),
        ],
        ids=["empty", "html", "image", "nothing behind its beginning"],
    )
    async def test_a_video_that_is_none(  # noqa: PLR0917
        self, house: ReceptionHouse, client: httpx.AsyncClient, tmp_path: Path, sent: bytes, status: int, fix: str
    ) -> None:
        answer = await client.post(OFFICER, files=video_form(sent, frames=FIRST))
        assert answer.status_code == status
        assert fix in faults(answer)["video"]
        assert is_untouched(house, tmp_path)

    @pytest.mark.parametrize(
        ("made", "frames", "fix"),
        [
            (sound, FIRST, "no moving pictures"),
            (large, FIRST, "more than 1000000 pixels"),
            (long, FIRST, "longer than 60 s"),
            (cut_off, {"every": 0.5}, "truncated"),
            (without_an_index, FIRST, "index cannot be read"),
        ],
    )
    async def test_a_video_that_cannot_be_decoded_here(  # noqa: PLR0917
        self,
        house: ReceptionHouse,
        client: httpx.AsyncClient,
        tmp_path: Path,
        made: Callable[[Path], bytes],
        frames: dict[str, Any],
        fix: str,
    ) -> None:
        answer = await client.post(OFFICER, files=video_form(made(tmp_path), frames=frames))
        assert (answer.status_code, list(faults(answer))) == (422, ["video"])
        assert fix in faults(answer)["video"]
        assert is_untouched(house, tmp_path)

    @pytest.mark.parametrize(
        ("frames", "field", "fix"),
        [
            ({"at": [0, 5]}, "request.frames.at.1", "it ends at 2.000 s"),
            ({"at": [-1]}, "request.frames.at.0", "greater than or equal to 0"),
            ({"at": [0] * 11}, "request.frames.at", "at most 10 of one video"),
            ({"best": 11}, "request.frames.best", "at most 10 of one video"),
            ({"every": 0.05}, "request.frames.every", "a longer step"),
            ({"every": 0}, "request.frames.every", "greater than 0"),
            ({}, "request.frames", "exactly one"),
            ({"at": [0], "best": 1}, "request.frames", "exactly one"),
            ({"first": 1}, "request.frames.?", "does not know"),
        ],
    )
    async def test_frames_that_it_does_not_have_or_that_are_too_many(  # noqa: PLR0917
        self, tmp_path: Path, video: bytes, frames: dict[str, Any], field: str, fix: str
    ) -> None:
        async with reception_house.opened(tmp_path, max_frames=10) as house, house.client() as client:
            answer = await client.post(OFFICER, files=video_form(video, frames=frames))
            assert answer.status_code == 422
            assert fix in faults(answer)[field]
            assert is_untouched(house, tmp_path)

    async def test_best_shots_where_nobody_is_fit_to_be_compared(
        self, house: ReceptionHouse, client: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        small = film(tmp_path / "small.mp4", [numbered(0, 48, 48)] * 5).read_bytes()
        answer = await client.post(OFFICER, files=video_form(small, frames={"best": 1}))
        assert (answer.status_code, list(faults(answer))) == (422, ["request.frames.best"])
        assert is_untouched(house, tmp_path)

    @pytest.mark.parametrize(
        ("said", "field"),
        [
            ({"frames": {"every": 1}, "subject": {"x": 3, "y": 4}}, "request.frames"),
            (
                {"frames": FIRST, "media": {"kind": "video_frame", "video_sha256": "0" * 64, "frame_time_s": 1}},
                "request.media",
            ),
            ({}, "request.frames"),
            ({"frames": FIRST, "necessity": "Needed."}, "request.necessity"),
        ],
    )
    async def test_a_request_that_says_too_much_or_too_little(
        self, client: httpx.AsyncClient, video: bytes, said: dict[str, Any], field: str
    ) -> None:
        answer = await client.post(OFFICER, files=video_form(video, **said))
        assert (answer.status_code, list(faults(answer))) == (422, [field])

    async def test_another_part_than_one_video(self, client: httpx.AsyncClient, video: bytes) -> None:
        files = video_form(video, frames=FIRST)
        assert list(faults(await client.post(OFFICER, files=files[:1]))) == ["video"]
        assert list(faults(await client.post(OFFICER, files=form(request={**REQUEST, "frames": FIRST})))) == ["video"]
        assert list(faults(await client.post(OFFICER, files=[*files, files[1]]))) == ["body"]

    async def test_more_bytes_than_a_video_may_have(self, tmp_path: Path, video: bytes) -> None:
        async with (
            reception_house.opened(tmp_path, max_video_bytes=len(video) - 1) as house,
            house.client() as client,
        ):
            answer = await client.post(OFFICER, files=video_form(video, frames=FIRST))
            assert (answer.status_code, list(faults(answer))) == (413, ["video"])
            answer = await client.post(OFFICER, files=video_form(video + bytes(100_000), frames=FIRST))
            assert (answer.status_code, list(faults(answer))) == (413, ["body"])
            assert is_untouched(house, tmp_path)

    async def test_frames_that_are_more_than_a_video_may_be(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(1).integers(0, 256, (96, 192, 3), np.uint8)
        noisy = film(tmp_path / "noisy.mp4", [noise] * 40, options={"crf": "40"}).read_bytes()
        async with (
            reception_house.opened(tmp_path, max_video_bytes=len(noisy)) as house,
            house.client() as client,
        ):
            answer = await client.post(OFFICER, files=video_form(noisy, frames={"every": 0.04}))
            assert faults(answer) == {"request.frames": f"fewer; together at most {len(noisy)} bytes"}

    async def test_a_frame_that_is_more_than_an_image_may_be(self, tmp_path: Path, video: bytes) -> None:
        async with reception_house.opened(tmp_path, max_image_bytes=200) as house, house.client() as client:
            answer = await client.post(OFFICER, files=video_form(video, frames=FIRST))
            assert (answer.status_code, list(faults(answer))) == (422, ["video"])
            assert "200 bytes" in faults(answer)["video"]
            assert is_untouched(house, tmp_path)

    async def test_what_the_scanner_finds(self, tmp_path: Path, video: bytes) -> None:
        class Scanner:
            async def is_clean(self, path: Path) -> bool:
                return await asyncio.to_thread(path.read_bytes) != video

        async with reception_house.opened(tmp_path, scanner=Scanner()) as house, house.client() as client:
            answer = await client.post(OFFICER, files=video_form(video, frames=FIRST))
            assert "scanner" in faults(answer)["video"]
            assert is_untouched(house, tmp_path)


class TestAgain:
    KEY: Final = {"idempotency-key": "7f1c-1"}

    async def test_a_key_is_for_one_video_and_its_frames(
        self, house: ReceptionHouse, client: httpx.AsyncClient, video: bytes
    ) -> None:
        first = await client.post(OFFICER, files=video_form(video, frames=FIRST), headers=self.KEY)
        second = await client.post(OFFICER, files=video_form(video, frames=FIRST), headers=self.KEY)
        assert first.json() == second.json()
        other = await client.post(OFFICER, files=video_form(video, frames={"at": [1]}), headers=self.KEY)
        assert (other.status_code, list(faults(other))) == (422, ["Idempotency-Key"])
        assert len(house.behind.events) == 2

    async def test_nothing_is_acknowledged_while_the_bus_is_away(
        self, house: ReceptionHouse, client: httpx.AsyncClient, video: bytes
    ) -> None:
        house.behind.is_away = True
        assert (await client.post(OFFICER, files=video_form(video, frames=FIRST), headers=self.KEY)).status_code == 503
        house.behind.is_away = False
        assert (await client.post(OFFICER, files=video_form(video, frames=FIRST), headers=self.KEY)).status_code == 202
        assert house.is_tidy


def decoder_that(*does: str) -> tuple[str, ...]:
    """Return a decoder that does this in the place of taking frames; `x` is the module."""
    head = "import os, resource, sys, time\nfrom producers.reception import _decoder as x\n"
    take = "\n    ".join(["def take(job):", *does])
    return (sys.executable, "-c", f"{head}{take}\nx._take = take\nx.main()")


def decoders() -> Sequence[psutil.Process]:
    """Return the decoders at work; whole runs have other children too: a database, a browser."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # it has just ended
            if child.status() != psutil.STATUS_ZOMBIE and any("_decoder" in word for word in child.cmdline()):
                found.append(child)
    return found


class TestTheDecoder:
    @pytest.mark.parametrize(
        "does",
        [
            ("os.abort()",),
            ("sys.exit(3)",),
            ("raise ValueError('Jane Doe')",),
            ("sys.stdout.write('no JSON at all' * 9_000)", "return 1"),
            ("return 1",),
            ("sys.stdout.write(x.Said(field='any', fix='any').model_dump_json())", "sys.stdout.flush()", "os.abort()"),
            ("(job.to / '0.png').write_bytes(b'x')", "(job.to / '0.png.json').write_text('{}')", "return 1"),
            (
                "clip = x.Clip(job.video, x.VideoLimits(10**6, 100, 100.0))",
                "(taken,) = x.footage.take(clip, at=[x.Fraction(0)])",
                "other = taken.record.model_copy(update={'video_sha256': '0' * 64})",
                "x.footage.write(taken._replace(record=other), job.to / '0.png')",
                "return 1",
            ),
        ],
        ids=["crashes", "ends", "fails", "talks", "takes nothing", "crashes late", "takes no frame", "takes another's"],
    )
    async def test_one_that_gives_up_harms_nobody_but_its_sender(
        self, tmp_path: Path, video: bytes, does: tuple[str, ...], capfd: pytest.CaptureFixture[str]
    ) -> None:
        async with reception_house.opened(tmp_path, decoder=decoder_that(*does)) as house, house.client() as client:
            answer = await client.post(OFFICER, files=video_form(video, frames=FIRST))
            assert answer.status_code == 422
            assert "gave up" in faults(answer)["video"]
            assert is_untouched(house, tmp_path)
            assert (await client.post("/officer/submissions", files=form())).status_code == 202
        assert "Jane" not in capfd.readouterr().err

    async def test_one_that_hangs_is_ended_and_holds_up_nobody(self, tmp_path: Path, video: bytes) -> None:
        async with (
            reception_house.opened(tmp_path, decoder=decoder_that("time.sleep(60)"), video_wait_s=3) as house,
            house.client() as client,
        ):
            hanging = asyncio.create_task(client.post(OFFICER, files=video_form(video, frames=FIRST)))
            await asyncio.sleep(0.5)
            assert (await client.post("/officer/submissions", files=form())).status_code == 202
            assert not hanging.done()
            answer = await hanging
            assert (answer.status_code, list(faults(answer))) == (422, ["video"])
            assert "within 3 s" in faults(answer)["video"]
            assert house.is_tidy
        assert decoders() == []

    async def test_one_whose_sender_is_given_up_on_is_ended(self, tmp_path: Path, video: bytes) -> None:
        async with (
            reception_house.opened(tmp_path, decoder=decoder_that("time.sleep(60)")) as house,
            house.client() as client,
        ):
            hanging = asyncio.create_task(client.post(OFFICER, files=video_form(video, frames=FIRST)))
            while not decoders():  # noqa: ASYNC110 - nothing tells when it has begun
                await asyncio.sleep(0.02)
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging
            assert house.is_tidy
        assert decoders() == []

    async def test_only_so_many_are_at_work_at_once(
        self, house: ReceptionHouse, client: httpx.AsyncClient, video: bytes
    ) -> None:
        with house.here.place_for_a_video(Door.UNIT), house.here.place_for_a_video(Door.UNIT):
            answer = await client.post(OFFICER, files=video_form(video, frames=FIRST))
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
            assert (await client.post("/officer/submissions", files=form())).status_code == 202
        assert (await client.post(OFFICER, files=video_form(video, frames=FIRST))).status_code == 202

    async def test_it_has_so_much_memory_and_leaves_no_picture_of_it(self, tmp_path: Path, video: bytes) -> None:
        does = (
            "try: bytearray(2**29)",
            "except MemoryError: cores = resource.getrlimit(resource.RLIMIT_CORE)",
            "raise x._Fault(x.Said(field='cores', fix=str(cores)))",
        )
        settings: dict[str, Any] = {"video_memory_bytes": 2**28}
        async with (
            reception_house.opened(tmp_path, decoder=decoder_that(*does), **settings) as house,
            house.client() as client,
        ):
            answer = await client.post(OFFICER, files=video_form(video, frames=FIRST))
            assert faults(answer) == {"cores": "(0, 0)"}

    async def test_it_knows_no_secrets(self, tmp_path: Path, video: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RFR_KAFKA__SASL_PASSWORD", "secret")
        says = "raise x._Fault(x.Said(field='environment', fix=' '.join(os.environ)))"
        async with reception_house.opened(tmp_path, decoder=decoder_that(says)) as house, house.client() as client:
            answer = await client.post(OFFICER, files=video_form(video, frames=FIRST))
            assert set(faults(answer)["environment"].split()) <= {"PYTHONPATH", "LC_CTYPE"}

    async def test_what_is_away_for_it_is_not_its_senders_fault(self, tmp_path: Path, video: bytes) -> None:
        away = "raise x.Unavailable('spool: No space left on device')"
        async with reception_house.opened(tmp_path, decoder=decoder_that(away)) as house, house.client() as client:
            answer = await client.post(OFFICER, files=video_form(video, frames=FIRST))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
            assert is_untouched(house, tmp_path)

    def test_it_ends_with_whoever_started_it(self, house: ReceptionHouse, video: bytes, tmp_path: Path) -> None:
        """Its standard input is closed by then."""
        (tmp_path / "film").write_bytes(video)
        job = house.here.decoding.job(tmp_path / "film", Wanted(at=(0,)), tmp_path)
        ended = subprocess.run(
            [*decoder_that("time.sleep(60)"), job.model_dump_json()],
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=30,
        )
        assert ended.returncode == 1
