"""Blobs in this process's memory: gone when it ends."""

from collections.abc import Sequence

from rfr_stream.adapters._claims import begins_in, key_of, pieces, refer, verified
from rfr_stream.errors import Rejected, settle
from rfr_stream.events import BlobRef
from rfr_stream.ports import NewBlob


class MemoryBlobs:
    """A `BlobStore` in a dictionary (`memory://<bucket>/<key>`)."""

    def __init__(self, bucket: str = "rfr") -> None:
        """Begin empty."""
        self.kept: dict[str, bytes] = {}
        self._prefix = f"memory://{bucket}/"

    async def put(self, blobs: Sequence[NewBlob]) -> list[BlobRef]:
        refs = [refer(self._prefix, blob) for blob in blobs]
        self.kept |= {blob.key: b"".join(pieces(blob.data)) for blob in blobs}
        return refs

    async def get(self, refs: Sequence[BlobRef]) -> list[bytes | Rejected]:
        return [self._fetch(ref) for ref in refs]

    async def delete(self, refs: Sequence[BlobRef]) -> None:
        for key in [key_of(self._prefix, ref) for ref in refs]:
            self.kept.pop(key, None)

    async def delete_under(self, folders: Sequence[str]) -> None:
        beginnings = tuple(map(begins_in, folders))
        self.kept = {key: data for key, data in self.kept.items() if not key.startswith(beginnings)}

    def _fetch(self, ref: BlobRef) -> bytes | Rejected:
        return settle(lambda: verified(ref, self.kept.get(key_of(self._prefix, ref))))
