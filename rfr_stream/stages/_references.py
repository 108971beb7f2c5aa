"""From reference images to chips: the way that an enrolment and a change of model share."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import dist
from typing import Final

from rfr_stream.errors import BadImage
from rfr_stream.events import BlobRef
from rfr_stream.faces import Box, Face, Point
from rfr_stream.ports import Aligner, Chip, Detector, Picture
from rfr_stream.stages._batch import Settled, in_batch, one_by_one, paired
from rfr_stream.stages._faces import Opening, Subject, bring_upright, find_faces, is_blank, wanted_face

_SAME: Final = 0.25
"""How far, in widths of a face, its centre may lie from where it was seen before: no other face's is that near."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image, and whose face in it is meant."""

    image: BlobRef
    subject: Box | Point | None = None


@dataclass(frozen=True, slots=True)
class Upright:
    """The face that was meant, as a chip, and where it is in the original."""

    chip: Chip
    box: Box

    @property
    def centre(self) -> Point:
        """What is kept of the place: it is in another detector's box too."""
        return self.box.centre

    def is_at(self, kept: Point | None) -> bool:
        """Whether it is the face whose centre was kept, if one was."""
        if kept is None:
            return False
        away = dist((kept.x, kept.y), (self.centre.x, self.centre.y))
        return away <= _SAME * (self.box.x2 - self.box.x1)


@dataclass(frozen=True, slots=True)
class ReferenceFaces:
    """How the one face of a reference image is found and brought upright."""

    opening: Opening
    detector: Detector
    aligner: Aligner
    min_score: float

    async def upright(self, wanted: Sequence[Wanted | Settled]) -> list[Upright | Settled]:
        """Return each face, or why there is none that counts."""
        pictures = await self.opening.pictures(one_by_one(_image, wanted))
        faces = await in_batch(partial(find_faces, self.detector, self.min_score), pictures)
        subjects = one_by_one(_subject, paired(paired(wanted, pictures), faces))
        chips = await in_batch(partial(bring_upright, self.aligner), subjects)
        return one_by_one(_upright, paired(subjects, chips))


def _image(wanted: Wanted) -> BlobRef:
    return wanted.image


def _subject(row: tuple[tuple[Wanted, Picture], list[Face]]) -> Subject:
    (wanted, picture), faces = row
    face = wanted_face(faces, wanted.subject, picture)
    if face is None:
        msg = f"image: faces found: {len(faces)}; send an image of one face, or say by subject which one is meant"
        raise BadImage(msg)
    return Subject(picture, face)


def _upright(row: tuple[Subject, Chip]) -> Upright:
    subject, chip = row
    if is_blank(chip):
        msg = "image: the face lies outside the image, or shows nothing"
        raise BadImage(msg)
    return Upright(chip, subject.face.box.scaled(subject.picture.scale))
