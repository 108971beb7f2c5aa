"""Vision without vision."""

import numpy as np

from rfr_stream.vision.null import CHIP_PX, DIMENSION, NullDetector, NullEmbedder, align


def test_every_picture_has_one_face_in_its_middle() -> None:
    small, wide = NullDetector().detect([np.zeros((10, 10, 3), np.uint8), np.zeros((100, 400, 3), np.uint8)])
    assert len(small) == len(wide) == 1
    assert (wide[0].box.centre.x, wide[0].box.centre.y) == (200, 50)
    assert wide[0].score == 1


def test_equal_chips_have_equal_templates_and_others_are_unrelated() -> None:
    chips = [np.full((CHIP_PX, CHIP_PX, 3), level % 7, np.uint8) for level in range(14)]
    templates = NullEmbedder().embed(chips)
    assert templates.shape == (14, DIMENSION)
    likeness = templates @ templates.T
    np.testing.assert_allclose(likeness[:7, 7:].diagonal(), 1, atol=1e-5)
    assert np.abs(likeness[:7, :7] - np.eye(7)).max() < 0.5


def test_a_chip_of_a_tiny_picture_is_a_chip() -> None:
    assert align(np.zeros((1, 2, 3), np.uint8)).shape == (CHIP_PX, CHIP_PX, 3)
