"""Follows recipes: the same picture and the same recipe give the same pixels, every time.

Pillow does the work, but for the de-interlacing. Nothing here learns or invents: each step is arithmetic on the
pixels that are there.
"""

import hashlib
from functools import singledispatch
from math import ceil, cos, radians, sin
from typing import Final, NamedTuple

import numpy as np
import PIL
from PIL import Image, ImageFilter, ImageOps

from rfr_stream.errors import BadImage
from rfr_stream.events import (
    Aspect,
    Crop,
    Deinterlace,
    Derivation,
    Equalise,
    Exposure,
    Recipe,
    Rotate,
    Sharpen,
    Step,
    Stretch,
)
from rfr_stream.faces import Affine, ImageHwc

TOOL: Final = f"rfr-recipes-1+pillow-{PIL.__version__}"
"""What a copy was made with: another version may round otherwise."""

_LEVELS: Final = np.arange(256) / 255


class Followed(NamedTuple):
    """What a recipe made of a picture: uint8 [H, W, 3], RGB; where its pixels lie in the original; and its digest."""

    pixels: ImageHwc
    to_original: Affine
    derivation: Derivation


def follow(recipe: Recipe, picture: ImageHwc, scale: float = 1.0) -> Followed:
    """Return the copy that a recipe makes of a decoded picture, uint8 [H, W, 3], RGB.

    Args:
        recipe: its crop speaks of the original's pixels.

        picture: the picture, which is left as it is.

        scale: how many pixels of the original one of its pixels stands for.

    Raises:
        BadImage: its crop leaves nothing.

    """
    image, to_original = Image.fromarray(picture), np.diag([scale, scale, 1])
    for step in recipe.steps:
        image, back = _done(step, image, scale)
        to_original = to_original @ back
    derivation = Derivation(
        pixels_sha256=hashlib.sha256(image.tobytes()).hexdigest(),
        width_px=image.width,
        height_px=image.height,
        scale=scale,
        tool=TOOL,
    )
    return Followed(np.asarray(image), to_original[:2], derivation)


class _Done(NamedTuple):
    """An image after a step, and float64 [3, 3] that leads its places back to the image before."""

    image: Image.Image
    back: Affine


@singledispatch
def _done(step: Step, image: Image.Image, scale: float) -> _Done:
    raise NotImplementedError(step, image, scale)


@_done.register
def _(step: Crop, image: Image.Image, scale: float) -> _Done:
    left, top = int(step.left / scale), int(step.top / scale)
    right, bottom = min(image.width, ceil(step.right / scale)), min(image.height, ceil(step.bottom / scale))
    if left >= right or top >= bottom:
        msg = "recipe: its crop lies outside the image"
        raise BadImage(msg)
    return _Done(image.crop((left, top, right, bottom)), _shift(left, top))


@_done.register
def _(step: Rotate, image: Image.Image, scale: float) -> _Done:  # noqa: ARG001 - angles have no pixels
    turned = image.rotate(-step.degrees, Image.Resampling.BICUBIC, expand=True)
    c, s = cos(radians(step.degrees)), sin(radians(step.degrees))
    turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    back = _shift(image.width / 2, image.height / 2) @ turn @ _shift(-turned.width / 2, -turned.height / 2)
    return _Done(turned, back)


@_done.register
def _(step: Aspect, image: Image.Image, scale: float) -> _Done:  # noqa: ARG001 - a ratio has no pixels
    width = max(1, round(image.width * step.ratio))
    wider = image.resize((width, image.height), Image.Resampling.BICUBIC)
    return _Done(wider, np.diag([image.width / width, 1, 1]))


@_done.register
def _(step: Deinterlace, image: Image.Image, scale: float) -> _Done:  # noqa: ARG001 - lines are lines
    lines = np.array(image)  # [H, W, 3]
    kept = lines[0 if step.field == "upper" else 1 :: 2].astype(np.uint16)
    if not len(kept):
        return _same_places(image)
    between = ((kept[:-1] + kept[1:] + 1) // 2).astype(np.uint8)
    if step.field == "upper":
        lines[1 : 2 * len(between) : 2] = between
        lines[2 * len(kept) - 1 :] = kept[-1]
    else:
        lines[2 : 2 * len(kept) : 2] = between
        lines[0] = kept[0]
        lines[2 * len(kept) :] = kept[-1]
    return _same_places(Image.fromarray(lines))


@_done.register
def _(step: Exposure, image: Image.Image, scale: float) -> _Done:  # noqa: ARG001
    levels = 255 * np.minimum(_LEVELS * step.gain, 1) ** (1 / step.gamma)
    return _same_places(image.point(3 * np.rint(levels).astype(int).tolist()))


@_done.register
def _(step: Stretch, image: Image.Image, scale: float) -> _Done:  # noqa: ARG001
    return _same_places(ImageOps.autocontrast(image, cutoff=100 * step.clip_share, preserve_tone=True))


@_done.register
def _(step: Equalise, image: Image.Image, scale: float) -> _Done:  # noqa: ARG001
    upto = np.cumsum(image.convert("L").histogram())
    darkest = upto[upto > 0][0]
    levels = np.rint(255 * np.maximum(0, upto - darkest) / max(1, upto[-1] - darkest))
    return _same_places(image.point(3 * levels.astype(int).tolist()))


@_done.register
def _(step: Sharpen, image: Image.Image, scale: float) -> _Done:
    mask = ImageFilter.UnsharpMask(step.radius_px / scale, round(100 * step.amount), threshold=0)
    return _same_places(image.filter(mask))


def _same_places(image: Image.Image) -> _Done:
    return _Done(image, np.eye(3))


def _shift(x: float, y: float) -> Affine:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=np.float64)
