"""Pictures brought down to a detector's size."""

import numpy as np
import pytest
import torch

from rfr_stream.vision.resize import shrink

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(600, 900), (900, 600), (10, 900)])
def test_the_longest_side_is_what_the_detector_takes(shape: tuple[int, int]) -> None:
    frame, scale = shrink(np.zeros((*shape, 3), np.uint8), 300, CPU)
    assert max(frame.shape[2:]) == 300
    assert min(frame.shape[2:]) == max(1, round(min(shape) / 3))
    assert scale == 3


def test_a_small_picture_is_never_enlarged() -> None:
    image = np.random.default_rng(7).integers(0, 255, (20, 30, 3), np.uint8)
    frame, scale = shrink(image, 300, CPU)
    assert scale == 1
    np.testing.assert_array_equal(frame[0].permute(1, 2, 0), image)


def test_fine_patterns_are_averaged_and_do_not_alias() -> None:
    stripes = np.zeros((600, 600, 3), np.uint8)
    stripes[:, ::2] = 255
    frame, _ = shrink(stripes, 200, CPU)
    assert float(frame.float().std()) < 20  # taking every third pixel leaves 127


def test_a_frozen_picture_is_no_fault() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image.setflags(write=False)
    assert shrink(image, 300, CPU)[0].shape == (1, 3, 20, 30)
