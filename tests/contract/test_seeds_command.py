"""`rfr seeds`, on a data directory: what is planted stays here, and what is listed is numbers."""

import asyncio
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Final

import builders
import pytest

from rfr_stream.__main__ import main
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.memory.vision import PlantedFace, plant_file
from rfr_stream.commands import _context
from rfr_stream.events import Event

REQUEST: Final = (
    *("--source", "officer", "--case", "case-77", "--purpose", "suspect", "--basis", "burglary", "--harm", "other"),
    *("--necessity", "Nobody on the street knew them, and there is no other image."),
    *("--origin", "cctv", "--obtained", "Seized from the shop's recorder.", "--exhibit", "AB/1"),
)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return an installation whose custody gallery holds person-1."""
    asyncio.run(_enrol(tmp_path))
    (tmp_path / "probe.png").write_bytes(plant_file(PlantedFace("adam")))
    return tmp_path


async def _enrol(data_dir: Path) -> None:
    async with SqlLedger(f"sqlite:///{data_dir / 'ledger.db'}") as ledger:
        await ledger.hold([builders.reference("person-1")])


async def _promised(data_dir: Path) -> list[Event]:
    async with SqlLedger(f"sqlite:///{data_dir / 'ledger.db'}") as ledger:
        return [owed.event for owed in await ledger.unpublished(10)]


def rfr(data_dir: Path, *arguments: str | Path, status: int = 0) -> str:
    """Run one command; return what it said."""
    said = StringIO()
    with redirect_stdout(said), pytest.raises(SystemExit) as left:
        main(["--data-dir", *map(str, (data_dir, *arguments))])
    assert left.value.code == status, said.getvalue()
    return said.getvalue()


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a table have the room that it asks for."""
    monkeypatch.setattr(_context.CONSOLE, "_width", 160)


def add(data_dir: Path, answer: str, by: str, status: int = 0) -> str:
    command = ("seeds", "add", data_dir / "probe.png", "--answer", answer, *REQUEST, "--by", by)
    return rfr(data_dir, *command, status=status)


def test_what_is_added_waits_and_is_sent_nowhere(data_dir: Path) -> None:
    assert "1 planted, 0 rejected" in add(data_dir, "person-1", "officer-1")
    assert "1 planted, 0 rejected" in add(data_dir, "nobody", "officer-2")

    assert asyncio.run(_promised(data_dir)) == []
    assert _cells(rfr(data_dir, "seeds", "list")) == [["officer", "suspect", "1", "1", "2", "100%", ""]]


def test_the_list_names_neither_a_case_nor_a_person(data_dir: Path) -> None:
    add(data_dir, "person-1", "officer-1")

    said = rfr(data_dir, "seeds", "list")

    assert not [secret for secret in ("person-1", "officer-1", "case-77", "probe.png") if secret in said]


def test_an_answer_that_nobody_could_give_is_a_sentence(data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    add(data_dir, "person-one", "officer-1", status=1)

    assert "none of the galleries that are searched holds this person" in capfd.readouterr().err


def _cells(table: str) -> Sequence[list[str]]:
    rows = [line for line in table.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]
