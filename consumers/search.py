"""Stage 3 of 5: TEMPLATES -> CANDIDATES. Needs blobs, gallery, ledger and the name of a model pack."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from faststream import FastStream

import topics
from consumers._envelope import Result
from consumers._pipeline import Pipeline, Stage, mount_stage
from consumers._runtime import serve
from rfr_stream import stages
from rfr_stream.adapters import opening
from rfr_stream.events import FaceEmbedded
from rfr_stream.ports import BlobStore, Gallery, References, Standing, Vision
from rfr_stream.settings import Settings
from topics import access
from topics.bus import Bus

(GROUP,) = topics.TEMPLATES.groups


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
    """Wire the stage to its topics."""

    async def search(batch: Sequence[FaceEmbedded]) -> Sequence[Result]:
        rules = stages.SearchRules(
            threshold=settings.search.threshold or vision.threshold,
            list_length=settings.search.list_length,
            head_room=settings.search.head_room,
            stand_for=timedelta(days=settings.standing.review_after_days),
        )
        return await stages.search(
            batch,
            blobs=blobs,
            gallery=gallery,
            references=references,
            standing=standing,
            embedder=vision.embedder.identity,
            rules=rules,
            now=datetime.now(UTC),
        )

    return mount_stage(bus, Stage(GROUP, topics.TEMPLATES, search), settings)


def create_app() -> FastStream:
    """Build the stage's own application from the environment; it needs no model, only the name of one."""
    settings = Settings()
    bus = Bus.from_settings(settings, client_id=GROUP, rights=access.SEARCH.rights)
    blobs, ledger = opening.blobs(settings), opening.ledger(settings)
    vision = opening.vision(settings, load=())
    gallery = opening.gallery(settings, vision)
    stage = mount(bus, settings, blobs=blobs, vision=vision, gallery=gallery, references=ledger, standing=ledger)
    return serve(bus, blobs, ledger, vision, gallery, tasks=[stage], metrics_port=settings.metrics_port)
