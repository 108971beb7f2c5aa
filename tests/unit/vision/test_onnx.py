"""Models that somebody brings are held to what their pack file says of them."""

import math
import sys
from pathlib import Path
from typing import Any

import brought
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from rfr_stream.adapters.gpu import open_vision
from rfr_stream.settings import VisionSettings
from rfr_stream.vision import loading, yunet
from rfr_stream.vision.onnx import OnnxDetector
from rfr_stream.vision.packs import BadPack, pack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    brought.save_detector(tmp_path, (1, 3, 32, 32))
    brought.save_embedder(tmp_path)
    return tmp_path


def load(folder: Path, role: str, *, device: str = "cpu", **changes: Any) -> Any:  # noqa: ANN401 - either model
    changes = {"detector__input_px": 32, **changes}
    described = pack("onnx", brought.written(brought.described(folder, **changes), folder))
    part, load = (
        (described.detector, loading.detector) if role == "detector" else (described.embedder, loading.embedder)
    )
    return load(part, folder, device=device)


async def test_a_pack_of_ones_own_starts(folder: Path) -> None:
    file = brought.written(brought.described(folder, detector__input_px=32), folder)
    async with open_vision(VisionSettings(pack="onnx", pack_file=file), folder) as vision:
        assert await vision.detector.detect([np.zeros((50, 40, 3), np.uint8)]) == [[]]
        assert vision.threshold == 0.42


def test_an_embedder_gets_the_pixels_that_its_pack_file_promises(folder: Path) -> None:
    levels: dict[str, Any] = {"embedder__colour": "bgr", "embedder__mean": [10, 20, 30], "embedder__std": [1, 2, 4]}
    chip = np.full((112, 112, 3), (200, 100, 50), np.uint8)
    (template,) = load(folder, "embedder", **levels).embed([chip])
    expected = np.array([(50 - 10) / 1, (100 - 20) / 2, (200 - 30) / 4])
    np.testing.assert_allclose(template[:3], expected / np.linalg.norm(expected), rtol=1e-4)


@pytest.mark.parametrize("batch", ["n", 1])
def test_every_chip_has_its_template_in_order_whatever_number_the_model_takes_at_a_time(
    folder: Path, batch: int | str
) -> None:
    brought.save_embedder(folder, shape=(batch, 3, 112, 112))
    chips = [np.full((112, 112, 3), (level, 0, 255 - level), np.uint8) for level in range(40)]
    templates = load(folder, "embedder").embed(chips)
    assert templates.shape == (40, 128)
    assert templates[39, 0] == pytest.approx(39 / math.hypot(39, 216), rel=1e-4)


def test_a_model_of_another_dimension_is_refused(folder: Path) -> None:
    brought.save_embedder(folder, dimension=64)
    with pytest.raises(BadPack, match=r"embedder\.dimension: .*\[2, 64\], not \[2, 128\]"):
        load(folder, "embedder")


@pytest.mark.parametrize("shape", [("n", 3, 160, 160), ("n", 3, "h", 160)])
def test_a_model_of_another_input_size_is_refused(folder: Path, shape: tuple[int | str, ...]) -> None:
    brought.save_embedder(folder, shape=shape)
    with pytest.raises(BadPack, match=r"embedder\.input_px: "):
        load(folder, "embedder")


@pytest.mark.parametrize("shape", [("n", 1, 112, 112), ("n", 112, 112, 3), (3, 112, 112), (8, 3, 112, 112)])
def test_a_model_that_takes_no_pictures_is_refused(folder: Path, shape: tuple[int | str, ...]) -> None:
    brought.save_detector(folder, shape)
    with pytest.raises(BadPack, match=r"detector\.file: the model takes .* is needed"):
        load(folder, "detector")


def test_a_model_of_another_precision_is_refused(folder: Path) -> None:
    brought.save_embedder(folder, kind=TensorProto.FLOAT16)
    with pytest.raises(BadPack, match=r"embedder\.file: "):
        load(folder, "embedder")


def test_a_detector_without_the_decoders_answers_is_refused(folder: Path) -> None:
    brought.save_detector(folder, without="kps_16")
    with pytest.raises(BadPack, match=r"detector\.decoder: yunet reads kps_16, and the model has no such answer"):
        load(folder, "detector")


def test_a_detector_whose_answers_are_another_decoders_is_refused(folder: Path) -> None:
    brought.save_detector(folder, (1, 3, 32, 32), cells=64**2)
    with pytest.raises(BadPack, match=r"detector\.decoder: what the model answers cannot be read"):
        load(folder, "detector")


def test_a_detector_that_is_smaller_than_said_is_refused(folder: Path) -> None:
    with pytest.raises(BadPack, match=r"detector\.input_px: the model takes pictures of 32 x 32"):
        load(folder, "detector", detector__input_px=640)


@pytest.mark.parametrize("role", ["detector", "embedder"])
def test_a_file_that_is_no_model_is_refused(folder: Path, role: str) -> None:
    (folder / f"{role}.onnx").write_bytes(b"a model, let us say")
    with pytest.raises(BadPack, match=rf"{role}\.file: ONNX Runtime cannot load it"):
        load(folder, role)


def test_weights_beside_the_file_which_no_digest_covers_are_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(folder / "embedder.onnx")
    onnx.save(model, folder / "embedder.onnx", save_as_external_data=True, location="beside.bin", size_threshold=0)
    assert (folder / "beside.bin").exists()
    monkeypatch.chdir(folder)
    with pytest.raises(BadPack, match=r"embedder\.file: ONNX Runtime cannot load it"):
        load(folder, "embedder")


def test_no_other_device_is_pretended_to(folder: Path) -> None:
    with pytest.raises(BadPack, match=r"vision\.device: the onnx pack runs on the CPU"):
        load(folder, "detector", device="cuda")


def test_every_cells_answer_is_read_as_its_authors_mean_it() -> None:
    """One face in cell (row 1, column 2) of the grid of 8 px: its centre and points lie half a cell further on."""
    answers = {
        f"{kind}_{stride}": torch.zeros((64 // stride) * (96 // stride), width)
        for stride in (8, 16, 32)
        for kind, width in brought.ANSWERS.items()
    }
    cell = 1 * (96 // 8) + 2
    answers["cls_8"][cell], answers["obj_8"][cell] = 0.9, 0.4
    answers["bbox_8"][cell] = torch.tensor([0.5, 0.5, math.log(3), math.log(2)])
    answers["kps_8"][cell] = torch.arange(10) / 10
    boxes, scores, points = yunet.decode(answers, 64, 96)
    best = int(scores.argmax())
    assert scores[best] == pytest.approx(0.6)
    assert boxes[best].tolist() == pytest.approx([8.0, 4.0, 32.0, 20.0])
    assert points[best].ravel().tolist() == pytest.approx([8 * (c + k / 10) for k, c in enumerate([2, 1] * 5)])
    assert len(boxes) == 12 * 8 + 6 * 4 + 3 * 2


def test_a_picture_is_shrunk_and_padded_to_what_the_model_takes(folder: Path) -> None:
    detector = load(folder, "detector", detector__mean=[1, 2, 3], detector__std=[1, 2, 4])
    assert isinstance(detector, OnnxDetector)
    frame = torch.tensor([203, 102, 51], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 20, 32)
    prepared = detector._prepared(frame)  # noqa: SLF001 - what the model is given is the behaviour
    assert prepared.shape == (1, 3, 32, 32)
    assert prepared[0, :, 19, 31].tolist() == [50, 50, 50]
    assert not prepared[0, :, 20:].any()


def test_without_onnx_runtime_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BadPack, match=r"vision\.pack: onnx needs ONNX Runtime: pip install 'rfr-stream\[onnx\]'"):
        load(folder, "detector")
