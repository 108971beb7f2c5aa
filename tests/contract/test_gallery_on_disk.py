"""What the embedded gallery promises beyond the law of galleries: one owner, nothing lost, nothing left."""

import asyncio
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from uuid import UUID

import builders
import numpy as np
import pytest

from rfr_stream.adapters.qdrant.edge import EdgeGallery
from rfr_stream.errors import RfrError
from rfr_stream.events import GalleryName, derive_id
from rfr_stream.ports import Templates

CUSTODY = GalleryName.CUSTODY
OURS = builders.identity("ours", dimension=64)
THEIRS = builders.identity("theirs", dimension=32)


def refs(n: int) -> list[UUID]:
    return [derive_id("reference", i) for i in range(n)]


def faces(n: int, dimension: int = 64) -> Templates:
    """Return float32 [N, D], uniform on the sphere; the same in every process."""
    rows = np.random.default_rng(0).standard_normal((n, dimension))
    templates: Templates = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return templates


async def finds(gallery: EdgeGallery, templates: Templates, ids: list[UUID]) -> bool:
    """Whether each template finds its own id first."""
    answers = await gallery.search(CUSTODY, templates, embedder=OURS, limit=1, threshold=0.999)
    return [hit.reference_id for hits in answers for hit in hits] == ids


@contextmanager
def process(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a function of this file in a Python of its own; it is gone at the end."""
    code = f"import asyncio, sys, test_gallery_on_disk as here; asyncio.run(here.{script}(*sys.argv[1:]))"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


# --- one owner ------------------------------------------------------------------------------------------------------
async def hold(directory: str) -> None:
    """In a process of its own: own the gallery until killed."""
    async with EdgeGallery(Path(directory), OURS):
        print("open", flush=True)  # noqa: T201 - tells the test
        await asyncio.sleep(60)


async def test_a_second_process_is_told_who_owns_the_gallery_and_what_to_do(tmp_path: Path) -> None:
    with process("hold", tmp_path) as owner:
        assert line(owner) == "open"
        with pytest.raises(RfrError, match=rf"in use by process {owner.pid}.*`rfr up`.*RFR_GALLERY__URL"):
            async with EdgeGallery(tmp_path, OURS):
                pass


async def test_a_second_gallery_of_the_same_process_is_refused_too(tmp_path: Path) -> None:
    async with EdgeGallery(tmp_path, OURS):
        with pytest.raises(RfrError, match=f"in use by process {os.getpid()}"):
            async with EdgeGallery(tmp_path, THEIRS):
                pass


async def test_ownership_ends_with_the_owner_even_when_it_is_killed(tmp_path: Path) -> None:
    with process("hold", tmp_path) as owner:
        assert line(owner) == "open"
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    async with EdgeGallery(tmp_path, OURS) as gallery:
        assert await gallery.size(CUSTODY, embedder=OURS) == 0


async def test_a_gallery_that_was_refused_leaves_the_owner_untouched(tmp_path: Path) -> None:
    async with EdgeGallery(tmp_path, OURS) as owner:
        await owner.enrol(CUSTODY, refs(5), faces(5), embedder=OURS)
        for _ in range(3):
            with pytest.raises(RfrError):
                await EdgeGallery(tmp_path, OURS).__aenter__()
        assert await finds(owner, faces(5), refs(5))


# --- nothing lost ---------------------------------------------------------------------------------------------------
async def load(directory: str) -> None:
    """In a process of its own: enrol seven at a time, and say how many are in each time that returns."""
    ids, templates = refs(20_000), faces(20_000)
    async with EdgeGallery(Path(directory), OURS) as gallery:
        for end in range(await gallery.size(CUSTODY, embedder=OURS), 20_000, 7):
            await gallery.enrol(CUSTODY, ids[end : end + 7], templates[end : end + 7], embedder=OURS)
            print(end + 7, flush=True)  # noqa: T201 - the acknowledgement


async def test_a_kill_in_mid_load_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    ids, templates = refs(20_000), faces(20_000)
    for acknowledgements in (1, 13, 40, 77, 120):
        with process("load", tmp_path) as loader:
            acknowledged = [int(line(loader)) for _ in range(acknowledgements)][-1]
            loader.send_signal(signal.SIGKILL)
            loader.wait()
        async with EdgeGallery(tmp_path, OURS) as gallery:
            assert await gallery.size(CUSTODY, embedder=OURS) >= acknowledged
            assert await finds(gallery, templates[:acknowledged], ids[:acknowledged])


# --- nothing left ---------------------------------------------------------------------------------------------------
def collections(directory: Path) -> list[Path]:
    return sorted(directory.glob("rfr-*"))


def entries(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


def holds_bytes(directory: Path, template: Templates) -> bool:
    """Whether any file holds the template as the engine writes it: raw in segments, CBOR in the write-ahead log."""
    raw = template.tobytes()
    cbor = b"".join(b"\xfa" + struct.pack(">f", number) for number in template.ravel().tolist())
    files = (file.read_bytes() for file in directory.rglob("*") if file.is_file())
    return any(raw in held or cbor in held for held in files)


async def test_compacting_removes_the_bytes_of_what_was_erased_and_nothing_else(tmp_path: Path) -> None:
    templates = faces(1_200)
    async with EdgeGallery(tmp_path, OURS) as gallery:
        await gallery.enrol(CUSTODY, refs(1_200), templates, embedder=OURS)
        await gallery.erase(CUSTODY, refs(1_200)[:2])
        assert holds_bytes(tmp_path, templates[0])  # erasing alone is a mark
        await gallery.compact()
        assert not holds_bytes(tmp_path, templates[0])
        assert not holds_bytes(tmp_path, templates[1])
        assert await finds(gallery, templates[2:], refs(1_200)[2:])
        assert await gallery.size(CUSTODY, embedder=OURS) == 1_198
    assert not holds_bytes(tmp_path, templates[0])
    async with EdgeGallery(tmp_path, OURS) as gallery:
        assert await finds(gallery, templates[2:], refs(1_200)[2:])


async def test_compacting_removes_the_bytes_of_what_was_replaced(tmp_path: Path) -> None:
    old, new = faces(2)[:1], faces(2)[1:]
    async with EdgeGallery(tmp_path, OURS) as gallery:
        await gallery.enrol(CUSTODY, refs(1), old, embedder=OURS)
        await gallery.enrol(CUSTODY, refs(1), new, embedder=OURS)
        assert holds_bytes(tmp_path, old)
        await gallery.compact()
        assert not holds_bytes(tmp_path, old)
        assert await finds(gallery, new, refs(1))


async def test_compacting_reaches_the_templates_of_other_embedders(tmp_path: Path) -> None:
    templates = faces(50, 32)
    async with EdgeGallery(tmp_path, THEIRS) as gallery:
        await gallery.enrol(CUSTODY, refs(50), templates, embedder=THEIRS)
    async with EdgeGallery(tmp_path, OURS) as gallery:
        await gallery.erase(CUSTODY, refs(1))
        assert holds_bytes(tmp_path, templates[0])
        await gallery.compact()
    assert not holds_bytes(tmp_path, templates[0])
    assert holds_bytes(tmp_path, templates[1])


async def test_compacting_leaves_alone_what_has_nothing_to_remove(tmp_path: Path) -> None:
    async with EdgeGallery(tmp_path, OURS) as gallery:
        await gallery.enrol(CUSTODY, refs(5), faces(5), embedder=OURS)
        before = entries(tmp_path)
        await gallery.compact()
        assert entries(tmp_path) == before


async def test_searches_go_on_while_the_gallery_is_compacted(tmp_path: Path) -> None:
    templates = faces(4_000)
    async with EdgeGallery(tmp_path, OURS) as gallery:
        await gallery.enrol(CUSTODY, refs(4_000), templates, embedder=OURS)
        await gallery.erase(CUSTODY, refs(1))
        compaction = asyncio.create_task(gallery.compact())
        during = 0
        while not compaction.done():
            assert await finds(gallery, templates[during + 1 : during + 2], [refs(4_000)[during + 1]])
            during += 1
        await compaction
    assert during >= 4


async def compact_and_die(directory: str, step: str) -> None:
    """In a process of its own: compact, and be killed just before the given step on the file system."""
    async with EdgeGallery(Path(directory), OURS) as gallery:
        steps = count(1)

        def audit(event: str, arguments: tuple[object, ...]) -> None:
            touches = event in {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "open"}
            if touches and directory in str(arguments[0]) and next(steps) == int(step):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(audit)
        await gallery.compact()
        print("compacted", flush=True)  # noqa: T201 - tells the test
        os.kill(os.getpid(), signal.SIGKILL)


async def test_a_kill_at_any_step_of_compaction_leaves_a_whole_gallery(tmp_path: Path) -> None:
    templates, ids = faces(30), refs(30)
    async with EdgeGallery(tmp_path, OURS) as gallery:
        await gallery.enrol(CUSTODY, ids, templates, embedder=OURS)
    erased = 0
    for step in range(1, 60):
        async with EdgeGallery(tmp_path, OURS) as gallery:
            if erased < 20:
                await gallery.erase(CUSTODY, ids[erased : erased + 1])
                erased += 1
            assert await finds(gallery, templates[erased:], ids[erased:])
            assert await gallery.size(CUSTODY, embedder=OURS) == 30 - erased
            [collection] = collections(tmp_path)
            assert [entry.name for entry in collection.iterdir() if entry.is_dir()] == [
                (collection / "CURRENT").read_text()
            ]
        with process("compact_and_die", tmp_path, step) as child:
            said = line(child)
            child.wait()
        if said == "compacted":
            break
    assert 6 < step < 59
    assert not any(holds_bytes(tmp_path, template) for template in templates[:erased])


async def test_a_damaged_gallery_is_refused_and_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    async with EdgeGallery(tmp_path, OURS) as gallery:
        await gallery.enrol(CUSTODY, refs(5), faces(5), embedder=OURS)
    [collection] = collections(tmp_path)
    (collection / "CURRENT").unlink()
    with pytest.raises(RfrError, match="CURRENT"):
        await EdgeGallery(tmp_path, OURS).__aenter__()
    assert holds_bytes(tmp_path, faces(1)[0])


# --- the same answer ------------------------------------------------------------------------------------------------
async def test_a_probe_gets_in_any_batch_the_very_hits_it_gets_alone(tmp_path: Path) -> None:
    rows = faces(5_070)
    templates, probes = rows[:5_000], rows[5_000:]
    async with EdgeGallery(tmp_path, OURS) as gallery:
        await gallery.enrol(CUSTODY, refs(5_000), templates, embedder=OURS)
        ask = partial(gallery.search, CUSTODY, embedder=OURS, limit=10, threshold=-1.0)
        together = await ask(probes)
        assert (await ask(probes[::-1]))[::-1] == together
        assert [hits for probe in probes for hits in await ask(probe[np.newaxis])] == together


# --- the event loop -------------------------------------------------------------------------------------------------
async def test_the_event_loop_turns_while_a_long_batch_is_searched(tmp_path: Path) -> None:
    templates = faces(6_000)
    stood_s = [0.0]

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            stood_s.append(time.perf_counter() - before)

    async with EdgeGallery(tmp_path, OURS) as gallery:
        await gallery.enrol(CUSTODY, refs(6_000), templates, embedder=OURS)
        watching = asyncio.create_task(watch())
        began = time.perf_counter()
        await gallery.search(CUSTODY, templates, embedder=OURS, limit=10, threshold=0.5)
        took_s = time.perf_counter() - began
        watching.cancel()
    assert max(stood_s) < took_s / 5  # in one piece it would be all of it
