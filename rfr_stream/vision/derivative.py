"""What a person is shown of an image: upright, without metadata, with everybody but the subject masked."""

from collections.abc import Sequence
from io import BytesIO
from typing import Final, NamedTuple

from PIL import Image, ImageDraw

from rfr_stream.faces import Box
from rfr_stream.vision.decode import Limits, decode

_LOSSLESS_PX: Final = 1_500_000
"""Pictures up to this size are sent without loss; beyond it a PNG takes seconds to travel."""
_MASK: Final = (112, 112, 112)
_MARGIN: Final = 0.2
"""A detector's box ends at brow and chin; the mask covers hair and ears too."""


class Derivative(NamedTuple):
    """A file for a browser."""

    data: bytes
    media_type: str


def derivative(file: bytes, limits: Limits, *, masks: Sequence[Box] = ()) -> Derivative:
    """Return the picture in a file as a person may see it; every pixel is kept, but those under a mask.

    Args:
        file: as it came; it is never altered.
        limits: as for `decode`.
        masks: boxes in pixels of the upright original, to be covered for good.

    Raises:
        BadImage: it cannot be opened.

    """
    pixels, scale = decode(file, limits)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for box in masks:
        draw.rectangle(_covered(box.scaled(1 / scale)), fill=_MASK)
    out = BytesIO()
    if image.width * image.height <= _LOSSLESS_PX:
        image.save(out, "PNG", compress_level=1)
        return Derivative(out.getvalue(), "image/png")
    image.save(out, "JPEG", quality=95, subsampling=0)
    return Derivative(out.getvalue(), "image/jpeg")


def size(file: bytes, limits: Limits) -> tuple[int, int]:
    """Return width and height of the upright picture."""
    height, width = decode(file, limits).pixels.shape[:2]
    return width, height


def _covered(box: Box) -> tuple[float, float, float, float]:
    x, y = (box.x2 - box.x1) * _MARGIN, (box.y2 - box.y1) * _MARGIN
    return box.x1 - x, box.y1 - 2 * y, box.x2 + x, box.y2 + y
