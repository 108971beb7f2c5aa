"""The steps that probes and references share: find the faces, bring one upright, name what is derived from it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from rfr_stream.faces import Box, Face, Point, subject_of
from rfr_stream.ports import Aligner, Chip, Detector, NewBlob, Picture

_BLANK_CONTRAST: Final = 1.0
"""Grey levels; a chip that varies less is black, or as good as black."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The chosen face, in the pixels of the decoded picture."""

    picture: Picture
    face: Face


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
