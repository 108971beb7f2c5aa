"""The door that announces nothing: images whose answer is known go in as if asked about, and wait for their turn.

A request comes through the door that it names and is kept as that door keeps it, so that nothing tells it from a
real one; only where a door publishes, this one plants. The review stage sows it later, at the share that policy sets.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from pathlib import Path

from producers._intake import MAX_IMAGE_BYTES, Report
from producers._request import Request, submit
from rfr_stream.events import Event, ImageSubmitted
from rfr_stream.ports import BlobStore, Seed, Seeds


async def plant(
    files: Iterable[Path | bytes],
    request: Request,
    *,
    shows: str | None,
    blobs: BlobStore,
    seeds: Seeds,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> AsyncIterator[Report]:
    """Yield how each file fared.

    Args:
        files: all of them show the same person.

        request: in the style of real ones; no case of its reference may be at work here.

        shows: the person's reference in a gallery that is searched; None: nobody whom any gallery holds.

        blobs: where originals are kept.

        seeds: the ledger.

        max_bytes: of one file.

    Raises:
        NotPermitted: policy forbids the request, or the answer could never be given; nothing was planted.

        Unavailable: store or ledger are away; run it again later.

    """
    announce = partial(_plant, seeds, shows)
    async for report in submit(files, request, blobs=blobs, publish=announce, max_bytes=max_bytes):
        yield report


async def _plant(seeds: Seeds, shows: str | None, events: Sequence[Event]) -> None:
    await seeds.plant([Seed(event, shows) for event in events if isinstance(event, ImageSubmitted)])
