"""What `Clip` promises of every video: exactly this frame, at exactly this moment, or a reason why not."""

import os
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from filmed import LIMITS, film, number_in, numbered

from rfr_stream.errors import BadVideo
from rfr_stream.faces import ImageHwc
from rfr_stream.vision.developing import DEINTERLACE
from rfr_stream.vision.video import Clip, VideoLimits

SHORT_GROUPS = {"g": "12", "bf": "2"}
OPEN_GROUPS = {"x264-params": "open-gop=1:keyint=12:bframes=3"}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "MP4": ("mp4", {"options": SHORT_GROUPS}),
    "MP4, open groups": ("mp4", {"options": OPEN_GROUPS}),
    "MP4, H.265": ("mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=12"}}),
    "MP4, MPEG-4": ("mp4", {"codec": "mpeg4", "options": SHORT_GROUPS}),
    "MP4, a refresh that has no key frames": ("mp4", {"options": {"x264-params": "intra-refresh=1:keyint=12"}}),
    "Matroska": ("mkv", {"options": SHORT_GROUPS}),
    "transport stream, open groups": ("ts", {"options": OPEN_GROUPS}),
    "transport stream, MPEG-2": ("ts", {"codec": "mpeg2video", "options": SHORT_GROUPS}),
    "programme stream": ("mpg", {"codec": "mpeg2video", "options": SHORT_GROUPS}),
    "AVI": ("avi", {"codec": "mpeg4"}),
    "FLV": ("flv", {"options": SHORT_GROUPS}),
    "interlaced": ("mkv", {"options": {"x264-params": "interlaced=1:tff=1:keyint=12"}}),
}
EVERY_FRAME = Fraction(1, 1_000_000)


def clip(path: Path, **limits: float) -> Clip:
    kept = {name: getattr(LIMITS, name) for name in LIMITS.__slots__}
    return Clip(path, VideoLimits(**{**kept, **limits}))


# --- which frame ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_found_by_seeking_is_the_one_that_decoding_from_the_start_reaches(kind: str, tmp_path: Path) -> None:
    suffix, how = KINDS[kind]
    path = film(tmp_path / f"film.{suffix}", **how)
    frames = list(clip(path).every(EVERY_FRAME))
    assert [number_in(frame) for frame in frames] == list(range(50))
    for frame in (*frames[::7], *frames[10:15], frames[-1]):
        again = clip(path).at(frame.time)
        assert (again.pts, again.steps) == (frame.pts, frame.steps)
        np.testing.assert_array_equal(again.pixels, frame.pixels)


def test_a_late_frame_is_reached_without_decoding_all_before_it(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", options=SHORT_GROUPS)
    assert number_in(clip(path, max_frames=25).at(Fraction("1.8"))) == 45


def test_a_frame_is_on_screen_until_the_next_one(tmp_path: Path) -> None:
    film_of_25 = clip(film(tmp_path / "film.mp4"))
    moments = {"0.399999": 9, "0.4": 10, "0.42": 10, "0.439999": 10, "0.44": 11, "1.999": 49}
    assert {moment: number_in(film_of_25.at(Fraction(moment))) for moment in moments} == moments


def test_before_the_first_frame_the_first_is_meant(tmp_path: Path) -> None:
    assert number_in(clip(film(tmp_path / "film.mp4")).at(Fraction(-1))) == 0


def test_after_the_end_nothing_is_on_screen(tmp_path: Path) -> None:
    with pytest.raises(BadVideo, match=r"it ends at 2\.000 s"):
        clip(film(tmp_path / "film.mp4")).at(Fraction(2))


def test_time_counts_from_the_first_frame_wherever_the_file_begins_to_count(tmp_path: Path) -> None:
    times = [90_000_000 + 3_600 * number for number in range(20)]
    path = film(tmp_path / "film.ts", 20, times=times, time_base=Fraction(1, 90_000))
    frame = clip(path).at(Fraction("0.2"))
    assert (number_in(frame), frame.time) == (5, Fraction(1, 5))
    assert frame.pts - frame.first_pts == 18_000


def test_pictures_that_begin_long_after_the_file_are_whole_all_the_same(tmp_path: Path) -> None:
    times = [60_000 + 40 * number for number in range(20)]
    frames = list(clip(film(tmp_path / "film.mkv", 20, times=times)).every(EVERY_FRAME))
    assert (len(frames), frames[0].time) == (20, Fraction(0))


def test_the_time_as_a_number_finds_the_same_frame_again(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", rate=Fraction(30_000, 1_001), options=SHORT_GROUPS)
    for frame in clip(path).every(EVERY_FRAME):
        assert clip(path).at(Fraction(repr(frame.time_s))).pts == frame.pts


IRREGULAR = [0, 10, 500, 510, 515, 4_000, 4_040, 4_080]


def test_where_frames_come_irregularly_each_is_where_its_timestamp_says(tmp_path: Path) -> None:
    irregular = clip(film(tmp_path / "film.mkv", 8, times=IRREGULAR))
    moments = {"0.009": 0, "0.4999": 1, "0.5": 2, "0.512": 3, "3.999": 4, "4.039": 5}
    assert {moment: number_in(irregular.at(Fraction(moment))) for moment in moments} == moments


def test_regular_samples_of_irregular_frames_show_each_at_most_once(tmp_path: Path) -> None:
    irregular = clip(film(tmp_path / "film.mkv", 8, times=IRREGULAR))
    # At 0, 0.5, 1 ... 3.5 and 4 seconds; from 0.515 to 4 stands one frame.
    assert [number_in(frame) for frame in irregular.every(Fraction(1, 2))] == [0, 2, 4, 5]


def test_regular_samples_are_those_of_single_moments(tmp_path: Path) -> None:
    path, step = film(tmp_path / "film.mp4"), Fraction("0.3")
    sampled = list(clip(path).every(step))
    assert [number_in(frame) for frame in sampled] == [0, 7, 15, 22, 30, 37, 45]
    assert [frame.pts for frame in sampled] == [clip(path).at(step * place).pts for place in range(7)]


def test_a_gap_of_years_costs_no_time(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", 3, times=[0, 40, 10**12])
    patient = clip(path, max_s=1e12)
    assert [number_in(frame) for frame in patient.every(Fraction(1, 1_000))][-1] == 2


# --- as a person sees it ----------------------------------------------------------------------------------------------
CORNERS = np.zeros((96, 192, 3), np.uint8)
CORNERS[:48, :96], CORNERS[:48, 96:], CORNERS[48:, :96] = 230, 150, 80
TURNS: list[tuple[float, bool, bool, Callable[[ImageHwc], ImageHwc]]] = [
    (0, False, False, lambda image: image),
    (90, False, False, np.rot90),
    (180, False, False, lambda image: np.rot90(image, 2)),
    (-90, False, False, lambda image: np.rot90(image, -1)),
    (0, True, False, np.fliplr),
    (0, False, True, np.flipud),
    (90, True, False, lambda image: np.fliplr(np.rot90(image))),
    (-90, True, False, lambda image: np.fliplr(np.rot90(image, -1))),
]


@pytest.mark.parametrize(("degrees", "hflip", "vflip", "turned"), TURNS)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_frame_is_upright_as_its_display_matrix_says(
    *, degrees: float, hflip: bool, vflip: bool, turned: Callable[[ImageHwc], ImageHwc], suffix: str, tmp_path: Path
) -> None:
    path = film(
        tmp_path / f"film.{suffix}",
        [CORNERS] * 3,
        tune=lambda stream: stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip),
    )
    frame = clip(path).at(Fraction(0))
    wanted = turned(CORNERS)
    assert frame.pixels.shape == wanted.shape
    assert np.abs(frame.pixels.astype(int) - wanted).mean() < 4


def test_pixels_that_are_not_square_are_stretched_and_the_step_says_so(tmp_path: Path) -> None:
    def wide(stream: VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)

    def high(stream: VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(1, 2)

    stretched = clip(film(tmp_path / "wide.mkv", 3, tune=wide)).at(Fraction(0))
    assert stretched.pixels.shape == (96, 279, 3)
    assert "scale=w=279:h=96:" in stretched.steps[0]
    assert clip(film(tmp_path / "high.mkv", 3, tune=high)).at(Fraction(0)).pixels.shape == (192, 192, 3)


def fields(number: int) -> ImageHwc:
    """Return a picture whose two fields show different moments, as a moving edge does: every other line is darker."""
    picture = np.full((96, 192, 3), 60, np.uint8)
    picture[0::2, : 40 + 16 * number], picture[1::2, : 48 + 16 * number] = 200, 200
    return picture


def comb(pixels: ImageHwc) -> float:
    """Return how much neighbouring lines differ."""
    return float(np.abs(np.diff(pixels[..., 0].astype(int), axis=0)).mean())


def test_interlaced_fields_are_woven_into_one_frame_and_the_step_says_so(tmp_path: Path) -> None:
    pictures = [fields(number) for number in range(6)]
    interlaced = film(tmp_path / "film.mkv", pictures, options={"x264-params": "interlaced=1:tff=1", "crf": "10"})
    frame = clip(interlaced).at(Fraction("0.12"))
    assert frame.steps[0] == DEINTERLACE
    assert comb(frame.pixels) < comb(pictures[3]) / 4
    progressive = clip(film(tmp_path / "plain.mkv", pictures, options={"crf": "10"})).at(Fraction("0.12"))
    assert DEINTERLACE not in progressive.steps
    assert comb(progressive.pixels) > comb(pictures[3]) / 2


def test_fields_are_woven_alike_however_the_frame_is_reached(tmp_path: Path) -> None:
    pictures = [fields(number) for number in range(12)]
    path = film(tmp_path / "film.mkv", pictures, options={"x264-params": "interlaced=1:tff=1:keyint=3:bframes=0"})
    for frame in clip(path).every(EVERY_FRAME):
        np.testing.assert_array_equal(clip(path).at(frame.time).pixels, frame.pixels)


@pytest.mark.parametrize(
    ("matrix", "number", "height"), [("bt709", 1, 96), ("smpte170m", 6, 96), ("bt709", 2, 720), ("smpte170m", 2, 576)]
)
def test_colours_are_told_by_the_matrix_of_the_file_or_of_its_size(
    matrix: str, number: int, height: int, tmp_path: Path
) -> None:
    red = np.zeros((height, 192, 3), np.uint8)
    red[..., 0] = 200

    def told(stream: VideoStream) -> None:
        stream.codec_context.colorspace = number

    frame = clip(film(tmp_path / "film.mp4", [red] * 2, tune=told)).at(Fraction(0))
    assert f"in_color_matrix={matrix}:" in frame.steps[0]
    # The encoder's side was BT.601: read by its own matrix the red is itself again.
    assert (np.abs(frame.pixels.mean(axis=(0, 1)) - (200, 0, 0)).max() < 6) == (matrix == "smpte170m")


def test_frames_may_change_their_size_on_the_way_and_the_limit_holds_for_each(tmp_path: Path) -> None:
    in_order, times = {"bf": "0"}, [40 * number for number in range(20)]
    large = [numbered(number, 384, 192) for number in range(10, 20)]
    parts = (
        film(tmp_path / "small.ts", 10, times=times[:10], options=in_order),
        film(tmp_path / "large.ts", large, times=times[10:], options=in_order),
    )
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = list(clip(both).every(EVERY_FRAME))
    assert [number_in(frame) for frame in frames] == list(range(20))
    assert [frame.pixels.shape[0] for frame in frames] == [96] * 10 + [192] * 10
    for max_pixels in (20_000, 70_000):  # the decoder stops at the one, and what it decoded at the other
        with pytest.raises(BadVideo, match=f"than {max_pixels} pixels a frame"):
            list(clip(both, max_pixels=max_pixels).every(EVERY_FRAME))


# --- what is refused --------------------------------------------------------------------------------------------------
def nothing(_: Path) -> bytes:
    return b""


def text(_: Path) -> bytes:
    return b"00:00 somebody enters\n" * 500


def archive(folder: Path) -> bytes:
    with ZipFile(folder / "archive", "w") as file:
        file.write(film(folder / "film.mp4", 5), "film.mp4")
    return (folder / "archive").read_bytes()


def picture(folder: Path) -> bytes:
    with av.open(folder / "picture.jpg", "w", format="mjpeg") as file:
        stream = file.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 192, 96, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(numbered(1), format="rgb24")
        file.mux([*stream.encode(frame), *stream.encode()])
    return (folder / "picture.jpg").read_bytes()


def playlist(folder: Path) -> bytes:
    """Return a list that leads to a video which could be opened."""
    film(folder / "film.ts", 30)
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\nfile://{folder}/film.ts\n#EXT-X-ENDLIST\n".encode()


def concatenation(folder: Path) -> bytes:
    return f"ffconcat version 1.0\nfile '{film(folder / 'film.mp4', 5)}'\n".encode()


def sound(folder: Path) -> bytes:
    with av.open(folder / "sound.m4a", "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1_024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        file.mux([*stream.encode(frame), *stream.encode()])
    return (folder / "sound.m4a").read_bytes()


def headless(folder: Path) -> bytes:
    """Return an MP4 whose recording was cut off: its index, at the end, was never written."""
    data = film(folder / "film.mp4").read_bytes()
    return data[: data.index(b"moov")]


def frameless(folder: Path) -> bytes:
    """Return a Matroska file with a header, and nothing behind it."""
    data = film(folder / "film.mkv").read_bytes()
    return data[: data.index(b"\x1f\x43\xb6\x75")]


def cut_matroska(folder: Path) -> bytes:
    data = film(folder / "film.mkv", 50, codec="mjpeg", pixels="yuvj420p").read_bytes()
    return data[: len(data) // 3]


def cut_mp4(folder: Path) -> bytes:
    """Return the first half of an MP4 whose index comes first."""
    pictures = np.random.default_rng(0).integers(0, 255, (50, 96, 192, 3), np.uint8)
    data = film(folder / "film.mp4", pictures, flags={"movflags": "faststart"}).read_bytes()
    return data[: len(data) // 2]


def cut_avi(folder: Path) -> bytes:
    """Return what a recorder without power leaves behind: half a frame, and no word of how many there should be."""
    pictures = np.random.default_rng(0).integers(0, 255, (20, 96, 192, 3), np.uint8)
    data = film(folder / "film.avi", pictures, codec="mpeg4").read_bytes()
    return data[: len(data) // 2]


def unordered(folder: Path) -> bytes:
    return film(folder / "film.avi").read_bytes()


def endless(folder: Path) -> bytes:
    return film(folder / "film.mkv", 3, times=[0, 40, 10**11]).read_bytes()


def noise(_: Path) -> bytes:
    return np.random.default_rng(1).bytes(50_000)


NO_VIDEO = "not one of MP4, MOV, Matroska"
HOSTILE = [
    (nothing, "the file is empty"),
    (text, NO_VIDEO),
    (noise, NO_VIDEO),
    (archive, NO_VIDEO),
    (picture, NO_VIDEO),
    (playlist, NO_VIDEO),
    (concatenation, NO_VIDEO),
    (sound, "it holds no moving pictures"),
    (headless, "truncated or corrupt: its index cannot be read"),
    (frameless, "not a single frame|truncated"),
    (cut_matroska, "truncated: it claims 2.000 s, and nothing follows 0"),
    (cut_mp4, "damaged after 0"),
    (cut_avi, "damaged after 0"),
    (unordered, "its times run backwards after 0.080 s"),
    (endless, "it claims to last longer than 3600 s"),
]


@pytest.mark.parametrize(("made", "reason"), HOSTILE, ids=[made.__name__ for made, _ in HOSTILE])
def test_what_is_no_whole_video_is_refused_with_the_reason(
    made: Callable[[Path], bytes], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "evidence.mp4"
    path.write_bytes(made(tmp_path))
    with pytest.raises(BadVideo, match=f"^video: ({reason})"):
        list(clip(path).every(EVERY_FRAME))


def test_a_wrong_suffix_is_no_fault(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", 5).rename(tmp_path / "film.txt")
    assert number_in(clip(path).at(Fraction("0.12"))) == 3


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "mpg", "flv"])
def test_whatever_happens_to_a_file_it_is_shown_or_refused_and_nothing_else(suffix: str, tmp_path: Path) -> None:
    """Cut it and spoil it at many places."""
    codec = {"avi": "mpeg4", "mpg": "mpeg2video"}.get(suffix, "libx264")
    data = film(tmp_path / f"film.{suffix}", codec=codec, options={"g": "12"}).read_bytes()
    path, chance = tmp_path / "spoilt", np.random.default_rng(0)
    for _ in range(25):
        spoilt = bytearray(data)
        for place in chance.integers(0, len(data), 20):
            spoilt[place] = chance.integers(256)
        path.write_bytes(bytes(spoilt[: chance.integers(100, len(data))]))
        with suppress(BadVideo):
            for frame in clip(path).every(Fraction(1, 5)):
                assert frame.pixels.dtype == np.uint8


def test_damage_elsewhere_does_not_touch_what_can_be_reached_without_it(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (48, 96, 192, 3), np.uint8)
    path = film(tmp_path / "film.mp4", pictures, options={"g": "12", "bf": "0"})
    whole = clip(path).at(Fraction("1.6"))
    data = bytearray(path.read_bytes())
    at = len(data) // 3
    data[at : at + 3_000] = bytes(3_000)
    path.write_bytes(data)
    np.testing.assert_array_equal(clip(path).at(Fraction("1.6")).pixels, whole.pixels)
    with pytest.raises(BadVideo, match="damaged after"):
        list(clip(path).every(EVERY_FRAME))


def test_neither_a_folder_nor_a_pipe_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "absent"):
        with pytest.raises(BadVideo, match="not a regular file"):
            clip(path).at(Fraction(0))


def test_the_limits_are_kept(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    with pytest.raises(BadVideo, match="more than 18431 pixels a frame"):
        clip(path, max_pixels=96 * 192 - 1).at(Fraction(0))
    with pytest.raises(BadVideo, match=r"it claims to last longer than 1\.9 s"):
        clip(path, max_s=1.9).at(Fraction(0))
    recording = film(tmp_path / "film.mkv", flags={"live": "1"})  # which claims nothing
    with pytest.raises(BadVideo, match=r"^video: longer than 1\.9 s"):
        list(clip(recording, max_s=1.9).every(EVERY_FRAME))
    with pytest.raises(BadVideo, match="more than 20 frames"):
        list(clip(path, max_frames=20).every(EVERY_FRAME))


def test_a_frame_grows_beyond_no_limit_by_its_claim_of_narrow_pixels(tmp_path: Path) -> None:
    def narrow(stream: VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(1, 2)

    path = film(tmp_path / "film.mkv", 3, tune=narrow)
    with pytest.raises(BadVideo, match="more than 20000 pixels a frame, once its pixels are square"):
        clip(path, max_pixels=20_000).at(Fraction(0))


def test_no_step_out_of_a_record_opens_a_file(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 3)
    with pytest.raises(BadVideo, match="none of this program's"):
        clip(path).at(Fraction(0), steps=(f"movie=filename={path}",))
    with pytest.raises(BadVideo, match="cannot be brought to RGB"):
        clip(path).at(Fraction(0), steps=("hflip=nonsense=1",))
