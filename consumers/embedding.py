"""Stage 2 of 5: FACES -> TEMPLATES. Needs blobs and vision (codec, embedder)."""

from collections.abc import Sequence
from datetime import UTC, datetime

from faststream import FastStream

import topics
from consumers._envelope import Result
from consumers._pipeline import Pipeline, Stage, mount_stage
from consumers._runtime import serve
from rfr_stream import stages
from rfr_stream.adapters import opening
from rfr_stream.events import FaceDetected
from rfr_stream.ports import BlobStore, Vision
from rfr_stream.settings import Settings
from topics import access
from topics.bus import Bus

(GROUP,) = topics.FACES.groups


def mount(bus: Bus, settings: Settings, *, blobs: BlobStore, vision: Vision) -> Pipeline:
    """Wire the stage to its topics."""

    async def embed(batch: Sequence[FaceDetected]) -> Sequence[Result]:
        return await stages.embed(
            batch, blobs=blobs, codec=vision.codec, embedder=vision.embedder, now=datetime.now(UTC)
        )

    return mount_stage(bus, Stage(GROUP, topics.FACES, embed), settings)


def create_app() -> FastStream:
    """Build the stage's own application from the environment."""
    settings = Settings()
    bus = Bus.from_settings(settings, client_id=GROUP, rights=access.EMBEDDING.rights)
    blobs, vision = opening.blobs(settings), opening.vision(settings, load={"embedder"})
    return serve(
        bus, blobs, vision, tasks=[mount(bus, settings, blobs=blobs, vision=vision)], metrics_port=settings.metrics_port
    )
