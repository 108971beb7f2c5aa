"""The gallery's own way in and out."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any
from uuid import UUID

import builders
import house
import numpy as np
import pytest
from house import House, only, picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rfr_stream import policy
from rfr_stream.adapters.memory.gallery import MemoryGallery
from rfr_stream.adapters.memory.ledger import MemoryLedger
from rfr_stream.adapters.memory.vision import FakeAligner, FakeDetector, FakeEmbedder, MemoryCodec, PlantedFace
from rfr_stream.errors import BadImage, Malformed, MissingBlob, Rejected, Unavailable
from rfr_stream.events import CaseDisposed, Disposal, GalleryName, Purpose, ReferenceSubmitted, Source
from rfr_stream.faces import Box, Face, ImageHwc, Landmarks, Point
from rfr_stream.ports import Chip, Likeness, Picture, Reference, Templates

ANNA = PlantedFace("anna")
BERT = PlantedFace("bert", x=100)
CUSTODY, MISSING = GalleryName.CUSTODY, GalleryName.MISSING


async def size(here: House, gallery: GalleryName = CUSTODY) -> int:
    return await here.gallery.size(gallery, embedder=FakeEmbedder.identity)


async def people_like(here: House, face: PlantedFace, **asked: Any) -> list[str]:  # noqa: ANN401
    """Return who is found for a picture of this face."""
    return await here.listed(await here.embedded(face, **asked))


def restricted(reference: ReferenceSubmitted) -> ReferenceSubmitted:
    return reference.model_copy(update={"hold": reference.hold.model_copy(update={"restricted": True})})


# --- in ---------------------------------------------------------------------------------------------------------------
async def test_an_enrolled_reference_is_found_by_the_next_search() -> None:
    here = House()
    assert await people_like(here, ANNA) == []
    assert await here.enrol(await here.referenced(ANNA)) == [None]
    assert await people_like(here, ANNA) == ["person-1"]
    assert await people_like(here, BERT) == []


async def test_the_hold_record_is_kept_as_it_was_submitted_with_the_place_of_the_face() -> None:
    here = House()
    event = await here.referenced(ANNA, hold=builders.hold_record(source="missing-register"))
    await here.enrol(event)
    (held,) = (await here.ledger.held([event.reference_id])).values()
    assert held == Reference(
        reference_id=event.reference_id,
        person_id=event.person_id,
        gallery=CUSTODY,
        image=event.image,
        legal_basis=event.hold.legal_basis,
        source="missing-register",
        captured_at=event.hold.captured_at,
        review_due=event.hold.review_due,
        restricted=False,
        recorded_at=event.occurred_at,
        subject=Point(48, 48),
    )


async def test_each_reference_goes_into_the_gallery_it_was_meant_for() -> None:
    here = House()
    lost = await here.referenced(BERT, person_id="lost", gallery=MISSING)
    await here.enrol(lost, await here.referenced(ANNA, person_id="held"))
    assert (await size(here, CUSTODY), await size(here, MISSING)) == (1, 1)
    assert await people_like(here, BERT) == []  # a suspect is sought in custody alone
    for face, person in [(ANNA, "held"), (BERT, "lost")]:
        assert await people_like(here, face, purpose=Purpose.MISSING) == [person]


async def test_a_new_hold_record_counts_for_the_next_search() -> None:
    here = House()
    event = await here.referenced(ANNA)
    await here.enrol(event)
    await here.enrol(restricted(event))
    assert await people_like(here, ANNA) == []


async def test_the_last_hold_record_of_a_batch_stands() -> None:
    here = House()
    event = await here.referenced(ANNA)
    await here.enrol(event, restricted(event))
    assert await people_like(here, ANNA) == []


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(("door", "is_lifted"), [(Source.MISSING_PERSON, False), (Source.OFFICER, True)])
async def test_whoever_gave_the_image_lifts_no_restriction_by_saying_the_same_again(
    door: Source, *, is_lifted: bool, together: bool
) -> None:
    here = House()
    given = builders.hold_record(door=Source.MISSING_PERSON)
    event = await here.referenced(ANNA, gallery=GalleryName.MISSING, hold=given)
    again = event.model_copy(update={"hold": builders.hold_record(door=door)})
    await here.enrol(event)
    for batch in ([restricted(event), again],) if together else ([restricted(event)], [again]):
        await here.enrol(*batch)
    held = (await here.ledger.held([event.reference_id]))[event.reference_id]
    assert held.restricted is not is_lifted
    assert held.door is Source.MISSING_PERSON


class Forgetting(MemoryGallery):
    """Remembers who was erased."""

    def __init__(self) -> None:
        super().__init__(embedder=FakeEmbedder.identity)
        self.erased: set[UUID] = set()

    async def erase(self, gallery: GalleryName, ids: Sequence[UUID]) -> None:
        self.erased.update(ids)
        await super().erase(gallery, ids)


@pytest.mark.parametrize("is_known", [True, False])
async def test_of_whom_no_place_of_the_face_was_kept_every_models_template_is_made_anew(*, is_known: bool) -> None:
    here = House(gallery=(gallery := Forgetting()))
    event = await here.referenced(ANNA)
    await here.enrol(event)
    held = (await here.ledger.held([event.reference_id]))[event.reference_id]
    if not is_known:  # as before places were kept
        here.ledger = MemoryLedger()
        await here.ledger.hold([replace(held, subject=None)])
    await here.enrol(event)
    assert (event.reference_id in gallery.erased) is not is_known
    assert (await here.ledger.held([event.reference_id]))[event.reference_id].subject == held.subject
    assert await people_like(here, ANNA) == ["person-1"]


async def test_a_restriction_counts_even_where_the_image_cannot_be_opened() -> None:
    here = House()
    event = await here.referenced(ANNA)
    await here.enrol(event)
    await here.blobs.delete([event.image])
    only(MissingBlob, await here.enrol(restricted(event)))
    assert await people_like(here, ANNA) == []


async def test_enrolling_again_changes_nothing() -> None:
    here = House()
    event = await here.referenced(ANNA)
    first = await here.enrol(event), await size(here), await here.ledger.held([event.reference_id])
    again = await here.enrol(event), await size(here), await here.ledger.held([event.reference_id])
    assert first == again


# --- what became of the case ------------------------------------------------------------------------------------------
async def test_an_acquittal_counts_for_the_next_search() -> None:
    here = House()
    await here.enrol(await here.referenced(ANNA, hold=builders.hold_record(case_ref="arrest-1")))
    assert await here.dispose(builders.case_disposed()) == [None]
    assert await people_like(here, ANNA) == []
    assert await size(here) == 1  # held, and not searched, until it is erased


@given(order=st.permutations(range(5)))
@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
async def test_what_became_of_a_case_survives_replays_in_any_order(order: list[int]) -> None:
    here = House()
    event = await here.referenced(ANNA, hold=builders.hold_record(case_ref="arrest-1"))
    renewed = event.model_copy(update={"occurred_at": builders.LATER, "hold": event.hold})
    words: list[ReferenceSubmitted | CaseDisposed] = [
        event,
        renewed,
        builders.case_disposed(disposal=Disposal.CHARGED, occurred_at=builders.NOW),
        builders.case_disposed(disposal=Disposal.QUASHED),
        builders.case_disposed(disposal=Disposal.CONVICTED, case_ref="arrest-2"),
    ]
    for place in (*order, *order):
        word = words[place]
        results = await (here.dispose(word) if isinstance(word, CaseDisposed) else here.enrol(word))
        assert results == [None]
    assert await people_like(here, ANNA) == []
    held = (await here.ledger.held([event.reference_id]))[event.reference_id]
    assert policy.ineligibility(held, builders.NOW) == "quashed"


# --- one face under two persons -------------------------------------------------------------------------------------
@pytest.mark.parametrize("together", [True, False])
async def test_one_face_under_two_persons_is_reported_and_stops_neither(*, together: bool) -> None:
    here = House()
    anna = await here.referenced(ANNA)
    other = await here.referenced(ANNA, person_id="person-2")
    if together:
        assert await here.enrol(anna, other) == [None, None]
    else:
        assert [await here.enrol(anna), await here.enrol(other)] == [[None], [None]]
    (conflict,) = await here.ledger.conflicts()
    assert {conflict.reference_id, conflict.other_id} == {anna.reference_id, other.reference_id}
    assert (conflict.gallery, conflict.likeness, conflict.similarity) == (CUSTODY, Likeness.SAME_IMAGE, 1.0)
    assert here.noticed == [conflict]
    assert sorted(await people_like(here, ANNA)) == ["person-1", "person-2"]


async def test_another_picture_of_the_same_face_is_no_duplicate_but_a_conflict_all_the_same() -> None:
    here = House()
    await here.enrol(await here.referenced(ANNA))
    await here.enrol(await here.referenced(PlantedFace("anna", x=60), person_id="person-2"))
    (conflict,) = await here.ledger.conflicts()
    assert conflict.likeness is Likeness.SAME_FACE


async def test_a_conflict_is_noticed_once_however_often_the_reference_comes() -> None:
    here = House()
    events = [await here.referenced(ANNA), await here.referenced(ANNA, person_id="person-2")]
    for _ in range(3):
        await here.enrol(*events)
    assert len(here.noticed) == 1


async def test_several_pictures_of_one_person_are_no_conflict() -> None:
    here = House()
    await here.enrol(await here.referenced(ANNA), await here.referenced(PlantedFace("anna", x=60)))
    assert await here.ledger.conflicts() == []


async def test_other_faces_and_other_galleries_are_no_conflict() -> None:
    here = House()
    await here.enrol(
        await here.referenced(ANNA),
        await here.referenced(BERT, person_id="person-2"),
        await here.referenced(PlantedFace("anna", x=60), person_id="person-3", gallery=MISSING),
    )
    assert await here.ledger.conflicts() == []


async def test_a_conflict_ends_with_either_of_its_references() -> None:
    here = House()
    anna, other = await here.referenced(ANNA), await here.referenced(ANNA, person_id="person-2")
    await here.enrol(anna, other)
    await here.erase(builders.erased(other))
    assert await here.ledger.conflicts() == []


# --- which face -----------------------------------------------------------------------------------------------------
async def test_an_image_of_several_people_is_rejected() -> None:
    here = House()
    fault = only(BadImage, await here.enrol(await here.referenced(ANNA, BERT)))
    assert str(fault).startswith("image: faces found: 2;")
    assert await size(here) == 0


@pytest.mark.parametrize("subject", [Point(130, 40), Box(100, 16, 164, 80)], ids=["point", "box"])
async def test_the_subject_says_which_of_several_people_it_is(subject: Point | Box) -> None:
    here = House()
    await here.enrol(await here.referenced(ANNA, BERT, subject=subject))
    assert await people_like(here, ANNA) == []
    assert await people_like(here, PlantedFace("bert")) == ["person-1"]


class HalvingCodec(MemoryCodec):
    """Decodes at half size, as the real one does with large pictures."""

    async def decode(self, files: Sequence[bytes]) -> list[Picture | Rejected]:
        whole = await super().decode(files)
        return [one if isinstance(one, Rejected) else Picture(one.pixels[::2, ::2], 2.0) for one in whole]


async def test_the_subject_is_in_the_originals_pixels() -> None:
    here = House()
    here.vision.codec = HalvingCodec()
    await here.enrol(await here.referenced(ANNA, BERT, subject=Point(130, 40)))
    here.vision.codec = MemoryCodec()
    assert await people_like(here, PlantedFace("bert")) == ["person-1"]


class SpyEmbedder(FakeEmbedder):
    """Remembers how many chips it saw."""

    def __init__(self) -> None:
        self.seen = 0

    async def embed(self, chips: Sequence[ImageHwc]) -> Templates:
        self.seen += len(chips)
        return await super().embed(chips)


async def test_nobody_else_in_the_picture_is_embedded_and_no_crop_is_kept() -> None:
    here = House()
    here.vision.embedder = (embedder := SpyEmbedder())
    event = await here.referenced(ANNA, BERT, subject=Point(40, 40))
    before = dict(here.blobs.kept)
    await here.enrol(event)
    assert embedder.seen == 1
    assert here.blobs.kept == before


@pytest.mark.parametrize("subject", [None, Point(1, 1)])
async def test_an_image_without_the_person_is_rejected(subject: Point | None) -> None:
    here = House()
    people = () if subject is None else (ANNA,)
    only(BadImage, await here.enrol(await here.referenced(*people, subject=subject)))


class DoubtfulDetector(FakeDetector):
    """Is never quite sure."""

    async def detect(self, images: Sequence[ImageHwc]) -> list[list[Face]]:
        return [[replace(face, score=0.4) for face in faces] for faces in await super().detect(images)]


@pytest.mark.parametrize(("min_score", "verdict"), [(0.4, type(None)), (0.41, BadImage)])
async def test_a_face_below_the_least_score_is_none(min_score: float, verdict: type[object]) -> None:
    here = House()
    here.vision.detector = DoubtfulDetector()
    (result,) = await here.enrol(await here.referenced(ANNA), min_score=min_score)
    assert isinstance(result, verdict)


class BlindAligner(FakeAligner):
    """Sees what an aligner sees of a face outside its image: nothing."""

    async def align(self, images: Sequence[ImageHwc], landmarks: Sequence[Landmarks]) -> list[Chip]:  # noqa: ARG002
        return [Chip(np.zeros((32, 32, 3), np.uint8), 0.0, 0.0, 0.0) for _ in images]


async def test_a_face_that_shows_nothing_is_never_enrolled() -> None:
    here = House()
    here.vision.aligner = BlindAligner()
    only(BadImage, await here.enrol(await here.referenced(ANNA)))
    assert await size(here) == 0


# --- faults ---------------------------------------------------------------------------------------------------------
async def test_an_image_that_is_not_there_is_rejected() -> None:
    only(MissingBlob, await House().enrol(builders.reference_submitted()))


async def test_bytes_that_are_no_image_are_rejected() -> None:
    here = House()
    event = await here.referenced(ANNA)
    reference_id = ReferenceSubmitted.derive(event.person_id, CUSTODY, sha256(b"no image").hexdigest())
    image = await here.keep(b"no image", key=f"references/{reference_id}/image")
    only(BadImage, await here.enrol(event.model_copy(update={"image": image, "reference_id": reference_id})))


@pytest.mark.parametrize("fields", [{"person_id": "person-2"}, {"gallery": MISSING}, {"reference_id": UUID(int=1)}])
async def test_an_id_that_is_not_the_references_own_is_rejected(fields: dict[str, Any]) -> None:
    """Otherwise one person's image could replace another person's record."""
    here = House()
    event = await here.referenced(ANNA)
    await here.enrol(event)
    before = await here.ledger.held([event.reference_id])
    only(Malformed, await here.enrol(event.model_copy(update=fields)))
    assert await here.ledger.held([event.reference_id]) == before


async def test_an_image_that_others_may_share_is_rejected() -> None:
    """Erasing the reference would take a submission's original away."""
    here = House()
    probe, event = await here.submitted(ANNA), await here.referenced(ANNA)
    only(Malformed, await here.enrol(event.model_copy(update={"image": probe.submission.image})))
    assert await size(here) == 0


@pytest.mark.parametrize("key", ["elsewhere/{0}/image", "references/other/{0}", "references/{0}", "a/references/{0}/b"])
async def test_an_image_that_erasing_would_not_find_is_rejected(key: str) -> None:
    here = House()
    event = await here.referenced(ANNA)
    image = await here.keep(picture(ANNA), key=key.format(event.reference_id))
    only(Malformed, await here.enrol(event.model_copy(update={"image": image})))
    assert await size(here) == 0


PORTS = [
    ("ledger", "erased"),
    ("ledger", "held"),
    ("ledger", "doors"),
    ("blobs", "get"),
    ("codec", "decode"),
    ("detector", "detect"),
    ("aligner", "align"),
    ("embedder", "embed"),
    ("gallery", "enrol"),
    ("ledger", "hold"),
]


@pytest.mark.parametrize(("part", "method"), PORTS)
async def test_an_outage_passes_through_and_leaves_nobody_findable(part: str, method: str) -> None:
    here, outage = House(), Unavailable("away")
    event = await here.referenced(ANNA)
    probe = await here.embedded(ANNA)
    house.take_away(here, part, method, outage)
    with pytest.raises(Unavailable) as raised:
        await here.enrol(event)
    assert raised.value is outage
    house.bring_back(here, part, method)
    assert await here.listed(probe) == []


async def test_a_death_between_template_and_hold_record_is_completed_by_the_redelivery() -> None:
    here = House()
    event = await here.referenced(ANNA)
    house.take_away(here, "ledger", "hold", Unavailable())
    with pytest.raises(Unavailable):
        await here.enrol(event)
    assert await size(here) == 1
    assert await people_like(here, ANNA) == []
    house.bring_back(here, "ledger", "hold")
    await here.enrol(event)
    assert await people_like(here, ANNA) == ["person-1"]
    assert await size(here) == 1


# --- batches --------------------------------------------------------------------------------------------------------
async def test_an_empty_batch_changes_nothing() -> None:
    here = House()
    for part, method in [("gallery", "erase"), ("blobs", "delete_under"), ("ledger", "hold")]:
        house.take_away(here, part, method, Unavailable())
    assert await here.enrol() == []


async def test_a_reference_over_the_limit_is_refused() -> None:
    here = House()
    event = await here.referenced(ANNA)
    (refused,) = await here.enrol(event, max_image_bytes=event.image.bytes - 1)
    assert isinstance(refused, BadImage)
    assert "more than" in str(refused)
