"""How fast vision is, as ratios against named baselines measured in the same run, on one thread.

    OMP_NUM_THREADS=1 python benches/vision.py [--only pack retinaface precision embedder decode]

Times are CPU seconds of this process and the minimum of several runs: on a busy machine they move less than the clock.
"""

import argparse
import copy
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from math import ceil
from pathlib import Path

import numpy as np
import torch
from _average_precision import average_precision
from _data import TestData
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.utils.flop_counter import FlopCounterMode

from rfr_stream.adapters.gpu import NEEDED_PX
from rfr_stream.faces import Face, ImageHwc, Landmarks
from rfr_stream.vision import (
    align,
    decode,
    dlib_resnet,
    loading,
    mobilefacenet,
    normalisation,
    packs,
    retinaface,
    retinaface_network,
)
from rfr_stream.vision.tuning import Runtime, runtime, tuned

IMAGES = 3
"""Photographs of WIDER FACE that the packs are compared on."""


def cpu_s(*functions: Callable[[], object], runs: int = 5) -> list[float]:
    """Return each function's least CPU time of several runs, after one that does not count.

    They take turns, so that whatever else the machine does meets all of them alike.
    """
    for function in functions:
        function()
    times = [[_timed(function) for function in functions] for _ in range(runs)]
    return [min(column) for column in zip(*times, strict=True)]


def _timed(function: Callable[[], object]) -> float:
    before = time.process_time()
    function()
    return time.process_time() - before


def row(name: str, value: float, unit: str, note: str = "") -> None:
    """Print one line of the table."""
    print(f"  {name:58} {value:10.2f} {unit:8} {note}", flush=True)


# --- the baseline pack against face_recognition -----------------------------------------------------------------------
def bench_pack(data: TestData) -> None:
    """Detect, align and embed: the baseline pack against face_recognition, every face of the same photographs."""
    print("baseline pack against face_recognition, same images, detect + align + embed every face")
    images = [_photograph(path, side_px=640) for path in _photographs(data)]  # the CNN takes minutes on larger ones
    ours, hog, cnn = _ours(packs.pack("baseline"), data.weights), _face_recognition("hog"), _face_recognition("cnn")
    names = ("ours", "face_recognition, hog", "face_recognition, cnn")
    times = np.array(
        [cpu_s(*(partial(run, image) for run in (ours, hog, cnn)), runs=1) for image in images]
    )  # [images, 3]
    for name, seconds, run in zip(names, times.mean(axis=0), (ours, hog, cnn), strict=True):
        found = f"{sum(map(run, images))} faces in {len(images)} images" if run is not cnn else ""
        row(name, 1e3 * seconds, "ms/image", found)
    row("ratio to hog", times[:, 1].sum() / times[:, 0].sum(), "x", "required >= 1")
    row("ratio to cnn", times[:, 2].sum() / times[:, 0].sum(), "x", "required >= 10")


def _ours(pack: packs.Pack, weights: Path) -> Callable[[ImageHwc], int]:
    detector = loading.detector(pack.detector, weights, device="cpu")
    aligner = loading.aligner(pack)
    embedder = loading.embedder(pack.embedder, weights, device="cpu")

    def run(image: ImageHwc) -> int:
        (faces,) = detector.detect([image])
        return len(embedder.embed([aligner(image, face.landmarks) for face in faces]))

    return run


def _face_recognition(model: str) -> Callable[[ImageHwc], int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package still imports pkg_resources
        import face_recognition

    def run(image: ImageHwc) -> int:
        boxes = face_recognition.face_locations(image, model=model)
        return len(face_recognition.face_encodings(image, boxes, model="small"))

    return run


# --- RetinaFace-ResNet-50 against its package -------------------------------------------------------------------------
def bench_retinaface(data: TestData) -> None:
    """Time RetinaFace with a ResNet-50 and random weights: ours against retinaface-pytorch's own code in fp32.

    The package's way is what its `predict_jsons` does: scale to its `max_size` (960, upwards too), normalise, anchors
    in Python, the network as built, softmax, decode, score filter, suppression. Random weights score every anchor about
    one half, so both sides run at a threshold that nothing passes: suppression of noise is not what is compared.
    """
    print("RetinaFace-ResNet-50, random weights, fp32 and this machine's best precision, one thread")
    best = runtime("cpu")
    plain = _random(retinaface_network.resnet50_network())
    image = _photograph(_photographs(data)[0], side_px=640)[:480]
    for each in {Runtime(best.device, torch.float32), best}:
        model = retinaface.RetinaFace(
            copy.deepcopy(plain), normalisation.IMAGENET_RGB, each, packs.pack("retinaface").detector, min_score=2.0
        )
        shipped_s, same_size_s, ours_s = cpu_s(
            partial(_package_way, plain, image, max_size=960),
            partial(_package_way, plain, image, max_size=640),
            partial(model.detect, [image]),
            runs=3,
        )
        name = str(each.dtype).removeprefix("torch.")
        row(f"the package on {image.shape[1]} x {image.shape[0]}, as it ships: upscaled to 960", 1e3 * shipped_s, "ms")
        row("the package, at the picture's own size", 1e3 * same_size_s, "ms")
        row(f"ours, {name}", 1e3 * ours_s, "ms")
        row(f"ratio to the package as it ships, {name}", shipped_s / ours_s, "x", "required >= 3")
        row(f"ratio to the package at the same size, {name}", same_size_s / ours_s, "x")
        _bench_forward(plain, each, image)
    rate, gflop = _gemm_gflops(torch.float32), _gflop(plain, (1, 3, 480, 640))
    row("this machine's fp32 ceiling: GEMM", rate, "GFLOP/s")
    row("the network's convolutions at that rate, 640 x 480", 1e3 * gflop / rate, "ms", f"{gflop:.1f} GFLOP")


def _bench_forward(plain: nn.Module, each: Runtime, image: ImageHwc) -> None:
    height, width = (ceil(side / 32) * 32 for side in image.shape[:2])
    batch = torch.randn(1, 3, height, width)
    fast = tuned(copy.deepcopy(plain), each, shape=(1, 3, height, width))
    packed = batch.to(each.dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        plain_s, fast_s = cpu_s(partial(plain, batch), partial(fast, packed), runs=4)
    row(f"ratio, bare forward, {width} x {height}, {str(each.dtype).removeprefix('torch.')}", plain_s / fast_s, "x")


def _package_way(network: nn.Module, image: ImageHwc, *, max_size: int) -> int:
    from retinaface.box_utils import decode as decode_boxes
    from retinaface.box_utils import decode_landm
    from retinaface.prior_box import priorbox
    from torchvision.ops import nms

    with torch.no_grad():
        share = max_size / max(image.shape[:2])
        size = (round(image.shape[1] * share), round(image.shape[0] * share))
        pixels = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
        pixels = (pixels - normalisation.IMAGENET_RGB.mean) / normalisation.IMAGENET_RGB.std
        batch = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))[None]
        sides = [[16, 32], [64, 128], [256, 512]]
        anchors = priorbox(min_sizes=sides, steps=[8, 16, 32], clip=False, image_size=pixels.shape[:2])
        boxes, classes, landmarks = network(batch)
        scores = F.softmax(classes, dim=-1)[0][:, 1]
        found = decode_boxes(boxes[0], anchors, [0.1, 0.2])
        decode_landm(landmarks[0], anchors, [0.1, 0.2])
        likely = torch.where(scores > 2.0)[0]
        return len(nms(found[likely], scores[likely], 0.4))


# --- precision of the fast path ---------------------------------------------------------------------------------------
def bench_precision(data: TestData) -> None:
    """Compare average precision of RetinaFace-MobileNet's fast path with that of the plain network in fp32."""
    print("RetinaFace-MobileNet-0.25, average precision at IoU 0.5 on every box of the WIDER subset")
    part = packs.pack("retinaface-mobilenet").detector
    network = retinaface_network.load_into(retinaface_network.mobilenet_network(), data.weights / part.weights[0].name)
    fast = retinaface.RetinaFace(copy.deepcopy(network), normalisation.CAFFE_BGR, runtime("cpu"), part, min_score=0.02)
    plain = _Plain(network, part)
    truth = [boxes for _, boxes in data.wider()]
    pictures = [_photograph(path) for path, _ in data.wider()]
    results = {
        name: 100 * average_precision([_boxes(model.detect([picture])[0]) for picture in pictures], truth)
        for name, model in (("fast path", fast), ("plain fp32", plain))
    }
    for name, value in results.items():
        row(f"AP, {name}", value, "points")
    row("difference", abs(results["fast path"] - results["plain fp32"]), "points", "required <= 0.2")


class _Plain(retinaface.RetinaFace):
    """The same detector over the network exactly as it was built."""

    def __init__(self, network: nn.Module, part: packs.Part) -> None:
        fp32 = Runtime(torch.device("cpu"), torch.float32)
        super().__init__(copy.deepcopy(network), normalisation.CAFFE_BGR, fp32, part, min_score=0.02)
        self._network = network


def _boxes(faces: Sequence[Face]) -> NDArray[np.float64]:
    rows = [(face.box.x1, face.box.y1, face.box.x2, face.box.y2, face.score) for face in faces]
    return np.array(rows, dtype=np.float64).reshape(-1, 5)


# --- embedders against the machine's ceiling --------------------------------------------------------------------------
def bench_embedder(data: TestData) -> None:
    """Time the embedders' forward and the whole of `embed`, a face, against the multiplications they need."""
    print("embedders, a face; the floor is their multiplications at this machine's own GEMM rate, one thread")
    each = runtime("cpu")
    rate = _gemm_gflops(each.dtype)
    row(f"GEMM, {str(each.dtype).removeprefix('torch.')}", rate, "GFLOP/s")
    baseline, retina = packs.pack("baseline"), packs.pack("retinaface-mobilenet")
    networks = (
        ("dlib ResNet", baseline, dlib_resnet.load),
        ("MobileFaceNet", retina, mobilefacenet.load),
    )
    for name, pack, load in networks:
        path = packs.locate(pack.embedder.weights[0], data.weights)
        plain = load(path).eval()
        model = loading.embedder(pack.embedder, data.weights, device="cpu")
        side = pack.embedder.input_px
        gflop = _gflop(plain, (1, 3, side, side))
        row(f"{name}, multiplications and additions", gflop, "GFLOP", "a face")
        for size in (1, 16):
            chips = [np.full((side, side, 3), 100, np.uint8)] * size
            batch = torch.zeros(size, 3, side, side)
            with torch.inference_mode():
                ours_s, eager_s = cpu_s(partial(model.embed, chips), partial(plain, batch), runs=9)
            ours_ms, floor_ms = 1e3 * ours_s / size, 1e3 * gflop / rate
            row(f"{name}, B={size}", ours_ms, "ms", f"{ours_ms / floor_ms:.1f} x this machine's floor, required <= 2")
            row(f"{name}, B={size}, ratio to the network as built", eager_s / ours_s, "x")


def _gflop(network: nn.Module, shape: tuple[int, ...]) -> float:
    """Return what one forward multiplies and adds when each convolution is computed by its definition."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(shape))
    return float(counter.get_total_flops()) / 1e9


def _gemm_gflops(dtype: torch.dtype, *, side: int = 1536) -> float:
    """Return the rate of the best of several square multiplications."""
    left, right = (torch.randn(side, side).to(dtype) for _ in range(2))
    (seconds,) = cpu_s(lambda: left @ right, runs=7)
    return 2 * side**3 / seconds / 1e9


# --- decode -----------------------------------------------------------------------------------------------------------
def bench_decode(data: TestData) -> None:
    """Time decoding a 12-megapixel photograph as a share of all that is done with it."""
    print("a 12-megapixel photograph (a test image, enlarged): decode as a share of decode, detect, align, embed")
    out = BytesIO()
    with Image.open(_photographs(data)[0]) as image:
        image.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC).save(out, "JPEG", quality=92)
    limits = decode.Limits(64 * 2**20, 120_000_000, needed_px=NEEDED_PX)
    full = decode.Limits(64 * 2**20, 120_000_000)
    file = out.getvalue()
    picture = decode.decode(file, limits).pixels
    resnet = retinaface.RetinaFace(
        _random(retinaface_network.resnet50_network()),
        normalisation.IMAGENET_RGB,
        runtime("cpu"),
        packs.pack("retinaface").detector,
        min_score=2.0,
    )
    decode_s, full_s, *work_s = cpu_s(
        partial(decode.decode, file, limits),
        partial(decode.decode, file, full),
        partial(_ours(packs.pack("baseline"), data.weights), picture),
        partial(_ours(packs.pack("retinaface-mobilenet"), data.weights), picture),
        partial(resnet.detect, [picture]),
        runs=3,
    )
    row(f"decode, scaled to {picture.shape[1]} x {picture.shape[0]}", 1e3 * decode_s, "ms")
    row("decode, every pixel", 1e3 * full_s, "ms")
    for name, seconds in zip(("baseline", "retinaface-mobilenet", "retinaface, detection alone"), work_s, strict=True):
        row(f"share of decode, {name}", 100 * decode_s / (decode_s + seconds), "%", "required <= 15")
    _bench_chip(picture)


def _bench_chip(picture: ImageHwc) -> None:
    landmarks = Landmarks.from_array(align.ARCFACE_112 * 3 + 200)
    chip = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
    align_s, encode_s = cpu_s(
        lambda: align.align(picture, landmarks, align.ARCFACE_112, chip_px=112), lambda: decode.encode(chip)
    )
    row("align one face", 1e3 * align_s, "ms")
    row("encode a chip of noise", 1e3 * encode_s, "ms")


# --- shared -----------------------------------------------------------------------------------------------------------
def _photographs(data: TestData) -> list[Path]:
    """Return photographs with one to six true faces: what a probe looks like."""
    paths = [path for path, boxes in data.wider() if 1 <= len(boxes) <= 6]
    return paths[:: max(1, len(paths) // IMAGES)][:IMAGES]


def _photograph(path: Path, *, side_px: int | None = None) -> ImageHwc:
    pixels = decode.decode(path.read_bytes(), decode.Limits(2**26, 2**27)).pixels
    if side_px is None:
        return pixels
    image = Image.fromarray(pixels)
    image.thumbnail((side_px, side_px))
    return np.array(image)


def _random(network: nn.Module) -> nn.Module:
    """Give batch normalisation statistics that are not the identity, so that folding it has something to fold."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


PARTS = {
    "pack": bench_pack,
    "retinaface": bench_retinaface,
    "precision": bench_precision,
    "embedder": bench_embedder,
    "decode": bench_decode,
}


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    torch.set_num_threads(1)
    for name in parser.parse_args().only:
        PARTS[name](TestData())


if __name__ == "__main__":
    main()
