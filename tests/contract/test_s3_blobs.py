"""What only a network and an object store can do to a blob store: go away, stutter, keep versions, send half."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest
from pydantic import SecretStr
from s3_server import S3Server

from rfr_stream.adapters.s3 import S3Blobs
from rfr_stream.errors import MissingBlob, Unavailable
from rfr_stream.events import BlobRef
from rfr_stream.ports import NewBlob
from rfr_stream.settings import BlobSettings

BUCKET = "images"
MIB = 2**20
PIXELS = b"pixels of somebody"
REF = BlobRef(uri=f"s3://{BUCKET}/a/b", sha256=sha256(PIXELS).hexdigest(), media_type="image/png", bytes=len(PIXELS))


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


def new(key: str = "a/b", data: bytes = PIXELS) -> NewBlob:
    return NewBlob(key, data, "image/png")


async def test_forty_mebibytes_go_in_parts_and_come_back_whole(server: S3Server) -> None:
    await server.make_only(BUCKET)
    data = b"".join(bytes([n]) * MIB for n in range(40))
    async with S3Blobs(server.settings(BUCKET)) as store, server.client(BUCKET) as client:
        refs = await store.put([new(data=data)])
        head = await client.head_object(Bucket=BUCKET, Key="a/b")
        assert head["ETag"].strip('"').endswith("-3")
        assert (head["ContentLength"], head["ContentType"]) == (40 * MIB, "image/png")
        assert await store.get(refs) == [data]


@pytest.mark.parametrize("data", [PIXELS, b"x" * 17 * MIB], ids=["whole", "in parts"])
async def test_encryption_at_rest_is_asked_of_the_server(server: S3Server, data: bytes) -> None:
    await server.make_only(BUCKET)
    settings = server.settings(BUCKET, server_side_encryption="aws:kms")
    async with S3Blobs(settings) as store, server.client(BUCKET) as client:
        await store.put([new(data=data)])
        head = await client.head_object(Bucket=BUCKET, Key="a/b")
        assert head["ServerSideEncryption"] == "aws:kms"


async def test_what_is_deleted_is_gone_in_every_version(server: S3Server) -> None:
    await server.make_only(BUCKET, versions=True)
    async with S3Blobs(server.settings(BUCKET)) as store, server.client(BUCKET) as client:
        await store.put([new(data=b"first"), new("a/bc")])
        (ref,) = await store.put([new(data=b"second")])
        await client.delete_object(Bucket=BUCKET, Key="a/b")  # a mark above the versions, as another tool leaves it
        await store.delete([ref])
        left = await client.list_object_versions(Bucket=BUCKET)
        assert [version["Key"] for version in left["Versions"]] == ["a/bc"]
        assert "DeleteMarkers" not in left


async def test_what_is_deleted_under_a_folder_is_gone_in_every_version(server: S3Server) -> None:
    await server.make_only(BUCKET, versions=True)
    async with S3Blobs(server.settings(BUCKET)) as store, server.client(BUCKET) as client:
        for data in (b"first", b"second"):
            await store.put([new("a/b/1", data), new("a/b/c/2", data), new("a/bc", data)])
        await client.delete_object(Bucket=BUCKET, Key="a/b/1")
        await store.delete_under(["a/b"])
        left = await client.list_object_versions(Bucket=BUCKET)
        assert [version["Key"] for version in left["Versions"]] == ["a/bc"] * 2
        assert "DeleteMarkers" not in left


async def test_a_server_that_is_away_is_unavailable_and_is_used_again_once_it_is_back() -> None:
    with S3Server() as server:
        await server.make_only(BUCKET)
        async with S3Blobs(server.settings(BUCKET)) as store:
            refs = await store.put([new()])
            server.kill()
            for act in (
                lambda: store.get(refs),
                lambda: store.put([new()]),
                lambda: store.delete(refs),
                lambda: store.delete_under(["a"]),
            ):
                with pytest.raises(Unavailable):
                    await act()
            server.start()
            await server.make_only(BUCKET)
            assert await store.get(await store.put([new()])) == [PIXELS]


async def test_a_bucket_that_is_not_there_is_unavailable_and_never_a_missing_blob(server: S3Server) -> None:
    await server.make_only(BUCKET)
    async with S3Blobs(server.settings(BUCKET)) as store:
        refs = await store.put([new()])
        await server.make_only("another")
        with pytest.raises(Unavailable, match="NoSuchBucket"):
            await store.get(refs)


# --- a server that says what it is told to --------------------------------------------------------------------------
def answer(status: str, body: bytes = b"", *, length: int | None = None) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def fault(status: str, code: str) -> bytes:
    return answer(status, f"<Error><Code>{code}</Code><Message>any</Message></Error>".encode())


@asynccontextmanager
async def saying(answers: Sequence[bytes]) -> AsyncIterator[tuple[S3Blobs, list[str]]]:
    """Enter a store whose server gives these answers one after another, the last for ever; and what it was asked."""
    asked: list[str] = []

    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n", 1)[0].decode())
        writer.write(answers[min(len(asked), len(answers)) - 1])
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(give, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = BlobSettings(
            kind="s3", bucket=BUCKET, endpoint_url=url, access_key_id="any", secret_access_key=SecretStr("any")
        )
        async with S3Blobs(settings) as store:
            yield store, asked


@pytest.mark.parametrize(
    "stutter",
    [
        fault("503 Slow Down", "SlowDown"),
        fault("500 Internal Server Error", "InternalError"),
        answer("200 OK", length=18),
        b"",
    ],
    ids=["slow down", "internal error", "half an answer", "no answer"],
)
async def test_a_stutter_is_asked_again(stutter: bytes) -> None:
    async with saying([stutter, stutter, answer("200 OK", PIXELS)]) as (store, asked):
        assert await store.get([REF]) == [PIXELS]
    assert len(asked) == 3


async def test_asking_again_ends_after_a_few_tries() -> None:
    async with saying([fault("503 Slow Down", "SlowDown")]) as (store, asked):
        with pytest.raises(Unavailable, match="SlowDown"):
            await store.get([REF])
    assert len(asked) == 4


async def test_a_refused_key_is_unavailable_at_once_and_nothing_is_thrown_away() -> None:
    async with saying([fault("403 Forbidden", "AccessDenied")]) as (store, asked):
        with pytest.raises(Unavailable, match="AccessDenied"):
            await store.get([REF])
    assert len(asked) == 1


async def test_an_object_of_another_size_is_not_even_read() -> None:
    async with saying([answer("200 OK", length=2**40)]) as (store, asked):
        assert [type(got) for got in await store.get([REF])] == [MissingBlob]
    assert len(asked) == 1


async def test_parts_of_a_failed_upload_are_given_up() -> None:
    begun = answer("200 OK", b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>")
    async with saying([begun, fault("403 Forbidden", "AccessDenied")]) as (store, asked):
        with pytest.raises(Unavailable, match="AccessDenied"):
            await store.put([new(data=b"x" * 17 * MIB)])
    assert asked[-1].startswith("DELETE /images/a/b?uploadId=u1")


def listing(*keys: str, upto: str = "") -> bytes:
    """Return a page of versions; `upto`: where the next one begins."""
    more = f"<NextKeyMarker>{upto}</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>" if upto else ""
    versions = "".join(f"<Version><Key>{key}</Key><VersionId>v1</VersionId></Version>" for key in keys)
    body = f"<IsTruncated>{str(bool(upto)).lower()}</IsTruncated>{more}{versions}"
    return answer("200 OK", f"<ListVersionsResult>{body}</ListVersionsResult>".encode())


async def test_a_folder_of_many_pages_is_deleted_to_its_end() -> None:
    pages = [listing("a/b/1", upto="a/b/1"), listing("a/b/2", upto="a/b/2"), listing("a/b/3")]
    async with saying([*pages, answer("204 No Content")]) as (store, asked):
        await store.delete_under(["a/b"])
    assert ["key-marker" in line for line in asked[:3]] == [False, True, True]
    assert sorted(line.split("?")[0] for line in asked[3:]) == [f"DELETE /{BUCKET}/a/b/{n}" for n in (1, 2, 3)]


async def test_of_one_key_no_page_is_read_that_is_about_others_alone() -> None:
    async with saying([listing("a/b", "a/bc", upto="a/bc"), answer("204 No Content")]) as (store, asked):
        await store.delete([REF.model_copy(update={"uri": f"s3://{BUCKET}/a/b"})])
    assert [line.split("?")[0] for line in asked] == [f"GET /{BUCKET}", f"DELETE /{BUCKET}/a/b"]
