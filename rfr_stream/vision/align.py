"""Brings faces upright: a similarity transform of five landmarks onto an embedder's own template."""

from math import ceil, floor, hypot
from types import MappingProxyType
from typing import Final

import numpy as np
from PIL import Image

from rfr_stream.faces import ImageHwc, Landmarks, Matrix, similarity_transform

ARCFACE_112: Final = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)],
    dtype=np.float32,
)
"""Where ArcFace-class embedders want the landmarks, in a chip of 112 px (Deng et al. 2019)."""

DLIB_150_MTCNN: Final = np.array(
    [(47.27, 45.37), (101.55, 45.33), (74.03, 78.06), (50.42, 104.85), (98.31, 104.84)], dtype=np.float32
)
"""Where dlib's own chips (150 px, padding 0.25) hold MTCNN's landmarks: medians over the 1,619 faces of an LFW subset
that dlib's own detector and five-point predictor found too. Worth 0.2 points of LFW accuracy."""

TEMPLATES: Final = MappingProxyType({"dlib-150-mtcnn": (DLIB_150_MTCNN, 150), "arcface-112": (ARCFACE_112, 112)})
"""Each template by its name, and the side of its chips in pixels."""

_ALIASES_FROM: Final = 1.5
"""Image pixels per chip pixel from which the image is averaged down before it is turned; below, one pass is sharper."""


def align(image: ImageHwc, landmarks: Landmarks, template: Matrix, *, chip_px: int) -> ImageHwc:
    """Return the face of the landmarks brought onto the template; what lies outside the image is black.

    A face larger than the chip is averaged down first, so that no detail aliases.

    Args:
        image: uint8 [H, W, 3], RGB.

        landmarks: in pixels of that image.

        template: float32 [5, 2], x y, pixels of the chip.

        chip_px: S, the chip's side.

    Returns:
        uint8 [S, S, 3], RGB; all black where the landmarks coincide or lie outside the image.

    """
    try:
        to_image = similarity_transform(template, landmarks.to_array())  # chip -> image
        source_px_per_chip_px = hypot(to_image[0, 0], to_image[1, 0])
        left, top, right, bottom = _window(to_image, chip_px, image.shape)
    except ValueError:
        return np.zeros((chip_px, chip_px, 3), np.uint8)
    window = Image.fromarray(image[top:bottom, left:right])
    shrink = source_px_per_chip_px if source_px_per_chip_px > _ALIASES_FROM else 1.0
    size = (max(1, round(window.width / shrink)), max(1, round(window.height / shrink)))
    scale = np.array([size[0] / window.width, size[1] / window.height])
    if shrink > 1:
        window = window.resize(size, Image.Resampling.BICUBIC)
    linear = to_image[:, :2] * scale[:, None]
    # Landmarks count from pixel centres, Pillow from pixel corners.
    shift = (to_image[:, 2] + 0.5 - (left, top)) * scale - linear @ (0.5, 0.5)
    coefficients = np.column_stack([linear, shift]).ravel().tolist()
    chip = window.transform((chip_px, chip_px), Image.Transform.AFFINE, coefficients, resample=Image.Resampling.BICUBIC)
    return np.asarray(chip)  # [S, S, 3]


def _window(to_image: Matrix, chip_px: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the part of the image (left, top, right, bottom) that the chip can show.

    Raises:
        ValueError: none of it.

    """
    corners = np.array([(0, 0), (chip_px, 0), (0, chip_px), (chip_px, chip_px)], dtype=np.float64)
    seen = corners @ to_image[:, :2].T + to_image[:, 2]  # [4, 2]
    margin = 2
    left, top = (max(0, floor(low) - margin) for low in seen.min(axis=0))
    right, bottom = (
        min(side, ceil(high) + margin) for side, high in zip((shape[1], shape[0]), seen.max(axis=0), strict=True)
    )
    if left >= right or top >= bottom:
        msg = "landmarks: outside the image"
        raise ValueError(msg)
    return left, top, right, bottom
