"""The public's door: an image that somebody sent in, endorsed by an officer.

Nothing about the contributor is accepted here, not even by accident: the request is closed, and names of files stay
on the machine they came from. Who sent what is the portal's own record.
"""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from producers._intake import MAX_IMAGE_BYTES, Publish, Report
from producers._journal import Journal
from producers._request import ProbeForm, Request, submit_probes
from rfr_stream.events import Ref, Source
from rfr_stream.ports import BlobStore

__all__ = ["AppealRequest", "submit"]


class AppealRequest(Request):
    """An officer asks about what the public sent in, and answers for it."""

    endorsed_by: Ref


def submit(
    files: Iterable[Path | bytes],
    request: AppealRequest,
    *,
    blobs: BlobStore,
    publish: Publish,
    journal: Journal | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> AsyncIterator[Report]:
    """Yield how each file fared; see `submit_probes`."""
    form = ProbeForm(request, Source.PUBLIC_APPEAL, request.endorsed_by)
    return submit_probes(files, form, blobs=blobs, publish=publish, journal=journal, max_bytes=max_bytes)
