"""Images a second through the whole chain on a real Kafka, and what the chain itself can carry.

1. The chain with a real model pack, against the same models in a bare loop over the same images, one process each.
2. The chain with null models: submissions a second from the topic to the ledger, and the memory it takes meanwhile:
   of 20,000, the second 10,000, since buffers and caches fill during the first.

    python benches/pipeline.py [--images 400] [--submissions 20000] [--pack baseline]

Everything runs on this machine, the broker too. Exit code 1 where a target is missed.
"""

import argparse
import asyncio
import io
import sqlite3
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import numpy as np
import psutil
import uvloop
from _data import TestData
from PIL import Image

from consumers import together
from rfr_stream.adapters import opening
from rfr_stream.errors import Rejected
from rfr_stream.events import (
    BlobRef,
    GalleryName,
    HoldRecord,
    ImageSubmitted,
    Purpose,
    ReferenceSubmitted,
    Source,
    Submission,
)
from rfr_stream.faces import Point
from rfr_stream.ports import BlobStore, NewBlob
from rfr_stream.settings import PipelineSettings, Settings, VisionSettings
from topics import admin
from topics.bus import Bus
from topics.embedded import EmbeddedKafka

TARGET_RATIO = 0.90
TARGET_RATE = 1_000
PATIENCE_S = 900.0
LFW_CENTRE = Point(125, 125)
"""The subject of every LFW picture; some show others behind."""


@dataclass(frozen=True)
class Run:
    """One measured passage through the chain."""

    submissions: int
    seconds: float
    memory_mib: Sequence[tuple[int, float]]
    """(submissions in the ledger, resident MiB), sampled."""
    cpu_s: Mapping[str, float]
    """Processor seconds of this process by kind of thread, from start to end."""

    @property
    def rate(self) -> float:
        return self.submissions / self.seconds

    def slope_kib_per_1000(self) -> float:
        """Least-squares growth of resident memory over the second half, KiB for each 1,000 submissions."""
        half = [row for row in self.memory_mib if row[0] >= self.submissions / 2]
        done, memory = np.array(half, dtype=float).T
        return float(np.polyfit(done, memory, 1)[0]) * 1000 * 1024


@asynccontextmanager
async def house(pack: str, *, batch_items: int) -> AsyncIterator[Settings]:
    """Yield settings of a fresh data directory with a broker that has all topics."""
    with tempfile.TemporaryDirectory(prefix="rfr-bench-") as folder:
        async with EmbeddedKafka(Path(folder)) as kafka:
            settings = Settings(
                data_dir=Path(folder),
                vision=VisionSettings(pack=pack),
                pipeline=PipelineSettings(batch_items=batch_items, depth=3),
            )
            cluster = settings.kafka.model_copy(update={"bootstrap_servers": kafka.bootstrap_servers})
            await admin.apply(cluster)
            yield settings.model_copy(update={"kafka": cluster})


async def prepare(settings: Settings, images: Sequence[bytes], count: int, subject: Point | None = None) -> None:
    """Store the images, enrol the first, and leave `count` submissions of them on the topic."""
    async with Bus.from_settings(settings, client_id="bench") as bus, opening.blobs(settings) as blobs:
        refs = await _store(blobs, images)
        await bus.publish([await _reference(blobs, images[0], subject)])
        for start in range(0, count, 500):
            await bus.publish(
                [_submitted(refs[i % len(refs)], i, subject) for i in range(start, min(start + 500, count))]
            )


async def through_the_chain(settings: Settings, count: int) -> Run:
    """Run all stages in this process until the ledger has every submission; time from the first to the last."""
    app = together.create_app(settings)
    running = asyncio.create_task(app.run())
    memory: list[tuple[int, float]] = []
    process = psutil.Process()
    started, first = 0.0, 0
    cpu_before: dict[str, float] = {}
    deadline = time.perf_counter() + PATIENCE_S
    ledger = settings.data_dir / "ledger.db"
    while (done := in_ledger(ledger)) < count:
        if time.perf_counter() > deadline or running.done():
            msg = f"only {done} of {count} submissions reached the ledger"
            raise SystemExit(msg)
        if done and not started:
            started, first = time.perf_counter(), done  # warm: models loaded, groups joined
            cpu_before = _cpu_by_thread()
        memory.append((done, process.memory_info().rss / 2**20))
        await asyncio.sleep(0.05)
    seconds = time.perf_counter() - started
    cpu = {name: spent - cpu_before.get(name, 0.0) for name, spent in _cpu_by_thread().items()}
    app.exit()
    await running
    return Run(count - first, seconds, memory, cpu)


def _cpu_by_thread() -> dict[str, float]:
    """Return processor seconds so far by the threads' names, numbers left out."""
    names = {thread.native_id: thread.name.rstrip("0123456789_-") for thread in threading.enumerate()}
    spent: dict[str, float] = defaultdict(float)
    for thread in psutil.Process().threads():
        spent[names.get(thread.id, "other")] += thread.user_time + thread.system_time
    return spent


async def bare_loop(settings: Settings, images: Sequence[bytes]) -> float:
    """Return images/s of the same models over the same images, without anything round them."""
    async with opening.vision(settings) as vision:
        started = time.perf_counter()
        for start in range(0, len(images), settings.pipeline.batch_items):
            batch = images[start : start + settings.pipeline.batch_items]
            pictures = [picture for picture in await vision.codec.decode(batch) if not isinstance(picture, Rejected)]
            pixels = [picture.pixels for picture in pictures]
            found = await vision.detector.detect(pixels)
            faces = [(image, faces[0]) for image, faces in zip(pixels, found, strict=True) if faces]
            chips = await vision.aligner.align([image for image, _ in faces], [face.landmarks for _, face in faces])
            await vision.embedder.embed([chip.pixels for chip in chips])
        return len(images) / (time.perf_counter() - started)


def in_ledger(path: Path) -> int:
    """Return how many submissions have become cases."""
    # Nothing is ever deleted here; counting ten thousand rows would take the chain's own time.
    return _number(path, "SELECT coalesce(max(rowid), 0) FROM cases")


def held_in_ledger(path: Path) -> int:
    """Return how many references are held."""
    return _number(path, "SELECT count(*) FROM held_references")


def _number(path: Path, query: str) -> int:
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as ledger:
        try:
            return int(ledger.execute(query).fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # the migration is under way


async def _store(blobs: BlobStore, images: Sequence[bytes]) -> list[BlobRef]:
    return await blobs.put([NewBlob(f"originals/{sha256(data).hexdigest()}", data, "image/jpeg") for data in images])


def _submitted(image: BlobRef, number: int, subject: Point | None) -> ImageSubmitted:
    now = datetime.now(UTC)
    case_ref = f"bench-{number}"
    submission = Submission(
        submission_id=Submission.derive(
            image_sha256=image.sha256,
            source=Source.OFFICER,
            purpose=Purpose.SUSPECT,
            case_ref=case_ref,
            submitted_by="bench",
            subject=subject,
        ),
        source=Source.OFFICER,
        purpose=Purpose.SUSPECT,
        case_ref=case_ref,
        legal_basis="benchmark",
        subject=subject,
        submitted_by="bench",
        submitted_at=now,
        image=image,
    )
    return ImageSubmitted(submission=submission, occurred_at=now)


async def _reference(blobs: BlobStore, file: bytes, subject: Point | None) -> ReferenceSubmitted:
    now, digest = datetime.now(UTC), sha256(file).hexdigest()
    reference_id = ReferenceSubmitted.derive("bench-person", GalleryName.CUSTODY, digest)
    (image,) = await blobs.put([NewBlob(f"references/{reference_id}/{digest}", file, "image/jpeg")])
    hold = HoldRecord(
        legal_basis="benchmark",
        source="bench",
        captured_at=now - timedelta(days=1),
        review_due=now + timedelta(days=1),
    )
    return ReferenceSubmitted(
        reference_id=reference_id,
        person_id="bench-person",
        gallery=GalleryName.CUSTODY,
        image=image,
        subject=subject,
        hold=hold,
        submitted_by="bench",
        occurred_at=now,
    )


def _small_picture() -> bytes:
    """Return a picture that costs next to nothing to open: decoding is not what the null chain is about."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(7).integers(0, 255, (64, 64, 3), np.uint8)).save(file, "BMP")
    return file.getvalue()


async def measure_models(pack: str, count: int) -> bool:
    """Print the chain's images/s against the bare loop's; return whether the ratio is reached."""
    paths = sorted((TestData().test_data / "lfw_dev").rglob("*.jpg"))[:count]
    images = [path.read_bytes() for path in paths]
    count = len(images)
    async with house(pack, batch_items=16) as settings:
        bare = await bare_loop(settings, images)
        await prepare(settings, images, count, LFW_CENTRE)
        chain = await through_the_chain(settings, count)
        again = await bare_loop(settings, images)
    base = max(bare, again)
    print(f"pack {pack}, {count} images, one process")
    print(f"  bare loop                 {bare:8.1f} images/s before, {again:.1f} after")
    print(f"  whole chain on Kafka      {chain.rate:8.1f} images/s")
    print(f"  ratio                     {chain.rate / base:8.2f} (target {TARGET_RATIO:.2f})")
    return chain.rate / base >= TARGET_RATIO


async def measure_null(count: int) -> bool:
    """Print what the chain carries without models, and how its memory grows; return whether the rate is reached."""
    async with house("null", batch_items=128) as settings:
        await prepare(settings, [_small_picture()], count)
        chain = await through_the_chain(settings, count)
    print(f"null models, {count} submissions, one process, acks=all")
    print(f"  submission to ledger      {chain.rate:8.0f} submissions/s (target {TARGET_RATE})")
    print("  processor ms for each     ", end="")
    print(", ".join(f"{name} {spent / chain.submissions * 1000:.2f}" for name, spent in sorted(chain.cpu_s.items())))
    print(f"  resident memory           {chain.memory_mib[-1][1]:8.0f} MiB at the end")
    print(f"  growth, second half       {chain.slope_kib_per_1000():8.0f} KiB per 1,000 submissions")
    return chain.rate >= TARGET_RATE


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--submissions", type=int, default=20_000)
    parser.add_argument("--pack", default="baseline")
    parser.add_argument("--only", choices=["models", "null"])
    arguments = parser.parse_args()
    reached = []
    if arguments.only != "null":
        reached.append(await measure_models(arguments.pack, arguments.images))
    if arguments.only != "models":
        reached.append(await measure_null(arguments.submissions))
    return 0 if all(reached) else 1


if __name__ == "__main__":
    uvloop.install()
    sys.exit(asyncio.run(main()))
