"""The steps that probes and references share: find the faces, bring one upright, name what is derived from it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

from rfr_stream.errors import BadImage
from rfr_stream.events import BlobRef, Quality, SubjectFace
from rfr_stream.faces import Box, Face, Point, subject_of
from rfr_stream.ports import Aligner, BlobStore, Chip, Codec, Detector, NewBlob, Picture
from rfr_stream.stages._batch import Settled, in_batch, one_by_one

_BLANK_CONTRAST: Final = 1.0
"""Grey levels; a chip that varies less is black, or as good as black."""
BYTES_IN_HAND: Final = 256 * 2**20
"""Of originals that a batch holds at once; a single one may be larger if the settings allow it."""
MAX_FACES: Final = 256
"""Of one image, highest score first, that a person is asked about or not shown."""


@dataclass(frozen=True, slots=True)
class ProbeRules:
    """What a probe must be before anybody is searched for."""

    min_interocular_px: float
    min_score: float
    max_image_bytes: int


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


@dataclass(frozen=True, slots=True)
class Measured:
    """A subject's face in the pixels of the image that its event speaks of, its stored chip, and who stands beside."""

    face: Face
    chip: Chip
    crop: BlobRef
    others: Sequence[Box]


def described(measured: Measured, detector: Detector, aligner: Aligner) -> SubjectFace:
    """Return the face as events tell of it."""
    face, chip = measured.face, measured.chip
    quality = Quality(
        interocular_px=face.landmarks.interocular_px,
        sharpness=chip.sharpness,
        brightness=chip.brightness,
        contrast=chip.contrast,
        roll_deg=face.landmarks.roll_deg,
        yaw_ratio=face.landmarks.yaw_ratio,
    )
    return SubjectFace(
        box=face.box,
        landmarks=face.landmarks,
        score=min(1.0, max(0.0, face.score)),  # a sigmoid in float32 may end a hair beside its range
        quality=quality,
        crop=measured.crop,
        aligner=aligner.name,
        detector=detector.identity,
        masks=as_many_as_fit(measured.others),
    )


def as_many_as_fit(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """Return what goes into an event."""
    return tuple(boxes[:MAX_FACES])


def derived_blob(kind: str, media_type: str, submission_id: UUID, data: bytes, *, variant: int = 0) -> NewBlob:
    """Name a blob by submission, variant (0: the original) and content.

    A redelivery that differs in the last bit must not pull a blob from under the event that refers to it.
    """
    digest, which = hashlib.sha256(data).hexdigest(), f"-{variant}" if variant else ""
    return NewBlob(f"{kind}/{submission_id.hex[0]}/{submission_id}{which}-{digest[:16]}", data, media_type)
