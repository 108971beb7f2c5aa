"""Models that an operator might bring, small ones made here and real ones of the research data, and their pack file."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ANSWERS: Final = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def described(folder: Path, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any field of a pack file
    """Return what a pack file says of `detector.onnx` and `embedder.onnx` in this folder, but for these changes.

    A change names its field as the errors do, with two underscores for the dot.
    """
    said: dict[str, Any] = {
        "aligner": "arcface-112",
        "threshold": 0.42,
        "detector": _part(folder / "detector.onnx", "yunet-n", input_px=1024, colour="bgr", decoder="yunet"),
        "embedder": _part(folder / "embedder.onnx", "mobilefacenet", input_px=112, colour="rgb", dimension=128),
    }
    for field, value in changes.items():
        section, _, name = field.rpartition("__")
        (said[section] if section else said)[name] = value
    return said


def _part(file: Path, name: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any field of a part
    return {
        "name": name,
        "version": "1",
        "file": file.name,
        "sha256": digest(file) if file.exists() else "0" * 64,
        "licence": "Apache-2.0",
        "training_data": "unknown",
        "mean": [0, 0, 0],
        "std": [1, 1, 1],
        **fields,
    }


def written(said: dict[str, Any], folder: Path) -> Path:
    """Write a pack file; TOML takes JSON's strings, numbers and lists as they are."""
    sections = {name: value for name, value in said.items() if isinstance(value, dict)}
    lines = [_line(name, value) for name, value in said.items() if name not in sections]
    for name, fields in sections.items():
        lines += [f"[{name}]", *(_line(field, value) for field, value in fields.items())]
    file = folder / "pack.toml"
    file.write_text("\n".join(lines))
    return file


def _line(name: str, value: object) -> str:
    return f"{name} = {json.dumps(value)}"


def real(weights: Path, folder: Path) -> Path:
    """Return the pack file of YuNet and MobileFaceNet, from the research data's weights."""
    import torch

    from rfr_stream.vision import mobilefacenet

    shutil.copyfile(weights / "yunet_n_dynamic.onnx", folder / "detector.onnx")
    network, chip = mobilefacenet.load(weights / "mobilefacenet.pt"), torch.zeros(1, 3, 112, 112)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's two exporters this is the one that needs no further package
        torch.onnx.export(
            network, (chip,), folder / "embedder.onnx", dynamo=False, input_names=["chips"], dynamic_axes={"chips": [0]}
        )
    levels = {"embedder__mean": [123.675, 116.28, 103.53], "embedder__std": [58.395, 57.12, 57.375]}
    return written(described(folder, **levels), folder)


def save_detector(
    folder: Path, shape: Sequence[int | str] = ("n", 3, "h", "w"), *, without: str = "", cells: int = 32**2
) -> None:
    """Write a detector that has YuNet's answers, all zero: it sees nothing, in pictures of so many pixels."""
    outputs, nodes, values = [], [], []
    for stride in (8, 16, 32):
        for kind, width in ANSWERS.items():
            name = f"{kind}_{stride}"
            if name != without:
                outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
                nodes.append(helper.make_node("Identity", [f"zeros_{name}"], [name]))
                zeros = np.zeros((1, cells // stride**2, width), np.float32)
                values.append(numpy_helper.from_array(zeros, f"zeros_{name}"))
    _save(folder / "detector.onnx", shape, nodes, outputs, values)


def save_embedder(
    folder: Path,
    *,
    dimension: int = 128,
    shape: Sequence[int | str] = ("n", 3, 112, 112),
    kind: int = TensorProto.FLOAT,
) -> None:
    """Write an embedder whose template repeats the mean of each channel of its chip."""
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "repeat"], ["templates"]),
    ]
    repeat = np.eye(3, dimension, dtype=np.float32)
    values = [numpy_helper.from_array(np.array([2, 3]), "axes"), numpy_helper.from_array(repeat, "repeat")]
    outputs = [helper.make_tensor_value_info("templates", kind, None)]
    _save(folder / "embedder.onnx", shape, nodes, outputs, values, kind)


def _save(  # noqa: PLR0917 - a graph has as many parts
    file: Path,
    shape: Sequence[int | str],
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[onnx.ValueInfoProto],
    values: Sequence[onnx.TensorProto],
    kind: int = TensorProto.FLOAT,
) -> None:
    given = helper.make_tensor_value_info("input", kind, shape)
    graph = helper.make_graph(nodes, "made-here", [given], outputs, values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)
