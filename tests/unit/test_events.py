"""The wire contracts: closed, frozen, derived, and unable to say what must not be said."""

import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations
from typing import Any
from uuid import UUID

import builders
import pytest
from builders import LATER, NOW
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import topics
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.events import (
    BlobRef,
    Candidate,
    CandidatesReady,
    Component,
    Crop,
    Derivation,
    Disposal,
    Event,
    Examination,
    Exposure,
    FaceDetected,
    Feature,
    Finding,
    GalleryName,
    Harm,
    IdentificationConfirmed,
    ImageSubmitted,
    ImageVariant,
    ModelIdentity,
    Outcome,
    Passkey,
    Purpose,
    Recipe,
    RecipeVariant,
    ReferenceSubmitted,
    ReviewDecided,
    Rotate,
    Sharpen,
    Signed,
    Skip,
    Source,
    Still,
    SubjectChoice,
    SubjectUnclear,
    Submission,
    SubmissionClosed,
    Support,
    Tried,
    Variant,
    VideoFrame,
    canonical,
    derive_id,
)
from rfr_stream.events.values import derive_event_id
from rfr_stream.faces import Box, Point

EVENTS: dict[str, Event] = {
    type(event).__name__: event
    for event in (
        builders.image_submitted(),
        builders.subject_unclear(),
        builders.face_detected(),
        builders.face_embedded(),
        builders.candidates_ready(),
        builders.decision(),
        builders.subject_chosen(),
        builders.withdrawal(),
        builders.certified(),
        builders.identification_confirmed(),
        builders.identification_withdrawn(),
        builders.acknowledged(builders.identification_confirmed()),
        builders.closed(),
        builders.appeal_image_received(),
        builders.search_ended(),
        builders.reference_submitted(),
        builders.reference_erased(),
        builders.case_disposed(),
    )
}
every_event = pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
SIGNED = {name: event for name, event in EVENTS.items() if isinstance(event, Signed)}
everything_signed = pytest.mark.parametrize("said_by", SIGNED.values(), ids=SIGNED.keys())


def said(event: Event) -> dict[str, Any]:
    """Return the event as it stands on the wire."""
    wire: dict[str, Any] = json.loads(event.model_dump_json())
    return wire


def heard(contract: type[Event], wire: dict[str, Any]) -> Event:
    return contract.model_validate_json(json.dumps(wire))


class TestEveryEvent:
    def test_all_of_them_are_here(self) -> None:
        def kinds(contract: type[Event]) -> set[type[Event]]:
            return {contract}.union(*map(kinds, contract.__subclasses__()))

        assert {kind.__name__ for kind in kinds(Event) if hasattr(kind, "ce_type")} == set(EVENTS)

    @every_event
    def test_it_survives_the_wire(self, event: Event) -> None:
        back = heard(type(event), said(event))

        assert back == event
        assert back.event_id == event.event_id

    @every_event
    def test_it_is_closed(self, event: Event) -> None:
        with pytest.raises(ValidationError, match="extra"):
            heard(type(event), {**said(event), "score": 0.99})

    @every_event
    def test_it_is_frozen(self, event: Event) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            event.occurred_at = LATER  # type: ignore[misc]  # that is the point

    @every_event
    def test_it_knows_its_time_zone(self, event: Event) -> None:
        with pytest.raises(ValidationError, match="timezone"):
            heard(type(event), {**said(event), "occurred_at": "2026-03-01T12:00:00"})

    @every_event
    @pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-05:00"])
    def test_its_moments_can_be_told_in_every_time_zone(self, event: Event, moment: str) -> None:
        with pytest.raises(ValidationError, match="occurred_at"):
            heard(type(event), {**said(event), "occurred_at": moment})

    @every_event
    def test_it_is_operational_unless_it_says_otherwise(self, event: Event) -> None:
        wire = said(event)
        del wire["demo"]

        assert heard(type(event), wire).demo is False

    @every_event
    def test_its_id_and_key_do_not_depend_on_when_it_was_said(self, event: Event) -> None:
        later = event.model_copy(update={"occurred_at": event.occurred_at + timedelta(hours=1)})

        assert later.key == event.key
        # What is signed has its time signed too, so that the same words at another time are other words.
        assert (later.event_id == event.event_id) is not isinstance(event, Signed)

    def test_no_two_kinds_share_an_id_or_a_name(self) -> None:
        assert len({event.event_id for event in EVENTS.values()}) == len(EVENTS)
        assert len({event.ce_type for event in EVENTS.values()}) == len(EVENTS)

    def test_steps_of_one_submission_share_its_key(self) -> None:
        steps = ("ImageSubmitted", "SubjectUnclear", "FaceDetected", "FaceEmbedded", "CandidatesReady")
        people = ("SubjectChosen", "ReviewDecided", "WithdrawalOrdered", "LeadAcknowledged")

        assert {EVENTS[name].key for name in steps + people} == {str(builders.submission().submission_id)}

    def test_a_certificate_is_keyed_by_whom_it_is_about(self) -> None:
        assert EVENTS["CompetenceCertified"].key == "reviewer-a"

    def test_leads_are_keyed_by_case_and_references_by_person(self) -> None:
        assert EVENTS["IdentificationConfirmed"].key == EVENTS["IdentificationWithdrawn"].key == "case-1"
        assert EVENTS["ReferenceSubmitted"].key == EVENTS["ReferenceErased"].key == "person-1"
        assert EVENTS["SubmissionClosed"].key == str(builders.submission().submission_id)

    def test_what_is_no_particular_event_has_neither_id_nor_key(self) -> None:
        nothing = Event(occurred_at=NOW)

        with pytest.raises(NotImplementedError):
            _ = nothing.event_id
        with pytest.raises(NotImplementedError):
            _ = nothing.key


class TestProse:
    @pytest.mark.parametrize("detail", ["a\0b", "\x1b[2J", "a\rb", "a\x7f", "a\x9bb"], ids=ascii)
    def test_control_characters_are_refused_by_the_fields_name(self, detail: str) -> None:
        with pytest.raises(ValidationError, match="detail"):
            heard(SubmissionClosed, {**said(builders.closed()), "detail": detail})

    def test_lines_tabs_and_every_script_are_welcome(self) -> None:
        detail = "erste Zeile: Straße\n\t第二 日本 ñ"
        assert said(heard(SubmissionClosed, {**said(builders.closed()), "detail": detail}))["detail"] == detail

    def test_as_many_observations_as_may_be_made_fit_into_one_event(self) -> None:
        observed, noted = ("न" * 500,) * 64, {"finding": Finding.SIMILAR, "note": "न" * 500}
        fields = {
            "similarities": observed,
            "dissimilarities": observed,
            "features": tuple(Feature(component=each, **noted) for each in Component),
            "version": 2,
            "reason": "न" * 2_000,
            "passkey": Passkey(authenticator_data="A" * 4_096, client_data="A" * 4_096),
        }
        fullest = ReviewDecided.model_validate({**dict(builders.decision()), **fields})
        assert topics.DECISIONS.encode(fullest).value
        with pytest.raises(ValidationError, match="similarities"):
            ReviewDecided.model_validate({**dict(builders.decision()), "similarities": ("x" * 501,)})


class TestIds:
    def test_nothing_but_opaque_ids_is_remembered(self) -> None:
        before = derive_event_id.cache_info().currsize
        submission = builders.submission(case_ref="case-to-be-forgotten")
        _ = builders.reference_submitted().event_id
        assert derive_event_id.cache_info().currsize == before
        _ = builders.image_submitted(submission).event_id
        assert derive_event_id.cache_info().currsize <= before + 1

    def test_a_derived_id_is_the_same_on_every_machine(self) -> None:
        assert derive_id("submission", "a", 1) == UUID("8b09dd3f-5685-50ad-9f66-7bc21028b448")

    def test_parts_do_not_run_into_each_other(self) -> None:
        parts = [("ab", "c"), ("a", "bc"), ("abc",), ("a", "b", "c"), ('a", "b', "c")]

        assert len({derive_id(*some) for some in parts}) == len(parts)

    def test_the_same_request_again_is_the_same_submission(self) -> None:
        again = builders.submission(submitted_at=LATER, legal_basis="another")

        assert again.submission_id == builders.submission().submission_id

    def test_whatever_makes_a_request_another_gives_it_another_id(self) -> None:
        frames = [VideoFrame(video_sha256=builders.sha256("video"), frame_time_s=second) for second in (1.0, 2.0)]
        different = [
            builders.submission(),
            builders.submission("another-image"),
            builders.submission(case_ref="case-2"),
            builders.submission(submitted_by="officer-9"),
            builders.submission(purpose=Purpose.MISSING),
            builders.submission(source=Source.PUBLIC_APPEAL),
            builders.submission(subject=Point(1, 2)),
            builders.submission(subject=Point(2, 1)),
            builders.submission(subject=Box(1, 2, 3, 4)),
            builders.submission(galleries=(GalleryName.CUSTODY,)),
            *(builders.submission(media=frame) for frame in frames),
        ]

        assert len({asked.submission_id for asked in different}) == len(different)

    def test_how_a_frame_was_developed_is_told_and_makes_no_other_request_of_it(self) -> None:
        bare = VideoFrame(video_sha256=builders.sha256("video"), frame_time_s=1.5)
        told = bare.model_copy(update={"steps": ("hflip", "format=pix_fmts=gbrp"), "tool": "FFmpeg 8.1"})

        asked = builders.submission(media=told)

        assert asked.submission_id == builders.submission(media=bare).submission_id
        # As it was derived before frames told how they were developed.
        assert str(asked.submission_id) == "675eabac-ebf0-5bfe-a9c5-65e77344f40d"

    def test_nobody_can_give_a_request_the_id_of_another(self) -> None:
        fields = dict(builders.submission()) | {"case_ref": "case-2"}

        with pytest.raises(ValidationError, match="submission_id"):
            Submission(**fields)

    def test_a_place_in_whole_numbers_has_the_same_id_after_the_wire(self) -> None:
        asked = builders.submission(subject=Point(125, 125))

        assert Submission.model_validate_json(asked.model_dump_json()) == asked

    def test_the_order_in_which_galleries_are_asked_for_does_not_matter(self) -> None:
        galleries = (GalleryName.MISSING, GalleryName.CUSTODY)

        one, other = (
            builders.submission(purpose=Purpose.MISSING, galleries=asked) for asked in (galleries, galleries[::-1])
        )
        assert one.submission_id == other.submission_id

    def test_a_still_is_what_an_image_is_unless_it_says_otherwise(self) -> None:
        assert builders.submission(media=Still()).submission_id == builders.submission().submission_id

    def test_an_image_of_a_person_in_a_gallery_is_one_reference(self) -> None:
        digest = builders.sha256("image")
        ids = [
            ReferenceSubmitted.derive("person-1", GalleryName.CUSTODY, digest),
            ReferenceSubmitted.derive("person-2", GalleryName.CUSTODY, digest),
            ReferenceSubmitted.derive("person-1", GalleryName.MISSING, digest),
            ReferenceSubmitted.derive("person-1", GalleryName.CUSTODY, builders.sha256("another")),
        ]

        assert ids[0] == ReferenceSubmitted.derive("person-1", GalleryName.CUSTODY, digest)
        assert len(set(ids)) == len(ids)

    def test_a_changed_hold_record_is_news(self) -> None:
        restricted = builders.reference_submitted(hold=builders.hold_record(restricted=True))

        assert restricted.reference_id == builders.reference_submitted().reference_id
        assert restricted.event_id != builders.reference_submitted().event_id

    def test_what_harm_there_may_be_makes_no_other_request(self) -> None:
        assert builders.submission(harm=Harm.LIFE_AT_RISK).submission_id == builders.submission().submission_id

    def test_a_submission_with_a_chosen_face_is_another_event_about_the_same_submission(self) -> None:
        first, again, other = chosen(None), chosen(Point(1, 2)), chosen(Point(3, 4))

        assert again.key == first.key
        assert again.event_id != first.event_id
        assert again.event_id == other.event_id, "one choice for a submission"

    def test_an_acknowledgement_is_one_for_each_subscriber_and_thing_received(self) -> None:
        lead, recall = builders.identification_confirmed(), builders.identification_withdrawn()
        received = [builders.acknowledged(what, subscriber=who) for what in (lead, recall) for who in ("one", "other")]

        assert len({each.event_id for each in received}) == 4
        assert builders.acknowledged(lead, subscriber="one").event_id == received[0].event_id

    def test_a_submission_has_one_event_for_each_outcome(self) -> None:
        ids = {builders.closed(outcome).event_id for outcome in Outcome}

        assert len(ids) == len(Outcome)


class TestCanonical:
    def test_one_value_has_one_form(self) -> None:
        assert canonical({"b": [1, "é"], "a": None}) == '{"a":null,"b":[1,"é"]}'.encode()
        assert canonical({"b": 1, "a": 2}) == canonical({"a": 2, "b": 1})


class TestClaimChecks:
    @pytest.mark.parametrize(
        "uri",
        ["file://rfr/a", "s3://rfr-bucket.eu/images/ab/cd.png", "memory://rfr/0f/1.npy", "s3://b/a..b/c"],
    )
    def test_a_plain_path_is_accepted(self, uri: str) -> None:
        assert BlobRef(uri=uri, sha256=builders.sha256(), media_type="image/png", bytes=1).uri == uri

    @pytest.mark.parametrize(
        "uri",
        [
            "file://rfr/../etc/passwd",
            "file://rfr/a/../../b",
            "file://../a",
            "file://rfr/..",
            "file://rfr/.hidden",
            "file://rfr//a",
            "file://rfr/",
            "file://rfr",
            "file:///etc/passwd",
            "file://rfr/a%2e%2e/b",
            "file://rfr/a\\..\\b",
            "file://rfr/a\n",
            "file://rfr/a b",
            "http://host/a",
            "s3://bucket/" + "a" * 1024,
            "",
        ],
    )
    def test_no_path_can_climb_or_hide_or_leave_its_store(self, uri: str) -> None:
        with pytest.raises(ValidationError, match="uri"):
            BlobRef(uri=uri, sha256=builders.sha256(), media_type="image/png", bytes=1)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("sha256", "0" * 63),
            ("sha256", "G" * 64),
            ("sha256", "A" * 64),
            ("media_type", "png"),
            ("media_type", "image/png; x=<script>"),
            ("bytes", -1),
            ("bytes", 2**41),
        ],
    )
    def test_a_digest_type_or_size_that_cannot_be_is_refused(self, field: str, value: object) -> None:
        with pytest.raises(ValidationError, match=field):
            BlobRef.model_validate({**builders.blob().model_dump(), field: value})


class TestSubmission:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("case_ref", "Jane Doe"),
            ("case_ref", ""),
            ("case_ref", "x" * 129),
            ("case_ref", "-starts-badly"),
            ("submitted_by", "a\nb"),
            ("legal_basis", "   "),
            ("legal_basis", "x" * 2_001),
            ("purpose", "curiosity"),
            ("galleries", ["passports"]),
            ("subject", {"x": 1, "y": 2, "z": 3}),
            ("subject", {"x1": 5, "y1": 5, "x2": 5, "y2": 9}),
            ("media", {"kind": "livestream"}),
            ("media", {"kind": "video_frame", "video_sha256": "0" * 64, "frame_time_s": -1}),
            ("submitted_at", "2026-03-01T12:00:00"),
        ],
    )
    def test_what_cannot_be_asked_is_refused(self, field: str, value: object) -> None:
        wire = json.loads(builders.submission().model_dump_json())

        with pytest.raises(ValidationError, match=field):
            Submission.model_validate_json(json.dumps({**wire, field: value}))

    def test_prose_is_trimmed(self) -> None:
        assert builders.submission(necessity="  no other way \n").necessity == "no other way"

    def test_what_was_asked_before_there_were_variants_is_still_the_same_submission(self) -> None:
        frame = VideoFrame(video_sha256="0" * 64, frame_time_s=1)
        pointed = builders.submission(subject=Point(1, 2), media=frame, galleries=(GalleryName.CUSTODY,))

        assert builders.submission().submission_id == UUID("9f6af51b-feed-59c4-b99d-c4029229d6f7")
        assert pointed.submission_id == UUID("51403826-c72a-5f99-be44-921bac8e0e20")

    def test_a_subject_is_read_back_as_what_it_was(self) -> None:
        for subject in (Box(1, 2, 3, 4), Point(5, 6)):
            asked = builders.submission(subject=subject)
            assert Submission.model_validate_json(asked.model_dump_json()).subject == subject


SHARPER = RecipeVariant(recipe=Recipe(steps=(Sharpen(),)))
CLOSER = RecipeVariant(recipe=Recipe(steps=(Crop(left=1, top=2, right=30, bottom=40), Rotate(degrees=5))))
OTHER = ImageVariant(image=builders.blob("other"), subject=Box(1, 2, 3, 4))


class TestVariants:
    def test_they_are_part_of_what_is_asked(self) -> None:
        again = ImageVariant(image=builders.blob("other"), subject=Point(1, 2))
        asked: list[tuple[Variant, ...]] = [
            (),
            (SHARPER,),
            (CLOSER,),
            (OTHER,),
            (again,),
            (SHARPER, OTHER),
            (OTHER, SHARPER),
        ]

        assert len({builders.submission(variants=variants).submission_id for variants in asked}) == len(asked)

    def test_they_survive_the_wire_and_keep_the_submissions_id(self) -> None:
        asked = builders.submission(variants=(SHARPER, CLOSER, OTHER))

        assert Submission.model_validate_json(asked.model_dump_json()) == asked

    def test_where_the_bytes_lie_is_not_part_of_what_is_asked(self) -> None:
        elsewhere = OTHER.image.model_copy(update={"uri": "s3://rfr/elsewhere"})
        moved = OTHER.model_copy(update={"image": elsewhere})

        assert (
            builders.submission(variants=(OTHER,)).submission_id == builders.submission(variants=(moved,)).submission_id
        )

    @pytest.mark.parametrize(
        ("recipes", "images", "allowed"), [(4, 8, True), (5, 0, False), (0, 9, False), (5, 7, False)]
    )
    def test_they_are_few(self, recipes: int, images: int, allowed: bool) -> None:  # noqa: FBT001 - parametrised
        brighter = [RecipeVariant(recipe=Recipe(steps=(Exposure(gain=1 + n / 10),))) for n in range(recipes)]
        others = [ImageVariant(image=builders.blob(f"other-{n}")) for n in range(images)]

        with nullcontext() if allowed else pytest.raises(ValidationError, match="variants"):
            builders.submission(variants=(*brighter, *others))

    @pytest.mark.parametrize(
        "variants",
        [
            (SHARPER, SHARPER),
            (OTHER, OTHER.model_copy(update={"subject": None})),
            (ImageVariant(image=builders.blob()),),
        ],
        ids=["a recipe twice", "an image twice", "the original"],
    )
    def test_none_counts_twice(self, variants: tuple[Variant, ...]) -> None:
        with pytest.raises(ValidationError, match="twice"):
            builders.submission(variants=variants)

    @pytest.mark.parametrize(
        "tried",
        [
            {},
            {"face": builders.face(), "skipped": Skip.NO_FACE},
            {"skipped": Skip.NO_FACE, "template": builders.template()},
        ],
        ids=["neither", "both", "a template of no face"],
    )
    def test_each_has_a_face_or_a_reason(self, tried: dict[str, Any]) -> None:
        with pytest.raises(ValidationError, match="variants"):
            Tried(number=1, **tried)

    @pytest.mark.parametrize(
        ("numbers", "face_in", "whole"),
        [
            ((1, 2), 0, True),
            ((1, 2), 2, True),
            ((1, 2), 1, False),
            ((1,), 0, False),
            ((2, 1), 0, False),
            ((1, 2, 3), 0, False),
        ],
    )
    def test_what_became_of_each_is_told_in_order(
        self,
        numbers: tuple[int, ...],
        face_in: int,
        whole: bool,  # noqa: FBT001 - parametrised
    ) -> None:
        about = builders.submission(variants=(SHARPER, OTHER))
        tried = [
            Tried(number=n, skipped=Skip.NO_FACE) if n == 1 else Tried(number=n, face=builders.face()) for n in numbers
        ]

        with nullcontext() if whole else pytest.raises(ValidationError, match=r"variants|face_in"):
            FaceDetected(
                occurred_at=NOW, submission=about, face=builders.face(), face_in=face_in, variants=tuple(tried)
            )

    def test_as_many_as_there_may_be_fit_into_one_event(self) -> None:
        crowd = (Box(1234.567890123, 1234.567890123, 2345.678901234, 2345.678901234),) * 256
        recipes = [
            RecipeVariant(recipe=Recipe(steps=(Exposure(gain=1 + n / 10), *CLOSER.recipe.steps))) for n in range(4)
        ]
        about = builders.submission(
            variants=(*recipes, *(ImageVariant(image=builders.blob(f"other-{n}")) for n in range(8))),
            legal_basis="न" * 2_000,
        )
        made = Derivation(pixels_sha256="0" * 64, width_px=1, height_px=1, scale=1, tool="tool")
        tried = tuple(
            Tried(number=n, derivation=made, face=builders.face(), template=builders.template()) for n in range(1, 13)
        )
        people = [f"person-{n}" for n in range(100)]
        listed = tuple(each.model_copy(update={"found_by": tuple(range(13))}) for each in builders.candidates(people))
        found = builders.candidates_ready(about.model_copy(update={"variants": ()})).model_copy(
            update={"submission": about, "face": builders.face(masks=crowd), "variants": tried, "candidates": listed}
        )

        assert topics.CANDIDATES.encode(found).value


def chosen(subject: Point | Box | None) -> ImageSubmitted:
    """Return a submission that pointed somewhere, and for which somebody has then pointed here (None: nobody has)."""
    choice = SubjectChoice(subject=subject, chosen_by="reviewer-a") if subject else None
    return ImageSubmitted(occurred_at=NOW, submission=builders.submission(subject=Point(9, 9)), choice=choice)


class TestSubject:
    def test_whoever_said_last_which_face_is_meant_is_heard(self) -> None:
        assert chosen(None).subject == Point(9, 9)
        assert chosen(Box(1, 2, 3, 4)).subject == Box(1, 2, 3, 4)

    @pytest.mark.parametrize("count", [0, 257])
    def test_a_question_shows_at_least_one_face_and_no_more_than_a_person_can_look_at(self, count: int) -> None:
        with pytest.raises(ValidationError, match="faces"):
            SubjectUnclear(**{**dict(builders.subject_unclear()), "faces": (Box(1, 2, 3, 4),) * count})

    def test_as_many_faces_as_may_be_shown_fit_into_one_event(self) -> None:
        crowd = (Box(1234.567890123, 1234.567890123, 2345.678901234, 2345.678901234),) * 256
        question = builders.subject_unclear().model_copy(update={"faces": crowd})
        found = builders.face_detected().model_copy(update={"face": builders.face(masks=crowd)})

        assert topics.CANDIDATES.encode(question).value
        assert topics.FACES.encode(found).value

    def test_a_box_is_an_answer_too(self) -> None:
        words = builders.subject_chosen().model_copy(update={"subject": Box(1, 2, 3, 4)})

        assert heard(type(words), said(words)) == words


class TestCandidates:
    def test_an_empty_list_is_an_honest_blank(self) -> None:
        assert builders.candidates_ready(people=()).candidates == ()

    def test_a_person_stands_on_a_list_once(self) -> None:
        with pytest.raises(ValidationError, match="one entry per person"):
            builders.candidates_ready(people=("person-1", "person-1"))

    @pytest.mark.parametrize("ranks", [(2, 1, 3), (1, 2, 4), (2, 3, 4)])
    def test_ranks_run_without_gaps(self, ranks: tuple[int, ...]) -> None:
        found = builders.candidates_ready()
        listed = tuple(c.model_copy(update={"rank": r}) for c, r in zip(found.candidates, ranks, strict=True))
        digest = CandidatesReady.digest(found.submission.submission_id, found.submission.image.sha256, listed)

        with pytest.raises(ValidationError, match="ranks run 1, 2, 3"):
            CandidatesReady(**{**dict(found), "candidates": listed, "list_digest": digest})

    def test_the_digest_of_a_list_from_before_there_were_variants_is_still_the_same(self) -> None:
        assert builders.candidates_ready().list_digest == (
            "05f65f4bc33fa5488809f46c3827151cd3330c80528f6406567795c146dca0d9"
        )

    def test_a_list_is_what_its_digest_says(self) -> None:
        wire = said(builders.candidates_ready())
        wire["candidates"][0]["similarity"] = 0.1

        with pytest.raises(ValidationError, match="list_digest: not the digest"):
            heard(CandidatesReady, wire)

    def test_the_digest_is_of_everything_a_reviewer_sees(self) -> None:
        about, probe = builders.submission(), builders.sha256("probe")
        listed = builders.candidates()
        changes: dict[str, object] = {
            "person_id": "person-9",
            "reference_id": derive_id("other"),
            "gallery": GalleryName.MISSING,
            "reference": builders.blob("other"),
            "similarity": 0.1,
            "rank": 9,
            "found_by": (0, 1),
        }
        assert set(changes) == set(Candidate.model_fields)
        digests = {
            CandidatesReady.digest(about.submission_id, probe, listed),
            CandidatesReady.digest(derive_id("other"), probe, listed),
            CandidatesReady.digest(about.submission_id, builders.sha256("other"), listed),
            CandidatesReady.digest(about.submission_id, probe, listed[::-1]),
            CandidatesReady.digest(about.submission_id, probe, listed[:-1]),
            CandidatesReady.digest(about.submission_id, probe, ()),
            *(
                CandidatesReady.digest(
                    about.submission_id, probe, (listed[0].model_copy(update={field: value}), *listed[1:])
                )
                for field, value in changes.items()
            ),
        }

        assert len(digests) == 6 + len(changes)

    @pytest.mark.parametrize("similarity", [1.01, -1.01, float("nan"), float("inf")])
    def test_a_similarity_is_a_cosine(self, similarity: float) -> None:
        with pytest.raises(ValidationError, match="similarity"):
            Candidate(**{**dict(builders.candidates()[0]), "similarity": similarity})

    def test_a_threshold_is_never_zero(self) -> None:
        with pytest.raises(ValidationError, match="threshold"):
            CandidatesReady(**{**dict(builders.candidates_ready()), "threshold": 0.0})

    @pytest.mark.parametrize("dimension", [-1, 65_537])
    def test_a_model_has_a_dimension_that_can_be(self, dimension: int) -> None:
        with pytest.raises(ValidationError, match="dimension"):
            ModelIdentity(name="m", version="1", weights_sha256=builders.sha256(), dimension=dimension)


class TestSigned:
    @everything_signed
    def test_the_signature_is_of_everything_else(self, said_by: Signed) -> None:
        unsigned = {"signature", "passkey"} | (said_by.later & {"version", "reason"})  # the latter say nothing here
        key, verifier = builders.reviewer(said_by.signer).public_key, KeyVerifier()

        assert json.loads(said_by.signed_bytes) == {k: v for k, v in said(said_by).items() if k not in unsigned}
        assert verifier.verify(key, said_by)
        assert not verifier.verify(key, said_by.model_copy(update={"demo": True}))

    @everything_signed
    def test_the_same_words_by_another_signature_are_the_same_event(self, said_by: Signed) -> None:
        passkey = Passkey(authenticator_data="AAAA", client_data="AAAA")
        again = said_by.model_copy(update={"signature": "B" * 86 + "==", "passkey": passkey})

        assert again.event_id == said_by.event_id

    def test_each_is_signed_by_whoever_says_it(self) -> None:
        assert {name: event.signer for name, event in SIGNED.items()} == {
            "ReviewDecided": "reviewer-a",
            "SubjectChosen": "reviewer-a",
            "WithdrawalOrdered": "supervisor-1",
            "CompetenceCertified": "supervisor-1",
        }

    def test_what_was_signed_before_there_were_features_and_versions_stays_signed(self) -> None:
        """The form that the first version of the contract signed, to the byte."""
        old = builders.decision(features=(), examination=None, similarities=("nose",), dissimilarities=())

        assert old.signed_bytes.decode() == (
            '{"demo":false,"dissimilarities":[],"list_digest":"' + old.list_digest + '","occurred_at":'
            '"2026-03-01T12:00:00Z","person_id":"person-1","reviewer_id":"reviewer-a","similarities":["nose"],'
            '"submission_id":"' + str(old.submission_id) + '","support":"strong_support_same"}'
        )

    def test_a_later_field_is_signed_once_it_says_something(self) -> None:
        silent = builders.decision(features=(), examination=None)
        says: dict[str, object] = {
            "features": builders.features(),
            "examination": builders.examination(),
            "version": 2,
            "reason": "looked again",
        }

        assert set(says) == ReviewDecided.later
        assert len({silent.model_copy(update={name: what}).event_id for name, what in says.items()}) == len(says)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("signature", "A" * 88),
            ("passkey", {"authenticator_data": "AAAA"}),
            ("passkey", {"authenticator_data": "AAAA", "client_data": "not base64!"}),
            ("passkey", {"authenticator_data": "A" * 4_100, "client_data": "AAAA"}),
        ],
    )
    @everything_signed
    def test_what_is_no_signature_is_refused(self, said_by: Signed, field: str, value: object) -> None:
        with pytest.raises(ValidationError, match=field):
            heard(type(said_by), {**said(said_by), field: value})

    def test_an_order_has_a_reason(self) -> None:
        with pytest.raises(ValidationError, match="reason"):
            heard(type(builders.withdrawal()), {**said(builders.withdrawal()), "reason": " "})


class TestExamined:
    @pytest.mark.parametrize("finding", [Finding.DISSIMILAR, Finding.EXPLAINED])
    def test_a_difference_is_described(self, finding: Finding) -> None:
        with pytest.raises(ValidationError, match="note: say what differs"):
            Feature(component=Component.NOSE, finding=finding)

        assert Feature(component=Component.NOSE, finding=finding, note="broader here").note == "broader here"

    @pytest.mark.parametrize("finding", sorted(set(Finding) - {Finding.DISSIMILAR}))
    def test_only_a_difference_that_nothing_explains_is_a_major_one(self, finding: Finding) -> None:
        with pytest.raises(ValidationError, match="major: only of a dissimilarity"):
            Feature(component=Component.NOSE, finding=finding, note="broader here", major=True)

    @pytest.mark.parametrize(
        ("field", "value"),
        [("compared_s", -0.1), ("compared_s", float("inf")), ("viewed_n", -1), ("order_seed", "12")],
    )
    def test_what_was_not_measured_is_refused(self, field: str, value: object) -> None:
        with pytest.raises(ValidationError, match=field):
            Examination(**{**dict(builders.examination()), field: value})

    def test_each_component_is_compared_once(self) -> None:
        twice = (*builders.features(), builders.features()[0])

        with pytest.raises(ValidationError, match="features: each component once"):
            builders.decision(features=twice)

    @pytest.mark.parametrize(("version", "reason"), [(1, "looked again"), (2, None)])
    def test_every_version_after_the_first_has_a_reason(self, version: int, reason: str | None) -> None:
        with pytest.raises(ValidationError, match="reason: of every version after the first"):
            builders.decision(version=version, reason=reason)

    @pytest.mark.parametrize("version", [0, 100])
    def test_versions_are_counted_from_one(self, version: int) -> None:
        with pytest.raises(ValidationError, match="version"):
            builders.decision(version=version, reason="looked again")


class TestDecision:
    CHANGES: dict[str, object] = {  # noqa: RUF012 - read only
        "occurred_at": LATER,
        "demo": True,
        "submission_id": derive_id("other"),
        "reviewer_id": "reviewer-b",
        "list_digest": builders.sha256("other"),
        "support": Support.MODERATE_SAME,
        "person_id": "person-2",
        "similarities": ("nose",),
        "dissimilarities": (),
        "features": builders.features(nose=Finding.SIMILAR),
        "examination": builders.examination(zoomed=False),
        "version": 2,
        "reason": "looked again",
    }

    def test_every_field_is_signed(self) -> None:
        assert set(self.CHANGES) | {"signature", "passkey"} == set(ReviewDecided.model_fields)

        decision = builders.decision(by="reviewer-a")
        key, verifier = builders.reviewer("reviewer-a").public_key, KeyVerifier()
        assert verifier.verify(key, decision)
        for field, value in self.CHANGES.items():
            assert not verifier.verify(key, decision.model_copy(update={field: value})), field

    def test_a_changed_mind_is_another_event_and_another_signature_is_not(self) -> None:
        decision = builders.decision()
        ids = {decision.model_copy(update={field: value}).event_id for field, value in self.CHANGES.items()}

        assert len(ids | {decision.event_id}) == len(self.CHANGES) + 1
        assert decision.model_copy(update={"signature": "B" * 86 + "=="}).event_id == decision.event_id

    @given(
        st.datetimes(
            datetime(1901, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
            datetime(8999, 1, 1),  # noqa: DTZ001
            timezones=st.sampled_from([UTC, timezone(timedelta(hours=1)), timezone(-timedelta(minutes=90))]),
        ),
        st.lists(st.text(st.characters(exclude_categories=["C"]), min_size=1).filter(str.strip), max_size=64),
    )
    def test_what_was_signed_reads_the_same_after_the_wire(self, at: datetime, features: list[str]) -> None:
        decision = builders.decision(occurred_at=at, similarities=tuple(features[:64]))

        back = ReviewDecided.model_validate_json(decision.model_dump_json())

        assert back.signed_bytes == decision.signed_bytes
        assert back.event_id == decision.event_id

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("signature", "A" * 88),
            ("signature", "A" * 86),
            ("signature", ""),
            ("support", "98 %"),
            ("support", "match"),
            ("person_id", "Jane Doe"),
            ("list_digest", "abc"),
            ("similarities", ["x"] * 65),
            ("dissimilarities", [" "]),
        ],
    )
    def test_what_is_no_conclusion_is_refused(self, field: str, value: object) -> None:
        with pytest.raises(ValidationError, match=field):
            heard(ReviewDecided, {**said(builders.decision()), field: value})


class TestLead:
    CONSTANTS: dict[str, object] = {  # noqa: RUF012 - read only
        "evidential_status": "IDENTIFICATION",
        "requires_corroboration": False,
        "basis": "AUTOMATED",
        "derived_from_rfr": False,
        "caveat": "This is the person.",
    }

    @pytest.mark.parametrize(("field", "value"), CONSTANTS.items())
    def test_it_is_never_more_than_a_lead(self, field: str, value: object) -> None:
        wire = said(builders.identification_confirmed())

        with pytest.raises(ValidationError, match=field):
            heard(IdentificationConfirmed, {**wire, field: value})

    def test_it_says_so_in_words(self) -> None:
        wire = said(builders.identification_confirmed())

        assert wire["evidential_status"] == "INTELLIGENCE_LEAD"
        assert wire["requires_corroboration"] is True
        assert "Not evidence of identity" in wire["caveat"]

    def test_its_schema_says_so_to_subscribers(self) -> None:
        properties = IdentificationConfirmed.model_json_schema()["properties"]

        assert {field for field, schema in properties.items() if "const" in schema} == set(self.CONSTANTS)

    def test_it_carries_no_score_and_no_rank(self) -> None:
        words = json.dumps(IdentificationConfirmed.model_json_schema()["properties"]).lower()

        assert not any(word in words for word in ("similarity", "rank", "threshold", "percent", "score"))

    @pytest.mark.parametrize("reviewers", [(), ("reviewer-a",), ("reviewer-a", "reviewer-a")])
    def test_it_takes_two_different_people(self, reviewers: tuple[str, ...]) -> None:
        with pytest.raises(ValidationError, match="reviews"):
            builders.identification_confirmed(reviews=tuple(map(builders.review_summary, reviewers)))

    def test_it_came_from_a_list(self) -> None:
        with pytest.raises(ValidationError, match="candidates_shown"):
            builders.identification_confirmed(candidates_shown=0)

    def test_there_is_one_for_a_submission_whomever_it_names(self) -> None:
        leads = [builders.identification_confirmed(person_id=person) for person in ("person-1", "person-2")]

        assert len({lead.event_id for lead in leads}) == 1

    def test_a_case_with_two_submissions_can_have_two(self) -> None:
        found = [builders.candidates_ready(builders.submission(name)) for name in "ab"]

        for one, other in combinations(map(builders.identification_confirmed, found), 2):
            assert one.key == other.key
            assert one.event_id != other.event_id


class TestOutcome:
    def test_it_says_nothing_about_any_person(self) -> None:
        fields = set(type(EVENTS["SubmissionClosed"]).model_fields)

        assert fields == {"occurred_at", "demo", "submission_id", "outcome", "detail", "case_ref", "caveat"}


class TestCaseDisposed:
    def test_whoever_decides_to_keep_a_childs_image_does_not_agree_to_it_as_well(self) -> None:
        with pytest.raises(ValidationError, match="somebody else than whoever decides"):
            builders.case_disposed(exceptional_reason="a threat", authorised_by="records-office")

    def test_without_a_reason_there_is_nothing_to_agree_to(self) -> None:
        with pytest.raises(ValidationError, match="no exceptional_reason"):
            builders.case_disposed(authorised_by="chief-1")

    def test_each_word_on_a_case_is_an_event_of_its_own_about_the_same_case(self) -> None:
        acquitted = builders.case_disposed()
        convicted = builders.case_disposed(disposal=Disposal.CONVICTED)
        assert acquitted.case_id == convicted.case_id
        assert acquitted.event_id != convicted.event_id
        assert (
            acquitted.case_id
            != builders.case_disposed("person-2").case_id
            != builders.case_disposed(case_ref="x").case_id
        )
