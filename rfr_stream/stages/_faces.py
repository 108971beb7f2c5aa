"""The steps that probes and references share: find the faces, bring one upright, name what is derived from it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from rfr_stream.faces import Face
from rfr_stream.ports import Aligner, Chip, Detector, NewBlob, Picture


@dataclass(frozen=True, slots=True)
class Subject:
    """The chosen face, in the pixels of the decoded picture."""

    picture: Picture
    face: Face


async def find_faces(detector: Detector, min_score: float, pictures: Sequence[Picture]) -> list[list[Face]]:
    found = await detector.detect([picture.pixels for picture in pictures])
    return [[face for face in faces if face.score >= min_score] for faces in found]


async def bring_upright(aligner: Aligner, subjects: Sequence[Subject]) -> list[Chip]:
    pixels = [subject.picture.pixels for subject in subjects]
    return await aligner.align(pixels, [subject.face.landmarks for subject in subjects])


def derived_blob(kind: str, media_type: str, submission_id: UUID, data: bytes) -> NewBlob:
    """Name a blob by submission and content.

    A redelivery that differs in the last bit must not pull a blob from under the event that refers to it.
    """
    digest = hashlib.sha256(data).hexdigest()
    return NewBlob(f"{kind}/{submission_id.hex[:2]}/{submission_id}/{digest[:16]}", data, media_type)
