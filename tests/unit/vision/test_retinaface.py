"""RetinaFace against retinaface-pytorch's own code."""

import warnings
from collections import OrderedDict
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from retinaface.box_utils import decode, decode_landm
from retinaface.network import RetinaFace as PackageNetwork
from retinaface.prior_box import priorbox
from torch import Tensor, nn

from rfr_stream.vision.normalisation import CAFFE_BGR, IMAGENET_RGB
from rfr_stream.vision.packs import PACKS
from rfr_stream.vision.retinaface import RetinaFace
from rfr_stream.vision.retinaface_network import load_into, mobilenet_network, resnet50_network
from rfr_stream.vision.tuning import Runtime

FP32 = Runtime(torch.device("cpu"), torch.float32)
PART = PACKS["retinaface"].detector
HEIGHT, WIDTH = 96, 160
ANCHORS = 2 * (12 * 20 + 6 * 10 + 3 * 5)


class Scripted(nn.Module):
    """A network that answers what the test wrote, and whose only convolution changes nothing."""

    def __init__(self, boxes: Tensor, classes: Tensor, landmarks: Tensor) -> None:
        super().__init__()
        self.seen = nn.Conv2d(3, 3, 1)
        self.boxes, self.classes, self.landmarks = boxes, classes, landmarks

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        nothing = self.seen(batch).sum() * 0
        return self.boxes + nothing, self.classes + nothing, self.landmarks + nothing


def scripted(certain: dict[int, float]) -> tuple[RetinaFace, Tensor, Tensor]:
    """Return a detector that sees faces at these anchors, with these logits, and the raw boxes and landmarks."""
    generator = torch.Generator().manual_seed(2)
    boxes = torch.randn(1, ANCHORS, 4, generator=generator) * 0.5
    landmarks = torch.randn(1, ANCHORS, 10, generator=generator)
    classes = torch.zeros(1, ANCHORS, 2)
    classes[..., 0] = 10
    for anchor, logit in certain.items():
        classes[0, anchor, 1] = 10 + logit
    detector = RetinaFace(Scripted(boxes, classes, landmarks), IMAGENET_RGB, FP32, PART)
    return detector, boxes, landmarks


def test_answers_are_decoded_as_the_package_decodes_them() -> None:
    wanted = {7: 4.0, 333: 2.0, ANCHORS - 1: 3.0}
    detector, boxes, landmarks = scripted(wanted)
    (faces,) = detector.detect([np.zeros((HEIGHT, WIDTH, 3), np.uint8)])
    anchors = priorbox([[16, 32], [64, 128], [256, 512]], [8, 16, 32], clip=False, image_size=(HEIGHT, WIDTH))
    sides = torch.tensor([WIDTH, HEIGHT], dtype=torch.float32)
    expected_boxes = decode(boxes[0], anchors, [0.1, 0.2]) * sides.repeat(2)
    expected_points = decode_landm(landmarks[0], anchors, [0.1, 0.2]) * sides.repeat(5)
    order = sorted(wanted, key=lambda anchor: -wanted[anchor])
    assert len(faces) == 3
    for face, anchor in zip(faces, order, strict=True):
        box = (face.box.x1, face.box.y1, face.box.x2, face.box.y2)
        np.testing.assert_allclose(box, expected_boxes[anchor], atol=1e-2)
        np.testing.assert_allclose(face.landmarks.to_array().ravel(), expected_points[anchor], atol=1e-2)
        assert face.score == pytest.approx(1 / (1 + np.exp(-wanted[anchor])), abs=1e-5)


def test_a_picture_that_needs_padding_is_answered_in_its_own_pixels() -> None:
    detector, *_ = scripted({7: 4.0})
    (whole,) = detector.detect([np.zeros((HEIGHT, WIDTH, 3), np.uint8)])
    (padded,) = detector.detect([np.zeros((HEIGHT - 20, WIDTH - 9, 3), np.uint8)])
    assert whole == padded


def test_a_picture_larger_than_the_detectors_frame_is_answered_in_its_own_pixels() -> None:
    detector, *_ = scripted({7: 4.0})
    detector._input_px = WIDTH  # noqa: SLF001 - the anchors of the script belong to this frame
    (small,) = detector.detect([np.zeros((HEIGHT, WIDTH, 3), np.uint8)])
    (large,) = detector.detect([np.zeros((HEIGHT * 3, WIDTH * 3, 3), np.uint8)])
    assert large[0].box.x2 == pytest.approx(3 * small[0].box.x2, rel=1e-4)
    assert large[0].landmarks.nose.y == pytest.approx(3 * small[0].landmarks.nose.y, rel=1e-4)


def test_no_face_is_an_empty_list() -> None:
    detector, *_ = scripted({})
    assert detector.detect([np.zeros((HEIGHT, WIDTH, 3), np.uint8)]) == [[]]


def test_each_weights_get_the_pixels_that_they_were_trained_on() -> None:
    pixels = np.array([[[200, 100, 50]]], np.uint8).repeat(32, axis=0).repeat(32, axis=1)
    frame = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    for normalisation, expected in (
        (CAFFE_BGR, (50 - 104, 100 - 117, 200 - 123)),
        (IMAGENET_RGB, ((200 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (50 / 255 - 0.406) / 0.225)),
    ):
        detector = RetinaFace(Scripted(*[torch.zeros(1)] * 3), normalisation, FP32, PART)
        prepared = detector._prepared(frame)  # noqa: SLF001 - what the network is given is the behaviour
        np.testing.assert_allclose(prepared[0, :, 5, 5], expected, rtol=1e-4)


@pytest.fixture(scope="module")
def package_network() -> PackageNetwork:
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision in a way that is deprecated
        return PackageNetwork(
            "Resnet50",
            pretrained=False,
            return_layers={"layer2": 1, "layer3": 2, "layer4": 3},
            in_channels=256,
            out_channels=256,
        ).eval()


def test_the_resnet_is_the_packages_own_key_for_key(package_network: PackageNetwork, tmp_path: Path) -> None:
    file = tmp_path / "state.pth"
    torch.save(package_network.state_dict(), file)
    ours = load_into(resnet50_network(), file)
    batch = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        for answer, expected in zip(ours(batch), package_network(batch), strict=True):
            torch.testing.assert_close(answer, expected)


def test_a_state_dict_is_read_from_a_zip_archive_of_one_file_too(tmp_path: Path) -> None:
    torch.manual_seed(4)
    network = mobilenet_network()
    bare, zipped = tmp_path / "state.pth", tmp_path / "state.zip"
    # Trained under DataParallel, with a classifier that nothing uses: both are found in published files.
    state = OrderedDict((f"module.{key}", value) for key, value in network.state_dict().items())
    state["module.body.fc.weight"] = torch.zeros(1)
    torch.save(state, bare)
    with ZipFile(zipped, "w") as archive:
        archive.write(bare, "state.pth")
    batch = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        first, second = (load_into(mobilenet_network(), file)(batch)[0] for file in (bare, zipped))
        torch.testing.assert_close(first, second)
        torch.testing.assert_close(first, network.eval()(batch)[0])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "state.pth"
    torch.save(mobilenet_network().state_dict(), file)
    with pytest.raises(ValueError, match="not those of this network"):
        load_into(resnet50_network(), file)
