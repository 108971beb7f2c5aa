"""Geometry of faces: boxes, landmarks and the transform that brings a face upright. numpy only.

Frame: pixels of the decoded, upright image; x to the right, y down, origin at the top left corner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap
from math import atan2, degrees, hypot, isfinite
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

CLOSED = {"extra": "forbid"}  # what pydantic reads when one of these stands in an event

ImageHwc: TypeAlias = NDArray[np.uint8]
"""uint8 [H, W, 3], RGB, 0-255."""

Matrix: TypeAlias = NDArray[np.float32]

Affine: TypeAlias = NDArray[np.float64]
"""float64 [2, 3]: `moved = affine[:, :2] @ place + affine[:, 2]`."""

SUBJECT_MIN_IOU = 0.3
"""A box drawn by hand round a face is looser than a detector's; below this it points at something else."""


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the decoded image, in pixels."""

    __pydantic_config__: ClassVar = CLOSED

    x: float
    y: float

    def __post_init__(self) -> None:
        """Refuse what is not a number."""
        if not (isfinite(self.x) and isfinite(self.y)):
            msg = "x and y must be finite numbers"
            raise ValueError(msg)

    def scaled(self, factor: float) -> "Point":
        """The same place in an image `factor` times as large."""
        return Point(self.x * factor, self.y * factor)

    def moved(self, affine: Affine) -> "Point":
        """The same place in an image that the transform leads to."""
        x, y = affine[:, :2] @ (self.x, self.y) + affine[:, 2]
        return Point(float(x), float(y))


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned box in pixels, x1 < x2 and y1 < y2; it may reach over the image's edge."""

    __pydantic_config__: ClassVar = CLOSED

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        """Refuse an empty or inverted box, and what is not a number."""
        if not all(map(isfinite, (self.x1, self.y1, self.x2, self.y2))):
            msg = "box corners must be finite numbers"
            raise ValueError(msg)
        if not (self.x1 < self.x2 and self.y1 < self.y2):
            msg = "a box needs x1 < x2 and y1 < y2"
            raise ValueError(msg)

    def scaled(self, factor: float) -> "Box":
        """The same box in an image `factor` times as large."""
        return Box(self.x1 * factor, self.y1 * factor, self.x2 * factor, self.y2 * factor)

    def moved(self, affine: Affine) -> "Box":
        """The box round this one's corners in an image that the transform leads to."""
        corners = [Point(x, y).moved(affine) for x in (self.x1, self.x2) for y in (self.y1, self.y2)]
        across, down = [corner.x for corner in corners], [corner.y for corner in corners]
        return Box(min(across), min(down), max(across), max(down))

    @property
    def area(self) -> float:
        """Square pixels."""
        return (self.x2 - self.x1) * (self.y2 - self.y1)

    @property
    def centre(self) -> Point:
        """The middle of the box."""
        return Point((self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2)

    def contains(self, point: Point) -> bool:
        """Whether the point lies inside or on the edge."""
        return self.x1 <= point.x <= self.x2 and self.y1 <= point.y <= self.y2

    def iou(self, other: "Box") -> float:
        """Intersection over union, 0 to 1."""
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        shared = max(0.0, width) * max(0.0, height)
        return shared / (self.area + other.area - shared)


@dataclass(frozen=True, slots=True)
class Landmarks:
    """The five points every aligner here uses; left and right are the image's, not the person's."""

    __pydantic_config__: ClassVar = CLOSED

    left_eye: Point
    right_eye: Point
    nose: Point
    left_mouth: Point
    right_mouth: Point

    @classmethod
    def from_array(cls, points: Sequence[Sequence[float]] | NDArray[np.floating]) -> "Landmarks":
        """Read float [5, 2], x y, in the order of the fields."""
        return cls(*starmap(Point, np.asarray(points, dtype=np.float64).tolist()))

    def to_array(self) -> Matrix:
        """float32 [5, 2], x y, in the order of the fields."""
        points = (self.left_eye, self.right_eye, self.nose, self.left_mouth, self.right_mouth)
        return np.array([(point.x, point.y) for point in points], dtype=np.float32)

    def scaled(self, factor: float) -> "Landmarks":
        """The same points in an image `factor` times as large."""
        points = (self.left_eye, self.right_eye, self.nose, self.left_mouth, self.right_mouth)
        return Landmarks(*(point.scaled(factor) for point in points))

    def moved(self, affine: Affine) -> "Landmarks":
        """The same points in an image that the transform leads to."""
        points = (self.left_eye, self.right_eye, self.nose, self.left_mouth, self.right_mouth)
        return Landmarks(*(point.moved(affine) for point in points))

    @property
    def interocular_px(self) -> float:
        """Distance between the eyes' centres, in pixels."""
        return hypot(self.right_eye.x - self.left_eye.x, self.right_eye.y - self.left_eye.y)

    @property
    def roll_deg(self) -> float:
        """Tilt of the line between the eyes; 0 is upright, positive is clockwise in the image."""
        return degrees(atan2(self.right_eye.y - self.left_eye.y, self.right_eye.x - self.left_eye.x))

    @property
    def yaw_ratio(self) -> float:
        """How far the nose lies from the middle of the eyes, along their line, in interocular distances.

        0 is frontal; beyond about 0.5 either way the face is close to profile. A measure, not an angle.
        """
        eyes = self.interocular_px or 1.0
        along_x = (self.right_eye.x - self.left_eye.x) / eyes
        along_y = (self.right_eye.y - self.left_eye.y) / eyes
        middle_x = (self.left_eye.x + self.right_eye.x) / 2
        middle_y = (self.left_eye.y + self.right_eye.y) / 2
        return ((self.nose.x - middle_x) * along_x + (self.nose.y - middle_y) * along_y) / eyes


@dataclass(frozen=True, slots=True)
class Face:
    """A face that a detector found: where, its five points, and how sure the detector is (0 to 1)."""

    box: Box
    landmarks: Landmarks
    score: float

    def scaled(self, factor: float) -> "Face":
        """The same face in an image `factor` times as large."""
        return Face(self.box.scaled(factor), self.landmarks.scaled(factor), self.score)

    def moved(self, affine: Affine) -> "Face":
        """The same face in an image that the transform leads to."""
        return Face(self.box.moved(affine), self.landmarks.moved(affine), self.score)


def scaling(factor: float) -> Affine:
    """Return the transform that leads into an image `factor` times as large."""
    return np.array([[factor, 0, 0], [0, factor, 0]], dtype=np.float64)


def similarity_transform(source: Matrix, target: Matrix) -> Matrix:
    """Return the 2 x 3 matrix that best brings source onto target by rotation, scale and shift.

    Least squares after Umeyama (1991, IEEE PAMI 13(4)), without reflection.

    Args:
        source: float32 [N, 2], x y, N >= 2, not all the same point.

        target: float32 [N, 2], x y.

    Returns:
        float32 [2, 3]; `target ~ matrix[:, :2] @ point + matrix[:, 2]`.

    Raises:
        ValueError: the points of source coincide, so that no scale exists.

    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_c, target_c = source - source_mean, target - target_mean
    variance = float((source_c**2).sum())
    if variance < np.finfo(np.float32).eps:
        msg = "landmarks coincide: no similarity transform exists"
        raise ValueError(msg)
    # In two dimensions Umeyama's SVD has this closed form.
    cos = float((source_c * target_c).sum()) / variance
    sin = float((source_c[:, 0] * target_c[:, 1] - source_c[:, 1] * target_c[:, 0]).sum()) / variance
    linear = np.array([[cos, -sin], [sin, cos]])
    shift = target_mean - linear @ source_mean
    return np.column_stack([linear, shift]).astype(np.float32)


def subject_of(faces: Sequence[Face], wanted: Box | Point | None) -> Face | None:
    """Return the one face that the submission is about, or None where that is not certain.

    With no wish, only a lone face is certain. A point means the face whose box holds it (the nearest centre if
    several do); a box means the face that overlaps it most, by at least `SUBJECT_MIN_IOU`.
    """
    if wanted is None:
        return faces[0] if len(faces) == 1 else None
    if isinstance(wanted, Point):
        holding = [face for face in faces if face.box.contains(wanted)]
        return min(holding, key=lambda face: _distance(face.box.centre, wanted), default=None)
    best = max(faces, key=lambda face: face.box.iou(wanted), default=None)
    return best if best and best.box.iou(wanted) >= SUBJECT_MIN_IOU else None


def _distance(a: Point, b: Point) -> float:
    return hypot(a.x - b.x, a.y - b.y)
