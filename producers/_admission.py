"""The cheap checks at the door: is it a file, is it small enough, does it begin like an image. Nothing is decoded."""

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from rfr_stream.errors import BadImage, BadVideo
from rfr_stream.ports import OnDisk

BEGINNING_BYTES: Final = 12
_ISO_BRANDS: Final = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"), "image/heic"),
}
"""What a phone takes is HEIC, and the decoder may not open it: it is kept all the same, since the outcome tells its
sender to convert it, and the original is what an investigation must be able to show."""
_BEGINNINGS: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"BM", "image/bmp"),
)


VIDEO_BEGINNING_BYTES: Final = 256
_VIDEO_BEGINNINGS: Final = tuple(
    (re.compile(beginning, re.DOTALL), media_type)
    for beginning, media_type in (
        (rb".{4}(ftypqt  |moov|mdat|wide|free|skip)", "video/quicktime"),
        (rb".{4}ftyp", "video/mp4"),
        (rb"\x1aE\xdf\xa3.{0,60}webm", "video/webm"),
        (rb"\x1aE\xdf\xa3", "video/matroska"),
        (rb"RIFF.{4}AVI ", "video/x-msvideo"),
        (rb"\x00\x00\x01\xba", "video/mpeg"),
        (rb"0&\xb2u\x8ef\xcf\x11", "video/x-ms-asf"),
        (rb"FLV\x01", "video/x-flv"),
        (rb"\x06\x0e\+4\x02\x05\x01\x01", "application/mxf"),
        (rb"OggS", "video/ogg"),
        (rb"(.{4})?G.{187}(?(1).{4})G", "video/mp2t"),  # packets of 188 bytes, in a camcorder's file of 192
    )
)
"""The containers that `rfr_stream/vision/container.py` opens."""


@dataclass(frozen=True, slots=True)
class Original:
    """A file as it came, never altered: its bytes, their SHA-256, and what their beginning says they are."""

    data: bytes | OnDisk
    sha256: str
    media_type: str


class Scanner(Protocol):
    """Looks into files for what would harm whoever opens them."""

    async def is_clean(self, path: Path) -> bool:
        """Whether nothing was found; `Unavailable` where that is not known."""


def images_in(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files named, and those of the folders named, recursively, in the order of their names.

    Everything found is yielded, whatever its name says: what is no image is refused with a reason, not passed over.
    A link found in a folder is not followed. A folder that cannot be listed is yielded itself, to be refused.
    """
    for path in paths:
        if _is_folder(path):
            yield from _files_below(path)
        else:
            yield path


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a folder above it may not be entered; opening it will say so
        return False


def _files_below(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder
        return
    for entry in entries:
        if _is_folder(entry) and not entry.is_symlink():
            yield from _files_below(entry)
        else:
            yield entry


def admit(file: Path | bytes, *, max_bytes: int) -> Original:
    """Return the original, read once.

    Raises:
        BadImage: it is no regular file, cannot be read, is empty or too large, or does not begin like an image.

    """
    data = file if isinstance(file, bytes) else _read(file, max_bytes)
    if not data:
        msg = "image: empty"
        raise BadImage(msg)
    if len(data) > max_bytes:
        msg = f"image: larger than {max_bytes} bytes"
        raise BadImage(msg)
    return Original(data, sha256(data).hexdigest(), media_type(data))


def _read(path: Path, max_bytes: int) -> bytes:
    """Return at most `max_bytes` and one more; a pipe or device is not waited for, a link not followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                msg = "image: not a regular file"
                raise BadImage(msg)
            return file.read(min(status.st_size, max_bytes) + 1)
    except ValueError as error:
        msg = "image: no file can have this name"
        raise BadImage(msg) from error
    except OSError as error:
        reason = "a symbolic link" if error.errno == errno.ELOOP else error.strerror or type(error).__name__
        msg = f"image: cannot be read: {reason}"
        raise BadImage(msg) from error


def media_type(data: bytes) -> str:
    """Return what a file is by its first bytes, whatever it calls itself; `BEGINNING_BYTES` of them suffice.

    Raises:
        BadImage: nothing that is taken here.

    """
    for beginning, known in _BEGINNINGS:
        if data.startswith(beginning):
            return known
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp" and data[8:12] in _ISO_BRANDS:
        return _ISO_BRANDS[data[8:12]]
    msg = "image: does not begin like a JPEG, PNG, WebP, TIFF, BMP, AVIF or HEIC file"
    raise BadImage(msg)


def video_type(data: bytes) -> str:
    """Return which container a file is by its first bytes; `VIDEO_BEGINNING_BYTES` of them suffice.

    Raises:
        BadVideo: none that is taken here.

    """
    is_image = data[4:8] == b"ftyp" and data[8:12] in _ISO_BRANDS
    for beginning, known in () if is_image else _VIDEO_BEGINNINGS:
        if beginning.match(data):
            return known
    msg = "video: does not begin like an MP4, MOV, Matroska, WebM, AVI, MPEG, WMV, FLV, MXF or Ogg file"
    raise BadVideo(msg)
