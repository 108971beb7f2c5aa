"""An erasure, and what became of a case, count within a second of being said, though a bulk load is under way.

Real parts.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import builders
import lab
from house import SEARCH, FakeVision, House, picture

from consumers import enrolment
from producers import references
from producers.references import Enrolment, Erasure
from rfr_stream import stages
from rfr_stream.adapters.files import FileBlobs
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.memory.vision import FakeEmbedder, PlantedFace
from rfr_stream.adapters.qdrant.edge import EdgeGallery
from rfr_stream.events import CandidatesReady, FaceEmbedded, GalleryName, ReferenceSubmitted
from rfr_stream.faces import ImageHwc
from rfr_stream.ports import BlobStore, Ledger, NewBlob, Templates
from rfr_stream.settings import KafkaSettings, Settings
from topics import admin
from topics.bus import Bus
from topics.embedded import EmbeddedKafka

ANNA = PlantedFace("anna")
SLOW_S = 0.5


class SlowEmbedder(FakeEmbedder):
    """Takes as long for a batch as real models take on a small machine."""

    async def embed(self, chips: Sequence[ImageHwc]) -> Templates:
        await asyncio.sleep(SLOW_S * len(chips))
        return await super().embed(chips)


class Here:
    """The enrolment stage at work on a real cluster, ledger and gallery, and the search stage beside it."""

    def __init__(self, bus: Bus, blobs: BlobStore, ledger: Ledger, gallery: EdgeGallery) -> None:
        self.bus, self.blobs, self.ledger, self.gallery = bus, blobs, ledger, gallery

    async def enrol(self, *people: str) -> None:
        """Hand in the same picture of each."""
        now = datetime.now(UTC)
        hold = builders.hold_record(
            captured_at=now - timedelta(days=1), review_due=now + timedelta(days=1), case_ref="arrest-1"
        )
        entries = [
            (picture(ANNA), Enrolment(person_id=person, gallery=GalleryName.CUSTODY, hold=hold, submitted_by="records"))
            for person in people
        ]
        async for _ in references.enrol(entries, blobs=self.blobs, publish=self.bus.publish):
            pass

    async def probe(self) -> FaceEmbedded:
        """Return a probe of Anna, its template in the store of this house."""
        elsewhere = House()
        found = await elsewhere.embedded(ANNA)
        ref = found.template.template
        key = ref.uri.removeprefix("memory://rfr/")
        (mine,) = await self.blobs.put([NewBlob(key, elsewhere.blobs.kept[key], ref.media_type)])
        return found.model_copy(update={"template": found.template.model_copy(update={"template": mine})})

    async def size(self) -> int:
        return await self.gallery.size(GalleryName.CUSTODY, embedder=FakeEmbedder.identity)

    async def listed(self, probe: FaceEmbedded) -> set[str]:
        (found,) = await stages.search(
            [probe],
            blobs=self.blobs,
            gallery=self.gallery,
            references=self.ledger,
            standing=self.ledger,
            embedder=FakeEmbedder.identity,
            rules=replace(SEARCH, list_length=20),
            now=datetime.now(UTC),
        )
        assert isinstance(found, CandidatesReady), found
        return {candidate.person_id for candidate in found.candidates}


@asynccontextmanager
async def at_work(servers: str, folder: Path) -> AsyncIterator[Here]:
    kafka = KafkaSettings(bootstrap_servers=servers)
    await admin.apply(kafka)
    settings = Settings(data_dir=folder, kafka=kafka)
    async with AsyncExitStack() as stack:
        blobs = await stack.enter_async_context(FileBlobs(settings.blobs_dir, "rfr"))
        ledger = await stack.enter_async_context(SqlLedger(f"sqlite:///{folder / 'ledger.db'}"))
        gallery = await stack.enter_async_context(EdgeGallery(settings.gallery_dir, embedder=FakeEmbedder.identity))
        bus = await stack.enter_async_context(Bus.from_settings(settings, client_id="test"))
        vision = FakeVision(embedder=SlowEmbedder())
        mount = partial(enrolment.mount, bus, settings, blobs=blobs, vision=vision, gallery=gallery)
        pipelines = mount(references=ledger, standing=ledger, models=ledger)
        await bus.broker.start()
        stack.push_async_callback(bus.broker.stop)
        running = [asyncio.create_task(pipeline.run()) for pipeline in pipelines]
        try:
            yield Here(bus, blobs, ledger, gallery)
        finally:
            for pipeline in pipelines:
                pipeline.stop()
            await asyncio.gather(*running)


async def gone_after_s(here: Here, say: Callable[[str], Awaitable[object]], *, leaves: int) -> float:
    """Return how long somebody is still found once this is said of them, with a bulk load in hand."""
    probe = await here.probe()
    person, *bulk = (f"person-{uuid4()}" for _ in range(13))
    await here.enrol(person)
    await lab.until(lambda: here.listed(probe), lambda found: person in found)
    before = await here.size()
    await here.enrol(*bulk)  # the stage has its hands full with these for some seconds
    began = time.monotonic()
    await say(person)
    async with asyncio.timeout(10):
        while person in await here.listed(probe):  # noqa: ASYNC110 - a search tells nobody when to ask again
            await asyncio.sleep(0.01)
    took_s = time.monotonic() - began
    assert await here.size() < before + len(bulk) - 1
    await lab.until(here.size, lambda size: size == before + len(bulk) - leaves)  # nothing is left for other tests
    return took_s


async def is_gone_within_a_second(here: Here, say: Callable[[str], Awaitable[object]], *, leaves: int = 0) -> bool:
    """Whether it ever is: a machine that others use, too, may be late once. So many references leave the gallery."""
    for _ in range(3):
        if await gone_after_s(here, say, leaves=leaves) < 1.0:
            return True
    return False


async def test_what_became_of_a_case_counts_within_a_second_of_being_said(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    async with at_work(broker.bootstrap_servers, tmp_path) as here:

        async def dispose(person: str) -> None:
            said = builders.case_disposed(person, occurred_at=datetime.now(UTC))
            await references.dispose([said], publish=here.bus.publish)

        assert await is_gone_within_a_second(here, dispose)


async def test_whoever_is_erased_is_found_no_more_within_a_second_of_its_being_said(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    async with at_work(broker.bootstrap_servers, tmp_path) as here:

        async def erase(person: str) -> None:
            reference_id = ReferenceSubmitted.derive(person, GalleryName.CUSTODY, sha256(picture(ANNA)).hexdigest())
            erasure = {"reference_id": reference_id, "person_id": person, "gallery": GalleryName.CUSTODY}
            said = Erasure(**erasure, reason="acquitted", erased_by="records-office")
            await references.erase([said], publish=here.bus.publish)

        assert await is_gone_within_a_second(here, erase, leaves=1)
