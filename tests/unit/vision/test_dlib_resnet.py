"""dlib's network, read without dlib."""

from pathlib import Path

import dlib
import numpy as np
import pytest
import torch

from rfr_stream.vision.dlib_resnet import DIMENSION, MEAN_RGB, STD_RGB, DlibResNet, load
from rfr_stream.vision.packs import locate, pack


@pytest.fixture(scope="module")
def file() -> Path:
    return locate(pack("baseline").embedder.weights[0], Path())


@pytest.fixture(scope="module")
def network(file: Path) -> DlibResNet:
    return load(file)


def test_descriptors_are_those_of_dlib(network: DlibResNet, file: Path) -> None:
    rng = np.random.default_rng(6)
    # Smooth noise: large shapes, as faces have them.
    coarse = rng.integers(0, 255, (3, 10, 10, 3), np.uint8).repeat(15, axis=1).repeat(15, axis=2)
    reference = dlib.face_recognition_model_v1(str(file))
    expected = np.array([reference.compute_face_descriptor(np.ascontiguousarray(chip)) for chip in coarse])
    batch = (torch.from_numpy(coarse).permute(0, 3, 1, 2) - torch.tensor(MEAN_RGB).view(3, 1, 1)) / STD_RGB[0]
    with torch.inference_mode():
        descriptors = network(batch.float()).numpy()
    assert np.linalg.norm(descriptors - expected, axis=1).max() < 1e-5


def test_a_chip_becomes_a_row(network: DlibResNet) -> None:
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 150, 150)).shape == (2, DIMENSION)


def test_another_network_of_dlib_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match="not dlib's face recognition network"):
        load(file.with_name("mmod_human_face_detector.dat"))
