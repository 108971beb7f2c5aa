"""`rfr frames`: exact frames out of stored video, each with a record by which it can be taken again."""

import re
from collections.abc import Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Final

import typer

from producers import footage
from rfr_stream.adapters import opening
from rfr_stream.commands._context import run, say, settings_of
from rfr_stream.settings import Settings
from rfr_stream.vision.video import Clip, VideoLimits

_MOMENT: Final = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,9}(?:\.\d{1,9})?)s?", re.ASCII)


def frames(  # noqa: PLR0917 - options of the command line
    context: typer.Context,
    video: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    at: Annotated[list[str] | None, typer.Option(help="a moment since the first frame: 00:01:23.4 or 83.4")] = None,
    every: Annotated[
        str | None, typer.Option(help="from one frame to the next: 2s; with --best, how often to look")
    ] = None,
    best: Annotated[int | None, typer.Option(min=1, max=1_000, help="so many best shots, one for each face")] = None,
    replay: Annotated[Path | None, typer.Option(exists=True, help="take the frame of this record again")] = None,
    to: Annotated[Path, typer.Option(help="folder for the frames and their records")] = Path("frames"),
) -> None:
    """Take exact frames from a video; each comes with a record, which `rfr submit` finds beside it."""
    settings = settings_of(context)
    clip = Clip(video, limits_of(settings))
    step = _seconds(every, "--every") if every else None
    if replay:
        taken = footage.replayed(footage.read_record(replay), clip)
        say(f"the same frame again: {taken.record.frame_time_s:.6f} s, pixels {taken.record.pixels_sha256}")
    elif best:
        _keep_best(run(_best(settings, clip, best, step or footage.LOOK_EVERY)), to)
    elif at or step:
        _take(clip, [_seconds(each, "--at") for each in at or ()], step, to)
    else:
        msg = "say which frames: --at, --every, --best or --replay"
        raise typer.BadParameter(msg)


def limits_of(settings: Settings) -> VideoLimits:
    """Return what a video may be in this installation."""
    vision = settings.vision
    return VideoLimits(vision.max_video_pixels, vision.max_video_frames, vision.max_video_s, vision.decode_threads)


def _take(clip: Clip, at: list[Fraction], step: Fraction | None, to: Path) -> None:
    with closing(footage.take(clip, at=at, every=step)) as frames:
        for taken in frames:
            say(str(footage.keep(taken, to)))


def _keep_best(shots: Sequence[footage.Taken], to: Path) -> None:
    for number, taken in enumerate(shots, start=1):
        say(str(footage.keep(taken, to, number=number)))
    if not shots:
        say("no face was found that is fit to be compared")
        raise typer.Exit(1)


async def _best(settings: Settings, clip: Clip, count: int, step: Fraction) -> list[footage.Taken]:
    rules = footage.ShotRules(count, step, settings.detection.min_score, settings.detection.min_interocular_px)
    # The detector alone: whoever passes through a picture is looked at, and never embedded.
    async with opening.vision(settings, load=["detector"]) as vision:
        return await footage.best_shots(clip, rules, detector=vision.detector, aligner=vision.aligner)


def _seconds(text: str, option: str) -> Fraction:
    found = _MOMENT.fullmatch(text)
    if found is None:
        msg = "give seconds or hours:minutes:seconds, as 83.4 or 00:01:23.4"
        raise typer.BadParameter(msg, param_hint=option)
    hours, minutes, seconds = found.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + Fraction(seconds)
