"""Files that nobody vouches for."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from rfr_stream.errors import BadImage
from rfr_stream.faces import ImageHwc
from rfr_stream.vision.decode import FORMATS, MEDIA_TYPE, Limits, bytes_opened, decode, encode

LIMITS = Limits(max_bytes=10_000_000, max_pixels=1_000_000)
ORIENTATION = 0x0112


def quarters(height: int = 40, width: int = 60) -> ImageHwc:
    """Return a picture whose four quarters are black, red, green and blue."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, width // 2 :, 0] = 255
    picture[height // 2 :, : width // 2, 1] = 255
    picture[height // 2 :, width // 2 :, 2] = 255
    return picture


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_come_back_as_they_were(kind: str) -> None:
    decoded = decode(saved(Image.fromarray(quarters()), kind), LIMITS)
    np.testing.assert_array_equal(decoded.pixels, quarters())
    assert decoded.pixels.dtype == np.uint8
    assert decoded.scale == 1


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_come_back_nearly_as_they_were(kind: str) -> None:
    decoded = decode(saved(Image.fromarray(quarters()), kind, quality=95), LIMITS)
    assert np.abs(decoded.pixels.astype(int) - quarters()).mean() < 8


@pytest.mark.parametrize("kind", ["GIF", "PPM", "ICO", "TGA"])
def test_formats_off_the_list_are_refused_with_the_list(kind: str) -> None:
    with pytest.raises(BadImage, match="not one of JPEG, PNG"):
        decode(saved(Image.fromarray(quarters()), kind), LIMITS)


def test_a_heic_file_is_refused_by_its_name() -> None:
    file = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(200)
    with pytest.raises(BadImage, match="HEIC cannot be opened by this installation; convert it"):
        decode(file, LIMITS)


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(BadImage, match="empty"):
        decode(b"", LIMITS)


@pytest.mark.parametrize("noise", [b"x", b"\xff\xd8\xff", b"%PDF-1.7", b"<svg/>", bytes(1000)])
def test_what_is_no_image_is_refused(noise: bytes) -> None:
    with pytest.raises(BadImage):
        decode(noise, LIMITS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused_and_never_half_shown(kind: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (200, 200, 3), np.uint8)
    file = saved(Image.fromarray(noise), kind)
    with pytest.raises(BadImage):
        decode(file[: int(len(file) * share)], LIMITS)


def test_a_file_over_the_byte_limit_is_refused_unopened() -> None:
    with pytest.raises(BadImage, match="more than 99 bytes"):
        decode(b"\xff" * 100, Limits(max_bytes=99, max_pixels=10))


def test_a_picture_over_the_pixel_limit_is_refused() -> None:
    file = saved(Image.fromarray(quarters(40, 60)), "PNG")
    assert decode(file, Limits(10_000, 2_400)).pixels.shape == (40, 60, 3)
    with pytest.raises(BadImage, match="more than 2399 pixels"):
        decode(file, Limits(10_000, 2_399))


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header claims this size, and whose data is not there."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", b"never decoded")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("side", [2_000, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(BadImage, match="pixels"):
        decode(bomb(side, side), LIMITS)


def test_a_file_weighs_what_its_picture_takes_and_rubbish_weighs_nothing() -> None:
    assert bytes_opened(bomb(9_000, 9_000)) == 3 * 9_000 * 9_000
    assert bytes_opened(saved(Image.fromarray(quarters()), "PNG")) == quarters().nbytes
    assert bytes_opened(b"no picture") == 0
    assert bytes_opened(b"") == 0


def test_pillows_own_limit_does_not_stand_in_the_way_of_a_larger_one() -> None:
    allowed = Limits(max_bytes=10_000, max_pixels=400_000_000)
    with pytest.raises(BadImage, match="truncated or corrupt"):  # the header passed, and then the pixels are not there
        decode(bomb(20_000, 20_000), allowed)


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda p: p),
        (2, np.fliplr),
        (3, lambda p: np.rot90(p, 2)),
        (4, np.flipud),
        (5, lambda p: np.rot90(np.fliplr(p), 1)),
        (6, lambda p: np.rot90(p, -1)),
        (7, lambda p: np.rot90(np.fliplr(p), -1)),
        (8, lambda p: np.rot90(p, 1)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_cameras_orientation_is_applied(kind: str, orientation: int, turn: object) -> None:
    image = Image.fromarray(quarters())
    exif = image.getexif()
    exif[ORIENTATION] = orientation
    decoded = decode(saved(image, kind, exif=exif), LIMITS)
    np.testing.assert_array_equal(decoded.pixels, turn(quarters()))  # type: ignore[operator]


def test_orientation_is_applied_to_jpeg_and_to_modes_that_are_converted() -> None:
    image = Image.fromarray(quarters()).convert("CMYK")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    assert decode(saved(image, "JPEG", exif=exif), LIMITS).pixels.shape == (60, 40, 3)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "LA", "RGBA", "PA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    grey = Image.fromarray(np.full((20, 30, 3), 255, np.uint8))
    kind = "TIFF" if mode in ("CMYK", "YCbCr", "PA") else "PNG"
    if mode == "PA":
        kind, image = "PNG", grey.convert("P", palette=Image.Palette.ADAPTIVE)
    else:
        image = grey.convert(mode)
    pixels = decode(saved(image, kind), LIMITS).pixels
    assert pixels.shape == (20, 30, 3)
    assert pixels.dtype == np.uint8
    assert pixels.min() >= 250


def test_a_palette_with_transparency_is_laid_on_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30] + [0] * 765)
    pixels = decode(saved(image, "PNG", transparency=0), LIMITS).pixels
    assert (pixels == 255).all()


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    image.putpixel((0, 0), (200, 0, 0, 255))
    pixels = decode(saved(image, "PNG"), LIMITS).pixels
    assert pixels[0, 0].tolist() == [200, 0, 0]
    assert pixels[1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_levels_are_scaled_and_not_clipped(kind: str) -> None:
    levels = np.array([[0, 256, 32_768, 65_535]], dtype=np.uint16)
    pixels = decode(saved(Image.fromarray(levels), kind), LIMITS).pixels
    assert pixels[0, :, 0].tolist() == pytest.approx([0, 1, 128, 255], abs=1)


def test_float_levels_are_scaled() -> None:
    levels = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    pixels = decode(saved(Image.fromarray(levels), "TIFF"), LIMITS).pixels
    assert pixels[0, :, 0].tolist() == pytest.approx([0, 127, 255], abs=1)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    file = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert decode(file, LIMITS).pixels[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(("needed_px", "width"), [(450, 450), (300, 450), (225, 225), (899, 900), (901, 900)])
def test_a_large_picture_keeps_what_is_needed_and_says_what_its_pixels_stand_for(
    kind: str, needed_px: int, width: int
) -> None:
    if kind == "PNG" and needed_px == 300:
        width = 300  # libjpeg halves only; this is reduced by any whole factor
    file = saved(Image.fromarray(quarters(600, 900)), kind)
    decoded = decode(file, Limits(10_000_000, 1_000_000, needed_px))
    assert decoded.pixels.shape == (width * 2 // 3, width, 3)
    assert decoded.scale == pytest.approx(900 / width)
    assert decoded.pixels[-9, 9].tolist() == pytest.approx([0, 255, 0], abs=3)


def test_a_picture_that_is_small_enough_is_never_enlarged() -> None:
    decoded = decode(saved(Image.fromarray(quarters()), "JPEG"), Limits(10_000, 1_000_000, needed_px=600))
    assert decoded.pixels.shape == (40, 60, 3)
    assert decoded.scale == 1


def test_a_sliver_keeps_at_least_one_pixel() -> None:
    decoded = decode(saved(Image.new("RGB", (1000, 1)), "JPEG"), Limits(100_000, 1_000_000, needed_px=10))
    assert decoded.pixels.shape == (1, 10, 3)


def test_crops_are_lossless_and_carry_no_metadata() -> None:
    noise = np.random.default_rng(2).integers(0, 255, (112, 112, 3), np.uint8)
    file = encode(noise)
    np.testing.assert_array_equal(decode(file, LIMITS).pixels, noise)
    with Image.open(BytesIO(file)) as image:
        assert Image.MIME[image.format or ""] == MEDIA_TYPE
        assert set(image.info) <= {"dpi", "compression"}  # facts of the format
        assert not image.getexif()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_exif_that_ends_in_the_middle_of_its_header_is_refused(kind: str) -> None:
    file = saved(Image.fromarray(quarters()), kind, exif=b"Exif\0\0II*\0\x01")
    with pytest.raises(BadImage, match="truncated or corrupt"):
        decode(file, LIMITS)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own, about damaged metadata
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_whatever_bytes_are_changed_a_file_is_shown_or_refused(kind: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    whole = saved(Image.fromarray(quarters(12, 18)), kind, exif=exif)
    chance = np.random.default_rng(sum(kind.encode()))
    refused = 0
    for _ in range(500):
        file = bytearray(whole)
        for _ in range(chance.integers(1, 4)):
            file[chance.integers(len(file))] = chance.integers(256)
        try:
            decode(bytes(file), LIMITS)
        except BadImage:
            refused += 1
    assert 0 < refused < 500


def test_the_list_of_formats_is_the_promised_one() -> None:
    assert set(FORMATS) - {"AVIF"} == {"JPEG", "PNG", "WEBP", "TIFF", "BMP"}
