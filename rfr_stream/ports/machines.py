"""What the stages need from machines: blobs, models, galleries."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from rfr_stream.errors import Rejected
from rfr_stream.events import BlobRef, Derivation, GalleryName, ModelIdentity, Recipe
from rfr_stream.faces import Affine, Face, ImageHwc, Landmarks

Templates: TypeAlias = NDArray[np.float32]
"""float32 [N, D], each row of L2 norm 1."""


# --- blobs ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class OnDisk:
    """A file, and the size and SHA-256 that its bytes had when they came; a store reads it in pieces and leaves it."""

    path: Path
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class NewBlob:
    """Bytes to keep under a key (`[A-Za-z0-9][A-Za-z0-9._-]*`, parts joined by `/`); the same key again overwrites."""

    key: str
    data: bytes | OnDisk
    media_type: str

    @property
    def size(self) -> int:
        """In bytes."""
        return self.data.bytes if isinstance(self.data, OnDisk) else len(self.data)


class BlobStore(Protocol):
    """Bytes by claim check."""

    async def put(self, blobs: Sequence[NewBlob]) -> list[BlobRef]:
        """Keep the bytes; once this returns they survive the death of this process.

        A file that is not any more what was hashed is `Unavailable`, and is not kept.
        """

    async def get(self, refs: Sequence[BlobRef]) -> list[bytes | Rejected]:
        """Return the bytes whose size and SHA-256 are those of the reference, or `MissingBlob` in their place."""

    async def delete(self, refs: Sequence[BlobRef]) -> None:
        """Remove the bytes; those that are already gone are no error."""

    async def delete_under(self, folders: Sequence[str]) -> None:
        """Remove all that is kept in these folders (of `a/b`: every `a/b/...`); that nothing is there is no error.

        Raises:
            ValueError: one of them is no folder that a key can have; nothing was removed.

        """


# --- vision ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded, upright image and how many pixels of the original one of its pixels stands for (>= 1)."""

    pixels: ImageHwc
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Copy:
    """What a recipe made of a picture, where its pixels lie in the original, and what proves it."""

    pixels: ImageHwc
    to_original: Affine
    derivation: Derivation


@dataclass(frozen=True, slots=True)
class Chip:
    """One face brought upright, as an embedder wants it, with what was measured on it.

    `pixels` uint8 [S, S, 3] RGB; sharpness: variance of the Laplacian of its grey levels; brightness and contrast:
    mean and standard deviation of its grey levels, 0-255.
    """

    pixels: ImageHwc
    sharpness: float
    brightness: float
    contrast: float


class Codec(Protocol):
    """Image files in and out."""

    async def decode(self, files: Sequence[bytes]) -> list[Picture | Rejected]:
        """Open image files that nobody vouches for: allow-listed formats, bounded bytes and pixels, EXIF applied."""

    async def follow(self, asked: Sequence[tuple[Recipe, Picture]]) -> list[Copy | Rejected]:
        """Return the copy that each recipe makes of its picture: the same two, the same pixels, every time."""

    async def encode(self, images: Sequence[ImageHwc]) -> list[bytes]:
        """Return lossless files (`media_type`) without metadata."""

    @property
    def media_type(self) -> str:
        """Of what `encode` returns."""


Fingerprint: TypeAlias = NDArray[np.uint8]
"""What copies of one picture share: uint8 [W, 32], a hash of 256 bits of the whole frame, then of each window of it.

Of a picture, never of a face: two photographs of one person have nothing in common in it.
"""


class Fingerprinter(Protocol):
    """Sees that two files hold one picture."""

    async def fingerprint(self, images: Sequence[ImageHwc]) -> list[Fingerprint]:
        """Return the fingerprint of each picture."""


class Detector(Protocol):
    """Finds faces."""

    @property
    def identity(self) -> ModelIdentity:
        """Which detector this is."""

    async def detect(self, images: Sequence[ImageHwc]) -> list[list[Face]]:
        """Return the faces of each image in its own pixels, highest score first; none is a result too."""


class Aligner(Protocol):
    """Brings faces upright for one embedder."""

    @property
    def name(self) -> str:
        """Which aligner this is: template, size and source of landmarks."""

    async def align(self, images: Sequence[ImageHwc], landmarks: Sequence[Landmarks]) -> list[Chip]:
        """Return one chip for each pair."""


class Embedder(Protocol):
    """Turns chips into templates."""

    @property
    def identity(self) -> ModelIdentity:
        """Which embedder this is; its `dimension` is D."""

    @property
    def aligner(self) -> str:
        """The name of the aligner whose chips it takes; others' would be embedded, and wrongly."""

    async def embed(self, chips: Sequence[ImageHwc]) -> Templates:
        """Return float32 [N, D], L2 norm 1, for N chips of the embedder's own size."""


class Vision(Protocol):
    """One model pack: parts that belong together. Its parts are there once it is entered."""

    @property
    def threshold(self) -> float:
        """Cosine similarity from which this pack calls a reference a lead."""

    @property
    def conflict_threshold(self) -> float:
        """Cosine similarity from which two references are taken for one face; much stricter: each meets all others."""

    @property
    def codec(self) -> Codec: ...

    @property
    def fingerprinter(self) -> Fingerprinter: ...

    @property
    def detector(self) -> Detector: ...

    @property
    def aligner(self) -> Aligner: ...

    @property
    def embedder(self) -> Embedder: ...


# --- gallery --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Hit:
    """A reference near a probe: its id and the cosine similarity."""

    reference_id: UUID
    similarity: float


class Gallery(Protocol):
    """Templates of references, one collection for each gallery and embedder; nothing in it but opaque ids.

    Every method takes the embedder that made the templates and raises `NotPermitted` where it is none that this
    gallery was opened for: templates of two models are never compared.
    """

    async def open_for(self, embedder: ModelIdentity) -> None:
        """Lend another model's collections too; again is no error."""

    async def enrol(
        self, gallery: GalleryName, ids: Sequence[UUID], templates: Templates, *, embedder: ModelIdentity
    ) -> None:
        """Add or replace references; visible to the next search once this returns."""

    async def search(
        self, gallery: GalleryName, probes: Templates, *, embedder: ModelIdentity, limit: int, threshold: float
    ) -> list[list[Hit]]:
        """Return for each probe at most `limit` hits of similarity >= threshold, best first, ties by id."""

    async def erase(self, gallery: GalleryName, ids: Sequence[UUID]) -> None:
        """Remove references, of every embedder; unknown ids are no error."""

    async def size(self, gallery: GalleryName, *, embedder: ModelIdentity) -> int:
        """Return how many references can be found."""

    async def known(self, gallery: GalleryName, ids: Sequence[UUID], *, embedder: ModelIdentity) -> set[UUID]:
        """Return which of these references have a template of this embedder."""

    async def page(
        self, gallery: GalleryName, *, embedder: ModelIdentity, after: UUID | None = None, limit: int = 1_000
    ) -> list[UUID]:
        """Return the next of all references that have a template of this embedder, in the order of their ids."""

    async def keep_only(self, embedder: ModelIdentity) -> None:
        """Remove the collections of every other embedder, for good."""
