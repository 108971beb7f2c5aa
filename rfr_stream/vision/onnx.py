"""Runs the `onnx` pack on ONNX Runtime: models of anybody's, held to what the pack file says of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from rfr_stream.faces import Face, ImageHwc
from rfr_stream.vision import yunet
from rfr_stream.vision.normalisation import Normalisation
from rfr_stream.vision.pack_file import OnnxPart
from rfr_stream.vision.packs import BadPack
from rfr_stream.vision.resize import shrink
from rfr_stream.vision.suppression import likely, one_each

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

T = TypeVar("T")

BATCH: Final = 16
"""Most chips in one forward, where the model does not take one at a time."""

_CPU: Final = torch.device("cpu")
_DECODERS: Final = MappingProxyType({"yunet": yunet})


def detector(part: OnnxPart, path: Path, *, device: str) -> "OnnxDetector":
    """Load a detector.

    Raises:
        BadPack: the model is not what the pack file says; the message names the field.

    """
    session = _session("detector", path, device=device)
    height, width = _sides("detector", session)
    if part.input_px > min(height or part.input_px, width or part.input_px):
        _refuse("detector.input_px", f"the model takes pictures of {width} x {height}")
    missing = [name for name in _DECODERS[part.decoder].ANSWERS if name not in _names(session.get_outputs())]
    if missing:
        _refuse("detector.decoder", f"{part.decoder} reads {', '.join(missing)}, and the model has no such answer")
    loaded = OnnxDetector(session, part)
    _first("detector.decoder", lambda: loaded.detect([np.zeros((64, 64, 3), np.uint8)]))
    return loaded


def embedder(part: OnnxPart, path: Path, *, device: str) -> "OnnxEmbedder":
    """Load an embedder.

    Raises:
        BadPack: the model is not what the pack file says; the message names the field.

    """
    session = _session("embedder", path, device=device)
    if any(side not in {None, part.input_px} for side in _sides("embedder", session)):
        _refuse("embedder.input_px", f"the model takes chips of {session.get_inputs()[0].shape}")
    if len(session.get_outputs()) != 1:
        _refuse("embedder.file", f"the model gives {', '.join(_names(session.get_outputs()))}, and one is needed")
    loaded = OnnxEmbedder(session, part)
    chips = [np.zeros((part.input_px, part.input_px, 3), np.uint8)] * 2  # two: some models only seem to take batches
    shape = _first("embedder.file", lambda: loaded.embed(chips).shape)
    if shape != (2, part.dimension):
        _refuse("embedder.dimension", f"the model answers two chips with {list(shape)}, not [2, {part.dimension}]")
    return loaded


class OnnxDetector:
    """Finds faces with five landmarks each."""

    def __init__(self, session: "InferenceSession", part: OnnxPart) -> None:
        self._session, self._input_px = session, part.input_px
        self._decoder = _DECODERS[part.decoder]
        self._input, self._sides = session.get_inputs()[0].name, _sides("detector", session)
        self._channels = list(part.channels)
        self._factor, self._offset = Normalisation(part.mean, part.std).factor_and_offset(_CPU)

    def detect(self, images: Sequence[ImageHwc]) -> list[list[Face]]:
        """Return the faces of each image (uint8 [H, W, 3], RGB) in its own pixels, highest score first."""
        with torch.inference_mode():
            return [self._detect(image) for image in images]

    def _detect(self, image: ImageHwc) -> list[Face]:
        frame, scale = shrink(image, self._input_px, _CPU)  # [1, 3, h, w]
        batch = self._prepared(frame)  # [1, 3, H', W']
        boxes, scores, points = self._decoder.decode(self._answers(batch), *batch.shape[2:])  # [A, 4], [A], [A, 5, 2]
        places = likely(scores)  # [N]
        return one_each(boxes[places], scores[places], points[places], scale=scale)

    def _prepared(self, frame: Tensor) -> Tensor:
        """Normalise, and pad right and below: to the model's own size, or to a multiple of the coarsest stride."""
        pixels = frame[:, self._channels].float().mul_(self._factor).add_(self._offset)
        wanted = [own or -(-side // 32) * 32 for own, side in zip(self._sides, frame.shape[2:], strict=True)]
        below, right = (to - side for to, side in zip(wanted, frame.shape[2:], strict=True))
        return F.pad(pixels, (0, right, 0, below))  # [1, 3, H', W']

    def _answers(self, batch: Tensor) -> Mapping[str, Tensor]:
        names = self._decoder.ANSWERS
        answers = self._session.run(list(names), {self._input: batch.numpy()})
        return {name: torch.from_numpy(answer)[0] for name, answer in zip(names, answers, strict=True)}


class OnnxEmbedder:
    """Turns chips into templates."""

    def __init__(self, session: "InferenceSession", part: OnnxPart) -> None:
        self._session, self._dimension = session, part.dimension
        (given,) = session.get_inputs()
        self._input, self._step = given.name, 1 if given.shape[0] == 1 else BATCH
        self._channels = list(part.channels)
        self._mean, self._std = np.array(part.mean, np.float32), np.array(part.std, np.float32)

    def embed(self, chips: Sequence[ImageHwc]) -> NDArray[np.float32]:
        """Return float32 [N, D], L2 norm 1, for N chips uint8 [S, S, 3], RGB."""
        if not chips:
            return np.zeros((0, self._dimension), np.float32)
        return np.concatenate([self._forward(chips[at : at + self._step]) for at in range(0, len(chips), self._step)])

    def _forward(self, chips: Sequence[ImageHwc]) -> NDArray[np.float32]:
        levels = np.stack(chips)[..., self._channels]  # [N, S, S, 3]
        batch = ((levels - self._mean) / self._std).transpose(0, 3, 1, 2)  # [N, 3, S, S]
        (said,) = self._session.run(None, {self._input: np.ascontiguousarray(batch)})
        answer = said.astype(np.float32, copy=False)
        norms = np.linalg.norm(answer, axis=-1, keepdims=True)
        templates: NDArray[np.float32] = answer / np.maximum(norms, np.float32(1e-12))  # [N, D]
        return templates


def _session(role: str, path: Path, *, device: str) -> "InferenceSession":
    if device == "cuda":
        _refuse("vision.device", "the onnx pack runs on the CPU")
    try:
        import onnxruntime
    except ImportError:
        _refuse("vision.pack", "onnx needs ONNX Runtime: pip install 'rfr-stream[onnx]'")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # ruinous where cores are shared
    options.log_severity_level = 4  # what goes wrong is raised
    try:
        # From bytes, not by name: weights beside the file, which its digest does not cover, are not found.
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - the library's own errors have no base but this
        _refuse(f"{role}.file", f"ONNX Runtime cannot load it ({type(error).__name__}: {error})")


def _sides(role: str, session: "InferenceSession") -> tuple[int | None, int | None]:
    """Return the height and width that the model wants of its pictures; None: any."""
    taken = [
        (each.type, [side if isinstance(side, int) else None for side in each.shape]) for each in session.get_inputs()
    ]
    match taken:
        case [("tensor(float)", [None | 1, 3, height, width])]:
            sides = height, width
        case _:
            _refuse(f"{role}.file", f"the model takes {taken}, and one float32 [N, 3, height, width] is needed")
    return sides


def _first(field: str, forward: Callable[[], T]) -> T:
    """Return what the model's first answer is read as."""
    try:
        return forward()
    except Exception as error:  # noqa: BLE001 - whatever a foreign model does to whatever reads it
        _refuse(field, f"what the model answers cannot be read ({type(error).__name__}: {error})")


def _names(nodes: Sequence[Any]) -> list[str]:
    return [node.name for node in nodes]


def _refuse(field: str, why: str) -> NoReturn:
    msg = f"{field}: {why}"
    raise BadPack(msg)
