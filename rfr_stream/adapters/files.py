"""Blobs as files of one folder, `<root>/<bucket>/<key>`: written whole or not at all, and durable once acknowledged."""

import asyncio
import ctypes
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from errno import ELOOP
from functools import partial
from itertools import count, repeat
from pathlib import Path
from secrets import token_hex
from stat import S_ISREG
from types import TracebackType
from typing import Final, Self

from rfr_stream.adapters._claims import begins_in, key_of, pieces, refer, verified
from rfr_stream.adapters._threads import each
from rfr_stream.errors import MissingBlob, Rejected, Unavailable
from rfr_stream.events import BlobRef
from rfr_stream.ports import NewBlob

_SYNCFS: Final = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)

_INCOMING: Final = ".incoming"
"""Where blobs are written before they get their name; no key can begin with a dot."""
_STRAY_AFTER_S: Final = 24 * 3600.0
_MAX_KNOWN: Final = 4_096
"""Folders that are remembered as looked at."""


class FileBlobs:
    """A `BlobStore` in a folder (`file://<bucket>/<key>`); enter it before use, which makes the folder.

    A folder that is not there means that the disk is not mounted: `Unavailable`, never a `MissingBlob` for each blob.
    """

    def __init__(self, root: Path, bucket: str = "rfr") -> None:
        """Remember where; nothing is touched yet."""
        self._base = root.resolve() / bucket
        self._prefix = f"file://{bucket}/"
        self._known: dict[Path, tuple[int, int]] = {}
        self._names = map("-".join, zip(repeat(token_hex(8)), map(str, count())))
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="rfr-blobs")
        self._putting: set[asyncio.Task[list[BlobRef]]] = set()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let what was begun be finished, and end the threads; nothing else is held open."""
        await asyncio.gather(*self._putting, return_exceptions=True)
        self._threads.shutdown(cancel_futures=True)

    async def put(self, blobs: Sequence[NewBlob]) -> list[BlobRef]:
        """Keep the bytes; once begun, it is finished even where the caller is cancelled: halves may show a person."""
        putting = asyncio.create_task(self._put(blobs))
        self._putting.add(putting)
        putting.add_done_callback(self._putting.discard)
        return await asyncio.shield(putting)

    async def _put(self, blobs: Sequence[NewBlob]) -> list[BlobRef]:
        """Write all under other names, flush, rename, flush: a name always stands for whole, durable bytes."""
        refs = [refer(self._prefix, blob) for blob in blobs]
        latest = {blob.key: blob for blob in blobs}  # twice in one batch: the later one stays
        with _disk():
            self._require_base()
            with self._half_written() as halves:
                await each(
                    partial(self._write, halves),
                    list(latest.values()),
                    threads=self._threads,
                    bytes_of=lambda blob: blob.size,
                )
                await self._flush()
                self._name(halves)
            await self._flush()
        return refs

    async def get(self, refs: Sequence[BlobRef]) -> list[bytes | Rejected]:
        return await each(self._fetch, refs, threads=self._threads, bytes_of=lambda ref: ref.bytes)

    async def delete(self, refs: Sequence[BlobRef]) -> None:
        """Remove the bytes for good.

        Raises:
            MissingBlob: a reference is not of this store; nothing was removed.

        """
        await asyncio.to_thread(self._delete, refs)

    async def delete_under(self, folders: Sequence[str]) -> None:
        # Joined as text: an absolute path would take the place of the base.
        await asyncio.to_thread(self._delete_under, [Path(f"{self._base}/{begins_in(folder)}") for folder in folders])

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

    @contextmanager
    def _half_written(self) -> Iterator[dict[Path, str]]:
        """Yield a place to note half-written files; what is still noted in the end is removed."""
        halves: dict[Path, str] = {}
        try:
            yield halves
        finally:
            for half in halves.values():
                Path(half).unlink(missing_ok=True)

    def _name(self, halves: dict[Path, str]) -> None:
        for path in list(halves):
            os.replace(halves[path], path)  # noqa: PTH105 - one call of thousands a second
            del halves[path]

    async def _flush(self) -> None:
        """Make everything that was written durable, names too.

        One flush of the file system for a batch, not one for each file and folder: for 128 small blobs two to four
        times as fast, at a third of the processor's time. It also waits for what others are writing there.
        """
        await asyncio.get_running_loop().run_in_executor(self._threads, _sync_file_system, self._base)

    def _make(self, folder: Path) -> None:
        if folder in self._known and self._is_inside(folder):
            return
        folder.mkdir(parents=True, exist_ok=True)
        if not self._is_inside(folder):
            msg = "file store: a folder in it leads through a symbolic link"
            raise Unavailable(msg)

    def _is_inside(self, folder: Path) -> bool:
        """Whether no part of a folder's path is a symbolic link; one that is still the same is not asked again."""
        try:
            status = os.lstat(folder)
        except FileNotFoundError:
            return False
        if self._known.get(folder) == (status.st_dev, status.st_ino):
            return True
        self._known.pop(folder, None)
        if os.path.realpath(folder) != str(folder):
            return False
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[folder] = (status.st_dev, status.st_ino)
        return True

    def _write(self, halves: dict[Path, str], blob: NewBlob) -> None:
        """Write under a name that no key can have, and note it."""
        path = self._base / blob.key
        self._make(path.parent)
        half = f"{self._base}/{_INCOMING}/{next(self._names)}"
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        halves[path] = half
        try:
            for piece in pieces(blob.data):
                _write_all(descriptor, piece)
        finally:
            os.close(descriptor)

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
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # neither a link nor a pipe
        except (FileNotFoundError, NotADirectoryError):
            self._require_base()
            return None
        except OSError as error:
            if error.errno == ELOOP and path.is_symlink():
                return None
            raise
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not (S_ISREG(status.st_mode) and self._is_inside(path.parent)):
                return None
            if status.st_size != size:
                msg = "bytes: the stored blob has another size than the one referred to"
                raise MissingBlob(msg)
            return file.read()

    def _delete(self, refs: Sequence[BlobRef]) -> None:
        paths = [self._base / key_of(self._prefix, ref) for ref in refs]
        with _disk():
            self._require_base()
            there = [path for path in paths if path.exists() and not path.is_symlink() and self._is_inside(path.parent)]
            for path in there:
                path.unlink(missing_ok=True)
            _sync_file_system(self._base)

    def _delete_under(self, folders: Sequence[Path]) -> None:
        """Folders stay, as they do when their last blob is deleted: another may be about to be named there."""
        with _disk():
            self._require_base()
            for folder in folders:
                if folder.is_dir() and self._is_below_base(folder):
                    _unlink_all(folder)
            _sync_file_system(self._base)

    def _is_below_base(self, folder: Path) -> bool:
        """Whether a folder lies in this store, whatever was checked before: what is deleted elsewhere is lost."""
        return self._base in folder.parents and ".." not in folder.parts and self._is_inside(folder)

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


def _unlink_all(folder: Path) -> None:
    """Unlink every file in a folder and in those below it; no link is followed."""
    for _, _, names, descriptor in os.fwalk(folder, onerror=_raise):
        for name in names:
            with suppress(FileNotFoundError):  # somebody else removes it too
                os.unlink(name, dir_fd=descriptor)


def _raise(error: OSError) -> None:
    raise error


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_file_system(folder: Path) -> None:
    """Wait until the file system of this folder has everything on disk; errors of writing it come out here."""
    if _SYNCFS is None:
        os.sync()  # not Linux
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _SYNCFS(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "syncfs failed")
    finally:
        os.close(descriptor)
