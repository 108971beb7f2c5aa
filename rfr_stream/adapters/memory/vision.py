"""Vision that finds the faces which were planted in its pictures: for tests of everything that uses vision.

A planted picture is a real image file; `plant` draws a square for each face whose pattern is its owner's, and the
embedder reads the owner back out of the chip. So the whole chain runs, and only the recognition is make-believe.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rfr_stream.errors import Rejected, settle
from rfr_stream.events import ModelIdentity, Recipe
from rfr_stream.faces import Box, Face, ImageHwc, Landmarks
from rfr_stream.ports import Chip, Copy, Fingerprint, Picture, Templates
from rfr_stream.vision import decode, fingerprint, quality, recipes

DIMENSION: Final = 128
CHIP_PX: Final = 32
THRESHOLD: Final = 0.5

_MARK: Final = (255, 0, 255)
"""The colour of a planted face's first pixel row; the picture's own pixels must do without it."""
_LIMITS: Final = decode.Limits(max_bytes=64 * 2**20, max_pixels=120_000_000)
_SHARES: Final = np.array([(0.3, 0.35), (0.7, 0.35), (0.5, 0.55), (0.35, 0.75), (0.65, 0.75)], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class PlantedFace:
    """A face to draw: whose, where its left top corner lies, and how large it is."""

    owner: str
    x: int = 16
    y: int = 16
    side_px: int = 64


def plant(*planted: PlantedFace, width: int = 320, height: int = 240) -> ImageHwc:
    """Return a grey picture, uint8 [H, W, 3], RGB, with these faces in it (they must not overlap)."""
    picture = np.full((height, width, 3), 128, np.uint8)
    for face in planted:
        square = picture[face.y : face.y + face.side_px, face.x : face.x + face.side_px]
        square[:] = _colour(face.owner)
        square[1::2, 1::2] //= 2  # something for the sharpness to measure
        square[0] = _MARK
    return picture


def plant_file(*planted: PlantedFace, width: int = 320, height: int = 240) -> bytes:
    """Return `plant`'s picture as a file."""
    return decode.encode(plant(*planted, width=width, height=height))


class MemoryCodec:
    """The real codec, without threads."""

    media_type = decode.MEDIA_TYPE

    async def decode(self, files: Sequence[bytes]) -> list[Picture | Rejected]:
        """Open image files; a bad one's place holds `BadImage`."""
        return [_decoded(file) for file in files]

    async def follow(self, asked: Sequence[tuple[Recipe, Picture]]) -> list[Copy | Rejected]:
        """Return the copy that each recipe makes, as the real codec does."""
        return [_followed(recipe, picture) for recipe, picture in asked]

    async def encode(self, images: Sequence[ImageHwc]) -> list[bytes]:
        """Return files without metadata, as the real codec does."""
        return [decode.encode(image) for image in images]


class MemoryFingerprinter:
    """The real fingerprints, without threads."""

    async def fingerprint(self, images: Sequence[ImageHwc]) -> list[Fingerprint]:
        """Return the fingerprint of each picture."""
        return [fingerprint.fingerprint(image) for image in images]


class FakeDetector:
    """Finds planted faces, the largest first; its score is 1."""

    identity = ModelIdentity(name="fake-detector", version="1", weights_sha256=hashlib.sha256(b"detector").hexdigest())

    async def detect(self, images: Sequence[ImageHwc]) -> list[list[Face]]:
        """Return the planted faces of each image, in its own pixels."""
        return [_planted(image) for image in images]


class FakeAligner:
    """Cuts the square round the landmarks."""

    name = "fake-aligner"

    async def align(self, images: Sequence[ImageHwc], landmarks: Sequence[Landmarks]) -> list[Chip]:
        """Return one chip, uint8 [32, 32, 3], for each pair."""
        chips = [_cut(image, points) for image, points in zip(images, landmarks, strict=True)]
        return [Chip(chip, *quality.measure(chip)) for chip in chips]


class FakeEmbedder:
    """Reads the owner's colour out of a chip and returns the owner's template: one direction for each colour."""

    identity = ModelIdentity(
        name="fake-embedder",
        version="1",
        weights_sha256=hashlib.sha256(b"embedder").hexdigest(),
        dimension=DIMENSION,
    )

    aligner = FakeAligner.name

    async def embed(self, chips: Sequence[ImageHwc]) -> Templates:
        """Return float32 [N, 128], L2 norm 1; chips of one owner agree, and those of two are nearly orthogonal."""
        rows = [_direction(chip) for chip in chips]
        return np.stack(rows) if rows else np.zeros((0, DIMENSION), np.float32)


def _decoded(file: bytes) -> Picture | Rejected:
    return settle(lambda: Picture(*decode.decode(file, _LIMITS)))


def _followed(recipe: Recipe, picture: Picture) -> Copy | Rejected:
    return settle(lambda: Copy(*recipes.follow(recipe, picture.pixels, picture.scale)))


def _colour(owner: str) -> tuple[int, int, int]:
    """Return the owner's colour: even levels up to 252, so that no two channels make the mark."""
    red, green, blue = hashlib.sha256(owner.encode()).digest()[:3]
    return red & 0xFC, (green & 0xFC) or 4, blue & 0xFC


def _planted(image: ImageHwc) -> list[Face]:
    """Find rows of the mark's colour: each is the upper edge of a planted face."""
    marked = (image == _MARK).all(axis=2)  # [H, W]
    starts = np.argwhere(marked & ~np.pad(marked, ((0, 0), (1, 0)))[:, :-1])
    faces = []
    for y, x in starts.tolist():
        run = marked[y, x:]
        side = len(run) if run.all() else int(run.argmin())
        points = _SHARES * side + np.array([x, y], dtype=np.float32)
        faces.append(Face(Box(x, y, x + side, y + side), Landmarks.from_array(points), 1.0))
    return sorted(faces, key=lambda face: -face.box.area)


def _cut(image: ImageHwc, landmarks: Landmarks) -> ImageHwc:
    side = landmarks.interocular_px / 0.4
    left, top = landmarks.left_eye.x - 0.3 * side, landmarks.left_eye.y - 0.35 * side
    steps = (np.arange(CHIP_PX) + 0.5) * side / CHIP_PX
    rows, columns = ((steps + start).astype(int) for start in (top, left))
    height, width = image.shape[:2]
    chip: ImageHwc = image[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)]  # [32, 32, 3]
    return chip


def _direction(chip: ImageHwc) -> Templates:
    owner = np.median(chip.reshape(-1, 3), axis=0).astype(np.uint8)
    seed = int.from_bytes(hashlib.sha256(owner.tobytes()).digest()[:8], "big")
    noise = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    return noise / np.linalg.norm(noise)
