"""Stage 2: the template of the subject's face, and of nobody else's."""

from collections.abc import Sequence
from dataclasses import replace

import builders
import house
import numpy as np
import pytest
from house import House, only
from hypothesis import given, settings
from hypothesis import strategies as st

from rfr_stream.adapters.memory.vision import DIMENSION, FakeEmbedder, PlantedFace
from rfr_stream.errors import BadImage, MissingBlob, NotPermitted, Unavailable
from rfr_stream.events import BlobRef, FaceDetected, FaceEmbedded
from rfr_stream.faces import ImageHwc, Point
from rfr_stream.ports import Templates
from rfr_stream.stages import TEMPLATE_MEDIA_TYPE

ANNA = PlantedFace("anna")
BERT = PlantedFace("bert", x=100)


class SpyEmbedder(FakeEmbedder):
    """Remembers how many chips it saw."""

    def __init__(self) -> None:
        self.seen = 0

    async def embed(self, chips: Sequence[ImageHwc]) -> Templates:
        self.seen += len(chips)
        return await super().embed(chips)


class DriftingEmbedder(FakeEmbedder):
    """Gives another last bit every time, as a device does when a face comes in a batch of another size."""

    def __init__(self) -> None:
        self.calls = 0

    async def embed(self, chips: Sequence[ImageHwc]) -> Templates:
        self.calls += 1
        templates = await super().embed(chips)
        for _ in range(self.calls):
            templates = np.nextafter(templates, np.float32(1))
        return templates


async def template_of(here: House, event: FaceEmbedded) -> Templates:
    (data,) = await here.blobs.get([event.template.template])
    assert isinstance(data, bytes)
    return np.frombuffer(data, "<f4")


async def templates_kept(here: House) -> list[str]:
    return [key for key in here.blobs.kept if key.startswith("templates/")]


async def test_the_template_is_that_of_the_face_on_the_crop() -> None:
    here = House()
    embedded = await here.embedded(ANNA, BERT, subject=Point(130, 40))
    alone = await here.embedded(replace(BERT, x=16))
    np.testing.assert_array_equal(await template_of(here, embedded), await template_of(here, alone))


async def test_a_template_is_float32_of_norm_1_and_names_its_embedder() -> None:
    here = House()
    embedded = await here.embedded(ANNA)
    assert embedded.template.embedder == FakeEmbedder.identity
    assert embedded.template.template.media_type == TEMPLATE_MEDIA_TYPE
    assert embedded.template.template.bytes == 4 * DIMENSION
    assert float(np.linalg.norm(await template_of(here, embedded))) == pytest.approx(1)


async def test_the_event_carries_what_came_before_it() -> None:
    here = House()
    detected = await here.detected(ANNA)
    embedded = only(FaceEmbedded, await here.embed(detected))
    assert (embedded.submission, embedded.face) == (detected.submission, detected.face)
    assert str(detected.submission.submission_id) in embedded.template.template.uri


async def test_of_seven_faces_one_is_embedded_and_one_template_is_kept() -> None:
    here = House()
    here.vision.embedder = (embedder := SpyEmbedder())
    seven = [PlantedFace(f"person-{i}", x=16 + 80 * i) for i in range(7)]
    await here.embedded(*seven, subject=Point(290, 40))
    assert embedder.seen == 1
    assert len(await templates_kept(here)) == 1


async def test_another_aligners_crop_is_not_embedded() -> None:
    """It may have the right size, and would give a template of somebody who does not exist."""
    here = House()
    here.vision.embedder = (embedder := SpyEmbedder())
    detected = await here.detected(ANNA)
    foreign = detected.model_copy(update={"face": detected.face.model_copy(update={"aligner": "arcface-112"})})
    refused = only(NotPermitted, await here.embed(foreign))
    assert "face.aligner" in str(refused)
    assert embedder.seen == 0


async def test_a_crop_that_is_gone_is_rejected() -> None:
    only(MissingBlob, await House().embed(builders.face_detected()))


async def test_a_crop_that_does_not_open_is_rejected() -> None:
    here = House()
    only(BadImage, await here.embed(await undecodable(here)))


@pytest.mark.parametrize(
    ("part", "method"), [("blobs", "get"), ("blobs", "put"), ("codec", "decode"), ("embedder", "embed")]
)
async def test_an_outage_passes_through_untouched(part: str, method: str) -> None:
    here, outage = House(), Unavailable("away")
    detected = await here.detected(ANNA)
    house.take_away(here, part, method, outage)
    with pytest.raises(Unavailable) as raised:
        await here.embed(detected)
    assert raised.value is outage


async def undecodable(here: House, case_ref: str = "case-1") -> FaceDetected:
    event = builders.face_detected(builders.submission(case_ref=case_ref))
    return with_crop(event, await here.keep(b"no image"))


def with_crop(event: FaceDetected, crop: BlobRef) -> FaceDetected:
    return event.model_copy(update={"face": event.face.model_copy(update={"crop": crop})})


async def of_kind(here: House, kind: str, case_ref: str) -> FaceDetected:
    if kind == "good":
        return await here.detected(ANNA, case_ref=case_ref)
    if kind == "undecodable":
        return await undecodable(here, case_ref)
    return builders.face_detected(builders.submission(case_ref=case_ref))


FATES = {"good": FaceEmbedded, "missing": MissingBlob, "undecodable": BadImage}


@settings(max_examples=20)
@given(st.lists(st.sampled_from(sorted(FATES)), max_size=6))
async def test_good_and_bad_items_keep_their_places_and_their_fates(kinds: list[str]) -> None:
    here = House()
    batch = [await of_kind(here, kind, f"case-{i}") for i, kind in enumerate(kinds)]
    results = await here.embed(*batch)
    assert [type(result) for result in results] == [FATES[kind] for kind in kinds]
    for event, result in zip(batch, results, strict=True):
        assert not isinstance(result, FaceEmbedded) or result.submission == event.submission


async def test_an_empty_batch_asks_no_port() -> None:
    here = House()
    for part, method in [("blobs", "get"), ("codec", "decode"), ("embedder", "embed"), ("blobs", "put")]:
        house.take_away(here, part, method, Unavailable())
    assert await here.embed() == []


async def test_the_same_face_again_says_the_same_and_writes_the_same_blob() -> None:
    here = House()
    detected = await here.detected(ANNA)
    first, again = [only(FaceEmbedded, await here.embed(detected)) for _ in range(2)]
    assert (first, first.event_id) == (again, again.event_id)
    assert len(await templates_kept(here)) == 1


async def test_a_redelivery_that_differs_in_the_last_bit_leaves_the_first_template_readable() -> None:
    here = House()
    here.vision.embedder = DriftingEmbedder()
    detected = await here.detected(ANNA)
    first, again = [only(FaceEmbedded, await here.embed(detected)) for _ in range(2)]
    assert first.template != again.template
    assert first.event_id == again.event_id
    assert not np.array_equal(await template_of(here, first), await template_of(here, again))


@pytest.mark.parametrize("demo", [True, False])
async def test_a_demonstration_stays_one(demo: bool) -> None:  # noqa: FBT001 - parametrised
    assert (await House().embedded(ANNA, demo=demo)).demo is demo
