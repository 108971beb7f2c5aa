"""The law of vision: fakes, the null pack, the baseline, and RetinaFace and ONNX models where weights are at hand."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from io import BytesIO

import brought
import numpy as np
import pytest
import pytest_asyncio
from _data import TestData
from PIL import Image

from rfr_stream.adapters.gpu import open_vision
from rfr_stream.adapters.memory.vision import (
    FakeAligner,
    FakeDetector,
    FakeEmbedder,
    MemoryCodec,
    PlantedFace,
    plant,
)
from rfr_stream.errors import BadImage
from rfr_stream.events import Crop, Recipe
from rfr_stream.faces import Box, Face, ImageHwc, Point
from rfr_stream.ports import Aligner, Chip, Codec, Copy, Detector, Embedder, Picture
from rfr_stream.settings import VisionSettings


@dataclass(frozen=True)
class Eyes:
    """An implementation of the ports, a picture of one face for it, and where that face is."""

    codec: Codec
    detector: Detector
    aligner: Aligner
    embedder: Embedder
    portrait: ImageHwc
    face: Box
    same: float = 0.95
    """Similarity that a mere change of light must leave; less where the detector's landmarks are coarse."""

    async def chips(self, images: Sequence[ImageHwc]) -> list[Chip]:
        """Return the best face of each image, upright."""
        faces = await self.detector.detect(images)
        return await self.aligner.align(images, [found[0].landmarks for found in faces])

    async def templates(self, images: Sequence[ImageHwc]) -> np.ndarray:
        """Return the template of each image's best face."""
        return await self.embedder.embed([chip.pixels for chip in await self.chips(images)])


ASTRONAUT_FACE = Box(170, 65, 275, 200)
BLANK = np.full((160, 200, 3), 128, np.uint8)

CASES = [
    "fake",
    "null",
    "baseline",
    pytest.param("retinaface-mobilenet", marks=pytest.mark.weights),
    pytest.param("onnx", marks=pytest.mark.weights),
]


@pytest_asyncio.fixture(scope="module", params=CASES, loop_scope="module")
async def eyes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Eyes]:
    if request.param == "fake":
        portrait = plant(PlantedFace("somebody", x=40, y=30, side_px=64))
        yield Eyes(MemoryCodec(), FakeDetector(), FakeAligner(), FakeEmbedder(), portrait, Box(40, 30, 104, 94))
        return
    portrait = np.ascontiguousarray(import_module("skimage.data").astronaut())
    height, width = portrait.shape[:2]
    middle = Box(width * 0.3, height * 0.3, width * 0.7, height * 0.7)
    weights, folder = TestData().weights, tmp_path_factory.mktemp("brought")
    file = brought.real(weights, folder) if request.param == "onnx" else None
    settings = VisionSettings(pack=request.param, pack_file=file, device="cpu")
    async with AsyncExitStack() as stack:
        vision = await stack.enter_async_context(open_vision(settings, weights))
        face = middle if request.param == "null" else ASTRONAUT_FACE
        same = 0.9 if request.param == "onnx" else 0.95  # YuNet's landmarks move by up to 3 px
        yield Eyes(vision.codec, vision.detector, vision.aligner, vision.embedder, portrait, face, same)


pytestmark = pytest.mark.asyncio(loop_scope="module")


def is_picture(value: object) -> bool:
    return isinstance(value, Picture)


async def test_what_is_encoded_comes_back_as_it_was(eyes: Eyes) -> None:
    images = [eyes.portrait[:50, :70].copy(), eyes.portrait[:20, :20].copy()]
    pictures = await eyes.codec.decode(await eyes.codec.encode(images))
    for picture, image in zip(pictures, images, strict=True):
        assert isinstance(picture, Picture)
        np.testing.assert_array_equal(picture.pixels, image)
        assert picture.scale == 1


async def test_a_recipe_is_followed_and_a_bad_one_is_refused_in_its_own_place(eyes: Eyes) -> None:
    crop = Crop(left=20, top=10, right=120, bottom=90)
    good, outside = Recipe(steps=(crop,)), Recipe(steps=(crop.model_copy(update={"left": 9_000, "right": 9_100}),))
    whole, halved = Picture(eyes.portrait), Picture(eyes.portrait[::2, ::2].copy(), 2.0)
    copies = await eyes.codec.follow([(good, whole), (outside, whole), (good, halved)])
    assert [type(copy) for copy in copies] == [Copy, BadImage, Copy]
    for copy, picture in ((copies[0], whole), (copies[2], halved)):
        assert isinstance(copy, Copy)
        side = round(1 / picture.scale * 10)
        np.testing.assert_array_equal(copy.pixels, picture.pixels[side : 9 * side, 2 * side : 12 * side])
        assert Point(0, 0).moved(copy.to_original) == Point(20, 10)
        assert copy.derivation.pixels_sha256 == sha256(copy.pixels.tobytes()).hexdigest()


async def test_encoded_files_are_what_the_codec_says_they_are(eyes: Eyes) -> None:
    (file,) = await eyes.codec.encode([BLANK])
    with Image.open(BytesIO(file)) as image:
        assert Image.MIME[image.format or ""] == eyes.codec.media_type


async def test_a_bad_file_is_refused_in_its_own_place(eyes: Eyes) -> None:
    (good,) = await eyes.codec.encode([BLANK])
    answers = await eyes.codec.decode([good, b"", good, b"no image", good[: len(good) // 2]])
    assert [is_picture(answer) for answer in answers] == [True, False, True, False, False]
    assert all(isinstance(answer, Picture | BadImage) for answer in answers)


async def test_empty_batches_have_empty_answers(eyes: Eyes) -> None:
    assert await eyes.codec.decode([]) == []
    assert await eyes.codec.encode([]) == []
    assert await eyes.codec.follow([]) == []
    assert await eyes.detector.detect([]) == []
    assert await eyes.aligner.align([], []) == []
    assert (await eyes.embedder.embed([])).shape == (0, eyes.embedder.identity.dimension)


async def test_the_face_is_found_where_it_is(eyes: Eyes) -> None:
    ((best, *_),) = await eyes.detector.detect([eyes.portrait])
    assert best.box.iou(eyes.face) > 0.5
    assert all(eyes.face.contains(point) for point in (best.landmarks.left_eye, best.landmarks.right_mouth))
    assert best.landmarks.left_eye.x < best.landmarks.right_eye.x
    assert best.landmarks.left_eye.y < best.landmarks.nose.y < best.landmarks.left_mouth.y


async def test_faces_come_highest_score_first(eyes: Eyes) -> None:
    for faces in await eyes.detector.detect([eyes.portrait, np.hstack([eyes.portrait, eyes.portrait])]):
        scores = [face.score for face in faces]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)


async def test_each_image_of_a_batch_is_answered_as_if_it_were_alone(eyes: Eyes) -> None:
    images = [eyes.portrait, BLANK, eyes.portrait[:, ::-1].copy()]
    together = await eyes.detector.detect(images)
    alone = [(await eyes.detector.detect([image]))[0] for image in images]
    assert together == alone


async def test_the_caller_may_have_frozen_the_pixels(eyes: Eyes) -> None:
    frozen = eyes.portrait.copy()
    frozen.setflags(write=False)
    assert await eyes.detector.detect([frozen]) == await eyes.detector.detect([eyes.portrait])


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (11, 13), (33, 65)])
async def test_odd_shapes_are_no_fault(eyes: Eyes, shape: tuple[int, int]) -> None:
    (faces,) = await eyes.detector.detect([np.zeros((*shape, 3), np.uint8)])
    assert all(isinstance(face, Face) for face in faces)


async def test_chips_are_square_and_measured(eyes: Eyes) -> None:
    (chip,) = await eyes.chips([eyes.portrait])
    side = len(chip.pixels)
    assert chip.pixels.shape == (side, side, 3)
    assert chip.pixels.dtype == np.uint8
    assert chip.sharpness > 0
    assert 0 < chip.brightness < 255
    assert 0 < chip.contrast <= 128


async def test_templates_are_unit_vectors_of_the_embedders_dimension(eyes: Eyes) -> None:
    templates = await eyes.templates([eyes.portrait, eyes.portrait[:, ::-1].copy()])
    assert templates.dtype == np.float32
    assert templates.shape == (2, eyes.embedder.identity.dimension)
    np.testing.assert_allclose(np.linalg.norm(templates, axis=1), 1, atol=1e-5)


async def test_a_chip_has_the_same_template_in_every_batch(eyes: Eyes) -> None:
    (chip,) = await eyes.chips([eyes.portrait])
    rng = np.random.default_rng(5)
    others = [rng.integers(0, 255, chip.pixels.shape, np.uint8) for _ in range(18)]
    alone = await eyes.embedder.embed([chip.pixels])
    for place in (0, 7, 18):
        batch = [*others[:place], chip.pixels, *others[place:]]
        assert float((await eyes.embedder.embed(batch))[place] @ alone[0]) > 0.9999


async def test_the_same_picture_has_the_same_template(eyes: Eyes) -> None:
    first, second = await eyes.templates([eyes.portrait, eyes.portrait.copy()])
    assert float(first @ second) == pytest.approx(1, abs=1e-5)


async def test_two_identities_are_never_one(eyes: Eyes) -> None:
    assert eyes.detector.identity != eyes.embedder.identity
    assert eyes.detector.identity.dimension == 0
    assert eyes.embedder.identity.dimension > 0


# --- laws of whatever looks at pixels; the null pack does not ---------------------------------------------------------
@pytest.fixture
def seeing(eyes: Eyes) -> Eyes:
    if eyes.detector.identity.name == "null":
        pytest.skip("the null pack finds one face in everything")
    return eyes


async def test_a_picture_without_a_face_has_none(seeing: Eyes) -> None:
    ramp = np.repeat(np.linspace(60, 200, 320, dtype=np.uint8)[None, :, None], 240, axis=0)
    assert await seeing.detector.detect([BLANK, np.repeat(ramp, 3, axis=2)]) == [[], []]


async def test_faces_are_told_in_pixels_of_the_image_that_was_given(seeing: Eyes) -> None:
    height, width = seeing.portrait.shape[:2]
    canvas = np.full((height + 96, width + 64, 3), 128, np.uint8)
    canvas[96:, 64:] = seeing.portrait
    (here,), (there,) = [
        [max(faces, key=lambda face: face.score)] for faces in await seeing.detector.detect([seeing.portrait, canvas])
    ]
    moved = Box(here.box.x1 + 64, here.box.y1 + 96, here.box.x2 + 64, here.box.y2 + 96)
    assert there.box.iou(moved) > 0.8


async def test_every_face_of_a_group_is_found(seeing: Eyes) -> None:
    (faces,) = await seeing.detector.detect([np.hstack([seeing.portrait] * 3)])
    width = seeing.portrait.shape[1]
    for place in range(3):
        shifted = Box(seeing.face.x1 + place * width, seeing.face.y1, seeing.face.x2 + place * width, seeing.face.y2)
        assert max(face.box.iou(shifted) for face in faces) > 0.5


async def test_a_large_picture_is_told_in_its_own_pixels(seeing: Eyes) -> None:
    if seeing.detector.identity.name.startswith("fake"):
        pytest.skip("the fake finds marks of one row")
    factor = 4
    image = Image.fromarray(seeing.portrait)
    (faces,) = await seeing.detector.detect([np.asarray(image.resize((image.width * factor, image.height * factor)))])
    expected = Box(*(factor * side for side in (seeing.face.x1, seeing.face.y1, seeing.face.x2, seeing.face.y2)))
    assert max(face.box.iou(expected) for face in faces) > 0.5


async def test_a_brighter_copy_is_the_same_person(seeing: Eyes) -> None:
    if seeing.detector.identity.name.startswith("fake"):
        pytest.skip("the fake tells people by their colour")
    brighter = (seeing.portrait.astype(np.float32) * 1.15).clip(0, 255).astype(np.uint8)
    first, second = await seeing.templates([seeing.portrait, brighter])
    assert float(first @ second) > seeing.same
