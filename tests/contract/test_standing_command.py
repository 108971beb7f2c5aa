"""`rfr standing`, on a data directory: who stands, who keeps it, who ends it, and that the log says so."""

import asyncio
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Final

import builders
import pytest

from rfr_stream.__main__ import main
from rfr_stream.adapters import opening
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.commands import _context
from rfr_stream.events import Purpose, SearchEnded
from rfr_stream.ports import StandingProbe

PROBE: Final = builders.face_embedded(builders.submission(purpose=Purpose.MISSING, case_ref="mp-318"))
ID: Final = str(PROBE.submission.submission_id)
SAID: Final = ("--reason", "came home", "--by", "unit-1")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return an installation where somebody is sought for a day more."""
    asyncio.run(_stand(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a table have the room that it asks for."""
    monkeypatch.setattr(_context.CONSOLE, "_width", 200)


async def _stand(data_dir: Path) -> None:
    async with SqlLedger(f"sqlite:///{data_dir / 'ledger.db'}") as ledger:
        await ledger.stand([PROBE], datetime.now(UTC) + timedelta(days=1))


async def _state(data_dir: Path) -> tuple[StandingProbe, list[object], list[str]]:
    async with SqlLedger(f"sqlite:///{data_dir / 'ledger.db'}") as ledger:
        (stood,) = await ledger.stood()
        log = await opening.desk(ledger).log.about(ID)
        return stood, [owed.event for owed in await ledger.unpublished(9)], [each.detail for each in log]


def rfr(data_dir: Path, *arguments: str, status: int = 0) -> str:
    """Run one command; return what it said."""
    words = StringIO()
    with redirect_stdout(words), pytest.raises(SystemExit) as left:
        main(["--data-dir", str(data_dir), *arguments])
    assert left.value.code == status, words.getvalue()
    return words.getvalue()


def test_whoever_stands_is_listed(data_dir: Path) -> None:
    said = rfr(data_dir, "standing", "list")
    assert all(word in said for word in (ID, "mp-318", "missing", "stands", "1 listed"))


def test_whoever_is_found_is_listed_no_more_and_whoever_asked_is_told_without_the_reason(data_dir: Path) -> None:
    rfr(data_dir, "standing", "end", ID, *SAID)
    assert "0 listed" in rfr(data_dir, "standing", "list")
    assert "ended by unit-1: came home" in rfr(data_dir, "standing", "list", "--all")
    stood, owed, log = asyncio.run(_state(data_dir))
    assert stood.ending
    assert [type(event) for event in owed] == [SearchEnded]
    assert "came home" not in str(owed)
    assert "standing search ended: came home" in log


def test_nobody_is_ended_twice(data_dir: Path) -> None:
    rfr(data_dir, "standing", "end", ID, *SAID)
    rfr(data_dir, "standing", "end", ID, *SAID, status=1)


def test_a_search_that_is_kept_stands_longer_and_the_log_says_why(data_dir: Path) -> None:
    rfr(data_dir, "standing", "keep", ID, *SAID, "--days", "30")
    stood, owed, log = asyncio.run(_state(data_dir))
    assert stood.until > datetime.now(UTC) + timedelta(days=29)
    assert owed == []
    assert any(detail.endswith(": came home") for detail in log)
