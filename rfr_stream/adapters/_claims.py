"""What every blob store holds to: what a key is, what an address says, and which bytes a reference vouches for."""

import hashlib
import re
from collections.abc import Iterator
from typing import Final

from rfr_stream.errors import MissingBlob, Unavailable
from rfr_stream.events import BlobRef
from rfr_stream.ports import NewBlob, OnDisk

PIECE_BYTES: Final = 2**20

_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_MAX_KEY: Final = 800
"""With store and bucket in front, an address stays within the 1024 characters that an event may hold."""


def is_key(key: str) -> bool:
    """Whether this may name a blob: no part begins with a dot, none is longer than file systems can hold."""
    return len(key) <= _MAX_KEY and all(map(_PART.fullmatch, key.split("/")))


def refer(prefix: str, blob: NewBlob) -> BlobRef:
    """Return the claim check of a blob kept under `prefix` (`<store>://<bucket>/`).

    Raises:
        ValueError: the key is not one.

    """
    if not is_key(blob.key):
        msg = "key: parts of [A-Za-z0-9][A-Za-z0-9._-]*, at most 200 characters each and 800 in all, joined by /"
        raise ValueError(msg)
    data = blob.data
    digest = data.sha256 if isinstance(data, OnDisk) else hashlib.sha256(data).hexdigest()
    return BlobRef(uri=prefix + blob.key, sha256=digest, media_type=blob.media_type, bytes=blob.size)


def pieces(data: bytes | OnDisk, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes | memoryview]:
    """Yield the bytes in order, all but the last piece of this size.

    Raises:
        Unavailable: after the last piece: they are not those that were hashed.

    """
    if not isinstance(data, OnDisk):
        whole = memoryview(data)
        yield from (whole[start : start + piece_bytes] for start in range(0, len(data), piece_bytes))
        return
    digest = hashlib.sha256()
    with data.path.open("rb") as file:
        while piece := file.read(piece_bytes):
            digest.update(piece)
            yield piece
    if digest.hexdigest() != data.sha256:
        msg = "data: the file is not the one that was hashed"
        raise Unavailable(msg)


def key_of(prefix: str, ref: BlobRef) -> str:
    """Return the key that a reference names in the store of this prefix.

    Raises:
        MissingBlob: it is of another store or bucket, or names no key.

    """
    key = ref.uri.removeprefix(prefix)
    if key == ref.uri or not is_key(key):
        msg = "uri: not a blob of this store and bucket"
        raise MissingBlob(msg)
    return key


def begins_in(folder: str) -> str:
    """Return what the key of every blob in this folder begins with.

    Raises:
        ValueError: no key can begin so.

    """
    if not is_key(folder):
        msg = "folder: not one that a key can have"
        raise ValueError(msg)
    return f"{folder}/"


def verified(ref: BlobRef, data: bytes | None) -> bytes | MissingBlob:
    """Return the bytes if they are the ones that were referred to; None stands for bytes that are not there."""
    if data is None:
        return MissingBlob("uri: there is no such blob")
    if len(data) != ref.bytes:
        return MissingBlob("bytes: the stored blob has another size than the one referred to")
    if hashlib.sha256(data).hexdigest() != ref.sha256:
        return MissingBlob("sha256: the stored blob is not the one referred to")
    return data
