"""The steps that probes and references share: find the faces, bring one upright, name what is derived from it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

from rfr_stream.errors import BadImage
from rfr_stream.events import BlobRef
from rfr_stream.faces import Box, Face, Point, subject_of
from rfr_stream.ports import Aligner, BlobStore, Chip, Codec, Detector, NewBlob, Picture
from rfr_stream.stages._batch import Settled, in_batch, one_by_one

_BLANK_CONTRAST: Final = 1.0
"""Grey levels; a chip that varies less is black, or as good as black."""
BYTES_IN_HAND: Final = 256 * 2**20
"""Of originals that a batch holds at once; a single one may be larger if the settings allow it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The chosen face and those beside it, in the pixels of the decoded picture."""

    picture: Picture
    face: Face
    others: Sequence[Face] = ()


@dataclass(frozen=True, slots=True)
class Opening:
    """How originals are brought into memory and opened."""

    blobs: BlobStore
    codec: Codec
    max_bytes: int

    async def pictures(self, images: Sequence[BlobRef | Settled]) -> list[Picture | Settled]:
        """Fetch and decode, a few at a time, so that no batch of large files fills the memory."""
        pictures: list[Picture | Settled] = []
        for part in _parts(one_by_one(partial(_of_size, self.max_bytes), images)):
            pictures += await in_batch(self.codec.decode, await in_batch(self.blobs.get, part))
        return pictures


def _of_size(max_bytes: int, image: BlobRef) -> BlobRef:
    if image.bytes > max_bytes:
        msg = f"image: more than {max_bytes} bytes; submit a smaller file"
        raise BadImage(msg)
    return image


def _parts(images: Sequence[BlobRef | Settled]) -> Iterator[list[BlobRef | Settled]]:
    """Cut a batch, in order, into parts of at most `BYTES_IN_HAND`."""
    part: list[BlobRef | Settled] = []
    room = BYTES_IN_HAND
    for image in images:
        size = image.bytes if isinstance(image, BlobRef) else 0
        if size > room and part:
            yield part
            part, room = [], BYTES_IN_HAND
        part.append(image)
        room -= size
    yield part


async def find_faces(detector: Detector, min_score: float, pictures: Sequence[Picture]) -> list[list[Face]]:
    found = await detector.detect([picture.pixels for picture in pictures])
    return [[face for face in faces if face.score >= min_score] for faces in found]


def wanted_face(faces: Sequence[Face], wanted: Box | Point | None, picture: Picture) -> Face | None:
    """Return the face that is meant; the wish speaks of the original's pixels, the faces of the decoded picture's."""
    return subject_of(faces, wanted.scaled(1 / picture.scale) if wanted else None)


async def bring_upright(aligner: Aligner, subjects: Sequence[Subject]) -> list[Chip]:
    pixels = [subject.picture.pixels for subject in subjects]
    return await aligner.align(pixels, [subject.face.landmarks for subject in subjects])


def is_blank(chip: Chip) -> bool:
    """Whether nothing can be seen on a chip: to an embedder all such chips are one and the same face."""
    return chip.contrast < _BLANK_CONTRAST


def derived_blob(kind: str, media_type: str, submission_id: UUID, data: bytes) -> NewBlob:
    """Name a blob by submission and content.

    A redelivery that differs in the last bit must not pull a blob from under the event that refers to it.
    """
    digest = hashlib.sha256(data).hexdigest()
    return NewBlob(f"{kind}/{submission_id.hex[0]}/{submission_id}-{digest[:16]}", data, media_type)
