"""What this machine has handed in already, so that an interrupted run goes on where it stopped. Digests alone."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from rfr_stream.errors import Unavailable


class HandedIn:
    """What was last said under each id, on disk. None: it lasts as long as this object.

    The last, not everything: a hold record that is put back to what it once was must be handed in again.
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
            self._db.execute("CREATE TABLE IF NOT EXISTS said (id BLOB PRIMARY KEY, mark BLOB) WITHOUT ROWID")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def holds(self, derived_id: UUID, mark: UUID) -> bool:
        """Whether this was the last to be acknowledged under this id."""
        with _disk():
            row: tuple[bytes] | None = self._db.execute(
                "SELECT mark FROM said WHERE id = ?", (derived_id.bytes,)
            ).fetchone()
        return row == (mark.bytes,)

    def acknowledge(self, said: Iterable[tuple[UUID, UUID]]) -> None:
        """Remember these pairs of id and mark for good: blob and event are durable."""
        with _disk(), self._db:
            rows = [(derived_id.bytes, mark.bytes) for derived_id, mark in said]
            self._db.executemany("INSERT OR REPLACE INTO said VALUES (?, ?)", rows)


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        msg = "journal: cannot be read or written; it may be removed: nothing is doubled without it"
        raise Unavailable(msg) from error
