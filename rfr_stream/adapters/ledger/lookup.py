"""Rows by their keys: the read that every search waits for, and so the one path past SQLAlchemy's asynchronous driver.

On SQLite that driver hands each call to a thread and back, a dozen times for one read: milliseconds on a busy
machine, where reading thirty rows by their primary key costs a tenth of one. `SqliteLookup` therefore asks on the
event loop, through a connection of its own. Statement and conversions still come from the tables, so that there is
one truth about what a row is.
"""

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import ARRAY, Column, ColumnElement, Dialect, Select, Table, Uuid, any_, func, literal, select
from sqlalchemy.dialects import sqlite

Rows: TypeAlias = Sequence[Mapping[str, Any]]

_SQLITE: Final = sqlite.dialect()


def among(column: Column[UUID], ids: Collection[UUID], dialect: Dialect) -> ColumnElement[bool]:
    """Whether the column is one of these ids, as one parameter: the statement, and its plan, are the same for all."""
    if dialect.name == "sqlite":
        return column.in_(select(func.json_each(_as_json(ids)).table_valued("value").c.value))
    return column == any_(literal(list(ids), ARRAY(Uuid)))


def by_key(table: Table, ids: Collection[UUID], dialect: Dialect) -> Select[Any]:
    """Select the rows of these ids; a table's first column is its key."""
    return select(table).where(among(table.c[0], ids, dialect))


class SqliteLookup:
    """A connection that only reads, and sees what any process has committed before each call.

    It never waits, since it would stop the event loop: readers of a write-ahead log wait for nobody but a process
    that recovers the log, and then the caller tries again.
    """

    def __init__(self, path: Path) -> None:
        """Open a database that is there.

        Raises:
            sqlite3.Error: it cannot be opened.

        """
        # Not `mode=ro`: whoever closes a database last must be able to put its write-ahead log away.
        uri = f"{path.absolute().as_uri()}?mode=rw"
        self._connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
        self._connection.execute("PRAGMA query_only = ON")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def rows(self, table: Table, ids: Collection[UUID]) -> Rows:
        """Return the rows of these ids, in no order.

        Raises:
            sqlite3.Error: the database is away, or its schema is another.

        """
        statement, names, converters = _prepared(table)
        # To the end, always: a statement left open would hold its snapshot, and the log could not be put away.
        found = [list(row) for row in self._connection.execute(statement, (_as_json(ids),)).fetchall()]
        for values in found:
            for place, convert in converters:
                values[place] = convert(values[place])
        return [dict(zip(names, values, strict=True)) for values in found]


@lru_cache
def _prepared(table: Table) -> tuple[str, list[str], list[tuple[int, Callable[[Any], Any]]]]:
    """Return the statement, with one parameter, its columns, and how to read those that SQLite has no type for."""
    statement = str(by_key(table, (), _SQLITE).compile(dialect=_SQLITE))
    readers = [column.type.dialect_impl(_SQLITE).result_processor(_SQLITE, None) for column in table.c]
    return statement, table.c.keys(), [(place, read) for place, read in enumerate(readers) if read]


def _as_json(ids: Collection[UUID]) -> str:
    return json.dumps([id_.hex for id_ in ids])  # as `Uuid` stands in SQLite
