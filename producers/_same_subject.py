"""Several images of one subject, as one submission: the first is the original, and the others are searched beside it.

All or nothing: with one image fewer it would be another submission, and another search.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

from producers._admission import Original, admit
from producers._handed_in import HandedIn
from producers._intake import MAX_IMAGE_BYTES, Arrival, Publish, Report, Verdict, take_in
from producers._request import ProbeForm, Request, expanded, require_permitted
from rfr_stream.errors import Malformed, Rejected, settle
from rfr_stream.events import MAX_IMAGES, ImageVariant
from rfr_stream.ports import BlobStore, NewBlob


async def submit_together(
    files: Iterable[Path | bytes],
    request: Request,
    *,
    blobs: BlobStore,
    publish: Publish,
    journal: HandedIn | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> AsyncIterator[Report]:
    """Yield how each file fared; `subject` and `media` of the request are the first one's.

    Raises:
        NotPermitted: policy forbids the request; nothing was opened.

        Malformed: there are none, too many, or one of them twice.

        Unavailable: store, bus or journal are away; run it again later.

    """
    require_permitted(request.form())
    paths = _few(files)
    looked = [await asyncio.to_thread(settle, admit, path, max_bytes=max_bytes) for path in paths]
    originals = [each for each in looked if isinstance(each, Original)]
    if len(originals) < len(looked):
        for path, each in zip(paths, looked, strict=True):
            yield _refused(path, each)
        return
    _require_distinct(originals)
    form = request.form()
    together = replace(form, others=await _kept(originals[1:], form, blobs))
    arrivals = [Arrival(paths[0], together)]
    async for report in take_in(arrivals, blobs=blobs, publish=publish, journal=journal, max_bytes=max_bytes):
        for path in paths:
            yield Report(path if isinstance(path, Path) else None, report.outcome, report.derived_id, report.reason)


def _few(files: Iterable[Path | bytes]) -> list[Path | bytes]:
    paths = list(expanded(files))
    if not 1 <= len(paths) <= MAX_IMAGES + 1:
        msg = f"images: 1 to {MAX_IMAGES + 1} of one subject"
        raise Malformed(msg)
    return paths


def _require_distinct(originals: Iterable[Original]) -> None:
    digests = [original.sha256 for original in originals]
    if len(set(digests)) < len(digests):
        msg = "images: the same one twice; it would count twice"
        raise Malformed(msg)


def _refused(path: Path | bytes, looked: Original | Rejected) -> Report:
    reason = str(looked) if isinstance(looked, Rejected) else "not handed in: another image of the subject was refused"
    return Report(path if isinstance(path, Path) else None, Verdict.REJECTED, reason=reason)


async def _kept(originals: Iterable[Original], form: ProbeForm, blobs: BlobStore) -> tuple[ImageVariant, ...]:
    """Keep the other images as originals, which they are."""
    files = [NewBlob(form.key(each.sha256), each.data, each.media_type) for each in originals]
    return tuple(ImageVariant(image=ref) for ref in await blobs.put(files)) if files else ()
