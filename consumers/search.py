"""Stage 3 of 5: TEMPLATES -> CANDIDATES. Needs blobs, gallery, ledger and the name of a model pack."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from faststream import FastStream

import topics
from consumers._envelope import Result
from consumers._pipeline import Pipeline, Stage, mount_stage
from consumers._runtime import serve
from consumers._serving import Serving
from rfr_stream import stages
from rfr_stream.adapters import opening
from rfr_stream.events import FaceEmbedded, ModelIdentity
from rfr_stream.ports import BlobStore, Gallery, Models, References, Standing, Vision
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
    models: Models,
) -> Pipeline:
    """Wire the stage to its topics."""
    ours, serving = vision.embedder.identity, Serving(models, vision)
    rules = stages.SearchRules(
        threshold=settings.search.threshold or vision.threshold,
        list_length=settings.search.list_length,
        head_room=settings.search.head_room,
        stand_for=timedelta(days=settings.standing.review_after_days),
    )

    async def search(batch: Sequence[FaceEmbedded]) -> Sequence[Result]:
        before = (await serving.now())[1:]
        for each in before:
            await gallery.open_for(each.embedder)
        by_model = {each.embedder: replace(rules, threshold=each.threshold) for each in before} | {ours: rules}
        return await stages.search_by_model(batch, by_model, ours, _search)

    async def _search(
        batch: Sequence[FaceEmbedded], embedder: ModelIdentity, rules: stages.SearchRules
    ) -> Sequence[Result]:
        return await stages.search(
            batch,
            blobs=blobs,
            gallery=gallery,
            references=references,
            standing=standing,
            embedder=embedder,
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
    known = {"references": ledger, "standing": ledger, "models": ledger}
    stage = mount(bus, settings, blobs=blobs, vision=vision, gallery=gallery, **known)
    resources = (blobs, ledger, Serving(ledger, vision), vision, gallery)
    return serve(bus, *resources, tasks=[stage], metrics_port=settings.metrics_port)
