"""Valid things by default; a test names only what it is about.

Every decision is signed with its reviewer's own key, so that a forgery is something a test must do on purpose.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from producers.console import signing
from rfr_stream.adapters import keys
from rfr_stream.events import (
    UNSIGNED,
    AppealImageReceived,
    BlobRef,
    Candidate,
    CandidatesReady,
    CaseDisposed,
    CompetenceCertified,
    Component,
    Derivation,
    Disposal,
    Event,
    Examination,
    Exposure,
    FaceDetected,
    FaceEmbedded,
    Feature,
    Finding,
    GalleryName,
    Harm,
    HoldRecord,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ImageSubmitted,
    ImageVariant,
    LeadAcknowledged,
    ModelIdentity,
    Origin,
    Outcome,
    Provenance,
    Purpose,
    Quality,
    Recipe,
    RecipeVariant,
    ReferenceErased,
    ReferenceSubmitted,
    ReviewDecided,
    ReviewSummary,
    SearchEnded,
    Sharpen,
    Signed,
    Skip,
    Source,
    SubjectChosen,
    SubjectFace,
    SubjectTemplate,
    SubjectUnclear,
    Submission,
    SubmissionClosed,
    Support,
    Tried,
    Variant,
    WithdrawalOrdered,
)
from rfr_stream.faces import Box, Landmarks, Point
from rfr_stream.ports import Duty, Reference, Reviewer

S = TypeVar("S", bound=Signed)

IN_THE_FIRST_FACE = Point(50, 50)
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
MUCH_LATER = NOW + timedelta(days=365)


def sha256(text: str = "") -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def blob(name: str = "probe", *, media_type: str = "image/png") -> BlobRef:
    """Return a claim check; another name is another blob."""
    return BlobRef(uri=f"memory://rfr/{name}", sha256=sha256(name), media_type=media_type, bytes=1_000)


def identity(name: str = "embedder", *, dimension: int = 128) -> ModelIdentity:
    return ModelIdentity(name=name, version="1", weights_sha256=sha256(name), dimension=dimension)


def provenance(**fields: Any) -> Provenance:  # noqa: ANN401 - any field of the contract
    given = {"origin": Origin.CCTV, "obtained": "Seized from the shop's recorder.", "exhibit_ref": "AB/1"}
    return Provenance(**{**given, **fields})


def asked(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any field of a request
    """Return what every door wants to know, but for who asks."""
    return {
        "purpose": Purpose.SUSPECT,
        "harm": Harm.OTHER,
        "case_ref": "case-1",
        "legal_basis": "investigation of an offence",
        "necessity": "Nobody on the street knew them, and there is no other image.",
        "provenance": provenance(),
        **fields,
    }


def submission(name: str = "probe", **fields: Any) -> Submission:  # noqa: ANN401 - any field of the contract
    """Return a request about the image of this name; its id is derived as the ways in derive it."""
    asked: dict[str, Any] = {
        "source": Source.OFFICER,
        "purpose": Purpose.SUSPECT,
        "case_ref": "case-1",
        "legal_basis": "investigation of an offence",
        "submitted_by": "officer-1",
        "submitted_at": NOW,
        "image": blob(name),
        **fields,
    }
    part = {key: asked[key] for key in ("subject", "media", "galleries", "variants") if key in asked}
    derived = Submission.derive(
        image_sha256=asked["image"].sha256,
        source=asked["source"],
        purpose=asked["purpose"],
        case_ref=asked["case_ref"],
        submitted_by=asked["submitted_by"],
        **part,
    )
    return Submission(**{"submission_id": derived, **asked})


def landmarks() -> Landmarks:
    return Landmarks(Point(35, 40), Point(65, 40), Point(50, 58), Point(38, 75), Point(62, 75))


def face(**fields: Any) -> SubjectFace:  # noqa: ANN401
    measured: dict[str, Any] = {
        "box": Box(10, 10, 90, 95),
        "landmarks": landmarks(),
        "score": 0.99,
        "quality": quality(),
        "crop": blob("crop"),
        "aligner": "fake-aligner",
        "detector": identity("detector", dimension=0),
    }
    return SubjectFace(**{**measured, **fields})


def quality(**fields: float) -> Quality:
    measured = {
        "interocular_px": 30.0,
        "sharpness": 120.0,
        "brightness": 128.0,
        "contrast": 40.0,
        "roll_deg": 0.0,
        "yaw_ratio": 0.0,
    }
    return Quality(**{**measured, **fields})


def template(*, embedder: ModelIdentity | None = None) -> SubjectTemplate:
    return SubjectTemplate(
        template=blob("template", media_type="application/octet-stream"), embedder=embedder or identity()
    )


def appeal_image_received(name: str = "sent-in", **fields: Any) -> AppealImageReceived:  # noqa: ANN401
    """Return what a portal passed on: the picture of this name, in a message of its own."""
    said: dict[str, Any] = {
        "occurred_at": NOW,
        "appeal_ref": "appeal-1",
        "portal": "portal-1",
        "image": blob(name),
        "demo": False,
        **fields,
    }
    derived = AppealImageReceived.derive(said["portal"], UUID(int=1), said["image"].sha256)
    return AppealImageReceived(**{"contribution_id": derived, **said})


def image_submitted(about: Submission | None = None, *, demo: bool = False) -> ImageSubmitted:
    return ImageSubmitted(occurred_at=NOW, submission=about or submission(), demo=demo)


def face_detected(about: Submission | None = None, *, demo: bool = False) -> FaceDetected:
    return FaceDetected(occurred_at=NOW, submission=about or submission(), face=face(), demo=demo)


def face_embedded(about: Submission | None = None, *, demo: bool = False) -> FaceEmbedded:
    return FaceEmbedded(occurred_at=NOW, submission=about or submission(), face=face(), template=template(), demo=demo)


def candidates(people: Sequence[str] = ("person-1", "person-2", "person-3")) -> tuple[Candidate, ...]:
    """Return one candidate for each person, best first."""
    return tuple(
        Candidate(
            rank=rank,
            person_id=person,
            reference_id=ReferenceSubmitted.derive(person, GalleryName.CUSTODY, sha256(person)),
            gallery=GalleryName.CUSTODY,
            reference=blob(person),
            similarity=0.9 - rank / 100,
        )
        for rank, person in enumerate(people, start=1)
    )


def candidates_ready(
    about: Submission | None = None,
    *,
    people: Sequence[str] = ("person-1", "person-2", "person-3"),
    demo: bool = False,
) -> CandidatesReady:
    """Return the list of these people, with its digest."""
    about, listed = about or submission(), candidates(people)
    return CandidatesReady(
        occurred_at=NOW,
        submission=about,
        face=face(),
        template=template(),
        candidates=listed,
        threshold=0.5,
        list_length=10,
        gallery_sizes={GalleryName.CUSTODY: 1_000},
        list_digest=CandidatesReady.digest(about.submission_id, about.image.sha256, listed),
        demo=demo,
    )


def variants() -> tuple[Variant, ...]:
    """Return a copy to be made of the original, and another image of its subject."""
    brighter = Recipe(steps=(Exposure(gain=2, gamma=1.8), Sharpen()))
    return RecipeVariant(recipe=brighter), ImageVariant(image=blob("second-image"), subject=IN_THE_FIRST_FACE)


def candidates_of_variants(about: Submission | None = None) -> CandidatesReady:
    """Return a list that the original and its copy made together; another image of the subject shows no face."""
    about = about or submission(variants=variants())
    made = Derivation(pixels_sha256=sha256("copy"), width_px=640, height_px=480, scale=1, tool="a-tool-1")
    copied = Tried(number=1, derivation=made, face=face(crop=blob("copys-crop")), template=template())
    listed = tuple(
        each.model_copy(update={"found_by": numbers})
        for each, numbers in zip(candidates(), ((0, 1), (1,), (0,)), strict=True)
    )
    return CandidatesReady(
        **{
            **dict(candidates_ready()),
            "submission": about,
            "variants": (copied, Tried(number=2, skipped=Skip.NO_FACE)),
            "fusion": "a-rule",
            "candidates": listed,
            "list_digest": CandidatesReady.digest(about.submission_id, about.image.sha256, listed),
        }
    )


def private_key(reviewer_id: str) -> keys.Ed25519PrivateKey:
    """Return this reviewer's key: the same in every test."""
    return keys.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(reviewer_id.encode()).digest())


def reviewer(reviewer_id: str = "reviewer-a", *, competent_until: datetime = MUCH_LATER) -> Reviewer:
    return Reviewer(reviewer_id, keys.public_text(private_key(reviewer_id)), competent_until)


def decision(found: CandidatesReady | None = None, *, by: str = "reviewer-a", **fields: Any) -> ReviewDecided:  # noqa: ANN401
    """Return the reviewer's signed decision about this list: by default a lead to `person-1`.

    A `support` that names nobody needs no `person_id=None`.
    """
    found = found or candidates_ready()
    names_somebody = fields.get("support", Support.STRONG_SAME).endswith("_same")
    concluded: dict[str, Any] = {
        "submission_id": found.submission.submission_id,
        "list_digest": found.list_digest,
        "support": Support.STRONG_SAME,
        "person_id": "person-1" if names_somebody else None,
        "similarities": ("shape of the left ear", "scar over the right brow"),
        "dissimilarities": ("none found in ears, brow, nose, mouth",),
        "features": features(),
        "examination": examination(),
        "occurred_at": NOW,
        "demo": found.demo,
    }
    return signed(ReviewDecided(signature=UNSIGNED, **{**concluded, **fields, "reviewer_id": by}), by)


def amended(first: ReviewDecided, found: CandidatesReady | None = None, **fields: Any) -> ReviewDecided:  # noqa: ANN401
    """Return the next version of what this reviewer said; without fields, the same conclusion again."""
    concluded = {"support": first.support, "version": first.version + 1, "reason": "looked again", **fields}
    return decision(found, by=first.reviewer_id, **concluded)


def signed(unsigned: S, by: str) -> S:
    """Return these words with the signature of this person's key, sealed as at the desk."""
    return signing.seal(unsigned, keys.sign_bytes(private_key(by), unsigned.signed_bytes))


def features(**findings: Finding) -> tuple[Feature, ...]:
    """Return what the comparison of every component found: two are similar, the others cannot be seen."""
    found = {Component.EARS: Finding.SIMILAR, Component.SCARS: Finding.SIMILAR}
    found |= {Component(name): finding for name, finding in findings.items()}
    return tuple(Feature(component=each, finding=found.get(each, Finding.NOT_VISIBLE)) for each in Component)


def examination(**fields: Any) -> Examination:  # noqa: ANN401
    """Return how somebody looked who took a minute for the probe and two for the candidates."""
    looked = {
        "analysed_at": NOW - timedelta(minutes=2),
        "shown_at": NOW - timedelta(minutes=2),
        "order_seed": sha256("order"),
        "compared_s": 120.0,
        "viewed_n": 3,
        "zoomed": True,
    }
    return Examination(**{**looked, **fields})


def subject_unclear(about: Submission | None = None, *, demo: bool = False) -> SubjectUnclear:
    """Return the question which of two faces is meant."""
    return SubjectUnclear(
        occurred_at=NOW,
        submission=about or submission(),
        faces=(Box(10, 10, 90, 95), Box(110, 12, 180, 94)),
        detector=identity("detector", dimension=0),
        demo=demo,
    )


def subject_chosen(
    about: Submission | None = None,
    *,
    by: str = "reviewer-a",
    subject: Point | None = IN_THE_FIRST_FACE,
    demo: bool = False,
) -> SubjectChosen:
    """Return a signed answer to that question."""
    words = SubjectChosen(
        occurred_at=NOW,
        submission_id=(about or submission()).submission_id,
        reviewer_id=by,
        subject=subject,
        signature=UNSIGNED,
        demo=demo,
    )
    return signed(words, by)


def supervisor(reviewer_id: str = "supervisor-1", *, competent_until: datetime = MUCH_LATER) -> Reviewer:
    return replace(reviewer(reviewer_id, competent_until=competent_until), duty=Duty.SUPERVISE)


def withdrawal(about: Submission | None = None, *, by: str = "supervisor-1", demo: bool = False) -> WithdrawalOrdered:
    """Return a supervisor's signed order."""
    words = WithdrawalOrdered(
        occurred_at=LATER,
        submission_id=(about or submission()).submission_id,
        ordered_by=by,
        reason="new evidence excludes this person",
        signature=UNSIGNED,
        demo=demo,
    )
    return signed(words, by)


def certified(reviewer_id: str = "reviewer-a", *, by: str = "supervisor-1") -> CompetenceCertified:
    """Return a supervisor's word for a reviewer."""
    words = CompetenceCertified(
        occurred_at=NOW,
        reviewer_id=reviewer_id,
        public_key=keys.public_text(private_key(reviewer_id)),
        competent_until=MUCH_LATER,
        certified_by=by,
        signature=UNSIGNED,
    )
    return signed(words, by)


def search_ended(about: Submission | None = None, *, lapsed: bool = False, demo: bool = False) -> SearchEnded:
    """Return that somebody is no longer sought."""
    asked = about or submission(purpose=Purpose.MISSING)
    ended = {"submission_id": asked.submission_id, "case_ref": asked.case_ref, "lapsed": lapsed}
    return SearchEnded(occurred_at=LATER, demo=demo, **ended)


def acknowledged(lead: Event, *, subscriber: str = "case-system-1") -> LeadAcknowledged:
    """Return a subscriber's word that a lead, or its withdrawal, has reached it."""
    about = getattr(lead, "submission_id")  # noqa: B009 - of both kinds of event
    return LeadAcknowledged(
        occurred_at=LATER, subscriber=subscriber, submission_id=about, acknowledged=lead.event_id, demo=lead.demo
    )


def lead_acknowledged() -> LeadAcknowledged:
    """Return a subscriber's word that a lead has reached it."""
    return acknowledged(identification_confirmed())


def review_summary(by: str = "reviewer-a", *, support: Support = Support.STRONG_SAME) -> ReviewSummary:
    return ReviewSummary(
        reviewer_ref=by,
        support=support,
        similarities_n=2,
        dissimilarities_n=1,
        decided_at=NOW,
        signature=decision(by=by).signature,
    )


def identification_confirmed(found: CandidatesReady | None = None, **fields: Any) -> IdentificationConfirmed:  # noqa: ANN401
    found = found or candidates_ready()
    first = found.candidates[0]
    lead: dict[str, Any] = {
        "occurred_at": NOW,
        "case_ref": found.submission.case_ref,
        "submission_id": found.submission.submission_id,
        "person_id": first.person_id,
        "reference_id": first.reference_id,
        "gallery": first.gallery,
        "subject_category": found.submission.purpose,
        "reviews": (review_summary("reviewer-a"), review_summary("reviewer-b")),
        "candidates_shown": len(found.candidates),
        "probe_sha256": found.submission.image.sha256,
        "quality": found.face.quality,
        "detector": found.face.detector,
        "embedder": found.template.embedder,
        "demo": found.demo,
    }
    return IdentificationConfirmed(**{**lead, **fields})


def identification_withdrawn(about: Submission | None = None, *, demo: bool = False) -> IdentificationWithdrawn:
    about = about or submission()
    return IdentificationWithdrawn(
        occurred_at=LATER,
        case_ref=about.case_ref,
        submission_id=about.submission_id,
        person_id="person-1",
        reason="new evidence excludes this person",
        withdrawn_by="officer-2",
        demo=demo,
    )


def closed(
    outcome: Outcome = Outcome.NO_FACE,
    *,
    submission_id: UUID | None = None,
    case_ref: str | None = None,
    demo: bool = False,
) -> SubmissionClosed:
    return SubmissionClosed(
        occurred_at=NOW,
        submission_id=submission_id or submission().submission_id,
        outcome=outcome,
        detail="said by a stage",
        case_ref=case_ref,
        demo=demo,
    )


def hold_record(**fields: Any) -> HoldRecord:  # noqa: ANN401
    held: dict[str, Any] = {
        "legal_basis": "taken on arrest",
        "source": "custody-system",
        "captured_at": NOW - timedelta(days=30),
        "review_due": MUCH_LATER,
    }
    return HoldRecord(**{**held, **fields})


def reference_submitted(
    person_id: str = "person-1", *, hold: HoldRecord | None = None, demo: bool = False
) -> ReferenceSubmitted:
    image = blob(person_id)
    reference_id = ReferenceSubmitted.derive(person_id, GalleryName.CUSTODY, image.sha256)
    return ReferenceSubmitted(
        occurred_at=NOW,
        reference_id=reference_id,
        person_id=person_id,
        gallery=GalleryName.CUSTODY,
        image=image.model_copy(update={"uri": f"memory://rfr/references/{reference_id}/{person_id}"}),
        hold=hold or hold_record(),
        submitted_by="officer-1",
        demo=demo,
    )


def reference_erased(person_id: str = "person-1", *, demo: bool = False) -> ReferenceErased:
    return ReferenceErased(
        occurred_at=LATER,
        reference_id=reference(person_id).reference_id,
        person_id=person_id,
        gallery=GalleryName.CUSTODY,
        reason="acquitted",
        erased_by="records-office",
        demo=demo,
    )


def erased(submitted: ReferenceSubmitted, **fields: Any) -> ReferenceErased:  # noqa: ANN401
    """Return the end of this reference."""
    return ReferenceErased(
        **{
            "occurred_at": LATER,
            "reference_id": submitted.reference_id,
            "person_id": submitted.person_id,
            "gallery": submitted.gallery,
            "reason": "acquitted",
            "erased_by": "records-office",
            **fields,
        }
    )


def case_disposed(
    person_id: str = "person-1",
    disposal: Disposal = Disposal.ACQUITTED,
    *,
    case_ref: str = "arrest-1",
    **fields: Any,  # noqa: ANN401
) -> CaseDisposed:
    """Return what became of the case that this person's image was taken in."""
    said: dict[str, Any] = {"occurred_at": LATER, "reason": "the court's register", "decided_by": "records-office"}
    about = {"person_id": person_id, "disposal": disposal, "case_ref": case_ref}
    return CaseDisposed(**{**said, **about, **fields})


def reference(person_id: str = "person-1", **fields: Any) -> Reference:  # noqa: ANN401
    """Return what the ledger holds of this person's image."""
    said = reference_submitted(person_id)
    held = Reference(
        reference_id=said.reference_id,
        person_id=person_id,
        gallery=said.gallery,
        image=said.image,
        legal_basis=said.hold.legal_basis,
        source=said.hold.source,
        captured_at=said.hold.captured_at,
        review_due=said.hold.review_due,
        restricted=said.hold.restricted,
        recorded_at=said.occurred_at,
    )
    return replace(held, **fields)


def references_of(found: CandidatesReady) -> list[Reference]:
    """Return what the ledger holds of everybody on a list."""
    return [
        reference(candidate.person_id, reference_id=candidate.reference_id, gallery=candidate.gallery)
        for candidate in found.candidates
    ]
