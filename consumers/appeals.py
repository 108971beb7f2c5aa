"""Before the chain: APPEALS -> the ledger. Needs blobs, a codec, the ledger; no model, and no right to search."""

from collections.abc import Sequence

from faststream import FastStream

import topics
from consumers._envelope import Result
from consumers._pipeline import Pipeline, Stage, mount_stage
from consumers._runtime import serve
from rfr_stream import stages
from rfr_stream.adapters import opening
from rfr_stream.events import AppealImageReceived
from rfr_stream.ports import Appeals, BlobStore, Vision
from rfr_stream.settings import Settings
from topics import access
from topics.bus import Bus

(GROUP,) = topics.APPEALS.groups


def mount(bus: Bus, settings: Settings, *, blobs: BlobStore, vision: Vision, appeals: Appeals) -> Pipeline:
    """Wire the stage to its topic; its own group, so that a burst never delays an officer."""

    async def gather(batch: Sequence[AppealImageReceived]) -> Sequence[Result]:
        return await stages.gather(
            batch,
            blobs=blobs,
            codec=vision.codec,
            fingerprinter=vision.fingerprinter,
            appeals=appeals,
            max_image_bytes=settings.vision.max_image_bytes,
        )

    return mount_stage(bus, Stage(GROUP, topics.APPEALS, gather), settings)


def create_app() -> FastStream:
    """Build the stage's own application from the environment."""
    settings = Settings()
    bus = Bus.from_settings(settings, client_id=GROUP, rights=access.APPEAL.rights)
    blobs, ledger, vision = opening.blobs(settings), opening.ledger(settings), opening.vision(settings, load=())
    stage = mount(bus, settings, blobs=blobs, vision=vision, appeals=ledger)
    return serve(bus, blobs, ledger, vision, tasks=[stage], metrics_port=settings.metrics_port)
