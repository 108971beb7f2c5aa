"""Faces brought upright."""

import math

import numpy as np
import pytest

from rfr_stream.faces import Landmarks, Matrix
from rfr_stream.vision.align import ARCFACE_112, DLIB_150_MTCNN, align

TEMPLATES = {"arcface": (ARCFACE_112, 112), "dlib": (DLIB_150_MTCNN, 150)}
each_template = pytest.mark.parametrize(("template", "chip_px"), TEMPLATES.values(), ids=TEMPLATES)


def ruled_card() -> np.ndarray:
    """Return a picture, 256 x 256, whose red is its x and whose green is its y."""
    card = np.zeros((256, 256, 3), np.uint8)
    card[..., 0] = np.arange(256)
    card[..., 1] = np.arange(256)[:, None]
    return card


def placed(template: Matrix, *, scale: float, angle_deg: float = 0, shift: tuple[float, float] = (0, 0)) -> Landmarks:
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return Landmarks.from_array(scale * template @ np.array([[cos, sin], [-sin, cos]]) + shift)


@each_template
def test_a_face_that_lies_on_the_template_already_is_cut_out_unchanged(template: Matrix, chip_px: int) -> None:
    card = np.random.default_rng(3).integers(0, 255, (200, 220, 3), np.uint8)
    chip = align(card, placed(template, scale=1, angle_deg=0, shift=(20, 10)), template, chip_px=chip_px)
    np.testing.assert_allclose(chip.astype(int), card[10 : 10 + chip_px, 20 : 20 + chip_px], atol=2)
    assert chip.dtype == np.uint8


@each_template
@pytest.mark.parametrize("angle_deg", [-60, 0, 35, 170])
@pytest.mark.parametrize("scale", [0.4, 1.2, 1.7])
def test_each_landmark_lands_on_its_place(template: Matrix, chip_px: int, angle_deg: float, scale: float) -> None:
    middle = placed(template, scale=scale, angle_deg=angle_deg).to_array().mean(axis=0)
    landmarks = placed(template, scale=scale, angle_deg=angle_deg, shift=(128 - middle[0], 128 - middle[1]))
    chip = align(ruled_card(), landmarks, template, chip_px=chip_px)
    for (x, y), (chip_x, chip_y) in zip(landmarks.to_array(), template, strict=True):
        red, green, _ = chip[round(float(chip_y)), round(float(chip_x))].tolist()
        # A level is lost to rounding, and the nearest pixel of the chip lies up to 0.71 of one away.
        assert abs(red - x) < 1 + 0.71 * scale
        assert abs(green - y) < 1 + 0.71 * scale


def test_a_large_face_is_averaged_down_and_does_not_alias() -> None:
    stripes = np.zeros((900, 900, 3), np.uint8)
    stripes[:, ::2] = 255
    chip = align(stripes, placed(ARCFACE_112, scale=6, angle_deg=10, shift=(150, 100)), ARCFACE_112, chip_px=112)
    assert chip[20:90, 20:90].std() < 12
    assert chip[20:90, 20:90].mean() == pytest.approx(127, abs=4)


def test_what_lies_outside_the_image_is_black() -> None:
    white = np.full((60, 60, 3), 255, np.uint8)
    chip = align(white, placed(ARCFACE_112, scale=1, angle_deg=0, shift=(-50, -50)), ARCFACE_112, chip_px=112)
    assert (chip[:48] == 0).all()
    assert (chip[52:108, 52:108] == 255).all()


@pytest.mark.parametrize("shift", [(5_000, 0), (0, -5_000)])
def test_a_face_outside_the_image_is_all_black(shift: tuple[float, float]) -> None:
    white = np.full((60, 60, 3), 255, np.uint8)
    chip = align(white, placed(ARCFACE_112, scale=1, angle_deg=0, shift=shift), ARCFACE_112, chip_px=112)
    assert not chip.any()


def test_landmarks_that_coincide_give_a_small_patch_and_no_error() -> None:
    white = np.full((60, 60, 3), 255, np.uint8)
    chip = align(white, Landmarks.from_array(np.full((5, 2), 30)), ARCFACE_112, chip_px=112)
    assert chip.shape == (112, 112, 3)


def test_the_image_is_left_alone() -> None:
    card = ruled_card()
    before = card.copy()
    align(card, placed(ARCFACE_112, scale=1, angle_deg=5, shift=(20, 20)), ARCFACE_112, chip_px=112)
    np.testing.assert_array_equal(card, before)
