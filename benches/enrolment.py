"""References a second through the enrolment stage on a real Kafka, against the bare models over the same images.

    OMP_NUM_THREADS=1 python benches/enrolment.py [--images 600] [--pack baseline] [--held 10000]

The gallery holds `--held` random templates beforehand, so that looking for conflicts costs what it costs. Both take
turns, a part of the images each time, since a machine is not equally fast all the time; the first turn does not count,
and of the others the median of the ratios does. Everything runs on this machine, the broker too. Exit code 1 where the
target is missed.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
import uvloop
from _data import TestData
from pipeline import LFW_CENTRE, bare_loop, held_in_ledger, house

from consumers import together
from producers import references
from rfr_stream.adapters import opening
from rfr_stream.events import GalleryName, HoldRecord, derive_id
from rfr_stream.settings import Settings
from topics.bus import Bus

TARGET_RATIO = 0.90
TURNS = 5
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


@dataclass(frozen=True)
class Portrait:
    """A picture, and whose it is."""

    person_id: str
    image: bytes


def portraits(count: int) -> list[Portrait]:
    """Return pictures of LFW's development people, numbered as their folders are."""
    paths = sorted((TestData().test_data / "lfw_dev").rglob("*.jpg"))[:count]
    numbers = {folder: number for number, folder in enumerate(dict.fromkeys(path.parent for path in paths))}
    return [Portrait(f"bench-{numbers[path.parent]}", path.read_bytes()) for path in paths]


def entries(mine: Sequence[Portrait]) -> Iterator[tuple[bytes, references.Enrolment]]:
    """Yield each picture as a reference."""
    now = datetime.now(UTC)
    hold = HoldRecord(
        legal_basis="benchmark",
        source="bench",
        captured_at=now - timedelta(days=1),
        review_due=now + timedelta(days=1),
    )
    for each in mine:
        yield (
            each.image,
            references.Enrolment(
                person_id=each.person_id, gallery=CUSTODY, hold=hold, subject=LFW_CENTRE, submitted_by="bench"
            ),
        )


async def through_the_stage(settings: Settings, mine: Sequence[Portrait]) -> float:
    """Return references/s from the first batch that the ledger holds to the last."""
    ledger = settings.data_dir / "ledger.db"
    before = held_in_ledger(ledger)
    async with Bus.from_settings(settings, client_id="bench") as bus, opening.blobs(settings) as blobs:
        run = references.enrol(entries(mine), blobs=blobs, publish=bus.publish)
        accepted = sum([report.derived_id is not None async for report in run])
    first_n, started = await _held(ledger, before + 1), time.perf_counter()
    enough = accepted - accepted // 50  # of a few pictures the models find nobody in the middle
    last_n = await _held(ledger, before + enough)
    return (last_n - first_n) / (time.perf_counter() - started)


async def _held(ledger: Path, enough: int) -> int:
    """Wait until the ledger holds this many; return how many it does."""
    deadline = time.perf_counter() + PATIENCE_S
    while (held := held_in_ledger(ledger)) < enough:
        if time.perf_counter() > deadline:
            msg = f"only {held} of {enough} references reached the ledger"
            raise SystemExit(msg)
        await asyncio.sleep(0.05)
    return held


@asynccontextmanager
async def enrolling(settings: Settings) -> AsyncIterator[None]:
    """Run the stage."""
    app = together.create_app(settings, ["enrolment"])
    running = asyncio.create_task(app.run())
    yield
    app.exit()
    await running


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--pack", default="baseline")
    parser.add_argument("--held", type=int, default=10_000)
    asked = parser.parse_args()
    everybody = portraits(asked.images)
    warm, *turns = [everybody[turn :: TURNS + 1] for turn in range(TURNS + 1)]
    async with house(asked.pack, batch_items=32) as settings:
        await fill(settings, asked.held)
        async with enrolling(settings):
            await through_the_stage(settings, warm)
            rates = []
            for mine in turns:
                staged = await through_the_stage(settings, mine)
                rates.append((await bare_loop(settings, [each.image for each in mine]), staged))
    ratio = median(staged / bare for bare, staged in rates)
    print(
        f"pack {asked.pack}, {sum(map(len, turns))} references in {TURNS} turns, {asked.held} held before, one process"
    )
    print(f"  bare loop                 {median(bare for bare, _ in rates):8.1f} images/s")
    print(f"  enrolment stage on Kafka  {median(staged for _, staged in rates):8.1f} references/s")
    print(f"  ratio                     {ratio:8.2f} (target {TARGET_RATIO:.2f})")
    print(f"    of each turn            {', '.join(f'{staged / bare:.2f}' for bare, staged in rates)}")
    return 0 if ratio >= TARGET_RATIO else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
