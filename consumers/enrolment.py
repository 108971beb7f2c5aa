"""Beside the chain: ENROLMENTS -> the gallery and the ledger. Needs blobs, a whole model pack, gallery, ledger."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from faststream import FastStream

import topics
from consumers._envelope import Result
from consumers._pipeline import Pipeline, Stage, mount_stage
from consumers._runtime import serve
from rfr_stream import stages
from rfr_stream.adapters import opening
from rfr_stream.events import ReferenceErased, ReferenceSubmitted
from rfr_stream.ports import BlobStore, Gallery, References, Standing, Vision
from rfr_stream.settings import Settings
from topics import access
from topics.bus import Bus

(GROUP,) = topics.ENROLMENTS.groups


def mount(
    bus: Bus,
    settings: Settings,
    *,
    blobs: BlobStore,
    vision: Vision,
    gallery: Gallery,
    references: References,
    standing: Standing,
) -> Pipeline:
    """Wire the stage to its topic; its own group, so that a bulk load never delays a search."""
    lookout = stages.Lookout(blobs, standing)

    async def enrol(batch: Sequence[ReferenceSubmitted | ReferenceErased]) -> Sequence[Result]:
        rules = stages.StandingRules(
            threshold=settings.search.threshold or vision.threshold,
            gather=timedelta(seconds=settings.standing.gather_s),
        )
        return await stages.enrol(
            batch,
            blobs=blobs,
            codec=vision.codec,
            detector=vision.detector,
            aligner=vision.aligner,
            embedder=vision.embedder,
            gallery=gallery,
            references=references,
            lookout=lookout,
            standing=rules,
            min_score=settings.detection.min_score,
            max_image_bytes=settings.vision.max_image_bytes,
            clock=partial(datetime.now, UTC),
        )

    # One batch at a time: a hold record, its restriction and its end must count in the order in which they came.
    in_order = settings.pipeline.model_copy(update={"depth": 1})
    return mount_stage(bus, Stage(GROUP, topics.ENROLMENTS, enrol), settings.model_copy(update={"pipeline": in_order}))


def create_app() -> FastStream:
    """Build the stage's own application from the environment."""
    settings = Settings()
    bus = Bus.from_settings(settings, client_id=GROUP, rights=access.ENROLMENT.rights)
    blobs, ledger = opening.blobs(settings), opening.ledger(settings)
    vision = opening.vision(settings)
    gallery = opening.gallery(settings, vision)
    stage = mount(bus, settings, blobs=blobs, vision=vision, gallery=gallery, references=ledger, standing=ledger)
    return serve(bus, blobs, ledger, vision, gallery, tasks=[stage], metrics_port=settings.metrics_port)
