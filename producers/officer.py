"""The officers' door: an image that the police hold, in an investigation."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from producers._intake import MAX_IMAGE_BYTES, Publish, Report
from producers._journal import Journal
from producers._request import ProbeForm, Request, submit_probes
from rfr_stream.events import Ref, Source
from rfr_stream.ports import BlobStore

__all__ = ["OfficerRequest", "submit"]


class OfficerRequest(Request):
    """An officer asks."""

    submitted_by: Ref


def submit(
    files: Iterable[Path | bytes],
    request: OfficerRequest,
    *,
    blobs: BlobStore,
    publish: Publish,
    journal: Journal | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> AsyncIterator[Report]:
    """Yield how each file fared; see `submit_probes`."""
    form = ProbeForm(request, Source.OFFICER, request.submitted_by)
    return submit_probes(files, form, blobs=blobs, publish=publish, journal=journal, max_bytes=max_bytes)
