"""Variants: copies and other images are tried beside the original, which decides; what they add is on record."""

from dataclasses import replace
from typing import Any

import builders
import house
import numpy as np
import pytest
from builders import NOW
from house import House, only

from rfr_stream.adapters.memory.vision import FakeAligner, FakeEmbedder, MemoryCodec, PlantedFace, plant
from rfr_stream.errors import Malformed, MissingBlob, NotPermitted, Unavailable
from rfr_stream.events import (
    BlobRef,
    CandidatesReady,
    Crop,
    Deinterlace,
    Exposure,
    FaceDetected,
    FaceEmbedded,
    ImageSubmitted,
    ImageVariant,
    ModelIdentity,
    Outcome,
    Recipe,
    RecipeVariant,
    Skip,
    Step,
    SubjectChoice,
    SubjectTemplate,
    SubjectUnclear,
    SubmissionClosed,
    Tried,
    Variant,
)
from rfr_stream.faces import Box, ImageHwc, Landmarks, Point
from rfr_stream.ports import Chip, Hit, NewBlob, Picture, Templates
from rfr_stream.stages import TEMPLATE_MEDIA_TYPE
from rfr_stream.stages._fusion import AGREEMENT, RULE
from rfr_stream.vision import decode

ANNA = PlantedFace("anna")
BERT = PlantedFace("bert", x=100)
ANNA_BOX, BERT_BOX = Box(16, 16, 80, 80), Box(100, 16, 164, 80)


def recipe(*steps: Step) -> RecipeVariant:
    return RecipeVariant(recipe=Recipe(steps=steps))


SAME = recipe(Exposure())
CROPPED = recipe(Crop(left=10, top=8, right=90, bottom=90))
FACELESS = recipe(Deinterlace(field="lower"))  # it takes away the line by which the detector knows a planted face
DIM = recipe(Exposure(gain=2))


async def image(here: House, *people: PlantedFace, **fields: Any) -> ImageVariant:  # noqa: ANN401
    return ImageVariant(image=await here.keep(house.picture(*people)), **fields)


async def tried(
    here: House,
    *variants: Variant,
    people: tuple[PlantedFace, ...] = (ANNA,),
    **asked: Any,  # noqa: ANN401
) -> FaceDetected:
    return only(FaceDetected, await here.detect(await here.submitted(*people, variants=variants, **asked)))


def fates(found: FaceDetected) -> list[Skip | Box]:
    return [each.face.box if each.face else each.skipped or Skip.UNREADABLE for each in found.variants]


async def dim_picture(here: House, *people: PlantedFace) -> BlobRef:
    """Keep a picture so dim that no planted face is known by its mark until its levels are doubled."""
    pixels = plant(*people, width=200, height=100)
    return await here.keep(decode.encode(((pixels.astype(int) + 1) // 2).astype(np.uint8)))


# --- the face of each -----------------------------------------------------------------------------------------------
async def test_each_variant_is_brought_to_a_face_and_the_originals_stays_the_face() -> None:
    here = House()
    found = await tried(here, SAME, CROPPED, await image(here, replace(ANNA, x=40)))
    assert (found.face.box, found.face_in) == (ANNA_BOX, 0)
    assert [each.number for each in found.variants] == [1, 2, 3]
    assert fates(found) == [ANNA_BOX, ANNA_BOX, Box(40, 16, 104, 80)]


async def test_a_copys_face_speaks_of_the_originals_pixels_and_its_crop_is_that_of_the_copy() -> None:
    here = House()
    found = await tried(here, CROPPED)
    (copied,) = found.variants
    assert copied.face
    assert copied.face.landmarks.to_array() == pytest.approx(found.face.landmarks.to_array())
    assert copied.face.quality.interocular_px == pytest.approx(found.face.quality.interocular_px)
    own, copys = await here.vision.codec.decode(await crops_of(here, found))
    np.testing.assert_array_equal(*await here.vision.embedder.embed([pixels_of(own), pixels_of(copys)]))


async def crops_of(here: House, found: FaceDetected) -> list[bytes]:
    faces = [found.face, *(each.face for each in found.variants if each.face)]
    return [file for file in await here.blobs.get([face.crop for face in faces]) if isinstance(file, bytes)]


def pixels_of(picture: object) -> ImageHwc:
    assert isinstance(picture, Picture)
    return picture.pixels


async def test_a_copy_is_on_record_with_what_proves_it_and_another_image_needs_no_proof() -> None:
    here = House()
    found = await tried(here, CROPPED, await image(here, BERT))
    made, other = found.variants
    assert made.derivation
    (again,) = await MemoryCodec().follow([(CROPPED.recipe, (await decoded(here, found)))])
    assert made.derivation == getattr(again, "derivation", None)
    assert other.derivation is None


async def decoded(here: House, found: FaceDetected) -> Any:  # noqa: ANN401 - Picture or Rejected
    files = [file for file in await here.blobs.get([found.submission.image]) if isinstance(file, bytes)]
    (picture,) = await here.vision.codec.decode(files)
    return picture


async def test_what_is_derived_is_named_by_submission_variant_and_content() -> None:
    here = House()
    found = await tried(here, SAME, CROPPED)
    about = str(found.submission.submission_id)
    crops = [found.face.crop, *(each.face.crop for each in found.variants if each.face)]
    assert [crop.uri.rsplit("/", 1)[-1] for crop in crops] == [
        f"{about}{variant}-{crop.sha256[:16]}" for variant, crop in zip(("", "-1", "-2"), crops, strict=True)
    ]


async def test_the_same_submission_again_says_the_same() -> None:
    here = House()
    event = await here.submitted(ANNA, variants=(SAME, CROPPED, FACELESS, await image(here, BERT)))
    assert await here.detect(event) == await here.detect(event)


# --- whose face -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("subject", [Point(130, 40), BERT_BOX], ids=["point", "box"])
async def test_the_subject_follows_the_recipe(subject: Point | Box) -> None:
    here = House()
    moved = recipe(Crop(left=90, top=0, right=180, bottom=96))
    found = await tried(here, moved, people=(ANNA, BERT), subject=subject)
    assert fates(found) == [BERT_BOX]


async def test_a_copy_that_shows_only_a_bystander_is_passed_over() -> None:
    here = House()
    others = recipe(Crop(left=90, top=0, right=180, bottom=96))
    found = await tried(here, others, people=(ANNA, BERT), subject=Point(40, 40))
    assert fates(found) == [Skip.SUBJECT_UNCLEAR]


async def test_of_another_image_with_several_people_somebody_must_have_said_which_is_meant() -> None:
    here = House()
    unsaid = await image(here, ANNA, BERT)
    said = await image(here, replace(ANNA, y=20), BERT, subject=Point(130, 40))
    assert fates(await tried(here, unsaid, said)) == [Skip.SUBJECT_UNCLEAR, BERT_BOX]


async def test_nobody_but_the_subject_is_cut_out_of_a_variant() -> None:
    given: list[Landmarks] = []

    class SpyAligner(FakeAligner):
        async def align(self, images: Any, landmarks: Any) -> list[Chip]:  # noqa: ANN401
            given.extend(landmarks)
            return await super().align(images, landmarks)

    here = House()
    here.vision.aligner = SpyAligner()
    found = await tried(
        here, SAME, await image(here, ANNA, replace(BERT, x=120)), people=(ANNA, BERT), subject=Point(40, 40)
    )
    assert [each.left_eye.x for each in given] == pytest.approx([16 + 0.3 * 64] * 2)
    assert not [each.face.masks for each in found.variants if each.face and each.face.masks]


# --- what is passed over --------------------------------------------------------------------------------------------
async def test_a_variant_that_shows_nothing_is_passed_over_and_on_record() -> None:
    here = House()
    nobody = await image(here)
    small = await image(here, replace(ANNA, side_px=20))
    lost = ImageVariant(image=builders.blob("lost"))
    broken = ImageVariant(image=await here.keep(b"no image"))
    outside = recipe(Crop(left=5_000, top=0, right=6_000, bottom=10))
    found = await tried(here, FACELESS, nobody, small, lost, broken, outside)
    assert fates(found) == [
        Skip.NO_FACE,
        Skip.NO_FACE,
        Skip.UNSUITABLE_QUALITY,
        Skip.UNREADABLE,
        Skip.UNREADABLE,
        Skip.UNREADABLE,
    ]
    assert found.face.box == ANNA_BOX


async def test_another_image_over_the_limit_is_passed_over_unopened() -> None:
    here = House()
    large = await image(here, replace(ANNA, side_px=200))
    event = await here.submitted(ANNA, variants=(large,))
    rules = replace(house.RULES, max_image_bytes=event.submission.image.bytes)
    assert fates(only(FaceDetected, await here.detect(event, rules=rules))) == [Skip.UNREADABLE]


async def test_a_copy_on_which_nothing_can_be_seen_is_passed_over() -> None:
    class BlindToCopies(FakeAligner):
        async def align(self, images: Any, landmarks: Any) -> list[Chip]:  # noqa: ANN401
            chips = await super().align(images, landmarks)
            small = [image.shape[1] < 85 for image in images]
            return [
                replace(chip, contrast=0.0) if is_small else chip for chip, is_small in zip(chips, small, strict=True)
            ]

    here = House()
    here.vision.aligner = BlindToCopies()
    assert fates(await tried(here, CROPPED)) == [Skip.UNSUITABLE_QUALITY]


@pytest.mark.parametrize(
    ("part", "method"), [("codec", "follow"), ("blobs", "get"), ("blobs", "put"), ("detector", "detect")]
)
async def test_an_outage_passes_through_untouched(part: str, method: str) -> None:
    here = House()
    event = await here.submitted(ANNA, variants=(SAME,))
    house.take_away(here, part, method, outage := Unavailable("away"))
    with pytest.raises(Unavailable) as raised:
        await here.detect(event)
    assert raised.value is outage


# --- the original decides -------------------------------------------------------------------------------------------
async def test_where_the_original_shows_nobody_the_first_variant_with_a_face_stands_for_it() -> None:
    here = House()
    dim = await dim_picture(here, ANNA)
    found = await tried(here, FACELESS, DIM, await image(here, BERT), image=dim)
    assert (found.face_in, found.face.box) == (2, ANNA_BOX)
    assert fates(found) == [Skip.NO_FACE, ANNA_BOX, BERT_BOX]


async def test_bystanders_that_only_a_copy_shows_are_masked_on_the_original_that_it_stands_for() -> None:
    here = House()
    dim = await dim_picture(here, ANNA, BERT)
    found = await tried(here, DIM, image=dim, subject=Point(40, 40))
    assert (found.face.box, found.face.masks) == (ANNA_BOX, (BERT_BOX,))


async def test_bystanders_of_another_image_are_no_masks_of_the_original() -> None:
    here = House()
    found = await tried(here, await image(here, ANNA, BERT, subject=Point(40, 40)), people=())
    assert (found.face_in, found.face.box, found.face.masks) == (1, ANNA_BOX, ())


async def test_a_copy_of_a_faceless_original_with_several_faces_needs_to_be_told_which() -> None:
    here = House()
    event = await here.submitted(image=await dim_picture(here, ANNA, BERT), variants=(DIM,))
    assert only(SubmissionClosed, await here.detect(event)).outcome is Outcome.NO_FACE


async def test_where_nothing_shows_a_face_there_is_none() -> None:
    here = House()
    nobody = ImageVariant(image=await here.keep(decode.encode(plant(width=99))))
    event = await here.submitted(variants=(SAME, nobody))
    assert only(SubmissionClosed, await here.detect(event)).outcome is Outcome.NO_FACE


async def untouched(here: House, event: ImageSubmitted) -> object:
    """Return what comes of a submission whose variants may not even be opened."""
    house.take_away(here, "codec", "follow", Unavailable("a variant was tried"))
    (result,) = await here.detect(event)
    return result


async def test_an_original_that_does_not_say_who_is_meant_is_asked_about_before_any_variant_is_tried() -> None:
    here = House()
    event = await here.submitted(ANNA, BERT, variants=(SAME,))
    assert isinstance(await untouched(here, event), SubjectUnclear)
    house.bring_back(here, "codec", "follow")
    chosen = event.model_copy(update={"choice": SubjectChoice(subject=BERT_BOX.centre, chosen_by="reviewer-a")})
    assert fates(only(FaceDetected, await here.detect(chosen))) == [BERT_BOX]


async def test_where_somebody_pointed_at_no_face_no_variant_overrules_them() -> None:
    here = House()
    event = await here.submitted(ANNA, variants=(SAME,))
    chosen = event.model_copy(update={"choice": SubjectChoice(subject=Point(1, 1), chosen_by="reviewer-a")})
    result = await untouched(here, chosen)
    assert isinstance(result, SubmissionClosed)
    assert result.outcome is Outcome.NO_FACE


async def test_a_face_too_small_in_the_original_ends_the_submission() -> None:
    here = House()
    event = await here.submitted(replace(ANNA, side_px=20), variants=(SAME,))
    result = await untouched(here, event)
    assert isinstance(result, SubmissionClosed)
    assert result.outcome is Outcome.UNSUITABLE_QUALITY


async def test_what_may_not_be_searched_or_opened_is_not_tried_either() -> None:
    here = House()
    forbidden = await here.submitted(ANNA, purpose="witness", variants=(SAME,))
    assert isinstance(await untouched(here, forbidden), NotPermitted)
    lost = builders.image_submitted(builders.submission("lost", variants=(SAME,)))
    assert isinstance(await untouched(here, lost), MissingBlob)


async def test_submissions_with_and_without_variants_keep_their_places_in_one_batch() -> None:
    here = House()
    plain = await here.submitted(ANNA, case_ref="case-1")
    varied = await here.submitted(ANNA, case_ref="case-2", variants=(SAME, FACELESS))
    closed = await here.submitted(case_ref="case-3")
    first, second, third = await here.detect(plain, varied, closed)
    assert isinstance(first, FaceDetected)
    assert first.variants == ()
    assert isinstance(second, FaceDetected)
    assert fates(second) == [ANNA_BOX, Skip.NO_FACE]
    assert isinstance(third, SubmissionClosed)
    rest = await here.embed(second, first)
    assert [only(FaceEmbedded, [one]).submission.case_ref for one in rest] == ["case-2", "case-1"]
    lists = await here.search(*(only(FaceEmbedded, [one]) for one in rest))
    assert [only(CandidatesReady, [one]).submission.case_ref for one in lists] == ["case-2", "case-1"]


# --- templates ------------------------------------------------------------------------------------------------------
async def template_of(here: House, made: SubjectTemplate | None) -> Templates:
    assert made
    (data,) = await here.blobs.get([made.template])
    assert isinstance(data, bytes)
    return np.frombuffer(data, "<f4")


async def test_every_face_gets_its_own_template_and_what_was_passed_over_gets_none() -> None:
    here = House()
    detected = await tried(here, FACELESS, CROPPED, await image(here, BERT))
    embedded = only(FaceEmbedded, await here.embed(detected))
    assert [bool(each.template) for each in embedded.variants] == [False, True, True]
    own, copied = await template_of(here, embedded.template), await template_of(here, embedded.variants[1].template)
    np.testing.assert_array_equal(own, copied)
    assert own @ await template_of(here, embedded.variants[2].template) < 0.5
    uris = [each.template.template.uri for each in embedded.variants if each.template]
    assert [uri.split(str(detected.submission.submission_id))[1][:3] for uri in uris] == ["-2-", "-3-"]


async def test_a_face_that_stands_for_the_original_is_embedded_once() -> None:
    here = House()
    detected = await tried(here, FACELESS, await image(here, BERT), people=())
    embedded = only(FaceEmbedded, await here.embed(detected))
    assert (embedded.face_in, embedded.face) == (2, detected.face)
    assert embedded.template == embedded.variants[1].template
    assert len([key for key in here.blobs.kept if key.startswith("templates/")]) == 1


async def test_without_one_of_its_crops_a_submission_is_rejected_whole() -> None:
    here = House()
    detected = await tried(here, SAME)
    gone = detected.variants[0].face
    assert gone
    await here.blobs.delete([gone.crop])
    only(MissingBlob, await here.embed(detected))


async def test_a_variants_crop_of_another_aligner_is_refused() -> None:
    here = House()
    detected = await tried(here, SAME)
    foreign = detected.variants[0].model_copy(update={"face": builders.face(aligner="another")})
    only(NotPermitted, await here.embed(detected.model_copy(update={"variants": (foreign,)})))


# --- the search -----------------------------------------------------------------------------------------------------
def towards(*shares: float) -> Templates:
    """Return a template with these parts along the first axes, and the rest, if any, along one of its own."""
    template = np.zeros(FakeEmbedder.identity.dimension, np.float32)
    template[: len(shares)] = shares
    rest = 1 - float(template @ template)
    template[-1] = np.sqrt(max(rest, 0))
    return template


async def asked_with(here: House, own: Templates, *others: Templates | None) -> FaceEmbedded:
    """Return the event of an original with this template, and variants with these; None: passed over."""
    variants = tuple(recipe(Exposure(gain=1 + n / 10)) for n in range(len(others)))
    about = builders.submission(variants=variants)
    made = [await _kept(here, n, template) for n, template in enumerate((own, *others))]
    seen = [
        Tried(number=n, face=builders.face(), template=template) if template else Tried(number=n, skipped=Skip.NO_FACE)
        for n, template in enumerate(made[1:], start=1)
    ]
    assert made[0]
    return FaceEmbedded(occurred_at=NOW, submission=about, face=builders.face(), variants=tuple(seen), template=made[0])


async def _kept(here: House, number: int, template: Templates | None) -> SubjectTemplate | None:
    if template is None:
        return None
    (ref,) = await here.blobs.put([NewBlob(f"templates/t-{number}", template.tobytes(), TEMPLATE_MEDIA_TYPE)])
    return SubjectTemplate(template=ref, embedder=FakeEmbedder.identity)


async def enrolled(here: House, person: str, template: Templates) -> None:
    reference = builders.reference(person)
    await here.gallery.enrol(
        reference.gallery, [reference.reference_id], template[None], embedder=FakeEmbedder.identity
    )
    await here.ledger.hold([reference])


async def listed(here: House, event: FaceEmbedded) -> CandidatesReady:
    return only(CandidatesReady, await here.search(event))


ONE, OTHER = towards(0.6, 0.8), towards(0.6, -0.8)  # 0.6 along the first axis; their mean has length 0.6
ANNAS = towards(1.0)


async def test_several_templates_make_one_list_by_the_rule_that_it_names() -> None:
    here = House()
    await enrolled(here, "anna", ANNAS)
    found = await listed(here, await asked_with(here, ONE, OTHER))
    (lead,) = found.candidates
    assert lead.similarity == pytest.approx(0.6**AGREEMENT, abs=1e-5)  # the mean template lies on hers
    assert found.fusion == RULE
    assert found.list_digest == CandidatesReady.digest(
        found.submission.submission_id, found.submission.image.sha256, found.candidates
    )
    assert CandidatesReady.model_validate_json(found.model_dump_json()) == found


async def test_each_lead_says_which_images_find_that_person_by_themselves() -> None:
    here = House()
    await enrolled(here, "anna", ANNAS)
    own, weak = towards(0.9), towards(0.4)
    found = await listed(here, await asked_with(here, own, weak, own, None))
    assert [lead.found_by for lead in found.candidates] == [(0, 2)]


async def test_whom_no_image_finds_by_itself_is_not_listed_however_near_all_together_come() -> None:
    here = House()
    await enrolled(here, "anna", ANNAS)
    weak, askew = towards(0.48, 0.5), towards(0.48, -0.5)
    assert (await listed(here, await asked_with(here, weak, askew))).candidates == ()
    near = towards(0.5, 0.5)
    found = await listed(here, await asked_with(here, near, askew))
    assert [(lead.person_id, lead.found_by) for lead in found.candidates] == [("anna", (0,))]


async def test_an_image_that_finds_many_nearer_strangers_is_still_heard_about_the_subject() -> None:
    here = House()
    await enrolled(here, "anna", ANNAS)
    near, askew = towards(0.55, 0.8), towards(0.49, -0.8)
    for n in range(20):  # nearer to the first image than the subject is, and far from the second
        await enrolled(here, f"stranger-{n}", towards(0.3 - n / 1000, 0.9))
    found = await listed(here, await asked_with(here, near, askew))
    assert [(lead.person_id, lead.found_by) for lead in found.candidates] == [("anna", (0,))]


async def test_whom_one_image_alone_finds_is_not_listed_if_the_others_disagree() -> None:
    here = House()
    await enrolled(here, "anna", ANNAS)
    near, far = towards(0.55, 0.7), towards(-0.1, -0.9)
    assert [lead.person_id for lead in (await listed(here, await asked_with(here, near))).candidates] == ["anna"]
    assert (await listed(here, await asked_with(here, near, far))).candidates == ()


async def test_one_template_is_searched_as_it_is_and_says_nothing_of_fusion() -> None:
    here = House()
    await enrolled(here, "anna", ANNAS)
    found = await listed(here, await asked_with(here, towards(0.9), None))
    (lead,) = found.candidates
    assert lead.similarity == pytest.approx(0.9)
    assert (lead.found_by, found.fusion) == ((), None)


async def test_the_same_template_again_changes_no_similarity() -> None:
    here = House()
    await enrolled(here, "anna", ANNAS)
    once, twice = [await listed(here, await asked_with(here, ONE, *more)) for more in ((), (ONE,))]
    assert twice.candidates[0].similarity == pytest.approx(once.candidates[0].similarity, abs=1e-6)


async def test_what_the_weight_takes_below_the_threshold_is_not_found() -> None:
    here = House()
    await enrolled(here, "anna", towards(0.62))  # 0.62 to the mean template, less than 0.5 once weighed
    assert (await listed(here, await asked_with(here, ONE, OTHER))).candidates == ()


async def test_a_variants_template_of_another_embedder_is_refused() -> None:
    here = House()
    event = await asked_with(here, ONE, OTHER)
    (other,) = event.variants
    assert other.template
    foreign = ModelIdentity(name="foreign", version="1", weights_sha256="0" * 64, dimension=128)
    made = other.model_copy(update={"template": other.template.model_copy(update={"embedder": foreign})})
    only(NotPermitted, await here.search(event.model_copy(update={"variants": (made,)})))


async def test_without_one_of_its_templates_a_submission_is_not_searched() -> None:
    here = House()
    event = await asked_with(here, ONE, OTHER)
    (other,) = event.variants
    assert other.template
    await here.blobs.delete([other.template.template])
    only(MissingBlob, await here.search(event))


async def test_templates_that_cancel_each_other_out_are_refused() -> None:
    here = House()
    only(Malformed, await here.search(await asked_with(here, ONE, -ONE)))


async def test_without_variants_the_gallery_is_asked_once() -> None:
    here, asked = House(), []
    search = here.gallery.search

    async def counted(*args: Any, **how: Any) -> list[list[Hit]]:  # noqa: ANN401
        asked.append(args[0])
        return await search(*args, **how)

    here.gallery.search = counted  # type: ignore[method-assign]  # a spy
    await enrolled(here, "anna", ANNAS)
    await listed(here, await asked_with(here, ONE))
    assert len(asked) == 1
