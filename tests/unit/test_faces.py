"""Geometry of faces."""

import math
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfr_stream.faces import (
    SUBJECT_MIN_IOU,
    Box,
    Face,
    Landmarks,
    Matrix,
    Point,
    scaling,
    similarity_transform,
    subject_of,
)

UPRIGHT = Landmarks(Point(10, 10), Point(30, 10), Point(20, 20), Point(12, 32), Point(28, 32))
coordinates = st.floats(-1e4, 1e4, allow_nan=False)


def face(x: float, y: float, *, side: float = 10, score: float = 0.9) -> Face:
    return Face(Box(x, y, x + side, y + side), UPRIGHT, score)


def turned(points: Matrix, *, angle_deg: float, scale: float, shift: tuple[float, float]) -> Matrix:
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    moved = scale * points @ np.array([[cos, sin], [-sin, cos]]) + shift
    return np.asarray(moved, dtype=np.float32)


@pytest.mark.parametrize(("x", "y"), [(math.nan, 0), (0, math.inf), (-math.inf, 0)])
def test_a_point_is_made_of_finite_numbers(x: float, y: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Point(x, y)


@pytest.mark.parametrize("corners", [(5, 0, 5, 9), (0, 5, 9, 5), (9, 0, 0, 9), (0, 9, 9, 0)])
def test_a_box_is_neither_empty_nor_inverted(corners: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="x1 < x2"):
        Box(*corners)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", range(4))
def test_a_box_is_made_of_finite_numbers(bad: float, place: int) -> None:
    corners = [0.0, 0.0, 9.0, 9.0]
    corners[place] = bad
    with pytest.raises(ValueError, match="finite"):
        Box(*corners)


def test_a_box_knows_its_area_and_its_centre() -> None:
    box = Box(2, 4, 8, 14)
    assert box.area == 60
    assert box.centre == Point(5, 9)


def test_a_box_contains_its_edge_and_nothing_beyond() -> None:
    box = Box(0, 0, 10, 20)
    assert all(box.contains(Point(x, y)) for x, y in [(0, 0), (10, 20), (5, 5)])
    assert not any(box.contains(Point(x, y)) for x, y in [(-0.1, 5), (10.1, 5), (5, -0.1), (5, 20.1)])


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (Box(0, 0, 10, 10), 1.0),
        (Box(5, 0, 15, 10), 50 / 150),
        (Box(2, 2, 4, 4), 4 / 100),
        (Box(10, 0, 20, 10), 0.0),
        (Box(20, 20, 30, 30), 0.0),
    ],
)
def test_overlap_is_the_shared_part_of_the_union(other: Box, expected: float) -> None:
    box = Box(0, 0, 10, 10)
    assert box.iou(other) == pytest.approx(expected)
    assert other.iou(box) == pytest.approx(expected)


def test_landmarks_survive_the_way_through_an_array() -> None:
    array = UPRIGHT.to_array()
    assert array.shape == (5, 2)
    assert array.dtype == np.float32
    assert Landmarks.from_array(array) == UPRIGHT
    assert Landmarks.from_array(array.tolist()) == UPRIGHT


def test_interocular_distance_is_measured_along_any_tilt() -> None:
    tilted = Landmarks(Point(0, 0), Point(3, 4), Point(0, 0), Point(0, 0), Point(0, 0))
    assert tilted.interocular_px == 5


@pytest.mark.parametrize("angle_deg", [-90, -30, 0, 30, 90])
def test_roll_is_clockwise_in_the_image(angle_deg: float) -> None:
    points = turned(UPRIGHT.to_array(), angle_deg=angle_deg, scale=2, shift=(7, 3))
    assert Landmarks.from_array(points).roll_deg == pytest.approx(angle_deg, abs=1e-3)


def test_a_frontal_face_has_no_yaw() -> None:
    assert UPRIGHT.yaw_ratio == 0


@pytest.mark.parametrize("angle_deg", [0, 45, -120])
def test_yaw_follows_the_nose_along_the_line_of_the_eyes_however_the_head_is_tilted(angle_deg: float) -> None:
    nose_right = np.array([(10, 10), (30, 10), (32, 20), (12, 32), (28, 32)], dtype=np.float32)
    points = turned(nose_right, angle_deg=angle_deg, scale=3, shift=(1, 1))
    assert Landmarks.from_array(points).yaw_ratio == pytest.approx(0.6, abs=1e-4)


def test_yaw_of_eyes_that_coincide_is_a_number() -> None:
    degenerate = Landmarks(*[Point(5, 5)] * 5)
    assert degenerate.yaw_ratio == 0
    assert degenerate.interocular_px == 0


@given(
    angle_deg=st.floats(-180, 180),
    scale=st.floats(0.05, 20),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_a_similarity_is_found_again(angle_deg: float, scale: float, shift: tuple[float, float]) -> None:
    source = UPRIGHT.to_array()
    target = turned(source, angle_deg=angle_deg, scale=scale, shift=shift)
    matrix = similarity_transform(source, target)
    assert matrix.shape == (2, 3)
    assert matrix.dtype == np.float32
    moved = source @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(moved, target, atol=2e-2)


def test_a_transform_never_mirrors() -> None:
    source = UPRIGHT.to_array()
    mirrored = source * np.array([-1, 1], dtype=np.float32)
    assert np.linalg.det(similarity_transform(source, mirrored)[:, :2]) >= 0


def test_points_that_coincide_have_no_transform() -> None:
    same = np.full((5, 2), 7, np.float32)
    with pytest.raises(ValueError, match="coincide"):
        similarity_transform(same, UPRIGHT.to_array())


def test_a_lone_face_is_the_subject() -> None:
    lone = face(0, 0)
    assert subject_of([lone], None) is lone


def test_nobody_is_picked_from_several_faces_without_a_wish() -> None:
    assert subject_of([face(0, 0), face(50, 50)], None) is None


@pytest.mark.parametrize("wanted", [None, Point(1, 1), Box(0, 0, 1, 1)])
def test_an_empty_picture_has_no_subject(wanted: Box | Point | None) -> None:
    assert subject_of([], wanted) is None


def test_a_point_means_the_face_around_it() -> None:
    wanted = face(50, 50)
    assert subject_of([face(0, 0), wanted], Point(52, 58)) is wanted


def test_a_point_between_overlapping_faces_means_the_nearer_centre() -> None:
    near = face(4, 0)
    assert subject_of([face(0, 0), near], Point(8, 5)) is near


def test_a_point_beside_every_face_means_nobody() -> None:
    assert subject_of([face(0, 0)], Point(30, 30)) is None


def test_a_box_means_the_face_that_it_overlaps_most() -> None:
    wanted = face(3, 0)
    assert subject_of([face(0, 0), wanted], Box(4, 0, 14, 10)) is wanted


def test_a_box_that_barely_touches_means_nobody() -> None:
    barely = Box(6, 0, 16, 10)
    assert face(0, 0).box.iou(barely) < SUBJECT_MIN_IOU
    assert subject_of([face(0, 0)], barely) is None


def test_a_box_that_overlaps_just_enough_counts() -> None:
    enough = Box(0, 0, 10, 10 * SUBJECT_MIN_IOU)
    lone = face(0, 0)
    assert subject_of([lone], enough) is lone


@given(ax=coordinates, ay=coordinates, bx=coordinates, by=coordinates)
def test_overlap_lies_between_nothing_and_all(ax: float, ay: float, bx: float, by: float) -> None:
    overlap = Box(ax, ay, ax + 10, ay + 10).iou(Box(bx, by, bx + 5, by + 20))
    assert 0 <= overlap <= 1


class TestMoved:
    TURN: Final = np.array([[0.0, -2.0, 10.0], [2.0, 0.0, 5.0]])  # a quarter turn, twice as large, and shifted

    def test_a_point_is_led_by_the_transform(self) -> None:
        assert Point(3, 4).moved(self.TURN) == Point(2, 11)

    def test_a_box_becomes_the_box_round_its_corners(self) -> None:
        assert Box(1, 2, 3, 5).moved(self.TURN) == Box(0, 7, 6, 11)

    def test_a_face_moves_whole(self) -> None:
        points = np.arange(10, dtype=np.float32).reshape(5, 2)
        face = Face(Box(0, 0, 9, 9), Landmarks.from_array(points), 0.5)
        moved = face.moved(self.TURN)
        assert moved.landmarks.to_array() == pytest.approx(points @ self.TURN[:, :2].T + self.TURN[:, 2])
        assert (moved.box, moved.score) == (face.box.moved(self.TURN), 0.5)

    def test_scaling_leads_where_scaled_does(self) -> None:
        assert Box(1, 2, 3, 4).moved(scaling(2.5)) == Box(1, 2, 3, 4).scaled(2.5)
