"""A whole gallery brought in by a manifest, its processes killed in between: what of it is there, and how long it took.

`rfr enrol --manifest` hands in; the stage enrols, with null models: what is measured is everything but the models.
Both are killed (SIGKILL) at times, and run again. Some lines name what is no picture. In the end the ledger and the
gallery must hold every other line once, the report every bad one once, and no image may be kept that nothing names.

    python benches/bulk.py [--references 100000] [--kills 3]

Exit code 1 where one is missing, doubled or not reported.
"""

import argparse
import asyncio
import csv
import io
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Final

import numpy as np
import uvloop
from _doors import running
from PIL import Image
from pipeline import held_in_ledger, house

from rfr_stream.adapters import opening
from rfr_stream.adapters.qdrant.edge import EdgeGallery
from rfr_stream.events import GalleryName
from rfr_stream.settings import Settings

BAD_EVERY: Final = 1_000
"""One line of so many names a file that is no picture."""
PATIENCE_S: Final = 120.0
CUSTODY: Final = GalleryName.CUSTODY


def manifest(folder: Path, count: int) -> Path:
    """Write so many little pictures of nobody, and a manifest that lists them."""
    at, said = np.random.default_rng(1), folder / "gallery.csv"
    with said.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "person", "gallery", "basis", "source", "captured_at", "review_due"])
        for number in range(count):
            name = f"{number // 1_000}/{number}.jpg"
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"no picture" if number % BAD_EVERY == 1 else picture(at))
            lines.writerow([name, f"bench-{number}", CUSTODY, "benchmark", "bench", "2026-01-01", "2099-01-01"])
    return said


def picture(at: np.random.Generator) -> bytes:
    out = io.BytesIO()
    Image.fromarray(at.integers(0, 256, (8, 8, 3), np.uint8)).resize((48, 48)).save(out, "JPEG", quality=70)
    return out.getvalue()


@contextmanager
def handing_in(settings: Settings, said: Path, log: Path) -> Iterator[Popen[bytes]]:
    command = [sys.executable, "-m", "rfr_stream", "--data-dir", str(settings.data_dir)]
    command += ["--bootstrap-servers", str(settings.kafka.bootstrap_servers), "enrol", "--manifest", str(said)]
    with log.open("ab") as out, Popen(command, stdin=PIPE, stdout=out, stderr=out) as process:  # noqa: S603 - ours
        try:
            yield process
        finally:
            process.kill()


async def handed_in(settings: Settings, said: Path, kills: int, log: Path) -> float:
    """Run `rfr enrol` until it ends by itself, having killed it so many times; return its seconds in all."""
    began = time.perf_counter()
    for after_s in [*(6.0 + 3 * kill for kill in range(kills)), None]:
        with handing_in(settings, said, log) as process:
            try:
                await asyncio.wait_for(asyncio.to_thread(process.wait), after_s)
            except TimeoutError:
                process.kill()
    return time.perf_counter() - began


async def enrolled(settings: Settings, expected: int, kills: int) -> float:
    """Run the stage until the ledger holds them, having killed it so many times on the way; return its seconds."""
    began = time.perf_counter()
    for goal in [expected * (kill + 1) // (kills + 1) for kill in range(kills + 1)]:
        with running(settings, "enrolment") as stage:
            await until_held(settings, goal)
            if goal < expected:
                os.kill(stage.pid, signal.SIGKILL)
            else:
                await asyncio.sleep(3)  # were one doubled, it would come now
    return time.perf_counter() - began


async def until_held(settings: Settings, count: int) -> None:
    """Wait until the ledger holds so many, or no more come."""
    known, since = -1, time.perf_counter()
    while known < count and time.perf_counter() - since < PATIENCE_S:
        now = held_in_ledger(settings.data_dir / "ledger.db")
        known, since = now, since if now == known else time.perf_counter()
        await asyncio.sleep(0.5)


async def people(settings: Settings) -> list[str]:
    """Return whom the ledger holds, one entry for each reference."""
    held: list[str] = []
    async with opening.ledger(settings) as ledger:
        after = None
        while page := await ledger.page(after=after):
            held += [reference.person_id for reference in page]
            after = page[-1].reference_id
    return held


async def count_of_templates(settings: Settings) -> int:
    async with opening.vision(settings, load=()) as vision:
        embedder = vision.embedder.identity
        async with EdgeGallery(settings.gallery_dir, embedder) as gallery:
            return await gallery.size(CUSTODY, embedder=embedder)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=3, help="of what hands in, and of the stage")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rfr-bench-") as folder:
        said = await asyncio.to_thread(manifest, Path(folder), asked.references)
        async with house("null", batch_items=32) as settings:
            in_s = await handed_in(settings, said, asked.kills, Path(folder) / "log")
            good = [number for number in range(asked.references) if number % BAD_EVERY != 1]
            enrol_s = await enrolled(settings, len(good), asked.kills)
            held = await people(settings)
            reported = said.with_name(f"{said.name}.rejects.jsonl").read_text().splitlines()
            lines = sorted(json.loads(line)["line"] for line in reported)
            templates = await count_of_templates(settings)
            files = [path for path in settings.blobs_dir.rglob("*") if path.is_file()]
            halves = sum(1 for path in files if path.parent.name == ".incoming")  # swept when a day old
            originals = len(files) - halves
    bad = [number + 2 for number in range(asked.references) if number % BAD_EVERY == 1]
    is_right = sorted(held) == sorted(f"bench-{number}" for number in good) and lines == bad
    is_right = is_right and templates == len(good) == originals
    print(f"{asked.references:,} lines, both processes killed {asked.kills} times, null models")
    print(f"  handed in                 {in_s:8.1f} s {asked.references / in_s:8.0f} a second")
    print(f"  enrolled                  {enrol_s:8.1f} s {len(good) / enrol_s:8.0f} a second, starts included")
    print(
        f"  held {len(held):,}, of different people {len(set(held)):,}; templates {templates:,}; images {originals:,}"
    )
    print(f"  reported {len(lines)} of {len(bad)} bad lines; half written at a kill {halves}")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
