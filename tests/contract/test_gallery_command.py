"""`rfr gallery`: what whoever keeps the gallery can list, from an installation's own ledger."""

import asyncio
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from uuid import uuid4

import builders
import pytest

from rfr_stream.__main__ import main
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.commands import _context
from rfr_stream.events import Disposal
from rfr_stream.ports import Conflict


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a table have the room that it asks for."""
    monkeypatch.setattr(_context.CONSOLE, "_width", 240)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An installation that holds five people, three of whom may be searched."""
    asyncio.run(_hold(tmp_path))
    return tmp_path


async def _hold(folder: Path) -> None:
    due = datetime.now(UTC) + timedelta(days=1)
    people = [builders.reference(f"person-{number}", review_due=due, case_ref="arrest-1") for number in range(5)]
    people[1] = replace(people[1], restricted=True)
    async with SqlLedger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        await ledger.hold(people)
        await ledger.dispose([builders.case_disposed("person-2", Disposal.NO_FURTHER_ACTION)])
        await ledger.report([Conflict.between(people[3], people[4], 0.987)])


def rfr(folder: Path, *words: str) -> str:
    with StringIO() as said, redirect_stdout(said):
        with pytest.raises(SystemExit) as ended:
            main(["--data-dir", str(folder), *words])
        assert not ended.value.code
        return said.getvalue()


def test_what_is_held_and_not_searched_is_listed_with_what_is_to_become_of_it(folder: Path) -> None:
    said = rfr(folder, "gallery", "unsearched")
    lines = {name: line for line in said.splitlines() for name in ("person-1", "person-2") if name in line}
    assert "restricted" in lines["person-1"]
    assert "correct or renew its hold record" in lines["person-1"]
    assert "no_further_action" in lines["person-2"]
    assert "is to be deleted, unless" in lines["person-2"]
    assert "2 held and not searched." in said
    assert "person-3" not in said


def test_no_more_are_listed_than_were_asked_for(folder: Path) -> None:
    assert "1 held and not searched. There may be more" in rfr(folder, "gallery", "unsearched", "--limit", "1")


def test_of_one_person_all_that_is_held_is_listed_and_whether_it_is_searched(folder: Path) -> None:
    asyncio.run(_hold_another(folder, "person-2"))
    said = rfr(folder, "gallery", "list", "--person", "person-2")
    known = {
        words: line for line in said.splitlines() for words in ("no_further_action", "2999-01-31") if words in line
    }
    assert str(builders.reference("person-2").reference_id) in known["no_further_action"]
    assert "is to be deleted, unless" in known["no_further_action"]
    assert "custody" in known["2999-01-31"]
    assert "2 held, 1 of them not searched." in said
    assert "person-1" not in said


@pytest.mark.parametrize("words", [("list", "--person", "person-1"), ("unsearched",)], ids="-".join)
def test_a_reference_is_whole_on_a_narrow_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(_context.CONSOLE, "_width", 80)
    assert str(builders.reference("person-1").reference_id) in rfr(folder, "gallery", *words)


async def _hold_another(folder: Path, person: str) -> None:
    async with SqlLedger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        due = datetime(2999, 1, 31, tzinfo=UTC)
        await ledger.hold([builders.reference(person, reference_id=uuid4(), review_due=due, case_ref="arrest-2")])


def test_of_somebody_of_whom_nothing_is_held_nothing_is_listed(folder: Path) -> None:
    assert "0 held, 0 of them not searched." in rfr(folder, "gallery", "list", "--person", "person-9")


def test_conflicts_are_listed_with_both_persons(folder: Path) -> None:
    said = rfr(folder, "gallery", "conflicts")
    (line,) = [line for line in said.splitlines() if "person-" in line]
    for words in ("custody", "same face", "0.987", "person-3", "person-4"):
        assert words in line
    assert "1 to be looked at." in said
