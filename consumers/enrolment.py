"""Beside the chain: ENROLMENTS, DISPOSALS -> the gallery and the ledger.

Needs blobs, a whole model pack, gallery, ledger. Erasures, and what became of a case, have readers of their own: they
must count within a second, and a bulk load may take hours.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from faststream import FastStream

import topics
from consumers._envelope import Result
from consumers._pipeline import Pipeline, Stage, mount_stage
from consumers._runtime import serve
from consumers._serving import Serving
from rfr_stream import stages, telemetry
from rfr_stream.adapters import opening
from rfr_stream.events import CaseDisposed, ReferenceErased, ReferenceSubmitted
from rfr_stream.ports import BlobStore, Conflict, Gallery, Models, References, Standing, Vision
from rfr_stream.settings import Settings
from topics import access
from topics.bus import Bus

log = telemetry.logger(__name__)

GROUP, ERASURE_GROUP = topics.ENROLMENTS.groups
(DISPOSAL_GROUP,) = topics.DISPOSALS.groups


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
) -> list[Pipeline]:
    """Wire the stage to its topics; its own group, so that a bulk load never delays a search."""
    lookout, serving = stages.Lookout(blobs, standing), Serving(models, vision)

    async def enrol(batch: Sequence[ReferenceSubmitted | ReferenceErased]) -> Sequence[Result]:
        await serving.now()
        rules = stages.StandingRules(
            threshold=settings.search.threshold or vision.threshold,
            gather=timedelta(seconds=settings.standing.gather_s),
        )
        results = await stages.enrol(
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
            conflict_threshold=settings.gallery.conflict_threshold or vision.conflict_threshold,
            notice=_notice,
            clock=partial(datetime.now, UTC),
        )
        # Again, behind the hold records: what a change of model did not see is not committed, and comes to the new one.
        await serving.now()
        return results

    async def erase(batch: Sequence[ReferenceSubmitted | ReferenceErased]) -> Sequence[Result]:
        return await stages.erase(batch, blobs=blobs, gallery=gallery, references=references)

    async def dispose(batch: Sequence[CaseDisposed]) -> Sequence[Result]:
        return await stages.dispose(batch, references=references)

    # One batch at a time: a hold record and its restriction must count in the order in which they came.
    in_order = settings.pipeline.model_copy(update={"depth": 1})
    return [
        mount_stage(bus, Stage(GROUP, topics.ENROLMENTS, enrol), settings.model_copy(update={"pipeline": in_order})),
        mount_stage(bus, Stage(ERASURE_GROUP, topics.ENROLMENTS, erase), settings),
        mount_stage(bus, Stage(DISPOSAL_GROUP, topics.DISPOSALS, dispose), settings),
    ]


def _notice(conflicts: Sequence[Conflict]) -> None:
    for conflict in conflicts:
        telemetry.CONFLICTS.labels(conflict.gallery, conflict.likeness).inc()
        log.event(
            "reference.conflicted",
            gallery=conflict.gallery,
            likeness=conflict.likeness,
            reference=str(conflict.reference_id),
            other=str(conflict.other_id),
        )


def create_app() -> FastStream:
    """Build the stage's own application from the environment."""
    settings = Settings()
    bus = Bus.from_settings(settings, client_id=GROUP, rights=access.ENROLMENT.rights)
    blobs, ledger = opening.blobs(settings), opening.ledger(settings)
    vision = opening.vision(settings)
    gallery = opening.gallery(settings, vision)
    known = {"references": ledger, "standing": ledger, "models": ledger}
    tasks = mount(bus, settings, blobs=blobs, vision=vision, gallery=gallery, **known)
    resources = (blobs, ledger, Serving(ledger, vision), vision, gallery)
    return serve(bus, *resources, tasks=tasks, metrics_port=settings.metrics_port)
