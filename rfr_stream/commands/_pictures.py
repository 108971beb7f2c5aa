"""The demonstration's pictures: a public-domain portrait (NASA's astronaut Eileen Collins) and variants of it.

Every probe is one that real cases bring: a bad camera, a small copy, a frame with two people, one without any, and a
file that was cut off.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from rfr_stream.errors import RfrError

PORTRAIT_BOX: Final = (120, 0, 330, 270)
"""Head and shoulders in `skimage.data.astronaut()`, x1 y1 x2 y2."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Files to enrol and to submit."""

    references: tuple[Path, ...]
    bad_camera: Path
    small_copy: Path
    at_night: Path
    two_people: Path
    nobody: Path
    cut_off: Path


def paint(folder: Path) -> Pictures:
    """Write the pictures into a folder and return where they are.

    Raises:
        RfrError: scikit-image, which carries the portrait, is not installed.

    """
    whole, coffee = _astronaut_and_coffee()
    folder.mkdir(parents=True, exist_ok=True)
    portrait = whole.crop(PORTRAIT_BOX)
    bad_camera = ImageEnhance.Brightness(whole.filter(ImageFilter.GaussianBlur(1.6))).enhance(0.75)
    full = _save(whole, folder / "reference-1.jpg", quality=92)
    cut_off = folder / "cut-off.jpg"
    cut_off.write_bytes(full.read_bytes()[:9_000])
    return Pictures(
        references=(full, _save(ImageOps.mirror(portrait), folder / "reference-2.jpg", quality=92)),
        bad_camera=_save(bad_camera, folder / "bad-camera.jpg", quality=35),
        small_copy=_save(whole.resize((300, 300)), folder / "small-copy.jpg", quality=60),
        at_night=_save(ImageEnhance.Brightness(portrait).enhance(0.35), folder / "at-night.jpg", quality=70),
        two_people=_save(_twice(portrait), folder / "two-people.jpg", quality=85),
        nobody=_save(coffee, folder / "nobody.jpg", quality=85),
        cut_off=cut_off,
    )


def _astronaut_and_coffee() -> tuple[Image.Image, Image.Image]:
    try:
        from skimage import data
    except ImportError:
        msg = "the demonstration's portrait comes with scikit-image: pip install 'rfr-stream[demo]'"
        raise RfrError(msg) from None
    return Image.fromarray(data.astronaut()), Image.fromarray(data.coffee())


def _twice(portrait: Image.Image) -> Image.Image:
    both = Image.new("RGB", (2 * portrait.width, portrait.height))
    both.paste(portrait, (0, 0))
    both.paste(ImageOps.mirror(portrait), (portrait.width, 0))
    return both


def _save(image: Image.Image, path: Path, *, quality: int) -> Path:
    image.save(path, "JPEG", quality=quality)
    return path
