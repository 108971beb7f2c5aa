"""Stage 1: the one face that a submission is about."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import builders
import house
import numpy as np
import pytest
from house import House, only
from hypothesis import given, settings
from hypothesis import strategies as st

from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.adapters.memory.vision import FakeAligner, FakeDetector, MemoryCodec, PlantedFace
from rfr_stream.errors import BadImage, MissingBlob, NotPermitted, Rejected, Unavailable
from rfr_stream.events import (
    BlobRef,
    FaceDetected,
    GalleryName,
    ImageSubmitted,
    Outcome,
    Purpose,
    Source,
    SubjectChoice,
    SubjectUnclear,
    SubmissionClosed,
)
from rfr_stream.faces import Box, Face, ImageHwc, Landmarks, Point
from rfr_stream.ports import Chip, NewBlob, Picture
from rfr_stream.stages import ProbeRules, _faces

ANNA = PlantedFace("anna")
BERT = PlantedFace("bert", x=100)
SEVEN = [PlantedFace(f"person-{i}", x=16 + 80 * i) for i in range(7)]


class SpyBlobs(MemoryBlobs):
    """Remembers which references were opened, and which keys were written."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[BlobRef] = []
        self.fetched: list[Sequence[BlobRef]] = []
        self.written: list[str] = []

    async def get(self, refs: Sequence[BlobRef]) -> list[bytes | Rejected]:
        self.opened += refs
        self.fetched.append(refs)
        return await super().get(refs)

    async def put(self, blobs: Sequence[NewBlob]) -> list[BlobRef]:
        self.written += [blob.key for blob in blobs]
        return await super().put(blobs)

    @property
    def crops(self) -> list[str]:
        return [key for key in self.written if key.startswith("crops/")]


class SpyAligner(FakeAligner):
    """Remembers whose landmarks it was given."""

    def __init__(self) -> None:
        self.given: list[Landmarks] = []

    async def align(self, images: Sequence[ImageHwc], landmarks: Sequence[Landmarks]) -> list[Chip]:
        self.given += landmarks
        return await super().align(images, landmarks)


class HalvingCodec(MemoryCodec):
    """Decodes at half size, as the real one does with large pictures."""

    async def decode(self, files: Sequence[bytes]) -> list[Picture | Rejected]:
        whole = await super().decode(files)
        return [one if isinstance(one, Rejected) else Picture(one.pixels[::2, ::2], 2.0) for one in whole]


class BlindAligner(FakeAligner):
    """Sees what an aligner sees of a face outside its image: nothing."""

    async def align(self, images: Sequence[ImageHwc], landmarks: Sequence[Landmarks]) -> list[Chip]:  # noqa: ARG002
        return [Chip(np.zeros((32, 32, 3), np.uint8), 0.0, 0.0, 0.0) for _ in images]


class HesitantDetector(FakeDetector):
    """Is sure of the first face alone."""

    def __init__(self, score: float) -> None:
        self.score = score

    async def detect(self, images: Sequence[ImageHwc]) -> list[list[Face]]:
        return [
            [face if i == 0 else replace(face, score=self.score) for i, face in enumerate(faces)]
            for faces in await super().detect(images)
        ]


async def ended(here: House, event: ImageSubmitted, *, rules: ProbeRules = house.RULES) -> Outcome:
    return only(SubmissionClosed, await here.detect(event, rules=rules)).outcome


# --- what is found ----------------------------------------------------------------------------------------------------
async def test_a_lone_face_is_found_and_measured() -> None:
    here = House()
    event = await here.submitted(ANNA)
    found = only(FaceDetected, await here.detect(event))
    assert found.submission == event.submission
    assert found.face.box == Box(16, 16, 80, 80)
    assert found.face.detector == FakeDetector.identity
    assert found.face.quality.interocular_px == pytest.approx(0.4 * 64)
    assert found.face.quality.contrast > 1
    assert found.occurred_at == builders.NOW


async def test_the_crop_is_kept_under_its_submission() -> None:
    here = House()
    event = await here.submitted(ANNA)
    found = only(FaceDetected, await here.detect(event))
    assert str(event.submission.submission_id) in found.face.crop.uri
    (crop,) = await here.blobs.get([found.face.crop])
    assert isinstance(crop, bytes)
    (chip,) = await here.vision.codec.decode([crop])
    assert isinstance(chip, Picture)
    assert chip.pixels.shape == (32, 32, 3)


async def test_the_original_is_never_altered() -> None:
    here = House()
    event = await here.submitted(ANNA)
    before = dict(here.blobs.kept)
    await here.detect(event)
    assert before.items() <= here.blobs.kept.items()


@pytest.mark.parametrize(
    "subject", [Point(130, 40), Box(100, 16, 164, 80), Box(90, 0, 170, 90)], ids=["point", "box", "loose box"]
)
async def test_a_point_or_a_box_picks_one_of_several_faces(subject: Point | Box) -> None:
    here = House()
    found = only(FaceDetected, await here.detect(await here.submitted(ANNA, BERT, subject=subject)))
    assert found.face.box == Box(100, 16, 164, 80)


async def test_several_faces_without_a_wish_wait_for_one() -> None:
    here = House()
    event = await here.submitted(ANNA, BERT)
    question = only(SubjectUnclear, await here.detect(event))
    assert question == SubjectUnclear(
        occurred_at=builders.NOW,
        submission=event.submission,
        faces=(Box(16, 16, 80, 80), Box(100, 16, 164, 80)),
        detector=FakeDetector.identity,
    )


@pytest.mark.parametrize("subject", [Point(1, 1), Box(0, 0, 9, 9)], ids=["point", "box"])
@pytest.mark.parametrize("people", [(ANNA,), (ANNA, BERT)], ids=["one face", "two faces"])
async def test_a_wish_that_points_at_nobody_is_asked_again(people: Sequence[PlantedFace], subject: Point | Box) -> None:
    here = House()
    question = only(SubjectUnclear, await here.detect(await here.submitted(*people, subject=subject)))
    assert len(question.faces) == len(people)


def pointed(event: ImageSubmitted, subject: Point | Box) -> ImageSubmitted:
    """Return the submission as it comes again, once somebody has pointed at a face."""
    return event.model_copy(update={"choice": SubjectChoice(subject=subject, chosen_by="reviewer-a")})


@pytest.mark.parametrize("asked", [{}, {"subject": Point(1, 1)}, {"subject": Point(40, 40)}], ids=str)
@pytest.mark.parametrize("subject", [Point(130, 40), Box(100, 16, 164, 80)], ids=["point", "box"])
async def test_a_choice_is_followed_whatever_was_asked_first(asked: dict[str, Any], subject: Point | Box) -> None:
    here = House()
    event = pointed(await here.submitted(ANNA, BERT, **asked), subject)
    found = only(FaceDetected, await here.detect(event))
    assert found.face.box == Box(100, 16, 164, 80)
    assert found.submission == event.submission, "what was asked first stays what it was"


@pytest.mark.parametrize("subject", [Point(1, 1), Box(0, 0, 9, 9)], ids=["point", "box"])
@pytest.mark.parametrize("people", [(ANNA,), (ANNA, BERT), ()], ids=["one face", "two faces", "none"])
async def test_a_choice_where_no_face_is_ends_as_no_face(people: Sequence[PlantedFace], subject: Point | Box) -> None:
    here = House()
    assert await ended(here, pointed(await here.submitted(*people), subject)) is Outcome.NO_FACE


async def test_a_choice_does_not_make_a_small_face_larger() -> None:
    here = House()
    event = pointed(await here.submitted(ANNA, PlantedFace("carl", x=100, side_px=20)), Point(110, 26))
    assert await ended(here, event) is Outcome.UNSUITABLE_QUALITY


@pytest.mark.parametrize("subject", [None, Point(40, 40)])
async def test_a_picture_of_nobody_ends_as_no_face(subject: Point | None) -> None:
    here = House()
    assert await ended(here, await here.submitted(subject=subject)) is Outcome.NO_FACE


async def test_an_end_says_to_which_case_the_submission_belongs() -> None:
    here = House()
    event = await here.submitted()
    assert only(SubmissionClosed, await here.detect(event)).case_ref == event.submission.case_ref


@pytest.mark.parametrize(("score", "certain"), [(0.49, True), (0.5, False)])
async def test_a_face_below_the_least_score_is_none(score: float, certain: bool) -> None:  # noqa: FBT001 - parametrised
    here = House()
    here.vision.detector = HesitantDetector(score)
    result = (await here.detect(await here.submitted(ANNA, BERT)))[0]
    assert isinstance(result, FaceDetected) is certain


@pytest.mark.parametrize(("least_px", "suits"), [(25.5, True), (25.7, False)])
async def test_a_face_too_small_is_unsuitable(least_px: float, suits: bool) -> None:  # noqa: FBT001 - parametrised
    here = House()
    rules = replace(house.RULES, min_interocular_px=least_px)
    result = (await here.detect(await here.submitted(ANNA), rules=rules))[0]  # 0.4 * 64 px between the eyes
    assert isinstance(result, FaceDetected) is suits
    if isinstance(result, SubmissionClosed):
        assert result.outcome is Outcome.UNSUITABLE_QUALITY


async def test_a_face_that_shows_nothing_is_unsuitable_and_nothing_is_kept() -> None:
    here = House(blobs=(blobs := SpyBlobs()))
    here.vision.aligner = BlindAligner()
    assert await ended(here, await here.submitted(ANNA)) is Outcome.UNSUITABLE_QUALITY
    assert not blobs.crops


# --- in the original's pixels ---------------------------------------------------------------------------------------
async def test_events_speak_of_the_originals_pixels_even_where_the_picture_was_decoded_smaller() -> None:
    here = House()
    event = await here.submitted(ANNA)
    whole = only(FaceDetected, await here.detect(event))
    here.vision.codec = HalvingCodec()
    halved = only(FaceDetected, await here.detect(event))
    assert halved.face.box == whole.face.box
    assert halved.face.landmarks.to_array() == pytest.approx(whole.face.landmarks.to_array())
    assert halved.face.quality.interocular_px == pytest.approx(whole.face.quality.interocular_px)


async def test_a_question_and_its_answer_speak_of_the_originals_pixels() -> None:
    here = House()
    here.vision.codec = HalvingCodec()
    event = await here.submitted(ANNA, BERT)
    question = only(SubjectUnclear, await here.detect(event))
    assert question.faces == (Box(16, 16, 80, 80), Box(100, 16, 164, 80))
    found = only(FaceDetected, await here.detect(pointed(event, question.faces[1].centre)))
    assert found.face.box == question.faces[1]


@pytest.mark.parametrize("subject", [Point(130, 40), Box(100, 16, 164, 80)], ids=["point", "box"])
async def test_a_wish_speaks_of_the_originals_pixels_too(subject: Point | Box) -> None:
    here = House()
    here.vision.codec = HalvingCodec()
    found = only(FaceDetected, await here.detect(await here.submitted(ANNA, BERT, subject=subject)))
    assert found.face.box == Box(100, 16, 164, 80)


async def test_the_least_size_is_asked_of_the_original() -> None:
    here = House()
    here.vision.codec = HalvingCodec()
    rules = replace(house.RULES, min_interocular_px=20)  # 25.6 px in the original, 12.8 in what was decoded
    only(FaceDetected, await here.detect(await here.submitted(ANNA), rules=rules))


# --- bystanders -----------------------------------------------------------------------------------------------------
async def test_of_seven_faces_only_the_subjects_is_ever_cut_out_and_kept() -> None:
    here = House(blobs=(blobs := SpyBlobs()))
    here.vision.aligner = (aligner := SpyAligner())
    found = only(FaceDetected, await here.detect(await here.submitted(*SEVEN, subject=Point(290, 40))))
    assert found.face.box == Box(256, 16, 320, 80)
    assert [landmarks.left_eye.x for landmarks in aligner.given] == [pytest.approx(256 + 0.3 * 64)]
    assert len(blobs.crops) == 1


async def test_of_seven_faces_without_a_subject_none_is_cut_out() -> None:
    here = House(blobs=(blobs := SpyBlobs()))
    here.vision.aligner = (aligner := SpyAligner())
    only(SubjectUnclear, await here.detect(await here.submitted(*SEVEN)))
    assert not aligner.given
    assert not blobs.crops


@pytest.mark.parametrize("codec", [MemoryCodec(), HalvingCodec()], ids=["whole", "decoded at half size"])
async def test_where_the_others_are_goes_along_so_that_nobody_is_shown_them(codec: MemoryCodec) -> None:
    here = House()
    here.vision.codec = codec
    found = only(FaceDetected, await here.detect(await here.submitted(*SEVEN, subject=Point(290, 40))))
    assert set(found.face.masks) == {Box(who.x, 16, who.x + 64, 80) for who in SEVEN if who.x != 256}


async def test_a_lone_face_hides_nobody() -> None:
    here = House()
    assert only(FaceDetected, await here.detect(await here.submitted(ANNA))).face.masks == ()


async def test_of_a_crowd_as_many_are_told_as_fit_into_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_faces, "MAX_FACES", 3)
    here = House()
    crowd = await here.submitted(*SEVEN)
    assert len(only(SubjectUnclear, await here.detect(crowd)).faces) == 3
    assert len(only(FaceDetected, await here.detect(pointed(crowd, Point(290, 40)))).face.masks) == 3


# --- faults ---------------------------------------------------------------------------------------------------------
FORBIDDEN: dict[str, dict[str, Any]] = {
    "a door that the purpose does not use": {"source": Source.DECEASED_PERSON},
    "no authoriser": {"purpose": Purpose.WITNESS},
    "a gallery that the purpose does not open": {"galleries": (GalleryName.MISSING,)},
}


@pytest.mark.parametrize("asked", FORBIDDEN.values(), ids=FORBIDDEN)
async def test_what_policy_forbids_is_rejected_before_a_byte_is_opened(asked: dict[str, Any]) -> None:
    here = House(blobs=(blobs := SpyBlobs()))
    only(NotPermitted, await here.detect(await here.submitted(ANNA, **asked)))
    assert not blobs.opened


async def test_an_image_that_is_not_there_is_rejected() -> None:
    only(MissingBlob, await House().detect(builders.image_submitted()))


async def test_an_image_that_is_not_the_one_referred_to_is_rejected() -> None:
    here = House()
    event = await here.submitted(ANNA)
    here.blobs.kept = {key: data[:-1] + b"!" for key, data in here.blobs.kept.items()}
    only(MissingBlob, await here.detect(event))


async def test_bytes_that_are_no_image_are_rejected() -> None:
    here = House()
    image = await here.keep(b"GIF89a, and then nothing")
    only(BadImage, await here.detect(builders.image_submitted(builders.submission(image=image))))


@pytest.mark.parametrize(
    ("part", "method"),
    [
        ("blobs", "get"),
        ("blobs", "put"),
        ("codec", "decode"),
        ("codec", "encode"),
        ("detector", "detect"),
        ("aligner", "align"),
    ],
)
async def test_an_outage_passes_through_untouched(part: str, method: str) -> None:
    here, outage = House(), Unavailable("away")
    event = await here.submitted(ANNA)
    house.take_away(here, part, method, outage)
    with pytest.raises(Unavailable) as raised:
        await here.detect(event)
    assert raised.value is outage


# --- batches --------------------------------------------------------------------------------------------------------
FATES: dict[str, type[object] | Outcome] = {
    "good": FaceDetected,
    "picked": FaceDetected,
    "crowd": SubjectUnclear,
    "nobody": Outcome.NO_FACE,
    "small": Outcome.UNSUITABLE_QUALITY,
    "forbidden": NotPermitted,
    "missing": MissingBlob,
    "undecodable": BadImage,
}
PEOPLE = {"picked": [ANNA, BERT], "crowd": [ANNA, BERT], "nobody": [], "small": [PlantedFace("carl", side_px=20)]}
ASKED: dict[str, dict[str, Any]] = {
    "picked": {"subject": Point(130, 40)},
    "forbidden": {"purpose": Purpose.WITNESS},
    "missing": {"image": builders.blob("missing")},
}


async def of_kind(here: House, kind: str, case_ref: str) -> ImageSubmitted:
    asked = {"case_ref": case_ref, **ASKED.get(kind, {})}
    if kind == "undecodable":
        asked["image"] = await here.keep(b"no image")
    return await here.submitted(*PEOPLE.get(kind, [ANNA]), **asked)


def fate(result: object) -> type[object] | Outcome:
    return result.outcome if isinstance(result, SubmissionClosed) else type(result)


def about(result: object) -> object:
    match result:
        case FaceDetected() | SubjectUnclear():
            return result.submission.submission_id
        case SubmissionClosed():
            return result.submission_id
        case _:
            return None


@settings(max_examples=25)
@given(st.lists(st.sampled_from(sorted(FATES)), max_size=8))
async def test_good_and_bad_items_keep_their_places_and_their_fates(kinds: list[str]) -> None:
    here = House()
    batch = [await of_kind(here, kind, f"case-{i}") for i, kind in enumerate(kinds)]
    results = await here.detect(*batch)
    assert [fate(result) for result in results] == [FATES[kind] for kind in kinds]
    for event, result in zip(batch, results, strict=True):
        assert about(result) in (None, event.submission.submission_id)


async def test_an_empty_batch_asks_no_port() -> None:
    here = House()
    for part, method in [("blobs", "get"), ("codec", "decode"), ("detector", "detect"), ("aligner", "align")]:
        house.take_away(here, part, method, Unavailable())
    assert await here.detect() == []


# --- again ----------------------------------------------------------------------------------------------------------
async def test_the_same_submission_again_says_the_same_and_writes_the_same_blob() -> None:
    here = House(blobs=(blobs := SpyBlobs()))
    event = await here.submitted(ANNA)
    first, again = [only(FaceDetected, await here.detect(event)) for _ in range(2)]
    assert (first, first.event_id) == (again, again.event_id)
    assert list(Counter(blobs.crops).values()) == [2]


async def test_a_closed_submission_closes_with_the_same_id_again() -> None:
    here = House()
    event = await here.submitted()
    first, again = [only(SubmissionClosed, await here.detect(event)) for _ in range(2)]
    assert first.event_id == again.event_id


async def test_two_submissions_about_one_image_keep_their_own_crops() -> None:
    here = House()
    events = [await here.submitted(ANNA, case_ref=case) for case in ("case-1", "case-2")]
    uris = {only(FaceDetected, [result]).face.crop.uri for result in await here.detect(*events)}
    assert len(uris) == 2


@pytest.mark.parametrize("demo", [True, False])
@pytest.mark.parametrize("people", [(ANNA,), (ANNA, BERT), ()], ids=["found", "asked", "closed"])
async def test_a_demonstration_stays_one(people: Sequence[PlantedFace], demo: bool) -> None:  # noqa: FBT001
    here = House()
    (result,) = await here.detect(await here.submitted(*people, demo=demo))
    assert isinstance(result, FaceDetected | SubjectUnclear | SubmissionClosed)
    assert result.demo is demo


# --- how much is in memory at once ------------------------------------------------------------------------------------
async def test_an_image_over_the_limit_is_refused_unfetched() -> None:
    blobs = SpyBlobs()
    here = House(blobs=blobs)
    event = await here.submitted(ANNA)
    size = event.submission.image.bytes

    refused = only(BadImage, await here.detect(event, rules=replace(house.RULES, max_image_bytes=size - 1)))
    assert str(refused) == f"image: more than {size - 1} bytes; submit a smaller file"
    assert not blobs.opened
    only(FaceDetected, await here.detect(event, rules=replace(house.RULES, max_image_bytes=size)))


@pytest.mark.parametrize(("room", "at_once"), [(10**9, [3]), (0, [1, 1, 1])])
async def test_originals_are_fetched_in_parts_and_answered_in_order(
    monkeypatch: pytest.MonkeyPatch, room: int, at_once: list[int]
) -> None:
    monkeypatch.setattr(_faces, "BYTES_IN_HAND", room)
    blobs = SpyBlobs()
    here = House(blobs=blobs)
    events = [await here.submitted(who) for who in (ANNA, BERT, SEVEN[2])]
    forbidden = await here.submitted(ANNA, purpose=Purpose.WITNESS)

    first, second, nobody, third = await here.detect(events[0], events[1], forbidden, events[2])
    assert [one.submission for one in (first, second, third) if isinstance(one, FaceDetected)] == [
        event.submission for event in events
    ]
    assert isinstance(nobody, NotPermitted)
    assert [len(refs) for refs in blobs.fetched] == at_once
