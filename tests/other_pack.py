"""A second model that costs nothing, for a change from the `null` pack; and a process that runs it slowly.

    python other_pack.py SECONDS FILE ARGUMENTS...     `rfr ARGUMENTS...`; each batch takes SECONDS and is noted in FILE

It looks at coarse levels, so that it finds what a little noise hides from `null`; and it sees no face in a picture that
is wider than high.
"""

import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from rfr_stream.faces import Face, ImageHwc
from rfr_stream.ports import Templates
from rfr_stream.vision import loading, null, packs

NAME: Final = "other"
_NULL: Final = packs.PACKS["null"]
PACK: Final = replace(
    _NULL,
    name=NAME,
    detector=replace(_NULL.detector, architecture="upright", version="2"),
    embedder=replace(_NULL.embedder, architecture="coarse", version="2"),
    threshold=0.9,
)


class UprightDetector(null.NullDetector):
    """Sees a face in the middle of pictures that are not wider than high."""

    def detect(self, images: Sequence[ImageHwc]) -> list[list[Face]]:
        """Return at most one face for each image."""
        found = super().detect(images)
        return [faces if image.shape[1] <= image.shape[0] else [] for image, faces in zip(images, found, strict=True)]


class CoarseEmbedder:
    """Derives a template from the two highest bits of each level, which noise of a few levels rarely reaches."""

    def __init__(self, note: Callable[[int], None] = lambda _: None) -> None:
        """Remember whom to tell of each batch."""
        self._note = note

    def embed(self, chips: Sequence[ImageHwc]) -> Templates:
        """Return float32 [N, 128], L2 norm 1."""
        self._note(len(chips))
        return np.stack([_direction(chip) for chip in chips]) if chips else np.zeros((0, null.DIMENSION), np.float32)


def _direction(chip: ImageHwc) -> Templates:
    seed = hashlib.sha256((chip >> 6).tobytes()).digest()[:8]
    noise = np.random.default_rng(int.from_bytes(seed)).standard_normal(null.DIMENSION).astype(np.float32)
    return noise / np.linalg.norm(noise)


def installed(note: Callable[[int], None] = lambda _: None) -> list[tuple[object, str, object]]:
    """Return what to set on which module, so that the pack is known by its name."""
    detectors = {**loading._DETECTORS, "upright": lambda *_: UprightDetector()}  # noqa: SLF001
    embedders = {**loading._EMBEDDERS, "coarse": lambda *_: CoarseEmbedder(note)}  # noqa: SLF001
    return [
        (packs, "PACKS", MappingProxyType({**packs.PACKS, NAME: PACK})),
        (loading, "_DETECTORS", MappingProxyType(detectors)),
        (loading, "_EMBEDDERS", MappingProxyType(embedders)),
    ]


def _slowly(seconds: float, notes: Path) -> Callable[[int], None]:
    def note(count: int) -> None:
        with notes.open("a") as file:
            file.write(f"{count}\n")
        time.sleep(seconds)

    return note


if __name__ == "__main__":
    from rfr_stream.__main__ import main

    for module, attribute, value in installed(_slowly(float(sys.argv[1]), Path(sys.argv[2]))):
        setattr(module, attribute, value)
    main(sys.argv[3:])
