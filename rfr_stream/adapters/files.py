"""Blobs as files of one folder, `<root>/<bucket>/<key>`: written whole or not at all, and durable once acknowledged."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from stat import S_ISREG
from types import TracebackType
from typing import Final, Self, TypeVar

from rfr_stream.adapters._claims import key_of, refer, verified
from rfr_stream.errors import MissingBlob, Rejected, Unavailable
from rfr_stream.events import BlobRef
from rfr_stream.ports import NewBlob

T = TypeVar("T")

_INCOMING: Final = ".incoming"
"""Where blobs are written before they get their name; no key can begin with a dot."""
_STRAY_AFTER_S: Final = 24 * 3600.0
_THREADS: Final = 16
"""Threads that wait for the disk together share its flushes: 16 keep 32 blobs of 60 kB in 11 ms where one takes 25.

As quick as one `syncfs` for the whole batch, which would also wait for whatever else the machine is writing.
"""


class FileBlobs:
    """A `BlobStore` in a folder (`file://<bucket>/<key>`); enter it before use, which makes the folder.

    A folder that is not there means that the disk is not mounted: `Unavailable`, never a `MissingBlob` for each blob.
    """

    def __init__(self, root: Path, bucket: str = "rfr") -> None:
        """Remember where; nothing is touched yet."""
        self._base = root.resolve() / bucket
        self._prefix = f"file://{bucket}/"
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="rfr-blobs")

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._pool.shutdown)

    async def put(self, blobs: Sequence[NewBlob]) -> list[BlobRef]:
        return await asyncio.to_thread(self._put, blobs)

    async def get(self, refs: Sequence[BlobRef]) -> list[bytes | Rejected]:
        return await asyncio.to_thread(lambda: [self._fetch(ref) for ref in refs])

    async def delete(self, refs: Sequence[BlobRef]) -> None:
        """Remove the bytes for good.

        Raises:
            MissingBlob: a reference is not of this store; nothing was removed.

        """
        await asyncio.to_thread(self._delete, refs)

    def _open(self) -> None:
        """Make the folder and drop what killed processes left half written: it may show a person."""
        with _disk():
            self._base.mkdir(mode=0o700, parents=True, exist_ok=True)  # for nobody else, with all that is in it
            incoming = self._base / _INCOMING
            incoming.mkdir(exist_ok=True)
            for stray in incoming.iterdir():
                with suppress(FileNotFoundError):  # another process is tidying up too
                    if stray.stat().st_mtime < time.time() - _STRAY_AFTER_S:
                        stray.unlink()

    def _put(self, blobs: Sequence[NewBlob]) -> list[BlobRef]:
        refs = list(self._pool.map(lambda blob: refer(self._prefix, blob), blobs))
        latest = {self._base / blob.key: blob.data for blob in blobs}  # twice in one batch: the later one stays
        with _disk():
            self._require_base()
            folders = {path.parent for path in latest}
            self._each(self._make, list(folders))
            self._each(lambda path: self._write(path, latest[path]), list(latest))
            self._sync_names(folders)
        return refs

    def _make(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if not _is_plain(folder):
            msg = "file store: a folder in it leads through a symbolic link"
            raise Unavailable(msg)

    def _write(self, path: Path, data: bytes) -> None:
        """Write under another name and flush, then rename: the name always stands for whole, durable bytes."""
        half = self._base / _INCOMING / token_hex(16)
        try:
            with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            half.replace(path)
        except BaseException:
            half.unlink(missing_ok=True)
            raise

    def _fetch(self, ref: BlobRef) -> bytes | Rejected:
        try:
            path = self._base / key_of(self._prefix, ref)
            with _disk():
                return verified(ref, self._read(path, ref.bytes))
        except MissingBlob as missing:
            return missing

    def _read(self, path: Path, size: int) -> bytes | None:
        """Return the bytes of a regular file of this size inside the folder, or None; of another size unread."""
        try:
            status = path.lstat()
            if not (_is_plain(path) and S_ISREG(status.st_mode)):
                return None
            if status.st_size != size:
                msg = "bytes: the stored blob has another size than the one referred to"
                raise MissingBlob(msg)
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self._require_base()
            return None

    def _delete(self, refs: Sequence[BlobRef]) -> None:
        paths = [self._base / key_of(self._prefix, ref) for ref in refs]
        with _disk():
            self._require_base()
            there = [path for path in paths if path.exists() and _is_plain(path)]
            for path in there:
                path.unlink(missing_ok=True)
            self._sync_names({path.parent for path in there})

    def _sync_names(self, folders: AbstractSet[Path]) -> None:
        """Make names durable: in these folders, and those of the folders themselves, which may be new."""
        above = {parent for folder in folders for parent in folder.parents if parent.is_relative_to(self._base)}
        self._each(_sync_folder, list(folders | above))

    def _each(self, act: Callable[[T], None], things: Sequence[T]) -> None:
        list(self._pool.map(act, things))

    def _require_base(self) -> None:
        if not self._base.is_dir():
            msg = "file store: its folder is not there; is the disk mounted, and was the store entered?"
            raise Unavailable(msg)


@contextmanager
def _disk() -> Iterator[None]:
    """Translate what the operating system says; the reason only, since a path may not be for every log."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        msg = "key: a part of it is the name of another blob"
        raise ValueError(msg) from error
    except OSError as error:
        msg = f"file store: {error.strerror or type(error).__name__}"
        raise Unavailable(msg) from error


def _is_plain(path: Path) -> bool:
    """Whether no part of an absolute path is a symbolic link, so that it stays inside the folder."""
    return os.path.realpath(path) == str(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
