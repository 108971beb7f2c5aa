"""The whole chain under test: a real broker, the stages in processes of their own, and an ear on every topic."""

import asyncio
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import builders
import numpy as np
from PIL import Image

import topics
from rfr_stream.adapters import keys, opening
from rfr_stream.errors import Rejected
from rfr_stream.events import (
    BlobRef,
    CandidatesReady,
    Event,
    GalleryName,
    ImageSubmitted,
    ReferenceSubmitted,
    SubmissionClosed,
)
from rfr_stream.ports import BlobStore, Ledger, NewBlob, Reviewer
from rfr_stream.settings import KafkaSettings, Settings
from topics import Record, Topic, admin
from topics.bus import Bus
from topics.embedded import EmbeddedKafka
from topics.tail import follow

STAGES: Final = Path(__file__).with_name("chain_stages.py")
ALL_NAMES: Final = [spec.name for spec in admin.specs()]
"""Every topic there is, dead letters included."""
_TABLE: Final = {topic.name: topic for topic in topics.ALL}
REVIEWERS: Final = ("reviewer-a", "reviewer-b", "reviewer-c")


@dataclass
class StageProcess:
    """Stages in a process of their own, and the file that it writes its log to."""

    process: "subprocess.Popen[bytes]"
    log: Path
    log_begins: int = 0
    """Where this process's own lines begin; those before it wrote the same file."""

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def has_said(self, words: str) -> bool:
        """Whether these words are in what it has logged."""
        return words in self.log.read_bytes()[self.log_begins :].decode()

    def kill(self) -> None:
        """Kill it without a warning, and return once it is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self, within_s: float = 120.0) -> int:
        """Ask it to end, and return its exit code."""
        self.process.terminate()
        return self.process.wait(within_s)


@dataclass
class Chain:
    """One installation: a cluster, a data directory, and stages that are started and killed at will."""

    settings: Settings
    late_s: float = 0.0
    """How long a record of a stage is under way before it is sent."""
    started: list[StageProcess] = field(default_factory=list)

    @property
    def options(self) -> Mapping[str, Any]:
        return {"bootstrap_servers": self.settings.kafka.bootstrap_servers}

    def start(self, *stages: str, instance: str = "0") -> StageProcess:
        """Start a process that runs these stages, or all of them."""
        settings = self.settings.model_copy(update={"instance": instance})
        log = self.settings.data_dir / f"{'-'.join(stages) or 'all'}-{instance}.log"
        with log.open("ab") as errors:
            begins = errors.tell()
            process = subprocess.Popen(
                [
                    "env",
                    *variables(settings),
                    "OMP_NUM_THREADS=1",
                    sys.executable,
                    str(STAGES),
                    str(self.late_s),
                    *stages,
                ],
                stderr=errors,
            )
        self.started.append(StageProcess(process, log, begins))
        return self.started[-1]

    def logs(self) -> str:
        """Return everything that any stage has logged."""
        return "".join(path.read_text() for path in sorted({each.log for each in self.started}))

    @asynccontextmanager
    async def talking(self) -> AsyncIterator["Talk"]:
        """Open everything that a test talks to the house through."""
        async with (
            Bus.from_settings(self.settings, client_id="test") as bus,
            opening.blobs(self.settings) as blobs,
            opening.ledger(self.settings) as ledger,
            listening(self.settings) as ear,
        ):
            yield Talk(self, bus, blobs, ledger, ear)


@dataclass(frozen=True)
class Talk:
    """A way in and an ear: what a test says to the house, and what it hears."""

    chain: Chain
    bus: Bus
    blobs: BlobStore
    ledger: Ledger
    ear: "Ear"

    async def say(self, *events: Event) -> None:
        """Publish events as a way in would."""
        await self.bus.publish(events)

    async def send(self, *records: Record) -> None:
        """Send records as they are."""
        await self.bus.send(records)

    async def keep(self, file: bytes, *, key: str | None = None) -> BlobRef:
        """Store a file as a way in would."""
        name = key or f"originals/{sha256(file).hexdigest()}"
        (ref,) = await self.blobs.put([NewBlob(name, file, "image/png")])
        return ref

    async def request(self, file: bytes, case_ref: str, **fields: Any) -> ImageSubmitted:  # noqa: ANN401
        """Store a picture and return the request about it; another case is another submission."""
        image = await self.keep(file)
        return builders.image_submitted(builders.submission(image=image, case_ref=case_ref, **fields))

    async def searched(self, file: bytes, case_ref: str, *, within_s: float = 120.0) -> CandidatesReady:
        """Send a picture through the machine's half of the chain and return the list that comes out."""
        asked = await self.request(file, case_ref)
        await self.say(asked)
        return await self.ear.listed(asked, within_s=within_s)

    async def reference(self, person_id: str, file: bytes) -> ReferenceSubmitted:
        """Store a picture and return its submission to the custody gallery, lawfully held now."""
        now, digest = datetime.now(UTC), sha256(file).hexdigest()
        reference_id = ReferenceSubmitted.derive(person_id, GalleryName.CUSTODY, digest)
        return ReferenceSubmitted(
            occurred_at=now,
            reference_id=reference_id,
            person_id=person_id,
            gallery=GalleryName.CUSTODY,
            image=await self.keep(file, key=f"references/{reference_id}/{digest}"),
            hold=builders.hold_record(captured_at=now - timedelta(days=30), review_due=now + timedelta(days=365)),
            submitted_by="officer-1",
        )

    async def enrol(self, people: Mapping[str, bytes], *, within_s: float = 120.0) -> None:
        """Enrol one picture of each person, and wait until the ledger holds it."""
        references = [await self.reference(person, file) for person, file in people.items()]
        await self.say(*references)
        ids = [reference.reference_id for reference in references]
        async with asyncio.timeout(within_s):
            while len(await self.ledger.held(ids)) < len(ids):  # noqa: ASYNC110 - a database tells nobody
                await asyncio.sleep(0.05)

    async def register_reviewers(self) -> None:
        """Register the reviewers whose keys `builders.decision` signs with."""
        until = datetime.now(UTC) + timedelta(days=1)
        for name in REVIEWERS:
            await self.ledger.register(Reviewer(name, keys.public_text(builders.private_key(name)), until))


class Ear:
    """Everything that was said on any topic, repeats included."""

    def __init__(self) -> None:
        self.records: dict[str, list[Record]] = defaultdict(list)
        self.events: dict[Topic, list[Event]] = defaultdict(list)
        self._lists: dict[UUID, CandidatesReady] = {}
        self._outcomes: dict[UUID, SubmissionClosed] = {}

    async def hear(self, options: Mapping[str, Any]) -> None:
        """Listen until cancelled."""
        async for record in (kept.record async for kept in follow(options, ALL_NAMES, from_start=True)):
            self.records[record.topic].append(record)
            topic = _TABLE.get(record.topic)
            if topic is not None:
                with suppress(Rejected):
                    self._take_in(topic, topic.decode(record))

    def _take_in(self, topic: Topic, event: Event) -> None:
        self.events[topic].append(event)
        if isinstance(event, CandidatesReady):
            self._lists[event.submission.submission_id] = event
        elif isinstance(event, SubmissionClosed):
            self._outcomes[event.submission_id] = event

    async def listed(self, asked: ImageSubmitted, *, within_s: float = 120.0) -> CandidatesReady:
        """Wait for the list of a submission."""
        submission_id = asked.submission.submission_id
        await self.until(lambda: submission_id in self._lists, within_s=within_s)
        return self._lists[submission_id]

    def list_of(self, submission_id: UUID) -> CandidatesReady | None:
        """Return the last list of a submission, if there is one."""
        return self._lists.get(submission_id)

    def outcome_of(self, submission_id: UUID) -> SubmissionClosed | None:
        """Return the last word on a submission, if there is one."""
        return self._outcomes.get(submission_id)

    def dead(self, topic: Topic, group: str | None = None) -> list[Record]:
        """Return the dead letters of this topic and group, or of its only group."""
        return self.records[topic.dead(group or topic.groups[0])]

    async def until(self, condition: Callable[[], object], *, within_s: float = 120.0) -> None:
        """Wait until something that was heard makes this true."""
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - any state that was heard
                await asyncio.sleep(0.02)


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[Ear]:
    """Hear every topic from its beginning."""
    ear = Ear()
    hearing = asyncio.create_task(ear.hear({"bootstrap_servers": settings.kafka.bootstrap_servers}))
    try:
        yield ear
    finally:
        hearing.cancel()
        with suppress(asyncio.CancelledError):
            await hearing


@contextmanager
def running(
    folder: Path,
    *,
    late_s: float = 0.0,
    **sections: Any,  # noqa: ANN401
) -> Iterator[tuple[Chain, EmbeddedKafka]]:
    """Start a broker of its own with every topic; end whatever was started on it, and then the broker."""
    kafka = EmbeddedKafka(folder)
    asyncio.run(kafka.start())
    try:
        cluster = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers)
        asyncio.run(admin.apply(cluster))
        chain = Chain(Settings(data_dir=folder, kafka=cluster, **sections), late_s)
        try:
            yield chain, kafka
        finally:
            for each in chain.started:
                if each.alive:
                    each.kill()
    finally:
        asyncio.run(kafka.stop())


def noise(seed: int, *, side_px: int = 96) -> bytes:
    """Return a PNG of noise; the null pack knows it again, and tells any two apart."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), np.uint8)
    return saved(Image.fromarray(pixels), "PNG")


def saved(image: Image.Image, kind: str, **how: Any) -> bytes:  # noqa: ANN401 - Pillow's own
    """Return the picture as a file of this kind."""
    out = BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def variables(settings: Settings) -> list[str]:
    """Return the settings as the environment says them."""
    return list(_flat("RFR", settings.model_dump(mode="json", exclude_defaults=True)))


def _flat(name: str, values: Mapping[str, Any], joint: str = "_") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{name}{joint}{key.upper()}", value, "__")
        else:
            yield f"{name}{joint}{key.upper()}={value}"


def same_bytes(letter: Record, original: Record) -> bool:
    """Whether a dead letter is the original's key, value and headers, byte for byte, and `x-rfr-*` beside them."""
    kept: Sequence[tuple[str, bytes]] = [pair for pair in letter.headers if not pair[0].startswith("x-rfr-")]
    return (letter.key, letter.value, kept) == (original.key, original.value, list(original.headers))
