"""Planted faces."""

from rfr_stream.adapters.memory.vision import (
    FakeAligner,
    FakeDetector,
    FakeEmbedder,
    MemoryCodec,
    PlantedFace,
    plant,
    plant_file,
)
from rfr_stream.ports import Picture


async def test_a_planted_file_brings_its_people_back() -> None:
    file = plant_file(PlantedFace("ada", 10, 10), PlantedFace("bob", 100, 20, side_px=90))
    (picture,) = await MemoryCodec().decode([file])
    assert isinstance(picture, Picture)
    (faces,) = await FakeDetector().detect([picture.pixels])
    assert [(face.box.x1, face.box.y1, face.box.x2) for face in faces] == [(100, 20, 190), (10, 10, 74)]


async def test_people_are_told_apart_and_found_again_at_any_size_and_place() -> None:
    pictures = [
        plant(PlantedFace("ada")),
        plant(PlantedFace("ada", 120, 70, side_px=120)),
        plant(PlantedFace("bob")),
    ]
    faces = await FakeDetector().detect(pictures)
    chips = await FakeAligner().align(pictures, [found[0].landmarks for found in faces])
    ada, again, bob = await FakeEmbedder().embed([chip.pixels for chip in chips])
    assert ada @ again > 0.999
    assert abs(ada @ bob) < 0.5


async def test_neighbours_that_touch_are_two() -> None:
    (faces,) = await FakeDetector().detect([plant(PlantedFace("ada", 10, 10), PlantedFace("bob", 200, 10))])
    assert len(faces) == 2


async def test_an_empty_picture_has_nobody_in_it() -> None:
    assert await FakeDetector().detect([plant()]) == [[]]
