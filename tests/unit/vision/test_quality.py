"""Measures of chips."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from rfr_stream.vision.quality import measure

CHIP_PX = 112


def test_a_flat_chip_has_brightness_alone() -> None:
    measures = measure(np.full((CHIP_PX, CHIP_PX, 3), 90, np.uint8))
    assert measures.brightness == pytest.approx(90, abs=1e-2)
    assert measures.sharpness == pytest.approx(0, abs=1e-3)
    assert measures.contrast == pytest.approx(0, abs=1e-2)


def test_contrast_is_the_deviation_of_grey_levels() -> None:
    chip = np.zeros((CHIP_PX, CHIP_PX, 3), np.uint8)
    chip[:, CHIP_PX // 2 :] = 200
    assert measure(chip).contrast == pytest.approx(100, abs=0.1)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    chip = np.zeros((5, 5, 3), np.uint8)
    chip[2, 2] = 100
    laplacian = np.array([[0, 100, 0], [100, -400, 100], [0, 100, 0]])
    assert measure(chip).sharpness == pytest.approx(laplacian.var(), rel=1e-4)


def test_each_blur_lowers_sharpness() -> None:
    noise = Image.fromarray(np.random.default_rng(4).integers(0, 255, (CHIP_PX, CHIP_PX, 3), np.uint8))
    chips = [np.asarray(noise.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 1, 2, 4)]
    sharpness = [measure(chip).sharpness for chip in chips]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[0] > 50 * sharpness[-1]


@pytest.mark.parametrize(("channel", "weight"), [(0, 0.299), (1, 0.587), (2, 0.114)])
def test_grey_weighs_the_colours_as_eyes_do(channel: int, weight: float) -> None:
    chip = np.zeros((CHIP_PX, CHIP_PX, 3), np.uint8)
    chip[..., channel] = 100
    assert measure(chip).brightness == pytest.approx(100 * weight, abs=0.01)
