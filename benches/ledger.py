"""How many candidate lists a second does the ledger take in, beside bare sqlite3 writing the same rows?

    python benches/ledger.py [--batches 64 128 256] [--rounds 12]

Ours: `SqlLedger.apply`, one batch of new lists in one transaction: inbox, transition, case. Baseline: the standard
library's `sqlite3`, `executemany` of the very same rows into the same tables in one transaction, without looking
anything up, deciding anything or making any JSON. Both write to the same kind of file with `synchronous = FULL`, and
take turns. Rates are of the median batch; those per CPU second hold on a busy machine too.

Target, or the exit status is 1: more than 5,000 cases per CPU second in the largest batch.
"""

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import builders
from builders import NOW

from rfr_stream import review
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.ports import Case, Change

TARGET: Final = 5_000
Clocks: TypeAlias = tuple[float, float]
TABLES: Final = ("cases", "inbox")


def changes(size: int, turn: int) -> list[Change]:
    """Return the arrival of as many new candidate lists."""
    lists = [builders.candidates_ready(builders.submission(f"{size}-{turn}-{item}")) for item in range(size)]
    return [Change(f.submission.submission_id, f.event_id, review.candidates_ready(f, NOW)) for f in lists]


class Bare:
    """A database of the same schema, written by `sqlite3` alone."""

    def __init__(self, path: Path, source: Path) -> None:
        """Open a migrated database, and the one whose rows are to be written again."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA secure_delete = ON")
        self._source = sqlite3.connect(source)

    def new_rows(self, batch: Sequence[Change]) -> dict[str, list[tuple[object, ...]]]:
        """Return, by table, the rows that the ledger has just written for this batch."""
        ids = [change.submission_id.hex for change in batch]
        marks = ",".join("?" * len(ids))
        return {
            table: self._source.execute(
                f"SELECT * FROM {table} WHERE submission_id IN ({marks})",  # noqa: S608 - our own names
                ids,
            ).fetchall()
            for table in TABLES
        }

    def write(self, rows: dict[str, list[tuple[object, ...]]]) -> None:
        """Write them in one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        for table, values in rows.items():
            marks = ",".join("?" * len(values[0]))
            self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values)  # noqa: S608 - our own names
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Let go of both files."""
        self._connection.close()
        self._source.close()


def clocks() -> Clocks:
    """Return seconds of the wall and of this process's CPU."""
    return time.perf_counter(), time.process_time()


def rate(size: int, spans: Sequence[tuple[Clocks, Clocks]], clock: int) -> float:
    """Return cases per second of the median batch."""
    return size / float(np.median([end[clock] - start[clock] for start, end in spans]))


async def measure(ledger: SqlLedger, bare: Bare, size: int, rounds: int) -> float:
    """Measure one size of batch, print it, and return our cases per CPU second."""
    ours, theirs = [], []
    for turn in range(rounds + 2):
        batch = changes(size, turn)
        before = clocks()
        results = await ledger.apply(batch)
        after = clocks()
        if not all(isinstance(result, Case) for result in results):
            sys.exit("a list was refused: what was timed is not the ledger's work")
        rows = bare.new_rows(batch)
        begun = clocks()
        bare.write(rows)
        done = clocks()
        if turn >= 2:  # the first turns warm up
            ours.append((before, after))
            theirs.append((begun, done))
    wall, cpu = rate(size, ours, 0), rate(size, ours, 1)
    bare_wall, bare_cpu = rate(size, theirs, 0), rate(size, theirs, 1)
    print(
        f"{size:5}   ours {wall:8,.0f} /s {cpu:8,.0f} /CPU s   sqlite3 {bare_wall:8,.0f} /s {bare_cpu:8,.0f} /CPU s   "
        f"ours costs {bare_wall / wall:4.1f} x by the clock, {bare_cpu / cpu:4.1f} x in CPU time"
    )
    return cpu


async def run(sizes: Sequence[int], rounds: int) -> bool:
    """Measure every size and return whether the target is met."""
    with tempfile.TemporaryDirectory() as folder:
        ours, other = Path(folder) / "ours.db", Path(folder) / "bare.db"
        async with SqlLedger(f"sqlite:///{other}"):
            pass  # its schema
        async with SqlLedger(f"sqlite:///{ours}") as ledger:
            bare = Bare(other, ours)
            try:
                reached = [await measure(ledger, bare, size, rounds) for size in sorted(sizes)]
            finally:
                bare.close()
    met = reached[-1] > TARGET
    print(f"target: more than {TARGET:,} cases per CPU second in the largest batch: {'ok' if met else 'MISSED'}")
    return met


def main() -> None:
    """Run every size that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--rounds", type=int, default=12)
    asked = parser.parse_args()
    sys.exit(0 if asyncio.run(run(asked.batches, asked.rounds)) else 1)


if __name__ == "__main__":
    main()
