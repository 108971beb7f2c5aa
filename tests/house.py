"""A house of fakes: every port in memory, the stages on them, and pictures of people to send through."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any, Final, TypeVar

import builders

from rfr_stream import stages
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.adapters.memory.gallery import MemoryGallery
from rfr_stream.adapters.memory.ledger import MemoryLedger
from rfr_stream.adapters.memory.vision import (
    THRESHOLD,
    FakeAligner,
    FakeDetector,
    FakeEmbedder,
    MemoryCodec,
    MemoryFingerprinter,
    PlantedFace,
    plant_file,
)
from rfr_stream.errors import Rejected, Unavailable
from rfr_stream.events import (
    BlobRef,
    CandidatesReady,
    CaseDisposed,
    FaceDetected,
    FaceEmbedded,
    GalleryName,
    HoldRecord,
    ImageSubmitted,
    ReferenceErased,
    ReferenceSubmitted,
    Signed,
)
from rfr_stream.faces import Box, Point
from rfr_stream.ports import Aligner, Codec, Conflict, Detector, Embedder, Fingerprinter, NewBlob
from rfr_stream.stages._batch import Settled

T = TypeVar("T")

RULES: Final = stages.ProbeRules(min_interocular_px=12.0, min_score=0.5, max_image_bytes=64 * 2**20)
STANDING: Final = stages.StandingRules(threshold=THRESHOLD, gather=timedelta(seconds=1))
SEARCH: Final = stages.SearchRules(threshold=THRESHOLD, list_length=3, head_room=2)


@cache
def picture(*people: PlantedFace, room: int = 16) -> bytes:
    """Return a picture that is just large enough for these people; with more room it is another file."""
    width = max((face.x + face.side_px for face in people), default=48) + room
    height = max((face.y + face.side_px for face in people), default=48) + room
    return plant_file(*people, width=width, height=height)


def only(kind: type[T], results: Sequence[object]) -> T:
    """Return the one result, which must be of this kind."""
    (result,) = results
    assert isinstance(result, kind), result
    return result


def take_away(here: "House", part: str, method: str, outage: Unavailable) -> None:
    """Let one method of a port (of the house or of its vision) raise this outage from now on."""

    async def away(*_: object, **__: object) -> None:
        raise outage

    setattr(_port(here, part), method, away)


def bring_back(here: "House", part: str, method: str) -> None:
    """End the outage: what the class says counts again."""
    delattr(_port(here, part), method)


def _port(here: "House", part: str) -> object:
    return getattr(here.vision if hasattr(here.vision, part) else here, part)


@dataclass
class FakeVision:
    """One model pack of fakes."""

    codec: Codec = field(default_factory=MemoryCodec)
    fingerprinter: Fingerprinter = field(default_factory=MemoryFingerprinter)
    detector: Detector = field(default_factory=FakeDetector)
    aligner: Aligner = field(default_factory=FakeAligner)
    embedder: Embedder = field(default_factory=FakeEmbedder)
    threshold: float = THRESHOLD
    conflict_threshold: float = 0.95


@dataclass
class House:
    """All ports, and each stage on them. Replace a port to see what a stage does with it."""

    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    vision: FakeVision = field(default_factory=FakeVision)
    gallery: MemoryGallery = field(default_factory=lambda: MemoryGallery(embedder=FakeEmbedder.identity))
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    noticed: list[Conflict] = field(default_factory=list)
    lookout: stages.Lookout = field(init=False)

    def __post_init__(self) -> None:
        """Look out from here."""
        self.lookout = stages.Lookout(self.blobs, self.ledger)

    # what comes in
    async def submitted(self, *people: PlantedFace, demo: bool = False, **fields: Any) -> ImageSubmitted:  # noqa: ANN401
        """Store a picture of these people, and return the request about it."""
        asked = {"image": await self.keep(picture(*people)), **fields}
        return builders.image_submitted(builders.submission(**asked), demo=demo)

    async def referenced(
        self,
        *people: PlantedFace,
        person_id: str = "person-1",
        gallery: GalleryName = GalleryName.CUSTODY,
        hold: HoldRecord | None = None,
        subject: Box | Point | None = None,
    ) -> ReferenceSubmitted:
        """Store a picture of these people as a reference image of one person."""
        file = picture(*people)
        reference_id = ReferenceSubmitted.derive(person_id, gallery, sha256(file).hexdigest())
        return ReferenceSubmitted(
            occurred_at=builders.NOW,
            reference_id=reference_id,
            person_id=person_id,
            gallery=gallery,
            image=await self.keep(file, key=f"references/{reference_id}/{sha256(file).hexdigest()}"),
            subject=subject,
            hold=hold or builders.hold_record(),
            submitted_by="officer-1",
        )

    async def keep(self, file: bytes, *, key: str | None = None) -> BlobRef:
        """Store a file as a way in would."""
        (ref,) = await self.blobs.put([NewBlob(key or f"originals/{sha256(file).hexdigest()}", file, "image/png")])
        return ref

    # the stages
    async def detect(self, *batch: ImageSubmitted, rules: stages.ProbeRules = RULES) -> list[FaceDetected | Settled]:
        return await stages.detect(
            batch,
            blobs=self.blobs,
            codec=self.vision.codec,
            detector=self.vision.detector,
            aligner=self.vision.aligner,
            rules=rules,
            now=builders.NOW,
        )

    async def embed(self, *batch: FaceDetected) -> list[FaceEmbedded | Settled]:
        return await stages.embed(
            batch, blobs=self.blobs, codec=self.vision.codec, embedder=self.vision.embedder, now=builders.NOW
        )

    async def search(
        self, *batch: FaceEmbedded, rules: stages.SearchRules = SEARCH, now: datetime = builders.NOW
    ) -> list[CandidatesReady | Settled]:
        return await stages.search(
            batch,
            blobs=self.blobs,
            gallery=self.gallery,
            references=self.ledger,
            standing=self.ledger,
            embedder=self.vision.embedder.identity,
            rules=rules,
            now=now,
        )

    async def enrol(
        self,
        *batch: ReferenceSubmitted | ReferenceErased,
        min_score: float = RULES.min_score,
        max_image_bytes: int = RULES.max_image_bytes,
        now: datetime = builders.NOW,
    ) -> list[Settled | None]:
        return await stages.enrol(
            batch,
            blobs=self.blobs,
            codec=self.vision.codec,
            detector=self.vision.detector,
            aligner=self.vision.aligner,
            embedder=self.vision.embedder,
            gallery=self.gallery,
            references=self.ledger,
            lookout=self.lookout,
            standing=STANDING,
            min_score=min_score,
            max_image_bytes=max_image_bytes,
            conflict_threshold=self.vision.conflict_threshold,
            notice=self.noticed.extend,
            clock=lambda: now,
        )

    async def erase(self, *batch: ReferenceSubmitted | ReferenceErased) -> list[Rejected | None]:
        return await stages.erase(batch, blobs=self.blobs, gallery=self.gallery, references=self.ledger)

    async def dispose(self, *batch: CaseDisposed) -> list[None]:
        return await stages.dispose(batch, references=self.ledger)

    async def decide(self, said: Signed, *, now: datetime = builders.NOW) -> None:
        await stages.decide(said, ledger=self.ledger, verifier=KeyVerifier(), now=now)

    # several stages at once
    async def detected(self, *people: PlantedFace, **fields: Any) -> FaceDetected:  # noqa: ANN401
        return only(FaceDetected, await self.detect(await self.submitted(*people, **fields)))

    async def embedded(self, *people: PlantedFace, **fields: Any) -> FaceEmbedded:  # noqa: ANN401
        return only(FaceEmbedded, await self.embed(await self.detected(*people, **fields)))

    async def listed(self, probe: FaceEmbedded, **how: Any) -> list[str]:  # noqa: ANN401
        """Return the persons on the list of leads, best first."""
        found = only(CandidatesReady, await self.search(probe, **how))
        return [candidate.person_id for candidate in found.candidates]
