"""What recipes, and the fusion of several images of one subject, gain on low-quality probes, and what they cost.

    OMP_NUM_THREADS=1 python benches/low_quality.py [--pack baseline] [--only fusion] [--bad dark small] [--people 150]

Pictures of an LFW subset are made bad, each in five ways and in all of them at once. Each person with six pictures or
more has one good one in the gallery and five bad ones as probes; people with one picture fill the gallery. Half of the
people are enrolled, then the other half: everybody is asked about once as somebody who is enrolled, once as somebody
who is not.

hit@1: the enrolled subject is the nearest. TPIR: the subject is at or above the pack's threshold, among the first ten.
FPIR: the list of somebody who is not enrolled is not empty. At equal FPIR: TPIR at the threshold at which the rule's
FPIR is that of one image at the pack's threshold. In brackets the 95 % interval of the difference to one image (or to
the original alone), by bootstrap over people.

Exit code 1 where the rule of the search stage raises FPIR beyond chance, or several images find less than one.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from _data import TestData
from accuracy import central
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from rfr_stream.adapters.gpu import Vision, open_vision
from rfr_stream.events import Equalise, Exposure, Recipe, Sharpen, Stretch
from rfr_stream.faces import Face, ImageHwc, subject_of
from rfr_stream.settings import DetectionSettings, VisionSettings
from rfr_stream.stages._fusion import fuse
from rfr_stream.vision.recipes import follow

Templates: TypeAlias = NDArray[np.float64]
"""float64 [people, images, D], L2 norm 1; NaN where no face was found."""

PROBES: Final = 5
LIST: Final = 10
BATCH: Final = 16
DRAWS: Final = 1_000
SIZES: Final = (2, 3, 5)


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
RECIPE_PROBES: Final = 2
"""Of each person's: every probe costs as many more as there are recipes."""
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
    greatest: NDArray[np.float64] = _known(probes @ gallery.T).max(axis=1)
    return greatest


def mean(probes: Templates, gallery: Templates) -> NDArray[np.float64]:
    """Return the mean similarity to each reference."""
    return _known(_middle(probes) @ gallery.T)


def mean_template(probes: Templates, gallery: Templates) -> NDArray[np.float64]:
    """Return the similarity of the mean template, brought to norm 1."""
    middle = _middle(probes)
    return _known(middle / np.linalg.norm(middle, axis=1, keepdims=True) @ gallery.T)


def _middle(probes: Templates) -> Templates:
    found = ~np.isnan(probes[..., :1])
    middle: Templates = np.where(found, probes, 0).sum(axis=1) / np.where(found.any(axis=1), found.sum(axis=1), np.nan)
    return middle


def _known(similarities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.nan_to_num(similarities, nan=-1.0)


def product(probes: Templates, gallery: Templates) -> NDArray[np.float64]:
    """Return what the search stage does with several templates."""
    scores = [_fused(each[~np.isnan(each[:, 0])], gallery) for each in probes]
    return _known(np.stack(scores))


def _fused(templates: Templates, gallery: Templates) -> NDArray[np.float64]:
    if not len(templates):
        return np.full(len(gallery), np.nan)
    fused = fuse(list(templates.astype(np.float32)))
    together, alone = (gallery @ fused.template) * fused.weight, (gallery @ templates.T).max(axis=1)
    both: NDArray[np.float64] = np.minimum(together, alone)
    return both


Rule: TypeAlias = Callable[[Templates, Templates], NDArray[np.float64]]

RULES: Final[Mapping[str, Rule]] = {"max": best, "mean": mean, "mean template": mean_template, "product": product}


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
        return self._nearest_to_strangers() >= threshold

    def threshold_at(self, fpir: float) -> float:
        """Return the lowest threshold at which no more than this share of strangers finds anybody."""
        tops = np.sort(self._nearest_to_strangers())[::-1]
        return float(np.nextafter(tops[int(fpir * len(tops))], 2))

    def _enrolled(self, trials: NDArray[np.bool_]) -> NDArray[np.bool_]:
        own: NDArray[np.bool_] = np.where(self.mate[0] >= 0, trials[0], trials[1])  # in one of the two galleries
        return own

    def _nearest_to_strangers(self) -> NDArray[np.float64]:
        nearest = self.similarities.max(axis=2)
        elsewhere: NDArray[np.float64] = np.where(self.mate[0] < 0, nearest[0], nearest[1])
        return elsewhere


def ask(rule: Rule, probes: Templates, known: "Known") -> Asked:
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


# --- the table --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Row:
    """One rule's result: shares of trials, and the differences to the first row's, each with its interval."""

    name: str
    hit: float
    tpir: float
    fpir: float
    tpir_at_equal: float
    more_found: tuple[float, float]
    more_alarms: tuple[float, float]

    def __str__(self) -> str:
        """Return it as a line."""
        gain, cost = (f"[{low:+.3f} {high:+.3f}]" for low, high in (self.more_found, self.more_alarms))
        return (
            f"  {self.name:28} hit@1 {self.hit:.3f}  TPIR {self.tpir:.3f} {gain}  FPIR {self.fpir:.3f} {cost}"
            f"  TPIR at equal FPIR {self.tpir_at_equal:.3f}"
        )


def row(name: str, asked: Asked, base: Asked, threshold: float) -> Row:
    found, alarms = asked.found(threshold), asked.alarms(threshold)
    base_found, base_alarms = base.found(threshold), base.alarms(threshold)
    equal = asked.threshold_at(float(base_alarms.mean()))
    return Row(
        name,
        float(asked.hits().mean()),
        float(found.mean()),
        float(alarms.mean()),
        float(asked.found(equal).mean()),
        _interval(found, base_found, asked.who),
        _interval(alarms, base_alarms, asked.who),
    )


def _interval(one_: NDArray[np.bool_], other: NDArray[np.bool_], who: NDArray[np.int_]) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two shares: people are drawn, with all their trials."""
    people = int(who.max()) + 1
    difference = (np.bincount(who, one_) - np.bincount(who, other)) / np.bincount(who)
    drawn = np.random.default_rng(5).integers(0, people, (DRAWS, people))
    low, high = np.percentile(difference[drawn].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def fusion_rows(probes: Templates, known: Known, threshold: float) -> Iterator[Row]:
    """Yield one image, then each number of images by each rule."""
    alone = ask(one, windows(probes, 1), known)
    yield row("one image", alone, alone, threshold)
    for size in SIZES:
        several = windows(probes, size)
        for name, rule in RULES.items():
            yield row(f"{size} images, {name}", ask(rule, several, known), alone, threshold)


def recipe_rows(originals: Templates, copies: Mapping[str, Templates], known: Known, threshold: float) -> Iterator[Row]:
    """Yield the original alone, then each recipe's copy alone and beside the original, then all together."""
    base = ask(one, originals, known)
    yield row("the original", base, base, threshold)
    for name, copy in copies.items():
        yield row(f"{name}, alone", ask(one, copy, known), base, threshold)
        both = np.concatenate([originals, copy], axis=1)
        yield row(f"original + {name}", ask(product, both, known), base, threshold)
    together = np.concatenate([originals, *copies.values()], axis=1)
    for name, rule in RULES.items():
        yield row(f"original + all, {name}", ask(rule, together, known), base, threshold)


async def measure(pack: str, bad: Sequence[str], only: str | None, people: People) -> bool:
    """Print the tables; return whether the search stage's rule keeps its promise."""
    data, kept = TestData(), True
    async with open_vision(VisionSettings(pack=pack, decode_threads=1), data.weights) as vision:
        eyes = Eyes(vision, DetectionSettings())
        known = Known(
            np.nan_to_num(await eyes.templates([images[0] for images in people.several])),
            np.nan_to_num(await eyes.templates(people.others)),
        )
        print(f"{pack}, threshold {vision.threshold}: {len(people.several)} people, {len(people.others)} others")
        for name in bad:
            probes = [BAD[name](image) for images in people.several for image in images[1:]]
            if only != "recipes":
                templates = (await eyes.templates(probes)).reshape(len(people.several), PROBES, -1)
                rows = list(fusion_rows(templates, known, vision.threshold))
                print(f"{name}: several images", *rows, sep="\n", flush=True)
                kept = kept and all(map(_is_kept, rows))
            if only != "fusion" and name in RECIPES_FOR:
                some = [probe for at, probe in enumerate(probes) if at % PROBES < RECIPE_PROBES]
                originals = (await eyes.templates(some))[:, None]
                copies = {each: rows[:, None] for each, rows in (await eyes.copies(some)).items()}
                print(
                    f"{name}: recipes", *recipe_rows(originals, copies, known, vision.threshold), sep="\n", flush=True
                )
    return kept


def _is_kept(row_: Row) -> bool:
    """Whether a row of the product's rule has no more false alarms than one image, and finds no less."""
    return "product" not in row_.name or (row_.more_alarms[0] <= 0 and row_.more_found[1] >= 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="retinaface-mobilenet")
    parser.add_argument("--only", choices=["fusion", "recipes"])
    parser.add_argument("--bad", nargs="*", choices=list(BAD), default=list(BAD))
    parser.add_argument("--people", type=int, default=150)
    asked = parser.parse_args()
    people = People.of(TestData().test_data / "lfw_dev", asked.people)
    sys.exit(0 if asyncio.run(measure(asked.pack, asked.bad, asked.only, people)) else 1)


if __name__ == "__main__":
    main()
