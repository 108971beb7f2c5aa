"""One process owns the embedded gallery's directory; the kernel lets go of the lock when that process dies."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rfr_stream.errors import RfrError


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Hold the directory, which is made if need be.

    Raises:
        RfrError: another process holds it; the message says which, and what to do.

    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # for nobody else, with all that is in it
    pid = directory / "owner.pid"
    # A soft lock (a file that is there or not) would outlive a kill -9.
    lock = FileLock(directory / "owner.lock", timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise RfrError(_refusal(directory, pid)) from None
    try:
        pid.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def _refusal(directory: Path, pid: Path) -> str:
    owner = pid.read_text().strip() if pid.exists() else "unknown"
    return (
        f"the embedded gallery {directory} is in use by process {owner}, and one process alone may own it: `rfr up` "
        "runs every stage in the process that does; to search from several processes, set RFR_GALLERY__URL to a "
        "Qdrant server"
    )
