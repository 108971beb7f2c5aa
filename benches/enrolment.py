"""References a second through the enrolment stage on a real Kafka, against the bare models over the same images.

    OMP_NUM_THREADS=1 python benches/enrolment.py [--images 400] [--pack baseline] [--held 10000]

The gallery holds `--held` random templates beforehand, so that looking for conflicts costs what it costs. Everything
runs on this machine, the broker too. Exit code 1 where the target is missed.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import uvloop
from _data import TestData
from pipeline import LFW_CENTRE, bare_loop, house

from consumers import together
from producers import references
from rfr_stream.adapters import opening
from rfr_stream.events import GalleryName, HoldRecord, derive_id
from rfr_stream.ports import Ledger
from rfr_stream.settings import Settings
from topics.bus import Bus

TARGET_RATIO = 0.90
PATIENCE_S = 900.0
CUSTODY = GalleryName.CUSTODY


async def fill(settings: Settings, count: int) -> None:
    """Let the gallery hold this many templates of nobody, uniform on the sphere."""
    vision = opening.vision(settings, load=())
    embedder = vision.embedder.identity
    rows = np.random.default_rng(0).standard_normal((count, embedder.dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    async with opening.gallery(settings, vision) as gallery:
        await gallery.enrol(CUSTODY, [derive_id("bench", i) for i in range(count)], rows, embedder=embedder)


def entries(images: Sequence[bytes]) -> Iterator[tuple[bytes, references.Enrolment]]:
    """Yield each image as a reference of a person of its own."""
    now = datetime.now(UTC)
    hold = HoldRecord(
        legal_basis="benchmark",
        source="bench",
        captured_at=now - timedelta(days=1),
        review_due=now + timedelta(days=1),
    )
    for number, image in enumerate(images):
        yield (
            image,
            references.Enrolment(
                person_id=f"bench-{number}", gallery=CUSTODY, hold=hold, subject=LFW_CENTRE, submitted_by="bench"
            ),
        )


async def through_the_stage(settings: Settings, images: Sequence[bytes]) -> float:
    """Return references/s from the first batch that the ledger holds to the last."""
    async with Bus.from_settings(settings, client_id="bench") as bus, opening.blobs(settings) as blobs:
        run = references.enrol(entries(images), blobs=blobs, publish=bus.publish)
        ids = [report.derived_id async for report in run if report.derived_id]
    app = together.create_app(settings, ["enrolment"])
    running = asyncio.create_task(app.run())
    async with opening.ledger(settings) as ledger:
        first_n, started = await _held(ledger, ids, 1), time.perf_counter()
        enough = len(ids) - len(ids) // 50  # of a few pictures the models find nobody in the middle
        last_n = await _held(ledger, ids, enough)
        seconds = time.perf_counter() - started
    app.exit()
    await running
    return (last_n - first_n) / seconds


async def _held(ledger: Ledger, ids: Sequence[UUID], enough: int) -> int:
    """Wait until the ledger holds this many of them; return how many it does."""
    deadline = time.perf_counter() + PATIENCE_S
    while (held := len(await ledger.held(ids))) < enough:
        if time.perf_counter() > deadline:
            msg = f"only {held} of {len(ids)} references reached the ledger"
            raise SystemExit(msg)
        await asyncio.sleep(0.05)
    return held


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--pack", default="baseline")
    parser.add_argument("--held", type=int, default=10_000)
    asked = parser.parse_args()
    images = [path.read_bytes() for path in sorted((TestData().test_data / "lfw_dev").rglob("*.jpg"))[: asked.images]]
    async with house(asked.pack, batch_items=32) as settings:
        await fill(settings, asked.held)
        bare = await bare_loop(settings, images)
        rate = await through_the_stage(settings, images)
        again = await bare_loop(settings, images)
    base = max(bare, again)
    print(f"pack {asked.pack}, {len(images)} references, {asked.held} held before, one process")
    print(f"  bare loop                 {bare:8.1f} images/s before, {again:.1f} after")
    print(f"  enrolment stage on Kafka  {rate:8.1f} references/s")
    print(f"  ratio                     {rate / base:8.2f} (target {TARGET_RATIO:.2f})")
    return 0 if rate / base >= TARGET_RATIO else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
