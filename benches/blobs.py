"""How many small blobs a second the file store keeps and fetches, against what the disk does without it.

Baselines of the same run, same bytes: each file written and fsynced one after another (what a plain loop would do),
and files written without any promise. Prints blobs a second and the ratio to the plain loop.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Final, cast

from rfr_stream.adapters.files import FileBlobs
from rfr_stream.events import BlobRef
from rfr_stream.ports import NewBlob

BATCH: Final = 32
BLOB_BYTES: Final = 60_000
SECONDS: Final = 4.0

_numbers = count()
_PADDING: Final = os.urandom(BLOB_BYTES - 8)


def fresh_batch() -> list[NewBlob]:
    """Return blobs of new keys, spread over 256 folders as digests are."""
    numbers = [next(_numbers) for _ in range(BATCH)]
    return [
        NewBlob(f"b/{number % 256:02x}/{number}", number.to_bytes(8, "big") + _PADDING, "image/png")
        for number in numbers
    ]


async def rate(act: Callable[[], Awaitable[object]]) -> float:
    """Return blobs a second of an act on one batch."""
    started, batches = time.perf_counter(), 0
    while (took_s := time.perf_counter() - started) < SECONDS:
        await act()
        batches += 1
    return batches * BATCH / took_s


def write_plainly(root: Path, *, promise: bool) -> None:
    """Write a batch in a loop; `promise` makes each file and its folder durable."""
    for blob in fresh_batch():
        path = root / blob.key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(cast("bytes", blob.data))
            if promise:
                file.flush()
                os.fsync(file.fileno())
        if promise:
            folder = os.open(path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)


async def main() -> None:
    """Run everything twice, since the disk has other users."""
    folder = Path(tempfile.mkdtemp(prefix="rfr-bench-"))
    try:
        async with FileBlobs(folder) as store:
            refs: list[BlobRef] = await store.put(fresh_batch())
            for _ in range(2):
                plain = await rate(lambda: asyncio.to_thread(write_plainly, folder, promise=True))
                loose = await rate(lambda: asyncio.to_thread(write_plainly, folder, promise=False))
                kept = await rate(lambda: store.put(fresh_batch()))
                fetched = await rate(lambda: store.get(refs))
                print(f"plain loop with fsync     {plain:8.0f} /s   1.0")
                print(f"no promise at all         {loose:8.0f} /s   {loose / plain:.1f}")
                print(f"FileBlobs.put (durable)   {kept:8.0f} /s   {kept / plain:.1f}")
                print(f"FileBlobs.get (verified)  {fetched:8.0f} /s")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    asyncio.run(main())
