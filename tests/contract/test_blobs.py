"""One law for every blob store: memory, files, and S3 over HTTP against a server in a process of its own."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from s3_server import S3Server

from rfr_stream.adapters.files import FileBlobs
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.adapters.s3 import S3Blobs
from rfr_stream.errors import MissingBlob, Rejected, Unavailable
from rfr_stream.events import BlobRef
from rfr_stream.ports import BlobStore, NewBlob, OnDisk

BUCKET = "images"
PIXELS = b"\x89PNG of somebody"


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture(params=["memory", "files", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    match request.param:
        case "memory":
            yield MemoryBlobs(BUCKET)
        case "files":
            async with FileBlobs(tmp_path, BUCKET) as files:
                yield files
        case _:
            server: S3Server = request.getfixturevalue("s3_server")
            await server.make_only(BUCKET)
            async with S3Blobs(server.settings(BUCKET)) as s3:
                yield s3


def new(key: str = "a/b.png", data: bytes = PIXELS) -> NewBlob:
    return NewBlob(key, data, "image/png")


def on_disk(path: Path) -> OnDisk:
    data = path.read_bytes()
    return OnDisk(path, hashlib.sha256(data).hexdigest(), len(data))


async def keep(store: BlobStore, key: str = "a/b.png", data: bytes = PIXELS) -> BlobRef:
    return (await store.put([new(key, data)]))[0]


async def fetch(store: BlobStore, ref: BlobRef) -> bytes | Rejected:
    return (await store.get([ref]))[0]


def forged(ref: BlobRef, **fields: object) -> BlobRef:
    """Return a reference that no contract has checked."""
    return BlobRef.model_construct(**{**dict(ref), **fields})


async def test_what_was_put_comes_back_in_the_order_asked_for(store: BlobStore) -> None:
    blobs = [new(f"chips/{n}.png", bytes([n]) * (60_000 + n)) for n in range(40)]
    refs = await store.put(blobs)
    assert await store.get(refs[::-1]) == [blob.data for blob in blobs][::-1]


async def test_a_file_is_kept_as_its_bytes_would_be_and_stays(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(PIXELS * 100_000)
    (tmp_path / "none").touch()
    files = [on_disk(tmp_path / "whole"), on_disk(tmp_path / "none")]
    refs = await store.put([NewBlob(f"k/{number}", file, "image/png") for number, file in enumerate(files)])
    assert await store.get(refs) == [PIXELS * 100_000, b""]
    assert refs[0] == await keep(store, "k/0", PIXELS * 100_000)
    assert (tmp_path / "whole").read_bytes() == PIXELS * 100_000


async def test_a_file_larger_than_one_request_is_kept_whole(store: BlobStore, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        for number in range(40):
            file.write(bytes([number]) * 2**20)
    (ref,) = await store.put([NewBlob("k", on_disk(tmp_path / "large"), "image/png")])
    got = await fetch(store, ref)
    assert isinstance(got, bytes)
    assert hashlib.sha256(got).hexdigest() == ref.sha256


@pytest.mark.parametrize("size", [len(PIXELS), 40 * 2**20], ids=["small", "large"])
async def test_a_file_that_is_not_what_was_hashed_is_not_kept(store: BlobStore, tmp_path: Path, size: int) -> None:
    before = await keep(store, "k")
    (tmp_path / "file").write_bytes(bytes(size))
    said = on_disk(tmp_path / "file")
    (tmp_path / "file").write_bytes(bytes(size - 1) + b"!")
    with pytest.raises(Unavailable):
        await store.put([NewBlob("k", said, "image/png")])
    assert await fetch(store, before) == PIXELS


async def test_a_reference_says_where_the_bytes_lie_and_which_they_are(store: BlobStore) -> None:
    ref = await keep(store, "a/b.png")
    assert ref.uri.partition("://")[2] == f"{BUCKET}/a/b.png"
    assert ref.sha256 == hashlib.sha256(PIXELS).hexdigest()
    assert (ref.bytes, ref.media_type) == (len(PIXELS), "image/png")


async def test_an_empty_batch_is_no_work(store: BlobStore) -> None:
    assert (await store.put([]), await store.get([])) == ([], [])
    await store.delete([])


async def test_a_blob_may_be_empty(store: BlobStore) -> None:
    assert await fetch(store, await keep(store, data=b"")) == b""


async def test_what_is_not_there_is_missing_in_its_own_place(store: BlobStore) -> None:
    first, gone, last = await store.put([new("1", b"1"), new("2", b"2"), new("3", b"3")])
    await store.delete([gone])
    got = await store.get([first, gone, last])
    assert (got[0], got[2]) == (b"1", b"3")
    assert isinstance(got[1], MissingBlob)


async def test_the_same_key_again_overwrites(store: BlobStore) -> None:
    before = await keep(store, data=b"before")
    after = await keep(store, data=b"after, and longer")
    assert await fetch(store, after) == b"after, and longer"
    assert isinstance(await fetch(store, before), MissingBlob)


async def test_of_one_key_twice_in_a_batch_the_later_stays(store: BlobStore) -> None:
    for _ in range(10):
        refs = await store.put([new("k", b"a" * 300_000), new("k", b"b")])
        got = await store.get(refs)
        assert isinstance(got[0], MissingBlob)
        assert got[1] == b"b"


@pytest.mark.parametrize("stored", [PIXELS[:-1], PIXELS + b"!", PIXELS[:-1] + b"?", b""], ids=len)
async def test_bytes_other_than_those_referred_to_are_missing(store: BlobStore, stored: bytes) -> None:
    ref = await keep(store)
    await keep(store, data=stored)
    assert isinstance(await fetch(store, ref), MissingBlob)


async def test_a_reference_with_another_digest_or_size_is_missing(store: BlobStore) -> None:
    ref = await keep(store)
    assert isinstance(await fetch(store, ref.model_copy(update={"sha256": "0" * 64})), MissingBlob)
    for size in (len(PIXELS) - 1, len(PIXELS) + 1, 0, 2**40):
        assert isinstance(await fetch(store, ref.model_copy(update={"bytes": size})), MissingBlob)


async def test_a_missing_blob_is_explained_without_a_word_of_key_or_content(store: BlobStore) -> None:
    ref = await keep(store, "persons/secret-key.png", b"secret bytes")
    await keep(store, "persons/secret-key.png", b"secret other")
    missing = await fetch(store, ref)
    assert str(missing).startswith("sha256: ")
    assert "secret" not in str(missing)


async def test_deleting_twice_is_no_error_and_spares_the_others(store: BlobStore) -> None:
    doomed, longer, other = await store.put([new("a/b", b"1"), new("a/bc", b"2"), new("a/c", b"3")])
    await store.delete([doomed, doomed])
    await store.delete([doomed])
    assert isinstance(await fetch(store, doomed), MissingBlob)
    assert await store.get([longer, other]) == [b"2", b"3"]


async def test_deleting_elsewhere_is_refused_and_nothing_is_removed(store: BlobStore) -> None:
    ref = await keep(store)
    elsewhere = ref.model_copy(update={"uri": ref.uri.replace(f"/{BUCKET}/", "/others/")})
    with pytest.raises(MissingBlob):
        await store.delete([ref, elsewhere])
    assert await fetch(store, ref) == PIXELS


async def test_what_is_deleted_under_a_folder_is_all_that_is_in_it_and_nothing_beside(store: BlobStore) -> None:
    inside = [new("a/b/1", b"1"), new("a/b/c/2", b"2"), new("a/b/c/d/3", b"3"), new("e/4", b"4")]
    beside = [new("a/bc/1", b"5"), new("a/b.png", b"6"), new("a/1", b"7"), new("b/1", b"8"), new("f/a/b/1", b"9")]
    gone, kept = await store.put(inside), await store.put(beside)
    for _ in range(2):  # again is harmless
        await store.delete_under(["a/b", "e", "a/b/c", "unknown", "a/1/2"])
        assert [type(answer) for answer in await store.get(gone)] == [MissingBlob] * len(gone)
        assert await store.get(kept) == [blob.data for blob in beside]
    assert await fetch(store, await keep(store, "a/b/1")) == PIXELS, "a folder that was emptied can be used again"


async def test_a_blob_is_no_folder_and_an_empty_list_deletes_nothing(store: BlobStore) -> None:
    ref = await keep(store, "a/b.png")
    await store.delete_under(["a/b.png"])
    await store.delete_under([])
    assert await fetch(store, ref) == PIXELS


async def test_a_folder_that_could_climb_or_be_all_is_refused_before_anything_is_deleted(
    store: BlobStore, tmp_path: Path
) -> None:
    """Every one of these stays within the test's own folder, should a store ever take it."""
    ref = await keep(store, "a/b")
    hostile = ("", f"{tmp_path}/elsewhere", "a/", "..", "a/..", "a/../a", ".", "./a", "a//b", ".incoming", "a b", "a\n")
    for folder in (*hostile, "a" * 201):
        with pytest.raises(ValueError, match="folder"):
            await store.delete_under(["a", folder])
    assert await fetch(store, ref) == PIXELS


async def test_a_reference_that_leads_elsewhere_is_missing(store: BlobStore) -> None:
    ref = await keep(store)
    scheme = ref.uri.partition("://")[0]
    hostile = [
        f"{scheme}://others/a/b.png",
        "other://images/a/b.png",
        f"{scheme}://images/../images/a/b.png",
        f"{scheme}://images/a/../a/b.png",
        f"{scheme}://images//a/b.png",
        f"{scheme}://images/./a/b.png",
        f"{scheme}://images/a/b.png/",
        f"{scheme}://images/a/b.png\n",
        f"{scheme}://images/a/b.png\0",
        f"{scheme}://images/",
        f"{scheme}://images",
        "/etc/hostname",
        f"{scheme}:///etc/hostname",
        f"{scheme}://images//etc/hostname",
        f"{scheme}://images/" + "../" * 20 + "etc/hostname",
        f"{scheme}://images/.incoming/a",
        f"{scheme}://images/" + "a" * 300,
        f"{scheme}://images/" + "a/" * 600 + "a",
        "",
    ]
    got = await store.get([*(forged(ref, uri=uri) for uri in hostile), ref])
    assert [uri for uri, answer in zip(hostile, got, strict=False) if not isinstance(answer, MissingBlob)] == []
    assert got[-1] == PIXELS


async def test_a_forged_size_reads_nothing(store: BlobStore) -> None:
    ref = await keep(store)
    got = await store.get([forged(ref, bytes=size) for size in (-1, -5, -(2**40))])
    assert [type(answer) for answer in got] == [MissingBlob] * 3


async def test_a_key_that_could_climb_or_collide_is_refused_before_anything_is_kept(store: BlobStore) -> None:
    ref = await keep(store)
    for key in ("", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b", "a b", "é", "a\n", "a" * 201, "a/" * 500 + "a"):
        with pytest.raises(ValueError, match="key"):
            await store.put([new(data=b"another"), new(key)])
    assert await fetch(store, ref) == PIXELS


async def test_whoever_reads_while_others_write_sees_one_whole_version(store: BlobStore) -> None:
    versions = [bytes([n]) * 200_000 for n in range(8)]
    refs = await asyncio.gather(*(keep(store, data=version) for version in versions))
    got = [answer for answer in await store.get(refs) if isinstance(answer, bytes)]
    assert len(got) == 1
    assert got[0] in versions
