"""Stage 1: find the one face a submission is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from rfr_stream import policy
from rfr_stream.events import (
    BlobRef,
    FaceDetected,
    ImageSubmitted,
    ModelIdentity,
    Outcome,
    Quality,
    SubjectFace,
    SubjectUnclear,
    SubmissionClosed,
)
from rfr_stream.faces import Box, Face
from rfr_stream.ports import Aligner, BlobStore, Chip, Codec, Detector, Picture
from rfr_stream.stages._batch import Settled, in_batch, one_by_one, paired
from rfr_stream.stages._faces import Opening, Subject, bring_upright, derived_blob, find_faces, is_blank, wanted_face
from rfr_stream.stages._outcomes import close

MAX_FACES: Final = 256
"""Of one image, highest score first, that a person is asked about or not shown."""


@dataclass(frozen=True, slots=True)
class ProbeRules:
    """What a probe must be before anybody is searched for."""

    min_interocular_px: float
    min_score: float
    max_image_bytes: int


async def detect(
    batch: Sequence[ImageSubmitted],
    *,
    blobs: BlobStore,
    codec: Codec,
    detector: Detector,
    aligner: Aligner,
    rules: ProbeRules,
    now: datetime,
) -> list[FaceDetected | Settled]:
    """Find the subject's face, bring it upright, measure and store it. Bystanders are never cropped or stored.

    Of an image with several people and no word on who is meant, it says where faces are, and that somebody must choose.
    """
    images = one_by_one(_permitted_image, batch)
    pictures = await Opening(blobs, codec, rules.max_image_bytes).pictures(images)
    faces = await in_batch(partial(find_faces, detector, rules.min_score), pictures)
    subjects = one_by_one(partial(_choose, rules, detector.identity, now), paired(paired(batch, pictures), faces))
    upright = await in_batch(partial(bring_upright, aligner), subjects)
    chips = one_by_one(partial(_measured, now), paired(batch, upright))
    crops = await in_batch(partial(_store_crops, blobs, codec), paired(batch, chips))
    describe = partial(_face_detected, detector.identity, aligner.name, now)
    return one_by_one(describe, paired(paired(batch, subjects), paired(chips, crops)))


def _permitted_image(event: ImageSubmitted) -> BlobRef:
    policy.searchable(event.submission)  # before a single byte is opened
    return event.submission.image


def _choose(
    rules: ProbeRules, detector: ModelIdentity, now: datetime, row: tuple[tuple[ImageSubmitted, Picture], list[Face]]
) -> Subject | Settled:
    (event, picture), faces = row
    end = partial(_end, now, event)
    if not faces:
        return end(Outcome.NO_FACE, "no face was found in the image")
    face = wanted_face(faces, event.subject, picture)
    if face is None and event.choice:
        return end(Outcome.NO_FACE, "no face was found where somebody pointed")
    if face is None:
        return _ask_which(event, [each.box.scaled(picture.scale) for each in faces], detector, now)
    if face.landmarks.interocular_px * picture.scale < rules.min_interocular_px:
        detail = f"the eyes are less than {rules.min_interocular_px:g} pixels apart: send a larger original"
        return end(Outcome.UNSUITABLE_QUALITY, detail)
    return Subject(picture, face, [other for other in faces if other is not face])


def _ask_which(event: ImageSubmitted, boxes: Sequence[Box], detector: ModelIdentity, now: datetime) -> SubjectUnclear:
    faces = tuple(boxes[:MAX_FACES])
    return SubjectUnclear(submission=event.submission, faces=faces, detector=detector, occurred_at=now, demo=event.demo)


def _measured(now: datetime, row: tuple[ImageSubmitted, Chip]) -> Chip | SubmissionClosed:
    event, chip = row
    if is_blank(chip):
        return _end(now, event, Outcome.UNSUITABLE_QUALITY, "the face lies outside the image, or shows nothing")
    return chip


def _end(now: datetime, event: ImageSubmitted, outcome: Outcome, detail: str) -> SubmissionClosed:
    return close(event, outcome, detail, now=now)


async def _store_crops(blobs: BlobStore, codec: Codec, rows: Sequence[tuple[ImageSubmitted, Chip]]) -> list[BlobRef]:
    files = await codec.encode([chip.pixels for _, chip in rows])
    ids = [event.submission.submission_id for event, _ in rows]
    return await blobs.put(list(map(partial(derived_blob, "crops", codec.media_type), ids, files)))


def _face_detected(
    detector: ModelIdentity,
    aligner: str,
    now: datetime,
    row: tuple[tuple[ImageSubmitted, Subject], tuple[Chip, BlobRef]],
) -> FaceDetected:
    (event, subject), (chip, crop) = row
    face = subject.face.scaled(subject.picture.scale)  # events speak of the original's pixels
    quality = Quality(
        interocular_px=face.landmarks.interocular_px,
        sharpness=chip.sharpness,
        brightness=chip.brightness,
        contrast=chip.contrast,
        roll_deg=face.landmarks.roll_deg,
        yaw_ratio=face.landmarks.yaw_ratio,
    )
    described = SubjectFace(
        box=face.box,
        landmarks=face.landmarks,
        score=min(1.0, max(0.0, face.score)),  # a sigmoid in float32 may end a hair beside its range
        quality=quality,
        crop=crop,
        aligner=aligner,
        detector=detector,
        masks=tuple(other.box.scaled(subject.picture.scale) for other in subject.others[:MAX_FACES]),
    )
    return FaceDetected(submission=event.submission, face=described, occurred_at=now, demo=event.demo)
