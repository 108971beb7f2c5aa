"""Opens image files that nobody vouches for, and writes crops without metadata.

Everything that can be known from the header (format, size in pixels) is checked before a single pixel is decoded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError, features

from rfr_stream.errors import BadImage
from rfr_stream.faces import ImageHwc

MEDIA_TYPE: Final = "image/bmp"
"""Of what `encode` returns."""

FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", *(("AVIF",) if features.check("avif") else ()))
"""The allow-list; Pillow tries no other parser on the bytes, however they call themselves."""

# Pillow's own limit only warns, is one for the whole process, and is lower than what is allowed here; the limit of
# `_check_pixels` holds for every file instead, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None

_ISO_BRANDS: Final = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC", b"avif": "AVIF"}
_BRAND_BYTES: Final = 12
_FULL_RANGE_16: Final = ("I;16", "I;16B", "I;16L", "I;16N")
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each of EXIF's orientations."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may weigh, how many pixels it may hold, and how many of them are needed.

    A picture is decoded at a half, a third, a quarter ... of its size (JPEG: a half, a quarter, an eighth), as long as
    its longest side keeps `needed_px`; so it comes out at one to two times that. None keeps every pixel.
    """

    max_bytes: int
    max_pixels: int
    needed_px: int | None = None


class Decoded(NamedTuple):
    """uint8 [H, W, 3], RGB, upright; and how many pixels of the original one of its pixels stands for (>= 1)."""

    pixels: ImageHwc
    scale: float


def decode(file: bytes, limits: Limits) -> Decoded:
    """Return the picture in a file, upright and in RGB; of an animation, the first frame.

    Transparency is laid on white; 16-bit grey levels are brought to 8 bits.

    Raises:
        BadImage: empty, too large, not an allowed format, truncated or corrupt.

    """
    _check_bytes(file, limits)
    with _faults_named(file), Image.open(BytesIO(file), formats=FORMATS) as image:
        _check_pixels(image, limits)
        original_px = max(image.size)
        needed_px = limits.needed_px or original_px
        if image.format == "JPEG":
            _draft(image, needed_px)
        image.load()
        upright = _upright(_to_rgb(image), image.getexif().get(ExifTags.Base.Orientation))
        reduced = _reduced(upright, needed_px)
        return Decoded(np.asarray(reduced), original_px / max(reduced.size))


def bytes_opened(file: bytes) -> int:
    """Return how many bytes the whole picture in a file would take in RGB, by its header; 0 if it is no picture."""
    try:
        with Image.open(BytesIO(file), formats=FORMATS) as image:
            return 3 * image.width * image.height
    except Exception:  # noqa: BLE001 - `decode` says what is wrong with it
        return 0


def pixels_in(path: Path) -> int:
    """Return how many pixels the picture in a file has, by its header; nothing of it is decoded.

    Raises:
        BadImage: there is no header of an allowed format.

    """
    with path.open("rb") as file:
        beginning = file.read(_BRAND_BYTES)
    with _faults_named(beginning), Image.open(path, formats=FORMATS) as image:
        return image.width * image.height


def encode(pixels: ImageHwc) -> bytes:
    """Return a BMP: lossless, without metadata, and without the time that compressing a chip takes.

    Args:
        pixels: uint8 [H, W, 3], RGB.

    """
    out = BytesIO()
    Image.fromarray(pixels).save(out, "BMP")
    return out.getvalue()


def _check_bytes(file: bytes, limits: Limits) -> None:
    if not file:
        msg = "image: the file is empty; submit the original file"
        raise BadImage(msg)
    if len(file) > limits.max_bytes:
        msg = f"image: more than {limits.max_bytes} bytes; submit a smaller file"
        raise BadImage(msg)


def _check_pixels(image: Image.Image, limits: Limits) -> None:
    if image.width * image.height > limits.max_pixels:
        msg = f"image: more than {limits.max_pixels} pixels; submit a smaller picture"
        raise BadImage(msg)


@contextmanager
def _faults_named(file: bytes) -> Iterator[None]:
    """Turn whatever a parser throws at hostile bytes into a refusal that names the fault."""
    try:
        yield
    except UnidentifiedImageError:
        raise BadImage(_unidentified(file)) from None
    except (BadImage, MemoryError):
        raise
    # Whatever else a parser trips over (struct.error, SyntaxError, ...) is the fault of the bytes: we only read them.
    except Exception as error:  # noqa: BLE001
        msg = f"image: truncated or corrupt ({type(error).__name__}); submit the original file again"
        raise BadImage(msg) from None


def _unidentified(file: bytes) -> str:
    brand = _ISO_BRANDS.get(file[8:12]) if file[4:8] == b"ftyp" else None
    if brand:
        return f"image: {brand} cannot be opened by this installation; convert it to JPEG or PNG"
    return f"image: not one of {', '.join(FORMATS)}; convert it to JPEG or PNG"


def _draft(image: Image.Image, needed_px: int) -> None:
    """Let libjpeg decode at a fraction (1/2, 1/4, 1/8), as long as the longest side keeps `needed_px`."""
    share = min(1.0, needed_px / max(image.size))
    image.draft("RGB", (round(image.width * share) or 1, round(image.height * share) or 1))


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the same picture in 8-bit RGB, its orientation still to be applied."""
    if image.mode in _FULL_RANGE_16:
        # convert() would clip at 255 instead of scaling.
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        rgb = Image.fromarray(grey).convert("RGB")
    elif image.mode in ("I", "F"):
        rgb = _stretch(image).convert("RGB")
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", image.size, "white")
        rgb.paste(rgba, mask=rgba.getchannel("A"))
    else:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
    return rgb


def _upright(image: Image.Image, orientation: object) -> Image.Image:
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _reduced(image: Image.Image, needed_px: int) -> Image.Image:
    """Shrink by a whole factor: a mean over squares of pixels, several times as fast as any other good filter."""
    factor = max(image.size) // needed_px
    # Reducing by one would copy the picture.
    return image.reduce(factor) if factor > 1 else image


def _stretch(image: Image.Image) -> Image.Image:
    """Bring 32-bit levels of unknown range to 0-255: 16-bit range if that holds them, else their own."""
    levels = np.nan_to_num(np.asarray(image, dtype=np.float64))
    low, high = min(0.0, float(levels.min())), max(float(levels.max()), 1.0)
    if high > 255 and low >= 0:  # noqa: PLR2004 - the largest 8-bit level
        high = max(high, 65_535.0)
    elif low >= 0:
        high = 255.0 if high > 1 else 1.0
    return Image.fromarray(((levels - low) * (255 / (high - low))).astype(np.uint8))
