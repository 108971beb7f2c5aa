"""Verification accuracy on pairs of an LFW subset, end to end: decode, detect, align, embed, compare.

    OMP_NUM_THREADS=1 python benches/accuracy.py [--packs baseline retinaface-mobilenet] [--no-dlib] [--pairs 3000]

Ten folds: the threshold that is best on nine decides the tenth. A pair of which a face was not found is an error,
whichever way it should have gone. Where a picture holds several faces, the one nearest its centre is taken: LFW's
subject stands there. FMR counts every pair of two different people among the images, not the listed ones alone.

Targets, or the exit status is 1: `baseline` 98.5 %, and no worse than dlib's own pipeline on the same pairs;
`retinaface-mobilenet` 99.2 %.
"""

import argparse
import asyncio
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Final

import numpy as np
from _data import Pairs, TestData
from numpy.typing import NDArray

from rfr_stream.adapters.gpu import Vision, open_vision
from rfr_stream.errors import Rejected
from rfr_stream.faces import Face, ImageHwc
from rfr_stream.settings import VisionSettings

FOLDS = 10
BATCH = 16
FMRS = (1e-3, 1e-4, 1e-5)
DLIB: Final = "dlib: HOG, 5 points, ResNet"
TARGETS: Final = {"baseline": 0.985, "retinaface-mobilenet": 0.992}


@dataclass(frozen=True)
class Result:
    """accuracy: share of pairs, mean of ten folds; missed: images without a face; templates [N, D], NaN if missed."""

    name: str
    accuracy: float
    missed: int
    templates: NDArray[np.float64]


async def pack_templates(pack: str, data: TestData, pairs: Pairs) -> NDArray[np.float64]:
    """Return float64 [N, D], L2 norm 1, for every file; NaN where no face was found."""
    settings = VisionSettings(pack=pack, decode_threads=1)
    async with open_vision(settings, data.weights) as vision:
        steps = [pairs.files[at : at + BATCH] for at in range(0, len(pairs.files), BATCH)]
        rows = [await _embedded(vision, [file.read_bytes() for file in step]) for step in steps]
    return np.concatenate(rows)


async def _embedded(vision: Vision, files: Sequence[bytes]) -> NDArray[np.float64]:
    images = [_pixels(picture) for picture in await vision.codec.decode(files)]
    found = await vision.detector.detect(images)
    subjects = [central(faces, image) for faces, image in zip(found, images, strict=True)]
    places = [place for place, face in enumerate(subjects) if face is not None]
    landmarks = [face.landmarks for face in subjects if face is not None]
    chips = await vision.aligner.align([images[place] for place in places], landmarks)
    out = np.full((len(files), vision.embedder.identity.dimension), np.nan)
    out[places] = await vision.embedder.embed([chip.pixels for chip in chips])
    return out


def _pixels(picture: object) -> ImageHwc:
    if isinstance(picture, Rejected):
        raise picture
    pixels: ImageHwc = picture.pixels  # type: ignore[attr-defined]  # Picture, the only other
    return pixels


def central(faces: Sequence[Face], image: ImageHwc) -> Face | None:
    """Return the face nearest the picture's centre."""
    height, width = image.shape[:2]
    return min(
        faces,
        key=lambda face: hypot(face.box.centre.x - width / 2, face.box.centre.y - height / 2),
        default=None,
    )


def dlib_templates(pairs: Pairs) -> NDArray[np.float64]:
    """Return the same by dlib's own pipeline: HOG (upsampled once), five-point predictor, ResNet, its own chips."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package still imports pkg_resources
        import face_recognition
    rows = np.full((len(pairs.files), 128), np.nan)
    for place, file in enumerate(pairs.files):
        image = face_recognition.load_image_file(file)
        height, width = image.shape[:2]
        boxes = face_recognition.face_locations(image)  # top, right, bottom, left
        if boxes:
            box = min(boxes, key=lambda b: hypot((b[1] + b[3] - width) / 2, (b[0] + b[2] - height) / 2))
            rows[place] = face_recognition.face_encodings(image, [box], model="small")[0]
    return rows


def evaluate(name: str, templates: NDArray[np.float64], pairs: Pairs) -> Result:
    """Compare by L2 distance: for unit vectors that is the order of cosine, for dlib's own its documented measure."""
    similarities = -np.linalg.norm(templates[pairs.first] - templates[pairs.second], axis=1)  # [pairs]
    return Result(name, ten_fold(similarities, pairs.mated), int(np.isnan(templates[:, 0]).sum()), templates)


def ten_fold(similarities: NDArray[np.float64], mated: NDArray[np.bool_]) -> float:
    """Return the mean accuracy of ten folds; NaN (no face) is an error whatever the threshold."""
    fold = np.empty(len(mated), dtype=np.int_)
    for kind in (True, False):  # as many of each kind in every fold
        fold[mated == kind] = np.arange((mated == kind).sum()) % FOLDS
    right = [_accuracy(similarities, mated, fold == test) for test in range(FOLDS)]
    return float(np.mean(right))


def _accuracy(similarities: NDArray[np.float64], mated: NDArray[np.bool_], test: NDArray[np.bool_]) -> float:
    threshold = _best_threshold(similarities[~test], mated[~test])
    said = similarities[test] >= threshold
    return float(np.mean((said == mated[test]) & ~np.isnan(similarities[test])))


def _best_threshold(similarities: NDArray[np.float64], mated: NDArray[np.bool_]) -> float:
    thresholds = np.unique(similarities[~np.isnan(similarities)])
    accepted = np.sort(similarities[mated & ~np.isnan(similarities)])
    refused = np.sort(similarities[~mated & ~np.isnan(similarities)])
    right = len(accepted) - np.searchsorted(accepted, thresholds) + np.searchsorted(refused, thresholds)
    return float(thresholds[right.argmax()])


def operating_points(result: Result, pairs: Pairs) -> list[str]:
    """Return, for each false match rate, the cosine threshold and the share of listed mated pairs above it."""
    found = ~np.isnan(result.templates[:, 0])
    people = np.unique(pairs.people(), return_inverse=True)[1]
    unit = result.templates / np.linalg.norm(result.templates, axis=1, keepdims=True)
    first, second = np.triu_indices(int(found.sum()), 1)
    strangers = people[found][first] != people[found][second]
    scores = np.sort((unit[found] @ unit[found].T)[first, second][strangers])
    mated = np.sum(unit[pairs.first] * unit[pairs.second], axis=1)[pairs.mated]
    points = ((fmr, scores[-int(len(scores) * fmr) - 1]) for fmr in FMRS)
    return [f"FMR {fmr:.0e}: cosine {point:.3f}, TMR {np.mean(mated >= point):.2%}" for fmr, point in points]


def main() -> None:
    """Print a table, and end with 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packs", nargs="*", default=list(TARGETS))
    parser.add_argument(
        "--dlib", action=argparse.BooleanOptionalAction, default=True, help="dlib's own pipeline on the same pairs"
    )
    parser.add_argument("--pairs", type=int, default=0, help="this many of each kind; 0: all")
    asked = parser.parse_args()
    data = TestData()
    pairs = data.lfw_pairs(asked.pairs)
    print(f"{len(pairs.mated)} pairs, {len(pairs.files)} images")
    reached: dict[str, float] = {}
    for pack in asked.packs:
        reached[pack] = _show(evaluate(pack, asyncio.run(pack_templates(pack, data, pairs)), pairs), pairs)
    if asked.dlib:
        reached[DLIB] = _show(evaluate(DLIB, dlib_templates(pairs), pairs), pairs)
    missed = _missed(reached)
    print(*(f"MISSED: {target}" for target in missed), sep="\n")
    sys.exit(1 if missed else 0)


def _missed(reached: Mapping[str, float]) -> list[str]:
    missed = [f"{pack} {target:.1%}" for pack, target in TARGETS.items() if reached.get(pack, 1.0) < target]
    if reached.get("baseline", 1.0) < reached.get(DLIB, 0.0):
        missed.append("baseline: at least dlib's own pipeline")
    return missed


def _show(result: Result, pairs: Pairs) -> float:
    print(f"{result.name:28} accuracy {result.accuracy:.2%}  images without a face {result.missed}")
    for line in operating_points(result, pairs):
        print(f"{'':28} {line}", flush=True)
    return result.accuracy


if __name__ == "__main__":
    main()
