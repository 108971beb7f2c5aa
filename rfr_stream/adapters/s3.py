"""Blobs in any S3-compatible store. The role needs Get, Put, Delete, AbortMultipartUpload and, on the bucket, List.

Without the right to list, S3 answers a missing key with 403, which is `Unavailable` here: nothing is thrown away
because of a missing right.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import aioboto3
from aiohttp import ClientError as TransportError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from rfr_stream.adapters._claims import begins_in, key_of, pieces, refer, verified
from rfr_stream.errors import MissingBlob, Rejected, Unavailable
from rfr_stream.events import BlobRef
from rfr_stream.ports import NewBlob, OnDisk
from rfr_stream.settings import BlobSettings

T = TypeVar("T")

_CONCURRENCY: Final = 32
_TRIES: Final = 4
_READ_BYTES: Final = 2**20
_TRANSIENT_CODES: Final = frozenset(
    {"InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling"}
)
_TOO_MANY_REQUESTS: Final = 429
_SERVER_FAULT: Final = 500


class S3Blobs:
    """A `BlobStore` in a bucket (`s3://<bucket>/<key>`); one client for as long as it is entered."""

    def __init__(self, settings: BlobSettings) -> None:
        """Remember where; nothing is connected yet."""
        self._settings = settings
        self._prefix = f"s3://{settings.bucket}/"
        self._sealing = (
            {"ServerSideEncryption": settings.server_side_encryption} if settings.server_side_encryption else {}
        )
        self._slots = asyncio.Semaphore(_CONCURRENCY)
        self._stack = AsyncExitStack()
        self._client: Any = None

    async def __aenter__(self) -> Self:
        secret = self._settings.secret_access_key
        client = aioboto3.Session().client(
            "s3",
            endpoint_url=self._settings.endpoint_url,
            region_name=self._settings.region,
            aws_access_key_id=self._settings.access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=_config(self._settings),
        )
        self._client = await self._stack.enter_async_context(client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client = None
        await self._stack.aclose()

    async def put(self, blobs: Sequence[NewBlob]) -> list[BlobRef]:
        refs = await asyncio.to_thread(lambda: [refer(self._prefix, blob) for blob in blobs])
        latest = {blob.key: (blob, ref) for blob, ref in zip(blobs, refs, strict=True)}  # twice: the later one stays
        await _all([self._keep(blob, ref) for blob, ref in latest.values()])
        return refs

    async def get(self, refs: Sequence[BlobRef]) -> list[bytes | Rejected]:
        return await _all([self._fetch(ref) for ref in refs])

    async def delete(self, refs: Sequence[BlobRef]) -> None:
        """Remove the bytes for good: every version of them, where the bucket keeps versions.

        Raises:
            MissingBlob: a reference is not of this store; nothing was removed.

        """
        await _all([self._erase(key, key.__eq__) for key in {key_of(self._prefix, ref) for ref in refs}])

    async def delete_under(self, folders: Sequence[str]) -> None:
        """Remove all that is kept in these folders for good: every version, where the bucket keeps versions.

        Raises:
            ValueError: one of them is no folder that a key can have; nothing was removed.

        """
        await _all([self._erase(beginning, lambda _: True) for beginning in set(map(begins_in, folders))])

    async def _keep(self, blob: NewBlob, ref: BlobRef) -> None:
        about = {"Key": blob.key, "ContentType": blob.media_type, **self._sealing}
        if blob.size > self._settings.multipart_bytes:
            await self._keep_in_parts(blob.data, about)
            return
        body = blob.data if isinstance(blob.data, bytes) else await asyncio.to_thread(b"".join, pieces(blob.data))
        checksum = base64.b64encode(bytes.fromhex(ref.sha256)).decode()
        await self._call("put_object", **about, Body=body, ChecksumSHA256=checksum)

    async def _keep_in_parts(self, data: bytes | OnDisk, about: dict[str, str]) -> None:
        upload_id = (await self._call("create_multipart_upload", **about))["UploadId"]
        upload = {"Key": about["Key"], "UploadId": upload_id}
        try:
            parts = await self._parts(data, upload)
            await self._call("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts})
        except BaseException:
            with suppress(Unavailable):  # the bucket's lifecycle rule removes what cannot be removed now
                await self._call("abort_multipart_upload", **upload)
            raise

    async def _parts(self, data: bytes | OnDisk, upload: dict[str, str]) -> list[dict[str, Any]]:
        """Send the parts: together where all are in memory anyway, else one by one."""
        numbered = enumerate(pieces(data, self._settings.multipart_bytes), start=1)
        if isinstance(data, bytes):
            return await _all([self._keep_part(bytes(part), number, upload) for number, part in numbered])
        sent: list[dict[str, Any]] = []
        while found := await asyncio.to_thread(next, numbered, None):
            number, part = found
            sent.append(await self._keep_part(bytes(part), number, upload))
        return sent

    async def _keep_part(self, body: bytes, number: int, upload: dict[str, str]) -> dict[str, Any]:
        answer = await self._call("upload_part", **upload, PartNumber=number, Body=body)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    async def _fetch(self, ref: BlobRef) -> bytes | Rejected:
        try:
            key = key_of(self._prefix, ref)
            data = await self._within_limits(lambda: self._read(key, ref.bytes))
        except MissingBlob as missing:
            return missing
        return await asyncio.to_thread(verified, ref, data)

    async def _read(self, key: str, size: int) -> bytes | None:
        """Return the object's bytes, None if there is none; of another size unread, and never more than `size`."""
        try:
            answer = await self._client.get_object(Bucket=self._settings.bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                return None
            raise
        stream = answer["Body"]
        async with stream:  # what this yields is the bare response, not the stream
            if answer["ContentLength"] != size:
                msg = "bytes: the stored blob has another size than the one referred to"
                raise MissingBlob(msg)
            return await _read_at_most(stream, size + 1)

    async def _erase(self, beginning: str, is_meant: Callable[[str], bool]) -> None:
        versions = await self._versions(beginning, is_meant)
        await _all([self._call("delete_object", Key=key, VersionId=version) for key, version in versions])

    async def _versions(self, beginning: str, is_meant: Callable[[str], bool]) -> list[tuple[str, str]]:
        """Return every version and deletion mark of the keys that begin so and are meant.

        The version `null` is the one of a bucket that keeps none.
        """
        found: list[tuple[str, str]] = []
        marker: dict[str, str] = {}
        while True:
            page = await self._call("list_object_versions", Prefix=beginning, **marker)
            listed = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            found += [(entry["Key"], entry["VersionId"]) for entry in listed if is_meant(entry["Key"])]
            # Keys come in order, and a key itself before those that only begin like it.
            if not page.get("IsTruncated") or not is_meant(page["NextKeyMarker"]):
                return found
            marker = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}

    async def _call(self, operation: str, **arguments: object) -> dict[str, Any]:
        act = getattr(self._client, operation)
        return await self._within_limits(lambda: act(Bucket=self._settings.bucket, **arguments))

    async def _within_limits(self, act: Callable[[], Awaitable[T]]) -> T:
        """Run one request: few at a time, tried again for a moment, foreign errors translated."""
        with _translated():
            async with self._slots:
                return await _persist(act)


def _config(settings: BlobSettings) -> Config:
    return Config(
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=_CONCURRENCY,
        retries={"total_max_attempts": 1},  # tried again here alone
        s3={"addressing_style": "path" if settings.endpoint_url else "auto"},
        # Some S3-compatible servers refuse the trailing checksums that are otherwise sent; ours is a plain header.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


async def _read_at_most(stream: Any, limit: int) -> bytes:  # noqa: ANN401 - aiobotocore's stream has no types
    chunks: list[bytes] = []
    while limit > 0 and (chunk := await stream.read(min(limit, _READ_BYTES))):
        chunks.append(chunk)
        limit -= len(chunk)
    return b"".join(chunks)


async def _all(requests: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all answers in order, or raise the first error; the others are then cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(request) for request in requests]
    except BaseExceptionGroup as several:
        first = several.exceptions[0]
        raise first from first.__cause__
    return [task.result() for task in tasks]


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = error.response["Error"]["Code"]
        return status >= _SERVER_FAULT or status == _TOO_MANY_REQUESTS or code in _TRANSIENT_CODES
    return isinstance(error, (BotoCoreError, TransportError, TimeoutError))


@retry(
    stop=stop_after_attempt(_TRIES),
    wait=wait_random_exponential(multiplier=0.1, max=2),
    retry=retry_if_exception(_is_transient),
    reraise=True,
)
async def _persist(act: Callable[[], Awaitable[T]]) -> T:
    return await act()


@contextmanager
def _translated() -> Iterator[None]:
    """Every fault of the store or of the way to it is `Unavailable`; the message names the kind, never the key."""
    try:
        yield
    except ClientError as error:
        msg = f"S3: {error.response['Error']['Code']}"
        raise Unavailable(msg) from error
    except (BotoCoreError, TransportError, TimeoutError) as error:
        msg = f"S3: {type(error).__name__}"
        raise Unavailable(msg) from error
