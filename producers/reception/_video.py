"""A video at the door: kept unaltered and once, and of its frames each a submission of its own.

All or nothing, as with images: where one frame cannot be taken, nothing is kept.
"""

from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from uuid import UUID

from producers._admission import VIDEO_BEGINNING_BYTES, Original, video_type
from producers._intake import hand_in
from producers._request import ProbeForm
from producers.footage import asked_of
from producers.reception._decoding import LaidDown
from producers.reception._parts import Parts
from producers.reception._reception import Reception
from producers.reception._refusals import Refused
from producers.reception._upload import (
    Sort,
    Upload,
    disk_named,
    form_in,
    note_door,
    require_harmless,
    require_own_key,
    written_down,
)
from producers.reception._wanted import OfVideo, Wanted
from rfr_stream.ports import NewBlob


class Kept(NamedTuple):
    """A video, and each frame's submission and time, in the order in which they were asked for."""

    video_sha256: str
    frames: list[tuple[UUID, float]]


async def take_frames(upload: Upload, here: Reception) -> Kept:
    """Return the submissions, one for each frame; by then video, frames, records and events are durable.

    Raises:
        Refused: its sender can mend it.

        Unavailable: store, bus, ledger or scanner are away; the same again does no harm.

    """
    names = aiter(upload.parts)
    form = await form_in(upload, names, here)
    asked = _asked(form)
    _require_few(asked.frames, here)
    with disk_named(), TemporaryDirectory(dir=here.spool) as folder:
        path = Path(folder) / "video"
        video = await _video(upload.parts, names, path, here)
        taken = await here.decoding.take(path, asked.frames, sha256=video.sha256, to=Path(folder))
        await require_own_key(upload, form, [video], here)
        said = [_said_of(each, asked) for each in taken]
        # Before anything can come of them that the client is told.
        await here.store.note(upload.client.name, [each.submission_id for each in said], here.clock())
        await _keep(video, said, here)
    return Kept(video.sha256, [(each.submission_id, each.frame.record.frame_time_s) for each in said])


class _Said(NamedTuple):
    """What is said of a frame, and the submission that it makes."""

    submission_id: UUID
    form: ProbeForm
    frame: LaidDown

    @property
    def record(self) -> NewBlob:
        """As a file that `rfr frames --replay` reads, found by the submission."""
        key = f"frames/{str(self.submission_id)[:2]}/{self.submission_id}.json"
        return NewBlob(key, self.frame.record.text.encode(), "application/json")


def _said_of(frame: LaidDown, asked: OfVideo) -> _Said:
    form = asked_of(frame.record, asked).form()
    return _Said(form.derive(frame.original.sha256), form, frame)


def _asked(form: ProbeForm) -> OfVideo:
    if not isinstance(form.request, OfVideo):
        raise TypeError
    return form.request


def _require_few(frames: Wanted, here: Reception) -> None:
    most = here.settings.max_frames
    for field, count in (("at", len(frames.at)), ("best", frames.best or 0)):
        if count > most:
            fix = f"at most {most} of one video"
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"request.frames.{field}", fix)


async def _video(parts: Parts, names: AsyncIterator[str], path: Path, here: Reception) -> Original:
    """Return the one file of a body, as it lies there; to the end of the body."""
    if await anext(names, None) != "video":
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "video", "one part, after `request`")
    sort = Sort(here.settings.max_video_bytes, VIDEO_BEGINNING_BYTES, video_type)
    video = await written_down(parts.data(), path, "video", sort)
    if await anext(names, None) is not None:
        fix = "nothing after the part `video`; send another video in another request"
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "body", fix)
    await require_harmless(path, "video", here)
    return video


async def _keep(video: Original, said: Sequence[_Said], here: Reception) -> None:
    """Keep video and records before anything is announced that names them."""
    key = f"videos/{video.sha256[:2]}/{video.sha256}"
    await here.blobs.put([NewBlob(key, video.data, video.media_type), *(each.record for each in said)])
    frames = {each.submission_id: (each.form, each.frame.original) for each in said}
    await note_door(said[0].form, [each.frame.original for each in said], here)
    await hand_in(list(frames.values()), blobs=here.blobs, publish=here.publish)
