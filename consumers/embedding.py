"""Stage 2 of 5: FACES -> TEMPLATES. Needs blobs, vision (codec, embedder) and what the ledger says of models."""

from collections.abc import Sequence
from datetime import UTC, datetime

from faststream import FastStream

import topics
from consumers._envelope import Result
from consumers._pipeline import Pipeline, Stage, mount_stage
from consumers._runtime import serve
from consumers._serving import Serving
from rfr_stream import stages
from rfr_stream.adapters import opening
from rfr_stream.events import FaceDetected
from rfr_stream.ports import BlobStore, Models, Vision
from rfr_stream.settings import Settings
from topics import access
from topics.bus import Bus

(GROUP,) = topics.FACES.groups


def mount(bus: Bus, settings: Settings, *, blobs: BlobStore, vision: Vision, models: Models) -> Pipeline:
    """Wire the stage to its topics."""
    serving = Serving(models, vision)

    async def embed(batch: Sequence[FaceDetected]) -> Sequence[Result]:
        await serving.now()
        return await stages.embed(
            batch, blobs=blobs, codec=vision.codec, embedder=vision.embedder, now=datetime.now(UTC)
        )

    return mount_stage(bus, Stage(GROUP, topics.FACES, embed), settings)


def create_app() -> FastStream:
    """Build the stage's own application from the environment."""
    settings = Settings()
    bus = Bus.from_settings(settings, client_id=GROUP, rights=access.EMBEDDING.rights)
    blobs, ledger = opening.blobs(settings), opening.ledger(settings)
    vision = opening.vision(settings, load={"embedder"})
    stage = mount(bus, settings, blobs=blobs, vision=vision, models=ledger)
    resources = (blobs, ledger, Serving(ledger, vision), vision)
    return serve(bus, *resources, tasks=[stage], metrics_port=settings.metrics_port)
