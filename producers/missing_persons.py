"""The door of the unit for missing and deceased people: somebody who cannot say who they are, or is being looked for.

References of the missing and the deceased come in through `references.py`, like all others.
"""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final, Literal

from producers._intake import MAX_IMAGE_BYTES, Publish, Report
from producers._journal import Journal
from producers._request import ProbeForm, Request, submit_probes
from rfr_stream.events import Purpose, Ref, Source
from rfr_stream.ports import BlobStore

__all__ = ["UnitRequest", "submit"]

_SOURCE_OF: Final = {Purpose.MISSING: Source.MISSING_PERSON, Purpose.DECEASED: Source.DECEASED_PERSON}


class UnitRequest(Request):
    """The unit asks; nobody is suspected of anything."""

    purpose: Literal[Purpose.MISSING, Purpose.DECEASED]
    submitted_by: Ref


def submit(
    files: Iterable[Path | bytes],
    request: UnitRequest,
    *,
    blobs: BlobStore,
    publish: Publish,
    journal: Journal | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> AsyncIterator[Report]:
    """Yield how each file fared; see `submit_probes`."""
    form = ProbeForm(request, _SOURCE_OF[request.purpose], request.submitted_by)
    return submit_probes(files, form, blobs=blobs, publish=publish, journal=journal, max_bytes=max_bytes)
