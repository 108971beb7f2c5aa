"""Stage 1 of 5: SUBMISSIONS -> FACES. Needs blobs and vision (codec, detector, aligner)."""

from collections.abc import Sequence
from datetime import UTC, datetime

from faststream import FastStream

import topics
from consumers._envelope import Result
from consumers._pipeline import Pipeline, Stage, mount_stage
from consumers._runtime import serve
from rfr_stream import stages
from rfr_stream.adapters import opening
from rfr_stream.events import ImageSubmitted
from rfr_stream.ports import BlobStore, Vision
from rfr_stream.settings import Settings
from topics import access
from topics.bus import Bus

(GROUP,) = topics.SUBMISSIONS.groups


def mount(bus: Bus, settings: Settings, *, blobs: BlobStore, vision: Vision) -> Pipeline:
    """Wire the stage to its topics."""
    rules = stages.ProbeRules(
        min_interocular_px=settings.detection.min_interocular_px,
        min_score=settings.detection.min_score,
        max_image_bytes=settings.vision.max_image_bytes,
    )

    async def detect(batch: Sequence[ImageSubmitted]) -> Sequence[Result]:
        return await stages.detect(
            batch,
            blobs=blobs,
            codec=vision.codec,
            detector=vision.detector,
            aligner=vision.aligner,
            rules=rules,
            now=datetime.now(UTC),
        )

    return mount_stage(bus, Stage(GROUP, topics.SUBMISSIONS, detect), settings)


def create_app() -> FastStream:
    """Build the stage's own application from the environment."""
    settings = Settings()
    bus = Bus.from_settings(settings, client_id=GROUP, rights=access.DETECTION.rights)
    blobs, vision = opening.blobs(settings), opening.vision(settings, load={"detector"})
    return serve(
        bus, blobs, vision, tasks=[mount(bus, settings, blobs=blobs, vision=vision)], metrics_port=settings.metrics_port
    )
