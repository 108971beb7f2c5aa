"""What only a disk can do to a blob store: vanish, fill up, lie about where it leads, and lose power."""

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree

import pytest

from rfr_stream.adapters.files import FileBlobs
from rfr_stream.errors import MissingBlob, Unavailable
from rfr_stream.ports import NewBlob

PIXELS = b"pixels of somebody"
VERSION_BYTES = 32_000_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileBlobs]:
    async with FileBlobs(tmp_path / "data", "rfr") as files:
        yield files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "rfr"


def new(key: str = "a/b", data: bytes = PIXELS) -> NewBlob:
    return NewBlob(key, data, "image/png")


@contextmanager
def a_disk_that_holds_only(limit_bytes: int) -> Iterator[None]:
    """Let the operating system refuse larger files, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def half_written(folder: Path) -> list[Path]:
    return list((folder / ".incoming").glob("*"))


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it has just got its name
        return 0


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_blobs_lie_under_their_key_for_their_owner_alone(store: FileBlobs, folder: Path) -> None:
    await store.put([new("originals/ab/abc")])
    path = folder / "originals" / "ab" / "abc"
    assert path.read_bytes() == PIXELS
    assert (mode_of(folder), mode_of(path)) == (0o700, 0o600)
    assert half_written(folder) == []


async def test_a_disk_that_is_not_mounted_is_unavailable_and_never_a_missing_blob(
    store: FileBlobs, folder: Path
) -> None:
    (ref,) = await store.put([new()])
    unmounted = folder.rename(folder.with_name("unmounted"))  # noqa: ASYNC240 - a test may wait
    for act in (
        lambda: store.get([ref]),
        lambda: store.put([new()]),
        lambda: store.delete([ref]),
        lambda: store.delete_under(["a"]),
    ):
        with pytest.raises(Unavailable, match="mounted"):
            await act()
    unmounted.rename(folder)
    assert await store.get([ref]) == [PIXELS]


async def test_a_full_disk_is_unavailable_and_the_old_blob_stays(store: FileBlobs, folder: Path) -> None:
    (ref,) = await store.put([new()])
    with a_disk_that_holds_only(1_000), pytest.raises(Unavailable, match="too large"):
        await store.put([new(data=b"x" * 2_000)])
    assert await store.get([ref]) == [PIXELS]
    assert half_written(folder) == []


async def test_a_disk_that_fills_up_under_several_threads_is_unavailable_and_keeps_no_half(
    store: FileBlobs, folder: Path
) -> None:
    blobs = [new(f"a/{number}", b"x" * (100_000 if number == 7 else 200_000)) for number in range(24)]
    with a_disk_that_holds_only(150_000), pytest.raises(Unavailable, match="too large"):
        await store.put(blobs)
    assert half_written(folder) == []


async def test_a_put_that_is_cancelled_leaves_nothing_half_written(store: FileBlobs, folder: Path) -> None:
    blobs = [new(f"a/{number}", b"x" * 200_000) for number in range(50)]
    writing = asyncio.create_task(store.put(blobs))
    while not half_written(folder):  # noqa: ASYNC110 - a disk sends no events
        await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    async with asyncio.timeout(20):
        while half_written(folder) or not (folder / "a" / "49").exists():  # noqa: ASYNC110 - a disk sends no events
            await asyncio.sleep(0.01)
    assert len(list((folder / "a").iterdir())) == 50


async def test_a_file_that_cannot_be_read_is_unavailable(store: FileBlobs, folder: Path) -> None:
    """A name that loops stands for any error of the disk: permissions do not bind the tests' superuser."""
    (ref,) = await store.put([new("a/b")])
    (folder / "a" / "b").unlink()
    (folder / "a").rmdir()
    (folder / "a").symlink_to("a")
    with pytest.raises(Unavailable):
        await store.get([ref])


async def test_a_linked_folder_leads_nowhere(store: FileBlobs, folder: Path, tmp_path: Path) -> None:
    (ref,) = await store.put([new("a/b")])
    (folder / "a").rename(tmp_path / "outside")
    (folder / "a").symlink_to(tmp_path / "outside", target_is_directory=True)
    assert [type(answer) for answer in await store.get([ref])] == [MissingBlob]
    await store.delete([ref])
    with pytest.raises(Unavailable, match="symbolic link"):
        await store.put([new("a/b", b"overwritten")])
    assert (tmp_path / "outside" / "b").read_bytes() == PIXELS


async def test_what_is_deleted_under_a_folder_follows_no_link(store: FileBlobs, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    for name in ("b", "deep/1"):
        (outside / name).write_bytes(PIXELS)
    await store.put([new("a/c/1")])
    (folder / "a" / "c" / "file").symlink_to(outside / "b")
    (folder / "a" / "c" / "folder").symlink_to(outside, target_is_directory=True)
    (folder / "linked").symlink_to(outside, target_is_directory=True)
    await store.delete_under(["a", "a/c/folder", "linked", "linked/deep"])
    assert [path.name for path in (folder / "a" / "c").iterdir()] == ["folder"]
    assert [(outside / name).read_bytes() for name in ("b", "deep/1")] == [PIXELS] * 2


async def test_nothing_but_a_folder_of_this_store_is_ever_emptied(store: FileBlobs, folder: Path) -> None:
    """Asked of the last check alone, and of nothing that deletes: should it fail, nothing is lost."""
    await store.put([new("a/b/c")])
    asked = [
        Path("/"),
        Path("/etc"),
        folder.parent,
        folder,
        folder / "..",
        folder / "a" / "..",
        folder / "a",
        folder / "a/b",
    ]
    assert [store._is_below_base(each) for each in asked] == [False] * 6 + [True] * 2  # noqa: SLF001


async def test_a_folder_that_is_being_written_to_may_be_emptied(store: FileBlobs) -> None:
    """Each blob is there or gone; nobody who writes meanwhile is told that the disk is away."""
    for _ in range(20):
        blobs = [new(f"a/{number}") for number in range(5)]
        refs, _ = await asyncio.gather(store.put(blobs), store.delete_under(["a"]))
        assert {type(answer) for answer in await store.get(refs)} <= {bytes, MissingBlob}


async def test_a_linked_file_is_not_followed(store: FileBlobs, folder: Path, tmp_path: Path) -> None:
    (ref,) = await store.put([new("a/b")])
    (folder / "a" / "b").rename(tmp_path / "outside")
    (folder / "a" / "b").symlink_to(tmp_path / "outside")
    assert [type(answer) for answer in await store.get([ref])] == [MissingBlob]


async def test_a_pipe_in_the_place_of_a_blob_is_not_opened(store: FileBlobs, folder: Path) -> None:
    (ref,) = await store.put([new("a/b", b"")])
    (folder / "a" / "b").unlink()
    os.mkfifo(folder / "a" / "b")
    assert [type(answer) for answer in await store.get([ref])] == [MissingBlob]


async def test_a_blob_of_another_size_is_not_even_read(store: FileBlobs, folder: Path) -> None:
    (ref,) = await store.put([new("a/b")])
    with (folder / "a" / "b").open("r+b") as file:
        file.truncate(2**40)  # holes: a tebibyte that takes no room, until somebody reads it
    started = time.monotonic()
    assert [type(answer) for answer in await store.get([ref])] == [MissingBlob]
    assert time.monotonic() - started < 5


async def test_a_key_below_another_blob_is_the_callers_mistake(store: FileBlobs) -> None:
    await store.put([new("a/b")])
    for key in ("a/b/c", "a"):
        with pytest.raises(ValueError, match="key"):
            await store.put([new(key)])


async def test_what_killed_processes_left_is_removed_a_day_later(tmp_path: Path, folder: Path) -> None:
    incoming = folder / ".incoming"
    incoming.mkdir(parents=True)
    for name, age_h in (("old", 25), ("in-use", 1)):
        (incoming / name).write_bytes(PIXELS)
        os.utime(incoming / name, (time.time() - age_h * 3600,) * 2)
    async with FileBlobs(tmp_path / "data", "rfr"):
        assert [path.name for path in half_written(folder)] == ["in-use"]


WRITER = """
import asyncio, sys
from pathlib import Path
from rfr_stream.adapters.files import FileBlobs
from rfr_stream.ports import NewBlob

async def write_for_ever() -> None:
    async with FileBlobs(Path(sys.argv[1]), "rfr") as store:
        print("writing", flush=True)
        while True:
            for version in (b"1", b"2"):
                await store.put([NewBlob("a/b", version * int(sys.argv[2]), "image/png")])

asyncio.run(write_for_ever())
"""


def kill_once_it_has_begun_to_write(folder: Path, data_dir: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(data_dir), str(VERSION_BYTES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        deadline = time.monotonic() + 5
        while not any(map(size_of, half_written(folder))) and time.monotonic() < deadline:
            pass
        writer.kill()


def test_a_kill_in_mid_put_leaves_a_whole_blob_or_none(tmp_path: Path, folder: Path) -> None:
    found: set[bytes | None] = set()
    torn = 0
    for _ in range(12):
        with suppress(FileNotFoundError):
            rmtree(folder)
        kill_once_it_has_begun_to_write(folder, tmp_path / "data")
        torn += len(half_written(folder))
        found.add((folder / "a" / "b").read_bytes() if (folder / "a" / "b").exists() else None)
        if torn == 3:
            break
    assert found <= {None, b"1" * VERSION_BYTES, b"2" * VERSION_BYTES}
    assert torn == 3, "no kill came in the middle of a write: this proved nothing"
