"""Enrolment, search and review on real parts: a cluster, SQLite, the embedded gallery, files. The models are fakes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import builders
import numpy as np
from house import FakeVision, House, picture

import topics
from consumers import enrolment, review, search
from consumers._runtime import Runs, Task
from producers import references
from producers.references import Enrolment
from rfr_stream.adapters.files import FileBlobs
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.memory.vision import FakeEmbedder, PlantedFace
from rfr_stream.adapters.qdrant.edge import EdgeGallery
from rfr_stream.events import CandidatesReady, FaceEmbedded, GalleryName, Purpose, Source, SubjectTemplate, Submission
from rfr_stream.ports import NewBlob, Templates
from rfr_stream.settings import KafkaSettings, Settings
from rfr_stream.stages import TEMPLATE_MEDIA_TYPE
from topics import admin
from topics.bus import Bus
from topics.tail import follow

Heard: TypeAlias = tuple[float, CandidatesReady]
"""A list, and when it was heard, by `time.perf_counter`."""


@dataclass
class Lookout:
    """What a test or a bench says to the house, and what it hears."""

    settings: Settings
    bus: Bus
    blobs: FileBlobs
    ledger: SqlLedger
    gallery: EdgeGallery
    heard: list[Heard] = field(default_factory=list)

    async def enrol(self, **people: PlantedFace) -> None:
        """Hand in a picture of each of these people, by their ids."""
        now = datetime.now(UTC)
        hold = builders.hold_record(captured_at=now - timedelta(days=1), review_due=now + timedelta(days=1))
        said: dict[str, Any] = {"gallery": GalleryName.DECEASED, "hold": hold, "submitted_by": "records"}
        entries = [(picture(face), Enrolment(person_id=person, **said)) for person, face in people.items()]
        async for _ in references.enrol(entries, blobs=self.blobs, publish=self.bus.publish):
            pass

    async def probe(self, template: Templates, case_ref: str) -> FaceEmbedded:
        """Return somebody missing, whose template is stored."""
        asked: dict[str, Any] = {"purpose": Purpose.MISSING, "source": Source.MISSING_PERSON, "case_ref": case_ref}
        event = builders.face_embedded(builders.submission(case_ref.replace("/", "-"), **asked))
        key = f"templates/{event.submission.submission_id}"
        (ref,) = await self.blobs.put([NewBlob(key, template.astype("<f4").tobytes(), TEMPLATE_MEDIA_TYPE)])
        made = SubjectTemplate(template=ref, embedder=FakeEmbedder.identity)
        return event.model_copy(update={"template": made, "occurred_at": datetime.now(UTC)})

    async def list_of(self, submission: Submission, *, within_s: float = 20.0) -> Heard:
        """Wait for the list of this submission; return when it was heard, and itself."""
        return await self._hear(lambda: [row for row in self.heard if row[1].submission == submission], within_s)

    async def renewal_of(self, id_: UUID, *, within_s: float = 20.0) -> Heard:
        """Wait until people are asked again for this submission."""
        return await self._hear(lambda: self.renewals_of(id_), within_s)

    def renewals_of(self, id_: UUID) -> list[Heard]:
        return [row for row in self.heard if row[1].submission.renewal and row[1].submission.renewal.of == id_]

    async def searchable(self, n: int) -> float:
        """Wait until the gallery has so many, and return when."""
        async with asyncio.timeout(60):
            while await self.gallery.size(GalleryName.DECEASED, embedder=FakeEmbedder.identity) < n:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        return time.perf_counter()

    async def _hear(self, found: Callable[[], Sequence[Heard]], within_s: float) -> Heard:
        async with asyncio.timeout(within_s):
            while not (rows := found()):  # noqa: ASYNC110 - the ear tells nobody
                await asyncio.sleep(0.002)
        return rows[0]

    async def listen(self) -> None:
        """Hear every list, until cancelled."""
        async for kept in follow(self.bus.options, [topics.CANDIDATES.name], from_start=True):
            event = topics.CANDIDATES.decode(kept.record)
            if isinstance(event, CandidatesReady):
                self.heard.append((time.perf_counter(), event))


@asynccontextmanager
async def at_work(servers: str, folder: Path) -> AsyncIterator[Lookout]:
    """Run the stages in this process."""
    kafka = KafkaSettings(bootstrap_servers=servers)
    await admin.apply(kafka)
    settings = Settings(data_dir=folder, kafka=kafka)
    async with AsyncExitStack() as stack:
        blobs = await stack.enter_async_context(FileBlobs(settings.blobs_dir, "rfr"))
        ledger = await stack.enter_async_context(SqlLedger(f"sqlite:///{folder / 'ledger.db'}"))
        gallery = await stack.enter_async_context(EdgeGallery(settings.gallery_dir, embedder=FakeEmbedder.identity))
        bus = await stack.enter_async_context(Bus.from_settings(settings, client_id="test"))
        ports: dict[str, Any] = {
            "blobs": blobs,
            "vision": FakeVision(),
            "gallery": gallery,
            "references": ledger,
            "standing": ledger,
            "models": ledger,
        }
        tasks: list[Task] = [search.mount(bus, settings, **ports), *enrolment.mount(bus, settings, **ports)]
        tasks += review.mount(bus, settings, ledger=ledger, verifier=KeyVerifier())
        await bus.broker.start()
        stack.push_async_callback(bus.broker.stop)
        here = Lookout(settings, bus, blobs, ledger, gallery)
        running = [
            asyncio.create_task(work)
            for work in (here.listen(), *(task.run() if isinstance(task, Runs) else task() for task in tasks))
        ]
        try:
            yield here
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def template_of(face: PlantedFace) -> Templates:
    """Return the template of every picture of this person: float32 [128], L2 norm 1."""
    here = House()
    probe = await here.embedded(face)
    (file,) = await here.blobs.get([probe.template.template])
    assert isinstance(file, bytes)
    return np.frombuffer(file, dtype="<f4")
