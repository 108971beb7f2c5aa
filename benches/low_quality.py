"""What recipes, and the fusion of several images of one subject, gain on low-quality probes, and what they cost.

    OMP_NUM_THREADS=1 python benches/low_quality.py [--pack retinaface-mobilenet] [--only fusion|recipes] [--people 150]

Pictures of an LFW subset are made bad, each in five ways and in all of them at once. Each person with six pictures or
more has one good one in the gallery and five bad ones as probes; people with one picture fill the gallery. Half of the
people are enrolled, then the other half: everybody is asked about once as somebody who is enrolled, once as somebody
who is not.

hit@1: the enrolled subject is the nearest. TPIR: the subject is at or above the pack's threshold, among the first ten.
FPIR: the list of somebody who is not enrolled is not empty. At equal FPIR: TPIR at the threshold at which the rule's
FPIR is that of one image at the pack's threshold. Intervals: 95 %, bootstrap over people, of the difference to one
image (or to the original alone).

Exit code 1 where the product's rule raises FPIR above one image's, beyond chance, or finds less than one image does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from accuracy import central
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from rfr_stream.adapters.gpu import Vision
from rfr_stream.events import Equalise, Exposure, Recipe, Sharpen, Stretch
from rfr_stream.faces import Face, ImageHwc, subject_of
from rfr_stream.settings import DetectionSettings
from rfr_stream.vision.recipes import follow

Templates: TypeAlias = NDArray[np.float64]
"""float64 [people, images, D], L2 norm 1; NaN where no face was found."""

PROBES: Final = 5
LIST: Final = 10
BATCH: Final = 16
DRAWS: Final = 2_000
CHANCE: Final = 0.05


# --- bad pictures -----------------------------------------------------------------------------------------------------
def _noisy(image: ImageHwc, sigma: float) -> ImageHwc:
    noise = np.random.default_rng(int(image.sum())).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def _smaller(image: ImageHwc, times: float) -> ImageHwc:
    """Return the picture without the detail that a `times` smaller one lacks, at its own size."""
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((round(width / times), round(height / times)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def _blurred(image: ImageHwc, radius: float) -> ImageHwc:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def _levels(image: ImageHwc, gain: float, lift: float, sigma: float) -> ImageHwc:
    return _noisy(np.clip(np.rint(image * gain + lift), 0, 255).astype(np.uint8), sigma)


BAD: Final[Mapping[str, Callable[[ImageHwc], ImageHwc]]] = {
    "good": lambda image: image,
    "small": partial(_smaller, times=6),
    "blurred": partial(_blurred, radius=2.5),
    "noisy": partial(_noisy, sigma=35),
    "dark": partial(_levels, gain=0.1, lift=0, sigma=1),
    "flat": partial(_levels, gain=0.15, lift=110, sigma=1.5),
    "all": lambda image: _levels(_blurred(_smaller(image, 4), 1), gain=0.2, lift=0, sigma=3),
}

RECIPES: Final[Mapping[str, Recipe]] = {
    "brighten": Recipe(steps=(Exposure(gain=2, gamma=2),)),
    "stretch": Recipe(steps=(Stretch(),)),
    "equalise": Recipe(steps=(Equalise(),)),
    "sharpen": Recipe(steps=(Sharpen(),)),
}
RECIPES_FOR: Final = ("good", "small", "dark", "flat", "all")


# --- templates --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class People:
    """Pictures: of people with several, of which the first is enrolled; and the one picture each of all others."""

    several: Sequence[Sequence[ImageHwc]]
    others: Sequence[ImageHwc]

    @classmethod
    def of(cls, folder: Path, count: int) -> "People":
        files = [sorted(person.glob("*.jpg")) for person in sorted(folder.iterdir())]
        several = [paths[: PROBES + 1] for paths in files if len(paths) > PROBES][:count]
        return cls(
            [[_opened(path) for path in paths] for paths in several],
            [_opened(paths[0]) for paths in files if len(paths) == 1],
        )


def _opened(path: Path) -> ImageHwc:
    return np.asarray(Image.open(path).convert("RGB"))


@dataclass(frozen=True)
class Eyes:
    """A model pack, and the rules that a probe's face must keep."""

    vision: Vision
    rules: DetectionSettings

    async def templates(self, images: Sequence[ImageHwc]) -> Templates:
        """Return float64 [N, D] of the face nearest each picture's middle."""
        found = [await self._found(part) for part in _parts(images)]
        return np.concatenate(
            [
                await self._embedded(part, [central(faces, image) for faces, image in zip(each, part, strict=True)])
                for part, each in zip(_parts(images), found, strict=True)
            ]
        )

    async def copies(self, images: Sequence[ImageHwc]) -> Mapping[str, Templates]:
        """Return float64 [N, D] of each recipe's copies, of the face that stands where the original's does."""
        rows: dict[str, list[Templates]] = {name: [] for name in RECIPES}
        for part in _parts(images):
            meant = [central(faces, image) for faces, image in zip(await self._found(part), part, strict=True)]
            for name, recipe in RECIPES.items():
                copied = [follow(recipe, image).pixels for image in part]
                there = zip(await self._found(copied), meant, copied, strict=True)
                faces = [subject_of(each, one.box) if one else central(each, image) for each, one, image in there]
                rows[name].append(await self._embedded(copied, faces))
        return {name: np.concatenate(each) for name, each in rows.items()}

    async def _found(self, images: Sequence[ImageHwc]) -> list[list[Face]]:
        return [[face for face in faces if self._counts(face)] for faces in await self.vision.detector.detect(images)]

    def _counts(self, face: Face) -> bool:
        return face.score >= self.rules.min_score and face.landmarks.interocular_px >= self.rules.min_interocular_px

    async def _embedded(self, images: Sequence[ImageHwc], faces: Sequence[Face | None]) -> Templates:
        places = [place for place, face in enumerate(faces) if face]
        out = np.full((len(images), self.vision.embedder.identity.dimension), np.nan)
        if places:
            landmarks = [face.landmarks for face in faces if face]
            chips = await self.vision.aligner.align([images[place] for place in places], landmarks)
            out[places] = await self.vision.embedder.embed([chip.pixels for chip in chips])
        return out


def _parts(images: Sequence[ImageHwc]) -> list[Sequence[ImageHwc]]:
    return [images[at : at + BATCH] for at in range(0, len(images), BATCH)]


# --- rules ------------------------------------------------------------------------------------------------------------
def one(probes: Templates, gallery: Templates) -> NDArray[np.float64]:
    """Return the similarities of the first image alone: [trials, references]."""
    return _known(probes[:, 0] @ gallery.T)


def best(probes: Templates, gallery: Templates) -> NDArray[np.float64]:
    """Return the greatest similarity to each reference."""
    return np.max(_known(probes @ gallery.T), axis=1)


def mean(probes: Templates, gallery: Templates) -> NDArray[np.float64]:
    """Return the mean similarity to each reference."""
    return _known(_middle(probes) @ gallery.T)


def mean_template(probes: Templates, gallery: Templates) -> NDArray[np.float64]:
    """Return the similarity of the mean template, brought to norm 1."""
    middle = _middle(probes)
    return _known(middle / np.linalg.norm(middle, axis=1, keepdims=True) @ gallery.T)


def _middle(probes: Templates) -> Templates:
    found = ~np.isnan(probes[..., :1])
    return np.where(found, probes, 0).sum(axis=1) / np.where(found.any(axis=1), found.sum(axis=1), np.nan)


def _known(similarities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.nan_to_num(similarities, nan=-1.0)


RULES: Final = {"max": best, "mean": mean, "mean template": mean_template}


# --- asking about everybody -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Asked:
    """Similarities of every trial, [2 galleries, trials, references], and where the mate is, or whether there is one.

    `who`: the person of each trial; `mate`: the place of that person's reference in each gallery, -1: not enrolled.
    """

    similarities: NDArray[np.float64]
    who: NDArray[np.int_]
    mate: NDArray[np.int_]

    def hits(self) -> NDArray[np.bool_]:
        """Return for each trial whose subject is enrolled whether they are the nearest."""
        return self._enrolled(self.similarities.argmax(axis=2) == self.mate)

    def found(self, threshold: float) -> NDArray[np.bool_]:
        """Return for each such trial whether the subject is on the list."""
        own = np.take_along_axis(self.similarities, self.mate[..., None], axis=2)  # [2, trials, 1]
        nearer = (self.similarities > own).sum(axis=2)
        return self._enrolled((own[..., 0] >= threshold) & (nearer < LIST))

    def alarms(self, threshold: float) -> NDArray[np.bool_]:
        """Return for each trial whose subject is not enrolled whether anybody is on the list."""
        return self._strangers(self.similarities.max(axis=2) >= threshold)

    def threshold_at(self, fpir: float) -> float:
        """Return the lowest threshold at which no more than this share of strangers finds anybody."""
        tops = np.sort(self._strangers(self.similarities.max(axis=2)))[::-1]
        return float(np.nextafter(tops[int(fpir * len(tops))], 2))

    def _enrolled(self, trials: NDArray[np.generic]) -> NDArray[np.bool_]:
        return np.where(self.mate[0] >= 0, trials[0], trials[1])  # in one of the two galleries

    def _strangers(self, trials: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.where(self.mate[0] < 0, trials[0], trials[1])


def ask(rule: Callable[[Templates, Templates], NDArray[np.float64]], probes: Templates, known: "Known") -> Asked:
    """Ask about every trial, [trials, images, D], in both galleries; trials of one person stand beside each other."""
    who = np.repeat(np.arange(len(known.references)), len(probes) // len(known.references))
    halves = [np.arange(len(known.references)) % 2 == half for half in (0, 1)]
    scores = [rule(probes, np.concatenate([known.references[half], known.others])) for half in halves]
    places = [np.where(half, np.cumsum(half) - 1, -1)[who] for half in halves]
    width = max(score.shape[1] for score in scores)
    padded = [np.pad(score, ((0, 0), (0, width - score.shape[1])), constant_values=-1.0) for score in scores]
    return Asked(np.stack(padded), who, np.stack(places))


@dataclass(frozen=True)
class Known:
    """The good references: of people with several pictures, and of the others."""

    references: Templates
    others: Templates


def windows(probes: Templates, size: int) -> Templates:
    """Return every run of so many of a person's images, round the end: [people * images, size, D]."""
    people, images = probes.shape[:2]
    runs = (np.arange(images)[:, None] + np.arange(size)) % images
    return probes[:, runs].reshape(people * images, size, -1)
