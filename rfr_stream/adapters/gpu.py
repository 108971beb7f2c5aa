"""The vision ports over a model pack: decode and align in threads where large, all on the device in one of its own.

One thread for the device means that its work is serial by construction and that the event loop never waits for it.
"""

import asyncio
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import numpy as np

from rfr_stream.adapters._threads import SMALL_BYTES, each
from rfr_stream.errors import Rejected, settle
from rfr_stream.events import ModelIdentity, Recipe
from rfr_stream.faces import Face, ImageHwc, Landmarks
from rfr_stream.ports import Chip, Copy, Fingerprint, Picture, Templates
from rfr_stream.settings import VisionSettings
from rfr_stream.vision import decode, fingerprint, loading, packs, quality, recipes
from rfr_stream.vision.packs import Pack, Part, Role
from rfr_stream.vision.weights import identity_sha256

R = TypeVar("R")

NEEDED_PX: Final = 1600
"""Decoded pictures keep this longest side: more than a detector works at, so that small faces keep their detail."""


def open_vision(settings: VisionSettings, weights_dir: Path, *, load: Collection[Role] = packs.ROLES) -> "Vision":
    """Return the vision of the pack that the settings name, to be entered before use.

    Args:
        settings: which pack, on what.

        weights_dir: where weights lie that no installed package carries.

        load: the models to run here. A stage that only compares templates loads none: identities and the threshold
            are there all the same, and torch is never imported.

    Raises:
        BadPack: there is no such pack.

    """
    return Vision(settings, weights_dir, packs.pack(settings.pack, settings.pack_file), load=load)


class Vision:
    """Everything of one model pack. Entering it checks digests, loads weights and runs one real forward pass."""

    def __init__(
        self,
        settings: VisionSettings,
        weights_dir: Path,
        pack: Pack,
        *,
        load: Collection[Role],
    ) -> None:
        self._settings, self._weights_dir, self._pack, self._load = settings, weights_dir, pack, frozenset(load)
        self._threads = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="rfr-decode")
        self._device = ThreadPoolExecutor(1, thread_name_prefix="rfr-device")
        limits = decode.Limits(settings.max_image_bytes, settings.max_image_pixels, NEEDED_PX)
        self.codec = PillowCodec(limits, self._threads)
        self.fingerprinter = HashFingerprinter(self._threads)
        self.aligner = PackAligner(pack.aligner, loading.aligner(pack), self._threads)
        self.detector = PackDetector(pack.detector, weights_dir, self._device)
        self.embedder = PackEmbedder(pack.embedder, weights_dir, self._device, aligner=pack.aligner)

    @property
    def threshold(self) -> float:
        """Cosine similarity from which this pack calls a reference a lead."""
        return self._pack.threshold

    @property
    def conflict_threshold(self) -> float:
        """Cosine similarity from which two references are taken for one face."""
        return self._pack.conflict_threshold

    async def __aenter__(self) -> Self:
        """Load what is to run here, and prove it on one picture.

        Raises:
            BadPack: weights are absent or not those that the pack names.

        """
        if not self._load:
            return self
        try:
            await _call(self._device, self._open)
            await self._prove()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the running call finish and end the threads."""
        self._device.shutdown(cancel_futures=True)
        self._threads.shutdown(cancel_futures=True)

    def _open(self) -> None:
        """Load the models; runs on the device's own thread, where torch's settings must be made too."""
        if self._pack.name != "null":
            _configure_torch(self._settings.threads)
        if "detector" in self._load:
            self.detector.model = loading.detector(self._pack.detector, self._weights_dir, device=self._settings.device)
        if "embedder" in self._load:
            self.embedder.model = loading.embedder(self._pack.embedder, self._weights_dir, device=self._settings.device)

    async def _prove(self) -> None:
        """Send one picture through everything that is loaded, by the way that every other picture takes.

        Raises:
            RuntimeError: what came out is not what the ports promise.

        """
        picture = (await self.codec.decode(await self.codec.encode([_test_card()])))[0]
        if isinstance(picture, Rejected):
            raise picture
        chips = await self.aligner.align([picture.pixels], [_TEST_LANDMARKS])
        if "detector" in self._load:
            await self.detector.detect([picture.pixels])
        if "embedder" in self._load:
            templates = await self.embedder.embed([chip.pixels for chip in chips])
            norm = float(np.linalg.norm(templates[0]))
            if templates.shape != (1, self._pack.embedder.dimension) or not np.isclose(norm, 1, atol=1e-3):
                msg = f"{self._pack.name}: the embedder's first template is not a unit vector of its dimension"
                raise RuntimeError(msg)


class PillowCodec:
    """Image files in and out."""

    media_type = decode.MEDIA_TYPE

    def __init__(self, limits: decode.Limits, threads: ThreadPoolExecutor) -> None:
        self._limits, self._threads = limits, threads

    async def decode(self, files: Sequence[bytes]) -> list[Picture | Rejected]:
        """Open image files that nobody vouches for; a bad one's place holds `BadImage`."""
        return await each(self._decode, files, threads=self._threads, bytes_of=_bytes_opened)

    async def follow(self, asked: Sequence[tuple[Recipe, Picture]]) -> list[Copy | Rejected]:
        """Return the copy that each recipe makes; one that leaves nothing has `BadImage` in its place."""
        return await each(_followed, asked, threads=self._threads, bytes_of=lambda pair: _bytes_of(pair[1].pixels))

    async def encode(self, images: Sequence[ImageHwc]) -> list[bytes]:
        """Return BMP files without metadata."""
        return await each(decode.encode, images, threads=self._threads, bytes_of=_bytes_of)

    def _decode(self, file: bytes) -> Picture | Rejected:
        return settle(lambda: Picture(*decode.decode(file, self._limits)))


class HashFingerprinter:
    """Sees that two files hold one picture."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads

    async def fingerprint(self, images: Sequence[ImageHwc]) -> list[Fingerprint]:
        """Return the fingerprint of each picture."""
        return await each(fingerprint.fingerprint, images, threads=self._threads, bytes_of=_bytes_of)


class PackAligner:
    """Brings faces upright for the pack's embedder, and measures them."""

    def __init__(self, name: str, model: loading.AlignerModel, threads: ThreadPoolExecutor) -> None:
        self.name, self._model, self._threads = name, model, threads

    async def align(self, images: Sequence[ImageHwc], landmarks: Sequence[Landmarks]) -> list[Chip]:
        """Return one chip for each pair."""
        faces = list(zip(images, landmarks, strict=True))
        return await each(self._chip, faces, threads=self._threads, bytes_of=lambda face: _bytes_of(face[0]))

    def _chip(self, face: tuple[ImageHwc, Landmarks]) -> Chip:
        pixels = self._model(*face)
        return Chip(pixels, *quality.measure(pixels))


class PackDetector:
    """Finds faces on the device."""

    model: loading.DetectorModel

    def __init__(self, part: Part, weights_dir: Path, device: ThreadPoolExecutor) -> None:
        self._part, self._weights_dir, self._device = part, weights_dir, device

    @cached_property
    def identity(self) -> ModelIdentity:
        """Which detector this is."""
        return _identity(self._part, self._weights_dir)

    async def detect(self, images: Sequence[ImageHwc]) -> list[list[Face]]:
        """Return the faces of each image in its own pixels, highest score first."""
        return await _call(self._device, lambda: self.model.detect(images))


class PackEmbedder:
    """Turns chips into templates on the device."""

    model: loading.EmbedderModel

    def __init__(self, part: Part, weights_dir: Path, device: ThreadPoolExecutor, *, aligner: str) -> None:
        self._part, self._weights_dir, self._device, self.aligner = part, weights_dir, device, aligner

    @cached_property
    def identity(self) -> ModelIdentity:
        """Which embedder this is; its `dimension` is D."""
        return _identity(self._part, self._weights_dir)

    async def embed(self, chips: Sequence[ImageHwc]) -> Templates:
        """Return float32 [N, D], L2 norm 1, for N chips of the embedder's own size."""
        return await _call(self._device, lambda: self.model.embed(chips))


def _identity(part: Part, weights_dir: Path) -> ModelIdentity:
    return ModelIdentity(
        name=part.architecture,
        version=part.version,
        weights_sha256=identity_sha256(part, weights_dir),
        dimension=part.dimension,
    )


async def _call(threads: ThreadPoolExecutor, function: Callable[[], R]) -> R:
    return await asyncio.get_running_loop().run_in_executor(threads, function)


def _followed(pair: tuple[Recipe, Picture]) -> Copy | Rejected:
    recipe, picture = pair
    return settle(lambda: Copy(*recipes.follow(recipe, picture.pixels, picture.scale)))


def _bytes_opened(file: bytes) -> int:
    """Return what a file weighs once it is open: a small one may hold a large picture."""
    return len(file) if len(file) > SMALL_BYTES else decode.bytes_opened(file)


def _bytes_of(image: ImageHwc) -> int:
    return image.nbytes


def _configure_torch(threads: int) -> None:
    # OpenMP's spinning wait is ruinous where cores are shared; it reads this once, when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # noqa: TID251 - written for a library, not read as a setting
    import torch

    torch.set_num_threads(threads)


_TEST_LANDMARKS: Final = Landmarks.from_array([(80, 90), (120, 90), (100, 110), (85, 135), (115, 135)])


def _test_card() -> ImageHwc:
    """Return a picture of no one: uint8 [200, 200, 3], two gradients."""
    ramp = np.linspace(0, 255, 200, dtype=np.uint8)
    card = np.zeros((200, 200, 3), np.uint8)
    card[..., 0], card[..., 1] = ramp, ramp[:, None]
    return card
