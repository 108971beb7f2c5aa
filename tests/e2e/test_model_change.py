"""From one model to another on real adapters: what is served, what is lost, and what happens to whoever comes and goes.

With the embedded gallery by the commands, the house being down; with a server, of which the client library's own
stand-in takes the place, while searches and enrolments go on.
"""

import asyncio
import csv
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import builders
import numpy as np
import other_pack
import pytest
from PIL import Image
from qdrant_client import AsyncQdrantClient

from rfr_stream import stages
from rfr_stream.__main__ import main
from rfr_stream.adapters import opening
from rfr_stream.adapters.qdrant.server import QdrantGallery
from rfr_stream.commands import _context
from rfr_stream.errors import Unavailable
from rfr_stream.events import (
    CandidatesReady,
    FaceDetected,
    FaceEmbedded,
    GalleryName,
    ImageSubmitted,
    Purpose,
    ReferenceSubmitted,
)
from rfr_stream.ports import BlobStore, Ledger, NewBlob, Served, Vision
from rfr_stream.settings import GallerySettings, Settings

# The stand-in scans exactly, whatever it is asked, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")

CUSTODY: Final = GalleryName.CUSTODY
RULES: Final = stages.ReferenceRules(min_score=0.5, max_image_bytes=2**20, batch_items=4)
SCRIPT: Final = Path(other_pack.__file__)


@pytest.fixture(autouse=True)
def two_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the second pack be known, and the first one serve."""
    for module, name, value in other_pack.installed():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setenv("RFR_VISION__PACK", "null")
    monkeypatch.setenv("RFR_PIPELINE__BATCH_ITEMS", "4")
    monkeypatch.setattr(_context.CONSOLE, "_width", 200)


# --- pictures ---------------------------------------------------------------------------------------------------------
def picture(seed: int, *, wide: bool = False) -> Image.Image:
    """Return noise; every level lies well within one of four, so that a little more noise moves none to the next."""
    levels = np.random.default_rng(seed).integers(0, 4, (48, 64 if wide else 48, 3)) * 64 + 32
    return Image.fromarray(levels.astype(np.uint8))


def file_of(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def noisy(image: Image.Image) -> Image.Image:
    """Return the picture with a little noise: another one to `null`, and the same to the other model."""
    noise = np.random.default_rng(1).integers(1, 5, np.asarray(image).shape)
    return Image.fromarray((np.asarray(image) + noise).astype(np.uint8))


# --- an installation --------------------------------------------------------------------------------------------------
@dataclass
class At:
    """An installation with one model, and its stages."""

    vision: Vision
    blobs: BlobStore
    ledger: Ledger
    gallery: opening.OpenGallery
    lookout: stages.Lookout

    async def enrol(self, *events: ReferenceSubmitted) -> None:
        results = await stages.enrol(
            events,
            blobs=self.blobs,
            codec=self.vision.codec,
            detector=self.vision.detector,
            aligner=self.vision.aligner,
            embedder=self.vision.embedder,
            gallery=self.gallery,
            references=self.ledger,
            lookout=self.lookout,
            standing=stages.StandingRules(0.99, timedelta(0)),
            min_score=0.5,
            max_image_bytes=2**20,
            conflict_threshold=0.999,
            notice=lambda _: None,
            clock=lambda: datetime.now(UTC),
        )
        assert results == [None for _ in events]

    async def erase(self, *events: ReferenceSubmitted) -> None:
        ends = list(map(builders.erased, events))
        await stages.erase(ends, blobs=self.blobs, gallery=self.gallery, references=self.ledger)

    async def reference(self, person_id: str, image: Image.Image) -> ReferenceSubmitted:
        now, data = datetime.now(UTC), file_of(image)
        digest = sha256(data).hexdigest()
        reference_id = ReferenceSubmitted.derive(person_id, CUSTODY, digest)
        (ref,) = await self.blobs.put([NewBlob(f"references/{reference_id}/{digest}", data, "image/png")])
        return ReferenceSubmitted(
            occurred_at=now,
            reference_id=reference_id,
            person_id=person_id,
            gallery=CUSTODY,
            image=ref,
            hold=builders.hold_record(captured_at=now - timedelta(days=1), review_due=now + timedelta(days=1)),
            submitted_by="officer-1",
        )

    async def people(self, first: int, count: int) -> list[ReferenceSubmitted]:
        events = [await self.reference(f"person-{n}", picture(n)) for n in range(first, first + count)]
        await self.enrol(*events)
        return events

    async def embedded(self, image: Image.Image, **asked: Any) -> FaceEmbedded:  # noqa: ANN401 - any field of the contract
        data = file_of(image)
        (ref,) = await self.blobs.put([NewBlob(f"originals/{sha256(data).hexdigest()}", data, "image/png")])
        submitted = builders.image_submitted(builders.submission(image=ref, **asked))
        return await self.embedded_again(submitted)

    async def embedded_again(self, submitted: ImageSubmitted) -> FaceEmbedded:
        now, codec = datetime.now(UTC), self.vision.codec
        rules = stages.ProbeRules(1.0, 0.5, 2**20)
        (detected,) = await stages.detect(
            [submitted],
            blobs=self.blobs,
            codec=codec,
            detector=self.vision.detector,
            aligner=self.vision.aligner,
            rules=rules,
            now=now,
        )
        assert isinstance(detected, FaceDetected)
        (embedded,) = await stages.embed(
            [detected], blobs=self.blobs, codec=codec, embedder=self.vision.embedder, now=now
        )
        assert isinstance(embedded, FaceEmbedded)
        return embedded

    async def searched(self, *probes: FaceEmbedded, serving: bool = True) -> list[list[str]]:
        """Search as the stage does, which holds to the model that serves."""
        served, ours = await self.ledger.served(), self.vision.embedder.identity
        if serving:
            stages.require_serving(served, ours)
        rules = stages.SearchRules(self.vision.threshold, 5, 3)
        by_model = {each.embedder: replace(rules, threshold=each.threshold) for each in served} | {ours: rules}
        for embedder in by_model:
            await self.gallery.open_for(embedder)

        async def search(batch: Sequence[FaceEmbedded], embedder: object, how: stages.SearchRules) -> Sequence[object]:
            return await stages.search(
                batch,
                blobs=self.blobs,
                gallery=self.gallery,
                references=self.ledger,
                standing=self.ledger,
                embedder=embedder,  # type: ignore[arg-type]  # as the caller has it
                rules=how,
                now=datetime.now(UTC),
            )

        found = await stages.search_by_model(probes, by_model, ours, search)
        assert all(isinstance(each, CandidatesReady) for each in found), found
        return [[one.person_id for one in each.candidates] for each in found if isinstance(each, CandidatesReady)]

    async def found(self, image: Image.Image) -> list[str]:
        return (await self.searched(await self.embedded(image)))[0]


def settings_of(folder: Path, pack: str) -> Settings:
    return Settings.model_validate({"data_dir": folder, "vision": {"pack": pack}})


@asynccontextmanager
async def at(folder: Path, pack: str = "null", gallery: opening.OpenGallery | None = None) -> AsyncIterator[At]:
    """Open the installation with one model."""
    settings = settings_of(folder, pack)
    vision = opening.vision(settings)
    async with (
        opening.ledger(settings) as ledger,
        opening.blobs(settings) as blobs,
        vision,
        gallery or opening.gallery(settings, vision) as opened,
    ):
        yield At(vision, blobs, ledger, opened, stages.Lookout(blobs, ledger))


def rfr(folder: Path, *words: str, status: int = 0) -> str:
    """Run one command; return what it said."""
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as left:
        main(["--data-dir", str(folder), "gallery", "migrate", *words])
    assert (left.value.code or 0) == status, said.getvalue()
    return said.getvalue()


def enrolled(folder: Path, count: int, *, wide: int = 0) -> list[ReferenceSubmitted]:
    """Make an installation of so many people, and of some whom the other model sees no face of."""

    async def make() -> list[ReferenceSubmitted]:
        async with at(folder) as here:
            events = await here.people(0, count)
            broad = [await here.reference(f"wide-{n}", picture(1000 + n, wide=True)) for n in range(wide)]
            await here.enrol(*broad)
            return [*events, *broad]

    return asyncio.run(make())


async def templates(here: At, pack: str) -> set[UUID]:
    embedder = opening.vision(settings_of(Path(), pack), load=()).embedder.identity
    await here.gallery.open_for(embedder)
    return set(await here.gallery.page(CUSTODY, embedder=embedder))


# --- by the commands --------------------------------------------------------------------------------------------------
def test_a_migration_that_was_killed_goes_on_where_it_was_and_doubles_nothing(tmp_path: Path) -> None:
    events = enrolled(tmp_path, 40)
    notes = tmp_path / "notes"
    command = [sys.executable, str(SCRIPT), "0.2", str(notes), "--data-dir", str(tmp_path), "gallery", "migrate"]
    killed = subprocess.Popen([*command, "--to", "other"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(embedded_of(notes)) < 4:  # the proof on a test card, and three batches
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)
    before_n = asyncio.run(_count(tmp_path))
    assert 0 < before_n < 40
    notes.unlink()
    subprocess.run([*command[:2], "0", *command[3:], "--to", "other"], check=True, stdout=subprocess.DEVNULL)
    assert sum(embedded_of(notes)) == 1 + 40 - before_n

    async def ids() -> set[UUID]:
        async with at(tmp_path) as here:
            return await templates(here, "other")

    assert asyncio.run(ids()) == {event.reference_id for event in events}


def embedded_of(notes: Path) -> list[int]:
    return [int(line) for line in notes.read_text().split()] if notes.exists() else []


async def _count(folder: Path) -> int:
    async with at(folder) as here:
        return len(await templates(here, "other"))


def test_whom_the_new_model_refuses_is_listed_and_nothing_is_switched_unless_that_many_are_accepted(
    tmp_path: Path,
) -> None:
    *_, first, second = enrolled(tmp_path, 3, wide=2)
    assert "3 templates of the pack other; 2 references without one." in rfr(tmp_path, "--to", "other")
    with (tmp_path / "gallery-migration.csv").open() as report:
        rows = list(csv.DictReader(report))
    assert {row["reference"] for row in rows} == {str(each.reference_id) for each in (first, second)}
    assert all(row["gallery"] == "custody" and "faces found: 0" in row["reason"] for row in rows)
    for accepted in ((), ("--accept-missing", "1")):
        said = rfr(tmp_path, "--to", "other", "--switch", *accepted, status=1)
        assert "2 references would be lost to every search" in said
    assert asyncio.run(_found(tmp_path, "null", picture(1))) == ["person-1"]
    assert "serves now" in rfr(tmp_path, "--to", "other", "--switch", "--accept-missing", "2")


async def _found(folder: Path, pack: str, image: Image.Image) -> list[str]:
    async with at(folder, pack) as here:
        return await here.found(image)


def test_there_and_back_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enrolled(tmp_path, 5)
    rfr(tmp_path, "--to", "other")
    probe = noisy(picture(2))
    assert asyncio.run(_found(tmp_path, "null", probe)) == []
    rfr(tmp_path, "--to", "other", "--switch")

    # Nobody works with the model before, and no command takes its settings.
    with pytest.raises(Unavailable, match="served by the pack other"):
        asyncio.run(_found(tmp_path, "null", probe))
    assert "served by the pack other" in rfr(tmp_path, "--to", "null", "--switch", status=1)
    assert asyncio.run(_found(tmp_path, "other", probe)) == ["person-2"]
    monkeypatch.setenv("RFR_VISION__PACK", "other")
    assert "serves already" in rfr(tmp_path, "--to", "other", "--switch", status=1)

    async def come_and_go() -> None:
        async with at(tmp_path, "other") as here:
            (gone,) = await here.people(0, 1)
            await here.erase(gone)
            await here.enrol(await here.reference("late", picture(77)))

    asyncio.run(come_and_go())
    said = rfr(tmp_path, "--back")
    assert "1 references have no template of the model that served before." in said
    assert asyncio.run(_found(tmp_path, "null", picture(77))) == ["late"]
    assert asyncio.run(_found(tmp_path, "null", picture(0))) == []
    monkeypatch.setenv("RFR_VISION__PACK", "null")

    assert "Only the templates of the pack null" in rfr(tmp_path, "--finish")
    assert [path.name for path in (tmp_path / "gallery").iterdir() if "coarse" in path.name] == []
    assert "no model served before" in rfr(tmp_path, "--back", status=1)
    assert asyncio.run(_found(tmp_path, "null", picture(2))) == ["person-2"]


def test_a_migration_can_be_given_up_and_until_then_no_stage_starts_with_its_model(tmp_path: Path) -> None:
    enrolled(tmp_path, 2)
    assert "nothing says which templates are to stay" in rfr(tmp_path, "--finish", status=1)
    rfr(tmp_path, "--to", "other")
    with pytest.raises(Unavailable, match="served by the pack null"):
        asyncio.run(_found(tmp_path, "other", picture(1)))
    assert asyncio.run(_count(tmp_path)) == 2
    rfr(tmp_path, "--finish")
    assert asyncio.run(_count(tmp_path)) == 0
    assert asyncio.run(_found(tmp_path, "null", picture(1))) == ["person-1"]


def test_what_two_models_find_is_told_in_figures(tmp_path: Path) -> None:
    enrolled(tmp_path, 6, wide=1)
    rfr(tmp_path, "--to", "other")
    probes = tmp_path / "probes"
    probes.mkdir()
    shown = {
        "same-0": ("person-0", picture(0)),
        "same-1": ("person-1", picture(1)),
        "noisy-2": ("person-2", noisy(picture(2))),  # gained
        "noisy-3": ("person-3", noisy(picture(3))),  # gained
        "wide": ("wide-0", picture(1000, wide=True)),  # lost, and no face to search with
        "stranger": ("", picture(555)),
        "unknown": ("", picture(4)),
    }
    for name, (_, image) in shown.items():
        image.save(probes / f"{name}.png")
    manifest = probes / "probes.csv"
    manifest.write_text("path,person\n" + "".join(f"{name}.png,{person}\n" for name, (person, _) in shown.items()))
    said = rfr(tmp_path, "--to", "other", "--compare", "--probes", str(manifest))
    assert "7 probes, of 5 it is known whom they show." in said
    assert "Of 6 for which either lists somebody, 3 have the same person first." in said
    assert "2 candidates gained and 1 lost" in said
    assert _row(said, "threshold") == ["0.99", "0.9"]
    assert _row(said, "probes that could not be searched") == ["0", "1"]
    assert _row(said, "mates first on the list") == ["3", "4"]
    assert _row(said, "FNIR") == ["0.4000", "0.2000"]
    assert not any(person in said for person, _ in shown.values() if person)


def _row(said: str, name: str) -> list[str]:
    (line,) = (line for line in said.splitlines() if line.strip("│ ").startswith(name))
    return [cell.strip() for cell in line.replace("│", "|").split("|") if cell.strip()][1:]


def test_folders_say_whom_probes_show(tmp_path: Path) -> None:
    enrolled(tmp_path, 2)
    rfr(tmp_path, "--to", "other")
    (tmp_path / "probes" / "person-1").mkdir(parents=True)
    picture(1).save(tmp_path / "probes" / "person-1" / "a.png")
    picture(9).save(tmp_path / "probes" / "b.png")
    said = rfr(tmp_path, "--to", "other", "--compare", "--probes", str(tmp_path / "probes"))
    assert "2 probes, of 1 it is known whom they show." in said
    assert _row(said, "FNIR") == ["0.0000", "0.0000"]


# --- while the house is up ------------------------------------------------------------------------------------------
class StandIn(AsyncQdrantClient):
    """The client library's own stand-in for a server: the same API, in memory."""

    async def close(self, grpc_grace: float | None = None, **_: object) -> None:
        """Keep everything, as a server does when a client leaves."""


@dataclass
class Server:
    """An installation whose gallery is on a server, which several processes share."""

    folder: Path
    client: StandIn

    def at(self, pack: str) -> AbstractAsyncContextManager[At]:
        vision = opening.vision(settings_of(self.folder, pack), load=())
        gallery = QdrantGallery(GallerySettings(), vision.embedder.identity, connect=lambda _: self.client)
        return at(self.folder, pack, gallery)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path, StandIn(location=":memory:"))


async def test_the_house_serves_enrols_and_erases_while_another_model_is_made_ready(server: Server) -> None:
    async with server.at("null") as here, server.at("other") as there:
        first = await here.people(0, 10)
        migration = stages.Migration(
            blobs=there.blobs, vision=there.vision, gallery=there.gallery, references=there.ledger, rules=RULES
        )
        seen = await there.ledger.extent()
        passing = migration.catch_up()
        looked_n = 0
        while looked_n < 4:  # one batch of four is over
            looked_n += await anext(passing)
        page = sorted(event.reference_id for event in first)
        by_id = {event.reference_id: event for event in first}
        done, to_come = by_id[page[0]], by_id[page[-1]]
        await here.erase(done, to_come)
        late = await here.people(50, 3)
        restricted = by_id[page[1]]
        hold = restricted.hold.model_copy(update={"restricted": True})
        await here.enrol(restricted.model_copy(update={"hold": hold, "occurred_at": datetime.now(UTC)}))
        assert await here.found(picture(51)) == ["person-51"]
        async for _ in passing:
            pass
        await migration.sweep()

        old, new = served(here, "null"), served(there, "other")
        assert not await there.ledger.serve(new, old, seen=seen), "somebody came and went meanwhile"
        while not await there.ledger.serve(new, old, seen=seen):
            seen = await there.ledger.extent()
            async for _ in migration.catch_up():
                pass
            await migration.sweep()

        assert migration.lacking == []
        expected = {*by_id, *(event.reference_id for event in late)} - {done.reference_id, to_come.reference_id}
        assert await templates(there, "other") == await templates(there, "null") == expected
        assert await there.found(noisy(picture(52))) == ["person-52"]
        number = int(restricted.person_id.split("-")[1])
        assert await there.found(noisy(picture(number))) == [], "a hold record counts whatever model found the image"


def served(here: At, pack: str) -> Served:
    return Served(pack, here.vision.embedder.identity, here.vision.threshold, datetime.now(UTC))


async def _switched(here: At, there: At) -> None:
    migration = stages.Migration(
        blobs=there.blobs, vision=there.vision, gallery=there.gallery, references=there.ledger, rules=RULES
    )
    seen = await there.ledger.extent()
    async for _ in migration.catch_up():
        pass
    assert await there.ledger.serve(served(there, "other"), served(here, "null"), seen=seen)


async def test_a_template_on_its_way_is_searched_among_its_own_models(server: Server) -> None:
    async with server.at("null") as here, server.at("other") as there:
        await here.people(0, 3)
        late = [await here.embedded(picture(1)), await here.embedded(noisy(picture(2)))]
        await _switched(here, there)
        new = await there.embedded(noisy(picture(2)), case_ref="case-2")
        # The old model does not find what noise hides: its templates were searched with its own, at its threshold.
        assert await there.searched(late[0], new, late[1]) == [["person-1"], ["person-2"], []]


async def test_whoever_is_still_sought_is_sought_with_the_new_model(server: Server) -> None:
    async with server.at("null") as here, server.at("other") as there:
        probe = await here.embedded(picture(7), purpose=Purpose.MISSING)
        assert await here.searched(probe) == [[]]
        await _switched(here, there)
        (owed,) = await there.ledger.unpublished(9)
        assert isinstance(owed.event, ImageSubmitted)
        await there.searched(await there.embedded_again(owed.event))
        now, about = datetime.now(UTC), probe.submission.submission_id
        assert await there.ledger.standing(there.vision.embedder.identity, now) == {about}
        await there.people(7, 1)
        assert await there.ledger.renew(people_n=5, now=now + timedelta(minutes=1)) == 0, (
            "its own list is not there yet"
        )
        met = await there.ledger.stood()
        assert [each.probe.template.embedder for each in met] == [there.vision.embedder.identity]


async def hold_blank(ledger: Ledger, probe: FaceEmbedded) -> None:
    """Let the probe's own list be held, which named nobody."""
    blank = builders.candidates_ready(people=(), about=probe.submission)
    assert await stages.hold([blank], ledger=ledger, now=datetime.now(UTC)) == [None]
