"""The shortest way to a row sees what is committed now, waits for nobody, and leaves nothing open."""

import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import builders
import pytest

from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.errors import Unavailable

REFERENCE = builders.reference()
ID = REFERENCE.reference_id


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger.db"


@pytest.fixture
async def ledger(file: Path) -> AsyncIterator[SqlLedger]:
    async with SqlLedger(f"sqlite:///{file}", busy_timeout_ms=50) as ledger:
        yield ledger


def behind(file: Path) -> closing[sqlite3.Connection]:
    """Another program at the same file."""
    return closing(sqlite3.connect(file, isolation_level=None))


async def test_what_another_program_commits_counts_for_the_very_next_lookup(ledger: SqlLedger, file: Path) -> None:
    await ledger.hold([REFERENCE])
    assert await ledger.held([ID]) == {ID: REFERENCE}
    with behind(file) as other:
        other.execute("UPDATE held_references SET restricted = 1")
        assert await ledger.held([ID]) == {ID: replace(REFERENCE, restricted=True)}
        other.execute("DELETE FROM held_references")
        assert await ledger.held([ID]) == {}
        other.execute("INSERT INTO erased_references VALUES (?)", (ID.hex,))
        assert await ledger.erased([ID, uuid4()]) == {ID}


async def test_what_is_not_committed_does_not_count_and_is_not_waited_for(ledger: SqlLedger, file: Path) -> None:
    await ledger.hold([REFERENCE])
    with behind(file) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("DELETE FROM held_references")
        assert await ledger.held([ID]) == {ID: REFERENCE}
        other.execute("ROLLBACK")


async def test_a_missing_field_stays_missing(ledger: SqlLedger) -> None:
    bare = replace(REFERENCE, legal_basis=None, source=None, captured_at=None, review_due=None, restricted=None)
    await ledger.hold([bare])
    assert await ledger.held([ID]) == {ID: bare}


async def test_a_lookup_leaves_no_snapshot_open(ledger: SqlLedger, file: Path) -> None:
    await ledger.hold([REFERENCE])
    await ledger.held([ID])
    with behind(file) as other:
        other.execute("DELETE FROM held_references")
        busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not busy


async def test_thousands_of_ids_are_one_lookup(ledger: SqlLedger) -> None:
    await ledger.hold([REFERENCE])
    assert set(await ledger.held([*(uuid4() for _ in range(40_000)), ID])) == {ID}


async def test_a_table_that_is_gone_is_a_bug_not_an_outage(ledger: SqlLedger, file: Path) -> None:
    with behind(file) as other:
        other.execute("DROP TABLE held_references")
    with pytest.raises(sqlite3.OperationalError, match="held_references") as caught:
        await ledger.held([ID])
    assert not isinstance(caught.value, Unavailable)


async def test_a_closed_ledger_says_so(file: Path) -> None:
    async with SqlLedger(f"sqlite:///{file}") as ledger:
        pass
    with pytest.raises(RuntimeError, match="async with"):
        await ledger.held([ID])


async def test_a_new_database_is_its_owners_alone(ledger: SqlLedger, file: Path) -> None:
    await ledger.hold([REFERENCE])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (file.parent, *file.parent.iterdir())}
    assert modes == {"data": 0o700, "ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}
