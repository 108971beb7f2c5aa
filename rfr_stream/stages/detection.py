"""Stage 1: find the one face a submission is about."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from rfr_stream import policy
from rfr_stream.events import (
    BlobRef,
    FaceDetected,
    ImageSubmitted,
    ModelIdentity,
    Outcome,
    SubjectFace,
    SubjectUnclear,
    SubmissionClosed,
    Tried,
)
from rfr_stream.faces import Box, Face
from rfr_stream.ports import Aligner, BlobStore, Chip, Codec, Detector, Picture
from rfr_stream.stages._batch import Settled, in_batch, one_by_one, paired
from rfr_stream.stages._faces import (
    Measured,
    Opening,
    ProbeRules,
    Subject,
    as_many_as_fit,
    bring_upright,
    derived_blob,
    described,
    find_faces,
    is_blank,
    wanted_face,
)
from rfr_stream.stages._outcomes import close
from rfr_stream.stages._variants import Probe, Trials


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
    The original decides what comes of it; where it shows no face at all, the first variant that does stands for it.
    """
    images = one_by_one(_permitted_image, batch)
    pictures = await Opening(blobs, codec, rules.max_image_bytes).pictures(images)
    faces = await in_batch(partial(find_faces, detector, rules.min_score), pictures)
    subjects = one_by_one(partial(_choose, rules, detector.identity, now), paired(paired(batch, pictures), faces))
    upright = await in_batch(partial(bring_upright, aligner), subjects)
    chips = one_by_one(partial(_measured, now), paired(batch, upright))
    crops = await in_batch(partial(_store_crops, blobs, codec), paired(batch, chips))
    whole = one_by_one(partial(_described, detector, aligner), paired(subjects, paired(chips, crops)))
    trials = Trials(blobs, codec, detector, aligner, rules)
    tried = [
        await _tried(trials, Probe(event, picture, face if isinstance(face, SubjectFace) else None), seen)
        if event.submission.variants and isinstance(picture, Picture)
        else ()
        for event, picture, seen, face in zip(batch, pictures, faces, whole, strict=True)
    ]
    return [_face_detected(*row, now) for row in zip(batch, whole, tried, strict=True)]


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
    faces = as_many_as_fit(boxes)
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


def _described(detector: Detector, aligner: Aligner, row: tuple[Subject, tuple[Chip, BlobRef]]) -> SubjectFace:
    subject, (chip, crop) = row
    scale = subject.picture.scale  # events speak of the original's pixels
    others = [other.box.scaled(scale) for other in subject.others]
    return described(Measured(subject.face.scaled(scale), chip, crop, others), detector, aligner)


async def _tried(trials: Trials, probe: Probe, faces: list[Face] | Settled) -> tuple[Tried, ...]:
    """Try the variants of an original that shows the subject's face, or nobody's."""
    return await trials.of(probe) if probe.face or faces == [] else ()


def _face_detected(
    event: ImageSubmitted, whole: SubjectFace | Settled, tried: tuple[Tried, ...], now: datetime
) -> FaceDetected | Settled:
    number, face = 0, whole
    if not isinstance(face, SubjectFace):
        found = [(each.number, each.face) for each in tried if each.face]
        if not found:
            return face
        number, face = found[0]
    return FaceDetected(
        submission=event.submission, face=face, face_in=number, variants=tried, occurred_at=now, demo=event.demo
    )
