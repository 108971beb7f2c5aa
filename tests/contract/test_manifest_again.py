"""A bulk load that is killed and run again: nothing is lost, and nothing is doubled."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast
from uuid import UUID

import pytest
from house import House, picture

from producers import manifest
from producers._handed_in import HandedIn
from producers._intake import CHUNK_FILES
from rfr_stream.adapters.files import FileBlobs
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.adapters.memory.vision import PlantedFace
from rfr_stream.events import Event, GalleryName, ReferenceSubmitted

HEADER: Final = "path,person,gallery,basis,source,captured_at,review_due"
SAID: Final = "custody,taken on arrest,custody-system,2026-01-31,2999-01-31"
N: Final = 300


async def hand_in(folder: str) -> None:
    """In a process of its own: enrol the manifest, and write each event down for good before it counts as said."""
    here = Path(folder)

    async def publish(events: Sequence[Event]) -> None:
        with (here / "published.jsonl").open("a") as bus:
            bus.writelines(event.model_dump_json() + "\n" for event in events)
            bus.flush()
            os.fsync(bus.fileno())
        print(len(events), flush=True)  # noqa: T201 - tells the test

    async with FileBlobs(here / "blobs", "rfr") as blobs:
        with HandedIn(here / "handed-in.db") as journal:
            run = manifest.enrol(here / "g.csv", submitted_by="a", blobs=blobs, publish=publish, journal=journal)
            said = Counter([report.outcome async for report in run])
    print(json.dumps(said), flush=True)  # noqa: T201 - tells the test


def start(folder: Path) -> "subprocess.Popen[str]":
    code = "import asyncio, sys, test_manifest_again as here; asyncio.run(here.hand_in(sys.argv[1]))"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": path}
    )


@pytest.mark.parametrize("chunks", [1, 3])
async def test_a_run_that_was_killed_goes_on_and_nothing_is_doubled(tmp_path: Path, chunks: int) -> None:
    people = [PlantedFace(f"face-{number}") for number in range(N)]
    for number, face in enumerate(people):
        (tmp_path / f"{number}.png").write_bytes(picture(face))
    lines = (f"{number}.png,person-{number},{SAID}" for number in range(N))
    (tmp_path / "g.csv").write_text("\n".join([HEADER, *lines]))

    with start(tmp_path) as first:
        assert first.stdout
        for _ in range(chunks):
            first.stdout.readline()
        first.send_signal(signal.SIGKILL)
    with start(tmp_path) as second:
        assert second.stdout
        said = Counter(json.loads(second.stdout.read().splitlines()[-1]))

    published = [ReferenceSubmitted.model_validate_json(line) for line in lines_of(tmp_path / "published.jsonl")]
    assert said["skipped"] >= (chunks - 1) * CHUNK_FILES
    assert said["accepted"] + said["skipped"] == N
    assert len({event.event_id for event in published}) == N
    assert len(published) <= N + CHUNK_FILES, "at most what was said and not yet noted is said again"
    await nothing_is_doubled(tmp_path, published)


def lines_of(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


async def nothing_is_doubled(folder: Path, published: Sequence[ReferenceSubmitted]) -> None:
    """Let the stage hear all that was said, twice where it was said twice."""
    here = House()
    async with FileBlobs(folder / "blobs", "rfr") as blobs:
        here.blobs = cast(MemoryBlobs, blobs)
        for begin in range(0, len(published), 64):
            assert set(await here.enrol(*published[begin : begin + 64])) == {None}
    embedder = here.vision.embedder.identity
    assert await here.gallery.size(GalleryName.CUSTODY, embedder=embedder) == N
    ids: list[UUID] = [event.reference_id for event in published]
    assert len(await here.ledger.held(ids)) == N
