"""Has frames taken from a video by a process of its own: whatever happens to that, the reception goes on."""

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import ValidationError

from producers._admission import Original
from producers.footage import FrameRecord, record_of
from producers.reception._decoder import Job, Said
from producers.reception._refusals import Refused
from producers.reception._wanted import Wanted
from rfr_stream import telemetry
from rfr_stream.errors import Malformed, Unavailable
from rfr_stream.ports import OnDisk
from rfr_stream.settings import DetectionSettings, IntakeSettings, VisionSettings

log = telemetry.logger(__name__)

DECODER: Final = (sys.executable, "-m", "producers.reception._decoder")
_PNG: Final = "image/png"
_MAX_SAID_BYTES: Final = 4_096


class LaidDown(NamedTuple):
    """A frame as it lies in the spool, and its record."""

    original: Original
    record: FrameRecord


@dataclass(frozen=True, slots=True)
class Decoding:
    """By what videos are decoded, and within which limits."""

    intake: IntakeSettings
    vision: VisionSettings
    detection: DetectionSettings
    weights_dir: Path
    command: tuple[str, ...] = DECODER

    async def take(self, video: Path, wanted: Wanted, *, sha256: str, to: Path) -> list[LaidDown]:
        """Return the frames of a video of this digest, as they lie in a folder.

        Raises:
            Refused: the video cannot be decoded, has no such frames, or takes too much memory or time.

            Unavailable: something of our own is away.

        """
        said = await self._said(self.job(video, wanted, to))
        if said.field:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, said.field, said.fix)
        if said.away:
            raise Unavailable(said.away)
        return [await asyncio.to_thread(_laid_down, to / f"{number}.png", sha256) for number in range(said.frames)]

    def job(self, video: Path, wanted: Wanted, to: Path) -> Job:
        """Return what a decoder is told to do."""
        return Job(
            video=video,
            to=to,
            wanted=wanted,
            max_frames=self.intake.max_frames,
            max_bytes=self.intake.max_video_bytes,
            memory_bytes=self.intake.video_memory_bytes,
            # What a graphics driver maps cannot be told from what a decoder was made to allocate.
            vision=self.vision.model_copy(update={"device": "cpu"}),
            detection=self.detection,
            weights_dir=self.weights_dir,
        )

    async def _said(self, job: Job) -> Said:
        # It has none of our secrets in its environment, and finds modules where we do.
        path = {"PYTHONPATH": os.pathsep.join(sys.path)}
        process = await asyncio.create_subprocess_exec(
            *self.command, job.model_dump_json(), stdin=PIPE, stdout=PIPE, env=path
        )
        try:
            async with asyncio.timeout(self.intake.video_wait_s):
                line, code = await _heard(process)
        except TimeoutError:
            fix = f"its frames are not taken within {self.intake.video_wait_s:g} s; ask for less, or by `rfr frames`"
            raise _failed(how="time", fix=fix) from None
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
        with suppress(ValidationError):
            if code == 0:
                return Said.model_validate_json(line)
        raise _failed(how=f"exit {code}")


async def _heard(process: Process) -> tuple[bytes, int]:
    """Return what a process says in one breath, and how it ends."""
    said = await process.stdout.read(_MAX_SAID_BYTES) if process.stdout else b""
    return said, await process.wait()


def _failed(*, how: str, fix: str = "the decoder gave up on it; export it again, in another format") -> Refused:
    log.event("decoder.failed", level=logging.WARNING, reason=how)
    return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "video", fix)


def _laid_down(path: Path, video_sha256: str) -> LaidDown:
    """Return what lies there, if it is a frame of this video: a decoder may be talked into anything."""
    try:
        record = record_of(path)
    except (Malformed, OSError):
        record = None
    if record is None or record.video_sha256 != video_sha256:
        raise _failed(how="no frame")
    original = Original(OnDisk(path, record.sha256, path.stat().st_size), record.sha256, _PNG)
    return LaidDown(original, record)
