"""What was erased is on no disk any more: not in the vector store, not in the blob store, not in the ledger."""

import shutil
import sqlite3
import struct
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import builders
import pytest
from house import FakeVision, House, picture

from rfr_stream import stages
from rfr_stream.adapters.files import FileBlobs
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.memory.vision import FakeEmbedder, PlantedFace
from rfr_stream.adapters.qdrant.edge import EdgeGallery
from rfr_stream.commands import operations
from rfr_stream.events import ReferenceSubmitted
from rfr_stream.faces import ImageHwc
from rfr_stream.ports import Conflict, Meeting, Templates
from rfr_stream.settings import Settings

ANNA, BERT = PlantedFace("anna"), PlantedFace("bert")


@dataclass
class KeepingEmbedder(FakeEmbedder):
    """Lets the test keep what it must look for."""

    chips: list[ImageHwc] = field(default_factory=list)
    templates: list[Templates] = field(default_factory=list)

    async def embed(self, chips: Sequence[ImageHwc]) -> Templates:
        templates = await super().embed(chips)
        self.chips += chips
        self.templates += list(templates)
        return templates


def traces(event: ReferenceSubmitted, file: bytes, chip: ImageHwc, template: Templates) -> dict[str, bytes]:
    """Return all that could tell of this reference, as it would stand in a file."""
    numbers = template.ravel().tolist()
    return {
        "image": file,
        "crop": chip.tobytes(),
        "template, in segments": template.tobytes(),
        "template, in the write-ahead log": b"".join(b"\xfa" + struct.pack(">f", number) for number in numbers),
        "person": event.person_id.encode(),
        "digest of the image": event.image.sha256.encode(),
    }


def left(folder: Path, wanted: dict[str, bytes]) -> set[str]:
    """Return which of these any file of the folder holds, in its bytes or its name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    held = [path.read_bytes() + str(path).encode() for path in files]
    return {name for name, trace in wanted.items() if any(trace in data for data in held)}


def rows_about(ledger: Path, event: ReferenceSubmitted) -> set[str]:
    """Return which tables have a row in which this reference's id stands."""
    with closing(sqlite3.connect(ledger)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        spelled = {event.reference_id.hex, str(event.reference_id)}
        return {
            table
            for table in tables
            for row in connection.execute(f"SELECT * FROM {table}")  # noqa: S608 - the database's own names
            if any(spelling in str(cell) for cell in row for spelling in spelled)
        }


@pytest.mark.parametrize("killed", [False, True])
async def test_after_erasing_and_compacting_no_byte_of_a_reference_is_on_the_disk(
    tmp_path: Path, *, killed: bool
) -> None:
    house = tmp_path / "house"
    settings = Settings(data_dir=house)
    embedder = KeepingEmbedder()
    async with AsyncExitStack() as stack:
        ports: dict[str, Any] = {
            "blobs": await stack.enter_async_context(FileBlobs(settings.blobs_dir, "rfr")),
            "ledger": await stack.enter_async_context(SqlLedger(f"sqlite:///{house / 'ledger.db'}")),
            "gallery": await stack.enter_async_context(EdgeGallery(settings.gallery_dir, embedder.identity)),
        }
        here = House(vision=FakeVision(embedder=embedder), **ports)
        anna = await here.referenced(ANNA, person_id="person-anna")
        bert = await here.referenced(BERT, person_id="person-bert")
        twin = await here.referenced(PlantedFace("anna", x=60), person_id="person-anna-again")
        assert await here.enrol(anna, bert, twin) == [None, None, None]
        of_anna = traces(anna, picture(ANNA), embedder.chips[0], embedder.templates[0])
        of_bert = traces(bert, picture(BERT), embedder.chips[1], embedder.templates[1])
        for wanted in (of_anna, of_bert):
            assert left(house, wanted) >= {"image", "template, in segments", "person", "digest of the image"}
        assert {"held_references", "conflicts"} <= rows_about(house / "ledger.db", anna)

        ends = [builders.erased(anna), builders.erased(twin)]  # the twin has the same template
        assert await here.erase(*ends) == [None, None]
        assert "template, in segments" in left(house, of_anna), "erasing alone is a mark"
        if killed:  # as a power cut leaves it: nothing was closed, and the ledger's log was not put away
            house = shutil.copytree(house, tmp_path / "killed")
            assert "person" in left(house, of_anna)

    await operations._compact(Settings(data_dir=house))  # noqa: SLF001 - `rfr gallery compact`
    assert left(house, of_anna) == set()
    assert rows_about(house / "ledger.db", anna) == {"erased_references"}
    assert left(house, of_bert) >= {"image", "template, in segments", "person", "digest of the image"}


async def test_what_still_comes_of_an_erased_reference_is_not_noted(tmp_path: Path) -> None:
    """By an enrolment that had it in hand, and has found its record and its likes before it was erased."""
    event, other = builders.reference_submitted("person-1"), builders.reference("person-2")
    held = stages.as_held(event)
    async with SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        await ledger.stand([builders.face_embedded()], builders.LATER)
        await ledger.erase([event.reference_id])
        await ledger.hold([held])
        await ledger.report([Conflict.between(held, other, 0.9)])
        probe = builders.face_embedded().submission.submission_id
        await ledger.meet([Meeting(probe, event.reference_id, event.person_id, 0.9)], builders.NOW)
    assert rows_about(tmp_path / "ledger.db", event) == {"erased_references"}
