"""Stage 2: turn the subject's face into a template."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

from rfr_stream.errors import NotPermitted
from rfr_stream.events import BlobRef, FaceDetected, FaceEmbedded, ModelIdentity, SubjectTemplate
from rfr_stream.faces import ImageHwc
from rfr_stream.ports import BlobStore, Codec, Embedder, Picture, Templates
from rfr_stream.stages._batch import Settled, in_batch, one_by_one, paired
from rfr_stream.stages._faces import derived_blob

TEMPLATE_MEDIA_TYPE: Final = "application/vnd.rfr.template"
"""float32 [D], little-endian, L2 norm 1."""


async def embed(
    batch: Sequence[FaceDetected], *, blobs: BlobStore, codec: Codec, embedder: Embedder, now: datetime
) -> list[FaceEmbedded | Settled]:
    """Turn each subject's crop into a template and store it."""
    crops = one_by_one(partial(_crop, embedder.aligner), batch)
    chips = await in_batch(codec.decode, await in_batch(blobs.get, crops))
    templates = await in_batch(partial(_embed, embedder), one_by_one(_pixels, chips))
    refs = await in_batch(partial(_store_templates, blobs), paired(batch, templates))
    return one_by_one(partial(_face_embedded, embedder.identity, now), paired(batch, refs))


def _crop(aligner: str, event: FaceDetected) -> BlobRef:
    if event.face.aligner != aligner:
        msg = "face.aligner: not the aligner whose chips this embedder takes; detection runs another model pack"
        raise NotPermitted(msg)
    return event.face.crop


def _pixels(picture: Picture) -> ImageHwc:
    return picture.pixels


async def _embed(embedder: Embedder, chips: Sequence[ImageHwc]) -> list[Templates]:
    return list(await embedder.embed(chips))


async def _store_templates(blobs: BlobStore, rows: Sequence[tuple[FaceDetected, Templates]]) -> list[BlobRef]:
    store = partial(derived_blob, "templates", TEMPLATE_MEDIA_TYPE)
    return await blobs.put(
        [store(event.submission.submission_id, template.astype("<f4").tobytes()) for event, template in rows]
    )


def _face_embedded(embedder: ModelIdentity, now: datetime, row: tuple[FaceDetected, BlobRef]) -> FaceEmbedded:
    event, ref = row
    template = SubjectTemplate(template=ref, embedder=embedder)
    return FaceEmbedded(
        submission=event.submission, face=event.face, template=template, occurred_at=now, demo=event.demo
    )
