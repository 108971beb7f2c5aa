"""Stage 2: turn the subject's face into a template."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from rfr_stream.errors import NotPermitted
from rfr_stream.events import BlobRef, FaceDetected, FaceEmbedded, ModelIdentity, SubjectFace, SubjectTemplate
from rfr_stream.faces import ImageHwc
from rfr_stream.ports import BlobStore, Codec, Embedder, NewBlob, Picture, Templates
from rfr_stream.stages._batch import Settled, in_batch, one_by_one, paired
from rfr_stream.stages._faces import derived_blob

TEMPLATE_MEDIA_TYPE: Final = "application/vnd.rfr.template"
"""float32 [D], little-endian, L2 norm 1."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One face of a submission: the original's (0), or that of a variant."""

    submission_id: UUID
    variant: int
    face: SubjectFace


async def embed(
    batch: Sequence[FaceDetected], *, blobs: BlobStore, codec: Codec, embedder: Embedder, now: datetime
) -> list[FaceEmbedded | Settled]:
    """Turn each subject's crop, and those of its variants, into a template and store it."""
    parts = [list(_parts(event)) for event in batch]
    flat = [part for each in parts for part in each]
    crops = one_by_one(partial(_crop, embedder.aligner), flat)
    chips = await in_batch(codec.decode, await in_batch(blobs.get, crops))
    templates = await in_batch(partial(_embed, embedder), one_by_one(_pixels, chips))
    refs = iter(await in_batch(partial(_store_templates, blobs), paired(flat, templates)))
    rows = [(event, [next(refs) for _ in each]) for event, each in zip(batch, parts, strict=True)]
    return [_face_embedded(embedder.identity, event, own, now) for event, own in rows]


def _parts(event: FaceDetected) -> Iterator[_Part]:
    about = event.submission.submission_id
    if not event.face_in:
        yield _Part(about, 0, event.face)
    yield from (_Part(about, each.number, each.face) for each in event.variants if each.face)


def _crop(aligner: str, part: _Part) -> BlobRef:
    if part.face.aligner != aligner:
        msg = "face.aligner: not the aligner whose chips this embedder takes; detection runs another model pack"
        raise NotPermitted(msg)
    return part.face.crop


def _pixels(picture: Picture) -> ImageHwc:
    return picture.pixels


async def _embed(embedder: Embedder, chips: Sequence[ImageHwc]) -> list[Templates]:
    return list(await embedder.embed(chips))


async def _store_templates(blobs: BlobStore, rows: Sequence[tuple[_Part, Templates]]) -> list[BlobRef]:
    return await blobs.put([_as_blob(part, template) for part, template in rows])


def _as_blob(part: _Part, template: Templates) -> NewBlob:
    data = template.astype("<f4").tobytes()
    return derived_blob("templates", TEMPLATE_MEDIA_TYPE, part.submission_id, data, variant=part.variant)


def _face_embedded(
    embedder: ModelIdentity, event: FaceDetected, refs: Sequence[BlobRef | Settled], now: datetime
) -> FaceEmbedded | Settled:
    """Put the templates where their faces are; the first that could not be made decides."""
    made = []
    for ref in refs:
        if not isinstance(ref, BlobRef):
            return ref
        made.append(SubjectTemplate(template=ref, embedder=embedder))
    own = made if event.face_in else made[1:]
    of_variants = iter(own)
    variants = tuple(
        each.model_copy(update={"template": next(of_variants)}) if each.face else each for each in event.variants
    )
    return FaceEmbedded(
        submission=event.submission,
        face=event.face,
        face_in=event.face_in,
        variants=variants,
        template=made[0],
        occurred_at=now,
        demo=event.demo,
    )
