"""From a pack's names to running models. Weights are checked against their digests before anything reads them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from rfr_stream.faces import Face, ImageHwc, Landmarks
from rfr_stream.vision import align, null
from rfr_stream.vision.pack_file import OnnxPart
from rfr_stream.vision.packs import Pack, Part
from rfr_stream.vision.weights import verified_paths


class DetectorModel(Protocol):
    """Finds faces, synchronously."""

    def detect(self, images: Sequence[ImageHwc]) -> list[list[Face]]:
        """Return the faces of each image, uint8 [H, W, 3], RGB, in its own pixels, highest score first."""


class EmbedderModel(Protocol):
    """Makes templates, synchronously."""

    def embed(self, chips: Sequence[ImageHwc]) -> NDArray[np.float32]:
        """Return float32 [N, D], L2 norm 1, for N chips uint8 [S, S, 3], RGB."""


AlignerModel = Callable[[ImageHwc, Landmarks], ImageHwc]
"""Brings one face upright: uint8 [H, W, 3] and its landmarks to a chip, uint8 [S, S, 3]."""


def aligner(pack: Pack) -> AlignerModel:
    """Return the function that brings faces upright for the pack's embedder."""
    if pack.aligner == "null-16":
        return lambda image, _landmarks: null.align(image)
    template, chip_px = align.TEMPLATES[pack.aligner]
    return lambda image, landmarks: align.align(image, landmarks, template, chip_px=chip_px)


def detector(part: Part, weights_dir: Path, *, device: str) -> DetectorModel:
    """Load a detector; it uses as many threads as torch is set to.

    Raises:
        BadPack: its weights are absent or not those that the pack names.

    """
    paths = verified_paths(part, weights_dir)
    if isinstance(part, OnnxPart):
        from rfr_stream.vision import onnx

        return onnx.detector(part, paths[0], device=device)
    return _DETECTORS[part.architecture](part, paths, device)


def embedder(part: Part, weights_dir: Path, *, device: str) -> EmbedderModel:
    """Load an embedder; it uses as many threads as torch is set to.

    Raises:
        BadPack: its weights are absent or not those that the pack names.

    """
    paths = verified_paths(part, weights_dir)
    if isinstance(part, OnnxPart):
        from rfr_stream.vision import onnx

        return onnx.embedder(part, paths[0], device=device)
    return _EMBEDDERS[part.architecture](part, paths, device)


# torch is imported where a model that runs on it is built, so that the null pack and the search stage do without.
def _mtcnn(part: Part, paths: Sequence[Path], device: str) -> DetectorModel:
    from rfr_stream.vision import mtcnn, tuning

    return mtcnn.Mtcnn(paths, tuning.runtime(device), input_px=part.input_px)


def _retinaface_resnet50(part: Part, paths: Sequence[Path], device: str) -> DetectorModel:
    from rfr_stream.vision import normalisation, retinaface, retinaface_network, tuning

    network = retinaface_network.load_into(retinaface_network.resnet50_network(), paths[0])
    return retinaface.RetinaFace(network, normalisation.IMAGENET_RGB, tuning.runtime(device), part)


def _retinaface_mobilenet(part: Part, paths: Sequence[Path], device: str) -> DetectorModel:
    from rfr_stream.vision import normalisation, retinaface, retinaface_network, tuning

    network = retinaface_network.load_into(retinaface_network.mobilenet_network(), paths[0])
    return retinaface.RetinaFace(network, normalisation.CAFFE_BGR, tuning.runtime(device), part)


def _dlib_resnet(part: Part, paths: Sequence[Path], device: str) -> EmbedderModel:
    from rfr_stream.vision import dlib_resnet, embedding, normalisation, tuning

    network = dlib_resnet.load(paths[0])
    levels = normalisation.Normalisation(dlib_resnet.MEAN_RGB, dlib_resnet.STD_RGB)
    return embedding.NetworkEmbedder(network, levels, tuning.runtime(device), part)


def _mobilefacenet(part: Part, paths: Sequence[Path], device: str) -> EmbedderModel:
    from rfr_stream.vision import embedding, mobilefacenet, normalisation, tuning

    network = mobilefacenet.load(paths[0])
    return embedding.NetworkEmbedder(network, normalisation.IMAGENET_RGB, tuning.runtime(device), part)


_DETECTORS: Final[MappingProxyType[str, Callable[[Part, Sequence[Path], str], DetectorModel]]] = MappingProxyType(
    {
        "mtcnn": _mtcnn,
        "retinaface-resnet50": _retinaface_resnet50,
        "retinaface-mobilenet0.25": _retinaface_mobilenet,
        "null": lambda *_: null.NullDetector(),
    }
)
_EMBEDDERS: Final[MappingProxyType[str, Callable[[Part, Sequence[Path], str], EmbedderModel]]] = MappingProxyType(
    {
        "dlib-resnet": _dlib_resnet,
        "mobilefacenet": _mobilefacenet,
        "null": lambda *_: null.NullEmbedder(),
    }
)
