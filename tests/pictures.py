"""Pictures of nobody, each unlike the others, and what people do to a picture before they send it in."""

from collections.abc import Callable
from io import BytesIO
from random import Random
from typing import Final

import numpy as np
from PIL import Image, ImageFilter


def picture(name: str, *, width: int = 480, height: int = 360) -> Image.Image:
    """Return a picture of this name's own: soft patches, as photographs are made of."""
    noise = np.random.default_rng(list(name.encode())).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def jpeg(image: Image.Image, quality: int = 90, **options: object) -> bytes:
    """Return the picture as a file."""
    out = BytesIO()
    image.save(out, "JPEG", quality=quality, **options)
    return out.getvalue()


def cropped(image: Image.Image, share: float, seed: int = 1) -> Image.Image:
    """Return the picture without so much of its width and height, from sides that the seed chooses."""
    at = Random(seed)  # noqa: S311 - reproducible, no secret
    width, height = round(image.width * (1 - share)), round(image.height * (1 - share))
    left, top = at.randint(0, image.width - width), at.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


COPIES: Final[dict[str, Callable[[Image.Image], bytes]]] = {
    "saved again": lambda image: jpeg(image, 40),
    "half the size": lambda image: jpeg(image.reduce(2), 70),
    "a third, poorly": lambda image: jpeg(image.reduce(3), 30),
    "brighter": lambda image: jpeg(image.point(lambda level: min(255, round(level * 1.2)))),
    "cropped": lambda image: jpeg(cropped(image, 0.1), 80),
}
"""By what happened to it."""
