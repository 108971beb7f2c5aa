"""What this machine has handed in already, so that an interrupted run goes on where it stopped. Digests alone."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from rfr_stream.errors import Unavailable


class Journal:
    """A set of marks on disk; a mark stands for one image under one request. None: it lasts as long as this object.

    Losing it costs time and nothing else: what is handed in twice carries the same ids. Blocking; one thread at a time.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Remember where."""
        self._path = path

    def __enter__(self) -> Self:
        with _disk():
            if self._path:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self._path or ":memory:", check_same_thread=False, timeout=30)
            self._db.execute("CREATE TABLE IF NOT EXISTS handed_in (mark BLOB PRIMARY KEY) WITHOUT ROWID")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def holds(self, mark: UUID) -> bool:
        """Whether this was acknowledged before."""
        with _disk():
            return self._db.execute("SELECT 1 FROM handed_in WHERE mark = ?", (mark.bytes,)).fetchone() is not None

    def acknowledge(self, marks: Sequence[UUID]) -> None:
        """Remember these for good: blob and event are durable."""
        with _disk(), self._db:
            self._db.executemany("INSERT OR IGNORE INTO handed_in VALUES (?)", [(mark.bytes,) for mark in marks])


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        msg = "journal: cannot be read or written; it may be removed: nothing is doubled without it"
        raise Unavailable(msg) from error
